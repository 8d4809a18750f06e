"""Which steps may follow which, and what they can be applied to."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.compress.encoders import encoder_config, has_layers
from penjing.compress.step import Method, StepConfig
from penjing.core import registry
from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError
from penjing.predict.task_file import read_task


def require_order(chain: Sequence[StepConfig], root: Artifact) -> None:
    """Refuse a chain that cannot be made of an artifact, before anything of it is.

    Raises:
        CapabilityError: a method does not support the task, or stands where its input is gone.
    """
    task, layers, as_it_was = read_task(root.path), has_layers(root), True
    for i, step in enumerate(chain):
        method: Method = registry.resolve("compressors", step.method)
        reason = method.supports(task)
        if reason:
            raise CapabilityError(
                f"{step.method} cannot be applied: {reason}",
                where=f"compress.chain[{i}]",
                next_step="leave this step out of the chain",
            )
        if (method.torch is not None or method.wrap is not None) and not has_layers(root):
            raise CapabilityError(
                f"{step.method} needs the trained layers of a BERT encoder, which the artifact does not keep",
                where=f"compress.chain[{i}]",
                next_step="compress the artifact that this one was made from, or leave this step out of the chain",
            )
        if method.torch is not None and not layers:
            raise CapabilityError(
                f"{step.method} changes the trained layers, which are gone after {chain[i - 1].method}",
                where=f"compress.chain[{i}]",
                next_step=f"put {step.method} before {chain[i - 1].method}",
            )
        if step.method == "vocabulary" and i:
            raise CapabilityError(
                "the vocabulary is pruned first: what was learned from its teacher has the teacher's tokens",
                where=f"compress.chain[{i}]",
                next_step="put vocabulary first",
            )
        if i and registry.resolve("compressors", chain[i - 1].method).store is not None:
            raise CapabilityError(
                f"{step.method} would change files that {chain[i - 1].method} has packed",
                where=f"compress.chain[{i}]",
                next_step=f"put {chain[i - 1].method} last",
            )
        if i and chain[i - 1].method == "cascade" and method.store is None:
            raise CapabilityError(
                f"{step.method} would change one of two models, whose threshold was chosen for both",
                where=f"compress.chain[{i}]",
                next_step="put cascade last",
            )
        # Further down a chain the encoder is of other sizes, but what stands in front of two is made of the teacher.
        if method.refuse is not None and (as_it_was or method.wrap is not None):
            method.refuse(step, task, encoder_config(root))
        as_it_was = as_it_was and step.method == "vocabulary"
        layers = layers and method.torch is not None
