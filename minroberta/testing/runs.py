"""Runs of the reference: exact, wiggled by a rounding, and step by step on somebody else's values."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from ..backend import Array, is_float, to_host
from ..model import Model
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

    def record(name: str, value: Array) -> Array:
        name = model.config.family.own_name(name)
        made[name] = value
        return value if turn is None else turn(name, value)

    with recording(record):
        output = model(**inputs)
    outputs = {name: value for name, value in output.items() if hasattr(value, "shape")}
    return made | {name: value for name, value in outputs.items() if name not in made}


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
    moved = {name: numpy.zeros(value.shape) for name, value in values.items()}
    for draw in range(DRAWS):
        wiggle = _wiggled(turn, draw)
        numbers = {name: numpy.asarray(to_host(inputs[name]), float) for name in NUMBERS if name in inputs}
        rounded = {name: wiggle(name, array) for name, array in numbers.items()}
        for name, value in run(model, {**inputs, **rounded}, wiggle).items():
            moved[name] = numpy.maximum(moved[name], abs(value - values[name]))
    return {name: by_size(difference, values[name]) for name, difference in moved.items()}


def by_size(moved: Array, value: Array) -> Array:
    """For each number the most that it or any that is no larger was moved by, and half an ε of a usual one.

    Numbers within a factor of two are of one size, and the smallest are taken together until they are enough. Usual is
    the root of the mean square, and 1 at least: the sum of 1 and erf in GELU rounds as 1 does, whatever comes of it.
    """
    counts = abs(value) < MASKED
    sizes, moved = numpy.where(counts, abs(value), 0.0), numpy.where(counts, moved, 0.0)
    octaves = numpy.clip(numpy.frexp(sizes)[1], -OCTAVES, OCTAVES) + OCTAVES
    most = numpy.zeros(2 * OCTAVES + 1)
    numpy.maximum.at(most, octaves, moved)
    most = numpy.maximum.accumulate(most)
    so_far = numpy.bincount(octaves.reshape(-1), minlength=len(most)).cumsum()
    enough = int((so_far >= min(ENOUGH, sizes.size)).argmax())
    most[:enough] = most[enough]
    usual = max(1.0, math.sqrt((sizes * sizes).sum() / max(1, sizes.size)))
    return most[octaves] + EPS["float32"] / 2 * usual


OCTAVES = 30
"""Powers of two up and down from 1; what is beyond them is as large, or as small."""

ENOUGH = 64
"""Numbers of which one was surely moved as far as rounding does."""


def _wiggled(turn: Turn | None, seed: int) -> Turn:
    random = numpy.random.Philox(seed)  # whose raw numbers no version of NumPy changes

    def wiggle(name: str, value: Array) -> Array:
        value = value if turn is None else turn(name, value)
        if not is_float(value.dtype):
            return value
        r = random.random_raw(value.size).reshape(value.shape) / 2.0**63 - 1
        factor = 1 + EPS["float32"] * r
        return value * numpy.where(abs(value) < MASKED, factor, 1)

    return wiggle


def _largest(value: Array) -> float:
    """The largest magnitude of what is no mask's lowest number."""
    magnitudes = abs(value)
    return float(magnitudes.max(initial=0, where=magnitudes < MASKED))


MASKED = 1e30
"""Scores beyond this are of keys that nobody attends to."""
