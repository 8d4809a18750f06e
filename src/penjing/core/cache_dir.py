"""Where this user's caches are: fetched files, measurements, certificates of this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$PENJING_CACHE`, else `$XDG_CACHE_HOME/penjing`, else `~/.cache/penjing`; it may not exist yet."""
    chosen = os.environ.get("PENJING_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that relative paths are to be ignored.
    root = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    return root / "penjing"
