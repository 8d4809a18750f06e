"""Libraries that send events to their makers as soon as they are imported, imported so that they do not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

# The official builds of onnxruntime (since 1.29 on Linux and macOS, too) write an identifier of the device into the
# user's cache and start an uploader when they are loaded. This variable prevents both for the life of the process; the
# call `disable_telemetry_events` comes too late for the first event (its Privacy.md says so).
_ONNXRUNTIME = "ORT_DISABLE_TELEMETRY"
# OpenVINO and NNCF send an event from this package as they are imported, and do without it where it is absent.
_OPENVINO = "openvino_telemetry"
_importing = RLock()


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import onnxruntime, OpenVINO and NNCF in here; afterwards the environment is as it was."""
    with _importing:
        variable = os.environ.get(_ONNXRUNTIME)
        os.environ[_ONNXRUNTIME] = "1"
        loaded = _OPENVINO in sys.modules
        if not loaded:
            sys.modules[_OPENVINO] = None  # type: ignore[assignment]  # Python's own sign for: cannot be imported
        try:
            yield
        finally:
            if not loaded:
                del sys.modules[_OPENVINO]
            if variable is None:
                del os.environ[_ONNXRUNTIME]
            else:
                os.environ[_ONNXRUNTIME] = variable
