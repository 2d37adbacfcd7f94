"""Names, recording and editing."""

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from support import FLOAT64, TINY, tiny

from minroberta import InputError, NameUnknownError, activations, layers, ops, trace
from minroberta.trace import Node, tap
from minroberta.weights import flat

IDS = [[0, 7, 8, 2]]
ATTENTION = ["self.query", "self.key", "self.value", "self.scores", "self.probs", "self", "output.dense"]
FEED_FORWARD = ["intermediate.dense", "intermediate", "output.dense"]


def layer(index: int, names: list[str]) -> list[str]:
    return [f"encoder.layer.{index}.{name}" if name else f"encoder.layer.{index}" for name in names]


def assert_near(one: np.ndarray, other: np.ndarray) -> None:
    """Equal up to rounding in float64: an unrecorded call sums attention in another order."""
    np.testing.assert_allclose(one, other, rtol=0, atol=FLOAT64)


def test_the_names_in_the_order_of_computation() -> None:
    """Post-LN: each sum before its norm."""
    embeddings = ["word_embeddings", "token_type_embeddings", "position_ids", "position_embeddings", "sum", "LayerNorm"]
    attention = [f"attention.{name}" for name in [*ATTENTION, "output.sum", "output.LayerNorm", "output"]]
    names = [*attention, "attention", *FEED_FORWARD, "output.sum", "output.LayerNorm", "output", ""]
    head = ["lm_head.dense", "lm_head.gelu", "lm_head.layer_norm", "lm_head", "logits"]
    expected = [*(f"embeddings.{name}" for name in embeddings), "embeddings", *layer(0, names), *layer(1, names)]
    assert list(trace(tiny("masked_lm"), input_ids=IDS)) == [*expected, "encoder", *head]


@pytest.mark.parametrize(
    ("model_type", "before_attention", "before_feed_forward", "last"),
    [
        ("roberta-prelayernorm", "attention.LayerNorm", "intermediate.LayerNorm", ["encoder", "LayerNorm"]),
        ("xlm-roberta-xl", "attention.self_attn_layer_norm", "LayerNorm", ["encoder.LayerNorm", "encoder"]),
    ],
)
def test_a_trace_has_the_family_s_names(
    model_type: str, before_attention: str, before_feed_forward: str, last: list[str]
) -> None:
    """Pre-LN: each norm before the part that it normalises for."""
    attention = [f"attention.{name}" for name in [*ATTENTION, "output"]]
    names = [before_attention, *attention, "attention", before_feed_forward, *FEED_FORWARD, "output", ""]
    made = list(trace(tiny("token_classification", model_type=model_type), input_ids=IDS))
    start = made.index("encoder.layer.0." + before_attention)
    assert made[start:] == [*layer(0, names), *layer(1, names), *last, "classifier", "logits"]


def test_values_have_their_module_s_full_shape() -> None:
    values = trace(tiny(), input_ids=IDS * 2)
    for name in ("word_embeddings", "token_type_embeddings", "position_embeddings"):
        assert values[f"embeddings.{name}"].shape == (2, 4, TINY["hidden_size"])
    assert values["encoder.layer.0.attention.self.probs"].shape == (2, 5, 4, 4)


def test_a_trace_holds_model_inputs_and_output() -> None:
    model = tiny()
    values = trace(model, input_ids=IDS)
    assert values.model is model
    assert values.inputs == {"input_ids": IDS}
    np.testing.assert_array_equal(values.output.last_hidden_state, values["encoder"])
    assert_near(values.output.last_hidden_state, model(IDS).last_hidden_state)
    assert repr(values).splitlines()[0].split() == ["embeddings.word_embeddings", "float64", "(1,", "4,", "30)"]


def test_a_chunked_model_is_traced_whole() -> None:
    values = trace(tiny(chunk_size_feed_forward=2), input_ids=IDS)
    assert values["encoder.layer.0.intermediate"].shape == (1, 4, TINY["intermediate_size"])


# --- edits ----------------------------------------------------------------------------------------------------------


def test_a_run_continues_with_an_edited_value() -> None:
    model = tiny()
    clean = trace(model, input_ids=IDS)
    edited = trace(model, edit={"encoder.layer.0.output": lambda x: x * 0}, input_ids=IDS)
    names = list(clean)
    place = names.index("encoder.layer.0.output")
    for name in names[:place]:
        np.testing.assert_array_equal(edited[name], clean[name])
    assert not edited["encoder.layer.0.output"].any()
    assert not edited["encoder.layer.0"].any()
    assert np.abs(edited["encoder"] - clean["encoder"]).max() > 0.1


@pytest.mark.parametrize("name", [n for n in trace(tiny("masked_lm"), input_ids=IDS) if n != "embeddings.position_ids"])
def test_every_value_has_an_effect(name: str) -> None:
    """An edit of any named value changes the logits: no value is an unused copy."""
    model = tiny("masked_lm")
    bump = np.random.RandomState(0)
    edited = trace(model, edit={name: lambda x: x + bump.standard_normal(x.shape)}, input_ids=IDS)
    assert np.abs(edited.output.logits - model(IDS).logits).max() > 1e-3


def test_positions_may_be_edited() -> None:
    from_zero = trace(tiny(), edit={"embeddings.position_ids": lambda ids: ids - 2}, input_ids=IDS).output
    assert_near(from_zero[0], tiny()(IDS, position_ids=[[0, 1, 2, 3]])[0])


def test_an_edit_by_a_family_s_name() -> None:
    model = tiny(model_type="roberta-prelayernorm")
    edit = {"encoder.layer.0.attention.LayerNorm": np.zeros_like}
    assert not trace(model, edit=edit, input_ids=IDS)["encoder.layer.0.attention.LayerNorm"].any()
    with pytest.raises(NameUnknownError, match=r"encoder\.layer\.0\.attention\.output\.LayerNorm"):
        trace(model, edit={"encoder.layer.0.attention.output.LayerNorm": np.zeros_like}, input_ids=IDS)


def test_an_edit_of_an_unknown_name_suggests_similar_ones() -> None:
    with pytest.raises(
        NameUnknownError, match=r"no value named 'encoder\.layer\.0\.outputs': did you mean encoder\.layer\.0\.output"
    ):
        trace(tiny(), edit={"encoder.layer.0.outputs": lambda x: x}, input_ids=IDS)


@pytest.mark.parametrize("function", [lambda x: x[:, :1], lambda x: x.astype(np.float32), lambda _: 3])
def test_an_edit_keeps_shape_and_dtype(function: Any) -> None:
    with pytest.raises(InputError, match="the edit of encoder returned"):
        trace(tiny(), edit={"encoder": function}, input_ids=IDS)


def test_an_edit_may_run_a_model() -> None:
    """Activation patching takes one line; the inner run is neither recorded nor edited."""
    model, name = tiny(), "encoder.layer.0.output"
    patched = trace(
        model, IDS, edit={name: lambda _: model([[0, 9, 8, 2]], output_hidden_states=True).hidden_states[1]}
    )
    other = trace(model, [[0, 9, 8, 2]])
    assert_near(patched["encoder"], other["encoder"])
    assert np.abs(patched["embeddings"] - other["embeddings"]).max() > 0.1


@pytest.mark.parametrize("edit", [{"encoder": np.ones(3)}, [1], lambda x: x])
def test_edits_are_functions_by_name(edit: Any) -> None:
    with pytest.raises(InputError, match="edit must be a dict from names to functions"):
        trace(tiny(), IDS, edit=edit)


def test_something_else_than_a_model() -> None:
    with pytest.raises(InputError, match=r"trace takes a Model, not str: load one with minroberta\.load\(name\)"):
        trace("roberta-base", IDS)


def test_values_without_a_module() -> None:
    """Values that no hook of the reference shows are checked by what follows from them."""
    model = tiny("masked_lm")
    t = trace(model, IDS)
    layer, weights = "encoder.layer.1", flat(model.params)
    norm = {name: weights[f"{layer}.output.LayerNorm.{name}"] for name in ("weight", "bias")}
    total = t[f"{layer}.output.dense"] + t[f"{layer}.attention"]
    words, types, places = (t[f"embeddings.{name}_embeddings"] for name in ("word", "token_type", "position"))
    np.testing.assert_array_equal(t[f"{layer}.output.sum"], total)
    np.testing.assert_array_equal(t[f"{layer}.output"], ops.layer_norm(total, **norm, eps=1e-5))
    np.testing.assert_array_equal(t[f"{layer}.attention.self.probs"], ops.softmax(t[f"{layer}.attention.self.scores"]))
    np.testing.assert_array_equal(t["lm_head.gelu"], activations.gelu(t["lm_head.dense"]))
    np.testing.assert_array_equal(t["embeddings.sum"], words + types + places)
    np.testing.assert_array_equal(t["embeddings.position_ids"], [[2, 3, 4, 5]])
    classified = trace(tiny("sequence_classification"), IDS)
    np.testing.assert_array_equal(classified["classifier.tanh"], np.tanh(classified["classifier.dense"]))


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="no value named 'nonsense'"):
        trace(tiny(), input_ids=IDS)["nonsense"]


# --- recording ------------------------------------------------------------------------------------------------------


def test_recording_ends_with_the_run_and_stays_in_its_thread() -> None:
    """Nothing is recorded after an error in the run, or in another thread."""
    value = np.ones(2)
    with pytest.raises(ZeroDivisionError):
        trace(tiny(), edit={"embeddings": lambda x: x / (1 // 0)}, input_ids=IDS)
    assert tap("name", value) is value
    seen: list[Any] = []

    def look(x: Any) -> Any:
        thread = threading.Thread(target=lambda: seen.append(tap("elsewhere", value)))
        thread.start()
        thread.join()
        return x

    assert "elsewhere" not in trace(tiny(), edit={"embeddings": look}, input_ids=IDS)
    assert seen[0] is value


def test_a_node_knows_its_name() -> None:
    tree = {"a": [{"b": {"weight": 1}}]}
    node = Node(tree).a[0].b
    assert (node.path, node.tree, node.weight, "bias" in node) == ("a.0.b", {"weight": 1}, 1, False)
    with pytest.raises(NameUnknownError, match=r"no a\.0\.b\.bias; this node has weight"):
        node.bias  # noqa: B018


def test_an_edit_may_compute_a_layer_by_hand() -> None:
    """Its values have the names of the run that goes on, and replace none of that run's outputs."""
    model = tiny("causal_lm", is_decoder=True)

    def compute_another(x: Any) -> Any:
        layers.encoder_layer(2 * x, model.p.encoder.layer[0], model.config)
        return x

    inputs = {"input_ids": [[7, 8, 9]], "output_hidden_states": True, "output_attentions": True}
    edited, plain = trace(model, **inputs, edit={"encoder.layer.1": compute_another}), trace(model, **inputs)
    for name in ("hidden_states", "attentions"):
        for one, other in zip(edited.output[name], plain.output[name], strict=True):
            assert np.array_equal(one, other)
    for one, other in zip(edited.output.past_key_values[0], plain.output.past_key_values[0], strict=True):
        assert np.array_equal(one, other)


def test_a_node_is_a_tree_to_walk() -> None:
    node = tiny().p.encoder.layer
    assert [layer.path for layer in node] == ["encoder.layer.0", "encoder.layer.1"]
    assert not hasattr(node, "__array__")
    assert copy.copy(node).path == pickle.loads(pickle.dumps(node)).path == "encoder.layer"
    with pytest.raises(NameUnknownError, match=r"the parameters have no encoder\.layer\.-1"):
        node[-1]
