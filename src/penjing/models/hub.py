"""Models from the Hugging Face hub, for those who can reach it and have the extra installed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from penjing.core.errors import FetchError, MissingExtraError
from penjing.core.events import Listener, Notice
from penjing.models.local import REQUIRED_FILES

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
ETAG_TIMEOUT_S = 5.0
# Only data: never pickled weights, never code.
ALLOWED_FILES = [*REQUIRED_FILES, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]


def is_hub_id(name: str) -> bool:
    """Whether a name has the form organisation/model."""
    return HUB_ID.fullmatch(name) is not None and ".." not in name


def hub_installed() -> bool:
    """Whether the extra is there."""
    try:
        import huggingface_hub  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def hub_forbidden() -> bool:
    """Whether the user has told the hub's client to stay offline."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch_from_hub(hub_id: str, listener: Listener, *, offline: bool = False, into: Path | None = None) -> Path:
    """A directory with the model's files.

    Args:
        hub_id: organisation/model.
        listener: told where the network is used.
        offline: look into the client's own cache only.
        into: an existing directory to put the files into; None: the client's own cache.

    Raises:
        MissingExtraError: `huggingface_hub` is not installed.
        FetchError: no such model, not reachable, or not cached and offline.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ModuleNotFoundError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    arguments: dict[str, Any] = {"allow_patterns": ALLOWED_FILES, "etag_timeout": ETAG_TIMEOUT_S}
    if into is None:
        try:
            cached = Path(snapshot_download(hub_id, local_files_only=True, **arguments))
            if all((cached / name).is_file() for name in REQUIRED_FILES):
                return cached
        except LocalEntryNotFoundError:
            pass  # the usual first time: go on to the network
    if offline or hub_forbidden():
        raise FetchError(
            "not in the hub's cache, and fetching was forbidden",
            where=hub_id,
            next_step="run it once without the offline setting (HF_HUB_OFFLINE)",
        )
    listener(Notice("fetch", f"fetching {hub_id} from the model hub"))
    try:
        return Path(snapshot_download(hub_id, local_dir=into, **arguments))
    except GatedRepoError:
        raise FetchError(
            "the hub asks you to accept the model's terms", where=hub_id, next_step="log in: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise FetchError(
            "the hub has no such public model", where=hub_id, next_step="check the name, or log in: hf auth login"
        ) from None
    except (LocalEntryNotFoundError, ConnectionError, TimeoutError):
        raise FetchError(
            "the model hub cannot be reached",
            where=hub_id,
            next_step="connect to the network, or give a local directory or a catalog name (penjing models)",
        ) from None
