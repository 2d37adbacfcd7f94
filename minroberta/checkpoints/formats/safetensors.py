"""Safetensors: an 8-byte length, a JSON header with dtypes, shapes and offsets, and the arrays' bytes.

The safetensors library opens each file first and rejects invalid headers. Then this module maps the arrays by their
offsets, because for NumPy the library supports neither mapping nor bfloat16.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from ...errors import WeightsError
from ..arrays import Arrays, Mapped, array_at, mapped
from ..files import replacing

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
NAMES = {**{kind: numpy.dtype(dtype).name for kind, dtype in DTYPES.items()}, "BF16": "bfloat16"}

FIELDS = ("dtype", "shape", "data_offsets")

LARGEST_HEADER = 10_000_000
"""Limit on the bytes of a header, enough for 100,000 arrays. Parsing ten times as many would take a gigabyte."""


class File(Arrays):
    """The arrays of one file, by name. They are read-only, and read from disk only on access.

    bfloat16, which NumPy does not have, is converted to float32 without loss. An array that is not aligned in the file
    is copied. Raises WeightsError if the file is incomplete, or its header is invalid.
    """

    format = "safetensors"

    def __init__(self, path: Path) -> None:
        self._bytes, header, self._start = read_header(path)
        self.path, self.size, self.maps = path, len(self._bytes), (self._bytes,)
        self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
        # An entry may have other fields, of any size, which must not stay while further shards are read.
        self._entries = {name: {field: entry[field] for field in FIELDS} for name, entry in header.items()}

    def __getitem__(self, name: str) -> numpy.ndarray:
        entry = self._entries[name]
        if entry["dtype"] not in DTYPES:
            raise WeightsError(
                f"{self.path}: {name} has the unsupported dtype {entry['dtype']}: "
                f"the supported ones are {', '.join(DTYPES)}"
            )
        offset = self._start + entry["data_offsets"][0]
        return array_at(self._bytes, name, *self.stored(name), offset)

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array as stored in the file, from the header alone."""
        entry = self._entries[name]
        kind, shape = entry["dtype"], tuple(entry["shape"])
        return NAMES.get(kind, kind), shape


def read_header(path: Path) -> tuple[Mapped, dict[str, Any], int]:
    """The bytes of a file, its header, checked by the safetensors library, and the offset of the header's end.

    Raises WeightsError.
    """
    from safetensors import SafetensorError, safe_open

    try:
        data = mapped(path)
        length = int.from_bytes(data[:8], "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"its header has {length} bytes; the limit is {LARGEST_HEADER}")
        with safe_open(path, framework="numpy"):
            header = json.loads(data[8 : 8 + length], object_pairs_hook=_without_duplicates)
        if not os.path.samestat(path.stat(), os.fstat(data.descriptor)):  # the library opens it by its name
            raise ValueError("it was replaced while it was read")
        data.work = length / LARGEST_HEADER
        for name, entry in header.items():  # the library accepts [dtype, shape, offsets] too, and {"F32": null}
            if name != "__metadata__" and not (isinstance(entry, dict) and isinstance(entry["dtype"], str)):
                raise ValueError(f"the entry of {name} lacks dtype, shape or data_offsets")
    except (SafetensorError, OSError, ValueError) as error:
        size = path.stat().st_size if path.is_file() else 0
        what = _what_it_is(path) or f"{error}. Download or save it again"
        raise WeightsError(
            f"{path} ({size} bytes) is not a readable safetensors file, or is incomplete: {what}"
        ) from error
    return data, header, 8 + length


def _what_it_is(path: Path) -> str | None:
    """A description of a file that is not safetensors, if its first bytes show what it is."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError:
        return None
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: download the file itself with git lfs pull"
    return None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("its header has a duplicate key")
    return result


def write(path: Path, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a file atomically. Raises OSError."""
    from safetensors.numpy import save_file

    # The library writes arrays that are not in C order incorrectly.
    contiguous = {name: numpy.asarray(x, order="C") for name, x in arrays.items()}
    with replacing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # by the user's umask; the library's own mode lets only the owner read the file
        save_file(contiguous, partial, metadata=dict(metadata))
        partial.chmod(mode)
