"""Runs of the reference: exact, with random rounding errors, or step by step on a port's values."""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy

from ..backend.arrays import Array, is_float, to_host
from ..config import Config
from ..loading import Model
from ..trace import recording
from ..weights import flat, tree

Edit = Callable[[str, Array], Array]
"""A function that takes a value's name and the value, and returns the value that the run continues with."""

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Machine epsilon: the distance from 1 to the next larger number of the dtype."""

NUMBERS = ("inputs_embeds", "encoder_hidden_states")
"""Names of the floating-point inputs, which a port rounds just as it rounds values."""

RUNS = 2
"""Number of runs with random rounding errors from which the noise of a single step is measured.

In one run the largest error of a few elements may be small by chance; in two runs that is unlikely.
"""

RUNS_THROUGH = 8
"""Number of such runs for errors that have gathered through the whole model.

In a trained model they may all go back to one number, such as a score of a token between two others: if that number
happens to move little, everything after it moves too little as well. In eight runs this is unlikely.
"""


def exact(model: Model, asarray: Callable[..., Array] = numpy.asarray) -> Model:
    """The same model in float64, with arrays of NumPy or of the library whose `asarray` is given."""
    params = {name: asarray(to_host(array), numpy.float64) for name, array in flat(model.params).items()}
    return with_weights(model, model.config, tree(params))


def with_weights(model: Model, config: Config, params: Any) -> Model:
    """A model of the same kind with other parameters."""
    result = type(model)(config, params, model.head, model.tokenizer)
    result.embedding = model.embedding
    return result


def run(model: Model, inputs: Mapping[str, Any], edit: Edit | None = None) -> dict[str, Array]:
    """All named values of a call as they were computed, followed by its outputs.

    Names are the family's, as in `trace`. edit: a function that replaces each value for the rest of the call; `run`
    returns the values before they are replaced.
    """
    computed: dict[str, Array] = {}
    watch(model, inputs, computed.__setitem__, edit)
    return computed


def watch(model: Model, inputs: Mapping[str, Any], see: Callable[[str, Array], Any], edit: Edit | None = None) -> None:
    """Do the same as `run`, but pass each value to `see` as soon as it is computed, and keep none of them."""
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
    """The noise of each value of `run(model, inputs, edit)`: the largest element of its `noises`."""
    return {name: float(array.max(initial=0)) for name, array in noises(model, inputs, values, edit).items()}


def noises(
    model: Model, inputs: Mapping[str, Any], values: Mapping[str, Array], edit: Edit | None = None, runs: int = RUNS
) -> dict[str, Array]:
    """The noise of each element in `run(model, inputs, edit)`: the change that float32 rounding alone makes to it.

    The noise is the largest change of this element, or of any smaller element of the same value, in runs that round
    every value and every floating-point input at random, as `wiggled` does. These runs are in float64, so that the
    noise is the same on every machine; a run in float32 would depend on the matrix library. model: a model in float64.
    runs: the number of runs. Returns arrays with the shapes of the values.
    """
    moved: dict[str, Array] = {}

    def see(name: str, value: Array) -> None:
        if name in values:
            moved[name] = numpy.fmax(moved.get(name, 0.0), abs(value - values[name]))

    for seed in range(runs):
        wiggle = wiggled(edit, seed)
        watch(model, with_numbers(inputs, wiggle), see, wiggle)
    return {name: by_size(name, difference, values) for name, difference in moved.items()}


def by_size(name: str, moved: Array, values: Mapping[str, Array]) -> Array:
    """For each element of `values[name]`, the largest change in any element of its size or smaller, and its rounding.

    The rounding is ε/2 times the root mean square of all elements, or after an activation at least ε/2 times the
    element of its argument, as in `wiggled`. Elements are grouped by magnitude, in powers of two, and the smallest
    groups are merged until they hold enough elements.
    """
    value = values[name]
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
    rounded = numpy.fmax(usual, abs(values[argument_of(name)])) if ACTIVATED.search(name) else usual
    return most[octaves] + EPS["float32"] / 2 * rounded


ACTIVATED = re.compile(r"(^|\.)(intermediate|gelu)$")
"""Names of the outputs of activations."""


def argument_of(name: str) -> str:
    """The name of the value that an activation was applied to."""
    return f"{name.removesuffix('.gelu')}.dense"


def with_arguments(names: Iterable[str]) -> set[str]:
    """The names, and those of the arguments of activations among them: `by_size` needs these values."""
    return {other for name in names for other in (name, *([argument_of(name)] if ACTIVATED.search(name) else []))}


OCTAVES = 30
"""Number of powers of two above 1, and below 1, that are distinguished."""

PLENTY = 2**18
"""Number of elements at which sampling starts.

From this number on, every second element is used; from twice this number on, every third; and so on.
"""

ENOUGH = 64
"""Minimum number of elements in a group: so many that at least one changes almost as much as rounding can change it."""


def wiggled(edit: Edit | None, seed: int) -> Edit:
    """An edit that applies `edit`, if given, and then multiplies each element by 1 + ε·r with random r in [-1, 1].

    The output of an activation also moves by ε·r·|x|/2, where x is its argument. GELU is x/2 times a sum, 1 + erf, that
    rounds as a number near 1 does, however small it is: for most negative x this is GELU's largest error by far.
    """
    latest: Array = None  # the value before, which is an activation's argument

    def wiggle(name: str, value: Array) -> Array:
        nonlocal latest
        value = value if edit is None else edit(name, value)
        before, latest = latest, value
        if not is_float(value.dtype):
            return value
        factor = numpy.resize(factors(seed), value.shape)
        if name.endswith(".scores"):  # a masked score times a factor above 1 would overflow
            factor[abs(value) >= MASKED] = 1
        if ACTIVATED.search(name):
            return value * factor + (factor - 1) * abs(before) / 2
        return value * factor

    return wiggle


def with_numbers(inputs: Mapping[str, Any], edit: Edit) -> dict[str, Any]:
    """The inputs with `edit` applied to the floating-point ones, in float64."""
    numbers = {name: numpy.asarray(to_host(inputs[name]), float) for name in NUMBERS if name in inputs}
    return {**inputs, **{name: edit(name, array) for name, array in numbers.items()}}


@functools.cache
def factors(seed: int) -> Array:
    """Factors 1 + ε·r with random r in [-1, 1], to be tiled over an array.

    Their number is prime, so that rows get different factors, and larger than the number of terms in any sum.
    """
    raw = numpy.random.Philox(seed).random_raw(65_537)  # the same in every version of NumPy
    return 1 + EPS["float32"] * (raw / 2.0**63 - 1)


def bound_of(config: Config, keys: int = 0) -> float:
    """The multiple of the noise up to which a difference counts as rounding error: 2·√n.

    n is the number of terms in the longest sum, but at least 64. Adding n terms one by one makes n rounding errors. As
    in a random walk, together they are about √n times as large as one of them. keys: number of keys, S.
    """
    return 2 * math.sqrt(max(64, config.hidden_size, config.intermediate_size, keys))


MASKED = 1e30
"""Scores of at least this magnitude belong to masked keys."""
