"""Safetensors files: mapped without a copy, written whole or not at all, and a message for every invalid file."""

import json
import mmap
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import load_file, save_file
from support import mutated, mutations, owner, raises

from minroberta import Error, WeightsError
from minroberta.checkpoints.formats.safetensors import DTYPES, LARGEST_HEADER, File, write

NUMPY = {dtype: numpy for dtype, numpy in DTYPES.items() if dtype != "BF16"}


def file_of(directory: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A file of a length (by default the right one), a header (JSON or raw bytes) and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = directory / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: list[Any], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def entries(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, read."""
    return {name: np.array(array) for name, array in File(path).items()}


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path: Path) -> Path:
    path = tmp_path / "real.safetensors"
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.arange(3, dtype="f8"), "c": np.zeros((0, 2), "f4")}
    save_file(arrays, path, metadata={"format": "pt"})
    return path


def test_arrays_are_mapped_from_the_file(real: Path) -> None:
    file = File(real)
    first, second = file["a"], file["a"]
    assert isinstance(owner(first), mmap.mmap)
    assert owner(first) is owner(file["b"])
    assert np.shares_memory(first, second)
    assert first.dtype == np.float32
    assert not first.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


def test_a_file_is_a_mapping(real: Path) -> None:
    file = File(real)
    assert set(file) == {"a", "b", "c"}
    assert len(file) == 3
    assert "a" in file
    assert "__metadata__" not in file
    assert file["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(KeyError):
        file["d"]


def test_arrays_outlive_the_file(real: Path) -> None:
    array = File(real)["b"]
    real.unlink()
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", NUMPY)
def test_dtypes(tmp_path: Path, dtype: str) -> None:
    values = np.array([[0, 1, 0], [1, 1, 0]], NUMPY[dtype])
    array = File(file_of(tmp_path, {"a": entry([2, 3], 0, values.nbytes, dtype)}, values.tobytes()))["a"]
    assert array.dtype == values.dtype
    assert np.array_equal(array, values)


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    """Each of the 65536 patterns is the upper half of a float32's: infinities, denormals and NaN's payloads too."""
    patterns = np.arange(65536, dtype="<u2")
    array = File(file_of(tmp_path, {"a": entry([256, 256], 0, 131072, "BF16")}, patterns.tobytes()))["a"]
    assert array.shape == (256, 256)
    assert array.dtype == np.float32
    assert np.array_equal(array.reshape(-1).view("u4"), np.arange(65536, dtype="u4") << 16)
    assert array[0x3F, 0x80] == 1.0
    assert array[0xC0, 0x49] == -3.140625


def test_an_array_that_is_not_asked_for_is_not_widened(tmp_path: Path) -> None:
    """`in` needs only the name: gigabytes of bfloat16 stay in the file."""
    size = 2**33
    path = file_of(tmp_path, {"a": entry([size // 2], 0, size, "BF16")})
    os.truncate(path, path.stat().st_size + size)
    assert "a" in File(path)


@pytest.mark.parametrize("spaces", range(8))
def test_data_that_is_not_aligned(tmp_path: Path, spaces: int) -> None:
    """A header may have any length; arrays that are not aligned in the file become aligned copies."""
    values = np.array([1.5, -2, 3])
    header = json.dumps({"a": entry([3], 0, 24, "F64"), "b": entry([], 24, 25, "U8")}).encode() + b" " * spaces
    file = File(file_of(tmp_path, header, values.tobytes() + b"\7"))
    assert file["a"].flags.aligned
    assert file["a"].tolist() == values.tolist()
    assert file["b"] == 7


def test_scalars_and_empty_arrays(tmp_path: Path) -> None:
    header = {"none": entry([0], 0, 0), "one": entry([], 0, 4), "rows": entry([3, 0, 2], 4, 4)}
    arrays = entries(file_of(tmp_path, header, struct.pack("<f", 2.5)))
    assert arrays["none"].shape == (0,)
    assert arrays["one"] == 2.5
    assert arrays["one"].shape == ()
    assert arrays["rows"].shape == (3, 0, 2)


@pytest.mark.parametrize("header", [{}, {"__metadata__": {"format": "pt"}}])
def test_a_file_without_arrays(tmp_path: Path, header: Any) -> None:
    assert entries(file_of(tmp_path, header)) == {}


# --- hostile files --------------------------------------------------------------------------------------------------


@contextmanager
def refused(*telling: str) -> Iterator[None]:
    """Expect, at once, a WeightsError that names the file and says these things."""
    start = time.perf_counter()
    with raises(WeightsError, ValueError, ".safetensors", *telling):
        yield
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("data", [b"", b"\0", b"\1\0\0\0\0\0\0", b"\0" * 8, b"\2" + b"\0" * 7])
def test_tiny_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with refused(f"({len(data)} bytes) is not a readable safetensors file", "Download or save it again"):
        File(tmp_path / "x.safetensors")


def test_every_truncation(real: Path) -> None:
    whole = real.read_bytes()
    for size in range(len(whole)):
        real.write_bytes(whole[:size])
        with refused(f"({size} bytes) is not a readable safetensors file"):
            File(real)


def test_something_after_the_end(real: Path) -> None:
    real.write_bytes(real.read_bytes() + b"\0")
    with refused("is not a readable safetensors file"):
        File(real)


HEADER = json.dumps({"a": entry([1], 0, 4)}).encode()


@pytest.mark.parametrize("length", [len(HEADER) + 5, 1000, LARGEST_HEADER])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    with refused("is not a readable safetensors file"):
        File(file_of(tmp_path, HEADER, b"1234", length))


@pytest.mark.parametrize("length", [LARGEST_HEADER + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_absurd_length_of_the_header(tmp_path: Path, length: int) -> None:
    with refused(f"its header has {length} bytes; the limit is {LARGEST_HEADER}"):
        File(file_of(tmp_path, HEADER, b"1234", length))


def test_a_long_header_that_is_there(tmp_path: Path) -> None:
    """A million entries would take a gigabyte and half a minute; they are refused unread."""
    path = file_of(tmp_path, HEADER, b"", 99_000_000)
    os.truncate(path, 100_000_000)  # sparse: it takes no space on the disk
    with refused("its header has 99000000 bytes"):
        File(path)


NOT_HEADERS = {
    "no JSON": b"hello, world",
    "half": b'{"a": ',
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "no UTF-8": b'{"\xff": 1}',
    "UTF-16": json.dumps({"a": entry([1], 0, 4)}).encode("utf-16"),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep entry": b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":' + b"[" * 9999 + b"]" * 9999 + b"}}",
    "long number": b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":' + b"1" * 9999 + b"}}",
    "entry is null": b'{"a": null}',
    "entry is a number": b'{"a": 3}',
    "entry is a list": b'{"a": ["F32", [1], [0, 4]]}',
    "dtype is an object": b'{"a": {"dtype": {"F32": null}, "shape": [1], "data_offsets": [0, 4]}}',
    "no dtype": b'{"a": {"shape": [1], "data_offsets": [0, 4]}}',
    "no shape": b'{"a": {"dtype": "F32", "data_offsets": [0, 4]}}',
    "no offsets": b'{"a": {"dtype": "F32", "shape": [1]}}',
    "metadata of numbers": b'{"__metadata__": {"a": 1}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
}


@pytest.mark.parametrize("header", NOT_HEADERS.values(), ids=list(NOT_HEADERS))
def test_an_invalid_header(tmp_path: Path, header: bytes) -> None:
    with refused("is not a readable safetensors file"):
        File(file_of(tmp_path, header, b"1234"))


LIES = {
    "overlap": {"a": entry([2], 0, 8), "b": entry([2], 4, 12), "c": entry([1], 12, 16)},
    "same bytes twice": {"a": entry([4], 0, 16), "b": entry([4], 0, 16)},
    "out of bounds": {"a": entry([4], 0, 16), "b": entry([1], 16, 20)},
    "all out of bounds": {"a": entry([4], 16, 32)},
    "far out of bounds": {"a": entry([4], 2**62, 2**62 + 16)},
    "offset past 64 bits": {"a": entry([4], 2**64, 2**64 + 16)},
    "backwards": {"a": entry([4], 16, 0)},
    "negative offset": {"a": entry([4], -16, 0)},
    "hole": {"a": entry([1], 0, 4), "b": entry([1], 12, 16)},
    "hole at the start": {"a": entry([3], 4, 16)},
    "hole at the end": {"a": entry([3], 0, 12)},
    "three offsets": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8, 16]}},
    "shape too small": {"a": entry([3], 0, 16)},
    "shape too large": {"a": entry([5], 0, 16)},
    "shape of another dtype": {"a": entry([4], 0, 16, "F64")},
    "shape that overflows": {"a": entry([2**32, 2**32], 0, 16)},
    "shape that overflows to its size": {"a": entry([2**62 + 1, 4], 0, 16)},
    "shape past 64 bits": {"a": entry([2**64], 0, 16)},
    "negative shape": {"a": entry([-4], 0, 16)},
    "two negatives": {"a": entry([-2, -2], 0, 16)},
    "fraction in a shape": {"a": entry([4.0], 0, 16)},
    "text in a shape": {"a": entry(["4"], 0, 16)},
    "unknown dtype": {"a": entry([4], 0, 16, "Q32")},
    "dtype of another case": {"a": entry([4], 0, 16, "f32")},
}


@pytest.mark.parametrize("header", LIES.values(), ids=list(LIES))
def test_a_header_that_lies(tmp_path: Path, header: Any) -> None:
    with refused("(", " bytes) is not a readable safetensors file"):
        File(file_of(tmp_path, header, bytes(16)))


@pytest.mark.parametrize("dtype", ["U16", "U32", "U64", "C64", "F8_E4M3"])
def test_an_unsupported_dtype(tmp_path: Path, dtype: str) -> None:
    size = {"U16": 2, "U32": 4, "F8_E4M3": 1}.get(dtype, 8)
    try:
        file = File(file_of(tmp_path, {"a": entry([2], 0, 2 * size, dtype)}, bytes(2 * size)))
    except WeightsError:
        pytest.skip(f"the library's version does not know {dtype}")
    with refused(f"a has the unsupported dtype {dtype}: the supported ones are F64, F32"):
        file["a"]


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [0, 2**63], [2**64 - 1, 0], [1] * 70])
def test_a_shape_that_numpy_cannot_hold(tmp_path: Path, shape: list[int]) -> None:
    size = 4 if all(shape) else 0
    file = File(file_of(tmp_path, {"a": entry(shape, 0, size)}, bytes(size)))
    with refused("NumPy cannot hold a: "):
        file["a"]


def test_a_name_given_twice(tmp_path: Path) -> None:
    """The safetensors library would silently take the last."""
    first, second = json.dumps(entry([2], 0, 8)), json.dumps(entry([1], 0, 4))
    with refused("its header has a duplicate key"):
        File(file_of(tmp_path, f'{{"a": {first}, "a": {second}}}'.encode(), b"1234"))


def test_a_directory_for_a_file(tmp_path: Path) -> None:
    with raises(WeightsError, ValueError, str(tmp_path), "is not a readable safetensors file"):
        File(tmp_path)


@given(mutations("flip", "cut", "insert", "delete", "digit", most=400, size=4))
def test_a_damaged_file_gives_arrays_or_an_error(tmp_path: Path, changes: list[tuple[str, int, bytes]]) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones((2, 3), "f4"), "b": np.ones(2, "f2"), "c": np.array(True)}, path, metadata={"x": "y"})
    data = mutated(path.read_bytes(), changes)
    path.unlink()
    path.write_bytes(data)
    try:
        for array in entries(path).values():
            assert array.nbytes <= len(data) * 2
    except Error as error:
        assert "x.safetensors" in str(error)


# --- writing --------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    arrays = {"a": np.arange(6, dtype="f8").reshape(2, 3), "b": np.array(2.5, "f2"), "c": np.zeros((0, 4), "f4")}
    write(path, arrays, {"format": "pt"})
    for read in (entries(path), load_file(path)):
        assert set(read) == set(arrays)
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            assert np.array_equal(read[name], array)
    assert list(tmp_path.iterdir()) == [path]


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    array = np.arange(24, dtype="f4").reshape(2, 3, 4)
    views = {"a": array.T, "b": array[:, ::2], "c": array[..., 1], "d": np.broadcast_to(array[0, 0], (5, 4))}
    write(tmp_path / "x.safetensors", views, {})
    for name, value in entries(tmp_path / "x.safetensors").items():
        assert np.array_equal(value, views[name]), name


def test_a_file_replaces_one_that_its_arrays_are_mapped_from(real: Path) -> None:
    old = dict(File(real))
    write(real, {"b": old["b"], "a": old["a"][::-1]}, {})
    assert entries(real)["a"].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert old["a"].tolist() == [[0, 1, 2], [3, 4, 5]]  # still those of the old file


@pytest.mark.parametrize("bad", [np.array(["text"]), np.array([None])])
def test_a_failing_write_leaves_the_old_file(real: Path, bad: np.ndarray) -> None:
    before = real.read_bytes()
    with pytest.raises(Exception, match=r"dtype|buffer|object|type|str"):
        write(real, {"a": np.ones(3), "b": bad}, {})
    assert real.read_bytes() == before
    assert list(real.parent.iterdir()) == [real]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_a_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", {"a": np.ones(1)}, {})
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x.safetensors", "other")]
    assert modes[0] == modes[1]
