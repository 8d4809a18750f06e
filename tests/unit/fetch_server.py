"""A package index on this machine for the tests of fetching: it can break off, demand a password, and count."""

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from penjing.core.fetch import PackageFile

WHEEL = "pots-1.0-cp99-cp99-win_arm64.whl"  # no machine that runs these tests could install it
SDIST = "pots-1.0.tar.gz"


@dataclass
class Index:
    """What the server serves and what it has seen.

    Args:
        files: file name → bytes.
        break_after: lengths after which the next answers break off, one each.
        ranges: whether it can resume.
        password: demanded as user "gardener"; None: open.
        stated_sha256: put into the listing in place of the true one.
        file_root: address before the file names, where another server has them.
    """

    files: dict[str, bytes]
    break_after: list[int] = field(default_factory=list)
    ranges: bool = True
    password: str | None = None
    stated_sha256: str | None = None
    file_root: str = "/files/"
    claimed_length: int | None = None
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    @property
    def simple(self) -> str:
        return f"{self.address}/simple"

    def file_requests(self) -> list[dict[str, str]]:
        return [headers for path, headers in self.seen if path.startswith("/files/")]

    def page(self) -> bytes:
        links = []
        for name, data in self.files.items():
            sha256 = self.stated_sha256 or hashlib.sha256(data).hexdigest()
            links.append(f'<a href="{self.file_root}{name}#sha256={sha256}">{name}</a>')
        return f"<html><body>{''.join(links)}</body></html>".encode()


class Handler(BaseHTTPRequestHandler):
    """Answers for the index that a subclass names."""

    index: Index
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.index.seen.append((self.path, dict(self.headers)))
        if self.index.password is not None and not self._known():
            return self._answer(401, b"")
        path = urlsplit(self.path).path
        if path == "/simple/pots/":
            return self._answer(200, self.index.page(), {"Content-Type": "text/html"})
        data = self.index.files.get(path.removeprefix("/files/"))
        if data is None:
            return self._answer(404, b"")
        return self._answer(*self._part(data))

    def _part(self, data: bytes) -> tuple[int, bytes, dict[str, str]]:
        asked = self.headers.get("Range")
        if not asked or not self.index.ranges:
            return 200, data, {}
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            return 416, b"", {}
        return 206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}

    def _known(self) -> bool:
        expected = base64.b64encode(f"gardener:{self.index.password}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        is_file = self.path.startswith("/files/")
        length = self.index.claimed_length if is_file and self.index.claimed_length else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if is_file and self.index.break_after:
            body = body[: self.index.break_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(index: Index) -> Iterator[Index]:
    """Run the index while the block runs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("IndexHandler", (Handler,), {"index": index}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    index.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wheel(members: dict[str, bytes]) -> bytes:
    """A zip archive, uncompressed so that its length is known to be large."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def sdist(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A tar.gz archive, with symbolic links where asked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def spec_for(filename: str, data: bytes, members: dict[str, str], **options: int) -> PackageFile:
    """What fetches these members of a file of the package "pots"."""
    return PackageFile(
        package="pots",
        version="1.0",
        filename=filename,
        sha256=hashlib.sha256(data).hexdigest(),
        members={member: (target, None) for member, target in members.items()},
        **options,
    )
