"""Classification of pairs of texts: same meaning or not, entailment, answers to a question or not."""

from __future__ import annotations

from typing import ClassVar

from penjing.tasks.text_classification import TextClassification


class TextPair(TextClassification):
    """Two texts → a label, from what the model makes of each text by itself, and how the two differ and agree."""

    kind: ClassVar[str] = "text-pair"
    reads_pairs: ClassVar[bool] = True
