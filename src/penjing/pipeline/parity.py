"""How far a finished model is from the torch model that its file was written from, row by row.

Every step that exports compares its file with torch and fails where they differ by more than rounding. Steps after it
round on purpose, and backends round in their own ways; what all of that comes to is seen here, on the way that the
certificate chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.compress.step import StepConfig
from penjing.core import registry
from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError
from penjing.core.report import RowParity
from penjing.core.task import Prediction, Row
from penjing.predict.backend import Runner
from penjing.predict.cascade import CascadeBackend
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup
from penjing.predict.task_file import WEIGHTS, read_task

if TYPE_CHECKING:
    from penjing.compress.chain import Workshop

MOST_ROWS = 500
FAR = 0.1  # on average; 8 bits move probabilities by 0.01, and what is trained again by none of this
_BATCH = 32


def compare_with_torch(
    shop: Workshop, chain: Sequence[StepConfig], artifact: Artifact, setup: Setup, rows: Sequence[Row]
) -> RowParity | None:
    """Compare the model behind any first stage with the last link of its chain that keeps weights.

    Args:
        shop: that made the chain.
        chain: its steps.
        artifact: finished.
        setup: how it is run.
        rows: to compare on; some of them, evenly spread, where there are many.

    Returns:
        None where no torch model is kept, or there are no rows.

    Raises:
        ArtifactError: they are so far apart that the file or the backend must be broken.
    """
    source = _last_with_weights(shop, chain)
    if source is None or not rows:
        return None
    task = read_task(source.path)  # temperature and thresholds are those of the source on both sides
    torch: Any = registry.resolve("backends", "torch")
    before: Runner = torch.open(source, task.signature, setup.threads)
    after = Predictor(artifact, setup=setup).backend
    after = after.rest if isinstance(after, CascadeBackend) else after
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)]
    answers: list[list[Prediction]] = [[], []]
    for start in range(0, len(chosen), _BATCH):
        batch = task.encode(chosen[start : start + _BATCH])
        for found, runner in zip(answers, (before, after), strict=True):
            found += task.predict(runner.run, batch)
    apart_N = _distances(*answers)
    flipped = sum(_otherwise(one, other) for one, other in zip(*answers, strict=True))
    parity = RowParity(rows=len(chosen), flipped=flipped, mean=float(apart_N.mean()), max=float(apart_N.max()))
    if not parity.mean <= FAR:
        raise ArtifactError(
            f"on {setup.backend} the compressed model's answers are {parity.mean:.2g} from those of the torch model it "
            f"was made from, on average of {parity.rows:,} rows (at most {FAR:g})",
            where=str(artifact.path),
            next_step="leave out the step that rounds: --set compress.methods=[...]",
        )
    return parity


def _last_with_weights(shop: Workshop, chain: Sequence[StepConfig]) -> Artifact | None:
    current, found = shop.root, None
    for step in (None, *chain):
        made = current if step is None else shop.kept(current, step)
        if made is None:  # a search's own links are all kept
            return found
        current = made
        found = made if WEIGHTS in made.manifest["files"] else found
    return found


def _otherwise(one: Prediction, other: Prediction) -> bool:
    """Whether an answer is another; numbers always are, in their last digits."""
    return not isinstance(one.value, float) and one.value != other.value


def _distances(before: Sequence[Prediction], after: Sequence[Prediction]) -> np.ndarray:
    """[N]: of probabilities of classes half the sum of differences, of labels the greatest; of numbers a quarter of the
    difference in standard deviations, as `Drift`; of spans whether they differ.
    """
    if before[0].probs is not None:
        old_NC, new_NC = (np.stack([one.probs for one in side if one.probs is not None]) for side in (before, after))
        differences = np.abs(old_NC - new_NC)
        whole = np.allclose(old_NC.sum(-1), 1, atol=1e-3)
        return np.asarray(differences.sum(-1) / 2 if whole else differences.max(-1))
    if isinstance(before[0].value, float):
        old_N, new_N = (np.array([one.value for one in side], float) for side in (before, after))
        return np.asarray(np.abs(old_N - new_N) / (4 * (old_N.std() or 1.0)))
    return np.array([float(_otherwise(a, b)) for a, b in zip(before, after, strict=True)])
