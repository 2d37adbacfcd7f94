"""The ports with bugs: the oracle finds what was planted, right answers are right, and others get their sentence."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import minroberta
from minroberta import activations, ops
from minroberta.exercises import bugs
from minroberta.exercises.bugs import EARLY, LATER, SEEN, UNKNOWN, Ports, Unknown, made_of, ports
from minroberta.testing import compare, diagnose

GELU = ("gelu-without-factor", "encoder.layer.0.intermediate")
NORM, OUTPUT = (
    ("bias-missing-embedding-norm", "embeddings.LayerNorm"),
    ("bias-missing-output", "encoder.layer.0.output.dense"),
)
LAYER = 3


@pytest.fixture(scope="module")
def mine() -> Ports:
    return made_of([GELU], [NORM, OUTPUT], UNKNOWN[3], LAYER)


@pytest.fixture
def said(mine: Ports, capsys: pytest.CaptureFixture) -> Callable[[int, Any], str]:
    def said(number: int, answer: Any) -> str:
        mine.check(number, answer)
        return capsys.readouterr().out.strip()

    return said


def pairs(known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(value, name) for name, value in known]


# --- what is planted ------------------------------------------------------------------------------------------------


def reports(found: Ports) -> list[list[str]]:
    """The wrong values of each port."""
    reference = minroberta.trace(minroberta.load(), **found.inputs)
    return [
        [row.name for row in compare(reference, values).rows if row.verdict == "wrong"]
        for values in (found.first, found.second, found.third)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(max(map(len, (SEEN, EARLY, LATER, UNKNOWN)))))
def test_every_mistake_begins_where_the_table_says(place: int) -> None:
    first, early, later = (list(table.items())[place % len(table)] for table in (SEEN, EARLY, LATER))
    unknown = UNKNOWN[place % len(UNKNOWN)]
    one, two, three = reports(made_of([first], [early, later], unknown, LAYER))
    assert one[0] == first[1]
    assert two[:2] == [early[1], later[1]]
    assert three == [f"encoder.layer.{LAYER}.{unknown.value}"]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(max(map(len, (SEEN, EARLY, LATER, UNKNOWN)))))
def test_the_oracle_names_what_is_known_and_nothing_else(place: int) -> None:
    model = minroberta.load()
    first, early, later = (list(table.items())[place % len(table)] for table in (SEEN, EARLY, LATER))
    found = made_of([first], [early, later], UNKNOWN[place % len(UNKNOWN)], LAYER)
    named = [[one.name for one in diagnose(model, found.inputs, values, limit=300)] for values in
             (found.first, found.second, found.third)]  # fmt: skip
    assert named == [[first[0]], [early[0], later[0]], []]


@pytest.mark.slow
def test_a_name_chooses_the_mistakes() -> None:
    one, again = ports("Ada Lovelace"), ports(" ada lovelace ")
    for part in ("first", "second", "third"):
        ours, theirs = getattr(one, part), getattr(again, part)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert repr(one) == "three ports, with 121 values each"
    assert any(not np.array_equal(one.first[name], ports("Grace Hopper").first[name]) for name in one.first)


def test_values_are_float32_and_complete(mine: Ports) -> None:
    reference = minroberta.trace(minroberta.load(), **mine.inputs)
    for values in (mine.first, mine.second, mine.third):
        assert set(reference) <= set(values)
        assert all(values[name].dtype == array.dtype for name, array in reference.items())


# --- answers --------------------------------------------------------------------------------------------------------


def test_right_answers(said: Callable[[int, Any], str]) -> None:
    assert said(1, (GELU[1], GELU[0])).startswith("right: GELU is computed without its factor x")
    assert said(2, pairs([NORM, OUTPUT])).startswith("right: The bias of the embedding norm module is left out.")
    assert said(2, pairs([OUTPUT, NORM])).startswith("right")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "exercise 1 is not answered yet"),
        ("gelu-without-factor", "not yet: give the name of a value and of a mistake, such as ("),
        (("encoder.layer.0.intermediat", GELU[0]), "not yet: the port has no value 'encoder.layer.0.intermediat': did"),
        (("nothing like it", GELU[0]), "not yet: the port has no value 'nothing like it'"),
        (("encoder.layer.1.intermediate", GELU[0]), "not yet: encoder.layer.1.intermediate is wrong, but it is not"),
        (("encoder.layer.0", GELU[0]), "not yet: encoder.layer.0 is off, but its own step is right: it follows"),
        (("embeddings", GELU[0]), "not yet: embeddings is right in this port, up to rounding"),
        ((GELU[1], "gelu-without"), "not yet: the catalogue has no mistake 'gelu-without': did you mean gelu-without"),
        ((GELU[1], "???"), "not yet: the catalogue has no mistake '???': docs/mistakes.md lists them"),
        ((GELU[1], "gelu-tanh"), "not yet: encoder.layer.0.intermediate is where the port goes wrong, but not by gelu"),
        ((GELU[0], GELU[1]), "not yet: give the value first, and then the mistake: ('encoder.layer.0.intermediate', '"),
        ({GELU[1]: GELU[0]}, "not yet: give the name of a value and of a mistake, such as ("),
    ],
)
def test_wrong_answers_to_the_first(answer: Any, sentence: str, said: Callable[[int, Any], str]) -> None:
    assert said(1, answer).startswith(sentence)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (pairs([NORM]), "not yet: give two pairs, one for each mistake"),
        (pairs([NORM, NORM]), "not yet: that is one mistake, given twice: the port makes another one too"),
        (pairs([(NORM[0], OUTPUT[1]), OUTPUT]), "not yet: encoder.layer.0.output.dense is where the port goes wrong"),
        (pairs([NORM, (OUTPUT[0], "encoder.layer.0")]), "not yet: encoder.layer.0 is off, but its own step is right"),
        (pairs([NORM, ("bias-missing-key", OUTPUT[1])]), "not yet: encoder.layer.0.output.dense is where the port goe"),
        ([NORM, "both"], "not yet: give the name of a value and of a mistake, such as ("),
        ([NORM, OUTPUT], "not yet: give the value first, and then the mistake: ('embeddings.LayerNorm', 'bias-missing"),
    ],
)
def test_wrong_answers_to_the_second(answer: Any, sentence: str, said: Callable[[int, Any], str]) -> None:
    assert said(2, answer).startswith(sentence)


VALUE = f"encoder.layer.{LAYER}.intermediate"


def misspelt(x: np.ndarray, constant: float = 0.44715) -> np.ndarray:
    return x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + constant * x**3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((VALUE, misspelt), "right: the tanh approximation of GELU has the constant 0.44715"),
        ((VALUE, lambda x: None), "not yet: your function returns None"),
        ((VALUE, activations.gelu), "not yet: that is what the reference makes: write what the port makes, which is"),
        ((VALUE, lambda x: misspelt(x, 0.044715)), "not yet: that is what the reference makes"),  # all but 1e-4
        ((VALUE, lambda x: misspelt(x, 0.4)), "not yet: the result of your function is "),
        ((VALUE, lambda x: x), "not yet: the result of your function is "),
        ((VALUE, lambda x: x[:1]), "not yet: the result of your function has shape (1, 14, 1024), not (2, 14, 1024)"),
        ((VALUE, "misspelt"), "not yet: a function is asked for, not str"),
        (("encoder.layer.2.intermediate", misspelt), "not yet: encoder.layer.2.intermediate is right in this port"),
        ((f"encoder.layer.{LAYER}", misspelt), f"not yet: encoder.layer.{LAYER} is off, but its own step is right"),
        (misspelt, "not yet: give a pair: the name of the wrong value, and your function"),
        ((misspelt, VALUE), "not yet: the name of a value is a string, such as 'embeddings.LayerNorm', not function"),
        (([VALUE], misspelt), "not yet: the name of a value is a string, such as 'embeddings.LayerNorm', not list"),
        (({VALUE}, misspelt), "not yet: the name of a value is a string, such as 'embeddings.LayerNorm', not set"),
        ((np.array([VALUE]), misspelt), "not yet: the name of a value is a string"),
        ((VALUE, lambda x: x / (1 + np.exp(-x))), "not yet: that is another mistake than the port's: the"),
        ((VALUE, lambda x: x + np.inf), "not yet: your function makes values that are not finite"),
        ((VALUE, lambda x: misspelt(x).astype(float).tolist()), "right"),
    ],
)
def test_answers_to_the_third(answer: Any, sentence: str, said: Callable[[int, Any], str]) -> None:
    assert said(3, answer).startswith(sentence)


def norm(x: np.ndarray, centred: bool, layer: int = LAYER) -> np.ndarray:
    p = minroberta.load().p.encoder.layer[layer].attention.output.LayerNorm
    x = x - x.mean(-1, keepdims=True) if centred else x
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p.weight + p.bias


def one_more(x: np.ndarray) -> np.ndarray:
    exact = np.exp(x.astype(float))
    return exact / (1 + exact.sum(-1, keepdims=True))


FORMULAS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "the softmax has powers of 2": (lambda x: ops.softmax(x * np.float32(np.log(2))), ops.softmax),
    "the softmax has a 1 more": (one_more, ops.softmax),
    "the activation is SiLU": (lambda x: x / (1 + np.exp(-x)), activations.gelu),
    "the tanh approximation": (misspelt, activations.gelu),
    "the mean is not subtracted": (lambda x: norm(x, centred=False), lambda x: norm(x, centred=True)),
}
"""For each unknown mistake the port's formula, and the right one."""


@pytest.mark.slow
@pytest.mark.parametrize("unknown", UNKNOWN, ids=lambda unknown: unknown.explanation[:25])
def test_each_unknown_mistake_can_be_found(unknown: Unknown, capsys: pytest.CaptureFixture) -> None:
    theirs, right = next(pair for words, pair in FORMULAS.items() if unknown.explanation.startswith(words))
    found, value = made_of([GELU], [NORM, OUTPUT], unknown, LAYER), f"encoder.layer.{LAYER}.{unknown.value}"
    found.check(3, (value, theirs))
    assert capsys.readouterr().out == f"right: {unknown.explanation}\n"
    found.check(3, (value, right))
    assert capsys.readouterr().out.startswith("not yet: that is what the reference makes")


def of_layer(unknown: Unknown, layer: int) -> Callable[[np.ndarray], np.ndarray]:
    """A right answer to the third exercise."""
    if unknown.explanation.startswith("the mean"):
        return lambda x: norm(x, centred=False, layer=layer)
    return next(pair[0] for words, pair in FORMULAS.items() if unknown.explanation.startswith(words))


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_every_name_gets_a_third_port_that_can_be_answered(capsys: pytest.CaptureFixture) -> None:
    names = ["Bob", "Fatima", "Sam", *(f"name{i}" for i in range(197))]
    thirds = {bugs.chosen(name)[2:] for name in names}
    assert len(thirds) == len(UNKNOWN) * 4  # each formula in each layer that a name can choose
    for unknown, layer in thirds:
        found = made_of([], [], unknown, layer)
        assert all(np.isfinite(array).all() for array in found.third.values())
        found.check(3, (f"encoder.layer.{layer}.{unknown.value}", of_layer(unknown, layer)))
        assert capsys.readouterr().out == f"right: {unknown.explanation}\n"


def test_a_softmax_with_one_more_stays_finite() -> None:
    scores = np.array([[1000.0, 0, -3e38], [-1000, -1000, -1000], [0, 1, 2]], "float32")
    with np.errstate(all="raise", under="ignore"):
        found = bugs._one_more(scores, None)  # type: ignore[arg-type]
    assert np.allclose(found[:2], [[1, 0, 0], [0, 0, 0]])
    assert np.allclose(found[2], one_more(scores[2]))


def test_every_mistake_that_was_seen_has_an_address() -> None:
    known = bugs.mistakes(minroberta.load())
    assert all(known[name].seen_in for name in SEEN)
    assert {*EARLY, *LATER} <= known.keys()
