"""The checks of notebook 3: right answers are right, and each likely mistake gets its sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minroberta import ops
from minroberta.exercises.positions import check
from minroberta.loading import load


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


def position_ids(ids: np.ndarray, pad: int) -> np.ndarray:
    real = ids != pad
    return np.cumsum(real, axis=1) * real + pad


def embed(
    ids: np.ndarray,
    p: Any,
    config: Any,
    numbers: Callable = position_ids,
    types: float = 1,
    eps: float | None = None,
    norm: Callable = ops.layer_norm,
) -> dict[str, np.ndarray]:
    positions = numbers(ids, config.pad_token_id)
    total = p.word_embeddings.weight[ids] + p.position_embeddings.weight[positions]
    total = total + types * p.token_type_embeddings.weight[0]
    normed = norm(total, **p.LayerNorm.tree, eps=config.layer_norm_eps if eps is None else eps)
    return {"embeddings.position_ids": positions, "embeddings.sum": total, "embeddings": normed}


def with_(**changes: Any) -> Callable:
    return lambda ids, p, config: embed(ids, p, config, **changes)


def eps_outside(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps) * weight + bias


@pytest.mark.parametrize("number", [1, 2, 3])
def test_silence_and_a_forgotten_return(number: int, capsys: pytest.CaptureFixture) -> None:
    assert said(number, None, capsys) == f"exercise {number} is not answered yet"
    if number < 3:
        assert said(number, lambda *given: None, capsys).startswith("not yet: your function returns None")
        assert said(number, 7, capsys) == "not yet: a function is asked for, not int"


# --- exercise 1 -----------------------------------------------------------------------------------------------------


def by_a_loop(ids: np.ndarray, pad: int) -> list[list[int]]:
    rows = []
    for row in ids.tolist():
        number, found = pad, []
        for token in row:
            number += token != pad
            found.append(number if token != pad else pad)
        rows.append(found)
    return rows


@pytest.mark.parametrize("answer", [position_ids, by_a_loop, ops.create_position_ids_from_input_ids])
def test_position_ids(answer: Callable, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith("right: pads on the right, on the left and within")


def count(ids: np.ndarray, pad: int) -> np.ndarray:
    return np.cumsum(ids != pad, axis=1)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda ids, pad: count(ids, pad) - 1, "positions begin at 0"),
        (lambda ids, pad: np.arange(ids.shape[1]) + 0 * ids, "positions begin at 0"),
        (lambda ids, pad: count(ids, pad) - 1 + pad, "positions begin at pad, and go on at pads"),
        (
            lambda ids, pad: count(ids, pad) * (ids != pad),
            "positions begin at 1, and pads get 0: add the id of padding",
        ),
        (lambda ids, pad: np.arange(ids.shape[1]) + pad + 1 + 0 * ids, "all columns are counted, pads as well"),
        (lambda ids, pad: count(ids, pad) + pad, "pads get the number of the token before them"),
        (lambda ids, pad: (count(ids, pad) + pad) * (ids != pad), "pads get 0"),
        (lambda ids, pad: position_ids(ids, 1), "1 is taken for padding"),
        (lambda ids, pad: count(ids, pad) * (ids != pad) + 1, "the 2 is fixed"),
        (lambda ids, pad: np.cumsum(ids != pad) + pad, "the array of positions has shape (12,), not (2, 6)"),
        (lambda ids, pad: position_ids(ids, pad).astype("float32"), "positions are integers, not float32"),
        (lambda ids, pad: ids != pad, "positions are integers, not bool"),
        (
            lambda ids, pad: np.cumsum(ids != pad, axis=0) * (ids != pad) + pad,
            "tokens are counted along the wrong axis",
        ),
        (
            lambda ids, pad: np.cumsum(ids != pad).reshape(ids.shape) * (ids != pad) + pad,
            "the count goes on from row to row",
        ),
        (lambda ids, pad: position_ids(ids, pad) + 1, "the count is one too high"),
        (lambda ids, pad: position_ids(ids[:, ::-1], pad)[:, ::-1], "for the ids [[0, 5, 6, 2, 1, 1], ["),
        (lambda ids, pad: position_ids(ids, pad) + (ids == pad), "for the ids [[0, 5, 6, 2, 1, 1]"),
        (
            lambda ids, pad: np.where(ids == pad, pad, np.arange(ids.shape[1]) + pad + 1),
            "tokens get the number of their column",
        ),
    ],
)
def test_mistakes_of_positions(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(f"not yet: {sentence}")


# --- exercise 2 -----------------------------------------------------------------------------------------------------


def test_embeddings(capsys: pytest.CaptureFixture) -> None:
    assert said(2, embed, capsys) == "right: the oracle agrees with each of the three values"


@pytest.mark.parametrize(
    ("answer", "value", "mistake"),
    [
        (
            with_(numbers=lambda ids, pad: np.arange(ids.shape[1]) + 0 * ids),
            "embeddings.position_ids",
            "positions-from-0",
        ),
        (
            with_(numbers=lambda ids, pad: np.arange(2, ids.shape[1] + 2) + 0 * ids),
            "embeddings.position_ids",
            "by-place",
        ),
        (with_(eps=1e-12), "embeddings", "eps"),
        (with_(norm=eps_outside), "embeddings", "eps"),
    ],
)
def test_the_oracle_judges_embeddings(
    answer: Callable, value: str, mistake: str, capsys: pytest.CaptureFixture
) -> None:
    found = said(2, answer, capsys)
    assert found.startswith(f"not yet: the first wrong value is {value}")
    assert mistake in found


def total_of(change: Callable) -> Callable:
    """An answer with another sum. change: the sum from the rows of words, positions and type, and which are tokens."""

    def answer(ids: np.ndarray, p: Any, config: Any) -> dict[str, np.ndarray]:
        positions = position_ids(ids, config.pad_token_id)
        rows = p.word_embeddings.weight[ids], p.position_embeddings.weight[positions], p.token_type_embeddings.weight[0]
        total = change(*rows, (ids != 1)[..., None])
        normed = ops.layer_norm(total, **p.LayerNorm.tree, eps=config.layer_norm_eps)
        return {"embeddings.position_ids": positions, "embeddings.sum": total, "embeddings": normed}

    return answer


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda words, rows, kind, real: words, "that is the word embeddings alone"),
        (lambda words, rows, kind, real: words + kind, "the rows of the positions are missing"),
        (lambda words, rows, kind, real: words + rows, "the row of the token type is missing"),
        (lambda words, rows, kind, real: rows + kind, "the rows of the words are missing"),
        (lambda words, rows, kind, real: 4 * words + rows + kind, "the embeddings are multiplied by √D"),
        (lambda words, rows, kind, real: (words + rows + kind) * real, "padding gets no row"),
    ],
)
def test_mistakes_of_the_sum(change: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, total_of(change), capsys).startswith(f"not yet: embeddings.sum: {sentence}")


def over(axis: int, centre: bool = True) -> Callable:
    def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
        x = x - x.mean(axis, keepdims=True) * centre
        return x / np.sqrt((x * x).mean(axis, keepdims=True) + eps) * weight + bias

    return norm


@pytest.mark.parametrize(
    ("norm", "sentence"),
    [
        (lambda x, **_: x, "the norm is missing"),
        (lambda x, weight, bias, eps: over(-1)(x, 1, 0, eps), "weight and bias of the norm are missing"),
        (lambda x, weight, bias, eps: over(-1)(x, weight, 0, eps), "the bias of the norm is missing"),
        (lambda x, weight, bias, eps: over(-1)(x, 1, bias, eps), "the weight of the norm is missing"),
        (lambda x, **p: ops.layer_norm(ops.layer_norm(x, **p), **p), "the norm is applied twice"),
        (over(-1, centre=False), "that is an RMS norm"),
        (over(0), "the norm is over the texts"),
        (over(1), "the norm is over the tokens"),
    ],
)
def test_mistakes_of_the_norm(norm: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, with_(norm=norm), capsys).startswith(f"not yet: embeddings: {sentence}")


def test_embeddings_by_loops_in_float64(capsys: pytest.CaptureFixture) -> None:
    def answer(ids: np.ndarray, p: Any, config: Any) -> dict[str, Any]:
        positions = by_a_loop(ids, config.pad_token_id)
        words, rows, kind = (
            part.weight.astype(float) for part in (p.word_embeddings, p.position_embeddings, p.token_type_embeddings)
        )
        total = [
            [words[token] + rows[place] + kind[0] for token, place in zip(*pair, strict=True)]
            for pair in zip(ids, positions, strict=True)
        ]
        normed = over(-1)(np.array(total), p.LayerNorm.weight, p.LayerNorm.bias, config.layer_norm_eps)
        return {"embeddings.position_ids": positions, "embeddings.sum": total, "embeddings": normed}

    assert said(2, answer, capsys) == "right: the oracle agrees with each of the three values"


def test_an_error_is_a_sentence(capsys: pytest.CaptureFixture) -> None:
    found = said(2, lambda ids, p, config: p.word_embeddings.weight[config.vocab_size], capsys)
    assert found.startswith("not yet: your function raises IndexError in line ")
    assert "if called with an array of shape (3, 6), " in found


def test_what_is_not_three_values(capsys: pytest.CaptureFixture) -> None:
    assert said(2, lambda ids, p, config: ids, capsys) == "not yet: a dict of named values is asked for, not ndarray"
    some = lambda ids, p, config: {"embeddings.sum": embed(ids, p, config)["embeddings.sum"]}  # noqa: E731
    assert said(2, some, capsys).startswith("not yet: 'embeddings.position_ids' is missing")
    flat = lambda ids, p, config: embed(ids, p, config) | {"embeddings": np.zeros(16)}  # noqa: E731
    assert said(2, flat, capsys).startswith("not yet: 'embeddings' has shape (16,)")


# --- exercise 3 -----------------------------------------------------------------------------------------------------

TABLE = load().p.embeddings.position_embeddings.weight


def test_a_table_for_a_port_that_counts_from_0(capsys: pytest.CaptureFixture) -> None:
    assert said(3, TABLE[2:].astype(float).tolist(), capsys).startswith("right")
    assert said(3, TABLE[2:], capsys).startswith("right: row 0 of their table is row 2 of ours")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (TABLE, "this is the table as it was"),
        (TABLE[1:], "the port would look up the row of padding"),
        (TABLE[:-2], "you left out the last two rows"),
        (np.concatenate([np.zeros_like(TABLE[:2]), TABLE]), "rows were put before the table"),
        (np.roll(TABLE, 2, axis=0), "the rows are moved down by two"),
        (np.roll(TABLE, -2, axis=0), "the first 512 rows are right, but"),
        (TABLE[2:-2], "the table has shape (510, 256), not (512, 256)"),
        (TABLE[2:][::-1], "the rows are in the reverse order"),
        (TABLE[3:], "the first token has row 2"),
        (2 * TABLE[2:], "the table is "),
        ([[1.0], [2.0, 3.0]], "the table is not an array of numbers: do all its rows have one length?"),
        ("rows", "the table is not an array of numbers"),
        (lambda table: table[2:], "the table is not an array of numbers"),
        (TABLE[:, 2:], "the table has shape (514, 254)"),
        (2, "the table has shape (), not (512, 256)"),
    ],
)
def test_mistakes_of_the_table(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(f"not yet: {sentence}")
