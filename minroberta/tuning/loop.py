"""Fine-tuning: epochs over the rows of examples, measured on others after each."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy

from ..backward import check_dtype
from ..errors import InputError, check_integer
from ..loading import Model
from ..train import Moments, Part, Step, train
from .examples import Example
from .measures import Scores, measure
from .rows import Labelled, batch_of, rows_of

GROUPED = 16
"""Number of batches whose rows are sorted by length together, so that a batch has little padding."""


class Progress(NamedTuple):
    """A step of fine-tuning, with the model after it.

    steps: the number of all steps. scores: on the held-out examples, after the last step of an epoch.
    """

    step: Step
    steps: int
    model: Model
    scores: Scores | None


def fine_tune(
    model: Model,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    epochs: int = 3,
    batch_size: int = 16,
    learning_rate: float | None = None,
    max_length: int | None = None,
    dropout: bool = True,
    seed: int = 0,
    part: Part | None = None,
    moments: Moments | None = None,
) -> Iterator[Progress]:
    """Train a model on examples, and measure it on the held-out ones after each epoch. Yields each step.

        for progress in fine_tune(model, examples, held_out):
            print(progress.step.number, progress.step.loss, progress.scores)
        progress.model.save("directory")

    AdamW with a weight decay of 0.1, a warm-up of 6 % of the steps, then a linear decay, as for GLUE in Liu et al.
    2019, table 10. learning_rate: by default 2e-5 for a hidden size of 768, and in inverse
    proportion for others. dropout: drop values as the configuration says. seed: of the order, of dropout and of masked
    tokens. part, moments: what is trained, and where it goes on, as for `train`.

    Raises InputError, TokenizerError.
    """
    check_integer("epochs", epochs, 1)
    check_integer("batch_size", batch_size, 1)
    check_dtype(model)
    check_integer("seed", seed, 0)
    if model.head == "causal_lm" and not model.config.is_decoder:
        raise InputError(
            "this causal_lm is not a decoder, so it sees the tokens that it should predict: load it with "
            "config={'is_decoder': True}"
        )
    if not examples or not held_out:
        raise InputError("there are no examples to train on, or none to measure with: give at least one of each")
    rate = usual_rate(model) if learning_rate is None else learning_rate
    if not (isinstance(rate, int | float) and 0 < rate < math.inf):
        raise InputError(f"learning_rate must be a positive number, not {learning_rate!r}")
    rows, others = rows_of(model, examples, max_length), rows_of(model, held_out, max_length)
    per_epoch = math.ceil(len(rows) / batch_size)
    steps, start = epochs * per_epoch, 0 if moments is None else moments.steps
    order = (some for epoch in range(epochs) for some in order_of_epoch(rows, batch_size, (seed, epoch)))
    batches = (batch_of(model, some, (seed, step)) for step, some in enumerate(order) if step >= start)
    trained = train(
        model, batches, steps=steps, learning_rate=rate, warm_up=round(0.06 * steps),
        weight_decay=0.1, seed=seed if dropout else None, part=part, moments=moments,
    )  # fmt: skip
    for step, after in trained:
        is_last = step.number % per_epoch == 0
        scores = measure(after, others, held_out, max_length) if is_last else None
        for loss in (step.loss, *([scores["loss"]] if scores else [])):
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss at step {step.number} is {loss}: give a smaller learning_rate than {rate:.1e}, "
                    "or check that every example has a label"
                )
        yield Progress(step, steps, after, scores)


def usual_rate(model: Model) -> float:
    """A learning rate for all weights: 2e-5 for a hidden size of 768, and more for narrower models."""
    return 2e-5 * 768 / model.config.hidden_size


def order_of_epoch(rows: Sequence[Labelled], batch_size: int, seed: Any) -> list[list[Labelled]]:
    """The batches of an epoch: in random order, of rows of similar lengths."""
    random = numpy.random.default_rng(seed)
    shuffled = [rows[i] for i in random.permutation(len(rows))]
    batches = []
    for start in range(0, len(rows), GROUPED * batch_size):
        some = sorted(shuffled[start : start + GROUPED * batch_size], key=lambda row: row.length)
        batches += [some[i : i + batch_size] for i in range(0, len(some), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def divided(examples: Sequence[Example], head: str, share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and a share to hold out. Those of one text, context or prompt stay together.

    Raises InputError if one of the two is empty.
    """
    shared = {"question_answering": slice(1, 2), "multiple_choice": slice(1)}.get(head, slice(None))
    groups = list(dict.fromkeys(example.texts[shared] for example in examples))
    order = numpy.random.default_rng(seed).permutation(len(groups))
    kept = {groups[i] for i in order[: round(share * len(groups))]}
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        parts[example.texts[shared] in kept].append(example)
    if not all(parts):
        raise InputError(
            f"a share of {share} of {len(groups)} texts leaves {len(parts[0])} examples to train on and "
            f"{len(parts[1])} to measure with: give more examples, or another share"
        )
    return parts
