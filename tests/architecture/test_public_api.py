"""The public names: few, lazy, and all of them there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import penjing

NAMES = {
    "run", "train", "load", "quote", "check", "select", "evaluate", "compare", "compress", "verify", "list_models",
    "read_recipe",
    "Recipe", "Budget", "Artifact", "Report", "RunResult", "PenjingError", "RecipeError", "DataError", "ArtifactError",
    "CapabilityError", "MissingExtraError", "FetchError",
}  # fmt: skip


def test_exported_names():
    assert set(penjing.__all__) == NAMES
    assert len(penjing.__all__) == len(NAMES) <= 25
    assert set(penjing.__all__) <= set(dir(penjing))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_callable_and_documented(name):
    value = getattr(penjing, name)
    assert callable(value)
    assert inspect.getdoc(penjing._resolve(name))


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        _ = penjing.fit


def test_version():
    assert penjing.__version__.count(".") == 2


def test_importing_penjing_imports_nothing_else():
    code = "import sys, penjing; print(sorted(name for name in sys.modules if name.startswith('penjing')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['penjing']"


@pytest.mark.parametrize("name", ["train", "select", "evaluate", "compress"])
def test_a_stage_is_a_package_and_a_function(name):
    """Whichever is used first, `penjing.train(...)` works and so does `penjing.train.config`."""
    code = f"""
import penjing.{name}.config
import penjing
from penjing.{name} import config
assert penjing.{name}.config is config
try:
    penjing.{name}("there is no such thing")
except penjing.PenjingError as error:
    print("called:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "called: there is no such thing" in done.stdout
    assert isinstance(getattr(penjing, name), ModuleType)


def test_mistakes_are_penjing_errors():
    errors = [getattr(penjing, name) for name in NAMES if name.endswith("Error")]
    assert len(errors) == 7
    assert all(inspect.isclass(error) and issubclass(error, penjing.PenjingError) for error in errors)
