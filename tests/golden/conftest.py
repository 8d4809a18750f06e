"""The case every golden test varies."""

from pathlib import Path

import pytest
from training_case import Case


@pytest.fixture
def case(task_rows, text_settings, tiny_pretrained, tmp_path: Path) -> Case:
    """30 messages, 64-bit passes, everything random switched off; each test switches on what it is about."""
    rows, roles = task_rows("text-classification")
    config = {
        "precision": "fp64",
        "batch_rows": 4,
        "epochs": 2,
        "learning_rate": 1e-3,
        "checkpoint_seconds": 0,
        "ema": 0.0,
        "label_smoothing": 0.0,
    }
    return Case(rows, roles, text_settings, tiny_pretrained, config, tmp_path / "run")
