"""What ends a command early: which exit code, and the one line for the user."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from penjing.core.errors import PenjingError, left_by

INTERRUPTED, TERMINATED, PIPE_CLOSED = 130, 143, 141
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Terminated(BaseException):
    """SIGTERM; no `Exception`, so that nothing on the way mistakes it for a failure it can handle."""


@dataclass(frozen=True)
class Failure:
    """What is said and returned.

    Args:
        exit_code: of the process.
        message: one line; empty: nothing is to be said.
        document: the same for `--json`.
    """

    exit_code: int
    message: str
    document: dict[str, Any]


def explain(error: BaseException, *, place: str | None = None) -> Failure | None:
    """What to say of an exception, or None for a bug of ours, which keeps its traceback.

    Args:
        error: what ended the command.
        place: what was interrupted, where the exception itself does not say what it left, and where.
    """
    left = left_by(error)
    again = f"run {left.go_on}" if left and left.go_on else "run the same command again"
    again += "; it goes on where it was" if left and left.resumes else ""
    if isinstance(error, PenjingError):
        return _failure(error, type(error).__name__, error.exit_code)
    if isinstance(error, KeyboardInterrupt | Terminated):
        name, code = (
            ("Interrupted", INTERRUPTED) if isinstance(error, KeyboardInterrupt) else ("Terminated", TERMINATED)
        )
        what, where = (f"{name.lower()}; {left.what}", left.where) if left else (name.lower(), place)
        return _failure(PenjingError(what, where=where, next_step=again), name, code)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Failure(PIPE_CLOSED, "", {})
    if (
        isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError)
        and error.filename
    ):
        reason = os.strerror(error.errno or 0).lower()
        place = os.fsdecode(error.filename)
        return _failure(PenjingError(reason, where=place, next_step="check the path"), "PenjingError", 2)
    full = _full_disk(error)
    if full is not None:
        step = f"free some space and {again}"
        return _failure(PenjingError("the disk is full", where=full or None, next_step=step), "PenjingError", 2)
    return None


def tell(failure: Failure, *, as_json: bool, language: str = "en") -> None:
    """Print a failure: JSON on standard output, which is English, else one line on standard error.

    Args:
        failure: from `explain`.
        as_json: whether the command line asked for JSON.
        language: of the line, en or zh.
    """
    if not failure.message:
        return
    if as_json:
        print(json.dumps(failure.document, ensure_ascii=False))  # noqa: T201
        return
    from penjing.cli.terminal import printable

    line = f"error: {failure.message}"
    if language == "zh":
        from penjing.cli.zh import error_in_chinese

        pieces = {name: failure.document[name] for name in ("what", "where", "expected", "next_step")}
        line = f"错误：{error_in_chinese(**pieces)}"
    print(printable(line), file=sys.stderr)  # noqa: T201


def _failure(error: PenjingError, name: str, code: int) -> Failure:
    document = {**error.to_json(), "error": name, "message": error.message, "exit_code": code}
    return Failure(code, error.message, document)


def _full_disk(error: BaseException | None) -> str | None:
    """The path (or an empty text) where an exception comes from a full disk, else None.

    Libraries written in C++ and Rust (safetensors, torch, onnxruntime) raise errors of their own with the system's
    words in them.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return str(error.filename or "")
        if isinstance(error, Exception) and os.strerror(errno.ENOSPC) in str(error):
            return ""
        error = error.__cause__ or error.__context__
    return None
