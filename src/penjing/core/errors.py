"""The error tree. Everything a user can cause derives from `PenjingError`.

    PenjingError            exit code 2; printed without a traceback
    ├── RecipeError         a recipe or a command-line option is wrong
    ├── DataError           the user's data cannot be used as it is
    ├── ArtifactError       an artifact is missing, damaged, tampered with or too new
    ├── CapabilityError     the request is well-formed, but this task, model or machine cannot do it
    ├── MissingExtraError   an optional dependency is not installed
    ├── BudgetError         nothing can fit the budget here; exit code 3
    └── FetchError          a pretrained model or a data set could not be obtained

Anything else that escapes is our bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace


class PenjingError(Exception):
    """A mistake the user can mend.

    Args:
        what: what was found, in one sentence, with the value received.
        where: the place (file, file:row, recipe key), if there is one.
        expected: what would have been accepted.
        next_step: the one thing to do now, in the imperative; where None, what usually helps with this kind of error.
    """

    exit_code = 2
    usual_next_step = "correct it and try again"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.next_step = next_step
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """One line: place, finding, expectation, next step."""
        return f"{self.finding} {_sentence(f'Next: {self.next_step or self.usual_next_step}')}"

    @property
    def finding(self) -> str:
        """The line without the next step, for those who go on by themselves or say a step of their own."""
        found = _sentence(f"{self.where}: {self.what}" if self.where else self.what)
        return f"{found} {_sentence(f'Expected {self.expected}')}" if self.expected else found

    def to_json(self) -> dict[str, str | None]:
        """The same, as a JSON object."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "next_step": self.next_step or self.usual_next_step,
        }


class RecipeError(PenjingError):
    """A recipe or a command-line option is wrong."""

    usual_next_step = "correct it; --help and docs/recipe.md say what is accepted"


class DataError(PenjingError):
    """The user's data cannot be used as it is."""


class ArtifactError(PenjingError):
    """An artifact is missing, incomplete, damaged, tampered with or too new."""

    usual_next_step = "use an undamaged copy, or make it again"


class CapabilityError(PenjingError):
    """A well-formed request that this task, model or machine cannot carry out."""

    usual_next_step = "choose another setting, or leave it to the default"


class BudgetError(PenjingError):
    """Nothing can fit the budget on this machine."""

    exit_code = 3
    usual_next_step = "relax the limit, or run on a faster machine"


class FetchError(PenjingError):
    """A pretrained model or data set could not be obtained."""

    usual_next_step = "do not use the file; try again, and if it stays so, ask whoever keeps the index"


class MissingExtraError(PenjingError):
    """An optional dependency is not installed.

    Args:
        module: the import that failed.
        extra: the extra of this package that brings it.
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"the optional dependency '{module}' is not installed",
            next_step=f'in the folder of penjing: pip install ".[{extra}]"',
        )


@dataclass(frozen=True)
class Left:
    """What was left on the disk by work that ended early.

    Args:
        where: the directory.
        what: half a sentence for the user.
        resumes: whether the same call goes on with it.
        go_on: the command that goes on instead; empty: the same call again.
    """

    where: str
    what: str
    resumes: bool
    go_on: str = ""


def note_left(error: BaseException, left: Left) -> None:
    """Note on an exception what was left, for whoever shows it: Ctrl-C is no error of ours, and has no message.

    The first to note knew most; later notes do not replace it.
    """
    if left_by(error) is None:
        vars(error)["left"] = left
        error.add_note(f"{left.where}: {left.what}")  # in the traceback of a Python program


def go_on_with(error: BaseException, command: str) -> None:
    """Say which command goes on with what was left, where the same call would not."""
    left = left_by(error)
    if left is not None:
        vars(error)["left"] = replace(left, go_on=command)


def left_by(error: BaseException) -> Left | None:
    """What `note_left` noted; None: nothing."""
    found = vars(error).get("left")
    return found if isinstance(found, Left) else None


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def closest(given: str, accepted: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The accepted name most like the given one, or None when nothing is near.

    Args:
        given: what the user wrote.
        accepted: what would have been right.
        cutoff: least similarity, 0 to 1; higher where the accepted names are any, such as the files of a directory.
    """
    names = list(accepted)
    lowered = {name.lower(): name for name in names}
    found = difflib.get_close_matches(given.lower(), list(lowered), n=1, cutoff=cutoff)
    return lowered[found[0]] if found else None
