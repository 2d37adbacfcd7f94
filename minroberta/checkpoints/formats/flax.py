"""Hugging Face's Flax models: `flax_model.msgpack`, nested MessagePack maps whose leaves are arrays.

A leaf is an extension of type 1, whose content is a list of the shape, the dtype's name and the bytes. Only the
MessagePack types that occur in such files are supported. Maps are read as a stream, and a length in the file is checked
against the file's size before memory is allocated. Arrays are views of the mapped file, or copies if not aligned.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import WeightsError
from ..arrays import Located, Mapped, Renamed, View, as_stored, transposed

MOST_KEYS = 50_000
"""Limit on the number of keys in all maps together. A large model has about a thousand."""

LONGEST_NAME = 300
"""Limit on the characters of an array's name (its keys, joined). The names of a layer's weights have about seventy."""

DEEPEST = 32
"""Limit on the depth of nested maps. A layer's weight is eight maps deep."""

MOST_AXES = 32

SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Number of bytes per element of each dtype."""

MAP, LIST, TEXT, BYTES, NUMBER, EXTENSION = "a map", "a list", "a string", "bytes", "an integer", "an extension"

SHORT = [(0x00, 0x80, NUMBER), (0x80, 0x90, MAP), (0x90, 0xA0, LIST), (0xA0, 0xC0, TEXT)]
"""Ranges (start, stop) of first bytes that encode an integer or a length themselves, and the kind of value."""

LONG = {
    0xC4: (BYTES, 1), 0xC5: (BYTES, 2), 0xC6: (BYTES, 4), 0xC7: (EXTENSION, 1), 0xC8: (EXTENSION, 2),
    0xC9: (EXTENSION, 4), 0xCC: (NUMBER, 1), 0xCD: (NUMBER, 2), 0xCE: (NUMBER, 4), 0xCF: (NUMBER, 8),
    0xD9: (TEXT, 1), 0xDA: (TEXT, 2), 0xDB: (TEXT, 4), 0xDC: (LIST, 2), 0xDD: (LIST, 4), 0xDE: (MAP, 2), 0xDF: (MAP, 4),
}  # fmt: skip
"""First bytes followed by an integer or a length, mapped to the kind of value and the width of that number in bytes."""

EXACT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
"""First bytes of fixed-length extensions, mapped to the length."""

ENDINGS: dict[str, tuple[str, View]] = {
    "kernel": ("weight", transposed),  # (I, O)
    "embedding": ("weight", as_stored),
    "scale": ("weight", as_stored),
}
"""Endings of names that differ from PyTorch's, mapped to PyTorch's ending and the view of the array."""


class Leaf(NamedTuple):
    """The dtype, the shape and the offset of an array in a file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class File(Renamed):
    """The arrays of a `flax_model.msgpack` or one of its shards, with PyTorch's names.

    Most arrays in such a file are not aligned, so they are copied. Raises WeightsError if the file is damaged, or holds
    anything but arrays.
    """

    def __init__(self, path: Path) -> None:
        source = Leaves(path)
        entries: dict[str, tuple[str, View]] = {}
        for stored in source:
            name, view = renamed(stored)
            if name in entries:
                raise WeightsError(
                    f"{path}: {entries[name][0]} and {stored} are two names for the same weight: remove one"
                )
            entries[name] = stored, view
        super().__init__(source, entries)


def renamed(stored: str) -> tuple[str, View]:
    """PyTorch's name and the view for an array with a Flax name, such as `encoder/layer/0/output/dense/kernel`."""
    *path, last = stored.split("/")
    ending, view = ENDINGS.get(last, (last, as_stored))
    return ".".join([*path, ending]), view


class Leaves(Located):
    """The arrays of one file with Flax's names, which are the keys joined by slashes. Raises WeightsError."""

    format = "Flax"

    def __init__(self, path: Path) -> None:
        super().__init__(path, "Flax file", lambda data: _Reader(data).leaves())


class _Reader:
    """A reader for the values in a file, one after the other. Raises ValueError."""

    def __init__(self, data: Mapped) -> None:
        self._data, self._at, self._keys = data, 0, 0

    def leaves(self) -> dict[str, Leaf]:
        """The location of each array by name, which is its keys joined by slashes."""
        result: dict[str, Leaf] = {}
        for name, leaf in self._map("", *self._value()):
            if name in result:
                raise ValueError(f"it holds {name} twice")
            result[name] = leaf
        if self._at != len(self._data):
            raise ValueError(f"its map ends at byte {self._at}, but the file has {len(self._data)} bytes")
        return result

    def _map(self, path: str, kind: str, count: int) -> Iterator[tuple[str, Leaf]]:
        """The arrays of a map with the given number of keys, and of the maps nested in it."""
        if kind != MAP or path.count("/") > DEEPEST:
            raise ValueError(
                f"at {path[:100]!r} it holds {kind}: only arrays, and at most {DEEPEST} nested maps, are supported"
            )
        for _ in range(count):
            self._keys += 1
            self._data.work = self._keys / MOST_KEYS
            name = path + self._text()
            if self._keys > MOST_KEYS or len(name) > LONGEST_NAME:
                raise ValueError(f"it has more than {MOST_KEYS} keys, or a name of more than {LONGEST_NAME} characters")
            kind, length = self._value()
            if kind == EXTENSION:
                yield name, self._leaf(name, self._at + 1 + length)
            else:
                yield from self._map(f"{name}/", kind, length)

    def _leaf(self, name: str, stop: int) -> Leaf:
        """The location of the array in an extension that ends at `stop`."""
        if self._take(1) != b"\1" or self._expect(LIST) != 3:
            raise ValueError(f"{name} is not an array")
        rank = self._expect(LIST)
        if rank > MOST_AXES:
            raise ValueError(f"{name} has {rank} axes; the limit is {MOST_AXES}")
        shape = tuple(self._expect(NUMBER) for _ in range(rank))
        dtype = self._text()
        if dtype not in SIZES:
            raise ValueError(
                f"{name} has the unsupported dtype {dtype[:50]!r}: the supported ones are {', '.join(SIZES)}"
            )
        size = self._expect(BYTES)
        leaf = Leaf(dtype, shape, self._at)
        self._at += size
        if size != math.prod(shape) * SIZES[dtype] or self._at != stop:
            raise ValueError(
                f"{name} has {size} bytes, which do not fit its dtype {dtype}, its shape {str(shape)[:100]}, "
                f"or its end at byte {stop}"
            )
        return leaf

    def _text(self) -> str:
        length = self._expect(TEXT)
        if length > LONGEST_NAME:
            raise ValueError(f"before byte {self._at} it has a string of {length} bytes; the limit is {LONGEST_NAME}")
        return self._take(length).decode()

    def _expect(self, wanted: str) -> int:
        """Read a value of the wanted kind. Returns its length, or the value itself if an integer is wanted."""
        kind, number = self._value()
        if kind != wanted:
            raise ValueError(f"before byte {self._at} it has {kind} instead of {wanted}")
        return number

    def _value(self) -> tuple[str, int]:
        """Read the next value. Returns its kind and its length; for an integer, the value instead of the length."""
        (first,) = self._take(1)
        for start, stop, kind in SHORT:
            if start <= first < stop:
                return kind, first - start
        if first in EXACT:
            return EXTENSION, EXACT[first]
        if first not in LONG:
            return "an unsupported type", 0
        kind, width = LONG[first]
        return kind, int.from_bytes(self._take(width), "big")

    def _take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, but needs {self._at} bytes. Download it again")
        return self._data[self._at - size : self._at]
