"""The work of reading shards is limited for all of them together, as for one file, whatever their format."""

import io
import json
import math
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from generators import GOLDEN
from support import alone, raises, slow_but

from minroberta import WeightsError
from minroberta.checkpoints.formats import flax, hdf5, pytorch, safetensors
from minroberta.checkpoints.read import read

CHECKPOINTS = GOLDEN / "checkpoints"

FORMATS = {
    "safetensors": (CHECKPOINTS / "tensorflow_safetensors/model.safetensors", safetensors, "LARGEST_HEADER"),
    "pytorch-zip": (CHECKPOINTS / "pytorch-zip/pytorch_model.bin", pytorch, "MOST_STEPS"),
    "pytorch-legacy": (CHECKPOINTS / "pytorch-legacy/pytorch_model.bin", pytorch, "MOST_STEPS"),
    "tensorflow": (CHECKPOINTS / "tensorflow_masked_lm/tf_model.h5", hdf5, "MOST_STEPS"),
    "flax": (CHECKPOINTS / "flax_masked_lm/flax_model.msgpack", flax, "MOST_KEYS"),
}
"""A file of each format, and the limit on the work of reading one."""


def index(folder: Path, name: str, count: int) -> Path:
    """The index of `count` shards. Which arrays they hold does not matter: the work is counted before that."""
    stem, ending = name.split(".")
    shards = [f"{stem}-{i + 1:05}-of-{count:05}.{ending}" for i in range(count)]
    path = folder / f"{name}.index.json"
    path.write_text(json.dumps({"weight_map": dict(zip(map(str, range(count)), shards, strict=True))}))
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_each_shard_is_within_the_limit_and_all_are_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, module, name = FORMATS[kind]
    (part,) = read(file).maps
    assert 0 < part.work < 0.1  # a tiny model is far from the limit
    monkeypatch.setattr(module, name, math.ceil(getattr(module, name) * part.work / 0.6))
    (part,) = read(file).maps
    assert 0.5 < part.work <= 0.6
    path = index(tmp_path, file.name, 2)
    for shard in sorted(set(json.loads(path.read_text())["weight_map"].values())):
        shutil.copy(file, tmp_path / shard)
    with raises(WeightsError, ValueError, str(path), "names shards whose headers are together larger than"):
        read(path)


# --- a hundred large ones -------------------------------------------------------------------------------------------


def header(values: dict[str, object]) -> bytes:
    text = json.dumps(values, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\1tQ"
STATE = b"}" + text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0K\1\x85K\1\x85tRs"
"""A dict with one array of one number."""


def archive(before: bytes = b"", entries: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("x/data.pkl", b"\x80\x02" + before + STATE + b".")
        made.writestr("x/data/0", bytes(4))
        for i in range(entries):
            made.writestr(zipfile.ZipInfo(f"x/{i}"), b"")
    return file.getvalue()


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
JUNK: list[object] = [{"": 0}] * 1_100_000
MAKERS: dict[str, Callable[[], bytes]] = {
    "model.safetensors": lambda: header({str(i): EMPTY for i in range(150_000)}),
    "notes.safetensors": lambda: header({"__metadata__": {str(i): "" for i in range(600_000)}, "a": EMPTY}),
    "junk.safetensors": lambda: header({"a": {**EMPTY, "x": JUNK}}),
    "steps.bin": lambda: archive(b"N" * (pytorch.MOST_STEPS - 100)),
    "entries.bin": lambda: archive(entries=150_000),
    "keys.msgpack": lambda: b"\xde\xc3\x50" + b"".join(b"\xa5" + f"{i:05}".encode() + b"\x80" for i in range(50_000)),
}
"""Shards that are nearly as much work as one file may be."""

READ = """
import sys
from pathlib import Path
from minroberta import WeightsError
from minroberta.checkpoints.read import read
try:
    read(Path(sys.argv[1]))
except WeightsError as error:
    print(error)
"""


@pytest.mark.parametrize("name", slow_but(MAKERS, "steps.bin"))
def test_large_shards_take_neither_time_nor_memory(name: str, tmp_path: Path) -> None:
    path, content = index(tmp_path, name, 40), MAKERS[name]()
    for shard in json.loads(path.read_text())["weight_map"].values():
        (tmp_path / shard).write_bytes(content)
    assert "names shards whose headers are together larger than that of one file may be" in alone(READ, path)
