"""HDF5 files written by Keras: a tree of groups whose leaves are arrays, each stored in one piece.

A superblock gives the address of the root group's header. A header is a list of messages. In a group's header, the
messages locate the links; in an array's header, they give the dtype, shape and address. Links are stored as messages,
in a symbol table (a B-tree of names), or in a fractal heap with a B-tree as an index. Variants that Keras does not
write are refused, including everything that refers to another file. The layouts follow the HDF5 File Format
Specification 3.0.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy

from ...errors import WeightsError
from ..arrays import Located, Mapped

MOST_STEPS = 100_000
"""Limit on messages and links, several times their number in a large model. Reading this many takes half a second."""

LONGEST_NAME = 300
"""Limit on the characters of a path. Keras writes at most 150."""

MOST_LEVELS = 8
"""Limit on the levels of a B-tree. With three levels, it can already hold more links than `MOST_STEPS`."""

NOWHERE = 2**64 - 1
"""The undefined address, which stands for something that does not exist."""

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, CONTINUATION, SYMBOL_TABLE = 1, 2, 3, 6, 7, 8, 16, 17
"""The supported kinds of messages."""

CONTIGUOUS = 1
LAYOUTS = {0: "within its header", 2: "in chunks", 3: "as a view of other arrays"}
CLASSES = {
    3: "text", 5: "opaque bytes", 6: "compound values", 7: "references", 8: "an enumeration",
    9: "values of variable length",
}  # fmt: skip


def _float(exponent: int, fraction: int) -> bytes:
    """A datatype message, without its first byte, for a signed little-endian float with fields of these widths."""
    bits = 1 + exponent + fraction
    bias = 2 ** (exponent - 1) - 1
    return struct.pack("<BBBIHHBBBBI", 0x20, bits - 1, 0, bits // 8, 0, bits, fraction, exponent, 0, fraction, bias)


def _integer(signed: bool, bits: int) -> bytes:
    return struct.pack("<BBBIHH", 8 * signed, 0, 0, bits // 8, 0, bits)


DTYPES = {
    **{_float(5, 10): "float16", _float(8, 7): "bfloat16", _float(8, 23): "float32", _float(11, 52): "float64"},
    **{_integer(True, bits): f"int{bits}" for bits in (8, 16, 32, 64)},
    **{_integer(False, bits): f"uint{bits}" for bits in (8, 16, 32, 64)},
}


class Dataset(NamedTuple):
    """An array in a file, and the reason why it cannot be read, if any."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    refusal: str = ""


class File(Located):
    """The arrays of one file by their full paths, such as `a/b/kernel:0`.

    Raises WeightsError if the file is damaged or has links to other files. An array that is not stored in one piece, or
    does not hold numbers, raises WeightsError on access.
    """

    format = "TensorFlow"

    def __init__(self, path: Path) -> None:
        super().__init__(path, "HDF5 file", lambda data: dict(_datasets(_Bytes(data))))

    def __getitem__(self, name: str) -> numpy.ndarray:
        if refusal := self._entries[name].refusal:
            raise WeightsError(f"{self.path}: {name} {refusal}")
        return super().__getitem__(name)


# --- bytes ----------------------------------------------------------------------------------------------------------


class _Bytes:
    """The bytes of a file, with methods that read little-endian numbers and count the steps through the file.

    Raises ValueError for an address outside the file, a wrong signature, or too many steps.
    """

    def __init__(self, data: Mapped) -> None:
        self.data, self._steps = data, 0

    def slice(self, offset: int, size: int) -> bytes:
        if offset + size > len(self.data):
            raise ValueError(f"it refers to byte {offset + size}, but has {len(self.data)} bytes")
        return self.data[offset : offset + size]

    def number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.slice(offset, size), "little")

    def read(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack("<" + form, self.slice(offset, struct.calcsize("<" + form)))

    def expect(self, signature: bytes, offset: int) -> None:
        if self.slice(offset, len(signature)) != signature:
            raise ValueError(f"there is no {signature[:4].decode()} of the expected version at byte {offset}")

    def step(self) -> None:
        self._steps += 1
        self.data.work = self._steps / MOST_STEPS
        if self._steps > MOST_STEPS:
            raise ValueError(f"it has more than {MOST_STEPS} messages and links, or they form a cycle")


def _datasets(data: _Bytes) -> Iterator[tuple[str, Dataset]]:
    """The path and the description of each array. Two links to the same group are refused, so there are no cycles."""
    pending, groups = [("", _root(data))], set()
    while pending:
        path, address = pending.pop()
        messages = list(_messages(data, address))
        if any(kind == DATASPACE for kind, _ in messages):
            yield path, _dataset(data, dict(messages))
            continue
        if address in groups:
            raise ValueError(f"two links lead to its group {path[:100]!r}")
        groups.add(address)
        pending += [(_joined(path, name), child) for name, child in _links(data, messages)]


def _joined(path: str, name: bytes) -> str:
    joined = f"{path}/{name.decode()}" if path else name.decode()
    if not name or len(joined) > LONGEST_NAME:
        raise ValueError(f"it has an empty name, or a path of {len(joined)} characters; the limit is {LONGEST_NAME}")
    return joined


# --- headers --------------------------------------------------------------------------------------------------------


def _root(data: _Bytes) -> int:
    """The address of the root group's header, from the superblock."""
    if data.slice(0, 8) != b"\x89HDF\r\n\x1a\n":
        raise ValueError("it does not begin with the HDF5 signature")
    version = data.number(8, 1)
    if version > 3:
        raise ValueError(f"its superblock has version {version}; versions 0 to 3 are supported")
    sizes, start, root = (13, 24 + 4 * version, 40) if version < 2 else (9, 12, 24)
    base, _, end = data.read("3Q", start)
    if data.read("BB", sizes) != (8, 8) or base != 0:
        raise ValueError("its addresses must be 8 bytes long and relative to the start of the file")
    if end > len(data.data):
        raise ValueError(f"its header gives a size of {end} bytes. Download it again")
    return data.number(start + root, 8)


def _messages(data: _Bytes, address: int) -> Iterator[tuple[int, int]]:
    """The kind of each message in the header at an address, and the offset of its content."""
    second = data.slice(address, 5) == b"OHDR\x02"
    first, form, head = _header_2(data, address) if second else _header_1(data, address)
    blocks = [first]
    for start, stop in blocks:  # a continuation message adds a block
        while start + head <= stop:
            data.step()
            kind, length, flags = data.read(form, start)
            start += head
            if flags & 2:
                raise ValueError(
                    f"the header message at byte {start} is shared by several objects, which is not supported"
                )
            if kind == CONTINUATION:
                blocks.append(_continuation(data, start, second))
            yield kind, start
            start += length


Header = tuple[tuple[int, int], str, int]
"""The start and end of a header's first messages, and the format and size of the head of each message."""


def _header_1(data: _Bytes, address: int) -> Header:
    if data.number(address, 1) != 1:
        raise ValueError(f"there is no object header at byte {address}")
    return (address + 16, address + 16 + data.number(address + 8, 4)), "HHB", 8


def _header_2(data: _Bytes, address: int) -> Header:
    flags = data.number(address + 5, 1)
    start = address + 6 + 16 * bool(flags & 32) + 4 * bool(flags & 16)
    width = 1 << (flags & 3)
    return (start + width, start + width + data.number(start, width)), "BHB", 4 + 2 * bool(flags & 4)


def _continuation(data: _Bytes, start: int, second: bool) -> tuple[int, int]:
    """The start and end of further messages, which version 2 puts between a signature and a checksum."""
    address, size = data.read("QQ", start)
    if second:
        data.expect(b"OCHK", address)
    return address + 4 * second, address + size - 4 * second


# --- groups ---------------------------------------------------------------------------------------------------------

Links = Iterator[tuple[bytes, int]]
"""Names of links, and the addresses of the headers that they lead to."""


def _links(data: _Bytes, messages: list[tuple[int, int]]) -> Links:
    for kind, start in messages:
        if kind == LINK:
            yield _link(data, start)
        elif kind == SYMBOL_TABLE:
            tree, heap = data.read("QQ", start)
            data.expect(b"HEAP\0", heap)
            yield from _symbols(data, tree, data.number(heap + 24, 8), MOST_LEVELS)
        elif kind == LINK_INFO:
            heap, tree = data.read("QQ", start + 2 + 8 * (data.number(start + 1, 1) & 1))
            if heap != NOWHERE:
                yield from _many_links(data, heap, tree)


def _link(data: _Bytes, start: int) -> tuple[bytes, int]:
    version, flags = data.read("BB", start)
    kind = data.number(start + 2, 1) if flags & 8 else 0
    if version != 1 or kind != 0:
        what = {1: "a soft link", 64: "a link to another file"}.get(kind, "an unknown kind of link")
        raise ValueError(f"at byte {start} it has {what}; only hard links are supported")
    start += 2 + bool(flags & 8) + 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    length = data.number(start, width)
    if length > LONGEST_NAME:
        raise ValueError(f"it has a name of {length} bytes; the limit is {LONGEST_NAME}")
    return data.slice(start + width, length), data.number(start + width + length, 8)


def _symbols(data: _Bytes, node: int, names: int, levels: int) -> Links:
    """The links under a node of a B-tree; `names` is the address of the first name."""
    data.expect(b"TREE\0", node)
    level, count = data.read("BH", node + 5)
    if level >= levels:
        raise ValueError(f"its B-tree has too many levels at byte {node}")
    for index in range(count):
        data.step()
        child = data.number(node + 32 + 16 * index, 8)
        yield from _symbols(data, child, names, level) if level else _table(data, child, names)


def _table(data: _Bytes, table: int, names: int) -> Links:
    data.expect(b"SNOD\1", table)
    for index in range(data.number(table + 6, 2)):
        data.step()
        name, header, cached = data.read("QQI", table + 8 + 40 * index)
        if cached == 2:
            raise ValueError(f"at byte {table} it has a soft link; only hard links are supported")
        stop = data.data.find(b"\0", names + name, names + name + LONGEST_NAME + 1)
        if stop < 0:
            raise ValueError(f"it has a name of more than {LONGEST_NAME} bytes, which is the limit")
        yield data.data[names + name : stop], header


def _many_links(data: _Bytes, heap: int, tree: int) -> Links:
    """The links in a fractal heap, found with the B-tree of names. A record is a hash and an address in the heap."""
    data.expect(b"BTHD\0\5", tree)
    node, size, depth = data.read("IHH", tree + 6)
    root, count = data.read("QH", tree + 16)
    if size != 4 + data.number(heap + 5, 2) or depth >= MOST_LEVELS:
        raise ValueError(f"its B-tree at byte {tree} does not index names")
    for record in _records(data, root, count, size, _pointers(node, size, depth)):
        yield _link(data, _in_heap(data, heap, record + 4))


def _pointers(node: int, size: int, depth: int) -> list[tuple[int, int]]:
    """For each level above the leaves: the size in bytes of a child's record count, and of the pointer to the child."""
    most = below = (node - 10) // size
    result = []
    for level in range(depth):
        width = _width(most)
        pointer = 8 + width + (_width(below) if level else 0)
        result.append((width, pointer))
        most = (node - 10 - pointer) // (size + pointer)
        below = (most + 1) * below + most
    return result


def _width(number: int) -> int:
    """Number of bytes that an integer takes, at least one."""
    return max(number.bit_length() + 7, 8) // 8


def _records(data: _Bytes, node: int, count: int, size: int, pointers: list[tuple[int, int]]) -> Iterator[int]:
    """The address of each record in a node and its children."""
    data.expect(b"BTIN\0\5" if pointers else b"BTLF\0\5", node)
    for index in range(count):
        data.step()
        yield node + 6 + size * index
    if pointers:
        width, pointer = pointers[-1]
        for index in range(count + 1):
            data.step()
            start = node + 6 + size * count + pointer * index
            child = data.number(start, 8), data.number(start + 8, width)
            yield from _records(data, *child, size, pointers[:-1])


def _in_heap(data: _Bytes, heap: int, record: int) -> int:
    """The address of an object in a fractal heap, from a record with its offset in the heap.

    The heap has its own address space, which is split into rows of `columns` blocks each. Blocks in the first two rows
    have the size `first`; after that, the size doubles with each row. An index holds the address of each block. A
    block that would be larger than `largest` is itself an index.
    """
    data.expect(b"FRHP\0", heap)
    columns, first, largest, bits, _, block, rows = data.read("HQQHHQH", heap + 110)
    if data.number(heap + 7, 2) or data.number(record, 1) or bits > 64 or not 0 < first <= largest or not columns:
        raise ValueError(f"its heap at byte {heap} is compressed, or has invalid sizes")
    width = (bits + 7) // 8
    position = data.number(record + 1, width)
    while rows:
        data.step()
        row = (position // (columns * first)).bit_length()
        size = first << max(row - 1, 0)
        position -= columns * size * (row > 0)
        block = data.number(block + 13 + width + 8 * (row * columns + position // size), 8)
        position %= size
        if size <= largest:
            break
    return block + position


# --- arrays ---------------------------------------------------------------------------------------------------------


def _dataset(data: _Bytes, messages: dict[int, int]) -> Dataset:
    if DATATYPE not in messages or LAYOUT not in messages:
        raise ValueError("it has an array without a dtype or an address")
    shape, dtype = _shape(data, messages[DATASPACE]), _dtype(data, messages[DATATYPE])
    version, layout = data.read("BB", messages[LAYOUT])
    if EXTERNAL in messages:
        return Dataset(dtype, shape, 0, "is stored in another file, which is not supported")
    if version not in (3, 4) or layout != CONTIGUOUS:
        how = LAYOUTS.get(layout, "in an unknown way")
        return Dataset(dtype, shape, 0, f"is stored {how}; only arrays in one piece are supported")
    if dtype not in DTYPES.values():
        return Dataset(dtype, shape, 0, f"holds {dtype}; only little-endian numbers are supported")
    offset, size = data.read("QQ", messages[LAYOUT] + 2)
    needed = math.prod(shape) * (2 if dtype == "bfloat16" else numpy.dtype(dtype).itemsize)
    if needed == 0:
        return Dataset(dtype, shape, 0)
    if offset == NOWHERE:
        return Dataset(dtype, shape, 0, "was never written")
    if size != needed or offset + size > len(data.data):
        raise ValueError(
            f"an array of shape {str(shape)[:100]} needs {needed} bytes, "
            f"but has {size} at byte {offset} of {len(data.data)}"
        )
    return Dataset(dtype, shape, offset)


def _shape(data: _Bytes, start: int) -> tuple[int, ...]:
    version, rank, _, kind = data.read("4B", start)
    if version not in (1, 2) or (version == 2 and kind > 1) or rank > 32:
        raise ValueError(f"there is no valid shape at byte {start}")
    return data.read(f"{rank}Q", start + (8 if version == 1 else 4))


def _dtype(data: _Bytes, start: int) -> str:
    """NumPy's name for a dtype, or a description of an unsupported datatype."""
    kind = data.number(start, 1) & 15
    exact = data.slice(start + 1, 19 if kind == 1 else 11)
    return DTYPES.get(exact) or CLASSES.get(kind, "other numbers")
