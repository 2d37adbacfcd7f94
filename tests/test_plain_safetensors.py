"""Safetensors files without the library: every test of `formats/test_safetensors.py` again, and what is written."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
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
    with refused("a has 2^64 bits or more"):
        File(file_of(tmp_path, {"a": entry([2**63] * (LARGEST_HEADER // 25), 0, 4)}, b"1234"))


# --- as the library -------------------------------------------------------------------------------------------------


def one(**changes: Any) -> dict[str, Any]:
    """The header of a file with an array of 4 bytes, with changes to its entry."""
    return {"a": entry([1], 0, 4) | changes}


def extra(text: str) -> bytes:
    """The same header as JSON, with another field."""
    return json.dumps(one()).encode()[:-2] + b', "x": ' + text.encode() + b"}}"


BITS = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16}
BITS |= {"I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8}
BITS |= {"F8_E5M2FNUZ": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "f32": 32, "F128": 128, "": 8}

HEADERS: dict[str, tuple[Any, bytes]] = {
    **{f"metadata {value!r}": ({"__metadata__": value}, b"") for value in (None, False, 0, 0.0, "", [], {}, "x", [1])},
    **{f"metadata of {value!r}": ({"__metadata__": {"a": value}}, b"") for value in ("b", "", None, 0, False, [], {})},
    **{
        f"{field} {value!r:.40}": (one(**{field: value}), b"1234")
        for field, values in {
            "shape": [[], [-1], [-1, -1], [1.0], [True], ["1"], [None], [2], None, 1, {}, "1", [1] * 2000],
            "data_offsets": [[0], [0, 4, 4], [4, 0], [0, 4.0], [False, 4], ["0", 4], [-4, 0], [1, 5], None, {}, "04"],
            "dtype": [None, 0, "", "f32", ["F32"]],
        }.items()
        for value in values
    },
    **{
        f"{kind} of {count}": ({"a": entry([count], 0, count * bits // 8, kind)}, bytes(count * bits // 8))
        for kind, bits in BITS.items()
        for count in (4, 5)
    },
    **{
        f"empty {shape}": ({"a": entry(shape, 0, 0)}, b"")
        for shape in ([0], [2**63, 0], [2**64, 0], [2**63, 2**63, 0], [2**63, 0, 2**63], [0, 2**63, 2**63], [2**62])
    },
    "offset -0": (json.dumps(one()).encode().replace(b"[0", b"[-0"), b"1234"),
    "shape -0": (json.dumps({"a": entry([0], 0, 0)}).encode().replace(b"[0]", b"[-0]"), b""),
    **{
        f"field {text:.12}": (extra(text), b"1234")
        for text in (
            "-0", "null", "NaN", "Infinity", "-Infinity", "1e999", "1e99", "9" * 300, "9" * 400, r'"\ud83d\ude00"',
            r'"\ud83d"', r'["\ude00"]', "[" * 100 + "]" * 100, "01", "1.", "'a'", "[1,]", '"\n"',
        )
    },
    "name of half a pair": (json.dumps({"\ud800": entry([1], 0, 4)}).encode(), b"1234"),
    "metadata of half a pair": (json.dumps({"__metadata__": {"a": "\udc00"}}).encode(), b""),
    "empty before": ({"a": entry([0], 0, 0), "b": entry([1], 0, 4)}, b"1234"),
    "empty between": ({"a": entry([1], 0, 4), "b": entry([0], 4, 4), "c": entry([1], 4, 8)}, bytes(8)),
    "empty within": ({"a": entry([1], 0, 4), "b": entry([0], 2, 2)}, b"1234"),
    **{f"{text!r}": (text.encode(), b"") for text in (" {}", "{} \n\t", "{}\0", "{}\v", "{}\xa0", "\ufeff{}", "{} {}")},
}  # fmt: skip
"""Headers and data, of which the library accepts some."""


@pytest.mark.parametrize(("header", "data"), HEADERS.values(), ids=list(HEADERS))
def test_a_header_is_accepted_if_the_library_accepts_it(tmp_path: Path, header: Any, data: bytes) -> None:
    path = file_of(tmp_path, header, data)
    try:
        safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError:
        with refused("is not a readable safetensors file"):
            File(path)
    else:
        File(path)
