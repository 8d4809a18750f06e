"""One way of running a fine-tuned encoder, measured in a fresh process: text in, label out, tokenisation included.

`compress.py` starts this file as a program, for some sides with another Python that has the peers' libraries
(`peers.txt`), so nothing of penjing is imported but by the side that is penjing. The job is JSON on standard input:

    side      a name of `SIDES`
    path      what the side loads: the directory that `build` wrote, or an artifact of penjing
    texts     raw texts to be timed on, again and again
    fresh     raw texts that are labelled once, in parts, and timed: of what is kept of texts met before, they have less
    rows      raw texts to be labelled, in order; left out: none
    seconds   of timing, once for throughput and again for single rows
    workers   that share the processors when many texts are labelled; a way of their own that some rivals have
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Protocol

# Before onnxruntime, OpenVINO and NNCF are imported: they send events to their makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402 - as are the others, inside of functions

THREADS = 2
FRESH_PARTS = 4
BATCHES = (32, 128)  # the better of them counts, for each turn by itself
MAX_TOKENS = 512
CALIBRATION_ROWS = 300
ENCODER, HEAD, FP32, INT8, IR = "encoder", "head.npz", "model.onnx", "model-int8.onnx", "model-int8.xml"


class Side(Protocol):
    """A loaded model."""

    def probs(self, texts: list[str]) -> np.ndarray:
        """[N, C] probabilities of raw texts."""


class Batched:
    """What the engines without a pipeline of their own share: batches of like length, padded to their longest text."""

    def __init__(self, folder: Path, run: Callable[[np.ndarray, np.ndarray], np.ndarray], workers: int = 1) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / ENCODER / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.run = run
        self.batch = BATCHES[0]
        self.pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def probs(self, texts: list[str]) -> np.ndarray:
        """As `Side.probs`."""
        batches = self.batches(texts)
        if self.pool is None:
            done = [(places, self.run(ids, mask)) for places, ids, mask in batches]
        else:
            done = list(self.pool.map(lambda batch: (batch[0], self.run(*batch[1:])), batches))
        places, found = (np.concatenate(parts) for parts in zip(*done, strict=True))
        return softmax(found[np.argsort(places)])

    def batches(self, texts: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(places in `texts`, ids [B, L], mask [B, L]) of one batch after another."""
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]
        order = np.argsort([len(ids) for ids in encoded], kind="stable")
        for start in range(0, len(order), self.batch):
            places = order[start : start + self.batch]
            longest = len(encoded[places[-1]])
            ids = np.zeros((len(places), longest), np.int64)
            mask = np.zeros((len(places), longest), np.int64)
            for row, place in enumerate(places):
                ids[row, : len(encoded[place])] = encoded[place]
                mask[row, : len(encoded[place])] = 1
            yield places, ids, mask


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    """[N, C] probabilities."""
    exponents_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return exponents_NC / exponents_NC.sum(1, keepdims=True)


def torch_model(folder: Path, attention: str = "sdpa") -> Any:
    """Encoder of transformers → mean over tokens → linear head, as a module of (ids, mask)."""
    import torch
    from torch import nn
    from transformers import AutoModel

    torch.set_num_threads(THREADS)
    head = np.load(folder / HEAD)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(folder / ENCODER, attn_implementation=attention)
            self.head = nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
            self.head.load_state_dict({name: torch.from_numpy(head[name]) for name in ("weight", "bias")})

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return self.head((hidden * mask).sum(1) / mask.sum(1))

    return Classifier().eval()


def torch_side(folder: Path, workers: int = 1) -> Side:
    """In 32 bits, by transformers."""
    import torch

    model = torch_model(folder)
    torch.set_num_threads(THREADS // workers)

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    return Batched(folder, run, workers)


def onnx_side(folder: Path, file: str, workers: int = 1) -> Side:
    """A file of `compress_build`, run by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS // workers
    session = onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
    run = lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]  # noqa: E731
    return Batched(folder, run, workers)


def openvino_side(folder: Path, workers: int = 1) -> Side:
    """OpenVINO on the model that NNCF quantized, with a stream a worker."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": workers}
    compiled = openvino.Core().compile_model(folder / IR, "CPU", settings)
    own = threading.local()

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        own.request.infer({"input_ids": ids, "attention_mask": mask})
        return np.array(own.request.get_output_tensor(0).data)

    return Batched(folder, run, workers)


class SentenceSide:
    """sentence-transformers with one of its backends, and the head behind it."""

    def __init__(self, folder: Path, backend: str, file: str | None) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(THREADS)
        options = {} if file is None else {"model_kwargs": {"file_name": file}}
        self.model = SentenceTransformer(str(folder / "sentence"), backend=backend, device="cpu", **options)
        self.head = np.load(folder / HEAD)
        self.batch = BATCHES[0]

    def probs(self, texts: list[str]) -> np.ndarray:
        """As `Side.probs`."""
        vectors_NH = self.model.encode(texts, batch_size=self.batch, show_progress_bar=False)
        return softmax(vectors_NH @ self.head["weight"].T + self.head["bias"])


class Model2vecSide:
    """model2vec: static vectors distilled from the same encoder, and its own classifier, trained on the same rows."""

    def __init__(self, folder: Path) -> None:
        from model2vec.inference import StaticModelPipeline

        self.model = StaticModelPipeline.from_pretrained(folder / "model2vec")
        classes = list(self.model.head.classes_)
        self.order = [classes.index(label) for label in json.loads((folder / "classes.json").read_text())]

    def probs(self, texts: list[str]) -> np.ndarray:
        """As `Side.probs`."""
        return np.asarray(self.model.predict_proba(texts))[:, self.order]


class PenjingSide:
    """An artifact, as `penjing predict` runs it on this machine."""

    def __init__(self, artifact: Path) -> None:
        from penjing.predict.load import load

        self.predictor = load(artifact)
        self.predictor.open()

    def probs(self, texts: list[str]) -> np.ndarray:
        """As `Side.probs`."""
        return np.stack([prediction.probs for prediction in self.predictor.predict(texts)])


SIDES: dict[str, Callable[..., Side]] = {
    "torch fp32": torch_side,
    "onnxruntime fp32": lambda folder, workers=1: onnx_side(folder, FP32, workers),
    "onnxruntime dynamic int8": lambda folder, workers=1: onnx_side(folder, INT8, workers),
    "OpenVINO + NNCF int8": openvino_side,
    "sentence-transformers torch": lambda folder: SentenceSide(folder, "torch", None),
    "sentence-transformers onnx int8": lambda folder: SentenceSide(folder, "onnx", "onnx/model_int8.onnx"),
    "sentence-transformers openvino": lambda folder: SentenceSide(folder, "openvino", "openvino/openvino_model.xml"),
    "model2vec": Model2vecSide,
    "penjing": PenjingSide,
}


def measured(job: dict[str, Any]) -> dict[str, Any]:
    """Load, warm up with all texts, time single ones, time all; memory is the peak of all that."""
    hold_to_two_processors()
    begun = time.perf_counter()
    side: Any = SIDES[job["side"]](Path(job["path"]))
    texts: list[str] = job["texts"]
    load_ms = 1000 * (time.perf_counter() - begun)
    side.probs(texts)
    singles: list[float] = []
    for text in cycle(texts):
        if len(singles) >= 100 and sum(singles) >= job["seconds"]:
            break
        begun = time.perf_counter()
        side.probs([text])
        singles.append(time.perf_counter() - begun)
    if job.get("workers", 1) > 1:  # one text is labelled by all threads together, many by a worker a thread
        side = None  # its memory is given back first
        side = SIDES[job["side"]](Path(job["path"]), job["workers"])
    rates: dict[int, float] = {}
    for batch in BATCHES if hasattr(side, "batch") else (0,):  # penjing's is certified, model2vec has none to set
        if batch:
            side.batch = batch
        side.probs(texts)
        passes: list[float] = []
        while sum(passes) < job["seconds"] or len(passes) < 3:
            begun = time.perf_counter()
            side.probs(texts)
            passes.append(time.perf_counter() - begun)
        rates[batch] = len(texts) / median(passes)
    best = max(rates, key=lambda batch: rates[batch])
    if best:
        side.batch = best
    fresh_rates = []
    for part in range(FRESH_PARTS):  # each a twentieth of a second where a side is fast: one of them says little
        rows = job["fresh"][part::FRESH_PARTS]
        begun = time.perf_counter()
        side.probs(rows)
        fresh_rates.append(len(rows) / (time.perf_counter() - begun))
    found = {
        "rows_per_s": rates[best],
        "fresh_rows_per_s": median(fresh_rates),
        "batch": best,
        "p50_ms": 1000 * float(np.percentile(singles, 50)),
        "p95_ms": 1000 * float(np.percentile(singles, 95)),
        "load_ms": load_ms,
        "peak_mb": peak_mb(),
    }
    if "rows" in job:  # last, so that these rows do not count in anything above
        found["probs"] = np.round(side.probs(job["rows"]), 6).tolist()
    return found


def hold_to_two_processors() -> None:
    """Not every side lets its threads be numbered; the kernel does."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def peak_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes), from the kernel's own account of it."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    answer = measured(json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
