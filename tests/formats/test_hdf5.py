"""HDF5 files: mapped without a copy in every layout that Keras writes, and a message for every invalid file."""

import functools
import io
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from support import mutated, mutations, place, raises, slow_but

from minroberta import Error, WeightsError
from minroberta.checkpoints.formats import hdf5
from minroberta.checkpoints.formats.hdf5 import LONGEST_NAME, MOST_STEPS, NOWHERE, File


@contextmanager
def refused(*telling: str) -> Iterator[None]:
    """Expect, at once, a WeightsError that names the file and says these things."""
    start = time.perf_counter()
    with raises(WeightsError, ValueError, ".h5", *telling):
        yield
    assert time.perf_counter() - start < 5


# --- reading --------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, dict[str, Any]] = {
    "first": {},
    "latest": {"libver": "latest"},
    "ordered": {"track_order": True},
    "latest ordered": {"libver": "latest", "track_order": True},
    "third": {"libver": ("v110", "v110")},
}
"""The ways of h5py to write groups: symbol tables, links in messages, and many of them in a heap."""

DTYPES = ("f4", "f8", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1")


@pytest.mark.parametrize("count", slow_but([1, 7, 40, 500, 4000], 1, 7, 40, 500))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_written_by_h5py(tmp_path: Path, layout: str, count: int) -> None:
    """With `count` arrays in a group, trees and heaps have several levels."""
    values = {f"a/b {i}/é{i}:0": np.full((i % 3, 2), i).astype(DTYPES[i % len(DTYPES)]) for i in range(count // 10)}
    values |= {f"a/{i}": np.array(i) for i in range(count)}
    with h5py.File(tmp_path / "x.h5", "w", **LAYOUTS[layout]) as file:
        file.create_group("a", track_order=LAYOUTS[layout].get("track_order")).attrs["names"] = ["kernel:0"] * 700
        for name, value in values.items():
            file[name] = value
    arrays = File(tmp_path / "x.h5")
    assert set(arrays) == set(values)
    assert len(arrays) == len(values)
    for name, value in values.items():
        assert arrays[name].dtype == value.dtype
        assert np.array_equal(arrays[name], value)
        assert arrays[name].shape == value.shape
        assert arrays.stored(name) == (value.dtype.name, value.shape)


@pytest.mark.slow
def test_more_links_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With enough links, the heap has indices within its index, and the tree four levels."""
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file["a"] = np.arange(3)
        for number in range(40_000):
            file[f"{number:0>20}"] = file["a"]
    with refused(f"more than {MOST_STEPS} messages and links"):
        File(tmp_path / "x.h5")
    monkeypatch.setattr(hdf5, "MOST_STEPS", 10**6)
    assert set(File(tmp_path / "x.h5")) == {"a", *(f"{number:0>20}" for number in range(40_000))}


def test_levels_of_a_heap_are_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index within an index of a heap, 64 times, would be followed for each of many thousand links."""
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file["a"] = np.arange(3)
        for number in range(1000):
            file[f"{number:0>20}"] = file["a"]
    monkeypatch.setattr(hdf5, "MOST_STEPS", 10**6)
    steps = []
    step = hdf5._Bytes.step
    monkeypatch.setattr(hdf5._Bytes, "step", lambda data: (steps.append(1), step(data)))
    found = len(File(tmp_path / "x.h5"))
    assert found == 1001 and len(steps) > 7.5 * found  # 7 for a link without the level of the heap


@pytest.fixture
def real(tmp_path: Path) -> Path:
    path = tmp_path / "real.h5"
    with h5py.File(path, "w") as file:
        file["a/kernel:0"] = np.arange(6, dtype="f4").reshape(2, 3)
        file["a/bias:0"] = np.arange(3, dtype="f8")
        file["none"] = np.zeros((0, 2), "f4")
    return path


def test_arrays_are_mapped_from_the_file(real: Path) -> None:
    array = File(real)["a/kernel:0"]
    found = place(array)
    assert found is not None
    path, offset, dtype, shape = found
    assert np.array_equal(np.memmap(path, dtype, "r", offset, shape), array)
    assert array.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_a_file_is_a_mapping(real: Path) -> None:
    file = File(real)
    assert "a/bias:0" in file
    assert "a" not in file
    assert "/a/bias:0" not in file
    assert file.size == real.stat().st_size
    with pytest.raises(KeyError):
        file["b"]


def test_an_array_that_is_not_asked_for_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (2**28,), "f4")[-1] = 1  # sparse: it takes no space on the disk
    assert File(tmp_path / "x.h5")["a"][-1] == 1


def test_two_names_of_one_array(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.arange(3)
        file["b"] = file["a"]
    file = File(tmp_path / "x.h5")
    assert np.shares_memory(file["a"], file["b"])


# --- files made by hand ---------------------------------------------------------------------------------------------

ROOT, OTHER, DATA = 64, 4096, 8192
"""Offsets of the parts of a file made by hand: the root's header, another's, and an array's bytes."""


def file_of(directory: Path, parts: dict[int, bytes], size: int = 8208) -> Path:
    """A file of these parts at their offsets, and a superblock."""
    data = bytearray(max(size, *(start + len(part) for start, part in parts.items())))
    data[:48] = b"\x89HDF\r\n\x1a\n\2\x08\x08\0" + struct.pack("<4QI", 0, NOWHERE, len(data), ROOT, 0)
    for start, part in parts.items():
        data[start : start + len(part)] = part
    path = directory / "x.h5"
    path.write_bytes(data)
    return path


def header(*messages: bytes) -> bytes:
    """An object's header of version 2."""
    content = b"".join(messages)
    return b"OHDR\2\2" + struct.pack("<I", len(content)) + content + bytes(4)


def message(kind: int, content: bytes, flags: int = 0) -> bytes:
    return struct.pack("<BHB", kind, len(content), flags) + content


def link(name: bytes, address: int, kind: int | None = None) -> bytes:
    head = b"\1\2" if kind is None else bytes([1, 8 + 2, kind])
    return message(6, head + struct.pack("<I", len(name)) + name + struct.pack("<Q", address))


def space(*shape: int) -> bytes:
    return message(1, struct.pack(f"<4B{len(shape)}Q", 2, len(shape), 0, 1, *shape))


def layout(offset: int, size: int, version: int = 3, kind: int = 1) -> bytes:
    return message(8, struct.pack("<BBQQ", version, kind, offset, size))


FLOAT32 = message(3, struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 31, 0, 4, 0, 32, 23, 8, 0, 23, 127))
BFLOAT16 = message(3, struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 15, 0, 2, 0, 16, 7, 8, 0, 7, 127))
DATASET = header(space(4), FLOAT32, layout(DATA, 16))
ONES = np.ones(4, "f4").tobytes()


def of_dataset(directory: Path, dataset: bytes, size: int = 8208) -> Path:
    return file_of(directory, {ROOT: header(link(b"a", OTHER)), OTHER: dataset, DATA: ONES}, size)


def test_a_file_made_by_hand(tmp_path: Path) -> None:
    """The parts that the hostile files are made of are valid."""
    path = of_dataset(tmp_path, DATASET)
    assert {name: array.tolist() for name, array in File(path).items()} == {"a": [1, 1, 1, 1]}
    with h5py.File(path.with_name("y.h5"), "w", libver="latest") as file:
        file["a"] = np.ones(4, "f4")
    assert File(path.with_name("y.h5"))["a"].tolist() == [1, 1, 1, 1]


def test_an_array_that_is_not_aligned_is_a_copy(tmp_path: Path) -> None:
    array = File(of_dataset(tmp_path, header(space(3), FLOAT32, layout(DATA + 1, 12))))["a"]
    assert array.flags.aligned
    assert array.tobytes() == ONES[1:13]


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    bits = np.arange(65536, dtype="<u2").tobytes()
    dataset = header(space(256, 256), BFLOAT16, layout(DATA, len(bits)))
    file = File(file_of(tmp_path, {ROOT: header(link(b"a", OTHER)), OTHER: dataset, DATA: bits}))
    assert file["a"].dtype == np.float32
    assert np.array_equal(file["a"].reshape(-1).view("u4"), np.arange(65536, dtype="u4") << 16)
    assert file.stored("a") == ("bfloat16", (256, 256))


# --- hostile files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x89HDF", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n\0", bytes(100), b"PK\3\4"])
def test_tiny_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(data)
    with refused(f"({len(data)} bytes) is not a readable HDF5 file"):
        File(tmp_path / "x.h5")


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_a_path_that_is_not_a_file(tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        (tmp_path / "x.h5").mkdir()
    with refused("(0 bytes) is not a readable HDF5 file"):
        File(tmp_path / "x.h5")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_truncation(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", **LAYOUTS[layout]) as file:
        file["a/kernel:0"] = np.ones((2, 3), "f4")
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.unlink()
        path.write_bytes(whole[:size])
        with refused(f"({size} bytes) is not a readable HDF5 file"):
            File(path)


WRITTEN: dict[str, tuple[str, Callable[[h5py.File], Any]]] = {
    "external storage": (
        "is stored in another file",
        lambda file: file.create_dataset("a", (4,), "u1", external=[("/etc/passwd", 0, 4)]),
    ),
    "virtual": ("is stored as a view of other arrays", lambda file: virtual(file)),
    "chunks": ("is stored in chunks", lambda file: file.create_dataset("a", data=np.ones(4), chunks=(2,))),
    "bomb": (
        "is stored in chunks",
        lambda file: file.create_dataset("a", (2**40,), "f4", chunks=(2**20,), compression="gzip"),
    ),
    "growing": ("is stored in chunks", lambda file: file.create_dataset("a", (1,), "f4", maxshape=(None,))),
    "never written": ("was never written", lambda file: file.create_dataset("a", (2**50,), "f4")),
    "big-endian": ("holds other numbers", lambda file: file.create_dataset("a", data=np.ones(2, ">f4"))),
    "complex": ("holds compound values", lambda file: file.create_dataset("a", data=np.ones(2, "c8"))),
    "truth": ("holds an enumeration", lambda file: file.create_dataset("a", data=np.ones(2, "?"))),
    "text": ("holds text", lambda file: file.create_dataset("a", data=np.array([b"abc"]))),
    "long text": ("holds values of variable length", lambda file: file.create_dataset("a", data="abc")),
    "lists": ("holds values of variable length", lambda file: file.create_dataset("a", (2,), h5py.vlen_dtype("f4"))),
    "references": ("holds references", lambda file: file.create_dataset("a", data=file.ref, dtype=h5py.ref_dtype)),
    "regions": ("holds references", lambda file: file.create_dataset("a", (2,), h5py.regionref_dtype)),
    "opaque": ("holds opaque bytes", lambda file: file.create_dataset("a", data=np.void(b"abc"))),
    "compound": ("holds compound values", lambda file: file.create_dataset("a", (2,), [("x", "f4"), ("y", "O")][:1])),
    "array": ("holds other numbers", lambda file: file.create_dataset("a", (2,), np.dtype(("f4", (3,))))),
}


def virtual(file: h5py.File) -> None:
    views = h5py.VirtualLayout((4,), "f4")
    views[:] = h5py.VirtualSource("other.h5", "a", (4,))
    file.create_virtual_dataset("a", views)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_an_array_that_is_stored_otherwise(tmp_path: Path, kind: str, libver: str) -> None:
    """Such an array is listed, and refused only when it is asked for: those next to it can be read."""
    telling, write = WRITTEN[kind]
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        write(file)
        file["b"] = np.ones(2)
    arrays = File(tmp_path / "x.h5")
    assert arrays["b"].tolist() == [1, 1]
    assert "a" in arrays
    assert isinstance(arrays.stored("a")[0], str)
    with refused(f"x.h5: a {telling}"):
        arrays["a"]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    "target",
    [h5py.SoftLink("/a"), h5py.SoftLink("/link"), h5py.SoftLink("/nothing"), h5py.ExternalLink("/etc/x.h5", "/a")],
    ids=["array", "itself", "nothing", "another file"],
)
def test_a_link_to_a_name(tmp_path: Path, target: Any, libver: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        file["a"] = np.ones(2)
        file["link"] = target
    with refused("it has a", "link", "only hard links are supported"):
        File(tmp_path / "x.h5")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["a/b/c", "circle", "a/b/c/d"])
def test_links_in_a_circle(tmp_path: Path, layout: str, name: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w", **LAYOUTS[layout]) as file:
        file.create_group("a/b")
        file[name] = file["a"] if name.startswith("a") else file["/"]
    with refused("two links lead to its group"):
        File(tmp_path / "x.h5")


def test_a_shared_datatype(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["type"] = np.dtype("f4")
        file.create_dataset("a", (2,), file["type"])
    with refused("is not a readable HDF5 file"):
        File(tmp_path / "x.h5")


def test_groups_too_deep(tmp_path: Path) -> None:
    """The groups are a hundred times as deep as Python's limit of recursion."""
    size = len(header(link(b"x", 0)))
    groups = b"".join(header(link(b"x", ROOT + size * (i + 1))) for i in range(100_000))
    with refused("a path of", f"characters; the limit is {LONGEST_NAME}"):
        File(file_of(tmp_path, {ROOT: groups}))


def test_too_many_links(tmp_path: Path) -> None:
    links = b"".join(link(b"%07d" % i, DATA) for i in range(MOST_STEPS + 1))
    with refused(f"more than {MOST_STEPS} messages and links"):
        File(file_of(tmp_path, {ROOT: header(links)}))


def test_many_groups_of_many_links(tmp_path: Path) -> None:
    """Each group has links to the hundred of the next row: 100 to the power of the rows paths."""
    size = len(header(*[link(b"%02d" % i, 0) for i in range(100)]))
    rows = b"".join(header(*[link(b"%02d" % i, ROOT + size * row) for i in range(100)]) for row in range(1, 101))
    with refused("two links lead to its group"):
        File(file_of(tmp_path, {ROOT: rows + header()}))


@pytest.mark.parametrize("name", [b"", b"x" * (LONGEST_NAME + 1), b"x" * 65000, b"\xff"])
def test_an_invalid_name(tmp_path: Path, name: bytes) -> None:
    with refused("is not a readable HDF5 file"):
        File(file_of(tmp_path, {ROOT: header(link(name, OTHER)), OTHER: DATASET}, 2**18))


def test_a_name_longer_than_the_file(tmp_path: Path) -> None:
    with refused("it has a name of 4294967295 bytes"):
        File(file_of(tmp_path, {ROOT: header(message(6, b"\1\2\xff\xff\xff\xff" + bytes(16)))}))


@pytest.mark.parametrize("kind", [1, 64, 65, 255])
def test_a_link_that_leads_elsewhere(tmp_path: Path, kind: int) -> None:
    with refused("it has a", "link", "only hard links are supported"):
        File(file_of(tmp_path, {ROOT: header(link(b"a", OTHER, kind)), OTHER: DATASET}))


CHAINS = {
    "header in itself": header(message(16, struct.pack("<QQ", ROOT - 4, 100))),
    "no block": header(message(16, struct.pack("<QQ", OTHER + 64, 100))),
    "outside": header(message(16, struct.pack("<QQ", 2**63, 100))),
    "far outside": header(message(16, struct.pack("<QQ", NOWHERE, NOWHERE))),
}


@pytest.mark.parametrize("root", CHAINS.values(), ids=list(CHAINS))
def test_a_header_with_a_continuation_outside_the_file(tmp_path: Path, root: bytes) -> None:
    with refused("is not a readable HDF5 file"):
        File(file_of(tmp_path, {ROOT: root}))


@pytest.mark.parametrize("second", [True, False])
def test_a_header_with_circular_continuations(tmp_path: Path, second: bool) -> None:
    place = struct.pack("<QQ", OTHER, 64)
    if second:
        parts = {ROOT: header(message(16, place)), OTHER: b"OCHK" + message(16, place)}
    else:
        again = struct.pack("<HHI", 16, 16, 0) + place
        parts = {ROOT: b"\1\0\1\0\1\0\0\0\x18\0\0\0" + bytes(4) + again, OTHER: again}
    with refused(f"more than {MOST_STEPS} messages and links"):
        File(file_of(tmp_path, parts))


@pytest.mark.parametrize("size", [0, 2**31, 2**32 - 1])
def test_a_header_of_empty_messages(tmp_path: Path, size: int) -> None:
    """Messages of kind 0 and length 0 fill the file to its end."""
    path = file_of(tmp_path, {ROOT: b"OHDR\2\2" + struct.pack("<I", size)}, 10_000_000)
    if size:
        with refused(f"more than {MOST_STEPS} messages and links"):
            File(path)
    else:
        assert dict(File(path)) == {}


def tree(level: int, *children: int, count: int | None = None) -> bytes:
    """A node of a symbol table's B-tree."""
    start = b"TREE\0" + struct.pack("<BHQQ", level, len(children) if count is None else count, NOWHERE, NOWHERE)
    return start + b"".join(struct.pack("<QQ", 0, child) for child in children) + bytes(8)


def symbols(*names: tuple[int, int, int]) -> bytes:
    return b"SNOD\1\0" + struct.pack("<H", len(names)) + b"".join(struct.pack("<QQI20x", *name) for name in names)


TABLE = header(message(17, struct.pack("<QQ", 1024, 2048)))
HEAP = b"HEAP\0" + bytes(19) + struct.pack("<Q", 3072)
TREES = {
    "in itself": {1024: tree(1, 1024, 1024)},
    "in itself, level 0": {1024: tree(0, 1024)},
    "each the other": {1024: tree(1, 1280), 1280: tree(1, 1024)},
    "too many levels": {1024: tree(255, 1024)},
    "levels that skip": {1024: tree(5, 1280), 1280: tree(6, 1536)},
    "outside": {1024: tree(0, 2**63)},
    "far outside": {1024: tree(0, NOWHERE)},
    "no node": {1024: b"TREE\1" + bytes(50)},
    "many children": {1024: tree(0, count=65535)},
    "no table": {1024: tree(0, 1536)},
    "name outside": {1024: tree(0, 1536), 1536: symbols((2**63, OTHER, 0))},
    "name far outside": {1024: tree(0, 1536), 1536: symbols((NOWHERE, OTHER, 0))},
    "no name": {1024: tree(0, 1536), 1536: symbols((500, OTHER, 0))},
    "soft link": {1024: tree(0, 1536), 1536: symbols((0, OTHER, 2)), 3072: b"x"},
    "header outside": {1024: tree(0, 1536), 1536: symbols((0, NOWHERE, 0)), 3072: b"x"},
    "no heap": {1024: tree(0, 1536), 1536: symbols((0, OTHER, 0)), 2048: bytes(50)},
}


@pytest.mark.parametrize("parts", TREES.values(), ids=list(TREES))
def test_a_symbol_table_that_lies(tmp_path: Path, parts: dict[int, bytes]) -> None:
    with refused("is not a readable HDF5 file"):
        File(file_of(tmp_path, {ROOT: TABLE, 2048: HEAP, OTHER: DATASET} | parts))


def test_a_name_without_an_end(tmp_path: Path) -> None:
    parts = {ROOT: TABLE, 1024: tree(0, 1536), 1536: symbols((0, OTHER, 0)), 2048: HEAP, 3072: b"x" * 1000}
    with refused(f"it has a name of more than {LONGEST_NAME} bytes"):
        File(file_of(tmp_path, parts))


def test_a_symbol_table_made_by_hand(tmp_path: Path) -> None:
    parts = {1024: tree(1, 1280), 1280: tree(0, 1536), 1536: symbols((0, OTHER, 0)), 3072: b"x", DATA: ONES}
    file = File(file_of(tmp_path, {ROOT: TABLE, 2048: HEAP, OTHER: DATASET} | parts))
    assert file["x"].tolist() == [1, 1, 1, 1]


def test_a_bomb_of_nodes(tmp_path: Path) -> None:
    """Eight levels, each with a thousand links to the next, and the last to an empty table."""
    parts = {ROOT: header(message(17, struct.pack("<QQ", 2**17 * 8, 2048))), 2048: HEAP, 2**20 + 2**17: symbols()}
    parts |= {2**17 * (level + 1): tree(level, *[2**17 * (level or 9)] * 1000) for level in range(8)}
    with refused(f"more than {MOST_STEPS} messages and links"):
        File(file_of(tmp_path, parts))


def heap(columns: int, first: int, largest: int, bits: int, block: int, rows: int, packed: int = 0) -> bytes:
    start = b"FRHP\0" + struct.pack("<HH", 7, packed) + bytes(101)
    return start + struct.pack("<HQQHHQH", columns, first, largest, bits, 1, block, rows)


def names(depth: int, root: int, count: int, size: int = 11, node: int = 512) -> bytes:
    """The head of a B-tree of names."""
    return b"BTHD\0\5" + struct.pack("<IHHBBQHQ", node, size, depth, 100, 40, root, count, count)


MANY = header(message(2, struct.pack("<BBQQ", 0, 0, 1024, 2048)))
LEAF = b"BTLF\0\5" + bytes(4) + b"\0" + struct.pack("<IH", 20, 20)
HEAPS = {
    "no heap": {1024: bytes(200)},
    "packed": {1024: heap(4, 512, 65536, 32, 4000, 0, packed=1)},
    "no columns": {1024: heap(0, 512, 65536, 32, 4000, 1)},
    "blocks of nothing": {1024: heap(4, 0, 65536, 32, 4000, 1)},
    "no largest": {1024: heap(4, 512, 0, 32, 4000, 1)},
    "long offsets": {1024: heap(4, 512, 65536, 8000, 4000, 0), 2560: LEAF[:11] + b"\xff" * 1000},
    "outside": {1024: heap(4, 512, 65536, 32, NOWHERE, 0)},
    "index outside": {1024: heap(4, 512, 65536, 32, NOWHERE, 1)},
    "index in itself": {1024: heap(1, 1, 1, 32, 3072, 1), 3072: struct.pack("<17xQ", 3072) * 20},
    "no tree": {2048: bytes(100)},
    "tree of another kind": {2048: b"BTHD\0\6" + names(0, 2560, 1)[6:]},
    "records of nothing": {2048: names(0, 2560, 1, size=0)},
    "a node too small": {2048: names(3, 2560, 1, node=0)},
    "too deep": {2048: names(65535, 2560, 0), 2560: b"BTIN\0\5" + struct.pack("<QB", 2560, 0)},
    "leaf outside": {2048: names(0, NOWHERE, 1)},
    "many records": {2048: names(0, 2560, 65535)},
    "node in itself": {2048: names(2, 2560, 0), 2560: b"BTIN\0\5" + struct.pack("<QB", 2560, 0)},
    "huge object": {2560: LEAF[:10] + b"\x10" + LEAF[11:]},
    "tiny object": {2560: LEAF[:10] + b"\x20" + LEAF[11:]},
    "no link": {4000: bytes(64)},
}


@pytest.mark.parametrize("parts", HEAPS.values(), ids=list(HEAPS))
def test_a_heap_that_lies(tmp_path: Path, parts: dict[int, bytes]) -> None:
    sound = {1024: heap(4, 512, 65536, 32, 3980, 0), 2048: names(0, 2560, 1), 2560: LEAF, 4000: link(b"a", OTHER)[4:]}
    assert list(File(file_of(tmp_path, {ROOT: MANY, OTHER: DATASET, DATA: ONES} | sound))) == ["a"]
    with refused("is not a readable HDF5 file"):
        File(file_of(tmp_path, {ROOT: MANY, OTHER: DATASET, DATA: ONES} | sound | parts))


LIES = {
    "outside": header(space(4), FLOAT32, layout(DATA + 1, 16)),
    "all outside": header(space(4), FLOAT32, layout(DATA + 16, 16)),
    "far outside": header(space(4), FLOAT32, layout(2**64 - 17, 16)),
    "too large": header(space(2**31), FLOAT32, layout(DATA, 16)),
    "shape that overflows": header(space(2**32, 2**32), FLOAT32, layout(DATA, 16)),
    "shape that overflows to its size": header(space(2**62 + 1, 4), FLOAT32, layout(DATA, 16)),
    "shape of 64 bits": header(space(2**64 - 1), FLOAT32, layout(DATA, 16)),
    "size of another dtype": header(space(4), FLOAT32, layout(DATA, 8)),
    "33 axes": header(space(*[1] * 33), FLOAT32, layout(DATA, 4)),
    "255 axes": header(message(1, struct.pack("<4B", 2, 255, 0, 1)), FLOAT32, layout(DATA, 4)),
    "no shape": header(message(1, struct.pack("<4B", 2, 0, 0, 2)), FLOAT32, layout(DATA, 4)),
    "shape of version 3": header(message(1, struct.pack("<4B", 3, 0, 0, 1)), FLOAT32, layout(DATA, 4)),
    "without a dtype": header(space(4), layout(DATA, 16)),
    "without an address": header(space(4), FLOAT32),
    "shared dtype": header(space(4), message(3, bytes(16), flags=2), layout(DATA, 16)),
    "no header": b"OHDR\3" + bytes(20),
}


@pytest.mark.parametrize("dataset", LIES.values(), ids=list(LIES))
def test_an_array_that_lies(tmp_path: Path, dataset: bytes) -> None:
    with refused("(8208 bytes) is not a readable HDF5 file"):
        File(of_dataset(tmp_path, dataset))


@pytest.mark.parametrize("dataset", [layout(DATA, 16, version=2), layout(DATA, 16, version=5), layout(0, 0, 3, 9)])
def test_a_layout_that_is_unknown(tmp_path: Path, dataset: bytes) -> None:
    file = File(of_dataset(tmp_path, header(space(4), FLOAT32, dataset)))
    with refused("a is stored", "only arrays in one piece are supported"):
        file["a"]


@pytest.mark.parametrize("shape", [(0, 2**62, 2**62), (0, 2**63), (2**64 - 1, 0)])
def test_a_shape_that_numpy_cannot_hold(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = File(of_dataset(tmp_path, header(space(*shape), FLOAT32, layout(DATA, 0))))
    with refused("NumPy cannot hold a: "):
        file["a"]


@pytest.mark.parametrize(
    ("offset", "value", "telling"),
    [
        (8, b"\4", "version 4; versions 0 to 3 are supported"),
        (9, b"\4", "its addresses"),
        (12, b"\1", "its addresses"),
        (28, struct.pack("<Q", 10_000), "its header gives a size of 10000 bytes"),
        (36, struct.pack("<Q", 0), "there is no object header at byte 0"),
        (36, struct.pack("<Q", NOWHERE), "it refers to byte"),
    ],
)
def test_a_superblock_that_lies(tmp_path: Path, offset: int, value: bytes, telling: str) -> None:
    with refused(telling):
        File(file_of(tmp_path, {ROOT: header(), offset: value}))


@functools.cache
def twelve(layout: str) -> bytes:
    """A file of twelve arrays, each in a group."""
    made = io.BytesIO()
    with h5py.File(made, "w", **LAYOUTS[layout]) as file:
        for number in range(12):
            file[f"a/{number}/kernel:0"] = np.ones((2, 3), "f4")
    return made.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@given(mutations("flip", "set", "cut", "fill", most=2**14, size=8))
def test_a_damaged_file_gives_arrays_or_an_error(
    tmp_path: Path, layout: str, changes: list[tuple[str, int, bytes]]
) -> None:
    path, data = tmp_path / "x.h5", mutated(twelve(layout), changes)
    path.unlink(missing_ok=True)  # it may still be mapped
    path.write_bytes(data)
    try:
        for array in File(path).values():
            assert np.array(array).nbytes <= len(data) * 2
    except Error as error:
        assert "x.h5" in str(error)
