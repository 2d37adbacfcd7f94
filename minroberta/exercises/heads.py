"""The exercises of notebook 8: the classification head, the loss of a span, and the choice of a loss."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from .. import activations, ops
from ..loading import Model, init
from ..trace import Trace, trace
from ..weights import flat
from .checks import Checks, NotYet, array_of, expect, expect_values, result_of, same

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
        raise NotYet("two arrays are asked for: return the value after the tanh, and the logits")
    hidden = array_of(result[0], (len(x), x.shape[-1]), "the value after the tanh")
    logits = array_of(result[1], (len(x), 3), "the array of logits")
    for sentence, read in MISREAD.items():
        if same(hidden, numpy.tanh(ops.linear(read(x), **p.dense.tree))):
            raise NotYet(sentence)
    expect_values(model(), run().inputs, {"encoder": x, "classifier.tanh": hidden, "logits": logits})
    return "the oracle agrees"


MISREAD: dict[str, Callable[[Array], Array]] = {
    "RoBERTa's head reads position 0 alone, not the mean of all positions": lambda x: x.mean(1),
    "RoBERTa's head reads position 0 alone, not the mean of all tokens": lambda x: (
        (x * MASK[..., None]).sum(1) / MASK.sum(1, keepdims=True)
    ),
    "RoBERTa's head reads position 0 alone, not the largest value over the positions": lambda x: x.max(1),
    "RoBERTa's head reads position 0, not the last one": lambda x: x[:, -1],
}
"""Vectors that a reader may take for the head's input, each under its sentence."""


# --- 2. the loss of a span ------------------------------------------------------------------------------------------

STARTS, ENDS = numpy.array([2, -100, 6, 8, 0]), numpy.array([4, -100, 99, 8, 6])
"""Positions in texts of 7 tokens: answers, one text without an answer, and answers that were cut off."""


def second(answer: Any) -> str:
    """A function of start and end logits, (B, L), and positions, (B,)."""
    logits = 2 * numpy.random.default_rng(0).standard_normal((2, len(STARTS), 7))
    found = loss_from(
        "a position is not an index of the logits: clamp all to 0 … L, and leave out those that are L",
        (answer, *logits, STARTS, ENDS),
    )
    expect(found, mean_of_means(losses(logits)), wrong_spans(logits), "the loss")
    return "-100 is position 0, and what was cut off does not count"


def loss_from(reason: str, call: Sequence[Any]) -> Any:
    """Result of a function and its arguments. Raises NotYet with this reason if an index is out of bounds."""
    try:
        return result_of(*call)
    except NotYet as error:
        if isinstance(error.__cause__, IndexError):
            raise NotYet(reason) from error
        raise


def losses(logits: Array, counts: Callable[[Array], Array] = lambda at: at < 7) -> list[Array]:
    """The cross entropies of the starts and of the ends that count. logits: (2, B, L)."""
    found = []
    for x, at in zip(logits, (STARTS, ENDS), strict=True):
        kept = numpy.flatnonzero(counts(at))
        found.append(-ops.log_softmax(x)[kept, at[kept].clip(0, 6)])
    return found


def mean_of_means(found: Sequence[Array]) -> Any:
    """The mean of two means."""
    return sum(x.mean() for x in found) / 2


def wrong_spans(logits: Array) -> dict[str, Any]:
    """Likely mistakes, each under its sentence."""
    right, B = losses(logits), len(STARTS)
    whole = (STARTS < 7) & (ENDS < 7)  # texts of which both positions count
    return {
        "that is the sum of the two losses: take their mean": 2 * mean_of_means(right),
        "the sign is wrong: a loss is minus the logarithm of a probability": -mean_of_means(right),
        "-100 is not ignored here: it becomes position 0, and counts": mean_of_means(
            losses(logits, lambda at: (at >= 0) & (at < 7))
        ),
        "an answer that was cut off is to be ignored, not to end at the last position": mean_of_means(
            losses(logits, lambda at: at > -999)
        ),
        "divide each sum by the number of positions that count": sum(x.sum() for x in right) / B / 2,
        "take the mean over the positions that count, not their sum": sum(x.sum() for x in right) / 2,
        "take the mean over the positions that count, not their sum, and the mean of both losses": sum(
            x.sum() for x in right
        ),
        "that is one mean over starts and ends together: take the mean of each, and then the mean of both": (
            numpy.concatenate(right).mean()
        ),
        "starts and ends are swapped: the start logits belong to the starts": mean_of_means(losses(logits[::-1])),
        "a start may count though its end was cut off: ignore each for itself, not the text": mean_of_means(
            losses(logits, lambda at: whole)
        ),
        "that is the loss of the starts alone": right[0].mean(),
        "that is the loss of the ends alone": right[1].mean(),
        "these are logits: take `ops.log_softmax` of them first": mean_of_means(
            [-x[at < 7, at[at < 7].clip(0)] for x, at in zip(logits, (STARTS, ENDS), strict=True)]
        ),
        "these are probabilities: take minus their logarithms": mean_of_means([numpy.exp(-x) for x in right]),
    }


# --- 3. which loss? -------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A call of the reader's function."""

    what: str
    logits: Array
    labels: Array
    kind: str | None
    known: dict[str, Any]
    """Results of likely mistakes, each under its sentence."""
    beyond: str
    """The sentence for an index that is out of bounds."""


def third(answer: Any) -> str:
    """A function of logits, (B, N), labels and problem_type."""
    for case in cases():
        found = loss_from(case.beyond, (answer, case.logits, case.labels, case.kind))
        right = CHOSEN[case.kind or implied(case.logits, case.labels)](case.logits, case.labels)
        known = case.known | {"the sign is wrong: a loss is not negative here": -right}
        expect(found, right, known, f"the loss for {case.what}")
    return "six calls, three losses"


def cases() -> list[Case]:
    """Calls in which each likely mistake shows."""
    random = numpy.random.default_rng(0)
    one, several = random.standard_normal((4, 1)), random.standard_normal((4, 3))
    stars, classes, marks = numpy.array([4, 1, 2, 2]), numpy.array([2, 0, -100, 1]), random.random((4, 3)).round()
    decides = "problem_type decides, if it is given"
    return [
        Case("integers, several labels", several, classes, None, of_classes(several, classes),
             "a label of -100 is to be ignored, and you took it as an index"),
        Case("one label of each text", one, stars, None, of_stars(one, stars),
             "N = 1 is a regression, of integers too: ask for N before the dtype"),
        Case("floats, several labels", several, marks, None, of_marks(several, marks),
             "floats are not indices: each is a label of its own, with a sigmoid"),
        Case("a problem_type of regression", several, marks, "regression",
             {decides: ops.binary_cross_entropy(several, marks)}, decides),
        Case("a problem_type of several labels, N = 1", one, marks[:, :1], "multi_label_classification",
             {decides: squares(one, marks[:, :1])}, decides),
        Case("integers of shape (B, 1), several labels", several, classes[:, None], None,
             of_column(several, classes), "labels may have the shape (B, 1): make it (B,) before you index"),
    ]  # fmt: skip


def squares(logits: Array, labels: Array) -> Any:
    """Mean of (x - y)², with labels of the logits' shape or (B,)."""
    return ops.mean_squared_error(logits, labels.reshape(logits.shape))


CHOSEN: dict[str, Callable[[Array, Array], Any]] = {
    "regression": squares,
    "single_label_classification": lambda logits, labels: ops.cross_entropy(logits, labels.reshape(-1)),
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
    logs = ops.log_softmax(logits)
    rows = numpy.arange(len(labels))
    chosen = -logs[rows, labels.clip(0)]
    return {
        "a label of -100 is to be ignored, and you took it as an index": -logs[rows, labels % 3].mean(),
        "a label of -100 is not class 0: it does not count": chosen.mean(),
        "divide by the number of labels that count": chosen[kept].sum() / len(labels),
        "that is the sum: take the mean": chosen[kept].sum(),
        "these are logits: take `ops.log_softmax` of them first": -logits[rows, labels.clip(0)][kept].mean(),
        "these are probabilities: take minus their logarithms": numpy.exp(-chosen[kept]).mean(),
    }


def of_column(logits: Array, labels: Array) -> dict[str, Any]:
    """The likely mistake with integers of shape (B, 1): every text meets every label."""
    kept = labels != -100
    every = -ops.log_softmax(logits)[kept][:, labels[kept]]
    return {"labels of shape (B, 1) met every text: make their shape (B,)": every.mean()}


def of_stars(logits: Array, labels: Array) -> dict[str, Any]:
    """Likely mistakes in a regression. logits: (B, 1); labels: (B,)."""
    right = squares(logits, labels)
    return {
        "the shapes broadcast: every text met every label. Give the labels the shape (B, 1)": (
            (logits - labels) ** 2
        ).mean(),
        "that is half of the mean square": right / 2,
        "that is the sum of the squares: take their mean": right * len(labels),
        "that is the root of the mean square: leave it as it is": right**0.5,
        "that is the mean of |x − y|: take the squares": numpy.abs(logits[:, 0] - labels).mean(),
    }


def of_marks(logits: Array, labels: Array) -> dict[str, Any]:
    """Likely mistakes with a float for each label."""
    right, chances = ops.binary_cross_entropy(logits, labels), activations.sigmoid(logits)
    return {
        "that is the squared error, which is for one label or a problem_type of regression": squares(logits, labels),
        "take the mean over labels, too, not their sum": labels.shape[1] * right,
        "that is the sum: take the mean": labels.size * right,
        "the labels are independent: a sigmoid for each, not a softmax": (
            -(labels * ops.log_softmax(logits)).sum(-1).mean()
        ),
        "labels that are 0 count, too: the term (1 − y)·log(1 − σ(x)) is missing": -(
            labels * numpy.log(chances)
        ).mean(),
    }


check = Checks(first, second, third)
