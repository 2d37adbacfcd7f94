"""The exercises of notebook 9: right answers are right, and each likely mistake gets its sentence."""

from typing import Any

import numpy as np
import pytest

from minroberta.exercises.sinks import check

Array = np.ndarray


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


# --- 1. how much rests ----------------------------------------------------------------------------------------------


def rest(shares: Array, mask: Array, *, first: bool = True, last: bool = True, inner: bool = False) -> Array:
    found = []
    for text, row in zip(shares, mask, strict=True):
        n = row.sum()
        rows = slice(1, n - 1) if inner else slice(0, n)
        found.append(first * text[:, rows, 0] + last * text[:, rows, n - 1])
    return np.concatenate(found, axis=-1).mean(-1)


def last_column(shares: Array, mask: Array) -> Array:
    return np.mean((shares[..., 0] + shares[..., -1]).swapaxes(1, 2)[mask == 1], 0)


def with_padding(shares: Array, mask: Array) -> Array:
    return np.mean([text[..., 0] + text[..., n - 1] for text, n in zip(shares, mask.sum(1), strict=True)], (0, 2))


def by_text(shares: Array, mask: Array) -> Array:
    return np.mean([rest(shares[i : i + 1], mask[i : i + 1]) for i in range(len(mask))], 0)


def as_readers(shares: Array, mask: Array) -> Array:
    return rest(shares.swapaxes(-1, -2), mask)


def in_loops(shares: Array, mask: Array) -> list[float]:
    """Another right answer, as a list."""
    total, count = [0.0] * shares.shape[1], 0
    for text, n in zip(shares.tolist(), mask.sum(1), strict=True):
        count += n
        for head, rows in enumerate(text):
            total[head] += sum(row[0] + row[n - 1] for row in rows[:n])
    return [x / count for x in total]


FIRST: list[tuple[Any, str]] = [
    (None, "exercise 1 is not answered yet"),
    (lambda shares, mask: None, "not yet: your function returns None"),
    (rest, "right"),
    (lambda shares, mask: rest(shares, mask, last=False), "not yet: that is the share of <s> alone"),
    (lambda shares, mask: rest(shares, mask, first=False), "not yet: that is the share of </s> alone"),
    (lambda shares, mask: rest(shares, mask, inner=True), "not yet: <s> and </s> look, too"),
    (lambda shares, mask: rest(shares, mask) / 2, "not yet: the two shares are to be added"),
    (last_column, "not yet: the last column is padding"),
    (with_padding, "not yet: rows of padding are counted"),
    (by_text, "not yet: each token counts the same"),
    (as_readers, "not yet: that is where <s> and </s> look"),
    (lambda shares, mask: rest(shares, mask).mean(), "not yet: the result has shape (), not (3,)"),
    (lambda shares, mask: 1 - rest(shares, mask), "not yet: the result is "),
    (lambda shares, mask: [[1], [2, 3]], "not yet: the result is not an array of numbers"),
    (lambda shares, mask: shares[mask == 1], "not yet: your function raises IndexError"),
    (in_loops, "right"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), FIRST)
def test_how_much_rests(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


# --- 2. an edit that gives the mean ---------------------------------------------------------------------------------


def always(vector: Array) -> Any:
    return lambda x: np.broadcast_to(vector, x.shape).astype(x.dtype)


def mean_of_means(values: Array, mask: Array) -> Any:
    return always(np.mean([text[row == 1].mean(0) for text, row in zip(values, mask, strict=True)], 0))


SECOND: list[tuple[Any, str]] = [
    (None, "exercise 2 is not answered yet"),
    (lambda values, mask: None, "not yet: your function returns None"),
    (lambda values, mask: lambda x: None, "not yet: your function returns None"),
    (lambda values, mask: always(values[mask == 1].mean(0)), "right"),
    (lambda values, mask: lambda x: 0 * x + values[mask == 1].mean(0), "right"),
    (lambda values, mask: values[mask == 1].mean(0), "not yet: return a function"),
    (lambda values, mask: lambda x: 0 * x, "not yet: that is zeroing"),
    (lambda values, mask: lambda x: x, "not yet: that is what the edit was given"),
    (lambda values, mask: always(values.mean((0, 1))), "not yet: padding is counted in the mean"),
    (lambda values, mask: always((values * mask[..., None]).mean((0, 1))), "not yet: padding is counted as 0"),
    (lambda values, mask: lambda x: 0 * x + x.mean((0, 1)), "not yet: that is the mean of what the edit is given"),
    (mean_of_means, "not yet: each token counts the same"),
    (lambda values, mask: lambda x: x + values[mask == 1].mean(0), "not yet: the mean is to replace the value"),
    (lambda values, mask: always(values[mask == 1].mean()), "not yet: each channel has a mean"),
    (lambda values, mask: lambda x: values[mask == 1].mean(0), "not yet: the edit returns an array of another shape"),
    (lambda values, mask: lambda x: values, "not yet: the edit returns an array of another shape than it was given"),
    (lambda values, mask: lambda x: x[0], "not yet: the result of the edit has shape (5, 6), not (2, 5, 6)"),
    (lambda values, mask: lambda x: [[1], [2, 3]], "not yet: the result of the edit is not an array of numbers"),
    (lambda values, mask: lambda x: 1 / 0, "not yet: your function raises ZeroDivisionError"),
    (lambda values, mask: lambda x: np.zeros(x.shape) + values[mask == 1].mean(0),
     "not yet: the edit was given float32 and returned float64"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), SECOND)
def test_an_edit_that_gives_the_mean(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


# --- 3. heads that become a bias ------------------------------------------------------------------------------------


def removal(change: Any) -> Any:
    """The right answer, changed by a function of weight, bias, mean and which columns go."""

    def answer(weight: Array, bias: Array, mean: Array, gone: list[int], E: int) -> Any:
        goes = np.isin(np.arange(weight.shape[1]) // E, gone)
        return change(weight, bias, mean, goes)

    return answer


def kept(w: Array, g: Array) -> Array:
    return w[:, ~g]


THIRD: list[tuple[Any, str]] = [
    (None, "exercise 3 is not answered yet"),
    (removal(lambda w, b, m, g: None), "not yet: your function returns None"),
    (removal(lambda w, b, m, g: (kept(w, g), b + w[:, g] @ m[g])), "right: on average, nothing changes"),
    (removal(lambda w, b, m, g: kept(w, g)), "not yet: two arrays are asked for"),
    (removal(lambda w, b, m, g: (w[~g], b)), "not yet: rows are removed"),
    (removal(lambda w, b, m, g: (w[:, g], b)), "not yet: these are the columns of the heads that go"),
    (removal(lambda w, b, m, g: (w * ~g, b)), "not yet: columns are set to 0"),
    (lambda w, b, m, gone, E: (np.delete(w, gone, 1), b), "not yet: one column is removed for each head"),
    (removal(lambda w, b, m, g: (w, b)), "not yet: all columns are still there"),
    (removal(lambda w, b, m, g: (kept(w, g).T, b)), "not yet: the weight is transposed"),
    (removal(lambda w, b, m, g: (w[:, 1::2], b)), "not yet: head h has the columns"),
    (removal(lambda w, b, m, g: (w[:, :6], b)), "not yet: the weight is "),
    (removal(lambda w, b, m, g: (kept(w, g), b)), "not yet: that is the old bias"),
    (removal(lambda w, b, m, g: (kept(w, g), w[:, g] @ m[g])), "not yet: the old bias is lost"),
    (removal(lambda w, b, m, g: (kept(w, g), b + w[:, ~g] @ m[~g])), "not yet: that is the constant of the heads"),
    (removal(lambda w, b, m, g: (kept(w, g), b + w @ m)), "not yet: that is the constant of all heads"),
    (removal(lambda w, b, m, g: (kept(w, g), b - w[:, g] @ m[g])), "not yet: the constant is to be added"),
    (removal(lambda w, b, m, g: (kept(w, g), b + m[g] @ w[g])), "not yet: the weight lies the other way"),
    (removal(lambda w, b, m, g: (kept(w, g), b + m * g)), "not yet: the mean goes through the weight"),
    (removal(lambda w, b, m, g: (kept(w, g), b + m.mean())), "not yet: the bias is "),
    (removal(lambda w, b, m, g: ([[1], [1, 2]], b)), "not yet: the weight is not an array of numbers"),
    (removal(lambda w, b, m, g: (kept(w, g), [[1], [1, 2]])), "not yet: the bias is not an array of numbers"),
    (removal(lambda w, b, m, g: (b, kept(w, g))), "not yet: return the weight first, and then the bias"),
    (removal(lambda w, b, m, g: [kept(w, g).astype("float32"), np.einsum("oi,i->o", w, m * g) + b]), "right"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), THIRD)
def test_heads_that_become_a_bias(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(sentence)
