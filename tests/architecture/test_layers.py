"""Who may import whom, what the base needs, and how long a file may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "penjing").rglob("*.py"))
# torch and what belongs to other extras, under the names they are imported by.
EXTRAS = (
    "torch", "transformers", "safetensors", "sklearn", "scipy", "lightgbm", "onnx", "peft", "cleanlab",
    "pandas", "pyarrow", "datasets", "huggingface_hub", "openpyxl", "sqlalchemy", "charset_normalizer",
    "cryptography", "openvino", "openvino_telemetry",
)  # fmt: skip
# Packages that cannot work without an extra; everything else has to import on the base alone.
NEED_TRAIN = ("penjing.train", "penjing.export", "penjing.compress")
BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_import_contract_holds():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_contract_names_every_package():
    """A package that is in no layer could import anything."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = {name.strip() for line in config["contracts"][0]["layers"] for name in line.split("|")}
    packages = {f"penjing.{path.parent.name}" for path in SOURCES if path.parent.parent.name == "penjing"}
    packages.discard("penjing.penjing")
    assert {name for name in packages if (ROOT / "src" / name.replace(".", "/") / "__init__.py").is_file()} <= layers


def module_names() -> list[str]:
    names = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in SOURCES]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def test_base_imports_without_any_extra():
    """tasks, predict, data, models, evaluate, cli, ... with torch and every other optional package blocked."""
    wanted = [name for name in module_names() if not name.startswith(NEED_TRAIN)]
    assert len(wanted) > 60
    code = BLOCK + textwrap.dedent(
        """
        import importlib, traceback
        failed = {}
        for name in sys.argv[1:]:
            try:
                importlib.import_module(name)
            except ImportError as error:
                where = traceback.extract_tb(error.__traceback__)[-2:]
                failed[name] = f"{error} at {[f'{f.filename}:{f.lineno}' for f in where]}"
        for name, reason in failed.items():
            print(name, reason)
        """
    )
    done = run_python(code, *wanted)
    assert done.returncode == 0, done.stderr
    allowed = (
        "penjing.models.encoder ",
        "penjing.models.dropout ",
        "penjing.models.factored ",
        "penjing.models.ngrams ",
        "penjing.models.padding ",
        "penjing.models.phrases ",
        "penjing.select.short_run ",
    )
    unexpected = [line for line in done.stdout.splitlines() if not line.startswith(allowed)]
    assert unexpected == []


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_start_up_imports_nothing_heavy(words):
    code = f"import sys; from penjing.cli import main\ntry: main({words!r})\nexcept SystemExit: pass\n"
    code += "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert {"penjing", "argparse"} <= loaded
    assert not loaded & {*EXTRAS, "numpy", "pydantic", "rich", "yaml", "onnxruntime", "jinja2", "tokenizers"}


def test_no_file_is_long():
    counted = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert len(counted) > 100
    assert {name: count for name, count in counted.items() if count > 400} == {}


def test_no_vague_module_names():
    vague = {"utils", "helpers", "manager", "common", "base", "misc"}
    assert [str(path) for path in SOURCES if path.stem in vague or path.parent.name in vague] == []


def test_nothing_unpickles():
    """No artifact is ever unpickled: the modules that would are never imported."""
    guilty = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            guilty += [
                f"{path}:{node.lineno}" for name in names if name.partition(".")[0] in {"pickle", "dill", "joblib"}
            ]
    assert guilty == []


def test_libraries_that_send_events_are_imported_so_that_they_do_not():
    """onnxruntime, OpenVINO and NNCF, wherever they are imported."""
    telling, guilty, found = {"onnxruntime", "openvino", "nncf"}, [], 0
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        quiet = [node for node in ast.walk(tree) if _says(node, "without_telemetry()", "TYPE_CHECKING")]
        inside = {id(node) for block in quiet for node in ast.walk(block)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if telling & {name.partition(".")[0] for name in names}:
                found += 1
                guilty += [] if id(node) in inside else [f"{path}:{node.lineno}"]
    assert found >= 2
    assert guilty == []


def _says(node: ast.AST, block: str, condition: str) -> bool:
    if isinstance(node, ast.With):
        return block in {ast.unparse(item.context_expr) for item in node.items}
    return isinstance(node, ast.If) and ast.unparse(node.test) == condition
