"""The exercises of notebook 8: right answers are right, and each likely mistake gets its sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minroberta import activations, ops
from minroberta.exercises.heads import check

Array = np.ndarray


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_silence_and_a_forgotten_return(number: int, capsys: pytest.CaptureFixture) -> None:
    assert said(number, None, capsys) == f"exercise {number} is not answered yet"
    assert said(number, lambda *arguments: None, capsys).startswith("not yet: your function returns None")


# --- 1. the classification head -------------------------------------------------------------------------------------


def head(read: Callable[[Array], Array] = lambda x: x[:, 0], bend: Callable[[Array], Array] = np.tanh) -> Any:
    def classification_head(x: Array, w: Array, b: Array, v: Array, c: Array) -> tuple[Array, Array]:
        hidden = bend(read(x) @ w.T + b)
        return hidden, hidden @ v.T + c

    return classification_head


def test_the_head(capsys: pytest.CaptureFixture) -> None:
    assert said(1, head(), capsys) == "right: the oracle agrees"


WRONG_HEADS = {
    "not yet: RoBERTa's head reads position 0 alone": head(lambda x: x.mean(1)),
    "not yet: the first wrong value is classifier.tanh": head(bend=activations.gelu),
    "not yet: two arrays are asked for": lambda *arguments: head()(*arguments)[1],
    "not yet: the value after the tanh has shape (2, 7, 24), not (2, 24)": head(lambda x: x),
    "not yet: the first wrong value is logits": lambda x, w, b, v, c: (
        head()(x, w, b, v, c)[0],
        head()(x, w, b, v, 0 * c)[1],
    ),
}


@pytest.mark.parametrize("sentence", WRONG_HEADS)
def test_wrong_heads(sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, WRONG_HEADS[sentence], capsys).startswith(sentence)


def test_other_wrong_heads(capsys: pytest.CaptureFixture) -> None:
    transposed = lambda x, w, b, v, c: head()(x, w.T, b, v, c)  # noqa: E731
    for wrong in (head(bend=lambda x: x), transposed):
        assert said(1, wrong, capsys).startswith("not yet: the first wrong value is classifier.tanh")
    beginning = "not yet: RoBERTa's head reads position 0"
    assert said(1, head(lambda x: x[:, -1]), capsys) == f"{beginning}, not the last one"
    assert said(1, head(lambda x: x.max(1)), capsys).startswith(f"{beginning} alone, not the largest value")
    tokens = head(lambda x: np.stack([x[0].mean(0), x[1, :4].mean(0)]))  # texts of 7 and of 4 tokens
    assert said(1, tokens, capsys).startswith(f"{beginning} alone, not the mean of all tokens")


def head_in_loops(x: Array, w: Array, b: Array, v: Array, c: Array) -> list[list[list[float]]]:
    """A right answer by numbers, as lists."""
    hidden = [[np.tanh(sum(row[i] * text[0][i] for i in range(len(row))) + b[d]) for d, row in enumerate(w)]
              for text in x]  # fmt: skip
    return [hidden, np.einsum("bd,nd->bn", hidden, v) + c]


def test_the_head_in_loops(capsys: pytest.CaptureFixture) -> None:
    assert said(1, head_in_loops, capsys) == "right: the oracle agrees"


# --- 2. the loss of a span ------------------------------------------------------------------------------------------


def span(
    counts: Callable[[Array], Array] = lambda at: at < 7, over: Callable[[Array], Any] = np.mean, sign: int = -1
) -> Any:
    def span_loss(starts: Array, ends: Array, first: Array, last: Array) -> Any:
        found = []
        for logits, at in ((starts, first), (ends, last)):
            kept = np.flatnonzero(counts(at))
            found.append(over(sign * ops.log_softmax(logits)[kept, at[kept].clip(0, 6)]))
        return sum(found) / 2

    return span_loss


def test_the_span(capsys: pytest.CaptureFixture) -> None:
    assert said(2, span(), capsys).startswith("right")


def pooled(a: Array, b: Array, first: Array, last: Array) -> Any:
    """One mean over starts and ends."""
    chosen = [-ops.log_softmax(x)[y < 7, y[y < 7].clip(0)] for x, y in ((a, first), (b, last))]
    return np.concatenate(chosen).mean()


def of_whole_texts(a: Array, b: Array, first: Array, last: Array) -> Any:
    """Without texts of which a position was cut off."""
    whole = (first < 7) & (last < 7)
    return span()(a[whole], b[whole], first[whole], last[whole])


WRONG_SPANS = {
    "not yet: that is the sum of the two losses": lambda *arguments: 2 * span()(*arguments),
    "not yet: the sign is wrong": span(sign=1),
    "not yet: -100 is not ignored here": span(lambda at: (at >= 0) & (at < 7)),
    "not yet: an answer that was cut off is to be ignored": span(lambda at: at == at),
    "not yet: divide each sum by the number of positions that count": span(over=lambda found: found.sum() / 5),
    "not yet: take the mean over the positions that count, not their sum": span(over=np.sum),
    "not yet: take the mean over the positions that count, not their sum, and the mean of both": lambda *given: (
        2 * span(over=np.sum)(*given)
    ),
    "not yet: that is one mean over starts and ends together": pooled,
    "not yet: starts and ends are swapped": lambda a, b, first, last: span()(b, a, first, last),
    "not yet: a start may count though its end was cut off": of_whole_texts,
    "not yet: that is the loss of the starts alone": lambda a, b, first, last: span()(a, a, first, first),
    "not yet: that is the loss of the ends alone": lambda a, b, first, last: span()(b, b, last, last),
    "not yet: these are probabilities": span(over=lambda found: np.exp(-found).mean()),
    "not yet: a position is not an index of the logits": lambda a, b, first, last: ops.log_softmax(a)[range(5), first],
    "not yet: the loss has shape (2,), not ()": lambda a, b, *at: np.array([span()(a, a, *at), span()(b, b, *at)]),
}


def span_in_a_loop(starts: Array, ends: Array, first: Array, last: Array) -> float:
    """A right answer, text by text."""
    total = 0.0
    for logits, positions in ((starts, first), (ends, last)):
        found = []
        for row, at in zip(logits, positions, strict=True):
            at = min(max(at, 0), len(row))
            if at < len(row):
                found.append(np.log(np.exp(row).sum()) - row[at])
        total += float(np.mean(found))
    return total / 2


def test_the_span_in_a_loop(capsys: pytest.CaptureFixture) -> None:
    assert said(2, span_in_a_loop, capsys).startswith("right")


def test_only_an_index_beyond_the_text_gets_the_sentence_about_indices(capsys: pytest.CaptureFixture) -> None:
    assert said(2, lambda a, b, *at: a @ b, capsys).startswith("not yet: your function raises ValueError")


@pytest.mark.parametrize("sentence", WRONG_SPANS)
def test_wrong_spans(sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, WRONG_SPANS[sentence], capsys).startswith(sentence)


# --- 3. which loss? -------------------------------------------------------------------------------------------------


def right(logits: Array, labels: Array, problem_type: str | None = None) -> Any:
    if problem_type == "regression" or (problem_type is None and logits.shape[1] == 1):
        return ((logits - labels.reshape(logits.shape)) ** 2).mean()
    if problem_type is None and labels.dtype.kind in "iu":
        return ops.cross_entropy(logits, labels.reshape(-1))
    chances = activations.sigmoid(logits)
    return -(labels * np.log(chances) + (1 - labels) * np.log(1 - chances)).mean()


def unless(when: Callable[[Array, Array, str | None], bool], instead: Callable[[Array, Array], Any]) -> Any:
    """The right losses, but in one case another."""
    return lambda x, y, kind=None: instead(x, y) if when(x, y, kind) else right(x, y, kind)


def integers(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] > 1 and y.dtype.kind in "iu" and y.ndim == 1


def column(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] > 1 and y.dtype.kind in "iu" and y.ndim == 2


def chosen(x: Array, y: Array, of: Array) -> Array:
    return -ops.log_softmax(x)[np.arange(len(y)), of]


def floats(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] > 1 and y.dtype.kind == "f"


def alone(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] == 1


def test_the_losses(capsys: pytest.CaptureFixture) -> None:
    assert said(3, right, capsys) == "right: six calls, three losses"


def with_indices(x: Array, y: Array) -> Any:
    """The cross entropy by numbers of rows, which is right if labels have the shape (B,)."""
    counts = np.flatnonzero(y != -100)
    return -ops.log_softmax(x)[counts, y[counts]].mean()


def losses_in_a_loop(logits: Array, labels: Array, problem_type: str | None = None) -> float:
    """A right answer, text by text, in float64."""
    rows = [np.asarray(y).ravel().tolist() for y in labels]
    N = logits.shape[1]
    if problem_type is None and N > 1 and isinstance(rows[0][0], int):
        kept = [(x, y[0]) for x, y in zip(logits, rows, strict=True) if y[0] != -100]
        return sum(float(np.logaddexp.reduce(x) - x[y]) for x, y in kept) / len(kept)
    total = 0.0
    for x, y in ((x[n], float(y[n])) for x, y in zip(logits, rows, strict=True) for n in range(N)):
        squared = problem_type == "regression" or (problem_type is None and N == 1)
        total += (x - y) ** 2 if squared else np.logaddexp(0, x) - x * y
    return total / logits.size


def test_the_losses_in_a_loop(capsys: pytest.CaptureFixture) -> None:
    assert said(3, losses_in_a_loop, capsys) == "right: six calls, three losses"


WRONG_LOSSES = {
    "not yet: a label of -100 is to be ignored, and you took": unless(
        integers, lambda x, y: chosen(x, y, y % 3).mean()
    ),
    "not yet: a label of -100 is not class 0": unless(integers, lambda x, y: chosen(x, y, y.clip(0)).mean()),
    "not yet: divide by the number of labels": unless(
        integers, lambda x, y: chosen(x, y, y.clip(0))[y >= 0].sum() / len(y)
    ),
    "not yet: that is the sum: take the mean": unless(integers, lambda x, y: chosen(x, y, y.clip(0))[y >= 0].sum()),
    "not yet: the shapes broadcast": unless(alone, lambda x, y: ((x - y) ** 2).mean()),
    "not yet: that is half of the mean square": unless(alone, lambda x, y: right(x, y) / 2),
    "not yet: that is the squared error": unless(floats, lambda x, y: ((x - y) ** 2).mean()),
    "not yet: take the mean over labels": unless(floats, lambda x, y: 3 * right(x, y)),
    "not yet: the labels are independent": unless(floats, lambda x, y: -(y * ops.log_softmax(x)).sum(-1).mean()),
    "not yet: these are logits": unless(integers, lambda x, y: -x[np.arange(4), y.clip(0)][y >= 0].mean()),
    "not yet: these are probabilities": unless(
        integers, lambda x, y: ops.softmax(x)[np.arange(4), y.clip(0)][y >= 0].mean()
    ),
    "not yet: a label of -100 is to be ignored, and you": unless(integers, lambda x, y: chosen(x, y, y).mean()),
    "not yet: that is the sum of the squares": unless(alone, lambda x, y: 4 * right(x, y)),
    "not yet: that is the root": unless(alone, lambda x, y: right(x, y) ** 0.5),
    "not yet: that is the mean of |x": unless(alone, lambda x, y: np.abs(x[:, 0] - y).mean()),
    "not yet: N = 1 is a regression, of integers too": unless(alone, lambda x, y: chosen(x, y, y).mean()),
    "not yet: floats are not indices": unless(floats, lambda x, y: x[y]),
    "not yet: labels that are 0 count, too": unless(floats, lambda x, y: -(y * np.log(activations.sigmoid(x))).mean()),
    "not yet: the sign is wrong": lambda *given: -right(*given),
    "not yet: labels of shape (B, 1) met every text": unless(column, with_indices),
    "not yet: problem_type decides": lambda x, y, kind=None: right(x, y),
}


@pytest.mark.parametrize("sentence", WRONG_LOSSES)
def test_wrong_losses(sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, WRONG_LOSSES[sentence], capsys).startswith(sentence)
