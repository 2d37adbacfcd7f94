"""Config: the reference's defaults, the labels' logic, one sentence for every mistake, and the families' names."""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY, raises

from minroberta import Config, ConfigError, Error, NotFoundError, init, load
from minroberta.checkpoints.files import read_json
from minroberta.config import ACTIVATIONS, FAMILIES, HEADS, PRESETS, PROBLEM_TYPES
from minroberta.weights import shapes

# --- defaults -------------------------------------------------------------------------------------------------------

ROBERTA = {
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "is_decoder": False,
    "add_cross_attention": False,
    "use_cache": True,
    "chunk_size_feed_forward": 0,
    "tie_word_embeddings": True,
    "pruned_heads": {},
    "num_labels": 2,
    "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "problem_type": None,
    "initializer_range": 0.02,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "architectures": None,
}
"""What transformers 4.48.3 gives for `RobertaConfig()`, and below what differs for the other families."""

REFERENCE = {
    "roberta": ROBERTA,
    "xlm-roberta": {**ROBERTA, "vocab_size": 30522},
    "camembert": {**ROBERTA, "vocab_size": 30522},
    "data2vec-text": {**ROBERTA, "vocab_size": 30522},
    "roberta-prelayernorm": ROBERTA,
    "xlm-roberta-xl": {
        **ROBERTA,
        "vocab_size": 250880,
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "intermediate_size": 10240,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    },
}

NORMS = {  # norm_first, embedding_norm
    "roberta": (False, True),
    "xlm-roberta": (False, True),
    "camembert": (False, True),
    "data2vec-text": (False, True),
    "roberta-prelayernorm": (True, True),
    "xlm-roberta-xl": (True, False),
}


def read_config(directory: Path) -> Config:
    return Config.from_dict(read_json(directory / "config.json", ConfigError))


def config(**changes: Any) -> Config:
    return Config.from_dict({**TINY, **changes})


def test_there_are_six_families() -> None:
    assert list(FAMILIES) == list(REFERENCE)


@pytest.mark.parametrize("model_type", REFERENCE)
def test_defaults_are_the_references(model_type: str) -> None:
    given = Config.from_dict({"model_type": model_type})
    assert {name: getattr(given, name) for name in ROBERTA} == REFERENCE[model_type]
    assert (given.norm_first, given.embedding_norm) == NORMS[model_type]


def test_every_field_has_its_default_in_the_table() -> None:
    assert {f.name for f in fields(Config)} == {*ROBERTA, "model_type", "norm_first", "embedding_norm", "other"}


def test_a_config_made_in_python_is_the_same() -> None:
    assert Config(model_type="xlm-roberta") == Config.from_dict({"model_type": "xlm-roberta"})
    assert Config() == Config.from_dict({"model_type": "roberta"})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_configurations_with_a_head(name: str) -> None:
    given = Config.from_dict(PRESETS[name])
    assert given.head == ("sequence_classification" if "mnli" in name else "masked_lm")
    assert given.longest == 512
    assert (given.type_vocab_size, given.layer_norm_eps, given.head_size) == (1, 1e-5, 64)


# --- from and to config.json ----------------------------------------------------------------------------------------

EVERYTHING = {
    "model_type": "xlm-roberta",
    "vocab_size": 61,
    "hidden_size": 42,
    "num_hidden_layers": 3,
    "num_attention_heads": 7,
    "intermediate_size": 11,
    "hidden_act": "relu",
    "max_position_embeddings": 19,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-6,
    "position_embedding_type": "relative_key",
    "pad_token_id": 4,
    "bos_token_id": 5,
    "eos_token_id": 6,
    "is_decoder": True,
    "add_cross_attention": True,
    "use_cache": False,
    "chunk_size_feed_forward": 2,
    "tie_word_embeddings": False,
    "pruned_heads": {"0": [1], "2": [0, 6]},
    "id2label": {"0": "O", "1": "PER", "2": "LOC"},
    "label2id": {"O": 0, "PER": 1, "LOC": 2},
    "problem_type": "multi_label_classification",
    "initializer_range": 0.5,
    "hidden_dropout_prob": 0.25,
    "attention_probs_dropout_prob": 0.75,
    "classifier_dropout": 0.5,
    "architectures": ["XLMRobertaForTokenClassification"],
    "torch_dtype": "float16",
    "transformers_version": "4.48.3",
    "task_specific_params": {"a": [1, None, {"b": 2.5}]},
}


def test_a_round_trip_keeps_every_field() -> None:
    assert as_json(Config.from_dict(EVERYTHING).to_dict()) == EVERYTHING


@pytest.mark.parametrize("model_type", REFERENCE)
def test_defaults_survive_a_round_trip(model_type: str) -> None:
    given = Config.from_dict({"model_type": model_type, "anything": {"else": [1, 2]}})
    assert Config.from_dict(as_json(given.to_dict())) == given
    assert "norm_first" not in given.to_dict()


def test_norms_unlike_the_familys_are_kept() -> None:
    given = config(norm_first=True, embedding_norm=False)
    assert given.to_dict()["norm_first"] is True
    assert Config.from_dict(as_json(given.to_dict())) == given


def as_json(values: Any) -> Any:
    return json.loads(json.dumps(values))


# --- labels ---------------------------------------------------------------------------------------------------------


def test_a_number_of_labels_names_them() -> None:
    given = config(num_labels=3)
    assert given.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert given.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}


def test_names_of_labels_number_them_and_win() -> None:
    with pytest.warns(UserWarning, match="num_labels 7 is ignored: id2label has 3 labels"):
        given = config(id2label={"0": "no", "1": "maybe", "2": "yes"}, num_labels=7)
    assert given.num_labels == 3
    assert given.id2label == {0: "no", 1: "maybe", 2: "yes"}
    assert given.label2id == {"no": 0, "maybe": 1, "yes": 2}


def named_three() -> Config:
    return config(id2label={"0": "x", "1": "y", "2": "z"})


def test_a_changed_field_changes_what_follows_from_it() -> None:
    before = config(num_labels=3, finetuning_task="ner")
    after = before.replace(num_labels=5)
    assert (after.num_labels, after.id2label[4], after.label2id["LABEL_4"]) == (5, "LABEL_4", 4)
    assert after.other == {"finetuning_task": "ner"}
    assert named_three().replace(num_labels=3) == named_three()
    with raises(ConfigError, ValueError, "unknown configuration field other"):
        before.replace(other={"x": 1})
    named = before.replace(id2label={0: "O", 1: "PER"})
    assert (named.num_labels, named.label2id) == (2, {"O": 0, "PER": 1})
    xl = before.replace(model_type="xlm-roberta-xl")
    assert (xl.norm_first, xl.embedding_norm, xl.hidden_size) == (True, False, before.hidden_size)
    assert before.replace() == before
    with raises(ConfigError, ValueError, "unknown configuration field hiden_size: give one of model_type"):
        before.replace(hiden_size=3)


def test_label2id_is_kept_as_given() -> None:
    assert config(label2id={"a": 1, "b": 0}).label2id == {"a": 1, "b": 0}
    assert config(label2id={"a": 1, "b": 0}).num_labels == 2


def test_null_labels_are_absent() -> None:
    assert config(id2label=None, label2id=None, num_labels=4).num_labels == 4


def test_numbers_and_names_that_disagree_in_python() -> None:
    with raises(ConfigError, ValueError, "num_labels is 3", "id2label has 2 labels"):
        Config(num_labels=3, id2label={0: "a", 1: "b"})


@pytest.mark.parametrize("value", [["a"], "ab", {"x": "a"}, {"0": ["a"]}, {"0": {}}, {float("inf"): "a"}, 3, True])
def test_id2label_of_a_wrong_form(value: Any) -> None:
    with raises(ConfigError, ValueError, "id2label must be an object that maps numbers to names, not"):
        config(id2label=value)


def test_zero_labels() -> None:
    with raises(ConfigError, ValueError, "num_labels must be an integer from 1", "not 0"):
        config(id2label={})


@pytest.mark.parametrize("value", [["a"], "ab", 3])
def test_label2id_of_a_wrong_form(value: Any) -> None:
    with raises(ConfigError, ValueError, "label2id must be an object that maps names to numbers, not"):
        config(label2id=value)


# --- what follows from the fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.parametrize("head", HEADS)
def test_the_head_is_the_architectures(family: Any, head: str) -> None:
    assert config(architectures=[family.architecture + HEADS[head].ending]).head == head


@pytest.mark.parametrize("architectures", [None, []])
def test_without_architectures_the_head_is_the_encoder(architectures: Any) -> None:
    assert config(architectures=architectures).head == "encoder"


def test_an_architecture_without_a_known_head() -> None:
    given = config(architectures=["RobertaForSpeechRecognition"])
    with raises(ConfigError, ValueError, "['RobertaForSpeechRecognition'] names an unknown head", "head=", *HEADS):
        assert given.head


@pytest.mark.parametrize(
    ("rows", "pad", "longest"), [(514, 1, 512), (512, 1, 510), (3, 1, 1), (20, 0, 19), (20, 7, 12)]
)
def test_longest_input(rows: int, pad: int, longest: int) -> None:
    assert config(max_position_embeddings=rows, pad_token_id=pad).longest == longest


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_longest_input_of_relative_positions(kind: str) -> None:
    assert config(max_position_embeddings=20, pad_token_id=7, position_embedding_type=kind).longest == 20


def test_relative_positions_need_no_row_for_padding() -> None:
    """The table of absolute positions stays in the file, unused, however short."""
    model = init({**TINY, "max_position_embeddings": 1, "position_embedding_type": "relative_key"})
    assert model([[7]]).last_hidden_state.shape == (1, 1, 30)


def test_pruned_heads_are_numbers_in_order() -> None:
    assert config(pruned_heads={"1": [4, 0, 4]}).pruned_heads == {1: [0, 4]}
    assert config(pruned_heads=None).pruned_heads == {}


def test_equal_configurations_are_one_key() -> None:
    """Equal configurations have one hash, so `jax.jit` takes one as a static argument."""
    assert {config(num_labels=3): "three"}[config(num_labels=3)] == "three"
    assert config(num_labels=3) != config(num_labels=4)


def test_pruned_heads_shrink_the_attention() -> None:
    sizes = shapes(config(pruned_heads={"1": [4, 0]}), "encoder")
    assert sizes["encoder.layer.0.attention.self.query.weight"] == (30, 30)
    assert sizes["encoder.layer.1.attention.self.query.weight"] == (18, 30)
    assert sizes["encoder.layer.1.attention.self.key.bias"] == (18,)
    assert sizes["encoder.layer.1.attention.output.dense.weight"] == (30, 18)


# --- invalid fields -------------------------------------------------------------------------------------------------

INTEGERS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "chunk_size_feed_forward",
    "pad_token_id",
    "num_labels",
)
MAY_BE_ZERO = ("chunk_size_feed_forward", "pad_token_id")


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", ["12", 12.0, 1.5, True, False, -1, 10**12, 10**400, None, [], {}, math.nan, math.inf])
def test_integer_fields(name: str, value: Any) -> None:
    with raises(ConfigError, ValueError, f"{name} must be an integer from", ", not "):
        config(**{name: value})


@pytest.mark.parametrize("name", [name for name in INTEGERS if name not in MAY_BE_ZERO])
def test_sizes_that_may_not_be_zero(name: str) -> None:
    with raises(ConfigError, ValueError, f"{name} must be an integer from 1 to", "not 0"):
        config(**{name: 0})


@pytest.mark.parametrize("name", MAY_BE_ZERO)
def test_sizes_that_may_be_zero(name: str) -> None:
    assert getattr(config(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", ["layer_norm_eps", "initializer_range"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1e-5, "1e-5", True, None, 10**400])
def test_number_fields(name: str, value: Any) -> None:
    with raises(ConfigError, ValueError, f"{name} must be finite and at least 0, not"):
        config(**{name: value})


@pytest.mark.parametrize(
    "name", ["norm_first", "embedding_norm", "is_decoder", "add_cross_attention", "use_cache", "tie_word_embeddings"]
)
@pytest.mark.parametrize("value", [0, 1, "true", []])
def test_switches(name: str, value: Any) -> None:
    with raises(ConfigError, ValueError, f"{name} must be true or false, not"):
        config(**{name: value})


@pytest.mark.parametrize("value", ["gelu_11", "GELU", "", None, 3, [], {}])
def test_unknown_activation(value: Any) -> None:
    with raises(ConfigError, ValueError, f"unknown hidden_act {value!r}", *ACTIVATIONS):
        config(hidden_act=value)


@pytest.mark.parametrize("value", ["alibi", "", 3, []])
def test_unknown_position_type(value: Any) -> None:
    with raises(
        ConfigError, ValueError, f"position_embedding_type {value!r}", "absolute, relative_key, relative_key_q"
    ):
        config(position_embedding_type=value)


@pytest.mark.parametrize("value", ["ranking", "", 3, []])
def test_unknown_problem_type(value: Any) -> None:
    with raises(ConfigError, ValueError, f"unknown problem_type {value!r}", *PROBLEM_TYPES):
        config(problem_type=value)


def test_heads_that_do_not_divide_the_hidden_size() -> None:
    with raises(ConfigError, ValueError, "hidden_size 30 is not divisible by num_attention_heads 7"):
        config(num_attention_heads=7)


def test_an_absurd_number_of_labels() -> None:
    """Each has a name, which takes some hundred bytes."""
    with raises(ConfigError, ValueError, "num_labels must be an integer from 1 to 100000, not 1000000"):
        config(num_labels=1_000_000)
    assert config(num_labels=100_000).id2label[99_999] == "LABEL_99999"


def test_an_absurd_number_of_layers() -> None:
    with raises(ConfigError, ValueError, "num_hidden_layers must be an integer from 1 to 1000, not 1000000"):
        config(num_hidden_layers=1_000_000)


def test_a_padding_id_outside_the_vocabulary() -> None:
    with raises(ConfigError, ValueError, "pad_token_id must be an integer from 0 to 52, not 53"):
        config(pad_token_id=53)


def test_padding_takes_the_last_position() -> None:
    with raises(ConfigError, ValueError, "max_position_embeddings 9 leaves no position", "pad_token_id 8", "at least"):
        config(max_position_embeddings=9, pad_token_id=8)


def test_cross_attention_in_an_encoder() -> None:
    with raises(ConfigError, ValueError, "add_cross_attention is only for decoders"):
        config(add_cross_attention=True)


@pytest.mark.parametrize("value", [[1], {"a": 1}, 3])
def test_architectures_of_a_wrong_form(value: Any) -> None:
    with raises(ConfigError, ValueError, "architectures must be a list of class names, not"):
        config(architectures=value)


@pytest.mark.parametrize("value", [[0], "0", {"a": [0]}, {"0": 1}, {"0": ["x"]}, {"0": [[]]}, {"0": [math.inf]}, 5])
def test_pruned_heads_of_a_wrong_form(value: Any) -> None:
    with raises(ConfigError, ValueError, "pruned_heads must be an object that maps layers to heads, not"):
        config(pruned_heads=value)


def test_a_layer_without_heads() -> None:
    """It would add nothing, and its arrays would have no rows."""
    with raises(ConfigError, ValueError, "pruned_heads names all 5 heads of layer 1: a layer must keep one"):
        config(pruned_heads={"1": [4, 3, 2, 1, 0]})


@pytest.mark.parametrize("value", [{"2": [0]}, {"-1": [0]}, {"0": [5]}, {"0": [-1]}, {"1": [0, 10**30]}])
def test_pruned_heads_out_of_range(value: Any) -> None:
    with raises(ConfigError, ValueError, "pruned_heads names heads", "2 layers of 5 heads"):
        config(pruned_heads=value)


# --- model_type -----------------------------------------------------------------------------------------------------


def test_without_a_model_type() -> None:
    for without in ({"hidden_size": 30}, {"model_type": None, "architectures": ["BertModel"]}):
        with raises(ConfigError, ValueError, "has no model_type", *FAMILIES, "config={'model_type': 'roberta'}"):
            Config.from_dict(without)


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("RobertaForMaskedLM", "roberta"),
        ("RobertaPreLayerNormForMaskedLM", "roberta-prelayernorm"),
        ("XLMRobertaModel", "xlm-roberta"),
        ("XLMRobertaXLModel", "xlm-roberta-xl"),
        ("CamembertForTokenClassification", "camembert"),
        ("Data2VecTextModel", "data2vec-text"),
        ("TFRobertaModel", "roberta"),
        ("FlaxXLMRobertaModel", "xlm-roberta"),
    ],
)
def test_a_model_type_from_architectures(name: str, model_type: str) -> None:
    for architectures in (name, [name]):
        with pytest.warns(UserWarning, match=f"no model_type: '{model_type}' is used, as architectures suggests"):
            assert Config.from_dict({"architectures": architectures}).model_type == model_type


def test_a_model_type_that_is_given_beside_a_file_without_one(tmp_path: Path) -> None:
    init({**TINY, "architectures": ["RobertaModel"]}).save(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    del fields["model_type"], fields["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with raises(ConfigError, ValueError, "has no model_type"):
        load(tmp_path)
    assert load(tmp_path, config={"model_type": "roberta"}).config.model_type == "roberta"


def test_one_class_in_place_of_a_list() -> None:
    given = config(architectures="RobertaForTokenClassification")
    assert (given.architectures, given.head) == (["RobertaForTokenClassification"], "token_classification")


@pytest.mark.parametrize("name", ["is_decoder", "add_cross_attention", "use_cache", "tie_word_embeddings"])
def test_null_is_false(name: str) -> None:
    """As in the reference, whatever the default is: an untied model with tie_word_embeddings null has its decoder."""
    assert getattr(config(**{name: None}), name) is False


def test_positions_that_are_null_have_no_effect() -> None:
    given = config(position_embedding_type=None)
    with pytest.warns(UserWarning, match="position_embedding_type is null, so that the positions"):
        init(given)
    assert as_json(given.to_dict())["position_embedding_type"] is None
    assert not any("distance" in name for name in shapes(given, "encoder"))


@pytest.mark.parametrize("value", ["bert", "Roberta", "", "x" * 10_000, 3, ["roberta"], {}])
def test_another_model_type(value: Any) -> None:
    with raises(ConfigError, ValueError, "unknown model_type ", *FAMILIES):
        Config.from_dict({"model_type": value})


@pytest.mark.parametrize("value", [None, [], ["roberta"], "roberta", 3])
def test_a_configuration_of_another_type(value: Any) -> None:
    with raises(ConfigError, ValueError, "a configuration must be a JSON object, not", type(value).__name__):
        Config.from_dict(value)


# --- config.json ----------------------------------------------------------------------------------------------------


def written(directory: Path, text: str | bytes) -> Path:
    (directory / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return directory


def test_a_file_is_read(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, json.dumps(EVERYTHING))) == Config.from_dict(EVERYTHING)


@pytest.mark.parametrize(
    "text",
    ["", "{", "roberta", "{'a': 1}", "[" * 100_000, '{"a":' * 100_000, b"\xff\xfe", '{"vocab_size": ' + "9" * 5000],
)
def test_a_file_that_is_not_json(tmp_path: Path, text: str | bytes) -> None:
    with raises(ConfigError, ValueError, str(tmp_path / "config.json"), "is not JSON"):
        read_config(written(tmp_path, text))


@pytest.mark.parametrize("text", [r'{"id2label": {"0": "\ud800"}}', r'{"model_type": "roberta", "\uDC00": 1}'])
def test_half_of_a_surrogate_pair(text: str, tmp_path: Path) -> None:
    with raises(ConfigError, ValueError, "is not JSON: it holds half of a surrogate pair, which is not text"):
        read_config(written(tmp_path, text))


def test_a_whole_surrogate_pair(tmp_path: Path) -> None:
    text = r'{"model_type": "roberta", "id2label": {"0": "\ud83d\ude00", "1": "\u00e9"}}'
    assert list(read_config(written(tmp_path, text)).id2label.values()) == ["😀", "é"]


def test_valid_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    with raises(ConfigError, ValueError, "is not JSON", "recursion"):
        read_config(written(tmp_path, '{"model_type": "roberta", "a": ' + "[" * 100_000 + "]" * 100_000 + "}"))


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ('"roberta"', "str"), ("3", "int"), ("null", "NoneType")])
def test_json_of_another_type(tmp_path: Path, text: str, kind: str) -> None:
    with raises(ConfigError, ValueError, "config.json", f"must hold a JSON object, not a {kind}"):
        read_config(written(tmp_path, text))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(100_000_000)  # sparse: it takes no space on the disk
    with raises(ConfigError, ValueError, "config.json has more than 2000000 bytes, which is the limit"):
        read_config(tmp_path)


def test_a_missing_file(tmp_path: Path) -> None:
    with raises(NotFoundError, FileNotFoundError, f"there is no config.json in {tmp_path}"):
        read_config(tmp_path)


def test_a_directory_named_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with raises(NotFoundError, FileNotFoundError, f"there is no config.json in {tmp_path}"):
        read_config(tmp_path)


# --- anything at all ------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["gelu", "absolute", "regression", "RobertaModel", *FAMILIES])
)
KEYS = st.text(max_size=3) | st.integers(-3, 3).map(str)
JSON = st.recursive(SCALARS, lambda x: st.lists(x, max_size=4) | st.dictionaries(KEYS, x, max_size=4), max_leaves=8)
FIELDS = st.dictionaries(st.sampled_from([f.name for f in fields(Config)]), JSON, max_size=4)


@pytest.mark.filterwarnings("ignore:num_labels .* is ignored", "ignore:the configuration has no model_type")
@settings(deadline=3000)  # a hundred thousand labels take a while
@given(FIELDS, st.booleans())
def test_any_fields_give_a_config_or_an_error(changes: dict[str, Any], known: bool) -> None:
    values = {**changes, "model_type": "roberta"} if known else changes
    try:
        given = Config.from_dict(values)
        assert given.head in HEADS
        assert given.longest >= 1
    except Error as error:
        assert len(str(error)) < 500
    else:
        again = Config.from_dict(as_json(given.to_dict()))
        assert (again.num_labels, again.longest, again.pruned_heads) == (
            given.num_labels,
            given.longest,
            given.pruned_heads,
        )


# --- the families' names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_familys_names_and_canonical_ones_are_inverse(model_type: str, head: str) -> None:
    given = Config.from_dict(
        {**TINY, "model_type": model_type, "num_hidden_layers": 11, "is_decoder": True, "add_cross_attention": True}
    )
    names = list(shapes(given, head))
    own = [given.family.own_name(name) for name in names]
    assert len(set(own)) == len(names)
    assert [given.family.canonical_name(name) for name in own] == names


def test_names_of_the_pre_norm_families() -> None:
    pre, xl = FAMILIES["roberta-prelayernorm"], FAMILIES["xlm-roberta-xl"]
    names = {
        "encoder.layer.10.attention.output.LayerNorm.bias": (
            "encoder.layer.10.attention.LayerNorm.bias",
            "encoder.layer.10.attention.self_attn_layer_norm.bias",
        ),
        "encoder.layer.0.crossattention.output.LayerNorm.weight": (
            "encoder.layer.0.crossattention.LayerNorm.weight",
            "encoder.layer.0.crossattention.self_attn_layer_norm.weight",
        ),
        "encoder.layer.0.output.LayerNorm.weight": (
            "encoder.layer.0.intermediate.LayerNorm.weight",
            "encoder.layer.0.LayerNorm.weight",
        ),
        "encoder.layer.0.output.dense.weight": ("encoder.layer.0.output.dense.weight",) * 2,
        "embeddings.LayerNorm.weight": ("embeddings.LayerNorm.weight",) * 2,
        "LayerNorm.weight": ("LayerNorm.weight",) * 2,
    }
    for name, own in names.items():
        assert (pre.own_name(name), xl.own_name(name)) == own


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "camembert", "data2vec-text"])
def test_the_other_families_have_robertas_names(model_type: str) -> None:
    assert not FAMILIES[model_type].names
