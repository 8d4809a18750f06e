"""Classification of pairs of texts: same meaning or not, entailment, answers to a question or not."""

from __future__ import annotations

from typing import ClassVar

from penjing.tasks.text_classification import TextClassification


class TextPair(TextClassification):
    """Two texts → a label; both go through the model together, so that tokens of one can attend to the other."""

    kind: ClassVar[str] = "text-pair"
    reads_pairs: ClassVar[bool] = True
