"""Hugging Face's Flax models: `flax_model.msgpack`, nested maps in MessagePack whose leaves are arrays.

A leaf is an extension of type 1, whose content is a list of shape, dtype's name and bytes. Of MessagePack's kinds of
values only those are known that such files have. A map is followed as it comes, and nothing is made of what a length
claims before the file is seen to hold it, so that arrays are the file's own bytes.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy

from ...errors import WeightsError
from ..arrays import Arrays, Mapped, Renamed, Turn, array_at, as_stored, mapped, transposed

MOST_KEYS = 50_000
"""In all maps: of a large model there are a thousand."""

LONGEST_NAME = 300
"""Letters of all keys that lead to an array: of a layer's weights there are about seventy."""

DEEPEST = 32
"""Maps within maps: a weight of a layer is in eight."""

MOST_AXES = 32

SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Bytes of a number of each dtype."""

MAP, LIST, TEXT, BYTES, NUMBER, EXTENSION = "a map", "a list", "a text", "bytes", "a number", "an extension"

SHORT = [(0x00, 0x80, NUMBER), (0x80, 0x90, MAP), (0x90, 0xA0, LIST), (0xA0, 0xC0, TEXT)]
"""First bytes, from one to before another, that hold a number or a length themselves."""

LONG = {
    0xC4: (BYTES, 1), 0xC5: (BYTES, 2), 0xC6: (BYTES, 4), 0xC7: (EXTENSION, 1), 0xC8: (EXTENSION, 2),
    0xC9: (EXTENSION, 4), 0xCC: (NUMBER, 1), 0xCD: (NUMBER, 2), 0xCE: (NUMBER, 4), 0xCF: (NUMBER, 8),
    0xD9: (TEXT, 1), 0xDA: (TEXT, 2), 0xDB: (TEXT, 4), 0xDC: (LIST, 2), 0xDD: (LIST, 4), 0xDE: (MAP, 2), 0xDF: (MAP, 4),
}  # fmt: skip
"""First bytes behind which a number or a length takes so many bytes."""

EXACT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
"""First bytes of extensions of so many bytes."""

ENDINGS: dict[str, tuple[str, Turn]] = {
    "kernel": ("weight", transposed),  # (I, O)
    "embedding": ("weight", as_stored),
    "scale": ("weight", as_stored),
}
"""What ends a name otherwise than in PyTorch, and how the array is turned."""


class Leaf(NamedTuple):
    """What a file says of an array."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class File(Renamed):
    """The arrays of one `flax_model.msgpack`, or of one of its shards, under PyTorch's names.

    Read-only, and mapped without a copy; bfloat16, which NumPy does not have, is given as float32, a copy that holds
    the same numbers; so is an array that is not aligned in the file, as most are not. Raises WeightsError where the
    file is damaged, or holds anything but arrays.
    """

    def __init__(self, path: Path) -> None:
        source = Leaves(path)
        entries: dict[str, tuple[str, Turn]] = {}
        for own in source:
            name, turn = renamed(own)
            if name in entries:
                raise WeightsError(f"{path} holds {entries[name][0]} and {own}, which name one weight: remove one")
            entries[name] = own, turn
        super().__init__(source, entries)


def renamed(own: str) -> tuple[str, Turn]:
    """PyTorch's name for one of Flax's, such as `roberta/encoder/layer/0/output/dense/kernel`, and how it is turned."""
    *path, last = own.split("/")
    ending, turn = ENDINGS.get(last, (last, as_stored))
    return ".".join([*path, ending]), turn


class Leaves(Arrays):
    """The arrays of one file under Flax's own names, with slashes between the keys."""

    format = "Flax"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = mapped(path)
            self.size = len(self._bytes)
            self._entries = _Reader(self._bytes).leaves()
        except (OSError, ValueError) as error:
            size = path.stat().st_size if path.is_file() else 0
            raise WeightsError(f"{path} ({size} bytes) is no whole file of a Flax model: {error}") from error

    def __getitem__(self, name: str) -> numpy.ndarray:
        dtype, shape, offset = self._entries[name]
        return array_at(self._bytes, name, dtype, shape, offset)

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in the file."""
        return self._entries[name][:2]


class _Reader:
    """A place in a file's bytes, from which values are read one after the other. Raises ValueError."""

    def __init__(self, data: Mapped) -> None:
        self._data, self._place, self._keys = data, 0, 0

    def leaves(self) -> dict[str, Leaf]:
        """Where each array is, by its keys with slashes between them."""
        result: dict[str, Leaf] = {}
        for name, leaf in self._map("", *self._value()):
            if name in result:
                raise ValueError(f"it holds {name} twice")
            result[name] = leaf
        if self._place != len(self._data):
            raise ValueError(f"its map ends at byte {self._place} of {len(self._data)}")
        return result

    def _map(self, path: str, kind: str, count: int) -> Iterator[tuple[str, Leaf]]:
        """The arrays of a map of so many keys, and of the maps in it."""
        if kind != MAP or path.count("/") > DEEPEST:
            raise ValueError(f"at {path[:100]!r} it holds {kind}, or more than {DEEPEST} maps within each other")
        for _ in range(count):
            self._keys += 1
            name = path + self._text()
            if self._keys > MOST_KEYS or len(name) > LONGEST_NAME:
                raise ValueError(f"it has more than {MOST_KEYS} keys, or one of more than {LONGEST_NAME} letters")
            kind, length = self._value()
            if kind == EXTENSION:
                yield name, self._leaf(name, self._place + 1 + length)
            else:
                yield from self._map(f"{name}/", kind, length)

    def _leaf(self, name: str, stop: int) -> Leaf:
        """The array of an extension that ends at a byte."""
        if self._take(1) != b"\1" or self._expect(LIST) != 3:
            raise ValueError(f"{name} is no array")
        rank = self._expect(LIST)
        if rank > MOST_AXES:
            raise ValueError(f"{name} has {rank} axes; at most {MOST_AXES} are read")
        shape = tuple(self._expect(NUMBER) for _ in range(rank))
        dtype = self._text()
        if dtype not in SIZES:
            raise ValueError(f"{name} has dtype {dtype[:50]!r}; known are {', '.join(SIZES)}")
        size = self._expect(BYTES)
        leaf = Leaf(dtype, shape, self._place)
        self._place += size
        if size != math.prod(shape) * SIZES[dtype] or self._place != stop:
            raise ValueError(f"{name}, {dtype} of shape {str(shape)[:100]}, has {size} bytes up to {stop}")
        return leaf

    def _text(self) -> str:
        length = self._expect(TEXT)
        if length > LONGEST_NAME:
            raise ValueError(
                f"before byte {self._place} it has a text of {length} bytes; at most {LONGEST_NAME} are read"
            )
        return self._take(length).decode()

    def _expect(self, wanted: str) -> int:
        """The number, or the length, of a value of this kind."""
        kind, number = self._value()
        if kind != wanted:
            raise ValueError(f"before byte {self._place} it has {kind} where {wanted} should be")
        return number

    def _value(self) -> tuple[str, int]:
        """The kind of the value that comes, and its length, or the number itself."""
        (first,) = self._take(1)
        for start, stop, kind in SHORT:
            if start <= first < stop:
                return kind, first - start
        if first in EXACT:
            return EXTENSION, EXACT[first]
        if first not in LONG:
            return "something else", 0
        kind, width = LONG[first]
        return kind, int.from_bytes(self._take(width), "big")

    def _take(self, size: int) -> bytes:
        self._place += size
        if self._place > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, and claims {self._place}. Fetch it again")
        return self._data[self._place - size : self._place]
