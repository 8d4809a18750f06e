"""Fine-tune a BERT encoder the usual way: pad every text to 128 tokens, loop over epochs, keep the best on dev.

    python examples/bert_tutorial_loop.py                      # hours on two cores
    python examples/bert_tutorial_loop.py --rows 400 --epochs 1

`three_lines.py` does the same with penjing. Needs the `train` extra.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from penjing.models.catalog import resolve

Example = tuple[str, str]
Loader = DataLoader[dict[str, torch.Tensor]]
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "banking77"


@dataclass(frozen=True)
class Settings:
    """What the tutorials set by hand."""

    epochs: int = 10
    batch: int = 16
    learning_rate: float = 5e-5
    max_length: int = 128
    padding: str = "max_length"
    seed: int = 42


def read(path: Path, text: str = "text", label: str = "category") -> list[Example]:
    """(text, label) of each row of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[text], row[label]) for row in csv.DictReader(file)]


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(train, dev), at random."""
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    cut = round(len(shuffled) * share)
    return shuffled[cut:], shuffled[:cut]


class Tutorial:
    """The parts every tutorial has: tokenizer, model, data loaders, loop."""

    def __init__(self, model: str, labels: Sequence[str], settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        directory = resolve(model).directory
        self.settings = settings
        self.place = {label: i for i, label in enumerate(labels)}
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(labels))

    def loader(self, examples: Sequence[Example], shuffle: bool) -> Loader:
        """Batches of token ids, padded as the settings say."""
        longest = self.settings.max_length
        ids = self.tokenizer([text for text, _ in examples], truncation=True, max_length=longest)["input_ids"]
        items = [{"input_ids": ids[i], "labels": self.place[label]} for i, (_, label) in enumerate(examples)]

        def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
            return self.tokenizer.pad(batch, padding=self.settings.padding, max_length=longest, return_tensors="pt")

        return DataLoader(items, batch_size=self.settings.batch, shuffle=shuffle, collate_fn=collate)

    def epochs(self, train: Loader, on_step: Callable[[], None] = lambda: None) -> Iterator[int]:
        """Train, yielding the number of each finished epoch, from 1."""
        settings = self.settings
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=settings.learning_rate)
        schedule = get_linear_schedule_with_warmup(optimizer, 0, settings.epochs * len(train))
        for epoch in range(1, settings.epochs + 1):
            self.model.train()
            for batch in train:
                loss = self.model(**batch).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                on_step()
            yield epoch

    @torch.no_grad()
    def accuracy(self, loader: Loader) -> float:
        """Share of right answers."""
        self.model.eval()
        hits = total = 0
        for batch in loader:
            labels = batch.pop("labels")
            hits += int((self.model(**batch).logits.argmax(-1) == labels).sum())
            total += len(labels)
        return hits / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv and test.csv (text, category)")
    parser.add_argument("--model", default="minilm-l6-en", help="catalog name or directory")
    parser.add_argument("--rows", type=int, help="use only so many training rows (and a third as many test rows)")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    arguments = parser.parse_args()
    if not (arguments.data / "train.csv").is_file():
        parser.error(f"no train.csv in {arguments.data}; give a folder with train.csv and test.csv as --data")

    begun = time.perf_counter()
    examples, test = read(arguments.data / "train.csv"), read(arguments.data / "test.csv")
    if arguments.rows:
        examples = random.Random(0).sample(examples, arguments.rows)
        test = random.Random(0).sample(test, max(1, arguments.rows // 3))
    train, dev = hold_out(examples, 0.1, Settings.seed)
    labels = sorted({label for _, label in [*examples, *test]})
    tutorial = Tutorial(arguments.model, labels, Settings(epochs=arguments.epochs))
    train_batches = tutorial.loader(train, shuffle=True)
    dev_batches, test_batches = tutorial.loader(dev, shuffle=False), tutorial.loader(test, shuffle=False)

    best, best_weights = -1.0, {}
    for epoch in tutorial.epochs(train_batches):
        accuracy = tutorial.accuracy(dev_batches)
        print(f"epoch {epoch}: dev accuracy {accuracy:.4f}, {time.perf_counter() - begun:.0f} s", flush=True)
        if accuracy > best:
            best, best_weights = accuracy, {k: v.clone() for k, v in tutorial.model.state_dict().items()}
    tutorial.model.load_state_dict(best_weights)
    print(f"test accuracy {tutorial.accuracy(test_batches):.4f} after {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
