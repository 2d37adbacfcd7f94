"""Runs of the reference: exact, wiggled by a rounding, and step by step on somebody else's values."""

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

Turn = Callable[[str, Array], Array]
"""What a run goes on with in place of a named value."""

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from 1 to the next number."""

NUMBERS = ("inputs_embeds", "encoder_hidden_states")
"""Inputs that a port rounds as it rounds a value."""

DRAWS = 2
"""Wiggled runs: the largest of a few numbers may be small by luck once, and hardly twice."""


def exact(model: Model) -> Model:
    """The same model in float64 on NumPy."""
    params = {name: numpy.asarray(to_host(array), numpy.float64) for name, array in flat(model.params).items()}
    return Model(model.config, tree(params), model.head, model.tokenizer)


def run(model: Model, inputs: Mapping[str, Any], turn: Turn | None = None) -> dict[str, Array]:
    """Every named value of a call, as it was made, and then the outputs; the call itself goes on with `turn`'s.

    Names are the family's own, as in `trace`.
    """
    made: dict[str, Array] = {}
    watch(model, inputs, made.__setitem__, turn)
    return made


def watch(model: Model, inputs: Mapping[str, Any], see: Callable[[str, Array], Any], turn: Turn | None = None) -> None:
    """`run`, which shows each value as it is made, and keeps none."""
    seen = set()

    def record(name: str, value: Array) -> Array:
        name = model.config.family.own_name(name)
        seen.add(name)
        see(name, value)
        return value if turn is None else turn(name, value)

    with recording(record):
        output = model(**inputs)
    for name, value in output.items():
        if name not in seen and hasattr(value, "shape"):
            see(name, value)


def noise(model: Model, inputs: Mapping[str, Any], values: Mapping[str, Array], turn: Turn | None = None) -> dict:
    """How far float32's rounding alone moves each of the values of `run(model, inputs, turn)`: a number a name."""
    return {name: float(array.max(initial=0)) for name, array in noises(model, inputs, values, turn).items()}


def noises(
    model: Model, inputs: Mapping[str, Any], values: Mapping[str, Array], turn: Turn | None = None
) -> dict[str, Array]:
    """How far float32's rounding alone moves each number of the values of `run(model, inputs, turn)`.

    It is the largest difference of this number, or any that is no larger, in runs in which every value, inputs too, is
    multiplied by 1 + ε·r, r from [-1, 1]. Computed in float64, so that it is the same on every machine, where a run in
    float32 would tell of its matrix library. model: in float64. Returns arrays of the values' shapes.
    """
    moved: dict[str, Array] = {}

    def see(name: str, value: Array) -> None:
        if name in values:
            moved[name] = numpy.fmax(moved.get(name, 0.0), abs(value - values[name]))

    for draw in range(DRAWS):
        wiggle = wiggled(turn, draw)
        numbers = {name: numpy.asarray(to_host(inputs[name]), float) for name in NUMBERS if name in inputs}
        rounded = {name: wiggle(name, array) for name, array in numbers.items()}
        watch(model, {**inputs, **rounded}, see, wiggle)
    return {name: by_size(name, difference, values[name]) for name, difference in moved.items()}


def by_size(name: str, moved: Array, value: Array) -> Array:
    """For each number the most that it or any that is no larger was moved by, and half an ε of a usual one.

    Numbers within a factor of two are of one size, and the smallest are taken together until they are enough. Usual is
    the root of the mean square, and 1 at least behind an activation: GELU's sum of 1 and erf rounds as 1 does, whatever
    comes of it.
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
"""Values that an activation makes."""

OCTAVES = 30
"""Powers of two up and down from 1; what is beyond them is as large, or as small."""

PLENTY = 2**18
"""Numbers of one value beyond which every second or third tells as much."""

ENOUGH = 64
"""Numbers of which one was surely moved as far as rounding does."""


def wiggled(turn: Turn | None, seed: int) -> Turn:
    """What `turn` goes on with, every number of it multiplied by 1 + ε·r, r from [-1, 1]."""

    def wiggle(name: str, value: Array) -> Array:
        value = value if turn is None else turn(name, value)
        if not is_float(value.dtype):
            return value
        own = numpy.resize(factors(seed), value.shape)
        if name.endswith(".scores"):  # which times more than 1 would be infinite under a mask
            own[abs(value) >= MASKED] = 1
        return value * own

    return wiggle


@functools.cache
def factors(seed: int) -> Array:
    """1 + ε·r with r from [-1, 1], to be used over again: as many as no sum has, and a prime, so that rows differ."""
    raw = numpy.random.Philox(seed).random_raw(65_537)  # which no version of NumPy changes
    return 1 + EPS["float32"] * (raw / 2.0**63 - 1)


def bound_of(config: Config, keys: int = 0) -> float:
    """How many times the noise is rounding still: 2·√n, where n is the most numbers in a sum, and 64 at least.

    Added one by one, n numbers make n roundings of the sum's size, which walk √n of them away. keys: S.
    """
    return 2 * math.sqrt(max(64, config.hidden_size, config.intermediate_size, keys))


MASKED = 1e30
"""Scores beyond this are of keys that nobody attends to."""
