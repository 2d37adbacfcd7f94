"""The exercises of notebook 8: the classification head, the loss of a span, and the choice of a loss."""

import functools
from collections.abc import Callable
from typing import Any

import numpy

from .. import ops
from ..loading import Model, init
from ..trace import Trace, trace
from ..weights import flat
from .checks import Checks, NotYet, array_of, expect, expect_values, result_of

Array = numpy.ndarray

SIZES = {"model_type": "roberta", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 4, "max_position_embeddings": 12, "num_labels": 3,
         "initializer_range": 0.4}  # fmt: skip
"""A model for checks."""

IDS = numpy.array([[0, 31, 12, 9, 17, 25, 2], [0, 8, 33, 2, 1, 1, 1]])
MASK = (IDS != 1).astype(int)


@functools.cache
def model() -> Model:
    """A small random classifier in float64, whose biases are not 0."""
    made = init(SIZES, "sequence_classification", dtype="float64")
    random = numpy.random.default_rng(0)
    for name, x in flat(made.params).items():
        if name.endswith(".bias"):
            x[:] = 0.4 * random.standard_normal(x.shape)
    return made


@functools.cache
def run() -> Trace:
    """The values of a padded batch."""
    return trace(model(), IDS, attention_mask=MASK)


# --- 1. the classification head -------------------------------------------------------------------------------------


def first(answer: Any) -> str:
    """A function of x, (B, L, D), and the head's weights and biases: the value after the tanh, and the logits."""
    p, x = model().p.classifier, run()["encoder"]
    result = result_of(answer, x, p.dense.weight, p.dense.bias, p.out_proj.weight, p.out_proj.bias)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise NotYet("two arrays are asked for: return what stands after the tanh, and the logits")
    hidden = array_of(result[0], (len(x), x.shape[-1]), "what stands after the tanh")
    logits = array_of(result[1], (len(x), 3), "the array of logits")
    if numpy.allclose(hidden, numpy.tanh(of_mean(x, p))):
        raise NotYet("RoBERTa's head reads position 0 alone, not the mean of all positions")
    expect_values(model(), run().inputs, {"encoder": x, "classifier.tanh": hidden, "logits": logits})
    return "the oracle agrees"


def of_mean(x: Array, p: Any) -> Array:
    """The first linear map of the mean over the positions, (B, D)."""
    return ops.linear(x.mean(1), p.dense.weight, p.dense.bias)


# --- 2. the loss of a span ------------------------------------------------------------------------------------------

STARTS, ENDS = numpy.array([2, -100, 6, 8, 0]), numpy.array([4, -100, 99, 8, 6])
"""Positions in texts of 7 tokens: answers, one text without an answer, and answers that were cut off."""


def second(answer: Any) -> str:
    """A function of start and end logits, (B, L), and positions, (B,)."""
    logits = 2 * numpy.random.default_rng(0).standard_normal((2, len(STARTS), 7))
    right = span_loss(logits)
    both = (STARTS < 7) & (ENDS < 7)
    known = {
        "that is the sum of the two losses: take their mean": 2 * right,
        "the sign is wrong: a loss is minus the logarithm of a probability": -right,
        "-100 is not ignored here: it becomes position 0, and counts": span_loss(
            logits, lambda at: (at >= 0) & (at < 7)
        ),
        "an answer that was cut off is to be ignored, not to end at the last position": span_loss(
            logits, lambda at: at > -999
        ),
        "divide each sum by the number of positions that count": span_loss(logits, divisor=len(STARTS)),
        "these are sums over the texts: take the mean of each": span_loss(logits, divisor=1),
        "starts and ends are exchanged: start logits go with the starts": span_loss(logits[::-1]),
        "a text counts for its start even if its end was cut off: leave out the end alone": span_loss(
            logits, lambda at: both
        ),
        "the mean is taken over starts and ends together: take the mean of each, then the mean of the two": pooled(
            logits
        ),
    }
    found = indexed_by(
        "some positions lie outside of the text: clamp them to 0 … L first, and leave out those that are L",
        answer, *logits, STARTS, ENDS,
    )  # fmt: skip
    expect(found, right, known, "the loss")
    return "-100 is position 0, and what was cut off does not count"


def indexed_by(hint: str, function: Any, *arguments: Any) -> Any:
    """Result of the reader's function. Raises NotYet with this hint, too, if it raises an IndexError."""
    try:
        return result_of(function, *arguments)
    except NotYet as wrong:
        if isinstance(wrong.__cause__, IndexError):
            raise NotYet(f"{wrong}. {hint}") from wrong.__cause__
        raise


def pooled(logits: Array) -> numpy.floating:
    """The mean over starts and ends together."""
    found = [
        -ops.log_softmax(x)[numpy.flatnonzero(at < 7), at[at < 7].clip(0)]
        for x, at in zip(logits, (STARTS, ENDS), strict=True)
    ]
    return numpy.concatenate(found).mean()


def span_loss(
    logits: Array, counts: Callable[[Array], Array] = lambda at: at < 7, divisor: int | None = None
) -> numpy.floating:
    """The mean of the cross entropies of starts and ends; other arguments than the default ones are mistakes.

    logits: (2, B, L). counts: the positions that count, from all of them. divisor: the number by which each sum is
    divided; by default that of the positions that count.
    """
    losses = []
    for x, at in zip(logits, (STARTS, ENDS), strict=True):
        kept = numpy.flatnonzero(counts(at))
        chosen = -ops.log_softmax(x)[kept, at[kept].clip(0, 6)]
        losses.append(chosen.sum() / (divisor or len(kept)))
    return sum(losses) / 2


# --- 3. which loss? -------------------------------------------------------------------------------------------------


def third(answer: Any) -> str:
    """A function of logits, (B, N), labels and problem_type."""
    random = numpy.random.default_rng(0)
    one, several = random.standard_normal((4, 1)), random.standard_normal((4, 3))
    stars, classes, marks = numpy.array([4, 1, 2, 2]), numpy.array([2, 0, -100, 1]), random.random((4, 3)).round()
    spread = {
        "the shapes broadcast: every text met every label. Give the labels the shape (B, 1)": (
            (one - stars) ** 2
        ).mean()
    }
    cases: list[tuple[str, Array, Array, str | None, dict[str, Any]]] = [
        ("integers, several labels", several, classes, None, of_classes(several, classes)),
        (
            "one label of each text",
            one,
            stars,
            None,
            spread | {"that is half of the mean square": squares(one, stars) / 2},
        ),
        ("one label of each text, in labels (B, 1)", one, stars[:, None].astype(float), None, {}),
        ("floats, several labels", several, marks, None, of_marks(several, marks)),
        ("a problem_type of regression", several, marks, "regression", of_marks(several, marks, chosen=True)),
        (
            "a problem_type of several labels, N = 1",
            one,
            marks[:, :1],
            "multi_label_classification",
            of_type(one, marks),
        ),
    ]
    for what, logits, labels, kind, known in cases:
        right = CHOSEN[kind or implied(logits, labels)](logits, labels)
        found = indexed_by(
            "a label of -100 is not a class: leave those texts out before you index", answer, logits, labels, kind
        )
        expect(found, right, known, f"the loss for {what}")
    return "six calls, three losses"


def squares(logits: Array, labels: Array) -> Any:
    """Mean of (x - y)², with labels of the logits' shape or (B,)."""
    return ops.mean_squared_error(logits, labels.reshape(logits.shape))


CHOSEN: dict[str, Callable[[Array, Array], Any]] = {
    "regression": squares,
    "single_label_classification": ops.cross_entropy,
    "multi_label_classification": ops.binary_cross_entropy,
}
"""The loss of each problem type."""


def implied(logits: Array, labels: Array) -> str:
    """The problem type that shapes and dtypes imply."""
    if logits.shape[1] == 1:
        return "regression"
    return "single_label_classification" if labels.dtype.kind in "iu" else "multi_label_classification"


def of_classes(logits: Array, labels: Array) -> dict[str, Any]:
    """Likely mistakes with integers for labels."""
    kept = labels != -100
    chosen = -ops.log_softmax(logits)[numpy.arange(len(labels)), labels.clip(0)]
    return {
        "a label of -100 is to be ignored, and you took it as an index": -ops.log_softmax(logits)[
            numpy.arange(len(labels)), labels % 3
        ].mean(),
        "a label of -100 is not class 0: it does not count": chosen.mean(),
        "divide by the number of labels that count": chosen[kept].sum() / len(labels),
        "that is the sum: take the mean": chosen[kept].sum(),
    }


def of_marks(logits: Array, labels: Array, *, chosen: bool = False) -> dict[str, Any]:
    """Likely mistakes with a float for each label. chosen: whether problem_type asks for a regression."""
    if chosen:
        return {"problem_type decides, if it is given": ops.binary_cross_entropy(logits, labels)}
    return {
        "that is the squared error, which is for one label or a problem_type of regression": squares(logits, labels),
        "take the mean over labels, too, not their sum": 3 * ops.binary_cross_entropy(logits, labels),
        "the labels are independent: a sigmoid for each, not a softmax": -(labels * ops.log_softmax(logits))
        .sum(-1)
        .mean(),
    }


def of_type(logits: Array, labels: Array) -> dict[str, Any]:
    """The likely mistake if one label is no regression."""
    return {"problem_type decides, if it is given": squares(logits, labels[:, :1])}


check = Checks(first, second, third)
