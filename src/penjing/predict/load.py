"""From a path to something that predicts."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from penjing.core.artifact import Artifact, open_artifact
from penjing.core.events import Event, Listener, Notice
from penjing.predict.certificate import applies
from penjing.predict.certificate_file import certificates_of
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup


def warn(event: Event) -> None:
    """The listener of those who listen to nothing: warnings become Python's, the rest is dropped."""
    if isinstance(event, Notice) and event.level == "warning":
        warnings.warn(event.text, stacklevel=3)  # where `load` was called


def load(
    path: Path | str,
    backend: str | None = None,
    threads: int | None = None,
    *,
    public_key: Path | str | None = None,
    listener: Listener = warn,
) -> Predictor:
    """Open an artifact, check every file of it, and load its model.

    Args:
        path: the artifact's directory.
        backend: a registered backend; None: as certified for this machine, else onnxruntime.
        threads: threads of one run; None: as certified, else one a physical core this process may use.
        public_key: PEM file of the key whose holder has to have signed the artifact; None: no matter who made it.
        listener: told where a certificate is of another machine; by default Python's warnings are.

    Raises:
        ArtifactError: missing, damaged, tampered with, too new or not signed as asked; the message names the file.
        CapabilityError: the backend cannot run this artifact.
        MissingExtraError: the backend is not installed.
        RecipeError: no such backend, no number of threads, or no such key.
    """
    artifact = open_artifact(path, public_key)
    setup, notice = decide(artifact, backend, threads)
    if notice is not None:
        listener(notice)
    predictor = Predictor(artifact, setup=setup)
    predictor.open()
    return predictor


def predictor_for(artifact: Artifact, listener: Listener, *, cached: bool = True) -> Predictor:
    """An artifact run as `load` would, for those who have opened it already.

    Args:
        artifact: a verified artifact.
        listener: told where a certificate is of another machine.
        cached: as of `decide`.

    Raises:
        ArtifactError: a certificate is damaged.
    """
    setup, notice = decide(artifact, cached=cached)
    if notice is not None:
        listener(notice)
    return Predictor(artifact, setup=setup)


def decide(
    artifact: Artifact, backend: str | None = None, threads: int | None = None, *, cached: bool = True
) -> tuple[Setup, Notice | None]:
    """How to run an artifact here.

    Args:
        artifact: a verified artifact.
        backend: as asked for; None: what the certificate that applies to this machine says, else the default setup.
        threads: as asked for; None: as the setup has it.
        cached: whether certificates that were made on this machine count, besides the artifact's own.

    Returns:
        The setup; and where there is a certificate, but none that applies, what to tell the user.

    Raises:
        ArtifactError: a certificate is damaged.
        RecipeError: `threads` is no number of threads.
    """
    if backend is not None:
        return Setup.of_backend(backend, threads), None
    reasons = []
    for certificate in certificates_of(artifact, cached=cached):
        reason = applies(certificate)
        if reason is None:
            chosen = certificate.chosen
            return (chosen if threads is None else replace(chosen, threads=threads, workers=1)), None
        reasons.append(reason)
    setup = Setup(threads=threads)
    if not reasons:
        return setup, None
    text = (
        f"the measured setup is not used ({reasons[0]}); {setup.backend} runs the model as by default; to measure "
        f"on this machine: penjing bench {artifact.path} --certify"
    )
    return setup, Notice("predict", text, "warning")
