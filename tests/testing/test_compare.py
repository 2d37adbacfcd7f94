"""Tests of compare: every value in turn, mistakes that undo each other, padding, layouts, precisions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import tiny

import minroberta
from minroberta import InputError, Model, trace
from minroberta.testing import Report, assert_matches, compare
from minroberta.weights import flat, tree

IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": MASK}
H = 5

MODELS = {
    "post-LN": tiny("masked_lm"),
    "pre-LN": tiny("sequence_classification", model_type="roberta-prelayernorm"),
    "XL": tiny("token_classification", model_type="xlm-roberta-xl"),
    "decoder": tiny("causal_lm", is_decoder=True),
    "relative": tiny("question_answering", position_embedding_type="relative_key_query"),
    "encoder": tiny(),
}


def candidate(model: Model, edit: dict[str, Callable] | None = None, **inputs: Any) -> dict[str, np.ndarray]:
    """The named values and outputs of the model in float32, each edited as a port's mistake would."""
    params = tree({name: array.astype(np.float32) for name, array in flat(model.params).items()})
    t = trace(Model(model.config, params, model.head), edit=edit, **(inputs or INPUTS))
    outputs = {name: x for name, x in t.output.items() if isinstance(x, np.ndarray)}
    return {name: array.copy() for name, array in {**t, **outputs}.items()}


def found(model: Model, values: dict[str, np.ndarray], **options: Any) -> Report:
    return compare(trace(model, **INPUTS), values, **options)


PROBABILITIES = [f"encoder.layer.{i}.attention.self.probs" for i in range(2)]
EVERY = [(kind, name) for kind, model in MODELS.items() for name in trace(model, **INPUTS)]


@pytest.mark.parametrize("kind", MODELS)
def test_a_right_candidate(kind: str) -> None:
    report = found(MODELS[kind], candidate(MODELS[kind]))
    assert report.ok and report.first_bad is None
    assert report.last_good == report.rows[-1].name
    assert not report.missing and not report.unknown and not report.unavailable
    assert 0 < max(row.multiple for row in report.rows) < report.bound
    assert all(row.verdict == "good" for row in report.rows)


@pytest.mark.parametrize(
    ("kind", "name"), [pytest.param(*one, marks=[pytest.mark.slow] * (i % 3 > 0)) for i, one in enumerate(EVERY)]
)
def test_a_mistake_is_found_where_it_is(kind: str, name: str) -> None:
    """A value a thousandth too large at a token, in float32, is wrong; values that follow from it are not."""

    def spoil(value: np.ndarray) -> np.ndarray:
        if value.dtype.kind == "i":
            return value + 1
        return value * np.where(value > -1e30, np.float32(1.001), np.float32(1))

    report = found(MODELS[kind], candidate(MODELS[kind], {name: spoil}))
    assert report.first_bad == name
    assert [row.name for row in report.rows if not row.ok] == [name]
    names = [row.name for row in report.rows]
    before = names[: names.index(name)]
    assert report.last_good == (before[-1] if before else None)
    assert all(row.verdict == "good" for row in report.rows[: len(before)])


def test_the_worst_position_has_a_name_and_both_numbers() -> None:
    def spoil(value: np.ndarray) -> np.ndarray:
        value = value.copy()
        value[1, 2, 17] += 3
        return value

    model, name = MODELS["post-LN"], "encoder.layer.1.intermediate.dense"
    values = candidate(model, {name: spoil})
    row = next(row for row in found(model, values).rows if row.name == name)
    assert row.place == {"batch": 1, "token": 2, "channel": 17}
    assert row.candidate == values[name][1, 2, 17]
    assert row.candidate - row.reference == pytest.approx(3, abs=1e-4)
    assert row.absolute == pytest.approx(3, abs=1e-4)
    assert row.multiple == pytest.approx(row.absolute / row.noise)
    assert row.verdict == "wrong" and row.alone > row.multiple / 10


def test_mistakes_that_undo_each_other() -> None:
    layer = "encoder.layer.0.attention.output"
    edit = {f"{layer}.dense": lambda x: x + np.float32(0.5), f"{layer}.sum": lambda x: x - np.float32(0.5)}
    report = found(MODELS["post-LN"], candidate(MODELS["post-LN"], edit))
    rows = {row.name: row for row in report.rows}
    assert report.first_bad == f"{layer}.dense"
    assert rows[f"{layer}.sum"].verdict == "wrong" and "undoes" in rows[f"{layer}.sum"].note
    assert rows[f"{layer}.sum"].multiple < report.bound
    assert [row.name for row in report.rows if not row.ok] == [f"{layer}.dense", f"{layer}.sum"]


def test_a_partial_candidate_is_judged_by_its_values() -> None:
    model = MODELS["post-LN"]
    values = candidate(model, {"encoder.layer.1.intermediate": lambda x: x * np.float32(1.01)})
    report = found(model, {name: values[name] for name in ("encoder.layer.0", "encoder.layer.1", "logits")})
    assert (report.last_good, report.first_bad) == ("encoder.layer.0", "encoder.layer.1")
    assert [row.verdict for row in report.rows] == ["good", "wrong", "follows"]
    assert "encoder.layer.1.intermediate" in report.missing


def test_only_the_outputs() -> None:
    model = MODELS["pre-LN"]
    values = candidate(model)
    assert found(model, {"logits": values["logits"]}).ok
    report = found(model, {"logits": values["logits"] + np.float32(0.1)})
    assert (report.first_bad, report.last_good) == ("logits", None)


# --- what is left out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("pad", [0, 1e3, np.nan])
def test_padding_may_be_anything(kind: str, pad: float) -> None:
    model = MODELS[kind]
    real = trace(model, **INPUTS)
    values = {}
    for name, value in candidate(model).items():
        value = value.astype(np.float64)
        if value.ndim == 3 and value.shape[:2] == MASK.shape:
            value[MASK == 0] = pad
        if value.ndim == 4:
            value.swapaxes(1, 2)[MASK == 0] = pad
        values[name] = value
    report = compare(real, values)
    assert report.ok, report.first_bad


def test_without_a_mask_every_position_counts() -> None:
    model = MODELS["encoder"]
    values = candidate(model, input_ids=IDS)
    values["encoder.layer.1"][1, 5] += 1
    report = compare(trace(model, IDS), values)
    assert report.first_bad == "encoder.layer.1"


def test_a_masked_key_may_have_any_score() -> None:
    model = MODELS["post-LN"]
    values = candidate(model)
    name = "encoder.layer.0.attention.self.scores"
    values[name] = np.where(values[name] < -1e30, -np.inf, values[name])
    assert found(model, values).ok
    values[name.replace("scores", "probs")][1, :, 0, 5] = 1e-3  # where the mask is not
    assert found(model, values).first_bad == name.replace("scores", "probs")


def test_a_cache_has_the_mask_of_all_positions() -> None:
    model = MODELS["decoder"]
    past = model(IDS[:, :4], MASK[:, :4]).past_key_values
    inputs = {"input_ids": IDS[:, 4:], "attention_mask": MASK, "past_key_values": past}
    values = candidate(model, **inputs)
    for value in values.values():
        if value.shape[:2] == (2, 2) and value.ndim == 3:
            value[1] = 9
        if value.ndim == 4:
            value[1] = 9
    report = compare(trace(model, **inputs), values)
    assert report.ok, report.first_bad


def test_cross_attention_has_the_encoders_mask() -> None:
    model = tiny("masked_lm", is_decoder=True, add_cross_attention=True)
    memory = np.random.default_rng(0).normal(size=(2, 6, 30))
    inputs = {**INPUTS, "encoder_hidden_states": memory, "encoder_attention_mask": MASK[::-1]}
    values = candidate(model, **inputs)
    for name in ("key", "value"):
        values[f"encoder.layer.0.crossattention.self.{name}"][0, 4:] = 9
    report = compare(trace(model, **inputs), values)
    assert report.ok, report.first_bad
    values["encoder.layer.0.crossattention.self.key"][1, 4:] = 9
    assert compare(trace(model, **inputs), values).first_bad == "encoder.layer.0.crossattention.self.key"


def test_multiple_choice() -> None:
    model = tiny("multiple_choice")
    inputs = {"input_ids": np.stack([IDS, IDS]), "attention_mask": np.stack([MASK, MASK])}
    values = candidate(model, **inputs)
    values["encoder.layer.0"][1, 4:] = 5
    assert compare(trace(model, **inputs), values).ok
    values["encoder.layer.0"][0, 4:] = 5
    assert compare(trace(model, **inputs), values).first_bad == "encoder.layer.0"


# --- shapes, layouts, dtypes ----------------------------------------------------------------------------------------


LAYOUTS = {
    "batch and length swapped": lambda x: x.swapaxes(0, 1),
    "axes batch, channel permuted": lambda x: x.transpose(2, 1, 0),
    "axes token, channel permuted": lambda x: x.swapaxes(1, 2),
    "shape (12, 30), axes split or merged": lambda x: x.reshape(12, 30),
    "heads not merged, shape (2, 6, 5, 6)": lambda x: x.reshape(2, 6, 5, 6),
    "heads not merged, shape (2, 5, 6, 6)": lambda x: x.reshape(2, 6, 5, 6).swapaxes(1, 2),
    "heads merged in a different order: channel e·H + h holds what belongs in channel h·E + e": (
        lambda x: x.reshape(2, 6, 5, 6).swapaxes(2, 3).reshape(2, 6, 30)
    ),
    "heads merged by a reshape alone, without swapping the head and token axes": (
        lambda x: x.reshape(2, 6, 5, 6).swapaxes(1, 2).reshape(2, 6, 30)
    ),
}


@pytest.mark.parametrize("order", LAYOUTS)
def test_a_layout_is_named(order: str) -> None:
    model, name = MODELS["post-LN"], "encoder.layer.1.attention.self"
    values = candidate(model)
    values[name] = LAYOUTS[order](values[name])
    report = found(model, values)
    row = next(row for row in report.rows if row.name == name)
    assert row.verdict == "layout"
    assert order in row.note or row.note == "shape (2, 6, 5, 6), axes split or merged"
    assert report.ok
    assert row.note in str(report).splitlines()[0]
    assert all(other.verdict in ("good", "follows") for other in report.rows if other is not row)


def test_a_transposed_output() -> None:
    model = MODELS["pre-LN"]
    values = candidate(model, input_ids=IDS[[0, 0, 0]])
    report = compare(trace(model, IDS[[0, 0, 0]]), {"logits": values["logits"].T})
    assert (report.rows[0].verdict, report.rows[0].note) == ("layout", "transposed")


def test_a_shape_that_no_order_explains() -> None:
    model = MODELS["encoder"]
    values = candidate(model)
    values["encoder.layer.0"] = values["encoder.layer.0"][:, :5]
    report = found(model, values)
    row = next(row for row in report.rows if row.name == "encoder.layer.0")
    assert (row.verdict, report.first_bad) == ("shape", "encoder.layer.0")
    assert "(2, 5, 30)" in row.note and row.shape == (2, 6, 30)
    assert math.isnan(row.absolute)


def test_values_that_are_not_numbers() -> None:
    model, name = MODELS["encoder"], "encoder.layer.0.intermediate"

    def spoil(value: np.ndarray) -> np.ndarray:
        value = value.copy()
        value[0, 0, :2] = np.nan
        return value

    report = found(model, candidate(model, {name: spoil}))
    row = next(row for row in report.rows if row.name == name)
    assert report.first_bad == name and row.verdict == "wrong" and math.isinf(row.absolute)
    assert row.note == "2 of 444 elements are NaN or infinite"
    assert [row.name for row in report.rows if not row.ok] == [name]


def rounded(model: Model, dtype: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """A candidate whose values are all rounded to a half type."""
    names = [name for name, value in trace(model, **INPUTS).items() if value.dtype.kind == "f" and "scores" not in name]
    return candidate(model, dict.fromkeys(names, dtype))


def to_float16(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    return ((x.view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize(("precision", "rounding"), [("float16", to_float16), ("bfloat16", to_bfloat16)])
def test_precisions(precision: str, rounding: Callable) -> None:
    model = MODELS["post-LN"]
    values = rounded(model, rounding)
    assert not found(model, values).ok
    assert found(model, values, precision=precision).ok
    wrong = {**values, "encoder.layer.1.intermediate": values["encoder.layer.1.intermediate"] + np.float32(0.5)}
    assert found(model, wrong, precision=precision).first_bad == "encoder.layer.1.intermediate"


def test_float64_is_held_to_float64() -> None:
    model = MODELS["post-LN"]
    t = trace(model, **INPUTS)
    assert compare(t, dict(t), precision="float64").ok
    assert compare(t, candidate(model), precision="float64").first_bad == "embeddings.word_embeddings"


# --- other references -----------------------------------------------------------------------------------------------


def test_a_plain_mapping_as_reference() -> None:
    model = MODELS["post-LN"]
    t = dict(trace(model, **INPUTS))
    assert compare(t, candidate(model)).ok
    report = compare(t, candidate(model, {"encoder.layer.1.intermediate": lambda x: x * np.float32(1.01)}))
    assert (report.first_bad, report.last_good) == (
        "encoder.layer.1.intermediate",
        "encoder.layer.1.intermediate.dense",
    )
    assert ["estimated" in report.unavailable[0], "with a Trace" in report.unavailable[1]] == [True, True]
    assert all(row.alone is None for row in report.rows)


def test_a_plain_mapping_has_no_mask_to_count_with() -> None:
    """Rounding is not estimated from the lowest number, which a masked score has."""
    model, name = MODELS["post-LN"], "encoder.layer.0.attention.self.scores"
    values = candidate(model, {name: lambda x: x * np.where(x > -1e30, np.float32(1.01), np.float32(1))})
    assert compare(dict(trace(model, **INPUTS)), values).first_bad == name


def test_a_token_has_its_axis() -> None:
    model = MODELS["relative"]
    values = candidate(model)
    values["start_logits"][0, 3] += 1
    row = next(row for row in found(model, values).rows if row.name == "start_logits")
    assert row.place == {"batch": 0, "token": 3}


def test_the_reference_may_be_in_float32() -> None:
    """A float32 trace is repeated in float64, so that its own rounding does not count against the candidate."""
    model = MODELS["post-LN"]
    params = tree({name: array.astype(np.float32) for name, array in flat(model.params).items()})
    t = trace(Model(model.config, params, model.head), **INPUTS)
    assert compare(t, dict(t)).ok
    assert 0 < max(row.multiple for row in compare(t, dict(t)).rows) < 8


def test_nothing_in_common() -> None:
    telling = r"the reference \(with 'embeddings.word_embeddings', "
    with pytest.raises(InputError, match=telling) as caught:
        found(MODELS["encoder"], {"layers.0": np.zeros(3)})
    assert (
        "and the candidate (with 'layers.0') have no name in common (did you mean 'encoder.layer.0'?): give `names`"
        in str(caught.value)
    )


def test_an_invalid_reference() -> None:
    t = trace(MODELS["encoder"], **INPUTS)
    for reference in (None, MODELS["encoder"], "golden.safetensors"):
        with pytest.raises(
            InputError, match=r"invalid reference of type .*: give a Trace, a golden file, or a dict of arrays"
        ):
            compare(reference, dict(t))
    with pytest.raises(InputError, match="the reference must come first: swap the arguments"):
        compare(dict(t), t)


def test_an_edited_run_is_not_a_reference() -> None:
    """An edited trace is refused, since it would be repeated without the edits."""
    edited = trace(MODELS["encoder"], **INPUTS, edit={"encoder.layer.0": lambda x: 2 * x})
    with pytest.raises(
        InputError, match=r"the reference was traced with edits at 'encoder\.layer\.0': trace it without edits"
    ):
        compare(edited, dict(edited))


def test_missing_values_in_between() -> None:
    model = MODELS["encoder"]
    values = candidate(model, {"encoder.layer.0.intermediate": lambda x: x * np.float32(1.01)})
    report = found(model, {name: values[name] for name in ("encoder.layer.0.intermediate.dense", "encoder.layer.0")})
    parts = ("intermediate", "output.dense", "output.sum", "output.LayerNorm", "output")
    assert report.between == tuple(f"encoder.layer.0.{part}" for part in parts)
    assert "missing in between: encoder.layer.0.intermediate, " in report.html()
    assert found(model, values).between == ()


def test_a_step_uses_the_values_at_padding() -> None:
    """An ignored mask is one mistake: the context computed from its probabilities is right."""
    model = MODELS["encoder"]
    ignored = candidate(model, {name: lambda x: x * 0 + np.float32(1 / 6) for name in PROBABILITIES})
    report = found(model, ignored)
    assert [row.name for row in report.rows if not row.ok] == PROBABILITIES


def test_an_unknown_precision() -> None:
    with pytest.raises(InputError, match="unknown precision 'int8': give one of float64, float32, float16, bfloat16"):
        found(MODELS["encoder"], {}, precision="int8")


def test_other_names_are_listed() -> None:
    values = candidate(MODELS["encoder"])
    report = found(MODELS["encoder"], {**values, "my.cache": np.zeros(3)})
    assert report.ok and report.unknown == ("my.cache",)


# --- special candidates ---------------------------------------------------------------------------------------------


def test_a_bound_grows_with_the_longest_sum() -> None:
    short, long = (found(model, {"embeddings": candidate(model)["embeddings"]}).bound for model in
                   (MODELS["encoder"], tiny(intermediate_size=256)))  # fmt: skip
    assert (short, long) == (16, 32)


@pytest.mark.parametrize(("dimension", "order"), [(1024, 1), (1024, -1)])
def test_sums_of_one_number_after_another(dimension: int, order: int) -> None:
    """Sums of one number after the other, as in plain C, which round more than any others."""
    config = {"hidden_size": dimension, "num_attention_heads": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    model = tiny("encoder", "float32", **config)
    reference = trace(model, **INPUTS)
    name = "encoder.layer.0.attention.self.query"
    x, own = reference["embeddings"], model.params["encoder"]["layer"][0]["attention"]["self"]["query"]
    terms = (x[:, :, None, :] * own["weight"])[..., ::order]
    query = np.cumsum(terms, axis=-1, dtype=np.float32)[..., -1] + own["bias"]
    report = compare(reference, {"embeddings": x, name: query})
    assert report.ok, report


def test_one_value_by_two_names() -> None:
    values = candidate(MODELS["encoder"])
    with pytest.raises(InputError, match=r"roberta\.encoder\.layer\.0 is a second value for encoder\.layer\.0: "):
        found(MODELS["encoder"], {**values, "roberta.encoder.layer.0": values["encoder.layer.0"] + 1})


@pytest.mark.parametrize("kind", ["pre-LN", "XL"])
def test_a_last_hidden_state_may_be_from_before_the_last_norm_or_after_it(kind: str) -> None:
    model = MODELS[kind]
    t = trace(model, **INPUTS, output_hidden_states=True)
    states = {f"hidden_states.{i}": state for i, state in enumerate(t.output.hidden_states)}
    report = found(model, {**states, "hidden_states.2": np.zeros((2, 6, 30))})
    assert report.ok and len(report.rows) == 2


def test_values_before_the_sum_may_have_a_single_row() -> None:
    model = MODELS["post-LN"]
    ids = IDS[[0, 0]]
    values = candidate(model, input_ids=ids)
    for name in ("position_ids", "position_embeddings", "token_type_embeddings"):
        values[f"embeddings.{name}"] = values[f"embeddings.{name}"][:1]
    assert compare(trace(model, ids), values).ok
    values["embeddings.LayerNorm"] = values["embeddings.LayerNorm"][:1]
    assert compare(trace(model, ids), values).first_bad == "embeddings.LayerNorm"


def test_inputs_that_are_none() -> None:
    model = MODELS["post-LN"]
    inputs = {**INPUTS, "inputs_embeds": None, "head_mask": None}
    assert compare(trace(model, **inputs), candidate(model)).ok


def test_labels_are_not_taken_for_tokens() -> None:
    """Logits (B, N) with N = L under a mask (B, L)."""
    model = tiny("sequence_classification", num_labels=6)
    values = candidate(model)
    values["logits"][1, 5] += 3
    assert found(model, values).first_bad == "logits"


def test_another_layout_hides_nothing() -> None:
    model, name = MODELS["post-LN"], "encoder.layer.1.intermediate"
    values = candidate(model)
    values[name] = (values[name] + np.float32(1e-3)).swapaxes(0, 1)
    row = next(row for row in found(model, values).rows if row.name == name)
    assert (row.verdict, row.note) == ("wrong", "batch and length swapped")


def test_a_layout_is_recognised_with_any_numbers_at_padding() -> None:
    model, name = MODELS["post-LN"], "encoder.layer.1.attention.self"
    values = candidate(model)
    values[name][MASK == 0] = np.nan
    values[name] = values[name].swapaxes(0, 1)
    scores = "encoder.layer.1.attention.self.scores"
    values[scores] = np.where(values[scores] < -1e30, -np.inf, values[scores]).reshape(2 * H, 6, 6)
    rows = {row.name: row for row in found(model, values).rows}
    assert rows[name].verdict == rows[scores].verdict == "layout"


def test_a_value_of_padding_only_says_so() -> None:
    model = MODELS["post-LN"]
    inputs = {"input_ids": IDS, "attention_mask": np.zeros_like(IDS)}
    values = candidate(model, **inputs)
    row = compare(trace(model, **inputs), {"logits": values["logits"] + 5}).rows[0]
    assert (row.verdict, row.note, row.place) == ("good", "padding only", None)


def test_the_worst_position_of_a_wrong_step_is_that_of_its_error() -> None:
    """A step's small error is found beside a large one that follows from an earlier step."""

    def spoil(token: int, by: float) -> Callable:
        def edit(value: np.ndarray) -> np.ndarray:
            value = value.copy()
            value[0, token, 2] += np.float32(by)
            return value

        return edit

    model, name = MODELS["post-LN"], "encoder.layer.1.attention.output.sum"
    values = candidate(model, {"encoder.layer.0.attention.output.sum": spoil(1, 5), name: spoil(4, 1e-2)})
    row = next(row for row in found(model, values).rows if row.name == name)
    assert row.place == {"batch": 0, "token": 4, "channel": 2}
    assert row.candidate - row.reference == pytest.approx(1e-2, rel=1e-3)


def test_infinity_has_an_infinite_error() -> None:
    model = MODELS["encoder"]
    values = candidate(model)
    values["encoder.layer.1"][0, 0, 0] = np.inf
    row = next(row for row in found(model, values).rows if row.name == "encoder.layer.1")
    assert row.absolute == row.relative == math.inf


def test_lists_of_unequal_length() -> None:
    with pytest.raises(InputError, match="logits cannot be converted to an array"):
        found(MODELS["post-LN"], {"logits": [[1.0], [1.0, 2.0]]})


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool"])
def test_a_poorer_dtype_is_named(dtype: str) -> None:
    model = MODELS["encoder"]
    values = candidate(model)
    values["encoder.layer.1"] = values["encoder.layer.1"].astype(dtype)
    row = next(row for row in found(model, values).rows if row.name == "encoder.layer.1")
    assert (row.verdict, row.dtype, row.note) == ("wrong", dtype, f"stored as {dtype}")


# --- masked scores, and values of packed ports ------------------------------------------------------------------------

SCORES = "encoder.layer.0.attention.self.scores"


@pytest.mark.parametrize("lowest", [-1e4, -1e9, -np.inf, np.finfo(np.float32).min])
def test_the_number_of_a_masked_score_is_free(lowest: float) -> None:
    model = MODELS["post-LN"]
    values = candidate(model)
    values[SCORES] = np.where(MASK[:, None, None] > 0, values[SCORES], lowest).astype("float32")
    assert found(model, values).ok


def test_a_masked_key_with_an_ordinary_score_is_wrong() -> None:
    model = MODELS["post-LN"]
    values = candidate(model)
    values[SCORES] = np.where(MASK[:, None, None] > 0, values[SCORES], 0.5).astype("float32")
    report = found(model, values)
    assert report.first_bad == SCORES
    assert math.isinf(report.bad[0].error)


def packed(values: dict[str, np.ndarray], keep: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    return {name: keep(x) if x.ndim == 3 and x.shape[:2] == MASK.shape else x for name, x in values.items()}


@pytest.mark.parametrize("rows", [lambda x: x[MASK > 0], lambda x: x[MASK > 0][None]])
def test_tokens_without_padding(rows: Callable[[np.ndarray], np.ndarray]) -> None:
    model = MODELS["post-LN"]
    right = candidate(model)
    report = found(model, packed(right, rows))
    assert report.ok and f"packed, {MASK.sum()} tokens without padding" in str(report).splitlines()[0]
    name = "encoder.layer.1.intermediate"
    wrong = found(model, packed({**right, name: right[name] * np.float32(1.01)}, rows))
    assert wrong.first_bad == name


def test_the_mask_of_a_packed_port() -> None:
    """Without an attention mask, a packed port leaves out the last token of the second row."""
    model = MODELS["post-LN"]
    tokens = np.ones_like(IDS)
    tokens[1, -1] = 0
    reference = trace(model, IDS)
    values = {"logits": model(IDS).logits[tokens > 0]}
    assert compare(reference, values).rows[0].verdict == "shape"
    assert compare(reference, values, packed=tokens).rows[0].verdict == "layout"


def test_a_layout_of_a_wrong_value_is_known_by_its_shape() -> None:
    """Heads apart, and positions from 0: no number is near the reference's."""
    model = MODELS["post-LN"]
    values = candidate(model, input_ids=IDS, attention_mask=MASK, position_ids=np.tile(np.arange(6), (2, 1)))
    name = "encoder.layer.1.attention.self.query"
    values[name] = values[name].reshape(2, 6, 5, 6).swapaxes(1, 2)
    report = found(model, values)
    assert {row.name: row.verdict for row in report.rows}[name] == "layout"
    assert report.first_bad == "embeddings.position_ids"


def heads_interleaved(value: np.ndarray) -> np.ndarray:
    return value.reshape(2, 6, H, 6).swapaxes(2, 3).reshape(2, 6, 30)


def test_heads_in_another_order_need_a_later_value() -> None:
    """Only a later value shows whether a port writes its heads in another order, or computes with it."""
    model, name = MODELS["post-LN"], "encoder.layer.1.attention.self"
    values = candidate(model)
    after = "encoder.layer.1.attention.output.dense"
    context = heads_interleaved(values[name])
    alone = found(model, {name: context})
    assert alone.first_bad == name and alone.rows[0].layout.startswith("heads merged in a different order")
    assert found(model, {name: context, after: values[after]}).ok
    used = candidate(model, {name: heads_interleaved})
    assert found(model, {name: context, after: used[after]}).first_bad == after


def with_eps(eps: float, kept: Callable[[np.ndarray], np.ndarray]) -> tuple[Model, dict[str, np.ndarray]]:
    """A model, and the output of a port with another eps, which is within the bound."""
    model = tiny("encoder", "float32", layer_norm_eps=1e-5)
    port = Model(model.config.replace(layer_norm_eps=eps), model.params, model.head)
    return model, {"last_hidden_state": kept(port(**INPUTS).last_hidden_state)}


@pytest.mark.parametrize("kept", [lambda x: x, lambda x: x[MASK > 0]])
def test_a_systematic_error_is_suspicious_in_any_layout(kept: Callable[[np.ndarray], np.ndarray]) -> None:
    model, values = with_eps(1e-12, kept)
    report = found(model, values)
    assert report.ok and report.suspicious == ["last_hidden_state"]
    assert 5 < report.rows[0].multiple < report.bound
    assert "suspicious: last_hidden_state, further off than in right ports" in str(report).splitlines()[0]
    assert '"suspicious": ["last_hidden_state"]' in report.to_json()
    with pytest.warns(UserWarning, match="suspicious: last_hidden_state"):
        assert_matches(values, trace(model, **INPUTS))
    assert not found(model, with_eps(1e-5, kept)[1]).suspicious


TRAINED = minroberta.load()
SENTENCES = [
    "Paris",
    "Mozart was an Austrian composer of classical <mask>.",
    "Too long and too boring.",
    "Water boils at 100 degrees Celsius, and freezes at 0.",
    "aaaa aaaa aaaa bbbb",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_a_trained_model_in_float32_is_not_suspicious(text: str) -> None:
    """Its sums hold large terms that cancel, and GELU's argument is far below 0 nearly everywhere."""
    reference = trace(TRAINED, **TRAINED.tokenizer(text))
    report = compare(reference, dict(reference))
    assert report.ok and not report.suspicious
    assert 2 < max(row.multiple for row in report.rows) < 11 < report.bound


def test_gelu_by_tanh_is_wrong_in_a_trained_model() -> None:
    port = Model(TRAINED.config.replace(hidden_act="gelu_new"), TRAINED.params, TRAINED.head)
    inputs = TRAINED.tokenizer(SENTENCES[1])
    report = compare(trace(TRAINED, **inputs), dict(trace(port, **inputs)))
    assert report.first_bad == "encoder.layer.0.intermediate"
    assert [row.name for row in report.bad] == [row.name for row in report.rows if row.name.endswith(".intermediate")]


@pytest.mark.parametrize("made", [np.zeros_like, np.negative, lambda logits: 2 * logits])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_what_is_far_from_the_value_is_not_half_precision(precision: str, made: Callable) -> None:
    """The rounding errors of all layers together may be larger than the logits of a tiny model."""
    model = MODELS["post-LN"]
    logits = candidate(model)["logits"]
    assert not found(model, {"logits": made(logits)}, precision=precision).ok
    assert found(model, {"logits": logits.astype("float16")}, precision=precision).ok
