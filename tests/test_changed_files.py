"""Tests of files that change while they are read, or after a model was loaded from them."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import CHECKPOINTS, raises, tiny

import minroberta
from minroberta import WeightsError
from minroberta.checkpoints import files, modules, read
from minroberta.checkpoints.arrays import Arrays
from minroberta.checkpoints.formats import keras, safetensors
from minroberta.text import embedding
from minroberta.weights import flat

IDS = [[0, 5, 6, 2]]
SENTENCE = "was changed after it was loaded"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("encoder", "float32").save(tmp_path)
    return tmp_path


def file_of(folder: Path) -> Path:
    return folder / "model.safetensors"


def overwrite(path: Path) -> None:
    """Write other numbers into the file, as long as the old ones."""
    time.sleep(0.02)  # a file system's clock has steps
    content = bytearray(path.read_bytes())
    content[-400:] = np.full(100, 3, "<f4").tobytes()
    with path.open("r+b") as file:
        file.write(content)


def cut_short(path: Path) -> None:
    """All is gone, and to read it would end the process."""
    os.truncate(path, 0)


@pytest.mark.parametrize("change", [overwrite, cut_short])
def test_a_file_that_was_written_to(change: Any, folder: Path) -> None:
    model = minroberta.load(folder, head="encoder")
    assert model(IDS)
    change(file_of(folder))
    for call in (lambda: model(IDS), lambda: model(IDS, skip_padding=True), lambda: model.on_rows([IDS[0]])):
        with raises(WeightsError, ValueError, str(file_of(folder)), SENTENCE, "load the model again, with copy=True"):
            call()
    with raises(WeightsError, ValueError, SENTENCE):
        minroberta.trace(model, IDS)


def test_a_file_that_was_replaced(folder: Path) -> None:
    """The model keeps the file that it was loaded from, also without a name."""
    model = minroberta.load(folder, head="encoder")
    before = model(IDS).last_hidden_state
    tiny("encoder", "float32", hidden_size=10, num_attention_heads=5).save(folder)
    assert np.array_equal(model(IDS).last_hidden_state, before)
    file_of(folder).unlink()
    assert np.array_equal(model(IDS).last_hidden_state, before)


@pytest.mark.parametrize("change", [overwrite, cut_short])
def test_a_copy_does_not_depend_on_the_file(change: Any, folder: Path) -> None:
    model = minroberta.load(folder, head="encoder", copy=True)
    before = model(IDS).last_hidden_state
    change(file_of(folder))
    assert np.array_equal(model(IDS).last_hidden_state, before)
    assert not model.files
    assert all(array.flags.owndata and array.flags.writeable for array in flat(model.params).values())


def test_converted_weights_do_not_depend_on_the_file(folder: Path) -> None:
    model = minroberta.load(folder, head="encoder", dtype="float64")
    overwrite(file_of(folder))
    assert model(IDS)


def test_one_of_several_files(folder: Path, tmp_path: Path) -> None:
    """A head beside the encoder of another file, as shards are."""
    from safetensors.numpy import load_file, save_file

    held = load_file(file_of(folder))
    names = sorted(held)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, own in shards.items():
        save_file({name: held[name] for name in own}, folder / shard)
    file_of(folder).unlink()
    index = {"weight_map": {name: shard for shard, own in shards.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    model = minroberta.load(folder, head="encoder")
    assert model(IDS)
    overwrite(folder / "model-00002-of-00002.safetensors")
    with raises(WeightsError, ValueError, "model-00002-of-00002.safetensors", SENTENCE):
        model(IDS)


def test_copies_of_a_model(folder: Path) -> None:
    """A shallow copy reads from the same file; one that is pickled or deep is in memory."""
    model = minroberta.load(folder, head="encoder")
    shallow, deep, pickled = copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    before = model(IDS).last_hidden_state
    overwrite(file_of(folder))
    with raises(WeightsError, ValueError, SENTENCE):
        shallow(IDS)
    for other in (deep, pickled):
        assert np.array_equal(other(IDS).last_hidden_state, before)


def test_jax_on_a_processor_uses_the_mapped_memory(folder: Path) -> None:
    jax = pytest.importorskip("jax")
    model = minroberta.load(folder, head="encoder", xp=jax.numpy)
    assert model(IDS)
    overwrite(file_of(folder))
    with raises(WeightsError, ValueError, SENTENCE):
        model(IDS)


def test_no_descriptor_stays_open(folder: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted in /proc")
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        model = minroberta.load(folder, head="encoder")
        assert model(IDS)
    del model
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 2


# --- while they are read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_link_that_is_exchanged_between_the_check_and_the_opening(
    name: str, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first check sees a file of the directory; what is opened is another one, from outside."""
    outside = tmp_path_factory.mktemp("outside") / "secret"
    file_of(folder).rename(outside)
    (folder / name).symlink_to(outside)
    checks = []

    def inside(directory: Path, name: str, error: type[Exception]) -> Path:
        checks.append(name)
        if len(checks) == 1:
            return directory / name
        return files.inside(directory, name, error)

    monkeypatch.setattr(read, "inside", inside)
    with raises(WeightsError, ValueError, "is a link that points outside its directory"):
        read.read(folder)


def test_a_file_that_is_exchanged_while_it_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in the directory, but they are not the same."""
    read_file = read.read_file

    def and_exchange(path: Path) -> Arrays:
        arrays = read_file(path)
        shutil.copy(path, folder / "new")
        (folder / "new").replace(path)
        return arrays

    monkeypatch.setattr(read, "read_file", and_exchange)
    with raises(WeightsError, ValueError, "model.safetensors was replaced while it was read: load it again"):
        read.read(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_file_that_is_exchanged_with_a_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for."""
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    monkeypatch.setattr(files, "is_file", lambda path: True)
    with raises(minroberta.ConfigError, ValueError, "config.json was replaced while it was read: load it again"):
        files.read_json(folder / "config.json", minroberta.ConfigError)


def exchange(folder: Path, other: Path) -> None:
    """Put a link to another folder in the place of a folder."""
    if not folder.is_symlink():
        folder.rename(folder.with_name("aside"))
        folder.symlink_to(other)


@pytest.mark.parametrize("place", ["1_Pooling", "0_Transformer", "2_Dense"])
def test_a_folder_of_a_module_that_is_exchanged_after_the_check(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the folder that is then there is read: neither settings nor weights."""
    kinds = ["Transformer", "Pooling", "Dense"]
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": f"{i}_{kind}"} for i, kind in enumerate(kinds)]
    size = tiny("encoder", "float32").config.hidden_size
    dense = {"in_features": size, "out_features": size, "bias": False, "activation_function": "torch.nn.Identity"}
    tiny("encoder", "float32").save(tmp_path / "in/0_Transformer")
    files.write_json(tmp_path / "in/modules.json", listed)
    for name, settings in (("1_Pooling", {"pooling_mode_mean_tokens": True}), ("2_Dense", dense)):
        (tmp_path / "in" / name).mkdir()
        files.write_json(tmp_path / "in" / name / "config.json", settings)
    safetensors.write(tmp_path / "in/2_Dense/model.safetensors", {"linear.weight": np.eye(size, dtype="f4")}, {})
    assert minroberta.load(tmp_path / "in").embedding
    shutil.copytree(tmp_path / "in", tmp_path / "out")
    checked = files.folder_inside

    def and_exchange(directory: Path, name: str, error: type[minroberta.Error]) -> Path:
        path = checked(directory, name, error)
        if name == place:
            exchange(path, tmp_path / "out" / place)
        return path

    for module in (modules, embedding):
        monkeypatch.setattr(module, "folder_inside", and_exchange)
    with pytest.raises(minroberta.Error, match="is a link that points outside its directory"):
        minroberta.load(tmp_path / "in")


def test_a_folder_of_a_preset_that_is_exchanged_after_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CHECKPOINTS / "keras_nlp_classifier", tmp_path / "in")
    shutil.copytree(tmp_path / "in", tmp_path / "out")

    def and_exchange(directory: Path, name: str, error: type[minroberta.Error]) -> Path:
        path = files.inside(directory, name, error)
        if name.startswith(keras.ASSETS):
            exchange(path.parent, tmp_path / "out" / keras.ASSETS)
        return path

    monkeypatch.setattr(keras, "inside", and_exchange)
    with pytest.raises(minroberta.Error, match="is a link that points outside its directory"):
        read.read(tmp_path / "in")


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="a file is opened by its whole path here")
def test_a_folder_that_is_exchanged_between_the_check_and_the_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in", "out"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "folder/file.json").write_text("{}", encoding="utf-8")
    path, opened = tmp_path / "in/folder", files._descriptor

    def exchange_and_open(place: Path, target: str) -> int:
        exchange(path, tmp_path / "out/folder")
        return opened(place, target)

    assert files.read_json(path / "file.json", WeightsError, root=tmp_path / "in") == {}
    monkeypatch.setattr(files, "_descriptor", exchange_and_open)
    with raises(WeightsError, ValueError, "file.json cannot be read: Not a directory"):
        files.read_json(path / "file.json", WeightsError, root=tmp_path / "in")


RACE = """
import os, sys, threading
from pathlib import Path
from minroberta import Error, WeightsError
from minroberta.checkpoints import files

folder, secret, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4]
for place, what in ((folder / "mine", "mine"), (secret, "secret")):
    place.mkdir()
    (place / "file.json").write_text('{"%s": 1}' % what)
if name == "file.json":
    secret /= name
stop, seen = threading.Event(), set()

def exchange():
    turn = 0
    while not stop.is_set():
        turn += 1
        mine = "mine/file.json" if name == "file.json" else "mine"
        os.symlink(mine if turn % 2 else secret, folder / "link")
        os.replace(folder / "link", folder / name)

path = folder / name if name == "file.json" else folder / name / "file.json"
thread = threading.Thread(target=exchange)
thread.start()
sys.setswitchinterval(1e-5)
for _ in range(int(sys.argv[3])):
    try:
        seen |= files.read_json(path, WeightsError, root=folder).keys()
    except Error as error:
        seen.add(type(error).__name__)
stop.set()
thread.join()
print(sorted(seen))
"""


@pytest.mark.parametrize("name", ["file.json", "folder"])
@pytest.mark.parametrize("count", [3000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_race_for_a_link(count: int, name: str, tmp_path: Path) -> None:
    """A thread exchanges a link without end, to the file or to its folder; nothing is ever read outside."""
    if not hasattr(os, "symlink"):
        pytest.skip("there are no links")
    (tmp_path / "in").mkdir()
    command = [sys.executable, "-c", RACE, str(tmp_path / "in"), str(tmp_path / "secret"), str(count), name]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    assert "mine" in said and "secret" not in said
