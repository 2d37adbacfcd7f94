"""Layouts of a port's values: transposed, heads split or merged, batch and length swapped, flattened, or packed.

They are recognised, or given in a notation such as `b h l e`.
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence

import numpy

from ..errors import InputError

CLOSE = 0.05
"""Maximum difference of two arrays that count as the same value, as a fraction of the largest element."""

AXES = {2: ("batch", "channel"), 3: ("batch", "token", "channel"), 4: ("batch", "head", "query", "key")}
"""Names of a value's axes, by the number of axes."""

OF_TOKENS = re.compile(r"position_ids$|^(start|end)_logits$")
"""Names of values of shape (B, L); other values with two axes are (B, D) or (B, N)."""

# --- recognised -----------------------------------------------------------------------------------------------------

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


# --- given ----------------------------------------------------------------------------------------------------------

LETTERS = {"b": "batch", "l": "tokens", "s": "keys", "h": "heads", "e": "channels of a head", "d": "all channels"}
"""The axes of the notation; 1 is an axis of length 1. Parentheses merge axes: "b l (h e)" is "b l d"."""


def as_given(
    name: str, array: numpy.ndarray, layout: str, shape: Sequence[int], head_size: int | None
) -> tuple[numpy.ndarray, str]:
    """The array in the reference's layout, and `layout`, the layout that it has, in words ("" if they are the same).

    shape: the shape of the reference's value. head_size: E, or None if unknown.

    Raises InputError if `layout` is not a layout of this value, or if the array does not have it.
    """
    groups = _groups(name, layout)
    axes = [axis for group in groups for axis in group if axis != "1"]
    ours = _axes(name, axes, len(shape))
    if sorted(axes) != sorted(ours):
        raise InputError(f"the layout {layout!r} of {name} must name each axis of {' '.join(ours)!r} once")
    sizes = _sizes(ours, shape, head_size, groups, array.shape)
    lengths = tuple(math.prod(sizes.get(axis, 1) for axis in group) for group in groups)
    if array.shape != lengths or not sizes.keys() >= {*axes} or math.prod(sizes.values()) != math.prod(shape):
        known = ", ".join(f"{axis} = {size}" for axis, size in sizes.items())
        raise InputError(f"the layout {layout!r} does not fit {name} of shape {array.shape}: {known}")
    split = array.reshape([sizes[axis] for axis in axes])
    result = split.transpose([axes.index(axis) for axis in ours]).reshape(shape)
    same = axes == [*ours] and array.shape == tuple(shape)
    return result, "" if same else f"{layout}, as `names` says"


def _groups(name: str, layout: str) -> list[list[str]]:
    """The axes that the notation merges into each axis of the array: "(b l) d" is [[b, l], [d]]."""
    groups = [[*"".join((merged or one).split())] for merged, one in re.findall(r"\(([^()]*)\)|(\S)", layout)]
    for axis in itertools.chain(*groups):
        if axis != "1" and axis not in LETTERS:
            known = ", ".join(f"{letter} ({words})" for letter, words in LETTERS.items())
            raise InputError(f"unknown axis {axis!r} in the layout {layout!r} of {name}: give {known}, 1, or (b l)")
    return groups


def _axes(name: str, given: Sequence[str], ndim: int) -> str:
    """The axes of the reference's value, with channels as d or as h and e, and the tokens of keys as l or s."""
    if ndim == 3:
        tokens = "s" if "s" in given and name.endswith((".key", ".value")) else "l"
        return f"b{tokens}" + ("he" if {"h", "e"} & {*given} else "d")
    return {4: "bhls", 2: "bl" if OF_TOKENS.search(name) else "bd", 1: "d"}.get(ndim, "")


def _sizes(
    ours: str, shape: Sequence[int], head_size: int | None, groups: Sequence[Sequence[str]], lengths: Sequence[int]
) -> dict[str, int]:
    """The sizes of the axes: those of the reference, and those that follow from the lengths of the array's axes."""
    sizes = dict(zip(ours.removesuffix("he"), shape, strict=False))
    if ours.endswith("he") and head_size:
        sizes |= {"h": shape[-1] // head_size, "e": head_size}
    for group, length in zip(groups, lengths, strict=False):
        unknown = [axis for axis in group if axis not in sizes and axis != "1"]
        if len(unknown) == 1:
            sizes[unknown[0]] = length // max(1, math.prod(sizes.get(axis, 1) for axis in group))
    return sizes
