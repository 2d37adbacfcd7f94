"""Tests of diagnose: known mistakes are named, one or two at once; unknown ones and right ports are not."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from candidates import CATALOGUE, RIGHT, TWO, UNKNOWN, Candidate
from support import raises, slow_but, tiny

from minroberta import InputError, Model, trace
from minroberta.checkpoints.surgery import prune_heads
from minroberta.model import ModelOutput
from minroberta.testing import compare
from minroberta.testing.diagnose import Finding, _candidate, diagnose
from minroberta.testing.runs import exact, noises, run
from minroberta.weights import flat, tree

BY_NAME = {candidate.name: candidate for candidate in [*CATALOGUE, *TWO, *UNKNOWN, *RIGHT]}


def found(candidate: Candidate) -> list[Finding]:
    return diagnose(candidate.model, candidate.inputs, candidate.values)


def bound(candidate: Candidate) -> float:
    """The multiple of its noise by which a right step may be off."""
    return compare(trace(candidate.model, **candidate.inputs), candidate.values).bound


INPUTS = {"input_ids": [[0, 7, 9, 11, 2]]}


def names_of(model: Model, values: dict[str, np.ndarray]) -> list[str]:
    return [finding.name for finding in diagnose(model, INPUTS, values)]


# --- one mistake, two, an unknown one, none -------------------------------------------------------------------------


ONE_A_MISTAKE = {candidate.names: candidate.name for candidate in reversed(CATALOGUE)}.values()
"""Of the candidates with the same mistake the first; every fourth is diagnosed by default."""


@pytest.mark.parametrize("name", slow_but([candidate.name for candidate in CATALOGUE], *[*ONE_A_MISTAKE][::4]))
def test_a_mistake_is_named(name: str) -> None:
    """Each mistake is named, and no other: names listed together are the same on these inputs."""
    candidate = BY_NAME[name]
    (names,) = candidate.names
    findings = found(candidate)
    assert findings[0].name in names
    assert {finding.name for finding in findings if not _is_part(finding.name, names)} <= {*names, *SAME.get(name, ())}
    assert all(finding.on_top_of is None for finding in findings)
    assert all(finding.remaining <= bound(candidate) for finding in findings)


def _is_part(name: str, names: tuple[str, ...]) -> bool:
    """True for the same eps in some of the norms: the others may not show it."""
    return any(name.startswith(f"{whole}-") for whole in names if whole.startswith("eps-"))


SAME = {
    "post/query-key-swapped": ["qkv-order-kqv"],  # the weights are swapped, which either may mean
    "port/pre/FusedKqv": ["query-key-swapped"],
    "post/mask-ignored": ["mask-from-id-0"],  # without id 0
    "decoder-left/mask-ignored": ["mask-from-id-0"],
    "port/cached/CacheBack": ["positions-from-1"],  # without padding, and with padding whose id is 1
}


@pytest.mark.parametrize("name", slow_but([x.name for x in TWO], *(x.name for x in TWO[::6])))
def test_two_mistakes_are_both_named(name: str) -> None:
    candidate = BY_NAME[name]
    findings = found(candidate)
    first, *others = [finding.name for finding in findings]
    assert findings[0].on_top_of is None
    assert {finding.on_top_of for finding in findings[1:]} == {first}
    assert all(finding.remaining <= bound(candidate) for finding in findings)
    pair = candidate.names if first in candidate.names[0] else candidate.names[::-1]
    assert first in pair[0]
    assert set(others) & set(pair[1])


@pytest.mark.parametrize("name", slow_but([x.name for x in UNKNOWN], *(x.name for x in UNKNOWN[::8])))
def test_an_unknown_mistake_is_not_named(name: str) -> None:
    candidate = BY_NAME[name]
    assert found(candidate) == []
    report = compare(trace(candidate.model, **candidate.inputs), candidate.values)
    assert report.first_bad == candidate.first_bad


@pytest.mark.parametrize("name", slow_but([x.name for x in RIGHT], *(x.name for x in RIGHT[::10])))
def test_a_right_port_has_no_mistake(name: str) -> None:
    candidate = BY_NAME[name]
    assert found(candidate) == []
    assert compare(trace(candidate.model, **candidate.inputs), candidate.values).ok


# --- what a finding says --------------------------------------------------------------------------------------------


def test_a_finding_explains() -> None:
    finding = found(BY_NAME["post/scores-unscaled"])[0]
    assert finding.name == "scores-unscaled"
    assert "√E" in finding.explanation
    assert "√E" in finding.fix
    assert 0 < finding.remaining < 16
    assert str(finding) == f"scores-unscaled: {finding.explanation} {finding.fix}"
    assert finding.on_top_of is None
    assert finding.seen_in.startswith("https://github.com/")


def test_a_known_mistake_is_named_beside_an_unknown_one() -> None:
    """GELU by tanh in every layer, beside an unknown mistake: a doubled bias."""
    candidate = BY_NAME["post/gelu-tanh"]
    values = {**candidate.values}
    model = candidate.model
    params = {**flat(model.params), "lm_head.layer_norm.bias": flat(model.params)["lm_head.layer_norm.bias"] * 2}
    run = trace(Model(model.config.replace(hidden_act="gelu_new"), tree(params), model.head), **candidate.inputs)
    (finding,) = diagnose(model, candidate.inputs, dict(run))
    assert finding.name == "gelu-tanh"
    assert finding.remaining > bound(candidate)
    assert diagnose(model, candidate.inputs, values)[0].remaining <= bound(candidate)


def test_a_mistake_of_one_layer_says_so() -> None:
    model = tiny("masked_lm", "float32")
    params = {**flat(model.params), "encoder.layer.1.attention.self.key.bias": np.zeros(30, "float32")}
    (finding,) = diagnose(model, INPUTS, dict(trace(Model(model.config, tree(params), model.head), **INPUTS)))
    assert finding.name == "bias-missing-key"
    assert finding.explanation.endswith("is left out. This happens in layer 1 only.")


def test_a_mistake_that_is_right_in_one_layer_and_another_wrong_there_is_not_named() -> None:
    model = tiny("encoder", "float32")

    def squashed(value: np.ndarray) -> np.ndarray:
        return np.sqrt(abs(value))

    tanh = Model(model.config.replace(hidden_act="gelu_new"), model.params, model.head)
    assert names_of(model, dict(trace(tanh, **INPUTS))) == ["gelu-tanh"]
    assert names_of(model, dict(trace(tanh, **INPUTS, edit={"encoder.layer.1.intermediate": squashed}))) == []


def test_a_layer_that_runs_twice_is_not_a_missing_one() -> None:
    """Layer 1 is replaced by layer 2, which runs as well."""
    model = tiny("encoder", "float32", num_hidden_layers=3)
    layers = model.params["encoder"]["layer"]
    other = {**model.params, "encoder": {"layer": [layers[0], layers[2], layers[2]]}}
    values = trace(Model(model.config, other, "encoder"), **INPUTS)
    some = {name: values[name] for name in values if name.startswith("encoder.layer")}
    (finding,) = diagnose(model, INPUTS, some)
    assert finding.name == "layers-reordered"
    assert "layers 0, 2, 2, in this order" in finding.explanation


# --- precision is seen in the numbers -------------------------------------------------------------------------------


def halved(value: np.ndarray) -> np.ndarray:
    """A value rounded to float16 during the run."""
    return value if value.dtype.kind == "i" else value.astype("float16").astype("float32")


def test_values_of_float16_are_float16() -> None:
    model = tiny("encoder", "float32")
    run = trace(model, **INPUTS, edit=dict.fromkeys(trace(model, **INPUTS), halved))
    assert names_of(model, dict(run)) == ["float16"]


def test_errors_of_float16s_size_are_not_float16() -> None:
    model = tiny("encoder", "float32")
    name = "encoder.layer.0.output.dense"
    edits = dict.fromkeys(trace(model, **INPUTS), halved)
    odd = trace(model, **INPUTS, edit={**edits, name: lambda value: halved(value) * np.float32(1.0003)})
    assert names_of(model, dict(odd)) == []


def test_one_value_of_float16_is_not_float16_throughout() -> None:
    model = tiny("encoder", "float32")
    assert names_of(model, dict(trace(model, **INPUTS, edit={"embeddings": halved}))) == []


# --- what a candidate may hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["post/positions-from-0", "post/gelu-tanh", "post/scores-unscaled", "xl/gelu-relu"])
def test_the_logits_are_enough(name: str) -> None:
    candidate = BY_NAME[name]
    findings = diagnose(candidate.model, candidate.inputs, {"logits": candidate.values["logits"]})
    assert findings[0].name in candidate.names[0]


def test_names_are_mapped() -> None:
    candidate = BY_NAME["post/gelu-tanh"]
    foreign = {f"my.{name}": value for name, value in candidate.values.items()}
    assert found(candidate) == diagnose(candidate.model, candidate.inputs, foreign, names={r"my\.(.*)": r"\1"})


def test_a_familys_names_are_known() -> None:
    """Another family's name of Roberta's `attention.output.LayerNorm`."""
    model = tiny("encoder", "float32", model_type="roberta-prelayernorm")
    name = "encoder.layer.0.attention.LayerNorm"
    values = trace(model, **INPUTS)
    bias = flat(model.params)["encoder.layer.0.attention.output.LayerNorm.bias"]
    some = {"embeddings": values["embeddings"], name: values[name] - bias}
    assert names_of(model, some) == ["bias-missing-attention-norm"]


def test_axes_may_be_in_another_order() -> None:
    """Heads not merged, (B, H, L, E), as in kernels: only the numbers count."""
    candidate = BY_NAME["post/gelu-tanh"]
    values = dict(candidate.values)
    name = next(name for name in values if name.endswith("layer.0.attention.self.query"))
    B, L = values[name].shape[:2]
    values[name] = values[name].reshape(B, L, -1, candidate.model.config.head_size).swapaxes(1, 2)
    assert values[name].ndim == 4
    assert [one.name for one in diagnose(candidate.model, candidate.inputs, values)] == ["gelu-tanh"]


def test_padding_may_be_anything() -> None:
    candidate = BY_NAME["post/gelu-tanh"]
    kept = np.asarray(candidate.inputs["attention_mask"]) > 0
    values = {n: np.where(kept[..., None], x, np.nan) if x.ndim == 3 else x for n, x in candidate.values.items()}
    assert [finding.name for finding in diagnose(candidate.model, candidate.inputs, values)] == ["gelu-tanh"]


def test_a_known_mistake_after_an_unknown_one() -> None:
    """An unknown activation in every layer, and the head's bias left out."""
    model = BY_NAME["eager/post"].model
    params = {**flat(model.params), "lm_head.bias": flat(model.params)["lm_head.bias"] * 0}
    port = Model(model.config, tree(params), model.head)
    edit = {f"encoder.layer.{i}.intermediate": lambda x: abs(x) for i in range(model.config.num_hidden_layers)}
    findings = diagnose(model, INPUTS, dict(trace(port, **INPUTS, edit=edit)))
    assert [finding.name for finding in findings] == ["lm-bias-missing"]
    assert findings[0].remaining > 1000


def test_nothing_in_common_is_refused() -> None:
    candidate = BY_NAME["eager/post"]
    for values in ({"my.own": np.zeros(3)}, {}):
        with pytest.raises(InputError, match="have no name in common"):
            diagnose(candidate.model, candidate.inputs, values)


def test_something_else_than_a_model() -> None:
    candidate = BY_NAME["eager/post"]
    for model, inputs in ((candidate.inputs, candidate.model), (candidate.model, [[0, 5, 2]])):
        with pytest.raises(InputError, match=r"diagnose was given a .* and a .*: give a Model, a dict of its inputs"):
            diagnose(model, inputs, candidate.values)


def test_inputs_may_be_lists_and_none() -> None:
    candidate = BY_NAME["post/gelu-tanh"]
    inputs = {name: np.asarray(value).tolist() for name, value in candidate.inputs.items()}
    assert [one.name for one in diagnose(candidate.model, inputs, candidate.values)] == ["gelu-tanh"]
    nothing = {"attention_mask": None, "head_mask": None, "past_key_values": None}
    model = tiny("encoder", "float32")
    tanh = trace(Model(model.config.replace(hidden_act="gelu_new"), model.params, model.head), **INPUTS)
    assert [one.name for one in diagnose(model, {**INPUTS, **nothing}, dict(tanh))] == ["gelu-tanh"]


def test_inputs_are_checked() -> None:
    with raises(InputError, ValueError, "input_ids"):
        diagnose(tiny(), {"input_ids": [[99]]}, {"embeddings": np.zeros((1, 1, 30))})


# --- some of the values, some of the layers, some of the time ---------------------------------------------------------


def parts(candidate: Candidate) -> Iterator[dict[str, np.ndarray]]:
    """The outputs alone, and three random subsets of the values; the same ones in every run."""
    random = np.random.RandomState(zlib.crc32(candidate.name.encode()))
    yield {name: x for name, x in candidate.values.items() if name in ModelOutput.__annotations__}
    for share in (0.1, 0.3, 0.6):
        yield {name: x for name, x in candidate.values.items() if random.uniform() < share}


PLANTED = [*CATALOGUE, *TWO][::10]


@pytest.mark.parametrize("name", slow_but([x.name for x in PLANTED], PLANTED[0].name))
def test_fewer_values_give_no_other_name(name: str) -> None:
    """A name that some of the values give is right, and all values give it too."""
    candidate = BY_NAME[name]
    expected = {one for names in candidate.names for one in names}
    everything = {finding.name for finding in found(candidate)}
    for values in filter(None, parts(candidate)):
        names = {finding.name for finding in diagnose(candidate.model, candidate.inputs, values)}
        assert not names or names & expected & everything, names


THREE = BY_NAME["port/three/TanhGeluInLayer1"]


@pytest.mark.parametrize(
    ("name", "where"),
    [
        pytest.param("TanhGeluInLayer1", "This happens in layer 1 only.", marks=pytest.mark.slow),
        ("ValueBiasMissingInLayer1", "This happens in layer 1 only."),
        pytest.param(
            "LayersExchanged", "The layers use the weights of layers 1, 0, 2, in this order.", marks=pytest.mark.slow
        ),
        ("HeadsReversed", "The heads are in another order: 2, 1, 0."),
    ],
)
def test_the_outputs_tell_which_layers_and_which_order(name: str, where: str) -> None:
    candidate = BY_NAME[f"port/three/{name}"]
    findings = diagnose(candidate.model, candidate.inputs, {"logits": candidate.values["logits"]})
    assert findings[0].name == candidate.names[0][0]
    assert findings[0].explanation.endswith(where)


def test_an_order_of_rows_is_read_from_the_values() -> None:
    """Ids 7 and 9 are exchanged."""
    model = tiny("masked_lm", "float32")
    table = flat(model.params)["embeddings.word_embeddings.weight"].copy()
    table[[7, 9]] = table[[9, 7]]
    port = Model(model.config, tree({**flat(model.params), "embeddings.word_embeddings.weight": table}), model.head)
    (finding,) = diagnose(model, INPUTS, dict(trace(port, **INPUTS)))
    assert finding.name == "rows-moved-word-embeddings"
    assert (
        finding.explanation == "Rows of the word embeddings are exchanged or shifted: id 7 has row 9, id 9 has row 7."
    )


def test_what_remains_is_said() -> None:
    model = BY_NAME["eager/post"].model
    params = {**flat(model.params), "lm_head.bias": flat(model.params)["lm_head.bias"] * 0}
    edit = {f"encoder.layer.{i}.intermediate": abs for i in range(model.config.num_hidden_layers)}
    port = Model(model.config, tree(params), model.head)
    (finding,) = diagnose(model, INPUTS, dict(trace(port, **INPUTS, edit=edit)))
    rest = " This explains 1 of 3 wrong steps; at encoder.layer.0.intermediate and 1 more something unknown remains."
    assert finding.rest == rest and str(finding).endswith(rest)


def test_a_search_ends_in_time_and_says_so() -> None:
    values = THREE.values
    findings = diagnose(THREE.model, THREE.inputs, {"logits": values["logits"]}, limit=0)
    assert findings == [] and findings.left_out[0] == "mistakes of all layers"
    report = compare(trace(THREE.model, **THREE.inputs), {"logits": values["logits"]}).explained(findings)
    assert "unavailable: the time was up before these were all tried: mistakes of all layers" in str(report)
    with raises(InputError, ValueError, "limit must be a number of seconds, not -1"):
        diagnose(THREE.model, THREE.inputs, values, limit=-1)


def test_a_lower_precision_is_suggested() -> None:
    """If nothing is named, but every step is within the rounding error of a lower precision."""
    model = tiny("encoder", "float32")
    name = "encoder.layer.0.output.dense"
    odd = dict(trace(model, **INPUTS, edit={name: lambda value: value * np.float32(1.001)}))
    findings = diagnose(model, INPUTS, odd)
    assert findings == []
    assert findings.hint.startswith("if the port computes in float16, pass precision='float16'")
    assert diagnose(model, INPUTS, odd, precision="float16").hint == ""


def test_a_declared_precision_is_allowed_for() -> None:
    """A port in bfloat16 with a mistake: the mistake is named, and its precision is not."""
    candidate = BY_NAME["post/bfloat16"]
    assert diagnose(candidate.model, candidate.inputs, candidate.values, precision="bfloat16") == []
    with raises(InputError, ValueError, "unknown precision 'int4': give one of "):
        diagnose(candidate.model, candidate.inputs, candidate.values, precision="int4")


def test_a_suspicious_output_is_searched_too() -> None:
    """An eps that is wrong in the layers only is within the bound of the outputs alone."""
    model = tiny("encoder", "float32", layer_norm_eps=1e-5)
    port = Model(model.config.replace(layer_norm_eps=1e-6), model.params, model.head)
    values = {"last_hidden_state": port(**INPUTS).last_hidden_state}
    report = compare(trace(model, **INPUTS), values)
    assert report.rows[0].verdict in ("suspicious", "wrong")
    assert diagnose(model, INPUTS, values)[0].name == "eps-1e-6"


# --- values that `compare` accepts ------------------------------------------------------------------------------------


def test_positions_may_be_given_once_for_the_batch() -> None:
    """Position and token type embeddings of shape (1, L, D), as `compare` accepts them."""
    model, inputs = tiny("masked_lm", "float32"), {"input_ids": [[0, 7, 9, 11, 2], [0, 8, 9, 12, 2]]}
    port = Model(model.config.replace(hidden_act="gelu_new"), model.params, model.head)
    values = dict(trace(port, **inputs))
    for name in ("position_ids", "position_embeddings", "token_type_embeddings"):
        values[f"embeddings.{name}"] = values[f"embeddings.{name}"][:1]
    (finding,) = diagnose(model, inputs, values)
    assert finding.name == "gelu-tanh" and not finding.left


TWO_ROWS = {"input_ids": [[0, 7, 9, 11, 2], [0, 8, 9, 2, 1]], "attention_mask": [[1] * 5, [1, 1, 1, 1, 0]]}


@pytest.mark.parametrize("broken", slow_but([np.zeros_like, np.sign, np.rint, lambda x: x > 0], np.zeros_like))
def test_a_broken_output_is_not_half_precision(broken: Callable[[np.ndarray], np.ndarray]) -> None:
    """Zeros and small integers are exact in bfloat16 too, and its bound on outputs alone is wide."""
    model = tiny("masked_lm", "float32")
    findings = diagnose(model, TWO_ROWS, {"logits": broken(np.asarray(model(**TWO_ROWS).logits))})
    assert findings == []


def test_a_wrong_output_is_not_excused_by_half_precision() -> None:
    """Twice the logits, which are within the wide bound of bfloat16 on outputs alone."""
    model = tiny("masked_lm", "float32")
    findings = diagnose(model, TWO_ROWS, {"logits": 2 * np.asarray(model(**TWO_ROWS).logits)})
    assert findings == [] and findings.hint == ""


def test_heads_of_a_pruned_layer_may_be_in_another_order() -> None:
    model = prune_heads(tiny("encoder", "float32"), {0: [1, 2]})
    name, heads = "encoder.layer.0.attention.self.value", [2, 1, 0]

    def reordered(value: np.ndarray) -> np.ndarray:
        return value.reshape(*value.shape[:2], 3, -1)[:, :, heads].reshape(value.shape)

    (finding,) = diagnose(model, INPUTS, dict(trace(model, **INPUTS, edit={name: reordered})))
    assert finding.name == "heads-reordered" and "order: 2, 1, 0." in finding.explanation


def test_halves_of_a_single_head_are_not_heads() -> None:
    """Two heads, one of which is pruned: exchanging the halves of the other is not an order of heads."""
    model = prune_heads(
        tiny("encoder", "float32", hidden_size=32, num_attention_heads=2, num_hidden_layers=1), {0: [0]}
    )
    edit = {"encoder.layer.0.attention.self.value": lambda value: np.roll(value, 8, -1)}
    assert names_of(model, dict(trace(model, **INPUTS, edit=edit))) == []


@pytest.mark.parametrize("mask", [np.ones(5), np.ones((2, 5)), np.ones((1, 4)), np.ones((1, 6)), np.zeros((1, 5)), "x"])
def test_the_mask_of_a_packed_port_is_checked(mask: Any) -> None:
    model = tiny("masked_lm", "float32")
    values = {"logits": np.asarray(model(**INPUTS).logits)}
    for call in (
        lambda: diagnose(model, INPUTS, values, packed=mask),
        lambda: compare(trace(model, **INPUTS), values, packed=mask),
    ):
        with raises(InputError, ValueError, "packed must be a mask of shape (1, 5) that marks at least one token"):
            call()


# --- values written in another order of the same shape ----------------------------------------------------------------

SCORES_AND_PARTS = (".query", ".key", ".value", ".scores")


def written_otherwise(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores transposed, and channels of queries, keys and values interleaved by heads."""

    def written(name: str, value: np.ndarray) -> np.ndarray:
        if name.endswith(".scores"):
            return value.swapaxes(2, 3)
        if name.endswith(SCORES_AND_PARTS):
            return value.reshape(*value.shape[:2], 5, 6).swapaxes(2, 3).reshape(value.shape)
        return value

    return {name: written(name, value) for name, value in values.items()}


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new"])
def test_an_order_that_a_port_computes_with_rightly_is_no_mistake(hidden_act: str) -> None:
    model = tiny("masked_lm", "float32")
    port = Model(model.config.replace(hidden_act=hidden_act), model.params, model.head)
    values = written_otherwise(dict(trace(port, **INPUTS)))
    findings = diagnose(model, INPUTS, values)
    assert [finding.name for finding in findings] == (["gelu-tanh"] if hidden_act == "gelu_new" else [])
    assert findings.hint == ""
    assert all(not finding.left for finding in findings)


def test_two_biases_that_are_missing_are_named_from_the_outputs() -> None:
    model = BY_NAME["eager/post"].model
    names = [f"encoder.layer.{i}.attention.self.{part}.bias" for i in range(2) for part in ("query", "value")]
    params = {**flat(model.params), **{name: 0 * flat(model.params)[name] for name in names}}
    values = {"logits": Model(model.config, tree(params), model.head)(**INPUTS).logits}
    assert {finding.name for finding in diagnose(model, INPUTS, values)} == {"bias-missing-query", "bias-missing-value"}


@pytest.mark.parametrize("given", ["input_ids", "inputs_embeds"])
def test_a_candidate_is_judged_by_the_noise_of_compare(given: str) -> None:
    """The two runs of noise are the same, with rounded embeddings too."""
    model = tiny("encoder", "float32")
    ids = np.array([[0, 7, 9, 2]])
    inputs = {given: ids if given == "input_ids" else model.params["embeddings"]["word_embeddings"]["weight"][ids]}
    values = {"last_hidden_state": np.array(model(**inputs)["last_hidden_state"])}
    judged = _candidate(model, inputs, values, None).judged()
    assert judged is not None
    precise = exact(model)
    expected = noises(precise, inputs, run(precise, inputs))["last_hidden_state"]
    assert np.array_equal(judged.noise["last_hidden_state"], expected)
