"""The exercises of notebook 5: the layer norm, a pre-LN body, and the number of weights of three families."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy

from .. import layers, ops
from ..backend.arrays import Array
from ..config import PRESETS, Config
from ..loading import Model, init
from ..trace import Node, Trace, trace
from ..weights import flat, shapes
from .checks import Checks, NotYet, array_of, expect, expect_values, result_of, same

SIZES = {"model_type": "roberta-prelayernorm", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 32,
         "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 13, "layer_norm_eps": 1e-5,
         "type_vocab_size": 1, "initializer_range": 0.3}  # fmt: skip

Function = Callable[[Array], Array]

# --- 1. the layer norm ----------------------------------------------------------------------------------------------


def first(answer: Any) -> None:
    """A function of x, (B, L, D), weight, bias and eps: the layer norm of each vector."""
    random = numpy.random.default_rng(0)
    sizes = numpy.array([[1e-3, 1.0, 30.0], [3e-3, 0.3, 5.0]])[..., None]  # the smallest feel where eps stands
    x = sizes * random.standard_normal((2, 3, 8)) + 0.5 * sizes
    weight, bias, eps = 1 + 0.3 * random.standard_normal(8), 0.3 * random.standard_normal(8), 1e-5
    c = x - x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    scaled = c / numpy.sqrt(variance + eps)
    known = {
        "divide the sum of squares by D, not by D - 1": c / numpy.sqrt(x.var(-1, ddof=1, keepdims=True) + eps)
        * weight + bias,
        "eps belongs inside the square root, added to the variance": c / (numpy.sqrt(variance) + eps) * weight + bias,
        "eps is left out": c / numpy.sqrt(variance) * weight + bias,
        "the square root is left out": c / (variance + eps) * weight + bias,
        "that is an RMS norm: subtract the mean first, and divide by the root of the variance": x
        / numpy.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias,
        "subtract the mean before the squares are averaged: the variance is mean((x - mean)²)": c
        / numpy.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias,
        "the mean is not subtracted": x / numpy.sqrt(variance + eps) * weight + bias,
        "weight and bias are left out": scaled,
        "the weight is left out": scaled + bias,
        "the bias is left out": scaled * weight,
        "the bias is added before the weight multiplies": (scaled + bias) * weight,
    }  # fmt: skip
    known |= {sentence: normed_over(axis, x, weight, bias, eps) for sentence, axis in OTHER_AXES.items()}
    expect(result_of(answer, x, weight, bias, eps), scaled * weight + bias, known)


OTHER_AXES = {
    "mean and variance are those of all tokens together: each vector has its own": (0, 1, 2),
    "mean and variance are those of a whole text: each vector has its own": (1, 2),
    "that is a batch norm, over all tokens: take mean and variance over the last axis, the channels": (0, 1),
    "mean and variance are taken over the tokens: take them over the channels, the last axis": 1,
    "mean and variance are taken over the texts: take them over the channels, the last axis": 0,
}
"""Axes over which a layer norm is not taken, each under its sentence."""


def normed_over(axis: Any, x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """The norm with mean and variance over other axes."""
    c = x - x.mean(axis, keepdims=True)
    return c / numpy.sqrt(x.var(axis, keepdims=True) + eps) * weight + bias


# --- 2. a pre-LN body -----------------------------------------------------------------------------------------------


@functools.cache
def model() -> Model:
    """A small random pre-LN model in float64, whose norms and biases are not those of a new model."""
    made = init(SIZES, dtype="float64")
    random = numpy.random.default_rng(0)
    for x in flat(made.params).values():
        if x.ndim == 1:
            x += 0.3 * random.standard_normal(x.shape)
    return made


@functools.cache
def run() -> Trace:
    """The values of two texts."""
    return trace(model(), numpy.array([[0, 31, 12, 9, 2], [0, 8, 33, 17, 2]]))


def second(answer: Any) -> str:
    """A function of x, pairs (norm, f) and a final norm: the list of states after each half, and the normed end."""
    pairs = [pair for p in model().p.encoder.layer for pair in halves(p)]
    x = run()["embeddings"]
    states = states_of(result_of(answer, x, pairs, norm_of(model().p.LayerNorm)), len(pairs) + 1, x.shape)
    if any(same(state, after) for state, after in itertools.pairwise(states[:-1])):
        raise NotYet("some states are one and the same array: x += f changes it in place, so write x = x + f")
    reject_first(states[0], x, *pairs[0])
    names = [f"encoder.layer.{i}{half}" for i in range(len(pairs) // 2) for half in (".attention", "")] + ["LayerNorm"]
    expect_values(model(), run().inputs, {"embeddings": x, **dict(zip(names, states, strict=True))})
    return f"all {len(states)} states are the oracle's"


def states_of(found: Any, count: int, shape: tuple[int, ...]) -> list[Array]:
    """The states as arrays, from a list of them or from one array, (count, B, L, D)."""
    stacked = hasattr(found, "ndim") and found.ndim == len(shape) + 1
    if not stacked and not isinstance(found, list | tuple):
        raise NotYet("a list of arrays is asked for")
    if len(found) != count:
        raise NotYet(f"the list has {len(found)} arrays, not {count}: one after each half, and the normed end")
    return [array_of(array, shape, f"state {index}") for index, array in enumerate(found)]


def reject_first(state: Array, x: Array, norm: Function, f: Function) -> None:
    """Raise NotYet for a likely mistake in the first half that the oracle does not name."""
    known = {
        "the norm is missing: f takes norm(x)": x + f(x),
        "the norm comes before f, not after it: x + f(norm(x))": x + norm(f(x)),
        "the norm is missing, and so is x: x + f(norm(x))": f(x),
        "state 0 is the embeddings: the list begins with the state after the first half": x,
        "state 0 is the norm of the embeddings: the list begins with the state after the first half": norm(x),
    }
    for sentence, wrong in known.items():
        if same(state, wrong):
            raise NotYet(sentence)


def halves(p: Node) -> list[tuple[Function, Function]]:
    """Norm and f of the two halves of a layer."""
    config = model().config
    return [
        (norm_of(p.attention.output.LayerNorm), lambda x: layers.self_attention(x, p.attention, config)),
        (norm_of(p.output.LayerNorm), lambda x: layers.feed_forward(x, p, config)),
    ]


def norm_of(p: Node) -> Function:
    """The norm of a node, as a function of (B, L, D)."""
    return lambda x: ops.layer_norm(x, **p.tree, eps=model().config.layer_norm_eps)


# --- 3. the number of weights ---------------------------------------------------------------------------------------


TELLING = {**SIZES, "type_vocab_size": 3, "intermediate_size": 44}
"""Sizes with which each likely mistake gives another count."""


def third(answer: Any) -> str:
    """A function of a Config: the number of weights of the body, without pooler and head."""
    for kind in ("roberta", "roberta-prelayernorm", "xlm-roberta-xl"):
        check_count(answer, Config.from_dict({**TELLING, "model_type": kind}), f"a small {kind}")
    base = Config.from_dict(PRESETS["roberta-base"])
    return f"roberta-base has {check_count(answer, base, 'roberta-base'):,} in its body"


def check_count(answer: Any, config: Config, what: str) -> int:
    """The right number. Raises NotYet for another."""
    parts = shapes(config, "encoder")
    right = sum(int(numpy.prod(shape)) for name, shape in parts.items() if not name.startswith("pooler."))
    given = float(array_of(result_of(answer, config), (), "the count"))
    if (found := round(given)) != given:
        raise NotYet(f"a count is an integer, not {given}")
    if found != right:
        raise NotYet(f"{what} has {right:,} weights, and you count {found:,}: {why_not_count(found - right, config)}")
    return right


def why_not_count(more: int, config: Config) -> str:
    """A sentence about the difference between a wrong count and the right one."""
    D, F, N = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    known = {
        D * D + D: "the pooler is not part of the body",
        -N * (5 * D + F): "the biases of the linear maps in the layers are missing",
        -config.vocab_size * D: "the table of words is missing",
        config.vocab_size * D: "the head is not part of the body: the table of words counts once",
        -N * (2 * D * F + F + D): "the feed-forward part is missing",
        -(N - 1) * (4 * (D * D + D) + 2 * D * F + F + D + 4 * D): "only one layer is counted: multiply by their number",
        -config.type_vocab_size * D: "the table of token types is missing",
        -config.max_position_embeddings * D: "the table of positions is missing",
        -N * (D * D + D): "attention has four linear maps: query, key, value, and the one after them",
        -N * 4 * D: "the norms of the layers are missing, or the biases of the four linear maps of attention",
        -N * (F + D): "the biases of the feed-forward part are missing",
    }
    for count, where in ((1, "too many"), (-1, "missing")):
        known[2 * D * count] = (
            f"one norm is {where}, where families differ at their beginning and their end, or two rows of positions are"
        )
        known[4 * D * count] = f"two norms are {where}"
        known[N * 2 * D * count] = f"one norm in each layer is {where}"
    norms = 2 * N + config.embedding_norm + config.norm_first
    known[-norms * D] = "a norm has a weight and a bias for each channel"
    return known.get(more, f"that is {abs(more):,} too {'many' if more > 0 else 'few'}")


check = Checks(first, second, third)
"""Judge an answer to an exercise of notebook 5: `check(n, answer)`."""
