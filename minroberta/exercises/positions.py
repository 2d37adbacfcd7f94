"""The exercises of notebook 3: position ids, the embeddings before the first layer, and a table for another count."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy

from .. import ops
from ..backend.arrays import Array, to_host
from ..loading import Model, init, load
from ..trace import Node
from .checks import Checks, NotYet, array_of, expect, expect_values, numbers_of, result_of, same

ROWS = (
    [[0, 5, 6, 2, 1, 1], [0, 5, 5, 5, 6, 2]],
    [[1, 1, 0, 5, 6, 2], [0, 5, 1, 1, 6, 2], [1, 0, 5, 1, 2, 1]],
)
"""Batches with padding on the right, and with padding elsewhere; padding is 1."""

NAMES = ("embeddings.position_ids", "embeddings.sum", "embeddings")
"""The values of exercise 2, in the order of computation."""


# --- exercise 1: position ids ---------------------------------------------------------------------------------------


def numbering(answer: Any) -> str:
    """A function from ids and the id of padding to positions."""
    for rows in ROWS:
        judge_positions(answer, numpy.array(rows), 1)
    for pad in (0, 7):
        ids = numpy.array(ROWS[-1])
        judge_positions(answer, numpy.where(ids == 1, pad, numpy.where(ids == pad, 1, ids)), pad)
    return "pads on the right, on the left and within, and other ids of padding"


def judge_positions(answer: Any, ids: numpy.ndarray, pad: int) -> None:
    """Raise NotYet if the positions of this batch are not right."""
    real = ids != pad
    count = real.cumsum(1)  # (B, L)
    column = numpy.arange(1, ids.shape[1] + 1) + 0 * ids
    right = count * real + pad
    known = {
        "positions begin at 0, as in BERT: the first token has position pad + 1": (count - 1) * real + pad * ~real,
        "positions begin at 0, and go on at pads": count - 1,
        "positions begin at 0, and all columns are counted": column - 1,
        "positions begin at pad: the first token has position pad + 1": (count - 1) * real + pad,
        "positions begin at pad, and go on at pads: they begin at pad + 1, and pads get pad": count - 1 + pad,
        "positions begin at 1, and pads get 0: add the id of padding": count * real,
        "all columns are counted, pads as well: count only the tokens": column + pad,
        "pads get the number of the token before them: they get the id of padding": count + pad,
        "pads get 0: they get the id of padding": (count + pad) * real,
        "pads are left out of the count, but still get other numbers: they get the id of padding": column * ~real
        + (count + pad) * real,
        "the 2 is fixed: the first token has position pad + 1, whatever the id of padding": count * real + 1,
        "tokens get the number of their column: count only the tokens before them, not the pads": (column + pad) * real
        + pad * ~real,
        "the count is one too high: the first token has position pad + 1": right + 1,
        "tokens are counted along the wrong axis: count along axis 1, in each row": real.cumsum(0) * real + pad,
        "the count goes on from row to row: begin anew in each, with axis=1": real.cumsum().reshape(ids.shape) * real
        + pad,
        "1 is taken for padding, whatever `pad` is": (ids != 1).cumsum(1) * (ids != 1) + pad,
        "1 is taken for padding, whatever `pad` is, and the 2 is fixed": (ids != 1).cumsum(1) * (ids != 1) + 1,
    }
    found = array_of(result_of(answer, ids, pad), ids.shape, "the array of positions")
    if found.dtype.kind not in "iu":
        raise NotYet(f"positions are integers, not {found.dtype}: they are indices of rows")
    expect(found, right, known, f"for the ids {ids.tolist()} with pad={pad}, the position")


# --- exercise 2: embeddings -----------------------------------------------------------------------------------------


@functools.cache
def small() -> Model:
    """A random model in whose values each mistake shows: its weights are large, and its norm's are not 1 and 0."""
    config = {
        "model_type": "roberta",
        "vocab_size": 30,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "max_position_embeddings": 24,
        "type_vocab_size": 1,
        "layer_norm_eps": 0.01,
        "initializer_range": 0.3,
    }
    model = init(config, head="encoder", seed=3)
    random = numpy.random.default_rng(3)
    part = model.params["embeddings"]
    norm = {"weight": random.uniform(0.5, 2, 16).astype("float32"), "bias": random.normal(size=16).astype("float32")}
    params = {**model.params, "embeddings": {**part, "LayerNorm": norm}}
    return Model(model.config, params, "encoder")


def embedding(answer: Any) -> str:
    """A function that gives the named values before the first layer, judged by the oracle."""
    model, ids = small(), numpy.array(ROWS[-1])
    values = result_of(answer, ids, model.p.embeddings, model.config)
    if not isinstance(values, Mapping):
        raise NotYet(f"a dict of named values is asked for, not {type(values).__name__}")
    missing = [name for name in NAMES if name not in values]
    if missing:
        raise NotYet(f"{missing[0]!r} is missing: give {', '.join(NAMES)}")
    B, L = ids.shape
    shapes = {NAMES[0]: (B, L), NAMES[1]: (B, L, 16), NAMES[2]: (B, L, 16)}
    arrays = {name: array_of(values[name], shape, repr(name)) for name, shape in shapes.items()}
    reject_known(arrays, model.p.embeddings, model.config.layer_norm_eps)
    expect_values(model, {"input_ids": ids, "attention_mask": (ids != 1).astype(int)}, arrays)
    return "the oracle agrees with each of the three values"


def reject_known(arrays: Mapping[str, numpy.ndarray], p: Node, eps: float) -> None:
    """Raise NotYet for a likely mistake in the sum or in the norm, each judged by the values before it."""
    positions, total, normed = (arrays[name] for name in NAMES)
    ids = numpy.array(ROWS[-1])
    right = (ids != 1).cumsum(1) * (ids != 1) + 1
    if (positions != right).any():
        return
    words = p.word_embeddings.weight[ids]
    rows, kind = p.position_embeddings.weight[right], p.token_type_embeddings.weight[0]
    reject(total, words + rows + kind, of_sum(ids, words, rows, kind), "embeddings.sum")
    reject(normed, ops.layer_norm(total, **p.LayerNorm.tree, eps=eps), of_norm(total, p.LayerNorm, eps), "embeddings")


def reject(found: numpy.ndarray, right: numpy.ndarray, known: Mapping[str, numpy.ndarray], name: str) -> None:
    """Raise NotYet if a value is wrong in a known way."""
    if same(found, right):
        return
    for sentence, wrong in known.items():
        if same(found, wrong):
            raise NotYet(f"{name}: {sentence}")


def of_sum(ids: Array, words: Array, rows: Array, kind: Array) -> dict[str, Array]:
    """Likely mistakes of the sum, each under its sentence."""
    return {
        "that is the word embeddings alone: add the rows of the positions and of type 0": words,
        "the rows of the positions are missing: p.position_embeddings.weight[positions]": words + kind,
        "the row of the token type is missing: add p.token_type_embeddings.weight[0]": words + rows,
        "the rows of the words are missing: p.word_embeddings.weight[ids]": rows + kind,
        "the embeddings are multiplied by √D: add them as they are": (words * words.shape[-1] ** 0.5 + rows + kind),
        "padding gets no row: add rows for it as for each token": (words + rows + kind) * (ids != 1)[..., None],
    }


def of_norm(total: Array, p: Node, eps: float) -> dict[str, Array]:
    """Likely mistakes of the norm, each under its sentence."""
    plain = standardised(total, -1, eps)
    size = numpy.sqrt((total**2).mean(-1, keepdims=True) + eps)
    known = {
        "the norm is missing: ops.layer_norm of the sum": total,
        "weight and bias of the norm are missing": plain,
        "the bias of the norm is missing": plain * p.weight,
        "the weight of the norm is missing": plain + p.bias,
    }
    weighted = {
        "the norm is applied twice": standardised(plain * p.weight + p.bias, -1, eps),
        "that is an RMS norm: subtract the mean first": total / size,
        "the norm is over the texts: take it over the channels, the last axis": standardised(total, 0, eps),
        "the norm is over the tokens: take it over the channels, the last axis": standardised(total, 1, eps),
    }
    return known | {sentence: array * p.weight + p.bias for sentence, array in weighted.items()}


def standardised(x: Array, axis: int, eps: float) -> Array:
    """(x - mean) / √(variance + eps) over an axis."""
    return (x - x.mean(axis, keepdims=True)) / numpy.sqrt(x.var(axis, keepdims=True) + eps)


# --- exercise 3: a table for a port that counts from 0 --------------------------------------------------------------


def shifting(answer: Any) -> str:
    """The position table for a port that counts from 0."""
    table = to_host(load().p.embeddings.position_embeddings.weight)
    found = numbers_of(answer, "the table")
    if found.ndim == 2 and found.shape[1:] == table.shape[1:]:
        explain_rows(found, table)
    expect(found, table[2:], what="the table")
    return "row 0 of their table is row 2 of ours, and 512 rows serve 512 tokens"


def explain_rows(found: numpy.ndarray, table: numpy.ndarray) -> None:
    """Raise NotYet if these are rows of the table, but not the right ones."""
    length = len(table)
    if len(found) == length and same(found, table):
        raise NotYet("this is the table as it was: the port would look up row 0, which is not trained, for <s>")
    if len(found) == length - 1 and same(found, table[1:]):
        raise NotYet("the port would look up the row of padding, 1, for <s>: leave that out as well")
    if len(found) == length - 3 and same(found, table[3:]):
        raise NotYet("the first token has row 2, counted from 0: you left out that one as well")
    if len(found) == length - 2 and same(found, table[:1:-1]):
        raise NotYet("the rows are in the reverse order")
    if len(found) == length - 2 and same(found, table[:-2]):
        raise NotYet("you left out the last two rows: leave out those that no token uses")
    if len(found) > length and same(found[-length:], table):
        raise NotYet("rows were put before the table: this moves it the other way")
    if len(found) == length and same(found[2:], table[:-2]):
        raise NotYet("the rows are moved down by two, so that the port's row 2 is our row 0: move them up")
    if len(found) == length and same(found[:-2], table[2:]):
        raise NotYet("the first 512 rows are right, but the port can count to 513 now: the table must end with them")


check = Checks(numbering, embedding, shifting)
"""Judge the answer to an exercise of notebook 3."""
