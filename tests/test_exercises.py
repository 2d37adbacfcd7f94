"""The checks of exercises: silence is no answer, a wrong answer gets its reason, and a right one is right."""

import functools
import re

import numpy as np
import pytest

import minroberta
from minroberta import ops
from minroberta.exercises import checks
from minroberta.exercises.checks import Checks, NotYet, array_of, expect, expect_values, result_of


def double(answer: object) -> str | None:
    expect(result_of(answer, np.arange(3.0)), 2 * np.arange(3.0), {"that is the square": np.arange(3.0) ** 2})
    return None


def said(answer: object, capsys: pytest.CaptureFixture) -> str:
    Checks(double)(1, answer)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "exercise 1 is not answered yet"),
        (7, "not yet: a function is asked for, not int"),
        (lambda x: None, "not yet: your function returns None: is it written, and does it end with return?"),
        (lambda x: "text", "not yet: the result is not an array of numbers, but of <U4"),
        (lambda x: [[1], [2, 3]], "not yet: the result is not an array of numbers: do all its rows have one"),
        (lambda x: x[:2], "not yet: the result has shape (2,), not (3,)"),
        (lambda x: x / 0 * 0, "not yet: the result has values that are not finite"),
        (lambda x: x**2, "not yet: that is the square"),
        (lambda x: 2 * x + (x == 1), "not yet: the result is 3 at (1,), where 2 is right"),
        (lambda x: 2 * x, "right"),
        (lambda x: (2 * x * (1 + 1e-6)).astype("float32"), "right"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_what_is_said(answer: object, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(answer, capsys).startswith(sentence)


def test_an_error_of_the_reader_is_a_sentence_with_the_line(capsys: pytest.CaptureFixture) -> None:
    def my_function(x: np.ndarray) -> np.ndarray:
        return x @ np.ones((2, 2))

    found = said(my_function, capsys)
    assert found.startswith("not yet: your function raises ValueError in line ")
    assert ", `return x @ np.ones((2, 2))`, if called with an array of shape (3,): matmul: " in found
    assert "\n" not in found


def test_an_error_without_a_line_of_the_reader(capsys: pytest.CaptureFixture) -> None:
    found = said(functools.partial(np.ones, 2, None), capsys)
    assert found.startswith("not yet: your function raises TypeError if called with an array of shape (3,): ")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (np.ones((2, 3)), "an array of shape (2, 3)"),
        (1e-5, "1e-05"),
        ("x" * 100, "'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
        ([1, 2, 3], "a list of 3"),
        (len, "a function"),
        ({}, "a dict"),
    ],
)
def test_arguments_are_shown_in_a_few_words(argument: object, words: str) -> None:
    with pytest.raises(NotYet, match=f"if called with {re.escape(words)}: integer division"):
        result_of(lambda x: 1 // 0, argument)


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
def test_differences_of_booleans_and_unsigned_integers(dtype: str) -> None:
    expect(np.array([0, 1], dtype), np.array([0, 1], dtype))
    with pytest.raises(NotYet, match=r"the result is (0|False) at \(1,\), where (1|True) is right"):
        expect(np.array([0, 0], dtype), np.array([0, 1], dtype))


def test_the_reader_cannot_change_what_is_judged(capsys: pytest.CaptureFixture) -> None:
    def in_place(x: np.ndarray) -> np.ndarray:
        x *= 2
        return x

    assert said(in_place, capsys) == "right"


def test_an_unknown_exercise_is_refused() -> None:
    with pytest.raises(minroberta.InputError, match="unknown exercise 2: this notebook has exercises 1 to 1"):
        Checks(double)(2, None)


def test_a_remark_follows(capsys: pytest.CaptureFixture) -> None:
    Checks(lambda answer: f"{answer} it is")(1, 4)
    assert capsys.readouterr().out == "right: 4 it is\n"


def test_a_single_number() -> None:
    expect(3.0, 3)
    with pytest.raises(NotYet, match="it is 2, where 3 is right"):
        expect(2, 3, what="it")
    assert array_of(True, ()).shape == ()


def test_the_oracle_names_the_value_and_the_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    model, name = minroberta.load(), "encoder.layer.0.attention.self.scores"
    inputs = model.tokenize("The river flows into the <mask> Ocean.")
    found = minroberta.trace(model, **inputs)
    q, k = (ops.split_heads(found[f"encoder.layer.0.attention.self.{part}"], 32) for part in ("query", "key"))
    expect_values(model, inputs, {name: q @ k.swapaxes(-1, -2) / 32**0.5})
    monkeypatch.setattr(checks, "LIMIT", 60.0)  # also on a busy machine
    with pytest.raises(NotYet, match=rf"^the first wrong value is {name}\. It looks like the known mistake [\w-]+: "):
        expect_values(model, inputs, {name: q @ k.swapaxes(-1, -2)})
    monkeypatch.setattr(checks, "LIMIT", 0.1)
    with pytest.raises(NotYet, match=f"^the first wrong value is {name}$"):
        expect_values(model, inputs, {name: q @ k.swapaxes(-1, -2) / 31})
