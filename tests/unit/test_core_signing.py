"""Who made an artifact: signatures that hold, and every way in which one does not."""

import json
import stat

import pytest

from penjing.cli import main
from penjing.core.artifact import SIGNATURE, open_artifact, seal
from penjing.core.errors import ArtifactError, RecipeError
from penjing.core.signing import canonical_bytes, new_key, read_private_key, read_public_key, sign

pytest.importorskip("cryptography")


@pytest.fixture
def artifact(tmp_path):
    directory = tmp_path / "artifact"
    directory.mkdir()
    (directory / "task.json").write_text('{"labels": ["退款"]}')
    capabilities = {"predict_files": ["task.json"]}
    return seal(directory, kind="text-classification", capabilities=capabilities, batch_invariant=True)


@pytest.fixture
def keys(tmp_path):
    """(private, public) files."""
    return tmp_path / "key.pem", new_key(tmp_path / "key.pem")


def test_a_signed_artifact_opens_with_the_key_of_its_maker(artifact, keys, tmp_path):
    private, public = keys
    assert public.name == "key.pem.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert sign(artifact.path, artifact.manifest, read_private_key(private)) == artifact.path / SIGNATURE
    opened = open_artifact(artifact.path, public)
    assert opened.manifest == artifact.manifest
    assert open_artifact(artifact.path).manifest == artifact.manifest  # no key, no question
    other = new_key(tmp_path / "other.pem")
    with pytest.raises(ArtifactError, match=r"manifest\.sig: the signature is not by this key"):
        open_artifact(artifact.path, other)


def test_what_is_signed_is_the_content_of_the_manifest(artifact, keys):
    private, public = keys
    sign(artifact.path, artifact.manifest, read_private_key(private))
    path = artifact.path / "manifest.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))  # laid out in another way
    open_artifact(artifact.path, public)
    manifest = json.loads(path.read_text())
    for change in ({"batch_invariant": False}, {"more": 1}, {"files": {}}):
        path.write_text(json.dumps(manifest | change))
        with pytest.raises(ArtifactError, match="was changed after it was signed"):
            open_artifact(artifact.path, public)
    assert canonical_bytes({"b": 1, "a": "é"}) == 'penjing manifest 1\n{"a":"é","b":1}'.encode()


def test_a_changed_file_is_found_by_its_hash(artifact, keys):
    private, public = keys
    sign(artifact.path, artifact.manifest, read_private_key(private))
    (artifact.path / "task.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"'task\.json' is damaged or was changed"):
        open_artifact(artifact.path, public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"algorithm": "none", "signature": ""}',
        '{"algorithm": "Ed25519", "signature": "é"}',
        "x" * 20_000,
        "[" * 9_000,
    ],
)
def test_what_is_no_signature_is_refused(artifact, keys, text):
    with pytest.raises(ArtifactError, match="the artifact is not signed"):
        open_artifact(artifact.path, keys[1])
    (artifact.path / SIGNATURE).write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.sig: not a signature"):
        open_artifact(artifact.path, keys[1])


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", '"\\ud800"'])
def test_a_manifest_that_cannot_be_signed_is_damaged(artifact, keys, value, capsys):
    private, public = keys
    path = artifact.path / "manifest.json"
    path.write_text(path.read_text().replace("{", '{"more": ' + value + ",", 1))
    for words in (["sign", "--key", private], ["verify", "--public-key", public], ["verify"]):
        assert main([words[0], str(artifact.path), *map(str, words[1:])]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "manifest.json is damaged" in said


def test_a_file_that_the_manifest_does_not_list_is_refused(artifact, keys):
    private, public = keys
    sign(artifact.path, artifact.manifest, read_private_key(private))
    (artifact.path / "pages").mkdir()  # where there is nothing, nothing is forged
    open_artifact(artifact.path, public)
    for name in ("pages/report.html", "report.html"):
        (artifact.path / name).write_text("99.9%")
        for key in (public, None):
            with pytest.raises(ArtifactError, match=f"file '{name}' is not one of the artifact's"):
                open_artifact(artifact.path, key)
        (artifact.path / name).unlink()
    (artifact.path / "report.html").symlink_to("nowhere")
    with pytest.raises(ArtifactError, match=r"file 'report\.html' is not one of the artifact's"):
        open_artifact(artifact.path)


def test_a_key_on_a_curve_that_is_not_known_is_refused(tmp_path):
    # An elliptic-curve key on sect113r1, which cryptography does not support.
    body = "MDQwEAYHKoZIzj0CAQYFK4EEAAQDIAAE" + "AQEB" * 10
    (tmp_path / "key.pub").write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_public_key(tmp_path / "key.pub")


def test_signatures_of_other_lengths_are_refused(artifact, keys):
    (artifact.path / SIGNATURE).write_text('{"algorithm": "Ed25519", "signature": "AAAA"}')
    with pytest.raises(ArtifactError, match="not by this key"):
        open_artifact(artifact.path, keys[1])


def test_keys_are_never_replaced(keys, tmp_path):
    private, public = keys
    before = private.read_bytes()
    with pytest.raises(RecipeError, match=r"key\.pem: is there already"):
        new_key(private)
    private.unlink()
    with pytest.raises(RecipeError, match=r"key\.pem\.pub: is there already"):
        new_key(private)
    assert not private.exists() and before != public.read_bytes()
    with pytest.raises(RecipeError, match="no such directory"):
        new_key(tmp_path / "nowhere" / "key.pem")


def test_what_is_no_key_is_refused(keys, tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )  # fmt: skip

    private, public = keys
    with pytest.raises(RecipeError, match="no such private key"):
        read_private_key(tmp_path / "none")
    for path in (public, tmp_path / "text"):
        (tmp_path / "text").write_text("key")
        with pytest.raises(RecipeError, match="cannot be read"):
            read_private_key(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_public_key(private)
    locked, other = tmp_path / "locked", tmp_path / "x"
    form = Encoding.PEM, PrivateFormat.PKCS8
    locked.write_bytes(Ed25519PrivateKey.generate().private_bytes(*form, BestAvailableEncryption(b"secret")))
    other.write_bytes(X25519PrivateKey.generate().private_bytes(*form, NoEncryption()))
    with pytest.raises(RecipeError, match="Expected an unencrypted Ed25519 private key"):
        read_private_key(locked)
    with pytest.raises(RecipeError, match="is a X25519PrivateKey"):
        read_private_key(other)


def test_the_command_line_makes_keys_signs_and_checks(artifact, tmp_path, capsys):
    directory, key = str(artifact.path), str(tmp_path / "key.pem")
    assert main(["sign", "--new-key", key]) == 0
    assert not (artifact.path / SIGNATURE).exists()
    assert main(["sign", directory, "--key", key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["signature"] == str(artifact.path / SIGNATURE)
    for words in (["sign", directory], ["sign", "--key", key], ["sign", directory, "--key", key + ".pub"]):
        assert main(words) == 2
    assert main(["sign", directory, "--new-key", key]) == 2
    capsys.readouterr()
    assert main(["sign", "--new-key", str(tmp_path / "other")]) == 0
    capsys.readouterr()
    verbs = (["evaluate", directory], ["compare", directory, directory])
    for verb in (["verify", directory], ["predict", directory, "--input", "x"], *verbs):
        assert main([*verb, "--public-key", str(tmp_path / "other.pub")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "manifest.sig: the signature is not by this key" in said
