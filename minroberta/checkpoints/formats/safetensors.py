"""Safetensors: an 8-byte length, a JSON header with dtypes, shapes and offsets, and the arrays' bytes.

The safetensors library opens each file first and rejects headers that lie; then the arrays are mapped by their
offsets, which the library does not offer for NumPy, nor bfloat16 at all.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from ...errors import WeightsError
from ..arrays import Arrays, array_at, mapped

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
LARGEST_HEADER = 10_000_000
"""Bytes: enough for 100,000 arrays, and read in a second; ten times as many would take a gigabyte to parse."""


class File(Arrays):
    """The arrays of one file, by name: read-only, and read from the disk only when they are looked at.

    bfloat16, which NumPy does not have, is given as float32, a copy that holds the same numbers; so is an array that
    is not aligned in the file. Raises WeightsError where the file is no whole and honest safetensors file.
    """

    format = "safetensors"

    def __init__(self, path: Path) -> None:
        header, self._start = read_header(path)
        self._bytes = mapped(path)
        self.path, self.size = path, len(self._bytes)
        self.metadata: dict[str, str] = header.get("__metadata__") or {}
        self._entries = {name: entry for name, entry in header.items() if name != "__metadata__"}

    def __getitem__(self, name: str) -> numpy.ndarray:
        entry = self._entries[name]
        if entry["dtype"] not in DTYPES:
            raise WeightsError(f"{self.path}: {name} has dtype {entry['dtype']}; known are {', '.join(DTYPES)}")
        offset = self._start + entry["data_offsets"][0]
        return array_at(self._bytes, name, *self.stored(name), offset)

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in the file, by its header alone."""
        entry = self._entries[name]
        kind, shape = entry["dtype"], tuple(entry["shape"])
        if kind == "BF16":
            return "bfloat16", shape
        return numpy.dtype(DTYPES[kind]).name if kind in DTYPES else kind, shape


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a file, which the safetensors library has judged, and where it ends. Raises WeightsError."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise ValueError(f"a header of {length} bytes; at most {LARGEST_HEADER} are read")
            with safe_open(path, framework="numpy"):
                header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
        for name, entry in header.items():  # the library takes [dtype, shape, offsets] too, and {"F32": null}
            if name != "__metadata__" and not (isinstance(entry, dict) and isinstance(entry["dtype"], str)):
                raise ValueError(f"{name} has no entry of dtype, shape and data_offsets")
    except (SafetensorError, OSError, ValueError) as error:
        size = path.stat().st_size if path.is_file() else 0
        what = _what_it_is(path) or f"{error}. Fetch or write it again"
        raise WeightsError(f"{path} ({size} bytes) is no whole safetensors file: {what}") from error
    return header, 8 + length


def _what_it_is(path: Path) -> str | None:
    """What a file that is no safetensors file begins like."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError:
        return None
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with git lfs pull"
    return None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("its header names something twice")
    return result


def write(path: Path, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays to a file that appears only when it is complete.

    A file that is being replaced may be mapped by the very arrays that are written, so it must not be cut short first;
    and the library writes an array that is not contiguous wrongly, without a word.
    """
    from safetensors.numpy import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the user's umask has it; the library's own file is for its owner alone
        save_file({name: numpy.asarray(x, order="C") for name, x in arrays.items()}, partial, metadata=dict(metadata))
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
