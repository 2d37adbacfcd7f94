"""The exercises on checkpoints: right answers are right, and each likely mistake gets its sentence."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minroberta.exercises.checkpoints import check

Write = Callable[[dict[str, np.ndarray]], Any]


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


def writer(**how: Any) -> Write:
    """A right writer of safetensors, but for what is said."""
    order, start, field = how.get("order", "little"), how.get("start", 0), how.get("field", "shape")
    numbers = how.get("numbers", lambda x: x.tobytes())
    stop = how.get("stop", lambda first, size: first + size)

    def write(arrays: dict[str, np.ndarray]) -> bytes:
        header, data = {}, b""
        for name, x in arrays.items():
            dtype = how.get("dtype") or {"float32": "F32", "float16": "F16"}[x.dtype.name]
            first, size = start + len(data), len(numbers(x))
            header[name] = {"dtype": dtype, field: x.shape, "data_offsets": [first, stop(first, size)]}
            data += numbers(x)
        text = json.dumps(header).encode()
        length = len(text) + how.get("extra", 0)
        return length.to_bytes(how.get("width", 8), order) + text + data + how.get("after", b"")

    return write


def padded(arrays: dict[str, np.ndarray]) -> bytes:
    """The header is padded to a multiple of eight bytes, and has metadata."""
    made = writer()(arrays)
    length = int.from_bytes(made[:8], "little")
    header = json.dumps({"__metadata__": {"format": "pt"}} | json.loads(made[8 : 8 + length])).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + made[8 + length :]


@pytest.mark.parametrize("answer", [writer(), padded])
def test_right_writers(answer: Write, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith("right: the library reads 5 arrays from your ")


def from_the_header(arrays: dict[str, np.ndarray]) -> Any:
    """The offsets count from where the header begins."""
    made = writer()(arrays)
    for _ in range(4):  # the header's length depends on the digits of the offsets
        made = writer(start=int.from_bytes(made[:8], "little"))(arrays)
    return made


def each_from_0(arrays: dict[str, np.ndarray]) -> bytes:
    """The offsets of each array begin at 0."""
    made = writer()(arrays)
    length = int.from_bytes(made[:8], "little")
    header = json.loads(made[8 : 8 + length])
    for entry in header.values():
        first, stop = entry["data_offsets"]
        entry["data_offsets"] = [0, stop - first]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + made[8 + length :]


def in_memory(x: np.ndarray) -> bytes:
    return x.ravel(order="K").tobytes()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "exercise 1 is not answered yet"),
        (lambda arrays: None, "not yet: your function returns None: is it written, and does it end with return?"),
        (lambda arrays: "text", "not yet: the bytes of a file are asked for, not str"),
        (lambda arrays: b"", "not yet: the first eight bytes say that the header has 0 bytes, but "),
        (lambda arrays: writer()(arrays)[8:], "not yet: the file begins with the header: its length comes first"),
        (lambda arrays: (2).to_bytes(8, "little") + b"[]", "not yet: the header is not an object of JSON"),
        (writer(order="big"), "not yet: the length of the header is written with its largest byte first"),
        (writer(extra=8), "not yet: the first eight bytes say that the header has "),
        (writer(width=4), "not yet: the header begins at byte 4: its length takes exactly eight bytes"),
        (writer(start=400), "not yet: data_offsets of 'table' count from the start of the file: they count from"),
        (
            writer(stop=lambda first, size: size),
            "not yet: data_offsets of 'table.T' span 0 bytes, but the array has 24: the second is where the array ends",
        ),
        (writer(stop=lambda first, size: str(size)), "not yet: data_offsets of 'table' must be two integers"),
        (writer(stop=lambda first, size: first + 4), "not yet: data_offsets of 'table' span 4 bytes, but the array"),
        (
            writer(stop=lambda first, size: first + size - 1),
            "not yet: data_offsets of 'table' span 23 bytes, but the arr"
            "ay has 24: the second is the byte after the last one",
        ),
        (
            writer(stop=lambda first, size: first + size // 4),
            "not yet: data_offsets of 'table' span 6 bytes, but the array has 24: count bytes, not numbers",
        ),
        (each_from_0, "not yet: data_offsets of 'half' and of 'one' overlap: an array begins where the one before"),
        (from_the_header, "not yet: data_offsets of 'table' count from the header's start: they count from its end"),
        (writer(numbers=lambda x: x.T.tobytes()), "not yet: table holds the right numbers column by column"),
        (writer(numbers=lambda x: x.byteswap().tobytes()), "not yet: the bytes of each number of table are reversed"),
        (lambda arrays: arrays["missing"], "not yet: your function raises KeyError"),
        (writer(field="size"), "not yet: shape of 'table' is None, where [2, 3] is right"),
        (writer(dtype="F32"), "not yet: dtype of 'half' is 'F32', where 'F16' is right"),
        (writer(numbers=in_memory), "not yet: table.T holds the right numbers in another order"),
        (
            lambda arrays: writer()(arrays)[:-4],
            "not yet: data_offsets of 'one' end at byte 58, but the header is followed by 54 bytes only",
        ),
        (writer(after=b"more"), "not yet: the library of safetensors refuses the file: "),
        (lambda arrays: writer()({"table": arrays["table"]}), "not yet: the header has no entry for 'table.T': it has"),
    ],
)
def test_wrong_writers(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


def merged_axes(part: str, kernel: np.ndarray) -> np.ndarray:
    """(D, H, E) -> (D, H·E), or (H, E, D) -> (H·E, D)."""
    return kernel.reshape(-1, kernel.shape[-1]) if part == "output" else kernel.reshape(len(kernel), -1)


def in_loops(part: str, kernel: np.ndarray) -> list[list[float]]:
    """Another right answer, number by number."""
    found = np.zeros((6, 6))
    for d, h, e in np.ndindex(6, 2, 3):
        if part == "output":
            found[d, h * 3 + e] = kernel[h, e, d]
        else:
            found[h * 3 + e, d] = kernel[d, h, e]
    return found.tolist()


def of_output_only(part: str, kernel: np.ndarray) -> np.ndarray:
    """The right weights of query, key and value; that of the output as if it had their axes."""
    return kernel.transpose(2, 1, 0).reshape(6, 6) if part == "output" else merged_axes(part, kernel).T


def as_if_all_were_queries(part: str, kernel: np.ndarray) -> np.ndarray:
    """Right but for the output, whose last axis is moved to the rows."""
    return np.moveaxis(kernel, 0, -1).reshape(6, 6)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda part, kernel: merged_axes(part, kernel).T, "right"),
        (in_loops, "right"),
        (lambda part, kernel: [[1], [2, 3]], "not yet: the weight of query is not an array of numbers"),
        (lambda part, kernel: None, "not yet: your function returns None"),
        (lambda part, kernel: kernel, "not yet: the weight of query has shape (6, 2, 3), not (6, 6)"),
        (merged_axes, "not yet: the weight of query is transposed: its rows are the inputs"),
        (lambda part, kernel: kernel.T.reshape(6, 6), "not yet: the rows of the weight of query are in another order"),
        (as_if_all_were_queries, "not yet: the axes of output are H, E, D: the first two are to be merged"),
        (of_output_only, "not yet: the columns of the weight of output are in another order: inputs go head by head"),
        (
            lambda part, kernel: kernel.T.reshape(6, 6).T,
            "not yet: the rows of the weight of query are in another order: outputs go head by head, so that channel e "
            "of head h is number h·E + e; kernel.T reverses all three axes, H and E too. And the weight is transposed",
        ),
        (
            lambda part, kernel: kernel.swapaxes(0, 1).reshape(6, 6),
            "not yet: the axes of query are D, H, E: you swapped two of them",
        ),
        (lambda part, kernel: 2 * merged_axes(part, kernel).T, "not yet: the weight of query is "),
    ],
)
def test_kernels_of_kerashub(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda w, a, b, alpha: w + alpha / len(a) * b @ a, "right"),
        (lambda w, a, b, alpha: None, "not yet: your function returns None"),
        (lambda w, a, b, alpha: w + b @ a, "not yet: the product is added as it is: multiply it by alpha / r"),
        (lambda w, a, b, alpha: w + alpha * b @ a, "not yet: the product is multiplied by alpha: divide by the rank"),
        (lambda w, a, b, alpha: w + b @ a / len(a), "not yet: the product is divided by r: multiply it by alpha too"),
        (lambda w, a, b, alpha: w + alpha / len(b) * b @ a, "not yet: r is taken as 8, a width of the weight"),
        (lambda w, a, b, alpha: w + len(a) / alpha * b @ a, "not yet: the product is multiplied by r / alpha"),
        (lambda w, a, b, alpha: w + alpha / len(a) ** 0.5 * b @ a, "not yet: the product is multiplied by alpha / √r"),
        (lambda w, a, b, alpha: w + alpha / len(a) * a.T @ b.T, "not yet: the product is Aᵀ Bᵀ, which is the transp"),
        (lambda w, a, b, alpha: w + a.T @ b.T, "not yet: the product is Aᵀ Bᵀ, which is the transposed one; and the"),
        (lambda w, a, b, alpha: alpha / len(a) * b @ a, "not yet: that is the update alone: add the weight"),
        (lambda w, a, b, alpha: w + 4 * b @ a, "not yet: the factor is fixed: compute it from alpha"),
        (lambda w, a, b, alpha: w + alpha / 3 * b @ a, "not yet: r is taken as 3: it is the number of rows of A, 2 h"),
        (lambda w, a, b, alpha: w + a @ b, "not yet: your function raises ValueError"),
        (lambda w, a, b, alpha: (w + alpha / len(a) * np.einsum("or,ri->oi", b, a)).tolist(), "right"),
        (lambda w, a, b, alpha: w, "not yet: that is the weight without the update"),
        (lambda w, a, b, alpha: w - alpha / len(a) * b @ a, "not yet: the update is taken away from the weight"),
        (lambda w, a, b, alpha: a @ b, "not yet: the result has shape (3, 3), not (8, 8)"),
    ],
)
def test_merging(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(sentence)
