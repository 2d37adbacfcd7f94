"""PyTorch's files: a pickle that speaks of storages, and their bytes, in a zip archive or one behind the other.

A pickle is a program: it may call whatever it names. This reader runs it on a machine of its own, which knows the steps
that data needs, and for the few names of `GLOBALS` something harmless; whatever else a pickle asks for is refused. The
standard library's machine would be told what to call as well, but can be made to take all memory, or to fall off the
stack, without calling anything.
"""

import io
import math
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy

from ...errors import WeightsError
from ..arrays import Arrays, Mapped, from_bfloat16, mapped, stored_dtype

LARGEST_PICKLE = 16_000_000
"""Bytes: enough for 100,000 arrays."""

MOST_STEPS = 200_000
"""Of one pickle, an array taking some 30: the largest model has 1000. What a call is given counts too."""

LARGEST_INDEX = 10_000_000
"""Bytes of an archive's list of entries."""

MAGIC = 0x1950A86A20F9469CFC6C
"""What the first pickle of a file says that is no archive."""

LARGEST_NUMBER = 2**63
"""Of a pickle: larger ones serve for nothing but collisions in dicts."""

# --- what a pickle may make -----------------------------------------------------------------------------------------


class Storage(NamedTuple):
    """So many numbers in a row; the key says where in the file."""

    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage, counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Namespace:
    """What stands for an object with attributes: `values` holds them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}


MOST_AXES = 64
"""Of an array of NumPy's."""


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any = None, hooks: Any = None, metadata: Any = None
) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor stands on something that is no storage")
    if metadata:
        raise ValueError("a tensor is a view that changes its numbers, as of their signs: save a copy of it")
    shape, strides = _size(shape), _size(strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor has a shape, strides or an offset that is none")
    return Tensor(storage, offset, shape, strides)


def _size(numbers: Any = ()) -> tuple[Any, ...]:
    if type(numbers) not in (tuple, list) or len(numbers) > MOST_AXES:
        raise ValueError(f"a shape or strides are no row of at most {MOST_AXES} numbers")
    return tuple(numbers)


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    if type(items) not in (tuple, list):
        raise ValueError("a dict is made of something that is no list")
    result: dict[Any, Any] = {}
    for key, value in items:
        _set_items(result, [key, value])
    return result


def _subclass(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A subclass of a tensor, which is given as what it wraps."""
    if function is not _tensor:
        raise ValueError("a tensor is made by something else")
    return function(*arguments)


STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
    "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
}  # fmt: skip
"""PyTorch's kinds of storages, and their dtypes."""

GLOBALS: dict[str, Any] = {
    **{f"torch.{kind}Storage": dtype for kind, dtype in STORAGES.items()},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.nn.parameter.Parameter": "a class of tensors",
    "torch.Size": _size,
    "torch.device": lambda *_: "a device",
    "collections.OrderedDict": _ordered_dict,
    "argparse.Namespace": Namespace,
    **{f"fairseq.meters.{name}": Namespace for name in ("AverageMeter", "TimeMeter", "StopwatchMeter")},
}
"""What a pickle may name, and what it gets: data, or a function that makes data of data."""

# --- the machine ----------------------------------------------------------------------------------------------------


def operations(data: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """`pickletools.genops`, which warns of a name with a backslash in it; nothing is so called that may be named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield from pickletools.genops(data)


def unpickle(data: io.BytesIO, on_storage: Callable[[Storage], None]) -> Any:
    """The object of a pickle, of protocol 2 to 5; `on_storage` is told of each storage.

    It is made of None, bools, numbers, strings, tuples, lists, dicts and the classes above. Raises one of `REFUSED`.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        found = stack[start:]
        del stack[start:]
        return found

    steps = 0
    given: Any
    for opcode, given, _ in operations(data):
        steps += 1
        if steps > MOST_STEPS:
            raise ValueError(f"it has more than {MOST_STEPS} steps")
        if type(given) is int and not -LARGEST_NUMBER <= given < LARGEST_NUMBER and given != MAGIC:
            raise ValueError("it holds a whole number of more than 64 bits")
        match opcode.name:
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[given])
            case "BINPUT" | "LONG_BINPUT":
                memo[given] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case name if name in DATA:
                stack.append(given)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[opcode.name])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS":
                items = since_mark() if opcode.name == "APPENDS" else [stack.pop()]
                _append(stack[-1], items)
            case "SETITEM" | "SETITEMS":
                items = since_mark() if opcode.name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                _set_items(stack[-1], items)
            case "GLOBAL":
                stack.append(_known(*given.split(" ", 1)))
            case "STACK_GLOBAL":
                stack[-2:] = [_known(*stack[-2:])]
            case "REDUCE" | "NEWOBJ":
                function, arguments = stack[-2:]
                steps += sum(len(x) for x in arguments if type(x) in (tuple, list))
                stack[-2:] = [_made(function, arguments)]
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Namespace):  # what else has a state does without
                    steps += len(state)
                    stack[-1].values = dict(state)
            case "BINPERSID":
                stack[-1] = _storage(stack[-1])
                on_storage(stack[-1])
            case "STOP":
                return stack.pop()
            case "PROTO" | "FRAME":
                pass
            case name:
                raise ValueError(f"its step {name} is none that data needs")
    raise ValueError("it has no end")


REFUSED = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What a pickle that is damaged, or wants more than data, runs into."""

DATA = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
"""Steps that put their argument on the stack."""


def _append(target: Any, items: Sequence[Any]) -> None:
    if type(target) is not list:
        raise ValueError(f"it appends to something of type {type(target).__name__}")
    target.extend(items)


def _set_items(target: Any, items: Sequence[Any]) -> None:
    """Keys and values in turns. A key is plain: to hash a tuple in a tuple in a tuple takes any depth of stack."""
    if type(target) is not dict or len(items) % 2:
        raise ValueError(f"it sets items of something of type {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise ValueError(f"it has a dict with a key of type {type(key).__name__}")
        target[key] = value


def _known(module: Any, name: Any) -> Any:
    if type(module) is not str or type(name) is not str:
        raise ValueError("it names something by what is no string")
    full = f"{module[:100]}.{name[:100]}"
    if full not in GLOBALS:
        raise ValueError(f"its pickle names {full}, which no weights need: a file that may name anything may run code")
    return GLOBALS[full]


def _made(function: Any, arguments: Any) -> Any:
    if not callable(function) or type(arguments) is not tuple:
        raise ValueError("it calls something that is not to be called")
    return function(*arguments)


def _storage(name: Any) -> Storage:
    """What a persistent id means: ("storage", kind, key, device, count), and None for a view, as nobody writes now."""
    if type(name) is not tuple or len(name) < 5 or name[0] != "storage" or any(name[5:]):
        raise ValueError("it refers to something that is no storage")
    _, dtype, key, _, count = name[:5]
    if dtype not in STORAGES.values() or type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("it has a storage whose kind, key or count is none")
    return Storage(key, dtype, count)


# --- files ----------------------------------------------------------------------------------------------------------


class Tensors(Arrays):
    """The arrays of a dict of tensors in a file, by name: mapped, and read-only.

    bfloat16 is given as float32, a copy; so is an array that is not aligned in the file.
    """

    format = "PyTorch"

    def __init__(self, file: "File", tensors: Mapping[str, Tensor]) -> None:
        self._file, self._entries = file, tensors
        self.path, self.size = file.path, file.size

    def __getitem__(self, name: str) -> numpy.ndarray:
        array = self._file.array(name, self._entries[name])
        return from_bfloat16(array) if self._entries[name].storage.dtype == "bfloat16" else array

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in the file."""
        return self._entries[name].storage.dtype, self._entries[name].shape


class File:
    """What `torch.save` wrote: `content` is the object, in which a tensor is a `Tensor`.

    Raises WeightsError where the file is damaged, or its pickle wants more than data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = mapped(path)
            self.size = len(self._bytes)
            self._order: Literal["<", ">"] = "<"
            self._starts: dict[str, int] = {}
            self.content = (self._read_archive if self._bytes[:2] == b"PK" else self._read_sequence)()
        except (*REFUSED, OSError, struct.error, zipfile.BadZipFile, NotImplementedError, RecursionError) as error:
            raise WeightsError(
                f"{path} is no file of PyTorch that is read here, or did not arrive whole: {error}"
            ) from error

    def within(self, content: Any) -> Tensors:
        """The arrays of a dict in the content; what in it is no tensor is left out. Raises WeightsError."""
        tensors = content if isinstance(content, dict) else {}
        tensors = {name: x for name, x in tensors.items() if isinstance(x, Tensor) and isinstance(name, str)}
        if not tensors:
            raise WeightsError(f"{self.path} holds no dict from names to tensors: it is no checkpoint of a model")
        return Tensors(self, tensors)

    def array(self, name: str, tensor: Tensor) -> numpy.ndarray:
        """A tensor's numbers, bfloat16 as 16 bits. Raises WeightsError where they are not all in the file."""
        storage, offset, shape, strides = tensor
        dtype = stored_dtype(storage.dtype).newbyteorder(self._order)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if math.prod(shape) > storage.length:  # one number, read again and again, would be any shape
            raise WeightsError(f"{self.path}: {name} has shape {shape}, and its storage {storage.length} numbers")
        if math.prod(shape) and last >= storage.length:
            raise WeightsError(f"{self.path}: {name} reaches to number {last} of a storage of {storage.length}")
        start = self._starts[storage.key] + offset * dtype.itemsize
        if not math.prod(shape):
            start, strides = 0, tuple(0 for _ in strides)
        try:
            steps = tuple(step * dtype.itemsize for step in strides)
            array = numpy.ndarray(shape, dtype, self._bytes, start, steps)
        except (ValueError, OverflowError) as error:  # so many rows of nothing that NumPy cannot count them
            raise WeightsError(f"{self.path}: {name} is an array that NumPy cannot hold: {error}") from error
        return array if array.flags.aligned and dtype.isnative else array.astype(dtype.newbyteorder("="))

    def _place(self, storage: Storage, start: int, size: int) -> None:
        """Note where a storage begins, of which the file has so many bytes."""
        claimed = storage.length * stored_dtype(storage.dtype).itemsize
        if claimed > size:
            raise ValueError(f"storage {storage.key[:100]!r} claims {claimed} bytes, and has {size}")
        self._starts[storage.key] = start

    def _read_archive(self) -> Any:
        entries = _entries(self.path, self._bytes)
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"the archive has {len(pickles)} files data.pkl, and one of torch.save has one")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in entries:
            raise ValueError("it is a program (TorchScript), and no weights: save the model's state_dict")
        order_start, order_stop = entries.get(f"{root}byteorder", (0, 0))
        if order_stop - order_start == 3:  # "big", and not "little"
            self._order = ">"
        start, stop = entries[pickles[0]]
        if stop - start > LARGEST_PICKLE:
            raise ValueError(f"its pickle has {stop - start} bytes; at most {LARGEST_PICKLE} are read")

        def find(storage: Storage) -> None:
            name = f"{root}data/{storage.key}"
            if name not in entries:
                raise ValueError(f"the archive has no {name[:200]}, of which its pickle speaks")
            start, stop = entries[name]
            self._place(storage, start, stop - start)

        return unpickle(io.BytesIO(self._bytes[start:stop]), find)

    def _read_sequence(self) -> Any:
        """Five pickles: a magic number, a version, a system, the object, the storages' keys; then the storages."""
        stream, storages = io.BytesIO(self._bytes[:LARGEST_PICKLE]), {}

        def note(storage: Storage) -> None:
            storages[storage.key] = storage

        if unpickle(stream, note) != MAGIC or unpickle(stream, note) != 1001:
            raise ValueError("it does not begin as torch.save begins")
        system = unpickle(stream, note)
        if isinstance(system, dict) and system.get("little_endian") is False:
            self._order = ">"
        content, keys = unpickle(stream, note), unpickle(stream, note)
        at = stream.tell()
        for key in keys:
            (count,) = struct.unpack_from(f"{self._order}q", self._bytes, at)
            if count != storages[key].length:
                raise ValueError(f"a storage has {count} numbers, and the pickle says {storages[key].length}")
            self._place(storages[key], at + 8, self.size - at - 8)
            at += 8 + count * stored_dtype(storages[key].dtype).itemsize
        if self._starts.keys() != storages.keys():
            raise ValueError("it lacks storages of which its pickle speaks")
        return content


def _entries(path: Path, data: Mapped) -> dict[str, tuple[int, int]]:
    """Where the bytes of each entry of an archive begin and end. PyTorch does not compress them. Raises ValueError."""
    result: dict[str, tuple[int, int]] = {}
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename
            if name in result or name.startswith("/") or ".." in name.split("/") or "\\" in name or ":" in name:
                raise ValueError(f"the archive has an entry {name[:200]!r}, a second time or outside of it")
            if entry.compress_type or entry.flag_bits & 1 or entry.external_attr >> 28 == 0xA:
                raise ValueError(f"{name[:200]!r} is compressed, encrypted or a link: torch.save stores it as it is")
            lengths = struct.unpack_from("<26x2H", data, entry.header_offset)  # of its name and more, before the bytes
            start = entry.header_offset + 30 + sum(lengths)
            if entry.header_offset < 0 or start + entry.file_size > len(data):
                raise ValueError(f"the archive is shorter than its entry {name[:200]!r}")
            result[name] = start, start + entry.file_size
    return result


class _Bounded(io.FileIO):
    """A file of which no more is read at once than the index of an archive may have.

    For the library reads all that an index claims, and makes ten times as many bytes of it.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Some bytes. Raises ValueError for too many."""
        if size is not None and size > LARGEST_INDEX:
            raise ValueError(f"the archive's index has {size} bytes; at most {LARGEST_INDEX} are read")
        return super().read(LARGEST_INDEX if size is None or size < 0 else size) or b""
