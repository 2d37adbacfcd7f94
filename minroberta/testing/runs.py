"""Runs of the reference: exact, with random rounding, or step by step on somebody else's values."""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from ..backend.arrays import Array, is_float, to_host
from ..config import Config
from ..loading import Model
from ..trace import recording
from ..weights import flat, tree

Edit = Callable[[str, Array], Array]
"""A function from a value's name and the value to the value with which a run goes on."""

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from 1 to the next number."""

NUMBERS = ("inputs_embeds", "encoder_hidden_states")
"""Inputs that a port rounds as it rounds a value."""

RUNS = 2
"""Runs with random rounding: the largest of a few numbers may be small by luck once, and hardly twice."""


def exact(model: Model, asarray: Callable[..., Array] = numpy.asarray) -> Model:
    """The same model in float64, on NumPy or on the library whose `asarray` is given."""
    params = {name: asarray(to_host(array), numpy.float64) for name, array in flat(model.params).items()}
    return Model(model.config, tree(params), model.head, model.tokenizer)


def run(model: Model, inputs: Mapping[str, Any], edit: Edit | None = None) -> dict[str, Array]:
    """Every named value of a call, as it was made, and then the outputs. The call itself goes on with `edit`'s.

    Names are the family's, as in `trace`.
    """
    made: dict[str, Array] = {}
    watch(model, inputs, made.__setitem__, edit)
    return made


def watch(model: Model, inputs: Mapping[str, Any], see: Callable[[str, Array], Any], edit: Edit | None = None) -> None:
    """Do the same as `run`, but show each value as it is made, and keep none."""
    seen = set()

    def record(name: str, value: Array) -> Array:
        name = model.config.family.own_name(name)
        seen.add(name)
        see(name, value)
        return value if edit is None else edit(name, value)

    with recording(record):
        output = model(**inputs)
    for name, value in output.items():
        if name not in seen and hasattr(value, "shape"):
            see(name, value)


def noise(model: Model, inputs: Mapping[str, Any], values: Mapping[str, Array], edit: Edit | None = None) -> dict:
    """The noise of each value of `run(model, inputs, edit)`: the largest of `noises`."""
    return {name: float(array.max(initial=0)) for name, array in noises(model, inputs, values, edit).items()}


def noises(
    model: Model, inputs: Mapping[str, Any], values: Mapping[str, Array], edit: Edit | None = None
) -> dict[str, Array]:
    """The noise of each number in `run(model, inputs, edit)`: how far the rounding of float32 alone moves it.

    It is the largest difference of this number, or of any smaller one, in runs that multiply every value, inputs too,
    by 1 + ε·r with random r from [-1, 1]. These runs are in float64, so that the noise is the same on every machine; a
    run in float32 would depend on the matrix library. model: in float64. Returns arrays of the values' shapes.
    """
    moved: dict[str, Array] = {}

    def see(name: str, value: Array) -> None:
        if name in values:
            moved[name] = numpy.fmax(moved.get(name, 0.0), abs(value - values[name]))

    for seed in range(RUNS):
        wiggle = wiggled(edit, seed)
        numbers = {name: numpy.asarray(to_host(inputs[name]), float) for name in NUMBERS if name in inputs}
        rounded = {name: wiggle(name, array) for name, array in numbers.items()}
        watch(model, {**inputs, **rounded}, see, wiggle)
    return {name: by_size(name, difference, values[name]) for name, difference in moved.items()}


def by_size(name: str, moved: Array, value: Array) -> Array:
    """For each number the largest distance that it or any smaller one was moved, plus half an ε of a usual number.

    Numbers within a factor of two are of one size, and the smallest are taken together until there are enough. The
    usual number is the root of the mean square, and at least 1 after an activation: the sum 1 + erf in GELU rounds as 1
    does, however small the product is.
    """
    counts = abs(value) < MASKED
    sizes, moved = numpy.where(counts, abs(value), 0.0), numpy.where(counts, moved, 0.0)
    octaves = numpy.clip(numpy.frexp(sizes)[1], -OCTAVES, OCTAVES) + OCTAVES
    some = slice(None, None, 1 + sizes.size // PLENTY)
    most = numpy.zeros(2 * OCTAVES + 1)
    numpy.maximum.at(most, octaves.reshape(-1)[some], moved.reshape(-1)[some])
    most = numpy.maximum.accumulate(most)
    so_far = numpy.bincount(octaves.reshape(-1), minlength=len(most)).cumsum()
    enough = int((so_far >= min(ENOUGH, sizes.size)).argmax())
    most[:enough] = most[enough]
    usual = math.sqrt((sizes * sizes).sum() / max(1, sizes.size))
    return most[octaves] + EPS["float32"] / 2 * (max(1.0, usual) if ACTIVATED.search(name) else usual)


ACTIVATED = re.compile(r"(^|\.)(intermediate|gelu)$")
"""Names of the values that an activation makes."""

OCTAVES = 30
"""Powers of two up and down from 1 that are distinguished."""

PLENTY = 2**18
"""Size of a value from which on every second or third number is enough."""

ENOUGH = 64
"""Count of numbers of which one was surely moved as far as rounding moves them."""


def wiggled(edit: Edit | None, seed: int) -> Edit:
    """The values of `edit` (by default the run's), each number multiplied by 1 + ε·r with random r from [-1, 1]."""

    def wiggle(name: str, value: Array) -> Array:
        value = value if edit is None else edit(name, value)
        if not is_float(value.dtype):
            return value
        factor = numpy.resize(factors(seed), value.shape)
        if name.endswith(".scores"):  # a masked score times more than 1 would be infinite
            factor[abs(value) >= MASKED] = 1
        return value * factor

    return wiggle


@functools.cache
def factors(seed: int) -> Array:
    """1 + ε·r with random r from [-1, 1], to be repeated: a prime count, so that rows differ, longer than any sum."""
    raw = numpy.random.Philox(seed).random_raw(65_537)  # the same in every version of NumPy
    return 1 + EPS["float32"] * (raw / 2.0**63 - 1)


def bound_of(config: Config, keys: int = 0) -> float:
    """The multiple of the noise up to which a difference is rounding: 2·√n, for a longest sum of n >= 64 numbers.

    Added one by one, n numbers make n roundings of the sum's size: a random walk of √n of them. keys: S.
    """
    return 2 * math.sqrt(max(64, config.hidden_size, config.intermediate_size, keys))


MASKED = 1e30
"""Scores beyond this belong to masked keys."""
