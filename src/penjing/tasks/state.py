"""What an artifact keeps of a task. It may come from anywhere, so whatever is not as a task wrote it is refused."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from penjing.core.errors import ArtifactError


class TaskState(BaseModel):
    """Fields of a task in JSON; the order of the fields is their order in the file, and unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return self.model_dump(mode="json")

    @classmethod
    def read(cls, state: dict[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        try:
            return cls.model_validate(state)
        except ValidationError as error:
            raise damaged(error) from None


def damaged(reason: object) -> ArtifactError:
    """The error of a state that cannot be used, on one line."""
    return ArtifactError(f"the task's state is damaged: {' '.join(str(reason).split())}")
