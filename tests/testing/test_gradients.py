"""Tests of the gradients of every head's loss, by PyTorch's and by finite differences."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from generators.gradient_cases import GRADIENT_CASES, IN_FLOAT32
from support import GOLDEN, TINY, model_of, slow_but, tiny

from minroberta import InputError, Model, init
from minroberta.checkpoints.formats.safetensors import File
from minroberta.testing import compare
from minroberta.testing import gradients as gradients_module
from minroberta.testing.gradients import reference_gradients
from minroberta.weights import flat, shapes, tree

CASE = {case.name: case for case in GRADIENT_CASES}
STORED: dict[tuple[str, str], dict[str, np.ndarray]] = {}
for _key, _gradient in File(GOLDEN / "gradients.safetensors").items():
    _case, _dtype, _name = _key.split("|")
    STORED.setdefault((_case, _dtype), {})[_name] = _gradient

IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
MASK = (IDS != 1).astype(int)
INPUTS = {"input_ids": IDS, "attention_mask": MASK}
LABELS = np.where(MASK == 1, IDS, -100)
WORDS, POSITIONS = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"


@pytest.fixture
def without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the gradients alone: the runs in float32 that the noise is measured by take most of the time."""
    monkeypatch.setattr(gradients_module, "RUNS", 0)


WITHOUT_NOISE = pytest.mark.usefixtures("without_noise")


def of_case(name: str, dtype: str) -> Any:
    return reference_gradients(model_of(CASE[name], dtype), CASE[name].steps[0])


# --- PyTorch --------------------------------------------------------------------------------------------------------


@WITHOUT_NOISE
@pytest.mark.parametrize("name", slow_but(CASE))
def test_as_autograd_has_it(name: str) -> None:
    """The tolerance is the rounding of the stored loss, which for a decoder is float32 even in float64."""
    ours, theirs = of_case(name, "float64"), STORED[name, "float64"]
    digits = 2.0**-24
    for parameter, gradient in theirs.items():
        loss = 4 * digits * abs(gradient).max() if "lm_head.bias" in theirs and CASE[name].head == "causal_lm" else 0
        assert ours[parameter].dtype == np.float64
        np.testing.assert_allclose(ours[parameter], gradient, rtol=digits, atol=1e-14 + loss, err_msg=parameter)
    assert {parameter for parameter in ours if ours[parameter].any()} <= theirs.keys() <= ours.keys()


@pytest.mark.parametrize("name", slow_but(IN_FLOAT32, "loss/masked_lm/post"))
def test_float32_gradients_of_torch_are_right(name: str) -> None:
    """Also those that are zero except for rounding, such as that of the keys' bias, which a softmax ignores."""
    ours, theirs = of_case(name, "float32"), STORED[name, "float32"]
    report = compare(ours, {f"roberta.{parameter}": gradient for parameter, gradient in theirs.items()})
    assert report.ok and not report.missing and not report.unknown
    assert max(row.multiple for row in report.rows) < 8
    bias = next(name for name in ours if name.endswith("key.bias"))
    assert abs(ours[bias]).max() < 1e-15 < ours.noise[bias]


@pytest.mark.parametrize("name", slow_but(IN_FLOAT32, "loss/masked_lm/post"))
def test_a_wrong_gradient_is_found(name: str) -> None:
    ours, theirs = of_case(name, "float32"), STORED[name, "float32"]
    for parameter in theirs:
        if abs(ours[parameter]).max() > 1e-12:
            report = compare(ours, {**theirs, parameter: theirs[parameter] * np.float32(1.001)})
            assert report.first_bad == parameter
            assert [row.name for row in report.rows if not row.ok] == [parameter]


def test_the_noise_is_that_of_float32_and_of_other_orders_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise exceeds one rounding of the result, even without the random factors, which imitate other orders."""
    noise = of_case("loss/masked_lm/post", "float64").noise
    monkeypatch.setattr(gradients_module, "_wiggled", lambda seed: lambda name, value: value)
    own = of_case("loss/masked_lm/post", "float64")
    names = [name for name in own if not name.endswith("bias")]
    assert all(own.noise[name] > 2.0**-24 * abs(own[name]).max() for name in names)
    assert sum(noise[name] > own.noise[name] for name in names) > len(names) / 2


def test_a_bias_has_its_weights_noise() -> None:
    """The gradient of the keys' bias is zero except for rounding, and its noise does not depend on luck."""
    noise = of_case("loss/masked_lm/post", "float64").noise
    for name in noise:
        assert noise[name] >= noise.get(name.replace(".bias", ".weight"), 0)


def test_a_sequence_that_is_masked_throughout() -> None:
    """The mask's lowest number is not multiplied."""
    inputs = {"input_ids": IDS, "attention_mask": [[1] * 6, [0] * 6]}
    noise = reference_gradients(tiny("masked_lm"), inputs, LABELS).noise
    assert all(np.isfinite(moved) for moved in noise.values())


# --- finite differences ---------------------------------------------------------------------------------------------

KINDS = {
    "masked_lm": (tiny("masked_lm"), INPUTS, LABELS),
    "tanh": (tiny("masked_lm", hidden_act="gelu_new", model_type="camembert"), INPUTS, LABELS),
    "causal_lm": (tiny("causal_lm", is_decoder=True, model_type="roberta-prelayernorm"), INPUTS, LABELS),
    "relative": (tiny("token_classification", position_embedding_type="relative_key"), INPUTS, MASK),
    "classes": (tiny("sequence_classification", model_type="xlm-roberta-xl"), INPUTS, [1, 0]),
    "numbers": (tiny("sequence_classification", num_labels=1), INPUTS, [0.5, -1.5]),
    "flags": (tiny("sequence_classification", num_labels=2), INPUTS, [[0.0, 1.0], [1.0, 1.0]]),
    "choices": (tiny("multiple_choice"), {name: x[None] for name, x in INPUTS.items()}, [1]),
    "span": (tiny("question_answering"), {**INPUTS, "start_positions": [1, 2], "end_positions": [3, 2]}, None),
}
"""Models with every kind of loss, their inputs and labels."""


@WITHOUT_NOISE
@pytest.mark.parametrize("kind", slow_but(KINDS, "masked_lm"))
def test_along_a_random_direction(kind: str) -> None:
    """(loss(w + hd) - loss(w - hd)) / 2h on NumPy, for d without the padding's rows; its error is about h²."""
    model, inputs, labels = KINDS[kind]
    gradients, weights = reference_gradients(model, inputs, labels), flat(model.params)
    random = np.random.default_rng(0)
    direction = {name: random.standard_normal(weight.shape) for name, weight in weights.items()}
    for name in (WORDS, POSITIONS):
        direction[name][1] = 0

    def loss(step: float) -> float:
        params = tree({name: weight + step * direction[name] for name, weight in weights.items()})
        answers = {} if labels is None else {"labels": labels}
        return float(Model(model.config, params, model.head)(**inputs, **answers).loss)

    own_name = model.config.family.own_name
    slope = sum((gradients[own_name(name)] * d).sum() for name, d in direction.items())
    assert (loss(1e-5) - loss(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-5, abs=1e-7)


# --- padding, ties, names -------------------------------------------------------------------------------------------


@pytest.mark.slow
@WITHOUT_NOISE
def test_the_rows_of_padding_have_no_gradient() -> None:
    """Padding's rows have no gradient, as with `padding_idx`, although both are looked up here and have an effect."""
    gradients = of_case("config/untied/pre", "float64")
    for name in (WORDS, POSITIONS):
        assert not gradients[name][1].any() and gradients[name].any()
        assert not STORED["config/untied/pre", "float64"][name][1].any()


@pytest.mark.slow
@WITHOUT_NOISE
def test_a_tied_decoder_gives_the_paddings_row_its_part() -> None:
    gradients = of_case("loss/masked_lm/post", "float64")
    assert gradients[WORDS][1].any() and STORED["loss/masked_lm/post", "float64"][WORDS][1].any()
    assert not gradients[POSITIONS][1].any()


@WITHOUT_NOISE
def test_positions_that_are_given() -> None:
    """The padding's row of positions has no gradient, even if a token uses it."""
    positions = [[1, 2, 3, 4, 5, 6], [1, 1, 2, 3, 1, 1]]
    gradients = reference_gradients(tiny("masked_lm"), {**INPUTS, "position_ids": positions}, LABELS)
    assert not gradients[POSITIONS][1].any() and gradients[POSITIONS][2].any()


@pytest.mark.slow
@WITHOUT_NOISE
def test_embeddings_in_place_of_ids() -> None:
    embeds = np.random.default_rng(0).standard_normal((2, 6, 30))
    gradients = reference_gradients(tiny("sequence_classification"), {"inputs_embeds": embeds}, [1, 0])
    assert not gradients[WORDS].any() and gradients["classifier.dense.weight"].any()


@WITHOUT_NOISE
@pytest.mark.parametrize("family", slow_but(["roberta", "roberta-prelayernorm", "xlm-roberta-xl"], "xlm-roberta-xl"))
def test_names_are_the_familys(family: str) -> None:
    model = tiny("masked_lm", model_type=family)
    gradients = reference_gradients(model, INPUTS, LABELS)
    assert set(gradients) == {model.config.family.own_name(name) for name in shapes(model.config, "masked_lm")}
    weights = {model.config.family.own_name(name): weight for name, weight in flat(model.params).items()}
    assert all(gradients[name].shape == weight.shape for name, weight in weights.items())
    assert gradients.noise.keys() == gradients.keys()


@WITHOUT_NOISE
def test_the_order_is_that_of_the_backward_pass() -> None:
    """Gradients are in the order of the backward pass: the first bad one is where it first goes wrong."""
    gradients = reference_gradients(tiny("masked_lm", model_type="roberta-prelayernorm"), INPUTS, LABELS)
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in gradients))
    layer = ["output.dense", "intermediate.dense", "intermediate.LayerNorm", "attention.output.dense"]
    attention = [f"attention.self.{part}" for part in ("value", "key", "query")]
    start = modules.index("encoder.layer.1.output.dense")
    assert modules[:4] == ["lm_head", "lm_head.layer_norm", "lm_head.dense", "LayerNorm"]
    expected = [f"encoder.layer.1.{name}" for name in (*layer, *attention, "attention.LayerNorm")]
    assert modules[start : start + 8] == expected
    assert modules[-1] == "embeddings.word_embeddings"


# --- around it ------------------------------------------------------------------------------------------------------


@WITHOUT_NOISE
def test_a_model_in_float32_on_jax() -> None:
    """The weights of a JAX model are used as they are, the gradient is float64, and JAX's settings stay."""
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    model = init({**TINY, "initializer_range": 0.3}, "masked_lm", xp=jax.numpy)
    gradients = reference_gradients(model, INPUTS, LABELS)
    on_numpy = reference_gradients(init({**TINY, "initializer_range": 0.3}, "masked_lm"), INPUTS, LABELS)
    for name in gradients:
        np.testing.assert_array_equal(gradients[name], on_numpy[name])
    assert jax.numpy.zeros(1, "float64" if jax.config.jax_enable_x64 else None).dtype == "float32"


@pytest.mark.slow
def test_it_is_deterministic() -> None:
    one, other = (reference_gradients(tiny("token_classification"), INPUTS, MASK) for _ in range(2))
    assert one.noise == other.noise
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("head", ["masked_lm", "question_answering", "encoder"])
def test_without_a_loss(head: str) -> None:
    telling = rf"head '{head}' computed no loss to differentiate: add labels to the inputs"
    with pytest.raises(InputError, match=telling):
        reference_gradients(tiny(head), INPUTS)


def test_inputs_are_checked_as_a_calls() -> None:
    with pytest.raises(InputError, match="labels have 53 at"):
        reference_gradients(tiny("masked_lm"), INPUTS, IDS + 40)


WITHOUT_JAX = """
import sys
sys.modules["jax"] = None
import minroberta
from minroberta.testing import reference_gradients
print(len(reference_gradients(minroberta.load(), {"input_ids": [[0, 5, 2]]}, [[-100, 7, -100]])))
"""


def test_without_jax() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX], capture_output=True, text=True, check=True)
    assert done.stdout == "106\n"
