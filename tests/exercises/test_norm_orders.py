"""The exercises of notebook 5: right answers are right, and each likely mistake gets its sentence."""

from typing import Any

import numpy as np
import pytest

from minroberta.config import Config
from minroberta.exercises.layers import check
from minroberta.weights import shapes

Array = np.ndarray


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


# --- 1. the layer norm ----------------------------------------------------------------------------------------------


def normed(ddof: int = 0, inside: bool = True, axis: Any = -1, centre: bool = True) -> Any:
    def norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
        centred = x - x.mean(axis, keepdims=True) * centre
        variance = x.var(axis, ddof=ddof, keepdims=True)
        return centred / (np.sqrt(variance + eps) if inside else np.sqrt(variance) + eps) * weight + bias

    return norm


right = normed()


def by_loops(x: Array, weight: Array, bias: Array, eps: float) -> list[Any]:
    """Another right answer: lists, made number by number."""

    def one(row: list[float]) -> list[float]:
        mean = sum(row) / len(row)
        root = (sum((number - mean) ** 2 for number in row) / len(row) + eps) ** 0.5
        return [(number - mean) / root * w + b for number, w, b in zip(row, weight, bias, strict=True)]

    return [[one(row) for row in rows] for rows in x.tolist()]


def rms(x: Array, weight: Array, bias: Array, eps: float, centred: bool = False) -> Array:
    above = x - x.mean(-1, keepdims=True) * centred
    return above / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias


FIRST: list[tuple[Any, str]] = [
    (None, "exercise 1 is not answered yet"),
    (lambda x, weight, bias, eps: None, "not yet: your function returns None"),
    (right, "right"),
    (lambda x, weight, bias, eps: right(x.astype("float32"), weight, bias, eps).astype("float32"), "right"),
    (normed(ddof=1), "not yet: divide the sum of squares by D"),
    (normed(inside=False), "not yet: eps belongs inside the square root"),
    (normed(centre=False), "not yet: the mean is not subtracted"),
    (normed(axis=(0, 1)), "not yet: that is a batch norm"),
    (normed(axis=0), "not yet: mean and variance are taken over the texts"),
    (normed(axis=(1, 2)), "not yet: mean and variance are those of a whole text"),
    (by_loops, "right"),
    (rms, "not yet: that is an RMS norm"),
    (lambda x, weight, bias, eps: rms(x, weight, bias, eps, centred=True), "not yet: subtract the mean before the sq"),
    (lambda x, weight, bias, eps: (x - x.mean(-1)) * weight, "not yet: your function raises ValueError in line "),
    (normed(axis=(0, 1, 2)), "not yet: mean and variance are those of all tokens"),
    (normed(axis=1), "not yet: mean and variance are taken over the tokens"),
    (lambda x, weight, bias, eps: right(x, weight, bias, 0), "not yet: eps is left out"),
    (lambda x, weight, bias, eps: right(x, 1, 0, eps), "not yet: weight and bias are left out"),
    (lambda x, weight, bias, eps: right(x, 1, bias, eps), "not yet: the weight is left out"),
    (lambda x, weight, bias, eps: right(x, weight, 0, eps), "not yet: the bias is left out"),
    (lambda x, weight, bias, eps: right(x, 1, bias, eps) * weight, "not yet: the bias is added before"),
    (lambda x, weight, bias, eps: (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + eps) * weight + bias,
     "not yet: the square root is left out"),
    (lambda x, weight, bias, eps: right(x, weight, bias, 1e-6), "not yet: the result is "),
    (lambda x, weight, bias, eps: right(x, weight, bias, eps)[0], "not yet: the result has shape (3, 8)"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), FIRST)
def test_the_layer_norm(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


# --- 2. a pre-LN body -----------------------------------------------------------------------------------------------


def body(half: Any, end: Any = lambda x, norm: norm(x)) -> Any:
    def run(x: Array, pairs: Any, final_norm: Any) -> list[Array]:
        states = []
        for norm, f in pairs:
            x = half(x, norm, f)
            states.append(x)
        return [*states, end(x, final_norm)]

    return run


def pre(x: Array, norm: Any, f: Any) -> Array:
    return x + f(norm(x))


def in_place(x: Array, norm: Any, f: Any) -> Array:
    x += f(norm(x))
    return x


WRONG = "not yet: the first wrong value is"
OF_FIRST = f"{WRONG} encoder.layer.0.attention. It looks like the known mistake"
OF_END = f"{WRONG} LayerNorm. It looks like the known mistake"

SECOND: list[tuple[Any, str]] = [
    (None, "exercise 2 is not answered yet"),
    (lambda x, pairs, final_norm: None, "not yet: your function returns None"),
    (body(pre), "right: all 7 states"),
    (body(in_place), "not yet: some states are one and the same array"),
    (body(lambda x, norm, f: norm(x + f(x))), f"{OF_FIRST} norm-order"),
    (body(lambda x, norm, f: norm(x) + f(norm(x))), f"{OF_FIRST} residual-from-norm"),
    (body(lambda x, norm, f: f(norm(x))), f"{OF_FIRST} residual-missing"),
    (lambda *given: np.stack(body(pre)(*given)), "right: all 7 states"),
    (lambda *given: tuple(state.tolist() for state in body(pre)(*given)), "right: all 7 states"),
    (lambda *given: np.stack(body(pre)(*given)[1:]), "not yet: the list has 6 arrays, not 7"),
    (body(lambda x, norm, f: x + f(x)), "not yet: the norm is missing: f takes norm(x)"),
    (body(lambda x, norm, f: x + norm(f(x))), "not yet: the norm comes before f, not after it"),
    (body(lambda x, norm, f: f(x)), "not yet: the norm is missing, and so is x"),
    (body(lambda x, norm, f: norm(x)), "not yet: state 0 is the norm of the embeddings"),
    (lambda x, pairs, final_norm: [norm(x) for norm in pairs], "not yet: your function raises TypeError in line "),
    (body(pre, lambda x, norm: x), f"{OF_END} final-norm-missing"),
    (body(pre, lambda x, norm: norm(norm(x))), f"{OF_END} final-norm-doubled"),
    (lambda x, pairs, final_norm: body(pre)(x, pairs, final_norm)[-1], "not yet: a list of arrays is asked for"),
    (lambda x, pairs, final_norm: body(pre)(x, pairs, final_norm)[:-1], "not yet: the list has 6 arrays, not 7"),
    (lambda x, pairs, final_norm: [x, *body(pre)(x, pairs, final_norm)], "not yet: the list has 8 arrays, not 7"),
    (lambda x, pairs, final_norm: [x, *body(pre)(x, pairs, final_norm)[:-1]], "not yet: state 0 is the embeddings"),
]


@pytest.mark.parametrize(("answer", "sentence"), SECOND)
def test_a_pre_ln_body(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


# --- 3. the number of weights ---------------------------------------------------------------------------------------


def count(config: Config, *, norms: int | None = None, width: int = 2, maps: int = 4, bias: int = 1) -> int:
    D, F, N = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * D
    layer = maps * (D * D + bias * D) + 2 * D * F + bias * (F + D)
    norms = 2 * N + config.embedding_norm + config.norm_first if norms is None else norms
    return tables + N * layer + norms * width * D


def of_layer(config: Config) -> int:
    D, F = config.hidden_size, config.intermediate_size
    return 4 * (D * D + D) + 2 * D * F + F + D + 4 * D


def by_shapes(config: Config) -> int:
    """Another right answer: the sizes of all arrays of the body."""
    parts = shapes(config, "encoder")
    return sum(np.zeros(shape).size for name, shape in parts.items() if "pooler" not in name)


THIRD: list[tuple[Any, str]] = [
    (None, "exercise 3 is not answered yet"),
    (lambda c: None, "not yet: your function returns None"),
    (count, "right: roberta-base has 124,055,040 in its body"),
    (lambda c: float(count(c)), "right: "),
    (lambda c: np.array(count(c)), "right: "),
    (by_shapes, "right: "),
    (lambda c: c.d_model, "not yet: your function raises AttributeError in line "),
    (lambda c: [count(c)], "not yet: the count has shape (1,), not ()"),
    (lambda c: [[1], [2, 3]], "not yet: the count is not an array of numbers"),
    (lambda c: count(c) - c.vocab_size * c.hidden_size, "the table of words is missing"),
    (lambda c: count(c) + c.vocab_size * c.hidden_size, "the head is not part of the body"),
    (
        lambda c: count(c) - c.num_hidden_layers * (2 * c.hidden_size * c.intermediate_size + c.hidden_size
        + c.intermediate_size),
        "the feed-forward part is missing",
    ),
    (lambda c: count(c) - (c.num_hidden_layers - 1) * of_layer(c), "only one layer is counted"),
    (lambda c: count(c) + 0.5, "not yet: a count is an integer, not 15420.5"),
    (lambda c: count(c) - c.num_hidden_layers * 4 * c.hidden_size, "or the biases of the four linear maps"),
    (lambda c: count(c, norms=2 * c.num_hidden_layers), "15,420 weights, and you count 15,372: one norm is missing"),
    (lambda c: count(c, norms=2 * c.num_hidden_layers + 1), "not yet: a small roberta-prelayernorm has 15,468 weights"),
    (lambda c: count(c, norms=2 * c.num_hidden_layers + 1 + c.norm_first), "not yet: a small xlm-roberta-xl has"),
    (lambda c: count(c, norms=c.num_hidden_layers + 1), "one norm in each layer is missing"),
    (lambda c: count(c, norms=1), "the norms of the layers are missing"),
    (lambda c: count(c, width=1), "a norm has a weight and a bias"),
    (lambda c: count(c, maps=3), "attention has four linear maps"),
    (lambda c: count(c, bias=0), "the biases of the linear maps"),
    (lambda c: count(c) - c.type_vocab_size * c.hidden_size, "the table of token types is missing"),
    (lambda c: count(c) - c.max_position_embeddings * c.hidden_size, "the table of positions is missing"),
    (lambda c: count(c) + c.hidden_size**2 + c.hidden_size, "the pooler is not part of the body"),
    (lambda c: count(c) + 7, "that is 7 too many"),
    (lambda c: "many", "not yet: the count is not an array of numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), THIRD)
def test_the_number_of_weights(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert sentence in said(3, answer, capsys)
