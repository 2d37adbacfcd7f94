"""One small module a file format: bytes in, `{name: array}` out.

Whatever the file, its arrays have Hugging Face's names for PyTorch and PyTorch's layout: a reader turns what is stored
otherwise, by a table of names and a view.
"""

import mmap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from ..errors import WeightsError

Turn = Callable[[numpy.ndarray], numpy.ndarray]
"""What makes PyTorch's layout of another: a view, such as a transposition."""


class Arrays(Mapping[str, numpy.ndarray]):
    """The arrays of a checkpoint, by name; each is read, or mapped, when it is asked for."""

    path: Path
    size: int
    """Bytes of the file, or the files."""
    format: str
    """What it is called by those who wrote it."""
    config: Mapping[str, Any] | None = None
    """The fields of Hugging Face's configuration that the format implies; None where they stand in a `config.json`."""

    _entries: Mapping[str, Any]
    """What is known of each array beforehand."""

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in its file."""
        array = self[name]
        return array.dtype.name, array.shape

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Renamed(Arrays):
    """Another's arrays under other names, each turned when it is asked for.

    entries: for each name the other's own, and how it is turned. There is no array that is not named.
    """

    def __init__(self, source: Arrays, entries: Mapping[str, tuple[str, Turn]]) -> None:
        self._source, self._entries = source, entries
        self.path, self.size, self.format = source.path, source.size, source.format

    def __getitem__(self, name: str) -> numpy.ndarray:
        own, turn = self._entries[name]
        return turn(self._source[own])

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype that an array has in its file, and the shape that it is turned to."""
        own, turn = self._entries[name]
        dtype, shape = self._source.stored(own)
        known = {as_stored: shape, transposed: shape[::-1]}
        return dtype, known[turn] if turn in known else self[name].shape


def as_stored(array: numpy.ndarray) -> numpy.ndarray:
    """The array itself."""
    return array


def transposed(array: numpy.ndarray) -> numpy.ndarray:
    """(I, O) -> (O, I)."""
    return array.T


def from_bfloat16(bits: numpy.ndarray) -> numpy.ndarray:
    """The same numbers in float32, of which bfloat16 is the upper half of the bits."""
    return (bits.astype("<u4") << 16).view("<f4")


class Mapped(mmap.mmap):
    """The bytes of a file, read-only, which know where they come from."""

    path: Path


def mapped(path: Path) -> Mapped:
    """The bytes of a file that is not empty. Raises OSError, ValueError."""
    with path.open("rb") as file:
        result = Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
    result.path = path
    return result


def stored_dtype(name: str) -> numpy.dtype[Any]:
    """The dtype of that name as a file has it, little-endian, in which bfloat16 is 16 bits."""
    return numpy.dtype("u2" if name == "bfloat16" else name).newbyteorder("<")


def array_at(data: Mapped, name: str, dtype: str, shape: tuple[int, ...], offset: int) -> numpy.ndarray:
    """The array at a place of a file, which was seen to hold it: its own bytes; a copy where they are not aligned.

    bfloat16, which NumPy does not have, is given as float32. Raises WeightsError.
    """
    try:
        array: numpy.ndarray = numpy.ndarray(shape, stored_dtype(dtype), data, offset)
    except ValueError as error:  # more than 64 axes, or so many rows of nothing that NumPy cannot count them
        raise WeightsError(f"{data.path}: {name} is an array that NumPy cannot hold: {error}") from error
    if dtype == "bfloat16":
        return from_bfloat16(array)
    return array if array.flags.aligned else array.copy()
