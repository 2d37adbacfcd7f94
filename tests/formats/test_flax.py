"""Flax: weights under PyTorch's names, the framework's outputs, and a message for every invalid file."""

import itertools
import json
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from support import GOLDEN, mutated, mutations, place, raises

from minroberta import Config, Error, Model, WeightsError, weights
from minroberta.checkpoints.formats import flax, safetensors
from minroberta.checkpoints.formats.flax import DEEPEST, LONGEST_NAME, MOST_KEYS, File
from minroberta.config import HEADS

CHECKPOINTS = GOLDEN / "checkpoints"
NAMES = json.loads((CHECKPOINTS / "flax_names.json").read_text())

ROUNDING = 1e-5
"""A part of the largest output: a hundred roundings of float32."""


def leaf(array: np.ndarray) -> msgpack.ExtType:
    """An array as Flax writes it."""
    return extension(list(array.shape), array.dtype.name, array.tobytes())


def extension(*parts: Any, code: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb(parts))


def file_of(directory: Path, content: Any) -> Path:
    """A file with this content, an object or raw bytes."""
    path = directory / "flax_model.msgpack"
    path.write_bytes(content if isinstance(content, bytes) else msgpack.packb(content))
    return path


def loaded(name: str, head: str | None = None) -> tuple[Model, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A golden checkpoint's model, its inputs and the outputs that Flax gave."""
    directory = CHECKPOINTS / f"flax_{name}"
    config = Config.from_dict(json.loads((directory / "config.json").read_text()))
    head = head or config.head
    arrays = weights.load_arrays(
        File(directory / "flax_model.msgpack"), config, head, missing="error", seed=0, check=True
    )
    expected = dict(safetensors.File(directory / "expected.safetensors"))
    inputs = {key: expected.pop(key) for key in ("input_ids", "attention_mask")}
    return Model(config, weights.tree(weights.move(arrays, "float32", np)), head), inputs, expected


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["masked_lm", "sequence_classification", "prelayernorm", "encoder", "token_classification"]
)
def test_outputs_are_flax_s(name: str) -> None:
    model, inputs, expected = loaded(name)
    outputs = model(**inputs)
    assert expected
    for key, value in expected.items():
        assert outputs[key].dtype == value.dtype
        assert np.abs(outputs[key] - value).max() <= ROUNDING * np.abs(value).max(), key


def test_an_encoder_of_a_classifiers_file_has_no_pooler() -> None:
    model, inputs, _ = loaded("sequence_classification", head="encoder")
    assert model(**inputs).pooler_output is None


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["roberta", "roberta-prelayernorm"])
def test_names_are_those_that_a_model_takes(tmp_path: Path, kind: str, head: str) -> None:
    decoder = {"is_decoder": True, "add_cross_attention": True} if head == "causal_lm" else {}
    config = Config.from_dict({"model_type": kind, "num_hidden_layers": 1, **decoder})
    content: dict[str, Any] = {}
    for name in NAMES[config.family.architecture + HEADS[head].ending]:
        *path, last = name.split("/")
        node = content
        for part in path:
            node = node.setdefault(part, {})
        node[last] = leaf(np.zeros((1, 1), "f4"))
    arrays = File(file_of(tmp_path, content))
    assert set(weights.canonical_names(arrays, config)) == set(weights.shapes(config, head))


def test_arrays_are_mapped_from_the_file(tmp_path: Path) -> None:
    values = np.arange(6, dtype="f4").reshape(2, 3)
    content = {"a" * length: {"kernel": leaf(values)} for length in range(1, 9)}
    arrays = File(file_of(tmp_path, content))
    mapped = [array for array in arrays.values() if place(array.T)]
    assert len(mapped) == 2  # of eight in a row at all offsets, those that begin at a multiple of four bytes
    for array in arrays.values():
        assert np.array_equal(array, values.T)
        assert array.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        mapped[0][0, 0] = 1


def test_only_kernels_are_transposed(tmp_path: Path) -> None:
    values = np.arange(6, dtype="f4").reshape(2, 3)
    arrays = File(file_of(tmp_path, {"a": {end: leaf(values) for end in ("kernel", "bias", "other")}}))
    assert {name: array.shape for name, array in arrays.items()} == {
        "a.weight": (3, 2),
        "a.bias": (2, 3),
        "a.other": (2, 3),
    }
    for end in ("embedding", "scale"):
        assert File(file_of(tmp_path, {"a": {end: leaf(values)}}))["a.weight"].shape == (2, 3)


@pytest.mark.parametrize("dtype", [name for name in flax.SIZES if name != "bfloat16"])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 3), (300,), (70000,)])
def test_dtypes_and_shapes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = (np.arange(np.prod(shape, dtype=int)) % 100).reshape(shape).astype(dtype)
    array = File(file_of(tmp_path, {"a": leaf(values)}))["a"]
    assert array.dtype == values.dtype
    assert array.shape == shape
    assert np.array_equal(array, values)


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    bits = np.arange(65536, dtype="<u2")
    array = File(file_of(tmp_path, {"a": extension([256, 256], "bfloat16", bits.tobytes())}))["a"]
    assert array.dtype == np.float32
    assert np.array_equal(array.reshape(-1).view("u4"), np.arange(65536, dtype="u4") << 16)


def test_every_way_to_write_a_length(tmp_path: Path) -> None:
    """A writer may use more bytes for a length than it needs."""
    data = np.array([1.5, -2], "f4").tobytes()
    twos = (b"\2", b"\xcc\2", b"\xcd\0\2", b"\xce\0\0\0\2", b"\xcf" + bytes(7) + b"\2")
    shapes = [head + two for head in (b"\x91", b"\xdc\0\1", b"\xdd\0\0\0\1") for two in twos]
    texts = [head + b"float32" for head in (b"\xa7", b"\xd9\7", b"\xda\0\7", b"\xdb\0\0\0\7")]
    binaries = [head + data for head in (b"\xc4\x08", b"\xc5\0\x08", b"\xc6\0\0\0\x08")]
    for shape, text, binary in itertools.product(shapes, texts, binaries):
        inner = b"\x93" + shape + text + binary
        for head in (b"\xc7", b"\xc8\0", b"\xc9\0\0\0"):
            path = file_of(tmp_path, b"\xdf\0\0\0\1\xa1a" + head + bytes([len(inner)]) + b"\1" + inner)
            assert File(path)["a"].tolist() == [1.5, -2]
    for start in (b"\x81", b"\xde\0\1"):
        assert set(File(file_of(tmp_path, start + b"\xa1a" + msgpack.packb(ONE)))) == {"a"}


def test_a_file_without_arrays(tmp_path: Path) -> None:
    assert dict(File(file_of(tmp_path, {}))) == {}
    assert dict(File(file_of(tmp_path, {"a": {}}))) == {}


# --- hostile files --------------------------------------------------------------------------------------------------


@contextmanager
def refused(*telling: str) -> Iterator[None]:
    """Expect, at once, a WeightsError that names the file and says these things."""
    start = time.perf_counter()
    with raises(WeightsError, ValueError, "flax_model.msgpack", *telling):
        yield
    assert time.perf_counter() - start < 5


def test_every_truncation(tmp_path: Path) -> None:
    whole = msgpack.packb({"a": {"kernel": leaf(np.ones((2, 3), "f4"))}, "b": leaf(np.ones(2, "f2"))})
    for size in range(len(whole)):
        with refused(f"({size} bytes) is not a readable Flax file"):
            File(file_of(tmp_path, whole[:size]))


def test_something_after_the_end(tmp_path: Path) -> None:
    with refused("its map ends at byte 1, but the file has 2 bytes"):
        File(file_of(tmp_path, b"\x80\x80"))


def test_a_map_a_million_deep(tmp_path: Path) -> None:
    with refused(f"at most {DEEPEST} nested maps, are supported"):
        File(file_of(tmp_path, b"\x81\xa1a" * 1_000_000 + b"\x80"))


def test_lists_a_million_deep(tmp_path: Path) -> None:
    with refused("it holds a list"):
        File(file_of(tmp_path, b"\x81\xa1a" + b"\x91" * 1_000_000))


def test_a_million_empty_maps(tmp_path: Path) -> None:
    with refused(f"more than {MOST_KEYS} keys"):
        File(file_of(tmp_path, b"\xdf\0\x10\0\0" + b"\xa1a\x80" * 2**20))


def test_a_name_given_twice(tmp_path: Path) -> None:
    one = msgpack.packb(leaf(np.ones(1, "f4")))
    with refused("it holds a twice"):
        File(file_of(tmp_path, b"\x82" + (b"\xa1a" + one) * 2))


def test_two_names_of_one_weight(tmp_path: Path) -> None:
    with refused("a/scale", "a/weight", "two names for the same weight"):
        File(file_of(tmp_path, {"a": {end: leaf(np.ones(1, "f4")) for end in ("scale", "weight")}}))


ONE = leaf(np.ones(1, "f4"))
NOT_MODELS = {
    "empty list": [],
    "number": 3,
    "null": b"\xc0",
    "array alone": ONE,
    "never used": b"\xc1",
    "number for a key": {3: ONE},
    "NaN for a key": {float("nan"): ONE},
    "null for a key": {None: ONE},
    "bytes for a key": {b"a": ONE},
    "array for a key": b"\x81" + msgpack.packb(ONE) * 2,
    "list of arrays": {"a": [ONE]},
    "number in a map": {"a": 1.5},
    "text in a map": {"a": "b"},
    "bytes in a map": {"a": b"1234"},
    "truth in a map": {"__msgpack_chunked_array__": True},
    "another extension": {"a": msgpack.ExtType(2, b"1234")},
    "time": {"a": msgpack.Timestamp(1)},
    "number of NumPy's": {"a": extension([], "float32", b"1234", code=3)},
    "no extension's content": {"a": msgpack.ExtType(1, b"")},
    "key that is not UTF-8": b"\x81\xa1\xff" + msgpack.packb(ONE),
    "map of four billion": b"\xdf\xff\xff\xff\xff",
    "text of four gigabytes": b"\x81\xdb\xff\xff\xff\xff",
    "extension of four gigabytes": b"\x81\xa1a\xc9\xff\xff\xff\xff\1",
}


@pytest.mark.parametrize("content", NOT_MODELS.values(), ids=list(NOT_MODELS))
def test_other_content(tmp_path: Path, content: Any) -> None:
    with refused("is not a readable Flax file"):
        File(file_of(tmp_path, content))


LIES = {
    "two parts": ([1], "float32"),
    "four parts": ([1], "float32", b"1234", 0),
    "shape is a number": (1, "float32", b"1234"),
    "shape is a map": ({}, "float32", b"1234"),
    "fraction in a shape": ([1.0], "float32", b"1234"),
    "text in a shape": (["1"], "float32", b"1234"),
    "list in a shape": ([[1]], "float32", b"1234"),
    "negative shape": ([-1], "float32", b"1234"),
    "two negatives": ([-1, -1], "float32", b"1234"),
    "shape too small": ([1], "float32", b"12345678"),
    "shape too large": ([2], "float32", b"1234"),
    "shape that overflows": ([2**32, 2**32], "float32", b""),
    "shape that overflows to its size": ([2**62 + 1], "float32", b"1234"),
    "shape of 64 bits": ([2**64 - 1], "float32", b"1234"),
    "a million axes": ([1] * 1_000_000, "float32", b"1234"),
    "another dtype's size": ([1], "float64", b"1234"),
    "dtype of objects": ([1], "object", b"12345678"),
    "dtype O": ([1], "O", b"12345678"),
    "dtype of fields": ([1], "f4,O", b"12345678"),
    "dtype of texts": ([1], "str32", b"1234"),
    "dtype of dates": ([1], "datetime64[s]", b"12345678"),
    "dtype void": ([1], "void32", b"1234"),
    "dtype is bytes": ([1], b"float32", b"1234"),
    "dtype is null": ([1], None, b"1234"),
    "dtype is a list": ([1], ["float32"], b"1234"),
    "long dtype": ([1], "x" * 10_000, b"1234"),
    "bytes are a text": ([1], "float32", "1234"),
    "bytes are a list": ([1], "float32", [1, 2, 3, 4]),
}


@pytest.mark.parametrize("parts", LIES.values(), ids=list(LIES))
def test_an_array_that_lies(tmp_path: Path, parts: tuple[Any, ...]) -> None:
    with refused("is not a readable Flax file"):
        File(file_of(tmp_path, {"a": extension(*parts)}))


@pytest.mark.parametrize("extra", [b"\0", b"more"])
def test_an_extension_longer_than_its_array(tmp_path: Path, extra: bytes) -> None:
    with refused("has 4 bytes, which do not fit"):
        File(file_of(tmp_path, {"a": msgpack.ExtType(1, ONE.data + extra)}))


def test_an_array_longer_than_its_extension(tmp_path: Path) -> None:
    """Such an array would end within the next one."""
    inner = b"\x93\x91\2\xa7float32\xc4\x08" + bytes(8)
    with refused("has 8 bytes, which do not fit"):
        File(file_of(tmp_path, b"\x81\xa1a\xc7" + bytes([len(inner) - 4]) + b"\1" + inner))


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [0, 2**63], [2**64 - 1, 0]])
def test_a_shape_that_numpy_cannot_hold(tmp_path: Path, shape: list[int]) -> None:
    file = File(file_of(tmp_path, {"a": extension(shape, "float32", b"")}))
    with refused("NumPy cannot hold a: "):
        file["a"]


def test_a_long_text_that_is_there(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"\x81\xdb" + struct.pack(">I", 2**31))
    os.truncate(path, 2**31 + 6)  # sparse: it takes no space on the disk
    with refused(f"a string of {2**31} bytes; the limit is {LONGEST_NAME}"):
        File(path)


def test_a_long_path_of_short_names(tmp_path: Path) -> None:
    content: Any = {"a": ONE}
    for _ in range(10):
        content = {"x" * 100: content}
    with refused(f"more than {LONGEST_NAME} characters"):
        File(file_of(tmp_path, content))


@pytest.mark.parametrize("kind", ["missing", "empty", "directory"])
def test_a_missing_or_empty_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "flax_model.msgpack"
    if kind == "empty":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    with refused("(0 bytes) is not a readable Flax file"):
        File(path)


@given(mutations("flip", "set", "cut", "insert", "delete", most=400, size=4))
def test_a_damaged_file_gives_arrays_or_an_error(tmp_path: Path, changes: list[tuple[str, int, bytes]]) -> None:
    data = mutated(
        msgpack.packb({"a": {"kernel": leaf(np.ones((2, 3), "f4"))}, "b": leaf(np.ones(2, "f2")), "c": ONE}), changes
    )
    path = file_of(tmp_path, data)
    try:
        for name, array in File(path).items():
            assert np.array(array).nbytes <= 2 * len(data), name
    except Error as error:
        assert re.search(r"flax_model\.msgpack", str(error))
