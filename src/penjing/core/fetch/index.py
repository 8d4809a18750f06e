"""Talks to package indexes: which address has a file, with the user's credentials, certificates and proxy.

Addresses in messages never carry credentials, and credentials go to the index's own host only.
"""

from __future__ import annotations

import json
import re
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from pypi_simple import ACCEPT_ANY, ProjectPage, UnsupportedRepoVersionError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from penjing.core.fetch.pip_config import PipConfig, credentials, local_path, without_credentials

if TYPE_CHECKING:
    from penjing.core.fetch.package import PackageFile

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
PAGE_ATTEMPTS = 2
RETRY_PAUSE_S = 0.5
MAX_PAGE_BYTES = 50_000_000
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


class Unavailable(Exception):
    """One source did not give the file; the message says why, and another source may be asked.

    Args:
        reason: a few words, without credentials.
        transient: the same request may succeed in a moment.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


class IndexSession:
    """HTTP requests as the user's pip configuration wants them; a context manager.

    Args:
        config: the pip configuration.
    """

    def __init__(self, config: PipConfig) -> None:
        self.config = config
        self._session = requests.Session()
        for host in config.trusted_hosts:
            self._session.mount(f"https://{host}/", _UncheckedAdapter())
            if ":" not in host:
                self._session.mount(f"https://{host}:", _UncheckedAdapter())

    def __enter__(self) -> IndexSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Open a streamed response of status 200, 206 or 416; the caller closes it.

        Raises:
            Unavailable: not reachable, refused, or answered with another status.
        """
        self._check_scheme(url)
        for option, path in {"cert": self.config.cert, "client-cert": self.config.client_cert}.items():
            if path is not None and not Path(path).exists():
                raise Unavailable(f"pip's option {option} names {path}, which does not exist")
        proxy = self.config.proxy
        try:
            response = self._session.get(
                without_credentials(url),
                headers=headers,
                auth=self._auth(url),
                stream=True,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                verify=self.config.cert or True,
                cert=self.config.client_cert,
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
        except (requests.RequestException, OSError) as error:
            raise unavailable(error, url) from None
        if response.status_code in {200, 206, 416}:
            return response
        response.close()
        raise _refused(response.status_code, url)

    def find(self, index: str, spec: PackageFile) -> str:
        """Address of the file in one index.

        Raises:
            Unavailable: the index is not reachable, has no such file, or has another file under that name.
        """
        project = re.sub(r"[-_.]+", "-", spec.package).lower()
        page_url = f"{index.rstrip('/')}/{project}/"
        local = local_path(page_url)
        page = self._page(page_url, project) if local is None else _local_page(local / "index.html", project)
        host = _host(index)
        found = next((item for item in page.packages if item.filename == spec.filename), None)
        if found is None:
            raise Unavailable(f"{host} has no {spec.filename}")
        stated = found.digests.get("sha256")
        if stated is not None and stated != spec.sha256:
            raise Unavailable(f"{host} has another {spec.filename} (sha256 {stated})")
        if local_path(found.url) is not None and local is None:
            raise Unavailable(f"{host} points to a file of this machine")
        return found.url

    def _page(self, url: str, project: str) -> ProjectPage:
        for attempt in range(PAGE_ATTEMPTS):
            try:
                return self._read_page(url, project)
            except Unavailable as error:
                if not error.transient or attempt + 1 == PAGE_ATTEMPTS:
                    raise
                time.sleep(RETRY_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _read_page(self, url: str, project: str) -> ProjectPage:
        with self.get(url, {"Accept": ACCEPT_ANY}) as response:
            try:
                body = b""
                for piece in response.iter_content(1 << 16):
                    body += piece
                    if len(body) > MAX_PAGE_BYTES:
                        raise Unavailable(f"{_host(url)} lists more than {MAX_PAGE_BYTES} bytes")
            except (requests.RequestException, HTTPError, OSError) as error:
                raise unavailable(error, url) from None
            base, kind = response.url, response.headers.get("Content-Type", "")
        try:
            if "json" in kind:
                return ProjectPage.from_json_data(json.loads(body), base)
            return ProjectPage.from_html(project, body, base, response.encoding)
        except (ValueError, KeyError, TypeError, UnsupportedRepoVersionError) as error:
            raise Unavailable(f"{_host(url)} answers with no package list ({error})") from None

    def _auth(self, url: str) -> tuple[str, str] | None:
        """Credentials for this address's host; None lets `requests` look into the user's .netrc."""
        host = urlsplit(without_credentials(url)).netloc
        for index in (url, *self.config.indexes):
            found = credentials(index)
            if found and urlsplit(without_credentials(index)).netloc == host:
                return found
        return None

    def _check_scheme(self, url: str) -> None:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and (parts.hostname in _LOCAL_HOSTS or self.config.trusts(url))
        if parts.scheme != "https" and not plain:
            raise Unavailable(f"{_host(url)} offers plain {parts.scheme}, which needs pip's trusted-host")


def _local_page(path: Path, project: str) -> ProjectPage:
    if not path.is_file():
        raise Unavailable(f"{path.parent.parent} does not hold {project}")
    return ProjectPage.from_html(project, path.read_bytes(), path.as_uri())


def _host(url: str) -> str:
    """How an index is called in messages."""
    return urlsplit(url).hostname or urlsplit(url).path


def unavailable(error: Exception, url: str) -> Unavailable:
    """What went wrong on the way, in a few words."""
    host = _host(url)
    if isinstance(error, requests.exceptions.SSLError):
        return Unavailable(f"the certificate of {host} is not accepted (pip's option cert names a CA bundle)")
    if isinstance(error, requests.exceptions.ProxyError):
        return Unavailable(f"the proxy refuses the way to {host}", transient=True)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Unavailable(f"{host} does not answer within {CONNECT_TIMEOUT_S:g} s", transient=True)
    if isinstance(error, requests.exceptions.ReadTimeout):
        return Unavailable(f"{host} sent nothing for {READ_TIMEOUT_S:g} s", transient=True)
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError | HTTPError):
        return Unavailable(f"no connection to {host}", transient=True)
    return Unavailable(f"{host}: {type(error).__name__}")


def _refused(status: int, url: str) -> Unavailable:
    host = _host(url)
    if status in {401, 403, 407}:
        return Unavailable(f"{host} refuses the credentials of the pip configuration (status {status})")
    if status == 404:
        return Unavailable(f"{host} does not hold it")
    return Unavailable(f"{host} answers with status {status}", transient=status >= 500 or status == 429)


class _UncheckedAdapter(HTTPAdapter):
    """For pip's trusted-host: no certificate is checked. The sha256 of every file still is."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send without checking the certificate, and without the warning the user has already answered."""
        kwargs["verify"] = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)
            return super().send(request, *args, **kwargs)
