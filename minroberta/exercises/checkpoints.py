"""The exercises of the notebook on checkpoints: write a safetensors file, read KerasHub's layout, merge a LoRA."""

import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy

from ..checkpoints.formats import safetensors
from ..errors import WeightsError
from .checks import Checks, NotYet, array_of, expect, result_of

# --- 1: write a file ------------------------------------------------------------------------------------------------


def arrays_to_write() -> dict[str, numpy.ndarray]:
    """Arrays in which each mistake of a writer shows: two dtypes, a single number, an empty one, rows of columns."""
    table = numpy.arange(6, dtype="float32").reshape(2, 3)
    return {
        "table": table,
        "table.T": table.T,  # its numbers lie in memory in another order than its shape says
        "half": numpy.array([0.5, -2, 3], "float16"),
        "one": numpy.array(7.25, "float32"),
        "none": numpy.zeros((0, 4), "float16"),
    }


def write(answer: Any) -> str:
    """Exercise 1: a function from a dict of float32 and float16 arrays to the bytes of a safetensors file."""
    arrays = arrays_to_write()
    made = result_of(answer, arrays)
    if not isinstance(made, bytes):
        raise NotYet(f"the bytes of a file are asked for, not {type(made).__name__}")
    header, data = _header(made)
    _judge_entries(header, arrays, 8 + _length(made), len(data))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(made)
        try:
            held = safetensors.File(path)
        except WeightsError as error:
            raise NotYet(f"the library of safetensors refuses the file: {str(error).partition(': ')[2]}") from None
        for name, array in arrays.items():
            expect(held[name], array, _misstored(name, array), name)
    return f"the library reads {len(arrays)} arrays from your {len(made)} bytes"


def _misstored(name: str, array: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """An array as it is read after likely mistakes, each under its sentence."""
    return {
        f"{name} holds the right numbers in another order": array.ravel(order="K").reshape(array.shape),
        f"{name} holds the right numbers column by column: they go row by row": array.ravel(order="F").reshape(
            array.shape
        ),
        f"the bytes of each number of {name} are reversed: they are little-endian": array.byteswap(),
    }


def _length(made: bytes) -> int:
    return int.from_bytes(made[:8], "little")


def _header(made: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of the file and the bytes after it. Raises NotYet if the first eight bytes do not lead to one."""
    if made[:1] == b"{":
        raise NotYet("the file begins with the header: its length comes first, as eight bytes")
    length = _length(made)
    if int.from_bytes(made[:8], "big") < len(made) < length:
        raise NotYet("the length of the header is written with its largest byte first: it is little-endian")
    text = made[8 : 8 + length]
    try:
        header = json.loads(text)
    except ValueError:
        start = made.find(b"{")
        if start > 0 and start != 8:
            raise NotYet(f"the header begins at byte {start}: its length takes exactly eight bytes") from None
        raise NotYet(
            f"the first eight bytes say that the header has {length} bytes, but bytes 8 to {8 + length} are not JSON: "
            "count the bytes of the header alone"
        ) from None
    if not isinstance(header, dict):
        raise NotYet("the header is not an object of JSON")
    return header, made[8 + length :]


NAMES = {"float32": "F32", "float16": "F16"}


def _judge_entries(header: dict[str, Any], arrays: dict[str, numpy.ndarray], start: int, size: int) -> None:
    """Raise NotYet for the first entry that does not fit its array. start: where the data begin; size: their length."""
    for name, array in arrays.items():
        entry = header.get(name)
        if not isinstance(entry, dict):
            raise NotYet(f"the header has no entry for {name!r}: it has {', '.join(header) or 'none'}")
        wanted = {"dtype": NAMES[array.dtype.name], "shape": list(array.shape)}
        for field, right in wanted.items():
            if entry.get(field) != right:
                raise NotYet(f"{field} of {name!r} is {entry.get(field)!r}, where {right!r} is right")
        _judge_offsets(name, entry.get("data_offsets"), array.nbytes, start, size)
    _judge_order(header, arrays)


def _judge_offsets(name: str, offsets: Any, count: int, start: int, size: int) -> None:
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(x, int) for x in offsets)):
        raise NotYet(f"data_offsets of {name!r} must be two integers, the first byte and the one after the last")
    first, stop = offsets
    if stop > size and first >= start:
        raise NotYet(f"data_offsets of {name!r} count from the start of the file: they count from the header's end")
    if stop > size and first >= start - 8 and stop - first == count:
        raise NotYet(f"data_offsets of {name!r} count from the header's start: they count from its end")
    if stop > size and stop - first == count:
        raise NotYet(f"data_offsets of {name!r} end at byte {stop}, but the header is followed by {size} bytes only")
    if stop - first != count:
        raise NotYet(
            f"data_offsets of {name!r} span {stop - first} bytes, but the array has {count}{_hint(offsets, count)}"
        )


def _hint(offsets: list[int], count: int) -> str:
    """The likely reason of offsets that do not span the number of bytes, or nothing."""
    first, stop = offsets
    if stop == count:
        return ": the second is where the array ends, not its length"
    if stop - first == count - 1:
        return ": the second is the byte after the last one"
    return ": count bytes, not numbers" if stop - first in (count // 4, count // 2) else ""


def _judge_order(header: dict[str, Any], names: Iterable[str]) -> None:
    """Raise NotYet if two arrays share bytes."""
    spans = sorted((header[name]["data_offsets"], name) for name in names)
    filled = [(span, name) for span, name in spans if span[0] < span[1]]
    for (before, other), (span, name) in itertools.pairwise(filled):
        if span[0] < before[1]:
            raise NotYet(
                f"data_offsets of {name!r} and of {other!r} overlap: an array begins where the one before ends"
            )


# --- 2: KerasHub's layout -------------------------------------------------------------------------------------------

SIZES = {"D": 6, "H": 2, "E": 3}
"""Sizes with D = H·E, as in every RoBERTa, so that a wrong order can have the right shape."""

AXES = {"query": "DHE", "key": "DHE", "value": "DHE", "output": "HED"}
"""The axes of KerasHub's kernels of attention, as stored; CONTRIBUTING.md has the letters."""


def from_keras(answer: Any) -> None:
    """Exercise 2: a function of the name of a part of attention and its kernel, which returns the weight (O, I)."""
    D = SIZES["D"]
    for part, axes in AXES.items():
        weight = numpy.random.default_rng(len(part)).standard_normal((D, D))
        kernel = weight.T.reshape([SIZES[axis] for axis in axes])
        found = array_of(result_of(answer, part, kernel), (D, D), f"the weight of {part}")
        expect(found, weight, dict(_misread(part, kernel)), f"the weight of {part}")


def _misread(part: str, kernel: numpy.ndarray) -> Iterator[tuple[str, numpy.ndarray]]:
    """The results of reading a kernel's axes wrongly, each under its sentence."""
    D = SIZES["D"]
    yield (
        f"the weight of {part} is transposed: its rows are the inputs, which its square shape does not show",
        kernel.reshape(D, D),
    )
    sides = ("columns", "inputs") if part == "output" else ("rows", "outputs")
    mixed = (
        f"the {sides[0]} of the weight of {part} are in another order: {sides[1]} go head by head, so that channel e "
        "of head h is number h·E + e; kernel.T reverses all three axes, H and E too"
    )
    yield mixed, kernel.T.reshape(D, D)
    yield f"{mixed}. And the weight is transposed", kernel.T.reshape(D, D).T
    if part == "output":
        as_query = numpy.moveaxis(kernel, 0, -1).reshape(D, D)
        yield "the axes of output are H, E, D: the first two are to be merged, not the last two", as_query
    axes = (2, 1, 0) if part == "output" else (1, 0, 2)
    yield (
        f"the axes of {part} are {', '.join(AXES[part])}: you swapped two of them",
        kernel.transpose(axes).reshape(D, D),
    )


# --- 3: LoRA --------------------------------------------------------------------------------------------------------


def merge(answer: Any) -> None:
    """Exercise 3: a function of a weight, LoRA's A and B, and alpha, which returns the merged weight."""
    random = numpy.random.default_rng(0)
    for rank, alpha in ((3, 12), (2, 1)):
        weight, a, b = (random.standard_normal(shape) for shape in ((8, 8), (rank, 8), (8, rank)))
        right = _merged(weight, a, b, alpha / rank)
        found = array_of(result_of(answer, weight, a, b, alpha), weight.shape)
        expect(found, right, dict(_known(weight, a, b, alpha)))


def _merged(weight: numpy.ndarray, a: numpy.ndarray, b: numpy.ndarray, scale: float) -> numpy.ndarray:
    return weight + scale * (b @ a)


def _known(
    weight: numpy.ndarray, a: numpy.ndarray, b: numpy.ndarray, alpha: float
) -> Iterator[tuple[str, numpy.ndarray]]:
    """The results of likely mistakes, each under its sentence."""
    rank, width = a.shape
    scales = {
        "the product is added as it is: multiply it by alpha / r first": 1.0,
        "the product is multiplied by alpha: divide by the rank r too": alpha,
        "the product is divided by r: multiply it by alpha too": 1 / rank,
        f"r is taken as {width}, a width of the weight: it is the number of rows of A, {rank} here": alpha / width,
        "the product is multiplied by r / alpha, the inverse of the factor": rank / alpha,
        "the factor is fixed: compute it from alpha and the number of rows of A": 4.0,
        f"r is taken as 3: it is the number of rows of A, {rank} here": alpha / 3,
        "the product is multiplied by alpha / √r, which only adapters with use_rslora mean": alpha / rank**0.5,
    }
    products: dict[str, Callable[[], numpy.ndarray]] = {
        "": lambda: b @ a,
        "the product is Aᵀ Bᵀ, which is the transposed one": lambda: (b @ a).T,
    }
    for (sentence, scale), (which, product) in itertools.product(scales.items(), products.items()):
        yield (f"{which}; and {sentence}" if which else sentence), weight + scale * product()
    yield "the product is Aᵀ Bᵀ, which is the transposed one: use B A", weight + alpha / rank * (b @ a).T
    yield "that is the update alone: add the weight", alpha / rank * (b @ a)
    yield "that is the weight without the update", weight
    yield "the update is taken away from the weight: add it", weight - alpha / rank * (b @ a)


check = Checks(write, from_keras, merge)
