"""Every published format, in files that the real frameworks wrote: recognised by content, with the right outputs."""

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import CHECKPOINTS, TINY, raises

import minroberta
from minroberta import Config, Model, NotFoundError, WeightsError, loading, weights
from minroberta.checkpoints import read as reading
from minroberta.checkpoints.arrays import Arrays
from minroberta.checkpoints.formats import pytorch
from minroberta.checkpoints.read import read, read_file
from minroberta.weights import shapes

DIRECTORIES = sorted(
    path.parent.name for path in CHECKPOINTS.glob("*/expected.safetensors") if "tensors" not in path.parent.name
)
WHOLE = [name for name in DIRECTORIES if "sharded" not in name]
ROUNDING = 2e-5
"""A part of the largest output: five times the largest difference seen, as frameworks add in different orders."""

pytestmark = pytest.mark.filterwarnings(
    "ignore:ignored arrays", "ignore:model_type is", "ignore:head 'masked_lm' attends"
)


def outputs(model: Model, name: str) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Each output that the framework gave: its name, ours, the framework's, and a mask of the positions to compare."""
    expected = load_file(CHECKPOINTS / name / "expected.safetensors")
    ids, mask = expected.pop("input_ids"), expected.pop("attention_mask")
    found = {**Model(model.config, model.params, "encoder")(ids, mask), **model(ids, mask)}
    found["features"] = found["last_hidden_state"]  # as fairseq calls it
    for key, its in expected.items():
        ours = found[key]
        per_place = its.shape[:2] == mask.shape
        yield key, ours, its, mask.astype(bool) if per_place else np.full(len(its), True)


def weights_file(name: str) -> Path:
    """The file of a directory that holds its weights, or those of its body."""
    (found,) = [
        path
        for path in (CHECKPOINTS / name).iterdir()
        if path.suffix in (".bin", ".pt", ".h5", ".msgpack", ".safetensors")
        and not path.name.startswith(("expected", "task"))
    ]
    return found


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_checkpoint_gives_what_its_framework_gave(name: str) -> None:
    model = minroberta.load(CHECKPOINTS / name)
    seen = list(outputs(model, name))
    assert seen
    for key, ours, its, places in seen:
        assert ours.shape == its.shape, key
        difference = abs(ours[places] - its[places]).max()
        assert difference < ROUNDING * abs(its[places]).max(), (key, difference)


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """Under another name, with only the configuration next to it."""
    file = weights_file(name)
    shutil.copytree(CHECKPOINTS / name, tmp_path, dirs_exist_ok=True)
    if "keras" in name:  # its weights are in two files with fixed names
        assert set(read_file(file)) == set(read(tmp_path)) > set()
        return
    (tmp_path / file.name).rename(tmp_path / "anything")
    own, renamed = minroberta.load(file), minroberta.load(tmp_path / "anything")
    for (_, ours, _, _), (_, again, _, _) in zip(outputs(own, name), outputs(renamed, name), strict=True):
        assert np.array_equal(ours, again)


@pytest.mark.parametrize("name", DIRECTORIES)
def test_saved_in_hugging_faces_format(name: str, tmp_path: Path) -> None:
    """Saved in Hugging Face's format and loaded again, a model is the same up to the rounding of another layout."""
    model = minroberta.load(CHECKPOINTS / name)
    model.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = minroberta.load(tmp_path)
    assert again.head == model.head
    for (_, ours, _, _), (key, same, _, _) in zip(outputs(model, name), outputs(again, name), strict=True):
        np.testing.assert_allclose(ours, same, rtol=0, atol=1e-6 * abs(ours).max(), err_msg=key)


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("changes", [{}, {"is_decoder": True}])
def test_a_load_checks_once(name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One configuration is built; two for a KerasHub preset, as its sizes decide the names of its arrays."""
    counts = dict.fromkeys(["configuration", "names", "head"], 0)

    def count(what: str, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            counts[what] += 1
            return function(*arguments)

        monkeypatch.setattr(owner, name, counted)

    count("configuration", Config, "__post_init__")
    count("names", weights, "_check_held")
    count("head", loading, "check_head")
    count("head", minroberta.model, "check_head")
    minroberta.load(CHECKPOINTS / name, config=changes)
    assert counts == {"configuration": 2 if name.startswith("keras") else 1, "names": 1, "head": 1}


@pytest.mark.filterwarnings("default:model_type is")
def test_names_decide_the_family() -> None:
    with pytest.warns(UserWarning, match="model_type is 'roberta', but the weights are named as in 'roberta-prelayer"):
        model = minroberta.load(CHECKPOINTS / "dinky-huggingface")
    assert model.config.norm_first


def test_the_best_of_several_is_read(tmp_path: Path) -> None:
    """Safetensors before PyTorch's file, and that before TensorFlow's."""
    shutil.copytree(CHECKPOINTS / "pytorch-zip", tmp_path, dirs_exist_ok=True)
    (tmp_path / "tf_model.h5").write_bytes(b"nothing")
    assert read(tmp_path).path.name == "pytorch_model.bin"
    minroberta.load(tmp_path).save(tmp_path / "saved")
    shutil.copy(tmp_path / "saved" / "model.safetensors", tmp_path)
    assert read(tmp_path).path.name == "model.safetensors"


def test_a_shard_of_another_format(tmp_path: Path) -> None:
    """An index may only name files of its format, next to it."""
    shutil.copytree(CHECKPOINTS / "pytorch-sharded", tmp_path, dirs_exist_ok=True)
    index = tmp_path / "pytorch_model.bin.index.json"
    for bad in ("../pytorch_model-00001-of-00002.bin", "https://example.com/x.bin", "expected.safetensors"):
        index.write_text(index.read_text().replace("pytorch_model-00001-of-00002.bin", bad))
        with raises(WeightsError, ValueError, "a shard must be a .bin file next to the index"):
            read(tmp_path)
        index.write_text(index.read_text().replace(bad, "pytorch_model-00001-of-00002.bin"))
    assert read(tmp_path)
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    with raises(NotFoundError, FileNotFoundError, "download the checkpoint again"):
        read(tmp_path)


def test_a_directory_without_weights(tmp_path: Path) -> None:
    with raises(NotFoundError, FileNotFoundError, "holds no weights: it has none of model.safetensors, "):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"\x0a\x0e\x0a\x05<unk>\x15\0\0"])
def test_a_file_of_unknown_format(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with raises(
        WeightsError, ValueError, "is not in a supported format (safetensors, PyTorch, HDF5, Flax): it begins with b"
    ):
        read_file(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x82", b"\xde", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80\x04"])
def test_a_file_that_ends_early(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with raises(WeightsError, ValueError, str(tmp_path / "file")):
        read_file(tmp_path / "file")


# --- links, devices, and files that lie -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin"])
def test_a_link_out_of_the_directory(name: str, tmp_path: Path) -> None:
    """Otherwise the author of the directory could choose which file of this machine is read."""
    directory = tmp_path / "model"
    shutil.copytree(CHECKPOINTS / "pytorch-zip", directory)
    secret = tmp_path / "secret"
    secret.write_bytes((directory / name).read_bytes() if (directory / name).exists() else b"{}")
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(secret)
    with pytest.raises(minroberta.Error, match="is a link that points outside its directory"):
        minroberta.load(directory)


def test_a_tokenizer_that_is_a_link_out_of_the_directory(tmp_path: Path) -> None:
    """The weights are loaded, and the link is not followed."""
    shutil.copytree(CHECKPOINTS / "pytorch-zip", tmp_path / "model")
    (tmp_path / "secret").write_bytes(b"{}")
    (tmp_path / "model/tokenizer.json").unlink(missing_ok=True)
    (tmp_path / "model/tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.warns(UserWarning, match="is a link that points outside its directory"):
        model = minroberta.load(tmp_path / "model")
    with pytest.raises(minroberta.TokenizerError, match="is a link that points outside its directory"):
        model.tokenize("a")


def test_a_link_within_the_directory_and_one_that_was_named(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINTS / "pytorch-zip", tmp_path, dirs_exist_ok=True)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "weights")
    (tmp_path / "pytorch_model.bin").symlink_to("weights")
    assert minroberta.load(tmp_path)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "config.json", tmp_path / "other")
    (tmp_path / "other" / "mine.bin").symlink_to(tmp_path / "weights")
    assert minroberta.load(tmp_path / "other" / "mine.bin")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin"])
def test_a_device_or_a_pipe(name: str, tmp_path: Path) -> None:
    """Loading neither blocks nor reads without end."""
    shutil.copytree(CHECKPOINTS / "pytorch-zip", tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(minroberta.Error):
        minroberta.load(tmp_path)
    with pytest.raises(minroberta.Error):
        read(tmp_path / name)


class Over(Arrays):
    """A file of a thousand bytes that claims any shapes."""

    path, size, format = Path("small.bin"), 1000, "none"

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._entries = shapes

    def __getitem__(self, name: str) -> np.ndarray:
        return np.broadcast_to(np.float32(0), self._entries[name])


def test_weights_used_over_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file with one storage under every name would become a large model in memory."""
    config = Config.from_dict({**TINY, "vocab_size": 10_000})
    (tmp_path / "small.bin").touch()
    monkeypatch.setattr(reading, "read_file", lambda _: Over(shapes(config, "encoder")))
    with raises(WeightsError, ValueError, "small.bin has only 1000 bytes for", "its arrays share the same bytes"):
        read(tmp_path / "small.bin")


def test_a_real_file_used_over_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand names of one tensor, which takes a moment to write, and would take a gigabyte to convert."""
    made = pytorch.File(CHECKPOINTS / "pytorch-zip" / "pytorch_model.bin")
    name, tensor = max(made.content.items(), key=lambda item: item[1].storage.length)
    monkeypatch.setattr(pytorch, "File", lambda _: made)
    made.content = {f"{name}.{i}": tensor for i in range(1000)}
    with raises(WeightsError, ValueError, "pytorch_model.bin has only", "its arrays share the same bytes"):
        read(CHECKPOINTS / "pytorch-zip")


# --- what training scripts save -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model."])
def test_a_state_in_a_state(state: str, wrapper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = CHECKPOINTS / "pytorch-zip"
    expected = dict(read(path))
    made = pytorch.File(path / "pytorch_model.bin")
    made.content = {"epoch": 3, state: {wrapper + name: x for name, x in made.content.items()}}
    monkeypatch.setattr(pytorch, "File", lambda _: made)
    found = read(path)
    assert list(found) == list(expected)
    for name in found:
        assert np.array_equal(found[name], expected[name])
