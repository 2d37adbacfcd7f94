"""Right numbers in another order: found for every order of axes, and named; wrong numbers have no order."""

import itertools
from typing import Any

import numpy as np
import pytest

from minroberta.testing.layout import arranged

B, L, H, E = 2, 6, 5, 3
D = H * E
RANDOM = np.random.default_rng(0)
TRUTH = {n: RANDOM.standard_normal(shape) for n, shape in {2: (B, D), 3: (B, L, D), 4: (B, H, L, 7)}.items()}


def found(array: np.ndarray, truth: np.ndarray, heads: int | None = H, kept: Any = True) -> Any:
    return arranged(array, truth, heads, np.broadcast_to(kept, truth.shape))


@pytest.mark.parametrize("axes", TRUTH)
def test_the_right_order_is_left_alone(axes: int) -> None:
    truth = TRUTH[axes]
    array, order = found(truth, truth)
    assert array is truth and order == ""
    nearly = truth * 1.01  # a mistake, not another order
    assert found(nearly, truth)[0] is nearly


@pytest.mark.parametrize("axes", TRUTH)
def test_every_order_of_axes_is_undone(axes: int) -> None:
    truth, orders = TRUTH[axes], set()
    for permutation in itertools.permutations(range(axes)):
        array, order = found(truth.transpose(permutation), truth)
        assert np.array_equal(array, truth), permutation
        assert bool(order) == (permutation != tuple(range(axes)))
        orders.add(order)
    assert len(orders) >= axes  # the names tell them apart, up to cycles of the same axes


@pytest.mark.parametrize(
    ("axes", "permutation", "name"),
    [
        (2, (1, 0), "transposed"),
        (3, (1, 0, 2), "batch and length swapped"),
        (3, (0, 2, 1), "axes token, channel permuted"),
        (4, (0, 2, 1, 3), "axes head, query permuted"),
        (4, (0, 1, 3, 2), "axes query, key permuted"),
    ],
)
def test_an_order_has_a_name(axes: int, permutation: tuple[int, ...], name: str) -> None:
    assert found(TRUTH[axes].transpose(permutation), TRUTH[axes])[1] == name


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(4))))
def test_heads_not_merged_in_any_order(permutation: tuple[int, ...]) -> None:
    truth = TRUTH[3]
    apart = truth.reshape(B, L, H, E).transpose(permutation)
    array, order = found(apart, truth)
    assert np.array_equal(array, truth)
    if permutation == (0, 2, 1, 3):
        assert order == f"heads not merged, shape {(B, H, L, E)}"


def test_heads_merged_in_another_order() -> None:
    truth = TRUTH[3]
    interleaved = truth.reshape(B, L, H, E).swapaxes(2, 3).reshape(B, L, D)
    array, order = found(interleaved, truth)
    assert np.array_equal(array, truth) and order.startswith("heads merged in a different order")
    straight = truth.reshape(B, L, H, E).swapaxes(1, 2).reshape(B, L, D)
    array, order = found(straight, truth)
    assert np.array_equal(array, truth) and order.startswith("heads merged by a reshape alone, without swapping")


@pytest.mark.parametrize("heads", [None, 0, 4])
def test_heads_that_are_unknown_or_do_not_divide(heads: int | None) -> None:
    truth = TRUTH[3]
    interleaved = truth.reshape(B, L, H, E).swapaxes(2, 3).reshape(B, L, D)
    assert found(interleaved, truth, heads)[1] == ""


def test_an_axis_split_or_merged() -> None:
    truth = TRUTH[4]
    array, order = found(truth.reshape(B, H, L, 7, 1), truth)
    assert np.array_equal(array, truth) and order == f"shape {(B, H, L, 7, 1)}, axes split or merged"


@pytest.mark.parametrize("shape", [(B, L - 1, D), (B, D), (B, L, D, 2), ()])
def test_another_size_is_not_another_order(shape: tuple[int, ...]) -> None:
    assert found(np.zeros(shape), TRUTH[3]) == (None, "")


def test_other_numbers_are_not_another_order() -> None:
    """Other numbers are returned unchanged if the shape is right, to be found wrong, and not at all otherwise."""
    other = np.random.default_rng(1).standard_normal((B, L, D))
    array, order = found(other, TRUTH[3])
    assert array is other and order == ""
    assert found(other.swapaxes(0, 1), TRUTH[3]) == (None, "")


def test_another_order_with_a_small_mistake() -> None:
    """An order is found despite an error of a twentieth of the largest number, not despite a larger one."""
    truth = TRUTH[3]
    for off, named in ((0.03, True), (0.2, False)):
        array = truth.swapaxes(0, 1).copy()
        array[0, 0, 0] += off * abs(truth).max()
        assert (found(array, truth)[1] == "batch and length swapped") == named


def test_padding_is_not_compared() -> None:
    truth, kept = TRUTH[3], np.ones((B, L, 1), bool)
    kept[1, 4:] = False
    array = np.where(kept, truth, np.nan)
    assert found(array.swapaxes(0, 1), truth, kept=kept)[1] == "batch and length swapped"
    assert found(array.swapaxes(0, 1), truth) == (None, "")


def test_of_two_orders_the_nearer() -> None:
    """For a cube every order has the same shape."""
    cube = np.random.default_rng(2).standard_normal((4, 4, 4))
    for permutation in itertools.permutations(range(3)):
        assert np.array_equal(found(cube.transpose(permutation), cube, None)[0], cube)
