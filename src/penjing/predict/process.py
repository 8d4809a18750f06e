"""Asks a fresh process to predict and to measure itself; see `fresh_process`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.predict.setup import Setup

# A model so slow that one process needs this long cannot be measured in the time a user waits.
PROCESS_SECONDS = 300.0


def spread(inputs: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the inputs, evenly spaced."""
    assert inputs, "nothing to measure on"
    return [inputs[i] for i in np.linspace(0, len(inputs) - 1, min(len(inputs), most)).astype(int)]


def job_of(
    artifact: Artifact,
    inputs: Sequence[Any],
    setup: Setup,
    *,
    concurrency: int,
    seconds: float,
    answers: bool = False,
) -> dict[str, Any]:
    """What a fresh process is told; arguments as of `measure`, and whether it returns its answers, too."""
    return {
        "artifact": str(artifact.path),
        "inputs": list(inputs),
        "setup": setup.to_json(),
        "concurrency": concurrency,
        "seconds": seconds,
        "answers": answers,
    }


def in_fresh_process(artifact: Artifact, job: dict[str, Any]) -> dict[str, Any]:
    """Figures of one fresh process.

    Args:
        artifact: a verified artifact.
        job: see `job_of`.

    Raises:
        CapabilityError: the process did not end in time or was killed, or the setup cannot run this artifact.
        ArtifactError: another artifact has taken its place meanwhile.
    """
    found = figures_of(_run(job))
    # The process opened the directory again, by its path and without the key that may have been asked for.
    if found["manifest"] != artifact.manifest:
        raise ArtifactError(
            "manifest.json was changed while the artifact was being measured",
            where=str(artifact.path),
            next_step="let nothing else write there, and measure again",
        )
    return found


def figures_of(output: str) -> dict[str, Any]:
    """What `fresh_process` printed.

    Raises:
        CapabilityError: the setup cannot run this artifact.
    """
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    if "refused" in found:
        said = found["refused"]
        raise CapabilityError(said["what"], where=said["where"], expected=said["expected"], next_step=said["next_step"])
    return found


def _run(job: dict[str, Any]) -> str:
    # -P: whatever lies in the working directory, a folder of somebody's data perhaps, is not imported.
    command = [sys.executable, "-P", "-m", "penjing.predict.fresh_process"]
    try:
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=PROCESS_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CapabilityError(
            f"measuring did not end within {PROCESS_SECONDS:.0f} s",
            where=job["artifact"],
            next_step="measure on fewer or shorter rows, or choose a smaller model",
        ) from None
    if done.returncode:
        if done.returncode < 0:  # by a signal: whoever keeps the memory, mostly
            raise CapabilityError(
                f"the measuring process was killed (signal {-done.returncode})",
                where=job["artifact"],
                next_step="free some memory and try again, or choose a smaller model",
            )
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
