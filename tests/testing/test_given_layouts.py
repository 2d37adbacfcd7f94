"""Layouts that `names` gives: every one of every kind of value, right and wrong numbers, and what is not a layout."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import raises

from minroberta import Model, trace
from minroberta.errors import InputError
from minroberta.testing import Report, assert_matches, compare, diagnose
from minroberta.testing.layout import as_given
from minroberta.testing.plugin import Oracle
from minroberta.trace import Trace

B, L, S, H, E, D = 3, 12, 5, 5, 6, 30
Layout = Callable[[np.ndarray], np.ndarray]


def by_head(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], H, E)


WHOLE: dict[str, Layout] = {
    "b l d": lambda x: x,
    "l b d": lambda x: x.swapaxes(0, 1),
    "b d l": lambda x: x.swapaxes(1, 2),
    "d l b": lambda x: x.T,
    "(b l) d": lambda x: x.reshape(-1, x.shape[2]),
    "(l b) d": lambda x: x.swapaxes(0, 1).reshape(-1, x.shape[2]),
    " d(b  l) ": lambda x: x.reshape(-1, x.shape[2]).T,
    "1 b l 1 d": lambda x: x[None, :, :, None],
    "(b l d)": lambda x: x.reshape(-1),
}
HEADS: dict[str, Layout] = {
    "b l (h e)": lambda x: x,
    "b l h e": by_head,
    "b h l e": lambda x: by_head(x).swapaxes(1, 2),
    "l b h e": lambda x: by_head(x).swapaxes(0, 1),
    "(b h) l e": lambda x: by_head(x).swapaxes(1, 2).reshape(-1, x.shape[1], E),
    "(b l) (h e)": lambda x: x.reshape(-1, D),
    "b l (e h)": lambda x: by_head(x).swapaxes(2, 3).reshape(x.shape),
    "b (h l) e": lambda x: by_head(x).swapaxes(1, 2).reshape(len(x), -1, E),
    "e h l b": lambda x: by_head(x).T,
}
SCORES: dict[str, Layout] = {
    "b h l s": lambda x: x,
    "b l h s": lambda x: x.swapaxes(1, 2),
    "b h s l": lambda x: x.swapaxes(2, 3),
    "(b h) l s": lambda x: x.reshape(-1, *x.shape[2:]),
    "l (b s) h": lambda x: x.transpose(2, 0, 3, 1).reshape(x.shape[2], -1, H),
    "(b h l s)": lambda x: x.reshape(-1),
}
ROWS: dict[str, Layout] = {"b d": lambda x: x, "d b": lambda x: x.T, "1 (d b)": lambda x: x.T.reshape(1, -1)}
TOKENS: dict[str, Layout] = {"b l": lambda x: x, "l b": lambda x: x.T, "b 1 1 l": lambda x: x[:, None, None]}


def kind_of(name: str, value: np.ndarray) -> dict[str, Layout]:
    if value.ndim == 2:
        return TOKENS if re.search("position_ids|start_logits|end_logits", name) else ROWS
    if value.ndim == 4:
        return SCORES
    return HEADS if re.search(r"attention\.self(\.(query|key|value))?$", name) else WHOLE


def model_of(head: str) -> Model:
    return Oracle()("roberta", head, **({"add_cross_attention": True} if head == "causal_lm" else {}))


def traced(head: str) -> Trace:
    model = model_of(head)
    states = np.random.default_rng(0).standard_normal((B, S, D)).astype("float32")
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    cross = {"encoder_hidden_states": states, "encoder_attention_mask": mask} if head == "causal_lm" else {}
    return trace(model, **{**Oracle().inputs(model), **cross})


def laid_out(reference: Trace, index: int) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """All values, each in one of the layouts of its kind; and the `names` that say so."""
    values, names = {}, {}
    for number, (name, value) in enumerate(reference.items()):
        layouts = [*kind_of(name, value).items()]
        layout, function = layouts[index % len(layouts)]
        values[f"v{number}"], names[f"v{number}"] = function(value), (name, layout)
    return values, names


@pytest.mark.parametrize("head", ["causal_lm", "question_answering", "sequence_classification"])
@pytest.mark.parametrize("index", range(max(map(len, (WHOLE, HEADS)))))
def test_every_value_in_every_layout(head: str, index: int) -> None:
    reference = traced(head)
    values, names = laid_out(reference, index)
    report = compare(reference, values, names=names)
    assert report.ok and len(report.rows) == len(reference) and not report.suspicious
    for row, (_, layout) in zip(report.rows, names.values(), strict=True):
        same = layout in ("b l d", "b l (h e)", "b h l s", "b d", "b l")
        assert (row.verdict, row.layout) == (("good", "") if same else ("layout", f"{layout}, as `names` says"))


PLACES = {
    "encoder.layer.0.attention.self.query": {"batch": 1, "token": 2, "channel": 17},
    "encoder.layer.0.crossattention.self.key": {"batch": 1, "token": 1, "channel": 8},
    "encoder.layer.1.attention.self": {"batch": 0, "token": 5, "channel": 29},
    "encoder.layer.0.attention.self.probs": {"batch": 1, "head": 3, "query": 2, "key": 1},
    "encoder.layer.0.crossattention.self.scores": {"batch": 0, "head": 4, "query": 5, "key": 2},
    "encoder.layer.1.intermediate": {"batch": 0, "token": 3, "channel": 36},
    "embeddings.position_ids": {"batch": 0, "token": 4},
    "pooler": {"batch": 1, "channel": 11},
    "start_logits": {"batch": 1, "token": 3},
}


@pytest.mark.parametrize("name", PLACES)
def test_a_wrong_number_is_found_where_it_is_in_every_layout(name: str) -> None:
    head = {"pooler": "encoder", "start_logits": "question_answering"}.get(name, "causal_lm")
    reference = traced(head)
    wrong = reference[name].copy()
    wrong[tuple(PLACES[name].values())] += 1
    for layout, function in kind_of(name, wrong).items():
        report = compare(reference, {"x": function(wrong)}, names={"x": (name, layout)})
        assert report.first_bad == name and report.rows[0].place == PLACES[name]


def test_keys_and_values_may_have_an_axis_of_keys() -> None:
    reference = traced("causal_lm")
    for name in ("encoder.layer.0.crossattention.self.key", "encoder.layer.0.attention.self.value"):
        array = by_head(reference[name]).swapaxes(1, 2)
        assert compare(reference, {name: array}, names={name: (name, "b h s e")}).ok
        with raises(InputError, ValueError, "'b s d' of", "each axis of 'b l d' once"):
            compare(reference, {"embeddings": reference["embeddings"]}, names={"embeddings": ("embeddings", "b s d")})


# --- an order of the same shape -------------------------------------------------------------------------------------

QUERY = "encoder.layer.0.attention.self.query"


def interleaved(reference: Trace) -> dict[str, np.ndarray]:
    """The values of a port that computes rightly, and writes channel e·H + h of its first query."""
    return {**reference, QUERY: by_head(reference[QUERY]).swapaxes(2, 3).reshape(B, L, D)}


def layouts(report: Report) -> dict[str, str]:
    return {row.name: row.layout for row in report.rows}


def test_an_order_of_the_same_shape_is_honoured() -> None:
    reference = traced("masked_lm")
    values, names = interleaved(reference), {QUERY: (QUERY, "b l (e h)")}
    report = compare(reference, values, names=names)
    assert report.ok and layouts(report)[QUERY] == "b l (e h), as `names` says"
    assert diagnose(reference.model, reference.inputs, values, names=names) == []
    alone = {QUERY: values[QUERY]}  # as the last value, it would not be recognised
    assert not compare(reference, alone).ok
    assert compare(reference, alone, names=names).ok
    assert diagnose(reference.model, reference.inputs, alone, names=names) == []
    assert assert_matches(values, reference, names=names).ok


def test_another_order_than_the_one_given_is_wrong() -> None:
    """Without `names` the query would be recognised; what is given is not guessed about."""
    reference = traced("masked_lm")
    values = interleaved(reference)
    assert compare(reference, values).ok
    assert not diagnose(reference.model, reference.inputs, values, limit=0).left_out
    names = {QUERY: (QUERY, "b l (h e)")}
    report = compare(reference, values, names=names)
    assert diagnose(reference.model, reference.inputs, values, names=names, limit=0).left_out  # a mistake is sought
    assert report.first_bad == QUERY and layouts(report)[QUERY] == ""
    assert compare(reference, dict(reference), names={QUERY: (QUERY, "b l (e h)")}).first_bad == QUERY


def test_a_mistake_in_a_given_layout_is_named() -> None:
    reference = traced("encoder")
    model = reference.model
    other = Model(model.config.replace(hidden_act="gelu_new"), model.params, model.head)
    values, names = laid_out(trace(other, **reference.inputs), 2)
    assert [finding.name for finding in diagnose(model, reference.inputs, values, names=names)] == ["gelu-tanh"]


@pytest.mark.parametrize("family", ["roberta-prelayernorm", "xlm-roberta-xl"])
def test_names_of_a_family(family: str) -> None:
    model = Oracle()(family, "encoder")
    reference = trace(model, **Oracle().inputs(model))
    name = next(name for name in reference if re.search("attention.*norm", name, re.IGNORECASE))
    values, names = {**reference, name: reference[name].T}, {name: (name, "d l b")}
    assert compare(reference, values, names=names).ok
    assert diagnose(model, reference.inputs, values, names=names) == []
    values[name] = 0 * values[name]
    assert compare(reference, values, names=names).first_bad == name


# --- patterns, functions, references without a model ------------------------------------------------------------------


def test_patterns_and_functions() -> None:
    reference = traced("encoder")
    values = {f"q{i}": by_head(reference[f"encoder.layer.{i}.attention.self.query"]) for i in range(2)}
    by_pattern = {r"q(\d)": (r"encoder.layer.\1.attention.self.query", "b l h e")}
    function = lambda name: [f"encoder.layer.{name[1]}.attention.self.query", "b l h e"]  # noqa: E731
    for names in (by_pattern, function):
        report = compare(reference, values, names=names)
        assert len(report.rows) == 2 and {row.layout for row in report.rows} == {"b l h e, as `names` says"}


def test_a_layout_of_an_unknown_or_missing_value_is_not_used() -> None:
    reference = traced("encoder")
    names = {"a": ("mine", "b x"), "b": (None, "l d"), "c": ("nothing", "?")}
    report = compare(
        reference, {"a": np.zeros(3), "b": np.zeros(3), "embeddings": reference["embeddings"]}, names=names
    )
    assert report.ok and report.unknown == ("mine",)


def test_the_layout_is_that_of_the_value_that_counts() -> None:
    """A dropout repeats a value, which counts itself if it is given, whatever their order."""
    reference = traced("encoder")
    right, transposed = {"a": reference["embeddings"]}, {"b": reference["embeddings"].T}
    names = {"a": "embeddings", "b": ("embeddings.dropout", "d l b")}
    for values in ({**right, **transposed}, {**transposed, **right}):
        assert layouts(compare(reference, values, names=names)) == {"embeddings": ""}
    assert layouts(compare(reference, transposed, names=names)) == {"embeddings": "d l b, as `names` says"}


def test_heads_are_found_without_a_configuration() -> None:
    reference = dict(traced("encoder"))
    context = "encoder.layer.0.attention.self"
    apart = by_head(reference[context])
    for layout in ("b l h e", "b h l e", "(b h) l e"):
        names = {context: (context, layout)}
        assert compare(reference, {context: HEADS[layout](reference[context])}, names=names).ok
    with raises(InputError, ValueError, "'b l (e h)' does not fit", f"{(B, L, D)}: b = 3, l = 12"):
        compare(reference, {context: apart.reshape(B, L, D)}, names={context: (context, "b l (e h)")})


# --- what is not a layout -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "telling"),
    [
        ("b l x", ["unknown axis 'x'", "'b l x'", "b (batch)", "e (channels of a head)"]),
        ("B L D", ["unknown axis 'B'"]),
        ("b, l, d", ["unknown axis ','"]),
        ("((b l) d", ["unknown axis '('"]),
        ("b l) d", ["unknown axis ')'"]),
        ("b ... d", ["unknown axis '.'"]),
        ("b 2 l d", ["unknown axis '2'"]),
        ("(" * 100, ["unknown axis '('"]),
        ("", ["each axis of 'b l d' once"]),
        ("()", ["each axis of 'b l d' once"]),
        ("b d", ["'b d' of embeddings must name each axis of 'b l d' once"]),
        ("b l l d", ["each axis of 'b l d' once"]),
        ("b l d s", ["each axis of 'b l d' once"]),
        ("b l d e", ["each axis of 'b l h e' once"]),
        ("b l h", ["each axis of 'b l h e' once"]),
        ("l b d", [f"'l b d' does not fit embeddings of shape {(B, L, D)}: b = 3, l = 12, d = 30"]),
        ("b l h e", [f"{(B, L, D)}: b = 3, l = 12, h = 5, e = 6"]),
        ("(b l) d", ["does not fit"]),
        ("b l d 1", ["does not fit"]),
    ],
)
def test_a_layout_that_is_none(layout: str, telling: list[str]) -> None:
    reference = traced("encoder")
    values, names = {"x": reference["embeddings"]}, {"x": ("embeddings", layout)}
    with raises(InputError, ValueError, *telling):
        compare(reference, values, names=names)
    with raises(InputError, ValueError, *telling):
        diagnose(reference.model, reference.inputs, values, names=names)


def test_heads_of_a_value_whose_size_they_do_not_divide() -> None:
    with raises(InputError, ValueError, "does not fit", "h = 6, e = 6"):
        as_given("encoder.layer.0.intermediate", np.zeros((B, L, 6, 6)), "b l h e", (B, L, 37), E)


@pytest.mark.parametrize("given", [5, True, (), ("a",), ("a", "b l", "d"), ("a", 5), (5, "b l"), {"a": "b l"}, b"ab"])
def test_a_target_that_is_none(given: Any) -> None:
    reference = traced("encoder")
    for names in ({"q": given}, {"other": given}, lambda name: given):
        with raises(InputError, ValueError, "`names` maps ", repr(given), 'such as ("encoder.'):
            compare(reference, {"q": reference["embeddings"]}, names=names)


@pytest.mark.parametrize("names", [5, ["q"], b"q"])
def test_names_of_another_type(names: Any) -> None:
    with raises(InputError, ValueError, f"`names` of type {type(names).__name__}: give a dict, a function"):
        compare(traced("encoder"), {"embeddings": np.zeros(3)}, names=names)
