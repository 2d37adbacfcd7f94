"""A candidate, judged step by step by the reference with some mistakes made."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy

from ..backend.arrays import Array
from ..loading import Model
from ..trace import recording
from ..weights import flat
from .changes import Change, Setting
from .compare import Kept, all_differences, differences, for_each_row, multiple_of, usual
from .layout import REORDERED, arranged
from .pooling import NAME
from .runs import EPS, RUNS, Edit, by_size, wiggled, with_numbers

PLENTY = 2**17
"""Number of elements from which mistakes are first tried on some of them."""

LARGE = 1_000_000
"""Number of parameters from which mistakes are first tried in float32, which takes half the time of float64."""


class Judged(NamedTuple):
    """A run on the candidate's values: the values computed, their noise, and the candidate's errors.

    ways: the changes that were made. multiples: the largest error of each value relative to its noise. levels: the root
    mean square of the errors relative to the noise. errors: the root mean square of the errors. sizes: the root mean
    square of the elements that are compared.
    """

    ways: tuple[Change, ...]
    setting: Setting
    computed: Mapping[str, Array]
    noise: Mapping[str, Array]
    multiples: Mapping[str, float]
    levels: Mapping[str, float]
    errors: Mapping[str, float]
    sizes: Mapping[str, float]
    bound: float

    @property
    def bad(self) -> list[str]:
        """Names of the values whose step is off by more than rounding error, in the order of computation."""
        return [name for name, multiple in self.multiples.items() if not multiple <= self.bound]

    @property
    def ok(self) -> bool:
        """True if every step is right."""
        return not self.bad

    @property
    def remaining(self) -> float:
        """The largest error of any step, as a multiple of its noise."""
        return max(self.multiples.values(), default=0.0)


class _OffError(Exception):
    """A value that must be right is off, so the run can stop."""


class _ReachedError(Exception):
    """The requested value has been computed."""

    def __init__(self, value: Array) -> None:
        self.value = value


@dataclass(frozen=True)
class Candidate:
    """A port's values, and the model that it should reproduce. Names are Roberta's.

    model, inputs: the reference in float64, and its inputs. quick: the model that mistakes are first tried on. bound:
    the multiple of the noise up to which an error counts as rounding. unit: the unit roundoff of the candidate's
    precision, as a multiple of float32's. unknown: names of values that are wrong for another reason. given: names of
    values whose layout `names` gives; they are in the reference's already.
    """

    model: Model
    quick: Model
    inputs: Mapping[str, object]
    values: Mapping[str, numpy.ndarray]
    kept: Kept
    bound: float
    unit: float = 1.0
    unknown: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()

    def setting(self, ways: Sequence[Change], quick: bool = False) -> Setting | None:
        """The reference with these changes; None if the last one changes nothing."""
        setting = Setting(self.quick if quick else self.model, self.inputs)
        if not ways:
            return setting
        before = reduce(lambda so_far, way: way.applied(so_far) or so_far, ways[:-1], setting)
        return ways[-1].applied(before)

    def judged(self, ways: Sequence[Change] = (), limits: Mapping[str, Array] | None = None) -> Judged | None:
        """The candidate compared with the changed model; None if a value is off by more than its limit."""
        setting = self.setting(ways)
        if setting is None:
            return None
        try:
            computed = self._run(setting, self._continued, limits)
        except _OffError:
            return None
        judged = [name for name in computed if name in self.values and name not in self.unknown]
        moved = {name: numpy.zeros(computed[name].shape) for name in judged}
        for seed in range(RUNS):
            wiggle = wiggled(self._continued, seed)
            other = self._run(setting._replace(inputs=with_numbers(setting.inputs, wiggle)), wiggle)
            with numpy.errstate(invalid="ignore"):  # of infinities, which the verdict is about
                moved = {name: numpy.fmax(most, abs(other[name] - computed[name])) for name, most in moved.items()}
        noise = {name: by_size(name, most, computed) * self._unit(setting, name) for name, most in moved.items()}
        off = {name: self._differences(name, computed[name]) for name in noise}
        relative = {name: multiple_of(off[name], noise[name]) for name in noise}
        multiples = {name: float(array.max(initial=0)) for name, array in relative.items()}
        levels, errors = ({name: usual(array) for name, array in arrays.items()} for arrays in (relative, off))
        sizes = {name: usual(numpy.where(self.kept(name, computed[name]), computed[name], 0.0)) for name in noise}
        return Judged(tuple(ways), setting, computed, noise, multiples, levels, errors, sizes, self.bound)

    def _unit(self, setting: Setting, name: str) -> float:
        return max(self.unit, EPS[setting.precision(name)] / EPS["float32"])

    def value(self, setting: Setting, name: str, limits: Mapping[str, Array]) -> Array | None:
        """A value of the setting's model; None if an earlier value is off by more than its limit."""

        def edit(other: str, value: Array) -> Array:
            if other == name:
                raise _ReachedError(value)
            return self._continued(other, value)

        try:
            return self._run(setting, edit, limits).get(name)
        except _ReachedError as reached:
            return reached.value
        except _OffError:
            return None

    def _run(self, setting: Setting, edit: Edit, limits: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Every value that the setting's model computes, mistakes included. The run continues with `edit`'s results."""
        computed: dict[str, Array] = {}
        seen: dict[str, Array] = {}

        def record(name: str, value: Array) -> Array:
            computed[name] = setting.edited(name, value, seen)
            if limits is not None and name in limits and not self.multiple(name, computed[name], limits[name]) <= 1:
                raise _OffError
            seen[name] = edit(name, computed[name])
            return seen[name]

        with recording(record), numpy.errstate(all="ignore"):
            output = setting.model(**setting.inputs)
        outputs = {name: value for name, value in output.items() if hasattr(value, "shape")}
        if NAME in outputs:
            outputs[NAME] = setting.edited(NAME, outputs[NAME], outputs)
        return computed | {name: value for name, value in outputs.items() if name not in computed}

    def _continued(self, name: str, value: Array) -> Array:
        """The candidate's value if there is one, otherwise the reference's."""
        array = self.laid_out(name, value)
        return value if array is None else self.kept.taken(name, array, value)

    def laid_out(self, name: str, value: Array) -> numpy.ndarray | None:
        """The candidate's value in the reference's layout; None if it is missing, or if no known layout fits."""
        array = self.values.get(name)
        if array is None or (array := for_each_row(name, array, value)).shape == value.shape:
            return array
        return arranged(array, value, self.model.config.num_attention_heads, self.kept(name, value))[0]

    def rearranged(self) -> "Candidate":
        """The same candidate, with values whose elements fit another order within their shape put in the reference's.

        As in `compare`, another order of the heads is a way of writing only if a later value is given.
        """
        values = dict(self.values)
        orders: dict[str, str] = {}

        def continued(name: str, value: Array) -> Array:
            if name in values and name not in self.given and values[name].shape == value.shape:
                kept = self.kept(name, value)
                array, orders[name] = arranged(values[name], value, self.model.config.num_attention_heads, kept)
                values[name] = values[name] if array is None else array
            return replace(self, values=values)._continued(name, value)

        self._run(Setting(self.model, self.inputs), continued)
        last = next(reversed(orders), "")
        if orders.get(last, "").startswith(REORDERED):
            values[last] = self.values[last]
        return replace(self, values=values) if any(orders.values()) else self

    def distance(self, name: str, value: Array) -> float:
        """The largest difference among the elements that are compared; in a large value, among some of them."""
        array = self.values.get(name)
        if value.size < PLENTY or array is None or array.shape != value.shape:
            return float(self._differences(name, value).max(initial=0))
        some, other = sampled(value), sampled(array)
        return float(differences(other, some, sampled(self.kept(name, value))).max(initial=0))

    def multiple(self, name: str, value: Array, noise: Array) -> float:
        """The largest difference as a multiple of its element's noise, or of the largest noise if the shapes differ."""
        noise = noise if noise.shape == value.shape else noise.max(initial=0)
        return float(multiple_of(self._differences(name, value), noise).max(initial=0))

    def _differences(self, name: str, value: Array) -> Array:
        """The error of each element; infinite if the candidate's value is missing or has no known layout."""
        array = self.laid_out(name, value)
        if array is None:
            return numpy.full(value.shape, math.inf)
        return all_differences(name, array, value, self.kept)


def sampled(array: Array) -> Array:
    """At most some ten thousand elements of an array, evenly spread."""
    return array.reshape(-1)[:: 1 + array.size // PLENTY]


def is_large(model: Model) -> bool:
    """True if a run in float64 takes so long that mistakes are first tried in float32."""
    return sum(array.size for array in flat(model.params).values()) >= LARGE


def kind_of(name: str) -> str:
    """A value's name with its layer number replaced by `*`, so that it is the same in all layers."""
    return re.sub(r"\d+", "*", name)


def layer_of(name: str) -> int | None:
    """The index of the layer that computes a value, or None outside the layers."""
    found = re.match(r"encoder\.layer\.(\d+)(\.|$)", name)
    return int(found[1]) if found else None
