"""One file over HTTP: streamed to a partial file, resumed after interruptions, bounded in size."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.core.errors import FetchError
from penjing.core.events import Listener, Progress
from penjing.core.fetch.cache import require_space

if TYPE_CHECKING:
    import requests

    from penjing.core.fetch.index import IndexSession

PIECE_BYTES = 1 << 18
EVENT_INTERVAL_S = 0.1
ATTEMPTS_WITHOUT_PROGRESS = 3
MAX_ATTEMPTS = 20
RETRY_PAUSE_S = 0.5


def download(session: IndexSession, url: str, part: Path, *, max_bytes: int, listener: Listener, note: str) -> None:
    """Complete a partial file, in as many attempts as make progress.

    Args:
        session: how to ask.
        url: what to ask for.
        part: where it goes; what it holds already is not asked for again if the server can send ranges. It stays when
            this fails, so that a later call resumes.
        max_bytes: bound on the whole file.
        listener: told of every 0.1 s.
        note: what the listener may show.

    Raises:
        FetchError: the file is larger than the bound, or the disk has no room for it.
        Unavailable: the server refuses or keeps breaking off.
    """
    from penjing.core.fetch.index import Unavailable

    stuck = 0
    for attempt in range(MAX_ATTEMPTS):
        before = _size(part)
        try:
            _stream(session, url, part, max_bytes, listener, note)
            return
        except Unavailable as error:
            stuck = stuck + 1 if _size(part) <= before else 0
            if not error.transient or stuck == ATTEMPTS_WITHOUT_PROGRESS or attempt + 1 == MAX_ATTEMPTS:
                raise
            time.sleep(RETRY_PAUSE_S * (stuck + 1))


def _stream(session: IndexSession, url: str, part: Path, max_bytes: int, listener: Listener, note: str) -> None:
    """One request, appended to the partial file where the server sends a range."""
    import requests
    from urllib3.exceptions import HTTPError

    from penjing.core.fetch.index import Unavailable, unavailable

    have = _size(part)
    # Compressed transfer would make lengths and ranges mean another thing than the file's bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers) as response:
        start, total = _extent(response, have)
        if start is None:
            part.unlink(missing_ok=True)
            raise Unavailable("the server cannot resume here", transient=True)
        _check_size(total, max_bytes, note)
        if total is not None:
            require_space(part.parent, total - start)
        done, told = start, 0.0
        with part.open("ab" if start else "wb") as target:
            try:
                for piece in response.iter_content(PIECE_BYTES):
                    target.write(piece)
                    done += len(piece)
                    _check_size(done, max_bytes, note)
                    if time.monotonic() - told > EVENT_INTERVAL_S:
                        told = time.monotonic()
                        listener(Progress("fetch", done, total, "bytes", note))
            except (requests.RequestException, HTTPError) as error:
                raise unavailable(error, url) from None
    if total is not None and done < total:
        raise Unavailable("the server broke off", transient=True)
    listener(Progress("fetch", done, total or done, "bytes", note))


def _extent(response: requests.Response, have: int) -> tuple[int | None, int | None]:
    """(first byte the response carries, bytes of the whole file or None where not said); first None: useless."""
    if response.status_code == 206:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if stated is None or int(stated[1]) != have:
            return None, None
        return have, None if stated[2] == "*" else int(stated[2])
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    return None, None


def _check_size(size: int | None, max_bytes: int, note: str) -> None:
    if size is not None and size > max_bytes:
        raise FetchError(f"the file has {size} bytes or more", where=note, expected=f"at most {max_bytes}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
