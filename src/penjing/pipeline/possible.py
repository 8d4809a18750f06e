"""Before anything is trained: whether any model at all can fit what the budget allows a prediction to cost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from penjing.compress.measured import LIMITS, Quality, has_cost_limits
from penjing.core import registry
from penjing.core.artifact import Artifact, seal
from penjing.core.events import Listener
from penjing.core.recipe import Recipe
from penjing.core.task import Task
from penjing.data.prepare import Prepared
from penjing.models.pretrained import Pretrained
from penjing.pipeline.compressing import new_search
from penjing.pipeline.training import build_task, exhaust
from penjing.predict.task_file import predict_files, write_task
from penjing.select.quote import Quote


def require_possible_budget(
    recipe: Recipe, prepared: Prepared, pretrained: Pretrained | None, quote: Quote | None, listener: Listener
) -> None:
    """Measure the smallest model that compressing could come to, where the trained one is not expected to fit.

    Args:
        recipe: with the budget.
        prepared: the rows.
        pretrained: what training would start from.
        quote: what the trained model is expected to cost; None: unknown.
        listener: told of progress.

    Raises:
        BudgetError: even that one misses a limit.
    """
    if pretrained is None or not has_cost_limits(recipe.budget) or recipe.stage("compress").chain is not None:
        return  # a chain that was asked for is made whatever comes of it
    if quote is not None and not LIMITS.keys() & quote.over_budget.keys():
        return
    task = build_task(prepared, pretrained, recipe.stage("train").max_length)
    if registry.resolve("compressors", "distil").supports(task) is not None:
        return
    from penjing.compress.physics import require_possible
    from penjing.models.encoder import is_bert, read_config

    if not is_bert(read_config(pretrained.directory)):
        return
    with tempfile.TemporaryDirectory(prefix="penjing-") as name:
        root = _untrained(recipe, prepared, pretrained, task, Path(name) / "root")
        known = Quality(0.0, [], True)
        found = new_search(root, recipe, prepared.splits, [], Path(name) / "work", known, float("inf"))
        exhaust(require_possible(found), listener)


def _untrained(recipe: Recipe, prepared: Prepared, pretrained: Pretrained, task: Task, stage: Path) -> Artifact:
    """The pretrained model under a head that knows nothing: weights do not change what a model costs."""
    from penjing.compress.chain import write_model

    stage.mkdir()
    model = registry.load(task.trainer)().build_model(task, pretrained, recipe.stage("train"), recipe.seed).eval()
    rows = (prepared.splits.valid.rows or prepared.splits.train.rows)[: recipe.stage("export").parity_rows]
    write_model(model, task, rows, recipe.stage("export"), stage)
    write_task(task, stage)
    return seal(
        stage,
        kind=task.kind,
        capabilities={"predict_files": predict_files(task, stage), "precision": "fp32"},
        batch_invariant=False,
    )
