"""Tests of the portable array library: exact products, sums by halves, functions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from support import CASES, Case, model_of, slow_but

from minroberta.testing import portable
from minroberta.testing.runs import exact, run

SIZES = [1, 2, 5, 37, 128, 768, 3072]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers of many sizes."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal(shape) * 2.0 ** draw.integers(-12, 12, shape)


@pytest.mark.parametrize("size", SIZES)
def test_products_do_not_depend_on_the_order(size: int) -> None:
    """Products of parts are exact, so that a library may sum them in any order: here by einsum, and backwards."""
    x, y = random(7, size), random(size, 9, seed=1)
    bits = (53 - size.bit_length()) // 2
    for left in portable.parts(x, bits, axis=-1):
        for right in portable.parts(y, bits, axis=-2):
            product = left @ right
            assert np.array_equal(product, np.einsum("li,io->lo", left, right, optimize=False))
            assert np.array_equal(product, left[:, ::-1] @ right[::-1])
            assert all(
                sum(map(Fraction.__mul__, map(Fraction, left[0]), map(Fraction, column))) == Fraction(value)
                for column, value in zip(right.T[:2], product[0, :2], strict=True)
            )
    assert np.array_equal(portable.product(x, y), portable.product(x[:, ::-1], y[::-1]))


@pytest.mark.parametrize("size", SIZES)
def test_products_are_right(size: int) -> None:
    x, y = random(3, size), random(size, 2, seed=1)
    true = [[math.fsum(row * column) for column in y.T] for row in x]
    largest = abs(x).max(-1)[:, None] * abs(y).max(0) * size
    assert (abs(portable.product(x, y) - true) <= 2.0**-53 * largest).all()


def test_products_of_batches_and_of_many_columns() -> None:
    x, y = random(2, 3, 4, 5), random(2, 3, 5, 6, seed=1)
    assert np.allclose(portable.product(x, y), x @ y, rtol=1e-12)
    wide = random(5, 2 * portable.COLUMNS + 3)
    assert np.allclose(portable.product(x, wide), x @ wide, rtol=1e-9)


def test_products_of_empty_and_of_tiny_arrays() -> None:
    zeros = np.zeros((2, 3))
    assert not portable.product(zeros, random(3, 2)).any()
    assert np.isfinite(portable.product(zeros + 5e-324, random(3, 2))).all()


def test_operators_are_not_numpys() -> None:
    """NumPy's operators would give other last digits."""
    x, y = random(5, 1001), random(1001, 7, seed=1)
    own, other = portable.asarray(x), portable.asarray(y)
    assert np.array_equal(own @ other, portable.product(x, y))
    assert np.array_equal(own.sum(-1), portable.total(x)[:, 0])
    assert np.array_equal(own.sum(), portable.total(x.reshape(1, -1))[0, 0])
    assert np.array_equal(own.mean(-1, keepdims=True), portable.total(x) / 1001)
    assert not np.array_equal(x @ y, portable.product(x, y))
    assert not np.array_equal(x.sum(-1), portable.total(x)[:, 0])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 41])
def test_sums(size: int) -> None:
    x = random(4, size)
    assert portable.total(x)[:, 0] == pytest.approx([math.fsum(row) for row in x], rel=1e-13)
    array = portable.asarray(x)
    assert type(array.sum(-1, keepdims=True)) is portable.PortableArray
    assert array.sum() == pytest.approx(math.fsum(x.ravel()), rel=1e-13)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("exp", np.linspace(-745, 709, 40_001)),
        ("tanh", np.linspace(-25, 25, 40_001)),
        ("log", np.exp(np.linspace(-700, 700, 40_001))),
        ("log", np.linspace(0.4, 3, 40_001)),
    ],
)
def test_functions(name: str, x: np.ndarray) -> None:
    """Functions are right to a unit or two in the last place of the value, or of 1."""
    own, true = np.asarray(getattr(portable, name)(x)), getattr(np, name)(x)
    scale = abs(true) if name == "exp" else np.maximum(1, abs(true))
    assert (abs(own - true) <= 2.0**-51 * scale + 1e-323).all()


def test_functions_at_the_ends() -> None:
    ends = np.array([-1.8e308, -800.0, 0.0, 800.0])
    with np.errstate(over="ignore"):
        assert portable.exp(ends).tolist() == [0, 0, 1, math.inf]
        assert portable.tanh(ends).tolist() == [-1, -1, 0, 1]
    assert portable.logaddexp(ends[1:], 0.0) == pytest.approx([0, math.log(2), 800])


ONE_STEP = [case for case in CASES if len(case.steps) == 1]


@pytest.mark.parametrize("case", slow_but(ONE_STEP, *ONE_STEP[::3]), ids=lambda case: case.name)
def test_models_run_on_it(case: Case) -> None:
    """Every value is that of NumPy in float64, in an array of this library: no step falls back to plain NumPy."""
    model = model_of(case, "float64")
    own, plain = run(exact(model, portable.asarray), case.steps[0]), run(model, case.steps[0])
    assert list(own) == list(plain)
    for name, value in plain.items():
        assert own[name].dtype == value.dtype
        assert type(own[name]) is portable.PortableArray or value.dtype.kind == "i"
        largest = np.fmax.reduce(abs(value), axis=None, initial=1)
        np.testing.assert_allclose(own[name], value, rtol=0, atol=1e-13 * largest)
