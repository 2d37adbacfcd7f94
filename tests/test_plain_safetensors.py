"""Safetensors files without the library: every test of `formats/test_safetensors.py` again, and what is written."""

import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from formats import test_safetensors
from formats.test_safetensors import *  # noqa: F403  # its tests, which run here once more
from formats.test_safetensors import DTYPES, LARGEST_HEADER, File, entry, file_of, owner, refused, write


@pytest.fixture(autouse=True)
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library cannot be imported."""
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_tests_are_here() -> None:
    assert test_safetensors.test_a_header_that_lies is globals()["test_a_header_that_lies"]


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    """Every dtype, and arrays that are aligned in the file, since large numbers come first."""
    dtypes = [dtype for kind, dtype in DTYPES.items() if kind != "BF16"]
    arrays = {f"a{i}": np.arange(i + 1).astype(dtype) for i, dtype in enumerate(dtypes)}
    arrays |= {"ä": np.zeros((2, 0)), "scalar": np.array(3, "i2"), "big": np.arange(3, dtype=">f4")}
    path = tmp_path / "x.safetensors"
    write(path, arrays, {"format": "pt"})
    read = safetensors.numpy.load(path.read_bytes())
    assert read.keys() == arrays.keys() and File(path).metadata == {"format": "pt"}
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype.newbyteorder("<") and np.array_equal(read[name], array)
        assert owner(File(path)[name]) is not None, "it was copied, since it is not aligned"


def test_a_shape_of_a_million_sizes_is_refused_at_once(tmp_path: Path) -> None:
    with refused("the entry of a has an invalid dtype, shape or data_offsets"):
        File(file_of(tmp_path, {"a": entry([2**63] * (LARGEST_HEADER // 25), 0, 4)}, b"1234"))
