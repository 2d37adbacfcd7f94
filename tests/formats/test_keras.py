"""KerasHub's presets: KerasHub's outputs, reading and writing, and a message for every invalid preset."""

import copy
import json
import mmap
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import FLOAT64, GOLDEN, raises, tiny
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

import minroberta
from minroberta import Config, ConfigError, Error, Model, NotFoundError, TokenizerError, WeightsError
from minroberta.checkpoints import save_keras
from minroberta.checkpoints.formats import safetensors
from minroberta.checkpoints.formats.keras import LARGEST_JSON, Preset, tokenizer_files
from minroberta.checkpoints.save_keras import FIXED
from minroberta.errors import SaveError
from minroberta.text.tokenizer import Tokenizer
from minroberta.text.vocabularies import byte_pairs
from minroberta.weights import flat, load_arrays, shapes, tree

CHECKPOINTS = GOLDEN / "checkpoints"
MASKED_LM, XLM, NLP = "keras_masked_lm", "keras_xlm_classifier", "keras_nlp_classifier"
NAMES = (MASKED_LM, XLM, NLP)

TOLERANCE = 2e-6
"""KerasHub sums in another order: values are below 2, whose last digit in float32 is 2.4e-7, and the most seen."""


def model_of(preset: Preset, head: str | None = None) -> Model:
    config = Config.from_dict(preset.config)
    head = head or config.head
    return Model(config, tree(load_arrays(preset, config, head, missing="error", seed=0, check=True)), head)


def copied(name: str, directory: Path) -> Path:
    """A copy of a golden preset, to be changed."""
    return Path(shutil.copytree(CHECKPOINTS / name, directory / name))


def edit(path: Path, **changes: Any) -> None:
    """Change fields of the `config` in a JSON file of Keras; None removes one."""
    values = json.loads(path.read_text())
    values["config"] |= changes
    values["config"] = {name: value for name, value in values["config"].items() if value is not None}
    path.write_text(json.dumps(values))


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_kerashubs(name: str) -> None:
    preset, expected = Preset(CHECKPOINTS / name), safetensors.File(CHECKPOINTS / name / "expected.safetensors")
    inputs = {key: expected[key] for key in ("input_ids", "attention_mask")}
    assert not inputs["attention_mask"].all()
    for head, output in (("encoder", "last_hidden_state"), (None, "logits")):
        ours, theirs = model_of(preset, head)(**inputs)[output], expected[output]
        assert ours.shape == theirs.shape
        places = inputs["attention_mask"].astype(bool) if ours.ndim == 3 else slice(None)
        assert np.abs(ours - theirs)[places].max() < TOLERANCE
        assert np.abs(theirs[places]).max() > 0.1


SHARED = {"hidden_size": 6, "num_attention_heads": 3, "intermediate_size": 10, "max_position_embeddings": 26,
          "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
          "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}  # fmt: skip
CONFIGS = {
    MASKED_LM: {"model_type": "roberta", "vocab_size": 49, "num_hidden_layers": 11,
                "architectures": ["RobertaForMaskedLM"]},
    XLM: {"model_type": "xlm-roberta", "vocab_size": 38, "num_hidden_layers": 1, "num_labels": 4,
          "classifier_dropout": 0.0, "architectures": ["XLMRobertaForSequenceClassification"]},
    NLP: {"model_type": "roberta", "vocab_size": 49, "num_hidden_layers": 1, "num_labels": 5,
          "classifier_dropout": 0.0, "architectures": ["RobertaForSequenceClassification"]},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_is_hugging_faces(name: str) -> None:
    assert Preset(CHECKPOINTS / name).config == {**SHARED, **CONFIGS[name]}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_a_mapping_from_hugging_faces_names(name: str) -> None:
    preset = Preset(CHECKPOINTS / name)
    config = Config.from_dict(preset.config)
    assert {key: array.shape for key, array in preset.items()} == shapes(config, config.head)
    assert len(preset) == len(set(preset))
    assert preset.stored("encoder.layer.0.attention.self.query.weight") == ("float32", (6, 6))
    assert preset.size == sum(path.stat().st_size for path in (CHECKPOINTS / name).glob("*.weights.h5"))
    with pytest.raises(KeyError):
        preset["pooler.dense.weight"]


def test_arrays_are_views_of_the_file() -> None:
    """All arrays are views but the two of zeros, which are not in the file."""
    for name, array in Preset(CHECKPOINTS / MASKED_LM).items():
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        owner = owner.obj if isinstance(owner, memoryview) else owner
        assert isinstance(owner, mmap.mmap) == ("position" not in name and "token_type" not in name), name


def test_the_rows_that_kerashub_lacks_are_zero() -> None:
    preset = Preset(CHECKPOINTS / XLM)
    positions = preset["embeddings.position_embeddings.weight"]
    assert positions.shape == (26, 6)
    assert not positions[:2].any()
    assert positions[2:].all()
    assert preset["embeddings.token_type_embeddings.weight"].tolist() == [[0] * 6]


@pytest.mark.parametrize("name", [MASKED_LM, NLP])
def test_the_vocabularys_ids_are_hugging_faces(name: str, tmp_path: Path) -> None:
    """The texts' ids are those that KerasHub's preprocessor gave."""
    files = tokenizer_files(CHECKPOINTS / name)
    assert list(files) == ["vocabulary.json", "merges.txt"]
    shutil.copy(files["vocabulary.json"], tmp_path / "vocab.json")
    shutil.copy(files["merges.txt"], tmp_path / "merges.txt")
    preset = Preset(CHECKPOINTS / name)
    tokenizer = Tokenizer.load(tmp_path, Config.from_dict(preset.config))
    expected = safetensors.File(CHECKPOINTS / name / "expected.safetensors")
    assert tokenizer is not None
    given = tokenizer(json.loads(expected.metadata["texts"]), max_length=20)
    assert np.array_equal(given["input_ids"], expected["input_ids"])
    assert np.array_equal(given["attention_mask"], expected["attention_mask"])


def test_the_files_of_a_tokenizer(tmp_path: Path) -> None:
    assert tokenizer_files(CHECKPOINTS / XLM) == {
        "vocabulary.spm": CHECKPOINTS / XLM / "assets/tokenizer/vocabulary.spm"
    }
    assert tokenizer_files(tmp_path) == {}
    directory = copied(NLP, tmp_path)
    (directory / "assets/tokenizer/merges.txt").unlink()
    assert tokenizer_files(directory) == {}


@pytest.mark.parametrize("file", ["model.weights.h5", "task.weights.h5"])
def test_a_presets_file_means_the_preset(file: str) -> None:
    whole, by_file = Preset(CHECKPOINTS / MASKED_LM), Preset(CHECKPOINTS / MASKED_LM / file)
    assert list(whole) == list(by_file)
    assert whole.size == by_file.size


def test_a_file_of_another_name_is_read_alone(tmp_path: Path) -> None:
    """`save_weights` of a task writes such a file, with the backbone's layers in it; keras-nlp's task file is one."""
    directory = copied(NLP, tmp_path)
    (directory / "task.weights.h5").rename(directory / "finetuned.weights.h5")
    (directory / "model.weights.h5").unlink()
    ours, whole = Preset(directory / "finetuned.weights.h5"), Preset(CHECKPOINTS / NLP)
    assert set(ours) == set(whole)
    assert all(np.array_equal(ours[name], whole[name]) for name in whole)


def test_a_preset_without_a_task_is_an_encoders(tmp_path: Path) -> None:
    directory = copied(XLM, tmp_path)
    for file in ("task.json", "task.weights.h5", "preprocessor.json", "tokenizer.json", "metadata.json"):
        (directory / file).unlink()
    shutil.rmtree(directory / "assets")
    preset = Preset(directory)
    assert preset.config["architectures"] == ["XLMRobertaModel"]
    assert model_of(preset).head == "encoder"


def test_a_task_without_its_weights_can_be_initialised(tmp_path: Path) -> None:
    """KerasHub does the same."""
    directory = copied(XLM, tmp_path)
    (directory / "task.weights.h5").unlink()
    preset = Preset(directory)
    with raises(WeightsError, ValueError, "but lacks 4: classifier.dense.weight", 'missing="init"'):
        model_of(preset)
    config = Config.from_dict(preset.config)
    assert "classifier.out_proj.bias" in load_arrays(preset, config, config.head, missing="init", seed=0, check=False)


@pytest.mark.parametrize("pad", [0, 5])
def test_positions_begin_after_the_vocabularys_padding_token(tmp_path: Path, pad: int) -> None:
    directory = copied(MASKED_LM, tmp_path)
    path = directory / "assets/tokenizer/vocabulary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "<pad>": pad}))
    preset, before = Preset(directory), Preset(CHECKPOINTS / MASKED_LM)
    assert preset.config["pad_token_id"] == pad
    positions = preset["embeddings.position_embeddings.weight"]
    assert not positions[: pad + 1].any()
    assert np.array_equal(positions[pad + 1 :], before["embeddings.position_embeddings.weight"][2:])
    ids = np.array([[7, 8, 9]])
    assert np.array_equal(model_of(preset)(ids).logits, model_of(before)(ids).logits)


def test_a_vocabulary_may_be_larger_than_a_configuration(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINTS / "keras_masked_lm", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "assets" / "tokenizer" / "vocabulary.json"
    tokens = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**tokens, **{f"{i:050}": 1000 + i for i in range(50_000)}}), encoding="utf-8")
    assert path.stat().st_size > 2_000_000
    assert Preset(tmp_path).config["pad_token_id"] == tokens["<pad>"]


@pytest.mark.parametrize("kind", ["RobertaClassifier", "RobertaTextClassifier"])
def test_both_names_of_a_classifier(tmp_path: Path, kind: str) -> None:
    directory = copied(NLP, tmp_path)
    path = directory / "task.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_name": kind}))
    assert model_of(Preset(directory)).head == "sequence_classification"


def test_a_classifier_that_ends_with_softmax(tmp_path: Path) -> None:
    directory = copied(NLP, tmp_path)
    edit(directory / "task.json", activation="softmax")
    with pytest.warns(
        UserWarning,
        match="the activation 'softmax', which is not applied here: the logits are the values before the activation",
    ):
        Preset(directory)


# --- links ----------------------------------------------------------------------------------------------------------

ERRORS = {
    "config.json": (ConfigError, ValueError),
    "task.json": (ConfigError, ValueError),
    "model.weights.h5": (WeightsError, ValueError),
    "task.weights.h5": (WeightsError, ValueError),
    "assets/tokenizer/vocabulary.json": (TokenizerError, ValueError),
    "assets/tokenizer/merges.txt": (TokenizerError, ValueError),
}
FILES = list(ERRORS)


@pytest.mark.parametrize("file", FILES)
def test_a_link_that_leads_out(tmp_path: Path, file: str) -> None:
    directory = copied(MASKED_LM, tmp_path)
    shutil.move(directory / file, tmp_path / "elsewhere")
    (directory / file).symlink_to(tmp_path / "elsewhere")
    error, builtin = ERRORS[file]
    with raises(error, builtin, file, "is a link that points outside its directory", "replace the link with a copy"):
        Preset(directory)


def test_a_directory_that_is_a_link_to_another(tmp_path: Path) -> None:
    directory = copied(MASKED_LM, tmp_path)
    shutil.move(directory / "assets", tmp_path / "elsewhere")
    (directory / "assets").symlink_to(tmp_path / "elsewhere")
    with raises(TokenizerError, ValueError, "is a link that points outside its directory"):
        tokenizer_files(directory)


@pytest.mark.parametrize("file", ["config.json", "task.json", "model.weights.h5", "task.weights.h5"])
def test_a_link_to_nothing(tmp_path: Path, file: str) -> None:
    directory = copied(MASKED_LM, tmp_path)
    (directory / file).unlink()
    (directory / file).symlink_to("nothing")
    with raises(NotFoundError, FileNotFoundError, f"it has no file {file}"):
        Preset(directory)


def test_a_link_to_itself(tmp_path: Path) -> None:
    directory = copied(MASKED_LM, tmp_path)
    (directory / "model.weights.h5").unlink()
    (directory / "model.weights.h5").symlink_to("model.weights.h5")
    with raises(NotFoundError, FileNotFoundError, "it has no file model.weights.h5"):
        Preset(directory)


def in_cache(repository: Path) -> Path:
    """A preset as the hub's client keeps it: each file a link to a blob."""
    snapshot, blobs = repository / "snapshots" / "0123abcd", repository / "blobs"
    blobs.mkdir(parents=True)
    for source in (CHECKPOINTS / MASKED_LM).rglob("*"):
        if source.is_file():
            path = snapshot / source.relative_to(CHECKPOINTS / MASKED_LM)
            path.parent.mkdir(parents=True, exist_ok=True)
            blob = blobs / f"{len(list(blobs.iterdir())):040x}"
            shutil.copy(source, blob)
            path.symlink_to(os.path.relpath(blob, path.parent))
    return snapshot


def test_the_hubs_cache(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path / "models--keras--roberta_base_en")
    (tmp_path / "link").symlink_to(snapshot)
    assert len(Preset(snapshot)) == len(Preset(tmp_path / "link")) == len(Preset(CHECKPOINTS / MASKED_LM))
    assert list(tokenizer_files(snapshot)) == ["vocabulary.json", "merges.txt"]


def test_blobs_outside_a_cache(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    directory = copied(MASKED_LM, tmp_path / "a")
    (tmp_path / "blobs").mkdir()
    shutil.move(directory / "model.weights.h5", tmp_path / "blobs" / "0")
    (directory / "model.weights.h5").symlink_to(tmp_path / "blobs" / "0")
    with raises(WeightsError, ValueError, "is a link that points outside its directory"):
        Preset(directory)


def test_a_link_out_of_the_hubs_cache(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path / "models--keras--roberta_base_en")
    other = in_cache(tmp_path / "models--a--private")
    (snapshot / "model.weights.h5").unlink()
    (snapshot / "model.weights.h5").symlink_to((other / "model.weights.h5").resolve())
    with raises(WeightsError, ValueError, "is a link that points outside its directory"):
        Preset(snapshot)


# --- hostile presets ------------------------------------------------------------------------------------------------


@contextmanager
def at_once() -> Iterator[None]:
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("file", ["config.json", "model.weights.h5"])
def test_a_missing_file(tmp_path: Path, file: str) -> None:
    directory = copied(MASKED_LM, tmp_path)
    (directory / file).unlink()
    with raises(NotFoundError, FileNotFoundError, str(directory), f"is not a KerasHub preset: it has no file {file}"):
        Preset(directory)


def test_a_preset_without_a_configuration(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "nothing.weights.h5"):
        with raises(NotFoundError, FileNotFoundError, "it has no file config.json"):
            Preset(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("file", ["config.json", "task.json", "model.weights.h5", "task.weights.h5"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, file: str) -> None:
    directory = copied(MASKED_LM, tmp_path)
    (directory / file).unlink()
    os.mkfifo(directory / file)
    with at_once(), raises(NotFoundError, FileNotFoundError, f"it has no file {file}"):
        Preset(directory)


NO_OBJECTS = {
    "empty": b"",
    "half": b'{"class_name": ',
    "list": b"[]",
    "no UTF-8": b'{"class_name": "\xff"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "nothing": b"{}",
    "Hugging Face's": b'{"model_type": "roberta"}',
    "class is a list": b'{"class_name": ["RobertaBackbone"], "config": {}}',
    "config is a list": b'{"class_name": "RobertaBackbone", "config": []}',
    "another's class": b'{"class_name": "BertBackbone", "config": {}}',
    "a long class": b'{"class_name": "' + b"x" * 100_000 + b'", "config": {}}',
}


@pytest.mark.parametrize("file", ["config.json", "task.json"])
@pytest.mark.parametrize("data", NO_OBJECTS.values(), ids=list(NO_OBJECTS))
def test_a_json_file_of_another_kind(tmp_path: Path, file: str, data: bytes) -> None:
    directory = copied(MASKED_LM, tmp_path)
    (directory / file).write_bytes(data)
    with at_once(), raises(ConfigError, ValueError, str(directory)):
        Preset(directory)


@pytest.mark.parametrize("file", ["config.json", "task.json", "assets/tokenizer/vocabulary.json"])
def test_a_json_file_too_large(tmp_path: Path, file: str) -> None:
    directory = copied(MASKED_LM, tmp_path)
    os.truncate(directory / file, LARGEST_JSON + 1)  # sparse: it takes no space on the disk
    with at_once(), raises(ConfigError, ValueError, file, f"more than {LARGEST_JSON} bytes"):
        Preset(directory)


NO_SIZES = [None, 0, -1, 1.0, 2.5, True, "11", [11], {"a": 1}, float("nan")]


@pytest.mark.parametrize("value", NO_SIZES, ids=repr)
@pytest.mark.parametrize("name", ["vocabulary_size", "num_layers", "hidden_dim", "max_sequence_length"])
def test_an_invalid_size(tmp_path: Path, name: str, value: Any) -> None:
    directory = copied(MASKED_LM, tmp_path)
    edit(directory / "config.json", **{name: value})
    with raises(ConfigError, ValueError, f"{name} in the preset", "must be an integer of at least 1, not"):
        Preset(directory)


LIES: list[tuple[dict[str, Any], type[Error], str]] = [
    ({"num_layers": 10**9}, ConfigError, "num_hidden_layers must be an integer from 1 to 1000"),
    ({"num_layers": 10**4000}, ConfigError, "num_hidden_layers must be an integer"),
    ({"hidden_dim": 2**40}, ConfigError, "hidden_size must be an integer"),
    ({"hidden_dim": 7}, ConfigError, "hidden_size 7 is not divisible"),
    ({"num_heads": 6 * 10**8}, ConfigError, "is not divisible"),
    ({"max_sequence_length": 2**31}, ConfigError, "max_position_embeddings must be an integer"),
    ({"hidden_dim": 3 * 2**29}, WeightsError, "has shape (49, 6), but config.json requires (49, 1610612736)"),
    ({"vocabulary_size": 2**31 - 1}, WeightsError, "has shape (49, 6), but config.json requires (2147483647, 6)"),
    ({"max_sequence_length": 2**30}, WeightsError, "has shape (24, 6), but config.json requires (1073741824, 6)"),
    ({"max_sequence_length": 23}, WeightsError, "has shape (24, 6), but config.json requires (23, 6)"),
    ({"intermediate_dim": 2**31 - 1}, WeightsError, "_feedforward_intermediate_dense/vars/0 has shape (6, 10)"),
    ({"num_heads": 2}, WeightsError, "query_dense/vars/0 has shape (6, 3, 2), but config.json requires (6, 2, 3)"),
]


@pytest.mark.parametrize(("changes", "error", "telling"), LIES, ids=[str(changes)[:40] for changes, _, _ in LIES])
def test_sizes_that_lie(tmp_path: Path, changes: dict[str, Any], error: type[Error], telling: str) -> None:
    directory = copied(MASKED_LM, tmp_path)
    edit(directory / "config.json", **changes)
    with at_once(), raises(error, ValueError, telling):
        Preset(directory)


@pytest.mark.parametrize("layers", [12, 1000])
def test_more_layers_than_the_file_has(tmp_path: Path, layers: int) -> None:
    directory = copied(MASKED_LM, tmp_path)
    edit(directory / "config.json", num_layers=layers)
    with at_once(), raises(WeightsError, ValueError, f"but lacks {16 * (layers - 11)}: ", "encoder.layer.11.attention"):
        model_of(Preset(directory))


def test_fewer_layers_than_the_file_has(tmp_path: Path) -> None:
    """The last layer keeps KerasHub's names, and is named in the warning."""
    directory = copied(MASKED_LM, tmp_path)
    edit(directory / "config.json", num_layers=10)
    with pytest.warns(UserWarning, match=r"that this model does not use \(16\): layers/transformer_encoder_10/"):
        model_of(Preset(directory))


TASK_LIES: list[tuple[dict[str, Any], type[Error], str]] = [
    ({"num_classes": None}, ConfigError, "num_classes in the preset"),
    ({"num_classes": 10**9}, ConfigError, "num_labels must be an integer"),
    ({"num_classes": 6}, WeightsError, "layers/dense_1/vars/0 has shape (6, 5), but config.json requires (6, 6)"),
    ({"hidden_dim": 12}, ConfigError, "has a classifier with hidden_dim 12: "),
    ({"hidden_dim": "x" * 10_000}, ConfigError, "has a classifier with hidden_dim 'xxx"),
]


@pytest.mark.parametrize(("changes", "error", "telling"), TASK_LIES)
def test_a_task_that_lies(tmp_path: Path, changes: dict[str, Any], error: type[Error], telling: str) -> None:
    directory = copied(NLP, tmp_path)
    edit(directory / "task.json", **changes)
    with raises(error, ValueError, telling):
        Preset(directory)


@pytest.mark.parametrize("pad", [None, -1, "1", 1.5, True, [1], 10**12, 24])
def test_a_vocabulary_that_lies(tmp_path: Path, pad: Any) -> None:
    """An id of padding after the 24 positions would have as many rows made before the position embeddings."""
    directory = copied(MASKED_LM, tmp_path)
    (directory / "assets/tokenizer/vocabulary.json").write_text(json.dumps({"<pad>": pad}))
    with at_once(), raises(ConfigError, ValueError, "must be an integer"):
        Preset(directory)


@pytest.mark.parametrize("file", ["model.weights.h5", "task.weights.h5"])
@pytest.mark.parametrize("size", [0, 8, 100, 5_000])
def test_a_truncated_file(tmp_path: Path, file: str, size: int) -> None:
    directory = copied(MASKED_LM, tmp_path)
    os.truncate(directory / file, size)
    with raises(WeightsError, ValueError, str(directory / file)):
        Preset(directory)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length", "vocabulary_size",
          "dropout", "num_classes", "activation")  # fmt: skip


@pytest.mark.filterwarnings("ignore:the classifier of")
@given(file=st.sampled_from(["config.json", "task.json"]), field=st.sampled_from(FIELDS), value=JSON)
def test_any_value_gives_arrays_or_an_error(tmp_path: Path, file: str, field: str, value: Any) -> None:
    directory = tmp_path / NLP
    if not directory.exists():
        copied(NLP, tmp_path)
    values = json.loads((CHECKPOINTS / NLP / file).read_text())
    changed = copy.deepcopy(values)
    changed["config"][field] = value
    (directory / file).write_text(json.dumps(changed))
    try:
        assert len(Preset(directory)) == 25
    except Error as error:
        assert len(str(error)) < 700
    finally:
        (directory / file).write_text(json.dumps(values))


# --- writing --------------------------------------------------------------------------------------------------------

SMALL = {"layer_norm_eps": 1e-5, "type_vocab_size": 1}


def write(directory: Path, model: Model) -> None:
    """Write a preset as the command does."""
    own = model.tokenizer
    bpe = None if own is None else byte_pairs(own.library, model.config, own.settings)
    save_keras.write(directory, model.params, model.config, model.head, bpe)


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py", reason="a preset is written with h5py, of the extra formats")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_written_is_read(h5py: Any, tmp_path: Path, name: str, whole: bool) -> None:
    preset = Preset(CHECKPOINTS / name)
    model = model_of(preset, None if whole else "encoder")
    write(tmp_path / "new" / "x", model)
    again = Preset(tmp_path / "new" / "x")
    assert set(again) == set(shapes(model.config, model.head)) - {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(np.array_equal(again[key], preset[key]) for key in again)
    if whole:
        assert again.config == preset.config
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", NAMES)
def test_the_objects_are_those_that_kerashub_writes(h5py: Any, tmp_path: Path, name: str) -> None:
    """Every field that is written has KerasHub's value; optional ones are left out."""
    write(tmp_path, model_of(Preset(CHECKPOINTS / name)))

    def compare(ours: Any, theirs: Any) -> None:
        if isinstance(ours, dict):
            for key, value in ours.items():
                compare(value, theirs[key])
        elif not (isinstance(theirs, dict) and ours is None):  # a preprocessor is left out, as it needs a tokenizer
            assert ours == theirs

    for file in ("config.json", "task.json"):
        text = (CHECKPOINTS / name / file).read_text()
        compare(json.loads((tmp_path / file).read_text()), json.loads(text.replace("keras_nlp", "keras_hub")))


def test_the_tokenizer_goes_along(h5py: Any, tmp_path: Path) -> None:
    model = minroberta.load()
    write(tmp_path, model)
    shutil.move(tmp_path / "assets/tokenizer/vocabulary.json", tmp_path / "vocab.json")
    shutil.move(tmp_path / "assets/tokenizer/merges.txt", tmp_path / "merges.txt")
    (tmp_path / "tokenizer.json").unlink()  # KerasHub's settings
    again = Tokenizer.load(tmp_path, model.config)
    assert again is not None
    texts = ["Hello, world!", "  Zwölf Boxkämpfer jagen <mask> Viktor.", "🇫🇷"]
    assert np.array_equal(again(texts)["input_ids"], model.tokenize(texts)["input_ids"])


def test_the_tokenizers_objects(h5py: Any, tmp_path: Path) -> None:
    write(tmp_path, minroberta.load())
    golden = CHECKPOINTS / MASKED_LM
    for file in ("tokenizer.json", "preprocessor.json"):
        ours, theirs = (json.loads((directory / file).read_text()) for directory in (tmp_path, golden))
        assert {name: ours[name] for name in ours if name != "config"} == {
            name: theirs[name] for name in theirs if name != "config"
        }
        assert ours["config"].keys() <= theirs["config"].keys()
    assert set(json.loads((tmp_path / "tokenizer.json").read_text())["config"]["unsplittable_tokens"]) == {
        "<s>", "<pad>", "</s>", "<mask>"
    }  # fmt: skip
    assert json.loads((tmp_path / "task.json").read_text())["config"]["preprocessor"]["class_name"] == (
        "RobertaMaskedLMPreprocessor"
    )


@pytest.mark.parametrize("head", ["encoder", "masked_lm", "sequence_classification"])
def test_token_types_become_part_of_the_positions(h5py: Any, tmp_path: Path, head: str) -> None:
    model = tiny(head, layer_norm_eps=1e-5)
    with pytest.warns(UserWarning, match=r"left out: all but the first of 2 token types(; the pooler)?$"):
        write(tmp_path, model)
    again = Preset(tmp_path)
    positions, types = (
        model.params["embeddings"][f"{name}_embeddings"]["weight"] for name in ("position", "token_type")
    )
    assert types[0].all()
    assert np.array_equal(again["embeddings.position_embeddings.weight"][2:], positions[2:] + types[0])
    ids = np.array([[7, 8, 9, 10], [11, 12, 1, 1]])
    mask = (ids != 1).astype(int)
    before, after = model(ids, mask).to_tuple()[0], model_of(again)(ids, mask).to_tuple()[0]
    places = mask.astype(bool) if before.ndim == 3 else slice(None)
    assert np.abs(before - after)[places].max() < FLOAT64


def test_a_backbones_own_file_comes_before_a_tasks(h5py: Any, tmp_path: Path) -> None:
    """keras-nlp's task file has all arrays once more."""
    model = model_of(Preset(CHECKPOINTS / NLP))
    doubled = Model(model.config, tree({name: 2 * array for name, array in flat(model.params).items()}), model.head)
    write(tmp_path, doubled)
    shutil.copy(CHECKPOINTS / NLP / "task.weights.h5", tmp_path)
    again, before = Preset(tmp_path), Preset(CHECKPOINTS / NLP)
    for name in again:
        assert np.array_equal(again[name], before[name] * (1 if name.startswith("classifier.") else 2)), name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(h5py: Any, tmp_path: Path, dtype: str) -> None:
    model = tiny("masked_lm", dtype, **SMALL)
    write(tmp_path, model)
    assert {array.dtype.name for array in Preset(tmp_path).values()} == {dtype}


def test_bfloat16_is_widened(h5py: Any, tmp_path: Path) -> None:
    import jax.numpy

    model = Model(*(getattr(tiny("masked_lm", "float32", **SMALL), name) for name in ("config", "params", "head")))
    narrow = {name: jax.numpy.asarray(array, jax.numpy.bfloat16) for name, array in flat(model.params).items()}
    write(tmp_path, Model(model.config, tree(narrow), "masked_lm"))
    name = "encoder.layer.1.output.dense.weight"
    assert Preset(tmp_path)[name].dtype == np.float32
    assert np.array_equal(Preset(tmp_path)[name], np.asarray(narrow[name], np.float32))


def test_a_preset_replaces_one_that_it_is_mapped_from(h5py: Any, tmp_path: Path) -> None:
    directory = copied(MASKED_LM, tmp_path)
    write(directory, model_of(Preset(directory)))
    before, after = Preset(CHECKPOINTS / MASKED_LM), Preset(directory)
    assert all(np.array_equal(before[name], after[name]) for name in before)


OTHERS = {"norm_first": True, "embedding_norm": False, "position_embedding_type": "relative_key",
          "hidden_act": "gelu_new", "layer_norm_eps": 1e-12, "is_decoder": True, "pruned_heads": {0: [1]}}  # fmt: skip


def test_every_fixed_field_has_a_test() -> None:
    assert OTHERS.keys() == FIXED.keys()


@pytest.mark.parametrize("field", OTHERS)
def test_a_model_that_kerashub_cannot_express(tmp_path: Path, field: str) -> None:
    model = tiny("encoder", **{**SMALL, field: OTHERS[field]})
    with raises(SaveError, OSError, f"always has {field} {FIXED[field]!r}, but this model has {OTHERS[field]!r}"):
        write(tmp_path / "x", model)
    assert not (tmp_path / "x").exists()


def test_an_untied_decoder(h5py: Any, tmp_path: Path) -> None:
    with raises(SaveError, OSError, "always has tie_word_embeddings True"):
        write(tmp_path, tiny("masked_lm", **SMALL, tie_word_embeddings=False))
    with pytest.warns(UserWarning, match="left out: the pooler$"):  # the pooler is unused without that head
        write(tmp_path, tiny("encoder", **SMALL, tie_word_embeddings=False))


@pytest.mark.parametrize("head", ["token_classification", "question_answering", "multiple_choice", "causal_lm"])
def test_a_head_that_kerashub_lacks(tmp_path: Path, head: str) -> None:
    with raises(SaveError, OSError, f"does not support head {head!r}", "encoder, masked_lm, sequence_classification"):
        write(tmp_path, tiny(head, **SMALL))


@pytest.mark.parametrize("model_type", ["roberta-prelayernorm", "xlm-roberta-xl"])
def test_a_family_that_kerashub_lacks(tmp_path: Path, model_type: str) -> None:
    with raises(SaveError, OSError, "always has norm_first False"):
        write(tmp_path, tiny("masked_lm", **SMALL, model_type=model_type))


def bpe(*special: str, normalizer: Any = None) -> Library:
    library = Library(models.BPE({token: place for place, token in enumerate(special)}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel()
    if normalizer:
        library.normalizer = normalizer
    return library


SPECIAL = {"<s>": 0, "<pad>": 3, "</s>": 2, "<mask>": 1}
NO_BPE = {
    "words": Library(models.WordLevel(SPECIAL, unk_token="<s>")),
    "characters": Library(models.BPE(SPECIAL, [])),
    "no mask": bpe("<s>", "</s>", "x", "<pad>"),
    "lower case": bpe(*SPECIAL, normalizer=normalizers.Lowercase()),
}


@pytest.mark.parametrize("library", NO_BPE.values(), ids=list(NO_BPE))
def test_a_tokenizer_that_kerashub_cannot_express(h5py: Any, tmp_path: Path, library: Library) -> None:
    model = tiny("masked_lm", pad_token_id=3, **SMALL)
    model = Model(model.config, model.params, "masked_lm", Tokenizer(library, model.config))
    with (
        pytest.warns(UserWarning, match="tokenizer is not written: .* can hold only RoBERTa's byte-level BPE"),
        pytest.warns(UserWarning, match="left out: pad_token_id 3, which will be read as 1"),
    ):
        write(tmp_path, model)
    assert not (tmp_path / "assets").exists()
    assert json.loads((tmp_path / "task.json").read_text())["config"]["preprocessor"] is None


def test_merges_whose_result_the_vocabulary_lacks(h5py: Any, tmp_path: Path) -> None:
    """Their tokens have ids beyond the vocabulary, and are unknown tokens, which KerasHub's tokenizer does not know."""
    model = tiny("masked_lm", pad_token_id=1, **SMALL)
    model = Model(
        model.config, model.params, "masked_lm", Tokenizer.load(GOLDEN / "tokenizers" / "lacking", model.config)
    )
    with pytest.warns(
        UserWarning, match="tokenizer is not written: some of its merges give tokens that its vocabulary"
    ):
        write(tmp_path, model)
    assert not (tmp_path / "assets").exists()


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with raises(SaveError, OSError, 'pip install "minroberta[formats]"'):
        write(tmp_path / "new", tiny("masked_lm", **SMALL))
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way(h5py: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with raises(SaveError, OSError, f"cannot be written to {tmp_path / 'x'}"):
        write(tmp_path / "x", tiny("masked_lm", **SMALL))
    (tmp_path / "y" / "model.weights.h5").mkdir(parents=True)
    with raises(SaveError, OSError, "cannot be written to"):
        write(tmp_path / "y", tiny("masked_lm", **SMALL))
    assert [path.name for path in (tmp_path / "y").iterdir()] == ["model.weights.h5"]
