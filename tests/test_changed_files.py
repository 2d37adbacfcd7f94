"""Tests of files that change while they are read, or after a model was loaded from them."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import raises, tiny

import minroberta
from minroberta import WeightsError
from minroberta.checkpoints import files, read
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
    config = folder / "config.json"
    opened = Path.open

    def open_another(path: Path, *options: Any, **others: Any) -> Any:
        file = opened(path, *options, **others)
        if path == config:
            (folder / "new").write_text("{}", encoding="utf-8")
            (folder / "new").replace(config)
        return file

    monkeypatch.setattr(Path, "open", open_another)
    with raises(minroberta.ConfigError, ValueError, "config.json was replaced while it was read: load it again"):
        files.read_json(config, minroberta.ConfigError)


RACE = """
import os, sys, threading
from pathlib import Path
from minroberta import Error, WeightsError
from minroberta.checkpoints import files

folder, secret = Path(sys.argv[1]), Path(sys.argv[2])
(folder / "mine").write_text('{"mine": 1}')
secret.write_text('{"secret": 1}')
stop, seen = threading.Event(), set()

def exchange():
    turn = 0
    while not stop.is_set():
        turn += 1
        os.symlink("mine" if turn % 2 else secret, folder / "link")
        os.replace(folder / "link", folder / "file.json")

thread = threading.Thread(target=exchange)
thread.start()
sys.setswitchinterval(1e-5)
for _ in range(int(sys.argv[3])):
    try:
        seen |= files.read_json(folder / "file.json", WeightsError).keys()
    except Error as error:
        seen.add(type(error).__name__)
stop.set()
thread.join()
print(sorted(seen))
"""


@pytest.mark.parametrize("count", [3000, pytest.param(40_000, marks=pytest.mark.slow)])
def test_a_race_for_a_link(count: int, tmp_path: Path) -> None:
    """A thread exchanges a link without end; nothing is ever read outside."""
    if not hasattr(os, "symlink"):
        pytest.skip("there are no links")
    (tmp_path / "in").mkdir()
    command = [sys.executable, "-c", RACE, str(tmp_path / "in"), str(tmp_path / "secret"), str(count)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    assert "mine" in said and "secret" not in said
