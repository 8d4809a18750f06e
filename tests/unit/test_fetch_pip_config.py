"""The pip configuration is read as pip reads it."""

import subprocess
import sys
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from penjing.core.errors import FetchError
from penjing.core.fetch.pip_config import config_files, credentials, read_pip_config, without_credentials


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose configuration files all lie under a temporary directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return {
        "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
        "XDG_CONFIG_HOME": str(tmp_path / "home" / ".config"),
        "HOME": str(tmp_path / "home"),
    }


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def system_file(home: dict[str, str]) -> Path:
    return Path(home["XDG_CONFIG_DIRS"]) / "pip" / "pip.conf"


def user_file(home: dict[str, str]) -> Path:
    return Path(home["XDG_CONFIG_HOME"]) / "pip" / "pip.conf"


def test_default_is_that_of_the_index_client(home):
    config = read_pip_config(home | {"PIP_CONFIG_FILE": "/dev/null"})
    assert config.indexes == (PYPI_SIMPLE_ENDPOINT,)
    assert config.cert is None and not config.no_index


def test_each_place_overrides_the_one_before(home, tmp_path):
    places = [
        system_file(home),
        tmp_path / "home" / ".pip" / "pip.conf",
        user_file(home),
        tmp_path / "venv" / "pip.conf",
        tmp_path / "named.conf",
    ]
    environ = home | {"PIP_CONFIG_FILE": str(places[-1])}
    for i, path in enumerate(places):
        put(path, f"[global]\nindex-url = https://i{i}.example/simple\n")
        assert read_pip_config(environ).indexes[0] == f"https://i{i}.example/simple"
    assert read_pip_config(environ | {"PIP_INDEX_URL": "https://env.example/"}).indexes == ("https://env.example/",)


def test_a_file_named_by_the_environment_stands_for_the_users_own(home, tmp_path):
    put(user_file(home), "[global]\nindex-url = https://mine.example/simple\n")
    named = home | {"PIP_CONFIG_FILE": str(tmp_path / "named.conf")}
    assert read_pip_config(named).indexes == ("https://mine.example/simple",)
    put(tmp_path / "named.conf", "[global]\ntimeout = 5\n")
    assert read_pip_config(named).indexes == (PYPI_SIMPLE_ENDPOINT,)


def test_the_section_of_the_command_beats_global_wherever_it_stands(home):
    put(system_file(home), "[download]\nindex-url = https://command.example/\n")
    put(user_file(home), "[global]\nindex-url = https://global.example/\n[freeze]\nindex-url = https://no.example/\n")
    assert read_pip_config(home).indexes == ("https://command.example/",)


def test_all_options_and_their_spellings(home, tmp_path):
    links = tmp_path / "wheels"
    links.mkdir()
    put(
        user_file(home),
        "[global]\nindex_url = https://user:p%40ss@a.example/simple\n"
        "extra-index-url =\n    https://b.example/simple\n    https://c.example/simple\n"
        f"trusted-host = d.example e.example:8443\ncert = /ca.pem\nfind-links = {links} https://f.example/list.html\n"
        "proxy =\n",
    )
    config = read_pip_config(home | {"PIP_CLIENT_CERT": "/me.pem"})
    assert [without_credentials(url) for url in config.indexes] == [
        "https://a.example/simple", "https://b.example/simple", "https://c.example/simple",
    ]  # fmt: skip
    assert credentials(config.indexes[0]) == ("user", "p@ss")
    assert config.trusts("https://d.example:444/x") and config.trusts("https://e.example:8443/x")
    assert not config.trusts("https://e.example/x")
    assert (config.cert, config.client_cert, config.proxy, config.find_links) == ("/ca.pem", "/me.pem", None, (links,))


def test_no_index_forbids_every_index(home):
    assert read_pip_config(home | {"PIP_NO_INDEX": "1", "PIP_EXTRA_INDEX_URL": "https://x.example"}).indexes == ()
    assert read_pip_config(home | {"PIP_NO_INDEX": "0", "PIP_CONFIG_FILE": "/dev/null"}).indexes


def test_a_broken_file_is_named_and_its_secrets_are_not_quoted(home):
    path = put(user_file(home), "index-url = https://user:secret@a.example/\n")
    with pytest.raises(FetchError, match=r"pip\.conf") as caught:
        read_pip_config(home)
    assert "secret" not in caught.value.message and str(path) in caught.value.message


@pytest.mark.skipif(sys.platform != "linux", reason="the places of configuration differ by platform")
def test_pip_itself_reads_the_same_files(home):
    pytest.importorskip("pip")
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "debug"], env=home, capture_output=True, text=True, check=True
    ).stdout
    named = [line.strip().partition(", exists:")[0] for line in listing.splitlines() if ", exists:" in line]
    # The virtualenv's file is named by sys.prefix, which is another one in that process.
    ours = [str(path) for path in config_files(home) if "venv" not in path.parts]
    assert [path for path in named if path in ours] and set(ours) <= set(named)
