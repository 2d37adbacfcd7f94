"""Safetensors: an 8-byte length, a JSON header with dtypes, shapes and offsets, and the arrays' bytes.

The safetensors library opens each file first and rejects invalid headers. Then this module maps the arrays by their
offsets, because for NumPy the library supports neither mapping nor bfloat16. If the library cannot be imported, as in a
browser, this module checks the header and writes files itself.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
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
    """The bytes of a file, its checked header, and the offset of the header's end. Raises WeightsError."""
    try:
        data = mapped(path)
        length = int.from_bytes(data[:8], "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"its header has {length} bytes; the limit is {LARGEST_HEADER}")
        with _checked_by_library(path) as is_checked:
            header = _parsed(data[8 : 8 + length].decode())
        if not os.path.samestat(path.stat(), os.fstat(data.descriptor)):  # the library opens it by its name
            raise ValueError("it was replaced while it was read")
        data.work = length / LARGEST_HEADER
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        for name, entry in header.items():  # the library accepts [dtype, shape, offsets] too, and {"F32": null}
            if name != "__metadata__" and not (isinstance(entry, dict) and isinstance(entry.get("dtype"), str)):
                raise ValueError(f"the entry of {name} lacks dtype, shape or data_offsets")
        if not is_checked:
            _check(header, len(data) - 8 - length)
    except (OSError, ValueError, RecursionError) as error:
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


def _parsed(text: str) -> Any:
    """A header as JSON is strictly read. Raises ValueError."""
    return json.loads(
        text, object_pairs_hook=_without_duplicates, parse_int=_integer, parse_float=_finite, parse_constant=_finite
    )


def _finite(text: str) -> float:
    """A number. Raises ValueError for NaN, infinity and 1e999, which Python reads and JSON does not have."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"its header has {text:.20}, which is not a finite number")
    return number


def _integer(text: str) -> float:
    """An integer; -0 is one only in Python, and stays a float here."""
    number = _finite(text)
    return number if text == "-0" else int(text)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("its header has a duplicate key")
    return result


@contextlib.contextmanager
def _checked_by_library(path: Path) -> Iterator[bool]:
    """True while the library has a file open that it accepts; False without the library. Raises ValueError."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        yield False
        return
    try:
        with safe_open(path, framework="numpy"):
            yield True
    except SafetensorError as error:
        raise ValueError(str(error)) from error


# --- without the library --------------------------------------------------------------------------------------------


BITS = {
    **{kind: 8 * numpy.dtype(dtype).itemsize for kind, dtype in DTYPES.items()},
    "U64": 64, "U32": 32, "U16": 16, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of a number of each dtype, those that are not supported included."""


def _check(header: Mapping[str, Any], size: int) -> None:
    """Raise ValueError for a header that the library rejects: arrays fill the file, without a hole or an overlap.

    size: the number of bytes after the header. Only the library rejects deep nesting, in a field that nobody reads.
    """
    json.dumps(header, ensure_ascii=False).encode()  # half of a surrogate pair is not text
    metadata = header.get("__metadata__")
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise ValueError("its __metadata__ does not map texts to texts")
    done = 0
    for start, stop, name in sorted(_span(header[name], name) for name in header if name != "__metadata__"):
        if start != done:
            raise ValueError(f"{name} begins at byte {start} instead of {done}")
        done = stop
    if done != size:
        raise ValueError(f"its arrays have {done} bytes, but it has {size}")


def _span(entry: Mapping[str, Any], name: str) -> tuple[int, int, str]:
    """Start and end of an array. Raises ValueError if its shape does not have this size."""
    fields: list[Any] = [entry.get(field) for field in FIELDS]
    kind, shape, offsets = fields
    if kind not in BITS or not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        raise ValueError(f"the entry of {name} has an invalid dtype, shape or data_offsets")
    start, stop = offsets
    bits = 1
    for factor in (*shape, BITS[kind]):
        bits *= factor
        if bits >= 2**64:  # even if a later factor is 0
            raise ValueError(f"{name} has 2^64 bits or more")
    if (stop - start) * 8 != bits:
        raise ValueError(f"{name} has {stop - start} bytes, which its shape and {kind} do not need")
    return start, stop, name


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**64 for value in values)


def _save(arrays: Mapping[str, numpy.ndarray], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file, the largest numbers first, so that all arrays are aligned. Raises ValueError."""
    kinds = {name: kind for kind, name in NAMES.items()}
    if unknown := [array.dtype.name for array in arrays.values() if array.dtype.name not in kinds]:
        raise ValueError(f"safetensors has no dtype {unknown[0]}: the supported ones are {', '.join(kinds)}")
    order = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    done = 0
    for name, array in order:
        header[name] = dict(
            zip(FIELDS, (kinds[array.dtype.name], array.shape, (done, done + array.nbytes)), strict=True)
        )
        done += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in order:
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


# --- writing --------------------------------------------------------------------------------------------------------


def _writer() -> Callable[..., None]:
    """The library's function, or without the library this module's."""
    try:
        from safetensors.numpy import save_file
    except ImportError:
        return _save
    return save_file


def write(path: Path, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a file atomically. Raises OSError."""
    # The library writes arrays that are not in C order incorrectly.
    contiguous = {name: numpy.asarray(x, order="C") for name, x in arrays.items()}
    with replacing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # by the user's umask; the library's own mode lets only the owner read the file
        _writer()(contiguous, partial, dict(metadata))
        partial.chmod(mode)
