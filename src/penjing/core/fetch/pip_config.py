"""The package index as the user's pip configuration names it, read without pip.

Files and precedence are those of pip's documentation ("Configuration"): system, user, environment (virtualenv),
`PIP_CONFIG_FILE`, then `PIP_*` variables; within them, `[global]` yields to the section of the command. Fetching a
file is what `pip download` does, so the sections are `install`, then `download`.
"""

from __future__ import annotations

import configparser
import locale
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from penjing.core.errors import FetchError

SECTIONS = ("global", "install", "download")
_TRUE = {"y", "yes", "t", "true", "on", "1"}


@dataclass(frozen=True)
class PipConfig:
    """What pip would use to find a package.

    Args:
        indexes: simple-index addresses in the order to ask, credentials included; empty with `no-index`.
        find_links: local directories that may hold package files.
        trusted_hosts: "host" or "host:port" whose certificate is not checked, and which may use plain http.
        cert: CA bundle, or None for the default.
        client_cert: PEM file with the client's key and certificate, or None.
        proxy: "scheme://[user:password@]host:port", or None.
        no_index: the user forbids indexes.
    """

    indexes: tuple[str, ...]
    find_links: tuple[Path, ...] = ()
    trusted_hosts: frozenset[str] = frozenset()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    no_index: bool = False

    def trusts(self, url: str) -> bool:
        """Whether the user has declared the host of this address trusted."""
        parts = urlsplit(url)
        return parts.hostname in self.trusted_hosts or parts.netloc.rpartition("@")[2] in self.trusted_hosts


def read_pip_config(environ: Mapping[str, str] | None = None) -> PipConfig:
    """The effective pip configuration.

    Args:
        environ: environment variables; None for those of the process.

    Raises:
        FetchError: a configuration file cannot be read.
    """
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    options = _options(os.environ if environ is None else environ)
    no_index = options.get("no-index", "").lower() in _TRUE
    default = options.get("index-url") or options.get("pypi-url") or PYPI_SIMPLE_ENDPOINT
    indexes = [default, *options.get("extra-index-url", "").split()]
    return PipConfig(
        indexes=() if no_index else tuple(dict.fromkeys(url.strip() for url in indexes)),
        find_links=tuple(filter(None, (_local_directory(link) for link in options.get("find-links", "").split()))),
        trusted_hosts=frozenset(options.get("trusted-host", "").split()),
        cert=options.get("cert"),
        client_cert=options.get("client-cert"),
        proxy=options.get("proxy"),
        no_index=no_index,
    )


def without_credentials(url: str) -> str:
    """The address without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def credentials(url: str) -> tuple[str, str] | None:
    """(user, password) of an address, or None."""
    parts = urlsplit(url)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def local_path(url: str) -> Path | None:
    """The path a file: address names, or None for any other address."""
    return Path(url2pathname(urlsplit(url).path)) if urlsplit(url).scheme == "file" else None


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """The configuration files of pip, weakest first; they need not exist."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    own = Path(sys.prefix) / _basename()
    if named and Path(named).is_file():  # pip then leaves the user's own out
        return [*_system_files(environ), own, Path(named)]
    return [*_system_files(environ), *_user_files(environ), own]


def _options(environ: Mapping[str, str]) -> dict[str, str]:
    """Option → value; empty values do not count, as in pip."""
    by_section: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for path in config_files(environ):
        for section, values in _read(path).items():
            if section in by_section:
                by_section[section].update(values)
    options: dict[str, str] = {}
    for section in SECTIONS:
        options.update({name: value for name, value in by_section[section].items() if value})
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            options[_option_name(name.removeprefix("PIP_"))] = value
    return options


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Section → option → value of one file; nothing where it does not exist."""
    if not path.is_file():
        return {}
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding=locale.getpreferredencoding(False)))
        return {
            section: {_option_name(name): value for name, value in parser.items(section)}
            for section in parser.sections()
        }
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        # The library's message may quote a line, and a line may hold a password.
        raise FetchError(
            f"the pip configuration cannot be read ({type(error).__name__})",
            where=str(path),
            next_step="correct the file, or set PIP_CONFIG_FILE to another one",
        ) from None


def _option_name(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _basename() -> str:
    return "pip.ini" if os.name == "nt" else "pip.conf"


def _system_files(environ: Mapping[str, str]) -> list[Path]:
    if os.name == "nt":
        return [Path(environ.get("PROGRAMDATA", r"C:\ProgramData")) / "pip" / _basename()]
    if sys.platform == "darwin":
        return [Path("/Library/Application Support/pip") / _basename()]
    xdg = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    directories = [Path(part).expanduser() / "pip" for part in xdg.split(os.pathsep) if part]
    return [directory / _basename() for directory in [*directories, Path("/etc")]]


def _user_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path.home()
    if os.name == "nt":
        return [home / "pip" / _basename(), Path(environ.get("APPDATA", home)) / "pip" / _basename()]
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
    mac = home / "Library" / "Application Support" / "pip"
    newer = mac if sys.platform == "darwin" and mac.is_dir() else config
    return [home / ".pip" / _basename(), newer / _basename()]


def _local_directory(link: str) -> Path | None:
    """A `find-links` entry as a local directory; web pages of links are not read."""
    path = local_path(link) or Path(link).expanduser()
    return path if path.is_dir() else None
