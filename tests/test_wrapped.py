"""Weights of a model within a larger one: the prefixes of wrappers, in every format, and foreign weights."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import CHECKPOINTS, TINY, raises

import minroberta
from minroberta import WeightsError
from minroberta.checkpoints.formats import pytorch
from minroberta.checkpoints.read import read

IDS = [[0, 7, 8, 2]]
WEIGHTS = "model.safetensors"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    minroberta.init(TINY, head="masked_lm").save(tmp_path)
    return tmp_path


def rename(directory: Path, prefix: str, **others: np.ndarray) -> None:
    arrays = load_file(directory / WEIGHTS)
    save_file({**{prefix + name: x for name, x in arrays.items()}, **others}, directory / WEIGHTS)


def logits(directory: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return minroberta.load(directory)(IDS).logits


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "module._orig_mod.",
        "module.model._orig_mod.",
        "model.model.",
        "_fsdp_wrapped_module.",
        "net.backbone.0.auto_model.",
    ],
)
def test_a_wrapper(prefix: str, directory: Path) -> None:
    expected = logits(directory)
    rename(directory, prefix)
    assert np.array_equal(logits(directory), expected)


@pytest.mark.parametrize("family", ["roberta-prelayernorm", "data2vec-text", "xlm-roberta-xl"])
@pytest.mark.parametrize("head", ["encoder", "sequence_classification"])
def test_a_wrapper_of_each_family(family: str, head: str, tmp_path: Path) -> None:
    model = minroberta.init({**TINY, "model_type": family}, head=head)
    model.save(tmp_path)
    rename(tmp_path, "model.module.")
    again = minroberta.load(tmp_path)
    assert all(np.array_equal(x, model(IDS)[name]) for name, x in again(IDS).items())


def test_wrappers_within_a_name(directory: Path) -> None:
    """Modules that were compiled or wrapped one by one."""
    expected, arrays = logits(directory), load_file(directory / WEIGHTS)
    within = {name.replace("encoder.layer.1.", "encoder.layer.1._orig_mod."): x for name, x in arrays.items()}
    save_file(within, directory / WEIGHTS)
    assert np.array_equal(logits(directory), expected)


def test_foreign_weights_beside_the_model(directory: Path) -> None:
    expected = logits(directory)
    rename(directory, "student.", **{"projection.weight": np.ones((2, 2), "f4"), "classifier.weight": np.ones((2, 30))})
    with pytest.warns(
        UserWarning, match=r"do not begin with student\., as the model's do \(2\): classifier.weight, pro"
    ):
        model = minroberta.load(directory)
    assert np.array_equal(model(IDS).logits, expected)


def test_two_models_in_a_file(directory: Path) -> None:
    arrays = load_file(directory / WEIGHTS)
    save_file({prefix + name: x for name, x in arrays.items() for prefix in ("a.", "b.")}, directory / WEIGHTS)
    with raises(WeightsError, ValueError, "but lacks", "The nearest names in the file are ", "a.roberta.embeddings"):
        minroberta.load(directory)


def test_names_of_another_kind(directory: Path) -> None:
    """A message shows the names of the file that are nearest to the first one that is missing."""
    arrays = load_file(directory / WEIGHTS)
    save_file({name.replace("word_embeddings", "words"): x for name, x in arrays.items()}, directory / WEIGHTS)
    with raises(WeightsError, ValueError, "lacks 1", "are embeddings.words.weight: rename them, or save"):
        minroberta.load(directory)


def test_a_weight_under_two_names(directory: Path) -> None:
    arrays = load_file(directory / WEIGHTS)
    name = "roberta.embeddings.word_embeddings.weight"
    save_file({**arrays, f"module.{name}": arrays[name]}, directory / WEIGHTS)
    with raises(WeightsError, ValueError, f"module.{name} and {name} are two names for the same weight"):
        minroberta.load(directory)


def test_shards(directory: Path) -> None:
    expected, arrays = logits(directory), load_file(directory / WEIGHTS)
    (directory / WEIGHTS).unlink()
    weight_map = {}
    for index in (0, 1):
        file = f"model-{index + 1:05}-of-00002.safetensors"
        part = {f"module.{name}": arrays[name] for name in list(arrays)[index::2]}
        save_file(part, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert np.array_equal(logits(directory), expected)


@pytest.mark.parametrize("wrapper", ["module.", "model._orig_mod."])
def test_a_state_in_a_state_of_pytorch(wrapper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = CHECKPOINTS / "pytorch-zip"
    expected: Mapping[str, np.ndarray] = dict(read(path))
    made = pytorch.File(path / "pytorch_model.bin")
    made.content = {"state_dict": {wrapper + name: x for name, x in made.content.items()}}
    monkeypatch.setattr(pytorch, "File", lambda _: made)
    found = read(path)
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("name", ["pytorch-legacy", "tensorflow_masked_lm", "flax_masked_lm", "fairseq"])
def test_formats_without_wrappers_are_as_they_were(name: str, tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINTS / name, tmp_path, dirs_exist_ok=True)
    assert not any(key.startswith(("module.", "model.")) for key in read(tmp_path))
