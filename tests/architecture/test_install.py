"""What `make` installs: one file pins everything, and names no place to get it from."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PINS = {}
for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
    if not line.startswith("#"):
        name, _, version = line.partition("==")
        PINS[name] = version


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [Requirement(line) for line in lines]


def test_every_requirement_is_pinned_within_its_range():
    wanted = [needed for needed in requirements() if needed.name != "penjing"]
    assert len(wanted) > 30
    for needed in wanted:
        pin = PINS[canonicalize_name(needed.name)]
        assert needed.specifier.contains(Version(pin)), f"{needed} is pinned to {pin}"


def test_pins_are_versions_alone():
    """No address, no path, and no build of torch that only one index has."""
    assert len(PINS) > 80
    assert [f"{name}=={version}" for name, version in PINS.items() if not re.fullmatch(r"\d[\w.]*", version)] == []


def test_pins_are_of_the_oldest_python():
    """A pin that asks for Python 3.11.5 cannot be installed on Debian 12."""
    head = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]
    assert "on Python 3.11.2," in head


def test_the_base_has_no_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert base >= {"numpy", "onnxruntime", "pydantic", "tokenizers"}
    assert not base & {"torch", "transformers", "scikit-learn", "scipy", "pandas", "pyarrow", "lightgbm"}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_installs_torch_first_and_pins_the_rest(tmp_path):
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run(["make", "-n", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    torch = next(i for i, line in enumerate(lines) if line.endswith(f"torch=={PINS['torch']}"))
    rest = next(i for i, line in enumerate(lines) if "--constraint constraints.txt" in line)
    run = next(i for i, line in enumerate(lines) if "penjing run runs/reviews-zh" in line)
    assert torch < rest < run
