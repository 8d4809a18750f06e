"""Three ways to fine-tune the same encoder on the same rows, each step stamped, each in a fresh process.

    python benchmarks/training_sides.py < job.json      # started by `measured_side`

The HF Trainer is given what makes it fastest at equal batches (bf16, batches of like length, padding to the longest of
the batch), or its own defaults; the tutorial is `examples/bert_tutorial_loop.py` as it stands. penjing itself is run by
`measured_run`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

HF_GROUPED, HF_DEFAULT, TUTORIAL = "HF Trainer, bf16, grouped", "HF Trainer, fp32, random", "tutorial loop"
BATCH = {HF_GROUPED: 32, HF_DEFAULT: 32, TUTORIAL: 16}
Stamp = Callable[[], None]


def measured_side(side: str, rows: list[dict[str, Any]], model: str, **more: Any) -> dict[str, Any]:
    """Train one epoch on `rows` in a fresh process.

    Args:
        side: one of the names above.
        rows: text and label.
        model: catalog name.
        more: further fields of the job.

    Returns:
        wall_s, from spawning the process to its end; stamps, seconds at which each step ended; batch; and what the
        side itself says.
    """
    job = {"side": side, "rows": rows, "model": model, **more}
    begun = time.perf_counter()
    program = [sys.executable, str(Path(__file__).resolve())]
    done = subprocess.run(program, input=json.dumps(job), text=True, capture_output=True)
    wall = time.perf_counter() - begun
    if done.returncode != 0:
        raise RuntimeError(f"{side} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return {"wall_s": wall, "batch": BATCH[side], **json.loads(done.stdout.strip().splitlines()[-1])}


def hf_trainer(job: dict[str, Any], stamp: Stamp, grouped: bool) -> dict[str, Any]:
    """One epoch of transformers' Trainer on the CPU, nothing logged and nothing saved."""
    import tempfile

    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from penjing.models.catalog import resolve

    class Stamps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamp()

    directory = resolve(job["model"]).directory
    tokenizer = AutoTokenizer.from_pretrained(directory)
    labels = sorted({row["label"] for row in job["rows"]})
    ids = tokenizer([row["text"] for row in job["rows"]], truncation=True, max_length=128)["input_ids"]
    items = [{"input_ids": ids[i], "labels": labels.index(row["label"])} for i, row in enumerate(job["rows"])]
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(labels))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            bf16=grouped,
            train_sampling_strategy="group_by_length" if grouped else "random",
            per_device_train_batch_size=BATCH[job["side"]],
            num_train_epochs=1,
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=items,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[Stamps()],
        )
        outcome = trainer.train()
    return {"own_samples_per_s": outcome.metrics["train_samples_per_second"], "loss": outcome.training_loss}


def tutorial(job: dict[str, Any], stamp: Stamp) -> dict[str, Any]:
    """The tutorial loop as it stands: padded to 128 tokens, 32 bits, 16 rows a step, dropout."""
    from bert_tutorial_loop import Settings, Tutorial

    examples = [(row["text"], row["label"]) for row in job["rows"]]
    loop = Tutorial(job["model"], sorted({label for _, label in examples}), Settings(epochs=1))
    for _ in loop.epochs(loop.loader(examples, shuffle=True), stamp):
        pass
    return {}


def tutorial_epochs(job: dict[str, Any]) -> dict[str, Any]:
    """Accuracy of the tutorial loop on dev after each epoch, and on the test at the best one.

    Padding is masked, so a batch padded to its own longest text gives the same loss and gradient as one padded to 128
    tokens (dropout draws other numbers); that is a few times faster, and only the accuracies are taken from here.
    """
    from bert_tutorial_loop import Settings, Tutorial, hold_out

    settings = replace(Settings(), epochs=job["epochs"], padding="longest")
    examples = [(row["text"], row["label"]) for row in job["rows"]]
    test = [(row["text"], row["label"]) for row in job["test"]]
    train, dev = hold_out(examples, 0.1, settings.seed)
    loop = Tutorial(job["model"], sorted({label for _, label in examples}), settings)
    batches, dev_batches = loop.loader(train, shuffle=True), loop.loader(dev, shuffle=False)
    test_batches = loop.loader(test, shuffle=False)
    accuracies: list[float] = []
    test_accuracy = 0.0
    for _ in loop.epochs(batches):
        accuracies.append(loop.accuracy(dev_batches))
        if accuracies[-1] > max(accuracies[:-1], default=-1.0):
            test_accuracy = loop.accuracy(test_batches)
        print(f"epoch {len(accuracies)}: dev {accuracies[-1]:.4f}", file=sys.stderr, flush=True)
    return {"dev": accuracies, "test_at_best": test_accuracy, "steps_an_epoch": len(batches), "dev_rows": len(dev)}


def main() -> None:
    job = json.load(sys.stdin)
    import torch

    from penjing.core.runtime import physical_cores

    sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
    torch.set_num_threads(physical_cores())  # as penjing does
    torch.manual_seed(42)
    stamps: list[float] = []

    def stamp() -> None:
        stamps.append(time.perf_counter())

    if "epochs" in job:
        outcome = tutorial_epochs(job)
    elif job["side"] == TUTORIAL:
        outcome = tutorial(job, stamp)
    else:
        outcome = hf_trainer(job, stamp, grouped=job["side"] == HF_GROUPED)
    print(json.dumps({**outcome, "stamps": stamps}))


if __name__ == "__main__":
    main()
