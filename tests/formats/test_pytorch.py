"""PyTorch's files: bit for bit as PyTorch reads them, and a message for every hostile pickle and archive."""

import io
import pickle
import pickletools
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from support import CHECKPOINTS, alone, owner, raises, slow_but

import minroberta
from minroberta import Error, WeightsError
from minroberta.checkpoints.arrays import Mapped
from minroberta.checkpoints.formats import safetensors
from minroberta.checkpoints.formats.pytorch import (
    GLOBALS,
    LARGEST_INDEX,
    LARGEST_PICKLE,
    MAGIC,
    MOST_STEPS,
    REFUSED,
    File,
    Namespace,
    Tensor,
    unpickle,
)

FILES = sorted((CHECKPOINTS / "pytorch-tensors").glob("*.bin"))

# --- files of PyTorch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_bit_for_bit(path: Path) -> None:
    expected = safetensors.File(path.with_name("expected.safetensors"))
    file = File(path)
    found = file.within(file.content)
    assert list(found) == list(file.content)
    assert set(found) == set(expected)
    assert "base" in found and "nothing" not in found
    for name in expected:
        assert found.stored(name) == expected.stored(name), name
        assert found[name].dtype == expected[name].dtype, name
        assert found[name].tobytes() == expected[name].tobytes(), name
    assert found.size == path.stat().st_size


def test_an_archive_is_mapped_and_read_only() -> None:
    file = File(CHECKPOINTS / "pytorch-tensors" / "zip-2.bin")
    found = file.within(file.content)
    for name in ("base", "view", "transposed", "dtype float64", "parameter"):
        assert isinstance(owner(found[name]), Mapped), name
        assert not found[name].flags.writeable
    assert np.shares_memory(found["base"], found["view"])


@pytest.mark.parametrize("name", ["pytorch-zip", "pytorch-legacy", "pytorch-sharded"])
def test_a_model(name: str) -> None:
    expected = load_file(CHECKPOINTS / name / "expected.safetensors")
    model = minroberta.load(CHECKPOINTS / name, head="masked_lm")
    found = model(expected["input_ids"], expected["attention_mask"]).logits
    np.testing.assert_allclose(found, expected["logits"], atol=2e-6 * abs(expected["logits"]).max())
    for path in (CHECKPOINTS / name).glob("pytorch_model.bin"):
        again = minroberta.load(path, head="masked_lm")(expected["input_ids"], expected["attention_mask"]).logits
        assert np.array_equal(found, again)


def test_safetensors_come_first(tmp_path: Path) -> None:
    minroberta.load(CHECKPOINTS / "pytorch-zip", head="masked_lm").save(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"nothing that could be read")
    assert minroberta.load(tmp_path)


# --- hostile pickles ------------------------------------------------------------------------------------------------


def run(data: bytes) -> Any:
    return unpickle(io.BytesIO(data), lambda storage: None)[0]


def archive(path: Path, pickled: bytes, **entries: bytes) -> Path:
    """A file as torch.save lays it out."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x/data.pkl", pickled)
        for name, content in entries.items():
            made.writestr(f"x/data/{name.strip('_')}", content)
    return path


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def built(*steps: bytes) -> bytes:
    return b"\x80\x02" + b"".join(steps) + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


HARM: dict[str, tuple[bytes, str]] = {
    "a system call": (pickle.dumps(Calls(__import__("os").system, "touch harm"), 2), "names posix.system"),
    "eval": (pickle.dumps(Calls(eval, "1/0"), 4), "names builtins.eval"),
    "getattr": (pickle.dumps(Calls(getattr, 1, "real"), 2), "names __builtin__.getattr"),
    "an import": (pickle.dumps(Calls(__import__, "antigravity"), 5), "names builtins.__import__"),
    "code of PyTorch": (built(b"ctorch.hub\nload\n"), "names torch.hub.load"),
    "a name with dots": (
        built(text("collections"), text("OrderedDict.__class__"), b"\x93"),
        "names collections.Ordered",
    ),
    "a name of numbers": (built(b"K\1K\2\x93"), "it uses a name that is not a string"),
    "an extension": (built(b"\x82\1"), "unsupported opcode EXT1"),
    "an instance": (built(b"(ios\nsystem\n"), "unsupported opcode INST"),
    "an object": (built(b"(cos\nsystem\no"), "names os.system"),
    "a class with keywords": (built(b"cargparse\nNamespace\n)}\x92"), "unsupported opcode NEWOBJ_EX"),
    "a buffer from outside": (built(b"\x97"), "unsupported opcode NEXT_BUFFER"),
    "a set": (built(b"\x8f"), "unsupported opcode EMPTY_SET"),
    "a text of protocol 0": (built(b"S'x'\n"), "unsupported opcode STRING"),
    "a call of a string": (built(text("x"), b")R"), "calls an object that is not a function"),
    "a call without a tuple": (built(b"ccollections\nOrderedDict\n]R"), "calls an object that is not a function"),
    "a storage of an unknown kind": (
        built(b"(", text("storage"), text("float33"), text("0"), text("cpu"), b"K\1tQ"),
        "invalid kind",
    ),
    "a storage of a negative length": (
        built(b"(", text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), b"J\xff\xff\xff\xfftQ"),
        "invalid kind, key or count",
    ),
    "a reference to something else": (built(text("x"), b"Q"), "refers to something other than a storage"),
    "a tensor on nothing": (built(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR"), "something other than a storage"),
    "a missing memo": (built(b"h\7"), "7"),
    "a memo at the end of memory": (built(b"]r\xff\xff\xff\xff"), ""),
    "nothing to take": (built(b"a"), ""),
    "a missing mark": (built(b"t"), ""),
    "no end": (b"\x80\x02N", ""),
    "a huge string": (built(b"\x8d" + b"\xff" * 8), ""),
    "a huge number": (built(b"\x8a\x09" + b"\0" * 8 + b"\1"), "more than 64 bits"),
    "a key that is a tuple": (built(b"})Ns"), "a key of type tuple"),
    "an item of something else": (built(b"]NNs"), "sets items of an object of type list"),
    "appended to something else": (built(b"}Na"), "appends items to an object of type dict"),
    "many steps": (built(b"N" * (MOST_STEPS + 1)), f"more than {MOST_STEPS} steps"),
}


@pytest.mark.parametrize("what", HARM)
def test_a_hostile_pickle_is_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickled, sentence = HARM[what]
    if what == "a memo at the end of memory":  # a dict has room for it
        assert run(pickled) == []
        return
    begun = time.perf_counter()
    with raises(WeightsError, ValueError, "is not a readable PyTorch file", sentence):
        File(archive(tmp_path / "file.bin", pickled))
    assert time.perf_counter() - begun < 5
    assert not (tmp_path / "harm").exists()
    with raises(WeightsError, ValueError, "is not a readable PyTorch file"):
        (tmp_path / "file.bin").write_bytes(pickled)
        File(tmp_path / "file.bin")


def test_a_pickle_cannot_change_the_package() -> None:
    """BUILD sets attributes: on a function or class of the package the change would stay."""
    for name in (b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict", b"argparse\nNamespace"):
        made = run(built(b"c" + name + b"\n}", text("x"), b"K\1sb"))
        assert not hasattr(made, "x")
    assert run(built(b"cargparse\nNamespace\n)\x81}", text("values"), b"K\1sb")).values == {"values": 1}


SIZE, REBUILD = b"ctorch\nSize\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\1tQ"


def in_sequence(*pickles: bytes) -> bytes:
    """A file that is not an archive: the magic number, the version, the system, and then these pickles."""
    return b"".join([pickle.dumps(value, 2) for value in (MAGIC, 1001, {})]) + b"".join(pickles)


DEEP = b")" + b"\x85" * 150_000
"""A tuple nested so deep that hashing or comparing it would end the process."""

BOMBS = {
    "pairs with a deep key as a state": built(b"cargparse\nNamespace\n)\x81]", DEEP, b"N\x86ab"),
    "deep keys of storages": in_sequence(built(b"}"), built(b"]", DEEP, b"a"), bytes(8)),
    "a deep kind of a storage": built(b"(", text("storage"), DEEP, text("0"), text("cpu"), b"K\0tQ"),
    "a string as a size": built(text("x" * 4_000_000), b"q\0", SIZE, b"q\1", b"h\1h\0\x85R" * 200),
    "a dict of a dict": built(
        b"}(", b"".join(text(f"{i:05}") + b"N" for i in range(60_000)),
        b"uq\0ccollections\nOrderedDict\nq\1", b"h\1h\0\x85R" * 2000,
    ),
    "a shape taken again and again": built(
        b"](", b"K\1" * 60_000, b"eq\0", STORAGE, b"q\2", REBUILD, b"q\1", b"h\1(h\2K\0h\0h\0tR" * 5000
    ),
    "a subclass of a shape": built(
        b"](", b"K\1" * 60_000, b"eq\0", STORAGE, b"q\2", REBUILD, b"q\1", b"ctorch._tensor\n_rebuild_from_type_v2\n",
        b"q\3", b"h\3(h\1N(h\2K\0h\0h\0ttR" * 5000,
    ),
    # each is a few bytes that ask for more memory than any machine has
    "tuples in tuples as a key": built(b"}", b")" + b"\x85" * 500_000, b"Ns"),
    "lists in lists": built(b"(" + b"]" * 100_000 + b"a" * 99_999 + b"l"),
    "a list taken again and again": built(
        b"](", b"N" * 100_000, b"eq\0ctorch\nSize\nq\1", b"h\1h\0\x85R" * 90_000
    ),
    "items again and again": built(
        b"](", b"K\1K\2\x86" * 50_000, b"eq\0ccollections\nOrderedDict\nq\1", b"h\1h\0\x85R" * 90_000
    ),
    "a state again and again": built(
        b"}(", b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(100_000)),
        b"uq\0cargparse\nNamespace\n)\x81", b"h\0b" * 90_000,
    ),
    "arguments again and again": built(
        b"(", b"N" * 100_000, b"tq\0ctorch\ndevice\nq\1", b"h\1h\0R" * 33_000
    ),
    "wide storages": built(
        b"(", text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), b"K\0", b"N" * 100_000,
        b"tq\0", b"h\0Q" * 33_000,
    ),
    "a memo everywhere": built(b"N", b"".join(b"r" + struct.pack("<I", 2**32 - 1 - i) for i in range(200_000))),
    "numbers that collide": built(
        b"}(", b"".join(b"\x8a\x10" + (i * (2**61 - 1)).to_bytes(16, "little") + b"N" for i in range(50_000)), b"u"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", slow_but(BOMBS, *list(BOMBS)[:2], *list(BOMBS)[2::4]))
def test_a_bomb_takes_neither_time_nor_memory(what: str, tmp_path: Path) -> None:
    """In a new process, with at most 500 MB and five seconds."""
    path, bomb = tmp_path / "bomb.bin", BOMBS[what]
    path.write_bytes(bomb) if bomb.startswith(in_sequence()) else archive(path, bomb)
    said = alone(READ, path)
    assert "is not a readable PyTorch file" in said or "must hold a dict from names to tensors" in said


READ = """
import sys
from pathlib import Path
import minroberta
from minroberta.checkpoints.formats import pytorch
try:
    pytorch.File(Path(sys.argv[1])).within({})
except minroberta.Error as error:
    print(error)
"""


# --- hostile storages and archives ----------------------------------------------------------------------------------


def tensor(key: str = "0", count: int = 4, offset: int = 0, shape: Any = (4,), strides: Any = (1,)) -> bytes:
    """The pickle of {"a": a float32 tensor}."""

    def numbers(values: Any) -> bytes:
        return b"(" + b"".join(number(value) for value in values) + b"t"

    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape) + numbers(strides)
    return built(b"}", text("a"), rebuilt, b"\x89)tRs")


FOUR = np.arange(4, dtype="<f4").tobytes()


def read(path: Path) -> np.ndarray:
    file = File(path)
    return file.within(file.content)["a"]


def test_a_tensor_made_by_hand(tmp_path: Path) -> None:
    assert read(archive(tmp_path / "a.bin", tensor(), _0=FOUR)).tolist() == [0, 1, 2, 3]
    strided = tensor(offset=1, shape=(2, 2), strides=(2, 0))
    assert read(archive(tmp_path / "b.bin", strided, _0=FOUR)).tolist() == [[1] * 2, [3] * 2]


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "more than the file holds": ({"count": 5}, "claims 20 bytes, but has 16"),
    "more than any file holds": ({"count": 2**62}, "claims 18446744073709551616 bytes"),
    "an offset after the end": ({"offset": 1}, "a extends to element 4, but its storage has 4 elements"),
    "a stride after the end": ({"strides": (2,)}, "a extends to element 6, but its storage has 4 elements"),
    "a shape after the end": (
        {"shape": (2, 2), "strides": (3, 2)},
        "a extends to element 5, but its storage has 4 elements",
    ),
    "a shape that overflows": ({"shape": (2**40, 2**40), "strides": (0, 0)}, "but its storage has 4 elements"),
    "one number as any shape": ({"shape": (10**6, 10**6), "strides": (0, 0)}, "but its storage has 4 elements"),
    "no numbers, far away": ({"shape": (0, 2**62), "strides": (2**62, 2**62)}, "NumPy cannot hold a: "),
    "an offset before the start": ({"offset": -1}, "an invalid shape, strides or offset"),
    "a stride backwards": ({"offset": 3, "strides": (-1,)}, "an invalid shape, strides or offset"),
    "a negative shape": ({"shape": (-1,)}, "an invalid shape, strides or offset"),
    "more shape than strides": ({"shape": (2, 2)}, "an invalid shape, strides or offset"),
    "65 axes": ({"shape": (1,) * 65, "strides": (1,) * 65}, "must be lists of at most 64 integers"),
    "thousands of axes": ({"shape": (2**62,) * 9000, "strides": (1,) * 9000}, "must be lists of at most 64 integers"),
    "another storage": ({"key": "../../etc/passwd"}, "the archive lacks x/data/../../etc/passwd"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_storage_that_lies(what: str, tmp_path: Path) -> None:
    changes, sentence = LIES[what]
    with raises(WeightsError, ValueError, sentence):
        read(archive(tmp_path / "a.bin", tensor(**changes), _0=FOUR))


def entry(name: str, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


ARCHIVES: dict[str, tuple[list[zipfile.ZipInfo], str]] = {
    "an absolute name": ([entry("/etc/passwd")], "the entry '/etc/passwd'"),
    "a name that leads out": ([entry("x/../../secret")], "the entry 'x/../../secret'"),
    "a name of another system": ([entry("C:/secret")], "the entry 'C:/secret'"),
    "a compressed entry": (
        [entry("x/data/1", compress_type=zipfile.ZIP_DEFLATED)],
        "is compressed, encrypted or a link",
    ),
    "a link": ([entry("x/data/1", external_attr=0o120777 << 16)], "is compressed, encrypted or a link"),
    "an entry twice": ([entry("x/data/0")], "the entry 'x/data/0', which is a duplicate"),
    "two pickles": ([entry("y/data.pkl")], "the archive has 2 files named data.pkl"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_lies(what: str, tmp_path: Path) -> None:
    entries, sentence = ARCHIVES[what]
    path = archive(tmp_path / "a.bin", tensor(), _0=FOUR)
    with zipfile.ZipFile(path, "a") as made:
        for info in entries:
            made.writestr(info, b"0" * 1000)
    with raises(WeightsError, ValueError, "is not a readable PyTorch file", sentence):
        read(path)


def test_an_archive_without_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as made:
        made.writestr("x/code/model.py", b"")
    with raises(WeightsError, ValueError, "the archive has 0 files named data.pkl"):
        File(tmp_path / "a.bin")


def test_a_torchscript_program(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.bin", tensor(), _0=FOUR)
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("x/constants.pkl", b"")
    with raises(WeightsError, ValueError, "it holds a program (TorchScript): save the model's state_dict"):
        File(path)


def test_a_pickle_that_is_too_long(tmp_path: Path) -> None:
    with raises(WeightsError, ValueError, f"bytes; the limit is {LARGEST_PICKLE}"):
        File(archive(tmp_path / "a.bin", b"\x80\x02" + b"N" * LARGEST_PICKLE))


@pytest.mark.parametrize("large", [False, True])
def test_an_index_that_is_too_long(large: bool, tmp_path: Path) -> None:
    """The length is in the record for large archives, which the library prefers, or in the usual one."""
    path = archive(tmp_path / "a.bin", tensor(), _0=FOUR)
    data = path.read_bytes()
    size, start = struct.unpack("<II", data[-10:-2])
    size += LARGEST_INDEX
    body, end = data[:-22] + b"\0" * LARGEST_INDEX, data[-22:]
    if large:
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, size, start) + (
            struct.pack("<4sLQL", b"PK\6\7", 0, len(body), 1) + end
        )
    else:
        end = end[:12] + struct.pack("<I", size) + end[16:]
    path.write_bytes(body + end)
    with raises(WeightsError, ValueError, f"the archive's index has {size} bytes; the limit is {LARGEST_INDEX}"):
        File(path)


def test_numbers_of_the_other_byte_order(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.bin", tensor(), _0=np.arange(4, dtype=">f4").tobytes())
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("x/byteorder", "big")
    found = read(path)
    assert found.tolist() == [0, 1, 2, 3]
    assert found.dtype == np.dtype("f4")


def test_a_view_that_changes_signs(tmp_path: Path) -> None:
    """A view such as torch's `_neg_view` reads other numbers than are stored."""
    pickled = tensor().replace(b"\x89)tRs", b"\x89)}" + text("neg") + b"\x88stRs")
    with raises(WeightsError, ValueError, "a view that changes values"):
        File(archive(tmp_path / "a.bin", pickled, _0=FOUR))


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    for pickled in (built(b"]"), built(b"}"), built(b"}", text("a"), b"K\1s"), built(b"N")):
        with raises(WeightsError, ValueError, "must hold a dict from names to tensors"):
            read(archive(tmp_path / "a.bin", pickled))


LEGACY = (CHECKPOINTS / "pytorch-tensors" / "legacy-2.bin").read_bytes()


@pytest.mark.parametrize("length", [0, 1, 5, 30, 500, len(LEGACY) // 2, len(LEGACY) - 1])
@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_file_that_was_cut_off(kind: str, length: int, tmp_path: Path) -> None:
    data = (CHECKPOINTS / "pytorch-tensors" / f"{kind}-2.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(data[: min(length, len(data) - 1)])
    with raises(WeightsError, ValueError, "is not a readable PyTorch file"):
        File(tmp_path / "a.bin")


# --- anything at all ------------------------------------------------------------------------------------------------


@given(
    path=st.sampled_from(FILES),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9), st.booleans()), max_size=6),
)
@example(path=CHECKPOINTS / "pytorch-tensors" / "legacy-2.bin", changes=[(0.1875, b"\\", False)])
def test_a_changed_file_is_read_or_refused(
    tmp_path: Path, path: Path, changes: list[tuple[float, bytes, bool]]
) -> None:
    content = bytearray(path.read_bytes())
    for place, new, inserted in changes:
        at = int(place * len(content))
        content[at : at + (0 if inserted else len(new))] = new
    (tmp_path / "a.bin").write_bytes(content)
    try:
        file = File(tmp_path / "a.bin")
        for array in file.within(file.content).values():
            assert np.array(array) is not None
    except Error as error:
        assert str(tmp_path) in str(error)


CODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


@given(st.lists(st.sampled_from(CODES) | st.binary(max_size=3), max_size=60))
def test_any_steps_are_data_or_refused(steps: list[bytes]) -> None:
    try:
        made = run(built(*steps))
    except REFUSED:
        return
    kinds = (type(None), bool, int, float, str, bytes, tuple, list, dict, Tensor, Namespace)
    assert isinstance(made, kinds) or made in GLOBALS.values()


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary()


@given(
    st.recursive(PLAIN, lambda some: st.lists(some) | st.dictionaries(st.text(), some) | st.tuples(some, some)),
    st.integers(2, 5),
)
def test_pickled_data_is_unchanged(value: Any, protocol: int) -> None:
    pickled = pickle.dumps(value, protocol)
    if protocol == 2 and (b"_codecs" in pickled or b"__builtin__" in pickled):  # that protocol makes bytes by a call
        return
    assert repr(run(pickled)) == repr(value)
