"""Chains on the catalog's own models, from fine-tuning to the proof: what a tiny encoder cannot show."""

from __future__ import annotations

import pytest
from unit_compress import messages_csv

from penjing.core.artifact import open_artifact, size_bytes
from penjing.evaluate.verify import verify
from penjing.pipeline.compressing import compress
from penjing.pipeline.run import train
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup

pytestmark = [pytest.mark.slow, pytest.mark.network]
CHAIN = ["vocabulary", {"method": "distil", "layers": 2, "epochs": 4}, {"method": "static-int8", "rows": 64}, "cascade"]


@pytest.mark.parametrize("model", ["minilm-l6-en", "e5-small-multilingual"])
def test_a_chain_on_a_model_of_the_catalog(model, tmp_path):
    source = messages_csv(tmp_path / "messages.csv")
    quick = {"model": model, "train.epochs": 4, "evaluate.resamples": 200}
    full = train(source, out=tmp_path / "full", overrides=quick)
    made = compress(
        full.path,
        out=tmp_path / "small",
        overrides={"compress.chain": CHAIN, "budget.drop": 30, "budget.size_mb": 10},
    )
    assert {one.constraint: one.state for one in made.report.verdicts}["size_mb"] == "PASS"
    assert size_bytes(open_artifact(made.out)) < size_bytes(open_artifact(full.path)) / 15
    lost = made.report.comparison.metrics[made.report.comparison.primary].difference
    assert lost is not None and lost > -0.3, "a student of so few texts still learns what they say"
    checked = verify(made.out, timings=False, parent=full.path)
    assert checked.ok, [figure for figure in checked.figures if figure.ok is False]
    texts = ["Where is my parcel?", "我要退款"]
    answers = [
        Predictor(open_artifact(made.out), setup=Setup(name)).predict(texts) for name in ("onnxruntime", "openvino")
    ]
    for one, other in zip(*answers, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=0.1)
