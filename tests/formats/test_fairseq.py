"""fairseq's checkpoints: fairseq's outputs again, weights before arguments, and a message for every contradiction."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import CHECKPOINTS, owner, raises

import minroberta
from minroberta import Config, ConfigError, Error, WeightsError, weights
from minroberta.checkpoints.arrays import Mapped
from minroberta.checkpoints.formats import safetensors
from minroberta.checkpoints.formats.fairseq import Checkpoint, is_fairseq
from minroberta.checkpoints.formats.pytorch import File, Namespace, Tensor

FILES = {path.parent.name: path for path in sorted(CHECKPOINTS.glob("*/model.pt"))}
SIZES = {
    "vocab_size": 65,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 22,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "tie_word_embeddings": True,
}
ROBERTA = {**SIZES, "model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}
CLASSIFIER = {**ROBERTA, "architectures": ["RobertaForSequenceClassification"], "num_labels": 3}
PRE_LN = {**SIZES, "model_type": "roberta-prelayernorm", "architectures": ["RobertaPreLayerNormForMaskedLM"]}
XL = {"model_type": "xlm-roberta-xl", "architectures": ["XLMRobertaXLForMaskedLM"], "tie_word_embeddings": False}
CONFIGS = {
    "fairseq": ROBERTA,
    "fairseq-args": ROBERTA,
    "fairseq-classifier": CLASSIFIER,
    "fairseq-2019": CLASSIFIER,
    "fairseq-normalize-before": PRE_LN,
    "fairseq-prenorm": {**SIZES, **XL},
    "dinky-deepspeed": PRE_LN,
}

ROUNDING = 16 * np.finfo("f4").eps
"""A part of the largest output: both round, some ten times on the way; 3 eps were seen."""


def expected(name: str) -> safetensors.File:
    return safetensors.File(CHECKPOINTS / name / "expected.safetensors")


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.abs(ours - theirs).max() <= ROUNDING * np.abs(theirs).max())


def changed(name: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Checkpoint:
    """A checkpoint after a change of its arguments and its weights."""
    return Checkpoint(changed_file(name, change))


def changed_file(name: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> File:
    file = File(FILES[name])
    content = file.content
    change((content["args"] or content["cfg"]["model"]).values, content["model"])
    return file


def with_arguments(name: str = "fairseq", **arguments: Any) -> Checkpoint:
    return changed(name, lambda given, _: given.update(arguments))


def without(name: str, *arguments: str) -> Checkpoint:
    return changed(name, lambda given, _: [given.pop(argument) for argument in arguments] and None)


def load(checkpoint: Checkpoint, head: str | None = None) -> minroberta.Model:
    """The model that `minroberta.load` makes of the arrays of a file."""
    config = Config.from_dict(checkpoint.config)
    head = head or config.head
    arrays = weights.load_arrays(checkpoint, config, head, missing="error", seed=0, check=True)
    return minroberta.Model(config, weights.tree(weights.move(arrays, "float32", np)), head)


# --- fairseq's outputs ----------------------------------------------------------------------------------------------


def test_every_checkpoint_is_here() -> None:
    assert FILES.keys() == CONFIGS.keys()


@pytest.mark.parametrize("name", FILES)
def test_outputs_are_fairseqs(name: str) -> None:
    """Outputs agree at tokens; fairseq sets padding's states to zero."""
    wanted = expected(name)
    ids, mask = wanted["input_ids"], wanted["attention_mask"]
    real = mask == 1
    assert 0 < real.sum() < real.size
    features = minroberta.load(FILES[name], head="encoder")(ids, mask).last_hidden_state
    assert close(features[real], wanted["features"][real])
    logits = minroberta.load(FILES[name])(ids, mask).logits
    assert logits.shape == wanted["logits"].shape
    place = real if logits.ndim == 3 else slice(None)
    assert close(logits[place], wanted["logits"][place])


@pytest.mark.parametrize("name", FILES)
def test_the_configuration(name: str) -> None:
    assert Checkpoint(File(FILES[name])).config == CONFIGS[name]


@pytest.mark.parametrize("name", FILES)
def test_a_file_needs_no_other(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(FILES[name], tmp_path / "anything"))
    model = minroberta.load(path)
    assert model.config == Config.from_dict(CONFIGS[name])
    assert model.tokenizer is None


@pytest.mark.parametrize("name", FILES)
def test_a_saved_model_has_the_same_outputs(tmp_path: Path, name: str) -> None:
    model = minroberta.load(FILES[name])
    model.save(tmp_path / "saved")
    again = minroberta.load(tmp_path / "saved")
    ids = expected(name)["input_ids"]
    assert np.array_equal(again(ids).logits, model(ids).logits)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == CONFIGS[name]["model_type"]


@pytest.mark.parametrize("name", FILES)
def test_names_are_hugging_faces(name: str) -> None:
    """All of the model's weights have Hugging Face's names; those for training or a faster kernel are left out."""
    checkpoint = Checkpoint(File(FILES[name]))
    config = Config.from_dict(checkpoint.config)
    heads = ["masked_lm", "sequence_classification"] if config.head == "sequence_classification" else ["masked_lm"]
    wanted = {config.family.own_name(name) for head in heads for name in weights.shapes(config, head)}
    assert set(checkpoint) == wanted | {"lm_head.decoder.weight"}
    assert len(checkpoint) == len(list(checkpoint))


def test_copies_for_a_faster_kernel_are_not_taken() -> None:
    model = File(FILES["fairseq"]).content["model"]
    assert model["encoder.sentence_encoder.layers.0.in_proj_weight"].shape == (36, 12)
    stale = {name: Tensor(x.storage, 0, (1,), (1,)) for name, x in model.items() if "fc1_" in name or "_proj_" in name}
    assert len(stale) == 12
    assert load(changed("fairseq", lambda _, model: model.update(stale)))


@pytest.mark.parametrize("name", ["fairseq", "fairseq-2019", "dinky-deepspeed"])
def test_weights_are_mapped_from_the_file(name: str) -> None:
    checkpoint = Checkpoint(File(FILES[name]))
    assert checkpoint.path == FILES[name]
    assert checkpoint.size == FILES[name].stat().st_size
    made = {"embeddings.token_type_embeddings.weight"}
    if name != "fairseq-2019":  # its arrays are not aligned
        assert all(isinstance(owner(array), Mapped) for own, array in checkpoint.items() if own not in made)
    assert not checkpoint["embeddings.token_type_embeddings.weight"].any()
    assert checkpoint.stored("embeddings.token_type_embeddings.weight") == ("float32", (1, 12))


@pytest.mark.parametrize(
    ("name", "other", "whole"),
    [
        ("fairseq-2019", "fairseq-classifier", "decoder.sentence_encoder.layers.1.self_attn.in_proj_weight"),
        ("dinky-deepspeed", "fairseq-normalize-before", "encoder.sentence_encoder.layers.1.attn_qkvw"),
    ],
)
def test_other_names_hold_the_same(name: str, other: str, whole: str) -> None:
    first, second = Checkpoint(File(FILES[name])), Checkpoint(File(FILES[other]))
    assert set(first) == set(second)
    assert all(np.array_equal(first[weight], second[weight]) for weight in first)
    assert whole in File(FILES[name]).content["model"]


# --- heads ----------------------------------------------------------------------------------------------------------


def heads(*names: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Give the one classification head of a file other names."""

    def change(_: dict[str, Any], model: dict[str, Any]) -> None:
        old = {name: model.pop(name) for name in list(model) if name.startswith("classification_heads")}
        for head in names:
            model.update({name.replace("sentence_classification_head", head): x for name, x in old.items()})

    return change


@pytest.mark.parametrize(
    "names", [["mnli"], ["sentence_classification_head", "mnli"], ["a", "sentence_classification_head", "z"], ["é [x]"]]
)
def test_the_head_of_the_default_name_or_the_only_one(names: list[str]) -> None:
    checkpoint = changed("fairseq-classifier", heads(*names))
    assert checkpoint.config == CLASSIFIER
    assert checkpoint["classifier.out_proj.weight"].shape == (3, 12)


def test_one_of_several_heads_is_not_guessed() -> None:
    with pytest.warns(UserWarning, match=r"2 classification heads \['mnli', 'rte'\] are left out: none is named"):
        checkpoint = changed("fairseq-classifier", heads("rte", "mnli"))
    assert checkpoint.config == ROBERTA
    assert load(checkpoint).head == "masked_lm"


def test_thousands_of_heads() -> None:
    with pytest.warns(UserWarning, match="3000 classification heads") as caught:
        changed("fairseq-classifier", heads(*(f"{i:04}" * 100 for i in range(3000))))
    assert len(str(caught[0].message)) < 700


def test_a_regression() -> None:
    assert with_arguments("fairseq-classifier", regression_target=True).config["problem_type"] == "regression"
    file = File(FILES["fairseq-classifier"])
    file.content["cfg"]["model"].values.pop("regression_target")
    file.content["cfg"]["criterion"]["regression_target"] = True
    assert Checkpoint(file).config["problem_type"] == "regression"


def test_an_encoder_alone() -> None:
    def change(_: dict[str, Any], model: dict[str, Any]) -> None:
        for name in [name for name in model if "lm_head" in name]:
            del model[name]

    checkpoint = changed("fairseq", change)
    assert checkpoint.config["architectures"] == ["RobertaModel"]
    assert load(checkpoint).head == "encoder"


@pytest.mark.parametrize(
    ("given", "named"), [("gelu_accurate", "gelu_new"), ("gelu_fast", "gelu_new"), ("relu", "relu"), ("tanh", "tanh")]
)
def test_another_activation_leaves_the_lm_head_out(given: str, named: str) -> None:
    """Hugging Face's LM head always has the exact GELU, fairseq's has the layers' activation."""
    with pytest.warns(
        UserWarning, match=f"the lm_head is left out: its activation_fn is '{given}', but Hugging Face's is always gelu"
    ):
        checkpoint = with_arguments(activation_fn=given)
    assert checkpoint.config["hidden_act"] == named
    assert checkpoint.config["architectures"] == ["RobertaModel"]
    assert not any(name.startswith("lm_head") for name in checkpoint)
    assert load(checkpoint).config.hidden_act == named


def test_another_activation_leaves_the_classifier_out() -> None:
    with pytest.warns(UserWarning, match="the classifier is left out: its pooler_activation_fn is 'relu', but"):
        checkpoint = with_arguments("fairseq-classifier", pooler_activation_fn="relu")
    assert checkpoint.config == ROBERTA


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "count"),
    [("roberta", 12), ("roberta_base", 12), ("roberta_prenorm", 12), ("roberta_large", 16), ("xlm", 16)],
)
@pytest.mark.parametrize("prefix", ["", "deepspeed_"])
def test_the_arch_gives_the_number_of_heads_if_no_argument_does(arch: str, count: int, prefix: str) -> None:
    def change(given: dict[str, Any], _: dict[str, Any]) -> None:
        del given["encoder_attention_heads"]
        given["arch"] = prefix + arch

    assert changed("fairseq", change).config["num_attention_heads"] == count


@pytest.mark.parametrize("arch", ["bart_large", None, 7, ["roberta"], "", "roberta_base " * 10_000])
def test_an_unknown_arch(arch: Any) -> None:
    def change(given: dict[str, Any], _: dict[str, Any]) -> None:
        del given["encoder_attention_heads"]
        given["arch"] = arch

    with raises(ConfigError, ValueError, "lack encoder_attention_heads", "roberta_large", repr(arch)[:8]):
        changed("fairseq", change)


def test_an_unknown_arch_with_its_number_of_heads() -> None:
    assert with_arguments(arch="roberta_mine").config == ROBERTA


def test_a_configuration_of_dicts() -> None:
    file = File(FILES["fairseq"])
    file.content["cfg"]["model"] = file.content["cfg"]["model"].values
    assert Checkpoint(file).config == ROBERTA
    del file.content["cfg"]["model"]["arch"], file.content["cfg"]["model"]["encoder_attention_heads"]
    file.content["cfg"]["model"]["_name"] = "roberta_large"
    assert Checkpoint(file).config["num_attention_heads"] == 16


def test_a_hidden_size_that_no_array_shows() -> None:
    """The zeros in the place of token types are not made to learn their shape."""

    def change(given: dict[str, Any], model: dict[str, Any]) -> None:
        del given["encoder_embed_dim"]
        words = model["encoder.sentence_encoder.embed_tokens.weight"]
        model["encoder.sentence_encoder.embed_tokens.weight"] = words._replace(shape=(0, 10**14))

    name = "embeddings.token_type_embeddings.weight"
    assert changed("fairseq", change).stored(name) == ("float32", (1, 10**14))


def test_few_arguments_are_enough() -> None:
    file = File(FILES["fairseq"])
    file.content["cfg"] = None
    file.content["args"] = Namespace()
    file.content["args"].values = {"encoder_attention_heads": 3}
    assert Checkpoint(file).config == ROBERTA


@pytest.mark.parametrize("part", [None, 7, [], "cfg", {"model": 7}, {"model": None, "criterion": []}])
def test_invalid_arguments(part: Any) -> None:
    file = File(FILES["fairseq"])
    file.content["cfg"] = part
    with raises(ConfigError, ValueError, "model.pt: the arguments lack encoder_attention_heads"):
        Checkpoint(file)


@pytest.mark.parametrize(
    ("argument", "shown"),
    [("encoder_embed_dim", 12), ("encoder_ffn_embed_dim", 20), ("encoder_layers", 2), ("max_positions", 20)],
)
@pytest.mark.parametrize("lie", [13, -1, 0, 2.5, "12", [2], {"a": 1}, 2**62, float("nan")])
def test_arguments_that_the_weights_contradict(argument: str, shown: int, lie: Any) -> None:
    with raises(
        WeightsError, ValueError, "model.pt: ", f"{argument} is {lie!r} in the arguments, but {shown} in the weights"
    ):
        with_arguments(**{argument: lie})


@pytest.mark.parametrize("lie", [5, 0, -3, "3", 3.0, True, [3], 2**62])
def test_invalid_numbers_of_heads(lie: Any) -> None:
    with raises(ConfigError, ValueError, "num_attention_heads"):
        load(with_arguments(encoder_attention_heads=lie))


@pytest.mark.parametrize("lie", ["swish", "relu_squared", "", 7, None, ["gelu"]])
def test_an_unknown_activation(lie: Any) -> None:
    with (
        pytest.warns(UserWarning, match="activation_fn is"),
        raises(ConfigError, ValueError, "the supported ones are gelu, gelu_acc"),
    ):
        with_arguments(activation_fn=lie)


def test_norms_that_the_arguments_contradict() -> None:
    with raises(WeightsError, ValueError, "encoder_normalize_before is True", "but the weights lack that norm"):
        with_arguments(encoder_normalize_before=True)
    with raises(WeightsError, ValueError, "encoder_normalize_before is False", "but the weights have that norm"):
        with_arguments("fairseq-prenorm", encoder_normalize_before=False)
    with raises(WeightsError, ValueError, "layernorm_embedding is True", "but the weights lack that norm"):
        with_arguments("fairseq-prenorm", layernorm_embedding=True)


def test_until_2020_an_argument_meant_another_norm() -> None:
    """`encoder_normalize_before` gave the embeddings their norm, and the layers were post-LN all the same."""
    assert with_arguments("fairseq-2019", encoder_normalize_before=True).config == CLASSIFIER


@pytest.mark.parametrize("name", ["fairseq", "fairseq-normalize-before", "fairseq-prenorm"])
def test_weights_show_the_order_of_norms_without_an_argument(name: str) -> None:
    assert without(name, "encoder_normalize_before", "layernorm_embedding").config == CONFIGS[name]


# --- weights --------------------------------------------------------------------------------------------------------

BODY = "encoder.sentence_encoder."


def renamed(old: str, new: str, keep: bool = False) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(_: dict[str, Any], model: dict[str, Any]) -> None:
        found = {name: x for name, x in model.items() if old in name}
        assert found
        for name, x in found.items():
            model[name.replace(old, new)] = x
            if not keep:
                del model[name]

    return change


def reshaped(name: str, *shape: int) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Claim another shape of an array, which its storage can hold."""

    def change(_: dict[str, Any], model: dict[str, Any]) -> None:
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
        model[name] = Tensor(model[name].storage, 0, shape, tuple(strides))

    return change


@pytest.mark.parametrize(
    "part",
    [
        "encoder.sentence_encoder.embed_scale",
        "encoder.sentence_encoder.segment_embeddings.weight",
        "encoder.sentence_encoder.layers.0.self_attn.bias_k",
        "encoder.sentence_encoder.layers.0.self_attn.compress_k.weight",
        "encoder.sentence_encoder.layers.00.fc1.weight",
        "encoder.sentence_encoder.layers.-1.fc1.weight",
        "encoder.sentence_encoder.layers.١.fc1.weight",
        "encoder.sentence_encoder.layers.99999999999999999999.fc1.weight",
        "encoder.layers.0.fc1.weight",
        "decoder.embed_tokens.weight",
        "encoder.\n\x00\x1b[0m",
        "encoder." + "a" * 100_000,
    ],
)
def test_a_model_of_another_kind(part: str) -> None:
    with raises(WeightsError, ValueError, "model.pt: ", repr(part[:200]), "is not a weight of fairseq's RoBERTa"):
        changed("fairseq", lambda _, model: model.update({part: model[f"{BODY}layernorm_embedding.bias"]}))


def test_names_outside_of_the_encoder_are_left_out() -> None:
    def change(_: dict[str, Any], model: dict[str, Any]) -> None:
        model.update(dict.fromkeys(("x", "encoder._ema", "encoder.regression_head.0.bias"), model[f"{BODY}version"]))

    assert set(changed("fairseq", change)) == set(Checkpoint(File(FILES["fairseq"])))


def test_other_values_and_other_keys() -> None:
    def change(_: dict[str, Any], model: dict[str, Any]) -> None:
        model.update({7: model[f"{BODY}version"], b"encoder.x": 7, "encoder.x": 7, f"{BODY}layers.9.fc1.bias": [7]})
        model["classification_heads.sentence_classification_head.out_proj.weight"] = 7

    with raises(WeightsError, ValueError, "lack fairseq's array for classifier.out_proj.weight"):
        changed("fairseq-classifier", change)


@pytest.mark.parametrize("name", ["embed_tokens.weight", "embed_positions.weight", "layers.0.fc1.weight"])
def test_the_configuration_needs_these(name: str) -> None:
    with raises(WeightsError, ValueError, "model.pt: the weights lack fairseq's array for e"):
        changed("fairseq", lambda _, model: model.pop(BODY + name))


def needed(name: str) -> list[str]:
    """The file's names of all arrays that its model needs."""
    config = Config.from_dict(CONFIGS[name])
    others = "classification_heads" if config.head == "masked_lm" else "lm_head"
    others += r"|lm_head\.weight$" if config.tie_word_embeddings else ""
    copies = r"layers\.\d\.(in_proj|out_proj|fc1|fc2)_|version"
    return [own for own in File(FILES[name]).content["model"] if not re.search(f"{others}|{copies}", own)]


@pytest.mark.parametrize("name", FILES)
def test_any_missing_weight_is_a_sentence(name: str) -> None:
    for own in needed(name):
        with pytest.raises((WeightsError, ConfigError)):
            load(changed(name, lambda _, model, own=own: model.pop(own)))


@pytest.mark.parametrize("name", [pytest.param("fairseq", marks=pytest.mark.slow), "fairseq-2019", "dinky-deepspeed"])
def test_any_other_shape_is_a_sentence(name: str) -> None:
    for own in needed(name):
        for shape in ((2, 2, 2), (1, 5), (7,), ()):
            with pytest.raises((WeightsError, ConfigError)):
                load(changed(name, reshaped(own, *shape)))


def test_a_missing_layer() -> None:
    with raises(WeightsError, ValueError, "model.pt: the weights have layers up to layer 7, but lack layer 1"):
        changed("fairseq", renamed("layers.1.", "layers.7."))


def test_thousands_of_layers() -> None:
    def change(given: dict[str, Any], model: dict[str, Any]) -> None:
        first = {name: x for name, x in model.items() if ".layers.0." in name}
        for i in range(2000):
            model.update({name.replace(".0.", f".{i}."): x for name, x in first.items()})
        given["encoder_layers"] = 2000

    start = time.perf_counter()
    with raises(ConfigError, ValueError, "num_hidden_layers must be an integer from 1 to 1000, not 2000"):
        load(changed("fairseq", change))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("fairseq", "encoder.sentence", "decoder.sentence"),
        ("fairseq", "layernorm_embedding", "emb_layer_norm"),
        ("fairseq", "self_attn.q_proj.weight", "self_attn.in_proj_weight"),
        ("dinky-deepspeed", "inter_b", "fc1.bias"),
    ],
)
def test_two_names_of_one_weight(name: str, old: str, new: str) -> None:
    with raises(WeightsError, ValueError, "model.pt: ", " is a second array for "):
        changed(name, renamed(old, new, keep=True))


WHOLE = "decoder.sentence_encoder.layers.1.self_attn.in_proj_weight"


@pytest.mark.parametrize("shape", [(), (35, 12), (1,)])
def test_queries_keys_and_values_that_do_not_divide_into_thirds(shape: tuple[int, ...]) -> None:
    with raises(WeightsError, ValueError, f"{WHOLE} has shape {shape}: it cannot be split into queries"):
        changed("fairseq-2019", reshaped(WHOLE, *shape))


@pytest.mark.parametrize("shape", [(0,), (36,), (36, 12, 1), (12, 36), (33, 12)])
def test_queries_keys_and_values_in_another_shape(shape: tuple[int, ...]) -> None:
    with raises(WeightsError, ValueError, "encoder.layer.1.attention.self.query.weight has shape"):
        load(changed("fairseq-2019", reshaped(WHOLE, *shape)))


@pytest.mark.parametrize("shape", [(), (65,), (65, 3, 4)])
def test_embeddings_of_other_axes(shape: tuple[int, ...]) -> None:
    with raises(WeightsError, ValueError, "embeddings.word_embeddings.weight has shape", "it must have two axes"):
        changed("fairseq", reshaped(f"{BODY}embed_tokens.weight", *shape))


def test_a_large_shape_of_a_single_number() -> None:
    """Strides of 0 give one number any shape, which would take memory when copied."""

    def change(given: dict[str, Any], model: dict[str, Any]) -> None:
        name = f"{BODY}embed_positions.weight"
        model[name] = Tensor(model[name].storage, 0, (22, 2**31 - 1), (0, 0))

    with pytest.raises(WeightsError):
        load(changed("fairseq", change))


# --- other hostile files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        ({"model": {}, "args": None}, True),
        ({"model": {}, "cfg": {}}, True),
        ({"model": {}}, False),
        ({"model": 7, "args": None}, False),
        ({"args": None, "cfg": None}, False),
        ({"encoder.sentence_encoder.version": 1}, False),
        ([], False),
        (None, False),
    ],
)
def test_fairseqs_files_are_recognised(content: Any, is_one: bool) -> None:
    assert is_fairseq(content) is is_one


def test_a_state_without_a_model() -> None:
    file = File(FILES["fairseq"])
    file.content["model"] = {"epoch": 3}
    text = "model.pt: the weights lack fairseq's array for embeddings.word_embeddings.weight"
    with raises(WeightsError, ValueError, text):
        Checkpoint(file)
    file.content["model"] = {"blocks.0.weight": File(FILES["fairseq"]).content["model"][f"{BODY}version"]}
    with raises(WeightsError, ValueError, text):
        Checkpoint(file)


def laughs() -> list[Any]:
    """A list of shared lists, small in memory, and endless as text."""
    result: list[Any] = ["ha"]
    for _ in range(60):
        result = [result, result]
    return result


@pytest.mark.parametrize(
    "argument", ["arch", "encoder_attention_heads", "encoder_layers", "activation_fn", "encoder_normalize_before"]
)
@pytest.mark.filterwarnings("ignore:the lm_head is left out")
def test_arguments_of_endless_text(argument: str) -> None:
    def change(given: dict[str, Any], _: dict[str, Any]) -> None:
        given.pop("encoder_attention_heads")
        given[argument] = laughs()
        given["itself"] = given

    start = time.perf_counter()
    with pytest.raises((WeightsError, ConfigError)) as caught:
        load(changed("fairseq", change))
    assert len(str(caught.value)) < 700
    assert time.perf_counter() - start < 5


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 70), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.integers(), max_size=2), st.sampled_from(["gelu", "relu", "roberta_large", "tanh"]),
)  # fmt: skip
ARGUMENTS = ("arch", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads",
             "max_positions", "activation_fn", "pooler_activation_fn", "encoder_normalize_before", "regression_target",
             "untie_weights_roberta")  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.data())
def test_any_file_gives_a_model_or_an_error(data: st.DataObject) -> None:
    """Any arguments, and any names and shapes of weights, give a model or an error."""
    file = File(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    content = file.content
    arguments = (content["args"] or content["cfg"]["model"]).values
    arguments.update(data.draw(st.dictionaries(st.sampled_from(ARGUMENTS), ODD, max_size=2)))
    model = content["model"]
    for name in data.draw(st.lists(st.sampled_from(sorted(model)), max_size=2, unique=True)):
        tensor = model.pop(name)
        match data.draw(st.sampled_from(["drop", "rename", "reshape", "number"])):
            case "rename":
                model[data.draw(st.sampled_from(sorted(model)) | st.text(max_size=20).map("encoder.".__add__))] = tensor
            case "reshape":
                shape = data.draw(st.lists(st.integers(0, 70), max_size=3))
                strides = data.draw(st.lists(st.integers(0, 70), min_size=len(shape), max_size=len(shape)))
                model[name] = Tensor(tensor.storage, 0, tuple(shape), tuple(strides))
            case "number":
                model[name] = data.draw(ODD)
    try:
        built = load(Checkpoint(file))
    except Error as error:
        assert len(str(error)) < 1500
    else:
        assert built(expected("fairseq")["input_ids"])
