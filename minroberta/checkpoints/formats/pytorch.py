"""PyTorch files: a pickle that refers to storages, and the bytes of the storages, in a zip archive or in sequence.

A pickle is a program: it may call any function that it names. Therefore this reader has its own interpreter, which
supports only the opcodes that data needs, replaces each of the few names in `GLOBALS` with a harmless substitute, and
refuses everything else. The standard library's interpreter can be restricted to certain names too, but even then a
pickle can exhaust the memory, or overflow the stack, without calling anything.
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
from ..unsupported import advice_on_pickle

LARGEST_PICKLE = 16_000_000
"""Limit on the size of a pickle in bytes, enough for 100,000 arrays."""

MOST_STEPS = 200_000
"""Limit on the steps and arguments of a pickle. An array takes about 30, and a large model has 1000 arrays."""

LARGEST_INDEX = 10_000_000
"""Limit on the size of an archive's list of entries, in bytes."""

MAGIC = 0x1950A86A20F9469CFC6C
"""The value of the first pickle in a file that is not an archive."""

LARGEST_NUMBER = 2**63
"""Limit on integers in a pickle: larger integers would only serve to cause hash collisions in dicts."""

# --- what a pickle may build ----------------------------------------------------------------------------------------


class Storage(NamedTuple):
    """A one-dimensional array of elements; `key` identifies the storage in the file."""

    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Namespace:
    """A substitute for an object in a pickle; the object's attributes are in `values`."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}


MOST_AXES = 64
"""The largest number of axes that NumPy supports."""


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any = None, hooks: Any = None, metadata: Any = None
) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor refers to something other than a storage")
    if metadata:
        raise ValueError(
            "a tensor is a view that changes values, such as a conjugate or a negation: save a copy of the tensor"
        )
    shape, strides = _size(shape), _size(strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor has an invalid shape, strides or offset")
    return Tensor(storage, offset, shape, strides)


def _size(numbers: Any = ()) -> tuple[Any, ...]:
    if type(numbers) not in (tuple, list) or len(numbers) > MOST_AXES:
        raise ValueError(f"a shape and its strides must be lists of at most {MOST_AXES} integers")
    return tuple(numbers)


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    if type(items) not in (tuple, list):
        raise ValueError("a dict is built from something other than a list")
    result: dict[Any, Any] = {}
    for key, value in items:
        _set_items(result, [key, value])
    return result


def _subclass(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor subclass, read as the tensor that it wraps."""
    if function is not _tensor:
        raise ValueError("a tensor is built by an unsupported function")
    return function(*arguments)


STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
    "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
}  # fmt: skip
"""PyTorch's storage classes, and their dtypes."""

GLOBALS: dict[str, Any] = {
    **{f"torch.{kind}Storage": dtype for kind, dtype in STORAGES.items()},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.nn.parameter.Parameter": "a tensor class",
    "torch.Size": _size,
    "torch.device": lambda *_: "a device",
    "collections.OrderedDict": _ordered_dict,
    "argparse.Namespace": Namespace,
    **{f"fairseq.meters.{name}": Namespace for name in ("AverageMeter", "TimeMeter", "StopwatchMeter")},
}
"""The names that a pickle may use, and their substitutes: data, or a function from data to data."""

# --- the interpreter ------------------------------------------------------------------------------------------------


def operations(data: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """The operations from `pickletools.genops`, without its warning about names with backslashes, which are refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield from pickletools.genops(data)


def unpickle(data: io.BytesIO, on_storage: Callable[[Storage], None]) -> tuple[Any, int]:
    """Interpret a pickle of protocol 2 to 5, and call `on_storage` with each storage.

    Returns the object, and the number of steps that it took. The object consists of None, bools, numbers, strings,
    bytes, tuples, lists, dicts and the classes above. Raises one of the errors in `REFUSED`.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    steps = 0
    given: Any
    for opcode, given, _ in operations(data):
        steps += 1
        if steps > MOST_STEPS:
            raise ValueError(f"its pickle has more than {MOST_STEPS} steps")
        if type(given) is int and not -LARGEST_NUMBER <= given < LARGEST_NUMBER and given != MAGIC:
            raise ValueError("it holds an integer of more than 64 bits")
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
                steps += len(arguments) + sum(len(x) for x in arguments if type(x) in (tuple, list))
                stack[-2:] = [_call(function, arguments)]
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Namespace):  # the states of other objects are not needed
                    stack[-1].values = _state(state)
            case "BINPERSID":
                stack[-1] = _storage(stack[-1])
                on_storage(stack[-1])
            case "STOP":
                return stack.pop(), steps
            case "PROTO" | "FRAME":
                pass
            case name:
                raise ValueError(f"it has the unsupported opcode {name}, which data does not need")
    raise ValueError("it ends without the opcode STOP")


REFUSED = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""The errors raised for a pickle that is damaged, or does more than hold data."""

DATA = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
"""Opcodes that push their argument onto the stack."""


def _append(target: Any, items: Sequence[Any]) -> None:
    if type(target) is not list:
        raise ValueError(f"its pickle appends items to an object of type {type(target).__name__}, which is not a list")
    target.extend(items)


def _set_items(target: Any, items: Sequence[Any]) -> None:
    """Add alternating keys and values to a dict. Tuples are refused as keys: hashing them may overflow the stack."""
    if type(target) is not dict or len(items) % 2:
        raise ValueError(f"it sets items of an object of type {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise ValueError(f"it has a dict with a key of type {type(key).__name__}")
        target[key] = value


def _state(state: Any) -> dict[str, Any]:
    """The attributes of an object. Only a dict of the pickle's: to make one of pairs would hash any key."""
    if type(state) is not dict:
        raise ValueError(f"it has an object whose attributes are a {type(state).__name__}, not a dict")
    return state


def _known(module: Any, name: Any) -> Any:
    if type(module) is not str or type(name) is not str:
        raise ValueError("it uses a name that is not a string")
    full = f"{module[:100]}.{name[:100]}"
    if full not in GLOBALS:
        raise ValueError(
            f"its pickle names {full}, which weights do not need: such a name may run code{advice_on_pickle(full)}"
        )
    return GLOBALS[full]


def _call(function: Any, arguments: Any) -> Any:
    if not callable(function) or type(arguments) is not tuple:
        raise ValueError("it calls an object that is not a function")
    return function(*arguments)


def _storage(name: Any) -> Storage:
    """The storage for a persistent id: ("storage", class, key, device, count), followed by None in old files."""
    if type(name) is not tuple or len(name) not in (5, 6) or name[0] != "storage" or any(name[5:]):
        raise ValueError("it refers to something other than a storage")
    _, dtype, key, _, count = name[:5]
    if dtype not in STORAGES.values() or type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("it has a storage with an invalid kind, key or count")
    return Storage(key, dtype, count)


# --- files ----------------------------------------------------------------------------------------------------------


class Tensors(Arrays):
    """The arrays of a dict of tensors in a file, by name. They are mapped and read-only.

    bfloat16 is converted to float32, and an array that is not aligned in the file is copied.
    """

    format = "PyTorch"

    def __init__(self, file: "File", tensors: Mapping[str, Tensor]) -> None:
        self._file, self._entries = file, tensors
        self.path, self.size, self.maps = file.path, file.size, file.maps

    def __getitem__(self, name: str) -> numpy.ndarray:
        array = self._file.array(name, self._entries[name])
        return from_bfloat16(array) if self._entries[name].storage.dtype == "bfloat16" else array

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array as stored in the file."""
        return self._entries[name].storage.dtype, self._entries[name].shape


class File:
    """A file written by `torch.save`: `content` is the saved object, with a `Tensor` for each tensor.

    Raises WeightsError if the file is damaged, or its pickle does more than hold data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = mapped(path)
            self.size, self.maps = len(self._bytes), (self._bytes,)
            self._order: Literal["<", ">"] = "<"
            self._starts: dict[str, int] = {}
            self.content = (self._read_archive if self._bytes[:2] == b"PK" else self._read_sequence)()
        except (*REFUSED, OSError, struct.error, zipfile.BadZipFile, NotImplementedError, RecursionError) as error:
            raise WeightsError(f"{path} is not a readable PyTorch file, or is incomplete: {error}") from error

    def within(self, content: Any) -> Tensors:
        """The tensors of a dict within the file's content, without the dict's other values. Raises WeightsError."""
        tensors = content if isinstance(content, dict) else {}
        tensors = {name: x for name, x in tensors.items() if isinstance(x, Tensor) and isinstance(name, str)}
        if not tensors:
            raise WeightsError(
                f"{self.path} must hold a dict from names to tensors, but does not: save the model's state_dict"
            )
        return Tensors(self, tensors)

    def array(self, name: str, tensor: Tensor) -> numpy.ndarray:
        """The array of a tensor, with 16-bit integers for bfloat16. Raises WeightsError if the storage is too short."""
        storage, offset, shape, strides = tensor
        dtype = stored_dtype(storage.dtype).newbyteorder(self._order)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if math.prod(shape) > storage.length:  # a repeated element could fill any shape
            raise WeightsError(f"{self.path}: {name} has shape {shape}, but its storage has {storage.length} elements")
        if math.prod(shape) and last >= storage.length:
            raise WeightsError(
                f"{self.path}: {name} extends to element {last}, but its storage has {storage.length} elements"
            )
        start = self._starts[storage.key] + offset * dtype.itemsize
        if not math.prod(shape):
            start, strides = 0, tuple(0 for _ in strides)
        try:
            steps = tuple(step * dtype.itemsize for step in strides)
            array = numpy.ndarray(shape, dtype, self._bytes, start, steps)
        except (ValueError, OverflowError) as error:  # an empty array with more rows than NumPy can count
            raise WeightsError(f"{self.path}: NumPy cannot hold {name}: {error}") from error
        return array if array.flags.aligned and dtype.isnative else array.astype(dtype.newbyteorder("="))

    def _locate(self, storage: Storage, start: int, size: int) -> None:
        """Record where a storage starts in the file. Raises ValueError if it needs more than `size` bytes."""
        claimed = storage.length * stored_dtype(storage.dtype).itemsize
        if claimed > size:
            raise ValueError(f"storage {storage.key[:100]!r} claims {claimed} bytes, but has {size}")
        self._starts[storage.key] = start

    def _read_archive(self) -> Any:
        entries = _entries(self.path, self._bytes)
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"the archive has {len(pickles)} files named data.pkl, but torch.save writes one")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in entries:
            raise ValueError("it holds a program (TorchScript): save the model's state_dict instead")
        order_start, order_stop = entries.get(f"{root}byteorder", (0, 0))
        if order_stop - order_start == 3:  # "big", as opposed to "little"
            self._order = ">"
        start, stop = entries[pickles[0]]
        if stop - start > LARGEST_PICKLE:
            raise ValueError(f"its pickle has {stop - start} bytes; the limit is {LARGEST_PICKLE}")

        def find(storage: Storage) -> None:
            name = f"{root}data/{storage.key}"
            if name not in entries:
                raise ValueError(f"the archive lacks {name[:200]}, which its pickle refers to")
            start, stop = entries[name]
            self._locate(storage, start, stop - start)

        self._bytes.work += len(entries) / MOST_STEPS
        return self._unpickle(io.BytesIO(self._bytes[start:stop]), find)

    def _unpickle(self, data: io.BytesIO, on_storage: Callable[[Storage], None]) -> Any:
        content, steps = unpickle(data, on_storage)
        self._bytes.work += steps / MOST_STEPS
        return content

    def _read_sequence(self) -> Any:
        """Read five pickles (magic number, version, system, object, keys of the storages), and then the storages."""
        stream, storages = io.BytesIO(self._bytes[:LARGEST_PICKLE]), {}

        def note(storage: Storage) -> None:
            storages[storage.key] = storage

        if self._unpickle(stream, note) != MAGIC or self._unpickle(stream, note) != 1001:
            raise ValueError("it does not begin like a file written by torch.save")
        system = self._unpickle(stream, note)
        if isinstance(system, dict) and system.get("little_endian") is False:
            self._order = ">"
        content, keys = self._unpickle(stream, note), self._unpickle(stream, note)
        if type(keys) is not list or not all(type(key) is str for key in keys):  # hashing others may overflow the stack
            raise ValueError("its keys of storages must be a list of strings")
        at = stream.tell()
        for key in keys:
            (count,) = struct.unpack_from(f"{self._order}q", self._bytes, at)
            if count != storages[key].length:
                raise ValueError(f"a storage has {count} elements, but the pickle says {storages[key].length}")
            self._locate(storages[key], at + 8, self.size - at - 8)
            at += 8 + count * stored_dtype(storages[key].dtype).itemsize
        if self._starts.keys() != storages.keys():
            raise ValueError("it lacks storages that its pickle refers to")
        return content


def _entries(path: Path, data: Mapped) -> dict[str, tuple[int, int]]:
    """The start and end of each entry's bytes in an archive, which must not be compressed. Raises ValueError."""
    result: dict[str, tuple[int, int]] = {}
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename
            if name in result or name.startswith("/") or ".." in name.split("/") or "\\" in name or ":" in name:
                raise ValueError(
                    f"the archive has the entry {name[:200]!r}, which is a duplicate or points outside the archive"
                )
            if entry.compress_type or entry.flag_bits & 1 or entry.external_attr >> 28 == 0xA:
                raise ValueError(f"{name[:200]!r} is compressed, encrypted or a link: torch.save writes plain files")
            # The lengths of the name and the extra field, which precede the entry's bytes.
            lengths = struct.unpack_from("<26x2H", data, entry.header_offset)
            start = entry.header_offset + 30 + sum(lengths)
            if entry.header_offset < 0 or start + entry.file_size > len(data):
                raise ValueError(f"the archive is shorter than its entry {name[:200]!r}")
            result[name] = start, start + entry.file_size
    return result


class _Bounded(io.FileIO):
    """A file that refuses to read more than `LARGEST_INDEX` bytes at once.

    Without this limit, `zipfile` would read an index of any size that the archive claims, and use ten times as much
    memory.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next bytes. Raises ValueError if `size` is above the limit."""
        if size is not None and size > LARGEST_INDEX:
            raise ValueError(f"the archive's index has {size} bytes; the limit is {LARGEST_INDEX}")
        return super().read(LARGEST_INDEX if size is None or size < 0 else size) or b""
