"""Layouts of a port's values: transposed, heads split or merged, batch and length swapped, flattened, or packed."""

import itertools
from collections.abc import Iterator

import numpy

CLOSE = 0.05
"""Maximum difference of two arrays that count as the same value, as a fraction of the largest element."""

AXES = {2: ("batch", "channel"), 3: ("batch", "token", "channel"), 4: ("batch", "head", "query", "key")}
"""Names of a value's axes, by the number of axes."""


REORDERED = "heads merged"
"""Start of the descriptions of layouts of the same shape, in which only the order of the channels differs."""


def arranged(
    array: numpy.ndarray, truth: numpy.ndarray, heads: int | None, kept: numpy.ndarray
) -> tuple[numpy.ndarray | None, str]:
    """The array in the reference's layout, and a description of its original layout ("" if they are the same).

    The first result is None if no known layout fits. A layout is recognised by the elements, or by the shape if only
    one layout has it. heads: number of heads H, or None if unknown. kept: a mask of the elements that are compared.
    """
    same = array.shape == truth.shape
    if same and _distance(array, truth, kept) <= 2 * CLOSE:
        return array, ""
    orders = [*_packed(array, truth, kept), *_orders(array, truth, heads)]
    found = [(_distance(other, truth, kept), order, other) for order, other in orders]
    distance, order, other = min(found, key=lambda one: one[0], default=(numpy.inf, "", array))
    if distance <= CLOSE or (not same and len(_distinct(found)) == 1):
        return other, order
    return (array, "") if same else (None, "")


def _distinct(found: list[tuple[float, str, numpy.ndarray]]) -> list[numpy.ndarray]:
    """The arrays that differ from each other: two layouts may be the same, for example of a batch of 1."""
    result: list[numpy.ndarray] = []
    for _, _, array in found:
        if not any(numpy.array_equal(array, other, equal_nan=array.dtype.kind == "f") for other in result):
            result.append(array)
    return result


def _packed(array: numpy.ndarray, truth: numpy.ndarray, kept: numpy.ndarray) -> Iterator[tuple[str, numpy.ndarray]]:
    """Tokens of all rows one after the other, without padding: (N, D) or (1, N, D) -> (B, L, D)."""
    if truth.ndim not in (2, 3):
        return
    tokens = kept if truth.ndim == 2 else kept.any(-1)  # (B, L)
    N = int(tokens.sum())
    if N and N < tokens.size and array.size == N * truth[0, 0].size and N in array.shape[:2]:
        unpacked = truth.astype(array.dtype)
        unpacked[tokens] = array.reshape(N, *truth.shape[2:])
        yield f"packed, {N} tokens without padding", unpacked


def _distance(array: numpy.ndarray, truth: numpy.ndarray, kept: numpy.ndarray) -> float:
    """The largest difference, as a fraction of the largest element."""
    with numpy.errstate(all="ignore"):
        difference = abs(array - truth).max(initial=0, where=kept)
        largest = abs(truth).max(initial=0, where=kept) or 1
    return float("inf") if numpy.isnan(difference) else float(difference / largest)


def _orders(array: numpy.ndarray, truth: numpy.ndarray, H: int | None) -> Iterator[tuple[str, numpy.ndarray]]:
    """Descriptions of possible layouts, each with the array converted from it to the reference's layout and shape."""
    axes = range(array.ndim)
    for order in itertools.permutations(axes) if array.ndim <= 4 else ():
        if order != tuple(axes) and tuple(array.shape[axis] for axis in order) == truth.shape:
            swapped = [axis for axis in axes if order[axis] != axis]
            yield _swap(swapped, array.ndim), array.transpose(order)
    if array.size != truth.size:
        return
    if array.ndim != truth.ndim:
        yield f"shape {array.shape}, axes split or merged", array.reshape(truth.shape)
    if array.ndim < truth.ndim == 3:
        B, L, D = truth.shape
        yield f"shape {array.shape}, time first and flattened", array.reshape(L, B, D).swapaxes(0, 1)
    if truth.ndim != 3 or not H or truth.shape[2] % H:
        return
    B, L, D = truth.shape
    if array.ndim == 4:
        for order in itertools.permutations(range(4)):
            if tuple(array.shape[axis] for axis in order) == (B, L, H, D // H):
                yield f"heads not merged, shape {array.shape}", array.transpose(order).reshape(truth.shape)
    if array.ndim == 3:
        yield (
            f"{REORDERED} in a different order: channel e·H + h holds what belongs in channel h·E + e",
            array.reshape(B, L, D // H, H).swapaxes(2, 3).reshape(truth.shape),
        )
        yield (
            f"{REORDERED} by a reshape alone, without swapping the head and token axes",
            array.reshape(B, H, L, D // H).swapaxes(1, 2).reshape(truth.shape),
        )


def _swap(axes: list[int], ndim: int) -> str:
    names = AXES.get(ndim, ())
    if ndim == 3 and axes == [0, 1]:
        return "batch and length swapped"
    if ndim == 2:
        return "transposed"
    return "axes " + ", ".join(names[axis] if names else str(axis) for axis in axes) + " permuted"
