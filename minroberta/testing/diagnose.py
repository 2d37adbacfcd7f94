"""Search for the known mistakes that explain a candidate's errors.

The reference makes each mistake of the catalogue in turn, and the candidate is compared with the result. Every step is
judged alone: a run continues with the candidate's values, so that no error is carried from one step to the next. A
mistake explains the candidate if, with it, every step is right up to rounding error.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import Array
from ..errors import Error, InputError
from ..inputs import given
from ..loading import Model
from ..model import ModelOutput
from ..trace import recording
from ..weights import flat
from .compare import Kept, differences, in_common, multiple_of, trace_of
from .layout import arranged
from .mistakes import PRECISIONS, Change, Mistake, Setting, catalogue
from .report import Report
from .result import Finding
from .runs import EPS, MASKED, RUNS, Edit, bound_of, by_size, exact, wiggled
from .values import Names, Values, under_our_names


def diagnose(
    model: Model, inputs: Mapping[str, Any], candidate: Values, *, names: Names | None = None
) -> list[Finding]:
    """Find the known mistakes that explain a port's errors, the best explanation first.

        for finding in diagnose(model, {"input_ids": ids}, read("port.npz")):
            print(finding.explanation, finding.fix)

    model: the reference. inputs: the inputs of the model and the port, by name. candidate, names: as for `compare`.
    Several findings without `on_top_of` are alternatives, which these inputs do not distinguish; the simplest comes
    first.

    A mistake is named if, with it, every step is right up to rounding error. If no single mistake suffices, two are
    named if together they suffice. A mistake that leaves some errors unexplained is named only if it corrects every
    value that it changes, or every wrong step other than the first and its counterparts in other layers. If no mistake
    is named, or if the port is right, the list is empty; `compare` says where the error begins.

    Raises InputError if the model does not accept the inputs, or if the model and the candidate share no name.
    """
    if not isinstance(model, Model) or not isinstance(inputs, Mapping):
        raise InputError(
            f"diagnose was given a {type(model).__name__} and a {type(inputs).__name__}: give a Model, a dict of its "
            "inputs, such as {'input_ids': ids}, and a port's values"
        )
    canonical = model.config.family.canonical_name
    values = {canonical(name): value for name, value in under_our_names(candidate, names, model.config.family).items()}
    port = _Port(exact(model), values, Kept(inputs))
    plain = port.judged(Setting(port.model, given(**inputs)))
    if plain is None:
        return []
    in_common(plain.computed, values)
    if plain.ok:
        return []
    return _explained(port, plain) or _explained_later(port, plain)


def explain(report: Report, reference: Any, candidate: Values, names: Names | None = None) -> Report:
    """The report, with the result of `diagnose` added if the candidate is wrong.

    It is added only if the candidate computes in float32, and the reference has a model.
    """
    trace, _ = trace_of(reference)
    if report.ok or trace is None or report.precision != "float32":
        return report
    return report.explained(diagnose(trace.model, trace.inputs, candidate, names=names))


def _explained(port: "_Port", plain: "_Judged") -> list[Finding]:
    """A single mistake and its alternatives, or else two mistakes, or else one that leaves errors unexplained."""
    trials, touching = _tried(port, plain)
    if complete := _complete(trials):
        return [_finding(trial) for trial in complete]
    trials.sort(key=lambda trial: len(trial.judged.bad))
    for first in trials[:FIRSTS]:
        if seconds := _complete(_tried(port, first.judged)[0]):
            return _pair(first, seconds)
    pair = next(_pairs(port, plain, touching), None)
    if pair is not None:
        return pair
    return [_finding(trial) for trial in trials[:1] if _is_certain(trial.judged, plain)]


def _explained_later(port: "_Port", plain: "_Judged") -> list[Finding]:
    """The mistakes that explain the later wrong steps.

    The first wrong step, and the same step in other layers, is left out of the comparison.
    """
    port = replace(port, unknown=frozenset(name for name in plain.bad if _kind(name) == _kind(plain.bad[0])))
    rest = port.judged(plain.setting)
    if rest is None or rest.ok:
        return []
    return [replace(finding, remaining=plain.remaining) for finding in _explained(port, rest)]


def _kind(name: str) -> str:
    """A value's name with its layer number replaced by `*`, so that it is the same in all layers."""
    return re.sub(r"\d+", "*", name)


FIRSTS = 6
"""Maximum number of changes that are tried with a second mistake. Each of them corrects the first bad value."""


def _complete(trials: Sequence["_Trial"]) -> list["_Trial"]:
    """The trials that explain all errors, simplest first. For each mistake, only the simplest trial is included."""
    best: dict[str, _Trial] = {}
    for trial in sorted((trial for trial in trials if trial.judged.ok), key=_simplest):
        best.setdefault(trial.mistake.name, trial)
    return list(best.values())


def _finding(trial: "_Trial", on_top_of: str | None = None) -> Finding:
    mistake = trial.mistake
    remaining = trial.judged.remaining
    return Finding(mistake.name, mistake.explanation, mistake.fix, remaining, on_top_of, mistake.seen_in)


def _pair(first: "_Trial", seconds: Sequence["_Trial"]) -> list[Finding]:
    together = _finding(_Trial(first.mistake, first.way, seconds[0].judged))
    return [together, *(_finding(second, first.mistake.name) for second in seconds)]


def _simplest(trial: "_Trial") -> tuple[int, float]:
    return trial.way.parts, round(trial.judged.remaining, 3)


def _is_certain(judged: "_Judged", plain: "_Judged") -> bool:
    """True if a mistake corrects every value that it changes, so that the other errors have a different cause."""
    return not any(_differs(judged.computed[name], plain.computed[name], plain.noise[name]) for name in judged.bad)


# --- the candidate and the reference --------------------------------------------------------------------------------


class _Judged(NamedTuple):
    """A run on the candidate's values: the values computed, their noise, and the port's errors relative to noise."""

    setting: Setting
    computed: Mapping[str, Array]
    noise: Mapping[str, Array]
    multiples: Mapping[str, float]
    bound: float

    @property
    def bad(self) -> list[str]:
        """Names of the values whose step is off by more than rounding error."""
        return [name for name, multiple in self.multiples.items() if not multiple <= self.bound]

    @property
    def ok(self) -> bool:
        return not self.bad

    @property
    def remaining(self) -> float:
        return max(self.multiples.values(), default=0.0)


class _OffError(Exception):
    """A value that must be right is off, so the run can stop."""


class _ReachedError(Exception):
    """The requested value has been computed."""

    def __init__(self, value: Array) -> None:
        self.value = value


@dataclass(frozen=True)
class _Port:
    """A candidate, and the model that it should reproduce. Names are Roberta's."""

    model: Model
    values: Mapping[str, numpy.ndarray]
    kept: Kept
    unknown: frozenset[str] = frozenset()  # names of values that are wrong for another reason

    @property
    def bound(self) -> float:
        keys = [array.shape[-1] for name, array in self.values.items() if array.ndim == 4]
        return bound_of(self.model.config, max(keys, default=0))

    def judged(self, setting: Setting, limits: Mapping[str, Array] | None = None) -> _Judged | None:
        """The candidate compared with the setting's model; None if a value is off by more than its limit."""
        try:
            computed = self._run(setting, self._continued, limits)
        except _OffError:
            return None
        judged = [name for name in computed if name in self.values and name not in self.unknown]
        moved = {name: numpy.zeros(computed[name].shape) for name in judged}
        for seed in range(RUNS):
            other = self._run(setting, wiggled(self._continued, seed))
            moved = {name: numpy.fmax(most, abs(other[name] - computed[name])) for name, most in moved.items()}
        noise = {name: by_size(name, most, computed[name]) * self._unit(setting, name) for name, most in moved.items()}
        multiples = {name: self._multiple(name, computed[name], noise[name]) for name in noise}
        return _Judged(setting, computed, noise, multiples, self.bound)

    def _unit(self, setting: Setting, name: str) -> float:
        """The unit roundoff of a value's precision, as a multiple of float32's."""
        return EPS[setting.precision(name)] / EPS["float32"]

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
            if limits is not None and name in limits and not self._multiple(name, computed[name], limits[name]) <= 1:
                raise _OffError
            seen[name] = edit(name, computed[name])
            return seen[name]

        with recording(record), numpy.errstate(all="ignore"):
            output = setting.model(**setting.inputs)
        outputs = {name: value for name, value in output.items() if hasattr(value, "shape")}
        return computed | {name: value for name, value in outputs.items() if name not in computed}

    def _continued(self, name: str, value: Array) -> Array:
        """The candidate's value if there is one, otherwise the reference's."""
        array = self._laid_out(name, value)
        return value if array is None else self.kept.taken(name, array, value)

    def _laid_out(self, name: str, value: Array) -> numpy.ndarray | None:
        """The candidate's value in the reference's layout; None if it is missing, or if no known layout fits."""
        array = self.values.get(name)
        if array is None or array.shape == value.shape:
            return array
        return arranged(array, value, self.model.config.num_attention_heads, self.kept(name, value))[0]

    def distance(self, name: str, value: Array) -> float:
        """The largest difference among the elements that are compared."""
        return float(self._differences(name, value).max(initial=0))

    def _multiple(self, name: str, value: Array, noise: Array) -> float:
        """The largest difference as a multiple of its element's noise, or of the largest noise if the shapes differ."""
        noise = noise if noise.shape == value.shape else noise.max(initial=0)
        return float(multiple_of(self._differences(name, value), noise).max(initial=0))

    def _differences(self, name: str, value: Array) -> Array:
        """The error of each element; infinite if the candidate's value is missing or has no known layout."""
        array = self._laid_out(name, value)
        return numpy.full(value.shape, math.inf) if array is None else differences(array, value, self.kept(name, value))


# --- trying mistakes ------------------------------------------------------------------------------------------------


class _Trial(NamedTuple):
    """A mistake, the change that makes it, and the result of the run with this change."""

    mistake: Mistake
    way: Change
    judged: _Judged


Way = tuple[Mistake, Change]

ROUGHLY = 100
"""Factor by which the bound is widened while the noise of the run with the mistake is not yet known."""


def _tried(port: _Port, before: _Judged) -> tuple[list[_Trial], list[Way]]:
    """Try all mistakes on the first bad value.

    Returns the trials that correct it and make no good value wrong, and all changes that affect it. Mistakes of
    precision are tried only if no other mistake explains everything.
    """
    trials, touching = _tried_of(port, before, [one for one in catalogue(port.model) if one not in PRECISIONS])
    if any(trial.judged.ok for trial in trials):
        return trials, touching
    rounded, more = _tried_of(port, before, PRECISIONS)
    return trials + rounded, touching + more


def _tried_of(port: _Port, before: _Judged, mistakes: Sequence[Mistake]) -> tuple[list[_Trial], list[Way]]:
    trials: list[_Trial] = []
    touching: list[Way] = []
    for mistake in mistakes:
        for way in mistake.ways:
            reached = _reaching(port, before, way) if _can_be(way, port, before) else None
            if reached:
                touching.append((mistake, way))
                judged = _righting(port, before, way, *reached)
                trials += [_Trial(mistake, way, judged)] if judged else []
    return trials, touching


def _reaching(port: _Port, before: _Judged, way: Change) -> tuple[Setting, Array] | None:
    """The setting with one more mistake, and the first bad value computed with it; None if that value is unchanged."""
    first = before.bad[0]
    setting = _with(way, before.setting)
    if setting is None or not _may_reach(port, before, way, setting):
        return None
    value = _or_none(lambda: port.value(setting, first, _limits(port, before)))
    if value is None or not (way.rounded or _differs(value, before.computed[first], before.noise[first])):
        return None
    return setting, value


def _may_reach(port: _Port, before: _Judged, way: Change, setting: Setting) -> bool:
    """False if the change certainly has no effect on the first bad value.

    Since a run continues from the candidate's values, a change can have an effect only after the last candidate value
    that precedes the first bad value. For parameters and edits, this is known without a run. If the first bad value is
    an output of the model, it repeats an earlier value, and any change may affect it.
    """
    if way.config or way.inputs or way.rounded or before.bad[0] in ModelOutput.__annotations__:
        return True
    names = list(before.computed)
    end = names.index(before.bad[0]) + 1
    start = max((i for i, name in enumerate(names[: end - 1]) if name in port.values), default=-1) + 1
    old, new = flat(before.setting.model.params), flat(setting.model.params)
    modules = {name.rpartition(".")[0] for name in new if new[name] is not old[name]}
    edited = any(re.fullmatch(pattern, name) for pattern in way.values for name in names[start:end])
    return edited or any(module in names[start:end] or module not in before.computed for module in modules)


def _righting(port: _Port, before: _Judged, way: Change, setting: Setting, value: Array) -> _Judged | None:
    """The complete run if it corrects the first bad value and makes no good value wrong, otherwise None."""
    first = before.bad[0]
    if not way.rounded and 2 * port.distance(first, value) > port.distance(first, before.computed[first]):
        return None
    judged = _or_none(lambda: port.judged(setting, _limits(port, before)))
    if judged is None or not judged.multiples.keys() >= before.multiples.keys():
        return None
    return None if {first, *_limits(port, before)} & set(judged.bad) else judged


def _with(way: Change, setting: Setting) -> Setting | None:
    """The setting with one more mistake; None if that changes nothing, or the resulting model is invalid."""
    return _or_none(lambda: way.applied(setting))


def _or_none(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Error:
        return None


def _limits(port: _Port, before: _Judged) -> dict[str, Array]:
    """Limits for the errors of good values, beyond which a mistake is rejected."""
    bad = set(before.bad)
    return {name: ROUGHLY * port.bound * noise for name, noise in before.noise.items() if name not in bad}


EFFORT = 2e10
"""Limit on the number of pairs to try times the number of parameters. That much work takes about a minute."""


def _pairs(port: _Port, before: _Judged, touching: Sequence[Way]) -> Iterator[list[Finding]]:
    """Pairs of mistakes that both change the first bad value and together explain everything.

    Yields nothing if trying all pairs would take minutes.
    """
    pairs = list(itertools.combinations(touching, 2))
    if len(pairs) * sum(array.size for array in flat(port.model.params).values()) > EFFORT:
        return
    for (one, way), (other, more) in pairs:
        if one.name.split("-")[0] == other.name.split("-")[0]:
            continue  # variants of one mistake: a port makes at most one of them
        setting = _with(way, before.setting)
        found = setting and _reaching(port, before._replace(setting=setting), more)
        both = found and _righting(port, before, more, *found)
        if both and both.ok:
            yield _pair(_Trial(one, way, both), [_Trial(other, more, both)])


def _differs(value: Array, other: Array, noise: Array) -> bool:
    """True if the values differ by more than the noise, or have different shapes or NaN at different elements."""
    if value.shape != other.shape or (numpy.isnan(value) != numpy.isnan(other)).any():
        return True
    with numpy.errstate(all="ignore"):
        return bool(((abs(value - other) > noise) & (abs(value - other) < MASKED)).any())


# --- half precision -------------------------------------------------------------------------------------------------


def _can_be(way: Change, port: _Port, before: _Judged) -> bool:
    """True if the rounding to half precision that the change makes can explain the bad values.

    It can if all bad values that the change rounds to a half-precision type are exactly representable in that type, but
    not all in a coarser one. Errors of this size may come from any mistake, but it cannot be by chance that all values
    end in zero bits.
    """
    for pattern, dtype in way.rounded.items():
        off = [port.values[name] for name in before.bad if re.fullmatch(pattern, name)]
        coarser = dtype == "float16" and all(_holds("bfloat16", array) for array in off)
        if coarser or not all(_holds(dtype, array) for array in off):
            return False
    return True


def _holds(dtype: str, array: numpy.ndarray) -> bool:
    """True if every finite element is exactly representable in the dtype, which is float16 or bfloat16."""
    numbers = array[numpy.isfinite(array)].astype(numpy.float32)
    if dtype == "bfloat16":
        return not (numbers.view(numpy.uint32) & 0xFFFF).any()
    with numpy.errstate(over="ignore"):
        return bool((numbers.astype(numpy.float16) == numbers).all())
