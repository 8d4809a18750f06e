"""Models from the Hugging Face hub, for those who can reach it and have the extra installed.

Three files are asked for by name, all of them data: never pickled weights, never code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penjing.core.errors import FetchError, MissingExtraError
from penjing.core.events import Listener, Notice
from penjing.models.local import REQUIRED_FILES

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
HUB_TIMEOUT_S = 5.0


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
    if not hub_installed():
        raise MissingExtraError("huggingface_hub", "hub")
    if into is None:
        cached = _cached(hub_id)
        if cached is not None:
            return cached
    if offline or hub_forbidden():
        raise FetchError(
            "not in the hub's cache, and fetching was forbidden",
            where=hub_id,
            next_step="run it once without the offline setting (HF_HUB_OFFLINE)",
        )
    listener(Notice("fetch", f"fetching {hub_id} from the model hub"))
    with _explained(hub_id):
        _require_files(hub_id)
        return [_download(hub_id, name, into) for name in REQUIRED_FILES][-1].parent


def _cached(hub_id: str) -> Path | None:
    """The snapshot in the client's own cache that has all files, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(hub_id, name) for name in REQUIRED_FILES]
    paths = {Path(path).parent for path in found if isinstance(path, str)}
    return paths.pop() if all(isinstance(path, str) for path in found) and len(paths) == 1 else None


def _require_files(hub_id: str) -> None:
    """Ask what the model has, once: the client's download retries for 25 s where the hub cannot be reached."""
    from huggingface_hub import HfApi

    found = {sibling.rfilename for sibling in HfApi().model_info(hub_id, timeout=HUB_TIMEOUT_S).siblings or ()}
    missing = [name for name in REQUIRED_FILES if name not in found]
    if missing:
        raise FetchError(
            f"the hub has no {', '.join(missing)} for this model",
            where=hub_id,
            expected=", ".join(REQUIRED_FILES),
            next_step="choose another model; pickled or split weights and slow tokenizers are not read",
        )


def _download(hub_id: str, name: str, into: Path | None) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(hub_id, name, local_dir=into, etag_timeout=HUB_TIMEOUT_S))


@contextmanager
def _explained(hub_id: str) -> Iterator[None]:
    """Turn what the client raises into a `FetchError` of one line."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise FetchError(
            "the hub asks you to accept the model's terms", where=hub_id, next_step="log in: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise FetchError(
            "the hub has no such public model", where=hub_id, next_step="check the name, or log in: hf auth login"
        ) from None
    except HfHubHTTPError as error:
        raise FetchError(
            f"the model hub answers with status {error.response.status_code}", where=hub_id, next_step="try again later"
        ) from None
    except (HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError):
        raise FetchError(
            "the model hub cannot be reached",
            where=hub_id,
            next_step="connect to the network, or give a local directory or a catalog name (penjing models)",
        ) from None
