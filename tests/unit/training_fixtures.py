"""A text-classification task on the tiny encoder, for the tests of training, export and pipeline.

A plugin, not a conftest.py: other tests import the one above by its name.
"""

import pytest
from unit_training import split

from penjing.core.task import Splits
from penjing.tasks.text_classification import TextClassification


@pytest.fixture
def tiny_task(task_rows, text_settings) -> TextClassification:
    """Three intents."""
    rows, roles = task_rows("text-classification")
    return TextClassification.from_rows(rows, roles, text_settings)


@pytest.fixture
def tiny_splits(task_rows) -> Splits:
    """24 messages to learn from, 6 to choose by."""
    return split(*task_rows("text-classification"))
