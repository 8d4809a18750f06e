"""How an artifact is run: by which backend, with how many threads, in which precision, in batches of which size."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from penjing.core.errors import RecipeError

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
DEFAULT_BACKEND = "onnxruntime"
# Rows × longest row of a batch. On a CPU larger batches gain nothing and fall out of the caches: MiniLM on one core of
# an AMD EPYC labelled 257 rows a second of CPU time at 256 and at 512, 236 at 1024 and 215 at 2048.
BATCH_TOKENS = 512
BATCH_ROWS = 64
MOST_WORKERS = 256
# Of rows padded by their own length: few shapes, and little padding.
LENGTH_STEP = 8
_GREATEST = {
    "threads": 1024,
    "batch_tokens": 1 << 20,
    "batch_rows": 1 << 16,
    "workers": MOST_WORKERS,
    "length_step": 1024,
}
_MAX_NAME = 100


@dataclass(frozen=True)
class Setup:
    """What a predictor may choose without changing the model.

    Args:
        backend: name of a registered backend.
        threads: threads of one run; None: one a physical core this process may use.
        precision: in which the backend may compute a model of 32 bits; bf16 is a hint that OpenVINO takes.
        batch_tokens: greatest rows × longest row of a batch.
        batch_rows: greatest number of rows of a batch.
        workers: batches at the same time, each with `threads`; where a model is small, several runs on a thread each do
            more than one run on all, for they are read and written meanwhile.
        length_step: rows are padded to a multiple of so many tokens, each by its own length, and run with those of the
            same, see `like_length`; 0: to the longest row of a batch.

    Raises:
        RecipeError: a value of another type or out of bounds.
    """

    backend: str = DEFAULT_BACKEND
    threads: int | None = None
    precision: Precision = "fp32"
    batch_tokens: int = BATCH_TOKENS
    batch_rows: int = BATCH_ROWS
    workers: int = 1
    length_step: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.backend, str) or not 0 < len(self.backend) <= _MAX_NAME:
            raise RecipeError(f"is {self.backend!r:.100}", where="backend", expected="a backend's name")
        if self.precision not in PRECISIONS:
            raise RecipeError(
                f"is {self.precision!r:.100}", where="precision", expected="one of " + ", ".join(PRECISIONS)
            )
        for name, most in _GREATEST.items():
            value = getattr(self, name)
            if value is None and name == "threads":
                continue
            least = int(name != "length_step")
            if type(value) is not int or not least <= value <= most:
                raise RecipeError(f"is {value!r:.100}", where=name, expected=f"a whole number from {least} to {most:,}")

    @classmethod
    def of_backend(cls, backend: str, threads: int | None = None, precision: Precision = "fp32") -> Self:
        """A backend that nothing was measured of here; on OpenVINO answers are the same whatever stands beside a row.

        See docs/decisions/0032-rows-padded-by-their-own-length.md.
        """
        return cls(backend, threads, precision, length_step=LENGTH_STEP if backend == "openvino" else 0)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Inverse of `to_json`.

        Raises:
            RecipeError: not an object, an unknown key, or a value out of bounds.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or not values.keys() <= set(known):
            raise RecipeError("is no setup", where="setup", expected="an object with " + ", ".join(known))
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        threads = "a thread a core" if self.threads is None else f"threads {self.threads}"
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        steps = f", lengths in steps of {self.length_step}" if self.length_step else ""
        return f"{self.backend} ({threads}{workers}, {self.precision}, batches of {self.batch_tokens:,} tokens{steps})"
