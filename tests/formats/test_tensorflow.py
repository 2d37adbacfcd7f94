"""TensorFlow's checkpoints: weights under PyTorch's names, and TensorFlow's outputs."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import GOLDEN, place, raises

from minroberta import Config, Model, WeightsError, weights
from minroberta.checkpoints.arrays import Arrays
from minroberta.checkpoints.formats import hdf5, safetensors, tensorflow
from minroberta.config import HEADS

CHECKPOINTS = GOLDEN / "checkpoints"
NAMES = json.loads((CHECKPOINTS / "tensorflow_names.json").read_text())

ROUNDING = 1e-5
"""A part of the largest output: a hundred roundings of float32."""


def opened(directory: Path) -> Arrays:
    if (directory / "tf_model.h5").is_file():
        return tensorflow.File(hdf5.File(directory / "tf_model.h5"))
    return tensorflow.from_safetensors(safetensors.File(directory / "model.safetensors"))


def loaded(arrays: Arrays, config: Config, head: str) -> Model:
    return Model(
        config,
        weights.tree(weights.load_arrays(arrays, config, head, missing="error", seed=0, check=True)),
        head,
    )


@pytest.mark.parametrize("name", ["masked_lm", "sequence_classification", "prelayernorm", "safetensors"])
def test_outputs_are_tensorflows(name: str) -> None:
    directory = CHECKPOINTS / f"tensorflow_{name}"
    config = Config.from_dict(json.loads((directory / "config.json").read_text()))
    expected = dict(safetensors.File(directory / "expected.safetensors"))
    inputs = {key: expected.pop(key) for key in ("input_ids", "attention_mask")}
    outputs = loaded(opened(directory), config, config.head)(**inputs)
    assert expected
    for key, value in expected.items():
        assert outputs[key].dtype == value.dtype
        assert np.abs(outputs[key] - value).max() <= ROUNDING * np.abs(value).max(), key


@pytest.mark.parametrize("model", NAMES)
def test_names_are_those_that_transformers_gives(tmp_path: Path, model: str) -> None:
    """Names for every head agree, in a file whose arrays show their origin."""
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        for number, name in enumerate(NAMES[model]):
            file[name] = np.full((1, 1), number, "f4")
    arrays = tensorflow.File(hdf5.File(path))
    assert set(arrays) == set(NAMES[model].values())
    for number, (own, name) in enumerate(NAMES[model].items()):
        repeats = own.startswith("lm_head/") and name.startswith("roberta")
        assert (arrays[name].item() == number) != repeats


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["roberta", "roberta-prelayernorm"])
def test_names_are_those_that_a_model_takes(kind: str, head: str) -> None:
    decoder = {"is_decoder": True, "add_cross_attention": True} if head == "causal_lm" else {}
    config = Config.from_dict({"model_type": kind, "num_hidden_layers": 1, **decoder})
    names = NAMES[config.family.architecture + HEADS[head].ending].values()
    assert set(weights.canonical_names(set(names), config)) == set(weights.shapes(config, head))


def test_kernels_are_transposed_and_mapped() -> None:
    arrays = opened(CHECKPOINTS / "tensorflow_masked_lm")
    dense = arrays["roberta.encoder.layer.1.intermediate.dense.weight"]
    assert dense.shape == (21, 16)
    assert place(dense.T) is not None
    with h5py.File(arrays.path) as file:
        own = file["roberta/tf_roberta_for_masked_lm/roberta/encoder/layer_._1/intermediate/dense/kernel:0"][()]
    assert np.array_equal(dense, own.T)
    assert arrays.stored("roberta.embeddings.word_embeddings.weight") == ("float32", (61, 16))


def test_a_shard_has_names_without_layer_and_class(tmp_path: Path) -> None:
    path = tmp_path / "tf_model-00001-of-00002.h5"
    with h5py.File(path, "w") as file:
        file["roberta/encoder/layer_._0/output/dense/kernel:0"] = np.zeros((3, 2), "f4")
        file["lm_head/bias:0"] = np.zeros(5, "f4")
    arrays = tensorflow.File(hdf5.File(path))
    assert {name: array.shape for name, array in arrays.items()} == {
        "roberta.encoder.layer.0.output.dense.weight": (2, 3),
        "lm_head.bias": (5,),
    }


def test_arrays_outside_of_layers_are_kept(tmp_path: Path) -> None:
    """Loading names such arrays among those that it does not use."""
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        for name in ("roberta/tf_x/roberta/a/bias:0", "lm_head/tf_x/roberta/a/bias:0", "lm_head/tf_x/other/bias:0"):
            file[name] = np.zeros(1, "f4")
    assert set(tensorflow.File(hdf5.File(path))) == {"roberta.a.bias", "other.bias"}


def test_two_names_of_one_weight(tmp_path: Path) -> None:
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        file["roberta/tf_x/roberta/norm/gamma:0"] = np.zeros(1, "f4")
        file["roberta/tf_x/roberta/norm/weight:0"] = np.zeros(1, "f4")
    with raises(WeightsError, ValueError, "gamma:0", "weight:0", "two names for the same weight"):
        tensorflow.File(hdf5.File(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with raises(WeightsError, ValueError, "is not a readable HDF5 file"):
        tensorflow.File(hdf5.File(tmp_path / "tf_model.h5"))
