"""Where a run works until it is finished: `<out>.partial`, renamed to `<out>` at the end.

So `<out>` either does not exist or is complete, and a killed run finds its own checkpoint again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from penjing.core.artifact import MANIFEST, file_sha256, write_atomic
from penjing.core.errors import ArtifactError, Left, PenjingError, left_by, note_left
from penjing.core.file_lock import try_lock
from penjing.data.sealed import is_sealed

IDENTITY = "run.json"
LOCK = "run.lock"
MODEL = "model.json"  # name → sha256 of the files that training starts from
QUOTE = "quote.json"
TRAINING = "training"
REPLACED = "replaced"  # the finished run that was at `out`, for the moment until the new one is
REPLACED_TEST = "replaced.test.jsonl"


@dataclass(frozen=True)
class WorkDir:
    """The directories of one run.

    Args:
        out: where the artifact will be.
        partial: where it is being made.
        resumed: whether an interrupted run of the same identity was found.
        lock: keeps other processes out while it is open.
        made: directories above `out` that were made for it, the innermost first.
    """

    out: Path
    partial: Path
    resumed: bool
    lock: IO[bytes] = field(repr=False)
    made: tuple[Path, ...] = ()

    def __enter__(self) -> WorkDir:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.lock.close()
        if error is None or not self.partial.exists():
            return
        _put_back(self.out, self.partial)
        left = _left_at(self.out, resumes=True)
        if left is None:  # ended before anything was learned, by whatever: nothing half-made is left
            left = Left(str(self.out), "nothing half-made is left", resumes=False)
            _clear(self.partial)
            shutil.rmtree(self.partial)
            for directory in self.made:
                if any(directory.iterdir()):  # another run has begun there meanwhile
                    break
                directory.rmdir()
        if not isinstance(error, PenjingError):  # which say all there is to say
            note_left(error, left)

    @property
    def stage(self) -> Path:
        """The future artifact."""
        return self.partial / "artifact"

    @property
    def training(self) -> Path:
        """Checkpoints and weights."""
        return self.partial / TRAINING

    @property
    def sealed_test(self) -> Path:
        """The test rows, beside the artifact."""
        return self.out.with_name(self.out.name + ".test.jsonl")

    def started_from(self, files: Mapping[str, str], *, overwrite: bool) -> None:
        """Note the model's files. What was made from other files (an edited local model, say) cannot be gone on with.

        Args:
            files: name → sha256.
            overwrite: discard what was made from others.

        Raises:
            ArtifactError: an interrupted run had begun with others, and is not to be discarded.
        """
        kept, text = self.partial / MODEL, json.dumps(files, sort_keys=True) + "\n"
        if kept.is_file() and kept.read_text(encoding="utf-8") != text:
            if _worth_keeping(self.partial) and not overwrite:
                raise _another_run(self.partial)
            if self.training.exists():
                shutil.rmtree(self.training)
            (self.partial / QUOTE).unlink(missing_ok=True)
        write_atomic(kept, text)

    def fresh_stage(self) -> Path:
        """An empty directory for the artifact; half-made ones of an interrupted run are dropped."""
        if self.stage.exists():
            shutil.rmtree(self.stage)
        self.stage.mkdir(parents=True)
        return self.stage

    def finish(self, overwrite: bool) -> None:
        """Put the finished artifact in its place; with `overwrite`, the one that is there goes only then."""
        if _is_empty(self.out):
            self.out.rmdir()  # not every system renames onto a directory
        elif self.out.exists() and overwrite:
            replaced = self.partial / REPLACED
            if replaced.exists():
                shutil.rmtree(replaced)
            if self.sealed_test.is_file():  # first, and a copy: until `out` is gone, it is that run's
                shutil.copyfile(self.sealed_test, self.partial / REPLACED_TEST)
            self.out.rename(replaced)
        test = self.partial / self.sealed_test.name
        if test.is_file():
            test.replace(self.sealed_test)
        self.stage.replace(self.out)
        # From here on nothing is to be put back, whatever ends this.
        (self.partial / REPLACED_TEST).unlink(missing_ok=True)
        if (self.partial / REPLACED).exists():
            (self.partial / REPLACED).rename(self.partial / "discarded")
        self.lock.close()
        _clear(self.partial)
        shutil.rmtree(self.partial)


def open_workdir(out: Path, identity: str, *, overwrite: bool) -> WorkDir:
    """Claim an output directory, until the block that this is opened with ends.

    Args:
        out: where the artifact shall be.
        identity: digest of recipe, data and libraries; an interrupted run is resumed only when it is equal.
        overwrite: replace a finished run, when this one is finished; discard an interrupted one with other settings.

    Raises:
        ArtifactError: it holds a finished run, another interrupted run, one that is under way, or files of something
            else.
    """
    partial = out.with_name(out.name + ".partial")
    if (partial / REPLACED).exists():  # killed while the new run took the old one's place
        with _claim(partial):
            _put_back(out, partial)
    refuse_occupied(out, overwrite=overwrite)
    found = _identity(partial)
    resumed = found == identity  # with `overwrite` too: it would only make the same weights again
    if not resumed:
        _refuse_foreign_test(out, overwrite=overwrite)
    if found is not None and not resumed and not overwrite and _worth_keeping(partial):
        raise _another_run(partial)
    made = tuple(directory for directory in partial.parents if not directory.exists())
    partial.mkdir(parents=True, exist_ok=True)
    work = WorkDir(out, partial, resumed, _claim(partial), made)
    try:
        if not resumed:
            _clear(partial)
        write_atomic(partial / IDENTITY, json.dumps({"identity": identity, "pid": os.getpid()}) + "\n")
    except BaseException as error:
        work.__exit__(type(error), error, error.__traceback__)
        raise
    return work


@contextmanager
def interruptions_noted(out: Path) -> Iterator[None]:
    """Note on Ctrl-C and the like which run they ended, also before it has claimed its directory.

    Args:
        out: where the artifact shall be.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            # Whether an earlier run's training is this one's is not known yet, so that it goes on is not promised.
            found = _left_at(out, resumes=False)
            note_left(error, found or Left(str(out), "nothing was written yet", resumes=False))
        raise


def refuse_occupied(out: Path, *, overwrite: bool) -> None:
    """Refuse what no data and no recipe can make right, so that it can be said before any of them is read.

    Args:
        out: where the artifact shall be.
        overwrite: whether a finished run may be there.

    Raises:
        ArtifactError: it holds a finished run, or it or `<out>.partial` holds files of something else, or it is a
            mount point.
    """
    if os.path.ismount(out):
        raise ArtifactError(
            "is a mount point, which cannot be replaced by the finished run",
            where=str(out),
            next_step="give a directory inside it as --out",
        )
    above = next((place for place in out.absolute().parents if place.exists()), None)
    if above is not None and not above.is_dir():
        raise ArtifactError("is a file, so nothing can be made in it", where=str(above), next_step="give another --out")
    occupied = out.exists() and not _is_empty(out)
    finished = (out / MANIFEST).is_file()
    if occupied and finished and not overwrite:
        raise ArtifactError(
            "already holds a finished run", where=str(out), next_step="give another --out, or --overwrite to replace it"
        )
    if occupied and not finished:
        raise ArtifactError(
            "holds files that are not a run of penjing, which are never deleted",
            where=str(out),
            next_step="give another --out",
        )
    partial = out.with_name(out.name + ".partial")
    known = not partial.exists() or (partial / IDENTITY).is_file() or _is_fresh(partial)
    if not known:
        raise ArtifactError(
            "holds files that are not a run of penjing, which are never deleted",
            where=str(partial),
            next_step="give another --out",
        )


def _refuse_foreign_test(out: Path, *, overwrite: bool) -> None:
    """The sealed test rows go beside `out`; a file of that name that no run wrote is the user's own.

    Raises:
        ArtifactError: there is such a file.
    """
    path = out.with_name(out.name + ".test.jsonl")
    if not path.exists():
        return
    written = None
    if (out / MANIFEST).is_file():
        try:
            written = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["test"]["sha256"]
        except (ValueError, KeyError, TypeError):
            written = None
    if written is not None and path.is_file() and file_sha256(path) == written:
        return
    if (not out.exists() or _is_empty(out)) and is_sealed(path):  # the run was deleted, or moved without its test rows
        if overwrite:
            return
        raise ArtifactError(
            "holds the test rows of a run that is no longer beside it",
            where=str(path),
            next_step="delete it, or replace it with --overwrite; put it beside the run if that was moved",
        )
    raise ArtifactError(
        "is not the test file of a run, and would be replaced by one",
        where=str(path),
        next_step="move it away, or give another --out",
    )


def _put_back(out: Path, partial: Path) -> None:
    """Where another run was to take the place of a finished one and did not, put that back with its test rows."""
    replaced, test = partial / REPLACED, partial / REPLACED_TEST
    if replaced.exists() and not out.exists():
        if test.is_file():
            test.replace(out.with_name(out.name + ".test.jsonl"))
        replaced.rename(out)


def _another_run(partial: Path) -> ArtifactError:
    return ArtifactError(
        "holds an interrupted run with other settings, data, model files or library versions",
        where=str(partial),
        next_step="give another --out, the same as then to resume it, or --overwrite to discard it",
    )


def _left_at(out: Path, *, resumes: bool) -> Left | None:
    partial = out.with_name(out.name + ".partial")
    return Left(str(partial), "what was trained so far is kept there", resumes) if _worth_keeping(partial) else None


def _worth_keeping(partial: Path) -> bool:
    """Whether an interrupted run has saved anything that took long to make."""
    return any((partial / TRAINING).rglob("*.safetensors"))


def _is_empty(path: Path) -> bool:
    """Whether this is a directory with nothing in it, as somebody makes one for a run to come."""
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _is_fresh(partial: Path) -> bool:
    """Whether a run was killed here before it had written anything of its own."""
    return partial.is_dir() and {path.name for path in partial.iterdir()} <= {LOCK, IDENTITY + ".part"}


def _claim(partial: Path) -> IO[bytes]:
    """Lock a directory until the handle is closed, or the process dies, however it dies.

    Raises:
        ArtifactError: another process is at work in it.
    """
    handle = (partial / LOCK).open("a+b")
    if not try_lock(handle):
        handle.close()
        raise ArtifactError(
            "another run is at work here", where=str(partial), next_step="wait for it, or give another --out"
        )
    return handle


def _clear(partial: Path) -> None:
    # The identity goes last: a second Ctrl-C may end this, and without it what is left would pass for somebody's files.
    for path in sorted(partial.iterdir(), key=lambda path: path.name == IDENTITY):
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _identity(partial: Path) -> str | None:
    path = partial / IDENTITY
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except (ValueError, KeyError):
        return None


# Not allowed, or a path that leads through a file or a place where nothing can be made.
_BAD_PLACES = {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP}


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full disk, or one that cannot be written, into one line for the user; another file is named itself."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and error.errno not in _BAD_PLACES:
            raise
        detail = os.strerror(error.errno or 0)
        named = error.filename
        if isinstance(named, str | bytes | os.PathLike) and not _is_of(Path(os.fsdecode(named)), where):
            raise PenjingError(
                f"cannot be used ({detail})",
                where=os.fsdecode(named),
                next_step="free some space there" if full else "check the path and its rights",
            ) from error
        if full:
            left = left_by(error)
            goes_on = ": it resumes" if left and left.resumes else ""
            raise PenjingError(
                "the disk is full", where=str(where), next_step=f"free some space and run the same command{goes_on}"
            ) from error
        raise PenjingError(f"cannot be written ({detail})", where=str(where), next_step="give another --out") from error


def _is_of(path: Path, out: Path) -> bool:
    """Whether a path belongs to a run at `out`: inside it or what stands beside it, or a directory above."""
    path, out = Path(os.path.realpath(path)), Path(os.path.realpath(out))
    own = {out, out.with_name(out.name + ".partial"), out.with_name(out.name + ".test.jsonl")}
    return not own.isdisjoint({path, *path.parents}) or path in out.parents
