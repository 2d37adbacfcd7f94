"""The arrays of a checkpoint, by name. Each array is mapped from its file on access.

For every format, the arrays have the names and the layout of Hugging Face's PyTorch models. If a format has different
names or a different layout, its reader renames and transposes the arrays, using a table of names and views.
"""

import mmap
import os
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from ..errors import WeightsError

View = Callable[[numpy.ndarray], numpy.ndarray]
"""A function that returns a view of a stored array in PyTorch's layout, such as the transposed array."""

# --- by name --------------------------------------------------------------------------------------------------------


class Arrays(Mapping[str, numpy.ndarray]):
    """The arrays of a checkpoint, by name. Each array is read or mapped on access."""

    path: Path
    size: int
    """Size of the file, or of all files, in bytes."""
    format: str
    """The format's usual name, such as PyTorch."""
    config: Mapping[str, Any] | None = None
    """The configuration that the format implies, with Hugging Face's fields; None if a `config.json` is needed."""
    changes: Mapping[str, Any] = {}
    """Fields of the configuration that an adapter changes."""
    directories: tuple[Path, ...] = ()
    """Directories to look in, or none if the checkpoint's is the only one. The tokenizer is that of the first directory
    that has one, and the `config.json` that of the last."""
    root: Path | None = None
    """The directory that the last of `directories` must be in, if it is a folder that a file names."""

    maps: tuple["Mapped", ...] = ()
    """The files that arrays are mapped from."""

    _entries: Mapping[str, Any]
    """The location of each array, by name. Each reader has its own type of location."""

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array as stored in its file."""
        array = self[name]
        return array.dtype.name, array.shape

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Located(Arrays):
    """The arrays of one mapped file, each located by its dtype, shape and offset.

    kind: the kind of file, for error messages. find: a function that takes the file's bytes and returns the entries by
    name; each entry begins with the array's dtype, shape and offset. Arrays are read-only and mapped without a copy,
    with two exceptions: bfloat16, which NumPy does not have, is converted to float32 without loss; and an array that is
    not aligned in the file is copied.

    Raises WeightsError if `find` raises OSError, ValueError, LookupError or OverflowError.
    """

    def __init__(self, path: Path, kind: str, find: Callable[["Mapped"], Mapping[str, Any]]) -> None:
        self.path = path
        try:
            self._bytes = mapped(path)
            self.size, self.maps = len(self._bytes), (self._bytes,)
            self._entries = find(self._bytes)
        except (OSError, ValueError, LookupError, OverflowError) as error:
            size = path.stat().st_size if path.is_file() else 0
            raise WeightsError(f"{path} ({size} bytes) is not a readable {kind}, or is incomplete: {error}") from error

    def __getitem__(self, name: str) -> numpy.ndarray:
        dtype, shape, offset = self._entries[name][:3]
        return array_at(self._bytes, name, dtype, shape, offset)

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array as stored in the file, found without reading the array."""
        dtype, shape = self._entries[name][:2]
        return dtype, shape


class Renamed(Arrays):
    """The arrays of another mapping, with different names and in a different layout.

    entries: for each new name, the name in the source, and the view. Arrays without an entry are left out.
    """

    def __init__(self, source: Arrays, entries: Mapping[str, tuple[str, View]]) -> None:
        self._source, self._entries = source, entries
        self.path, self.size, self.format, self.maps = source.path, source.size, source.format, source.maps

    def __getitem__(self, name: str) -> numpy.ndarray:
        stored, view = self._entries[name]
        return view(self._source[stored])

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype of an array as stored in its file, and the shape of its view."""
        stored, view = self._entries[name]
        dtype, shape = self._source.stored(stored)
        known = {as_stored: shape, transposed: shape[::-1]}
        return dtype, known[view] if view in known else self[name].shape


class Gathered(Arrays):
    """The arrays of several files.

    entries: for each name, the file that holds the array, and the array's name in that file.
    """

    def __init__(self, path: Path, files: Collection[Arrays], entries: Mapping[str, tuple[Arrays, str]]) -> None:
        sizes = {file.path: file.size for file in files}  # a path that occurs twice counts once
        self.path, self.size, self._entries = path, sum(sizes.values()), entries
        self.maps = tuple(mapped for file in files for mapped in file.maps)
        self.format = next((file.format for file, _ in entries.values()), "several files")

    def __getitem__(self, name: str) -> numpy.ndarray:
        file, stored = self._entries[name]
        return file[stored]

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array as stored in its file."""
        file, stored = self._entries[name]
        return file.stored(stored)


def as_stored(array: numpy.ndarray) -> numpy.ndarray:
    """Return the array itself: the view for an array that is stored in PyTorch's layout."""
    return array


def transposed(array: numpy.ndarray) -> numpy.ndarray:
    """Transpose a matrix, (I, O) -> (O, I)."""
    return array.T


# --- the bytes of a file --------------------------------------------------------------------------------------------


class Mapped(mmap.mmap):
    """The read-only bytes of a file, with the file's path, and what its size and time were when it was mapped."""

    path: Path
    descriptor: int
    seen: tuple[int, int]
    work: float = 0.0
    """Size of the header that was read, or number of steps, as a part of the most that one file may take."""

    def check(self) -> None:
        """Raise WeightsError if the file was written to since, so that its arrays are no longer those of the model.

        A file of the same name in its place does not matter: the old one stays until nothing is mapped from it.
        """
        if _size_and_time(self.descriptor) != self.seen:
            raise WeightsError(
                f"{self.path} was changed after it was loaded, and the model's weights are read from it: load the "
                "model again, with copy=True if the file may change"
            )


def mapped(path: Path) -> Mapped:
    """Map the bytes of a file. Raises OSError, and ValueError for an empty file."""
    with path.open("rb") as file:
        result = Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
        result.path, result.descriptor = path, os.dup(file.fileno())
    weakref.finalize(result, os.close, result.descriptor)
    result.seen = _size_and_time(result.descriptor)
    return result


def _size_and_time(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


class Watched(tuple[Mapped, ...]):
    """The files that a model's arrays are mapped from. A copy in another process has none: its arrays are in memory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Watched, ()


def files_of(arrays: Iterable[Any]) -> Watched:
    """The files that some of the arrays are mapped from."""
    found = {}
    for array in arrays:
        while isinstance(array, numpy.ndarray):
            array = array.base
        owner = array.obj if isinstance(array, memoryview) else array
        if isinstance(owner, Mapped):
            found[id(owner)] = owner
    return Watched(found.values())


def stored_dtype(name: str) -> numpy.dtype[Any]:
    """NumPy's dtype for reading arrays of the named dtype: little-endian, and 16-bit integers for bfloat16."""
    return numpy.dtype("u2" if name == "bfloat16" else name).newbyteorder("<")


def array_at(data: Mapped, name: str, dtype: str, shape: tuple[int, ...], offset: int) -> numpy.ndarray:
    """The array at an offset of a file: mapped, or copied if it is not aligned.

    The caller must check that the file is long enough. bfloat16, which NumPy does not have, is converted to float32.
    Raises WeightsError.
    """
    try:
        array: numpy.ndarray = numpy.ndarray(shape, stored_dtype(dtype), data, offset)
    except ValueError as error:  # more than 64 axes, or an empty array with more rows than NumPy can count
        raise WeightsError(f"{data.path}: NumPy cannot hold {name}: {error}") from error
    if dtype == "bfloat16":
        return from_bfloat16(array)
    return array if array.flags.aligned else array.copy()


def from_bfloat16(bits: numpy.ndarray) -> numpy.ndarray:
    """Convert bfloat16, given as 16-bit integers, to float32 without loss: these are the upper 16 bits of a float32."""
    return (bits.astype("<u4") << 16).view("<f4")
