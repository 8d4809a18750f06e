"""Teaching the students of a search: which shapes, in which order, and for how long."""

from __future__ import annotations

from collections.abc import Generator

from penjing.compress.attempts import attempt
from penjing.compress.encoders import encoder_config
from penjing.compress.measured import chain_name
from penjing.compress.shapes import first_stage_shape, phrase_shapes, products
from penjing.compress.standing import Search
from penjing.compress.step import StepConfig
from penjing.compress.student import Shape
from penjing.compress.teach import DistilConfig, epochs_of, phrase_step
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Event, Notice
from penjing.models.encoder import EncoderConfig
from penjing.search.halving import halve

# Steps of teaching: to see how long they take, of all arms, least of what is to be used, and at most.
PACE_STEPS, FIRST_STEPS, ENOUGH_STEPS, MOST_STEPS = 100, 500, 4_000, 8_000
ROWS = 64  # of a step
FIXED_SHARE = 0.15  # of the time of the dearest shape's step: what does not depend on the shape
# Of the time, what has to be left when the students are taught.
TAIL_SHARE = 0.15
LARGER_SAVES = 0.3  # of the loss, at most, by half as many numbers more
PHRASES_SHARE = 0.3  # of the time, at most, for each student without layers
NGRAMS = 1_500  # of 77 classes a thousand take 0.2 MB in 8 bits and more in 32, of a budget of some megabytes
LEARNING_RATE = 8e-4  # of what has lost heads and neurons, and has much to learn again


def student_step(found: Search, shape: Shape, epochs: float) -> DistilConfig:
    """The step that teaches a student of a shape for so many passes.

    Where the model has a linear one over n-grams its strongest part stays: no layers say what it says at so few bytes.
    """
    if shape.phrases:
        return phrase_step(shape.hidden, shape.phrases, epochs)
    return DistilConfig(
        layers=shape.layers,
        hidden=shape.hidden,
        feed_forward=shape.feed_forward,
        heads=shape.heads,
        ngrams=NGRAMS if shape.layers and found.has_ngrams else 0,
        epochs=epochs,
        learning_rate=LEARNING_RATE,
    )


def taught(
    found: Search, shapes: list[Shape], head: list[StepConfig]
) -> Generator[Event, None, list[list[StepConfig]]]:
    """Teach shapes, the dearest first in the list; their chains, the best first.

    Where there is time for it all are taught a little and the better ones long. Where there is not, a few steps of the
    dearest tell how long each would take, and the dearest that can be taught enough is; then, for speed, smaller ones.
    """
    teacher = _Teacher(found, head, shapes)
    if not (yield from teacher.pace()):
        return []
    if teacher.has_time_for_halving():
        ranked = yield from halve(shapes, teacher.advance, [teacher.finalists], "compress")
        return [teacher.chains[shape] for shape, _ in ranked]
    affordable = [shape for shape in shapes if teacher.enough(shape) <= teacher.left()] or shapes[-1:]
    affordable = [Shape(*sizes) for sizes in found.decided("affordable", [[*vars(one).values()] for one in affordable])]
    for shape, *smaller in (affordable[i : i + 2] for i in range(len(affordable))):
        both = teacher.enough(shape) + sum(teacher.enough(other) for other in smaller)
        another = bool(smaller) and found.goal != "accuracy" and both <= teacher.left()
        another = bool(found.decided(f"another after {shape}", another))
        yield from teacher.teach(shape, teacher.enough(shape) if another else teacher.left())
        if not another or teacher.missed(shape) > 0:
            break
    # What holds first, and of that for speed the smallest.
    order = sorted(teacher.chains, key=lambda shape: (teacher.missed(shape), -shapes.index(shape)))
    return [teacher.chains[shape] for shape in order[:2]]


def taught_phrases(
    found: Search, config: EncoderConfig, head: list[StepConfig]
) -> Generator[Event, None, list[list[StepConfig]]]:
    """Teach students without layers that know phrases; their chains, the smallest that holds first.

    They cost a fraction of any with layers. One of middle size tells whether a smaller may do, a larger has to, or none
    will: then it serves as a first stage, and the time is for what stands behind it.
    """
    shapes = phrase_shapes(config)
    gaps: dict[Shape, float] = {}
    chains: dict[Shape, list[StepConfig]] = {}
    waiting = [first_stage_shape(config)]
    while waiting:
        shape = waiting.pop()
        wanted = PHRASES_SHARE * max(found.left(), 1.0)
        chains[shape] = [*head, phrase_step(shape.hidden, shape.phrases, None)]
        made = yield from attempt(found, chains[shape], wanted / 60)
        if not made:
            continue
        candidate = made[0]
        gaps[shape] = max(0.0, found.quality_gap(candidate))
        hopeless = gaps[shape] > LARGER_SAVES * max(0.0, candidate.judged)
        another = found.decided(f"another after {shape}", not hopeless and found.left() > 0)
        if len(gaps) == 1 and another:
            place = shapes.index(shape) + (-1 if gaps[shape] else 1)
            waiting = [shapes[place]] if 0 <= place < len(shapes) else []
    return [chains[shape] for shape in sorted(gaps, key=lambda one: (gaps[one], -shapes.index(one)))]


class _Teacher:
    """Teaches students of a search, and knows how long that takes.

    Args:
        found: the search.
        head: steps before the student.
        shapes: the dearest first.
    """

    def __init__(self, found: Search, head: list[StepConfig], shapes: list[Shape]) -> None:
        self.found, self.head, self.shapes = found, head, shapes
        self.head_size = encoder_config(found.shop.root).head_size
        self.texts = found.shop.num_lessons
        self.finalists = 2 if len(shapes) > 1 else 1
        self.chains: dict[Shape, list[StepConfig]] = {}
        self.rates: dict[Shape, float] = {}  # seconds a pass over the lessons, where a shape was taught
        self.first_rate = 0.0
        self.begun: set[Shape] = set()
        self.waiting = len(shapes)

    def pace(self) -> Generator[Event, None, bool]:
        """Find out how long a pass takes the dearest; False where it cannot be taught."""
        epochs = min(1.0, max(0.001, round(PACE_STEPS * ROWS / max(1, self.texts), 3)))
        chain = [*self.head, student_step(self.found, self.shapes[0], epochs)]
        try:
            artifact = yield from self.found.shop.make(chain, self.left() / 60)
        except (CapabilityError, ArtifactError) as error:
            yield Notice("compress", f"{chain_name(chain)} is left out: {error.finding}")
            return False
        minutes = artifact.manifest["steps"][-1]["facts"]["minutes"]
        self.first_rate = self.found.decided("pace", max(60 * minutes / epochs, 1e-3))
        return True

    def missed(self, shape: Shape) -> float:
        """By how much what a taught shape reached is too little for the budget."""
        result = self.found.result(self.chains[shape]) if shape in self.chains else None
        return float("inf") if result is None else max(0.0, self.found.quality_gap(result))

    def left(self) -> float:
        """Seconds that teaching may take, all that follows it left out."""
        return max(self.found.left(), 1.0) * (1 - TAIL_SHARE)

    def rate(self, shape: Shape) -> float:
        """Seconds a pass, as measured, or by what the dearest took and both compute."""
        whole = products(self.shapes[0], self.head_size)
        share = (products(shape, self.head_size) + FIXED_SHARE * whole) / (1 + FIXED_SHARE) / whole
        return self.rates.get(shape, self.first_rate * share)

    def enough(self, shape: Shape, steps: int = ENOUGH_STEPS) -> float:
        """Seconds that so many steps take."""
        return epochs_of(steps, self.texts) * self.rate(shape)

    def has_time_for_halving(self) -> bool:
        """Whether all can be taught a little and two of them enough."""
        first = sum(self.enough(shape, FIRST_STEPS) for shape in self.shapes)
        wanted = first + self.finalists * self.enough(self.shapes[0])
        return bool(self.found.decided("halving", len(self.shapes) > 1 and wanted <= self.left()))

    def teach(self, shape: Shape, seconds: float, least: float = 0.1) -> Generator[Event, None, float | None]:
        """Teach a shape for about so long; its score, the more the better."""
        wanted = max(least, min(epochs_of(MOST_STEPS, self.texts), seconds / self.rate(shape)))
        epochs = self.found.decided(f"epochs {shape}", round(wanted, 1))
        return (yield from self._taught(shape, epochs, seconds, settled=True))

    def advance(self, shape: Shape, rung: int) -> Generator[Event, None, float | None]:
        """One arm of the halving."""
        if not self.found.has_time(f"{shape} in round {rung}"):
            return None
        epochs = epochs_of(FIRST_STEPS, self.texts)
        if not rung:
            self.waiting -= 1
            return (yield from self._taught(shape, epochs, self.left() / (self.waiting + 1), settled=False))
        seconds = self.left() / max(1, self.finalists - len(self.begun))
        self.begun.add(shape)
        return (yield from self.teach(shape, seconds, least=epochs))

    def _taught(
        self, shape: Shape, epochs: float, seconds: float, *, settled: bool
    ) -> Generator[Event, None, float | None]:
        found = self.found
        chain = [*self.head, student_step(found, shape, epochs)]
        candidates = yield from attempt(found, chain, max(seconds, 1.0) / 60)
        if not candidates:
            return None
        facts = candidates[0].artifact.manifest["steps"][-1]["facts"]
        self.rates[shape] = max(60 * facts["minutes"] / epochs, 1e-3)
        self.chains[shape] = chain
        lost = candidates[0].judged
        # For speed the smallest that holds is wanted, so what holds comes by its size.
        if found.goal == "accuracy" or found.budget.drop is None:
            return -lost
        over = lost - found.budget.drop - (0.0 if settled else 1.0)
        return -max(0.0, over) - 1e-12 * products(shape, self.head_size)
