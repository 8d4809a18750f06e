"""The hub's own client against a hub on this machine: data only, its cache, its offline switch, and the catalog's way
to it when the package index fails.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import json, sys
from penjing.core.errors import PenjingError
from penjing.models.catalog import resolve
notes = []
try:
    found = resolve(sys.argv[1], listener=lambda event: notes.append(getattr(event, "text", "")))
    print(json.dumps({"directory": str(found.directory), "prefix": found.prefix, "notes": notes}))
except PenjingError as error:
    print(json.dumps({"error": error.message, "notes": notes}))
"""


@pytest.fixture
def hub(tmp_path, tiny_pretrained):
    """(address, paths asked for): serves the tiny model under every name, with a pickle and code beside it."""
    files = {path.name: path.read_bytes() for path in tiny_pretrained.directory.iterdir() if path.is_file()}
    files |= {"pytorch_model.bin": b"pickle", "modeling_evil.py": b"raise SystemExit", "onnx/model.onnx": b"x"}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            name = self.path.partition("/resolve/")[2].partition("/")[2]
            if self.path.startswith("/api/models/garden/none"):
                self.answer(b"{}", "application/json", 404, {"X-Error-Code": "RepoNotFound"})
            elif self.path.startswith("/api/models/"):
                names = [n for n in files if n != "tokenizer.json" or "slow" not in self.path]
                model = {"id": "garden/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
                self.answer(json.dumps(model).encode(), "application/json")
            elif name in files:
                self.answer(files[name], "application/octet-stream")
            else:
                self.send_response(404)
                self.end_headers()

        def answer(self, body: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environ(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "HF_"))}
    return kept | {
        "PENJING_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hub"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
    }


def resolve_elsewhere(name, environ):
    """Resolve in a process of its own: the hub's client reads its address once, when it is imported."""
    result = subprocess.run([sys.executable, "-c", SCRIPT, name], env=environ, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_hub_id_brings_data_only_and_stays_in_the_hubs_cache(hub, environ, tmp_path):
    address, asked = hub
    found = resolve_elsewhere("garden/tiny", environ | {"HF_ENDPOINT": address})
    assert found["directory"].startswith(str(tmp_path / "hub"))
    names = {path.rpartition("/")[2] for path in asked if "/resolve/" in path}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}
    asked.clear()
    again = resolve_elsewhere("garden/tiny", environ | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "1"})
    assert again["directory"] == found["directory"] and asked == [] and again["notes"] == []


def test_the_catalog_goes_to_the_hub_when_the_index_fails(hub, environ, tmp_path):
    address, _ = hub
    found = resolve_elsewhere("e5-small-multilingual", environ | {"HF_ENDPOINT": address})
    assert found["directory"] == str(tmp_path / "cache" / "models" / "e5-small-multilingual-hub")
    assert found["prefix"] == "query: "
    assert any("trying the model hub" in note for note in found["notes"])
    assert any("knows no sha256 of intfloat/multilingual-e5-small" in note for note in found["notes"])
    again = resolve_elsewhere("e5-small-multilingual", environ | {"HF_HUB_OFFLINE": "1"})
    assert again["directory"] == found["directory"] and again["notes"] == []


def test_other_weights_than_the_catalog_knows_are_refused(hub, environ, tmp_path):
    address, _ = hub
    found = resolve_elsewhere("minilm-l6-en", environ | {"HF_ENDPOINT": address})
    assert "another sha256" in found["error"] and "no-index" in found["error"]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_neither_index_nor_hub(environ):
    start = time.monotonic()
    found = resolve_elsewhere("minilm-l6-en", environ | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert time.monotonic() - start < 15
    assert "no-index" in found["error"] and "the model hub cannot be reached" in found["error"]
    assert "\n" not in found["error"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("garden/none", "the hub has no such public model"),
        ("garden/slow", "the hub has no tokenizer.json for this model"),
    ],
)
def test_what_the_hub_does_not_have(environ, hub, name, reason):
    address, asked = hub
    found = resolve_elsewhere(name, environ | {"HF_ENDPOINT": address})
    assert reason in found["error"] and "Next:" in found["error"] and "\n" not in found["error"]
    assert not any("/resolve/" in path for path in asked)


def test_a_directory_needs_no_hub(environ, tiny_pretrained, tmp_path):
    shutil.copytree(tiny_pretrained.directory, tmp_path / "model")
    found = resolve_elsewhere(str(tmp_path / "model"), environ | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert found["directory"] == str(tmp_path / "model")
