"""Search for the known mistakes that explain a candidate's errors.

The reference makes each mistake of the catalogue in turn, and the candidate is compared with the result. Every step is
judged alone: a run continues with the candidate's values, so that no error is carried from one step to the next. A
mistake explains the candidate if, with it, every step is right up to rounding error.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import to_host
from ..errors import Error, InputError
from ..inputs import given
from ..loading import Model
from ..model import ModelOutput
from ..text.running import progress
from ..weights import flat
from .candidate import PLENTY, Candidate, Judged, is_large, kind_of, sampled
from .changes import Change, Setting, to_bits
from .compare import SHARE, SUSPICIOUS, Kept, check_precision, given_layouts, in_common, trace_of
from .mistakes import PRECISIONS, Mistake, catalogue
from .partly import heads_reordered, in_words, layers_reordered, rows_reordered, sets_of_layers, within
from .pooling import NAME, Pooled
from .report import Report
from .result import Finding, Findings
from .runs import EPS, MASKED, bound_of, exact, run
from .values import Names, Values, under_our_names

LIMIT = 30.0
"""Number of seconds after which a search ends, unless the caller sets another limit."""


def diagnose(
    model: Model,
    inputs: Mapping[str, Any],
    candidate: Values,
    *,
    names: Names | None = None,
    precision: str = "float32",
    packed: Any = None,
    limit: float = LIMIT,
) -> Findings:
    """Find the known mistakes that explain a port's errors, the best explanation first.

        for finding in diagnose(model, {"input_ids": ids}, read("port.npz")):
            print(finding)

    model: the reference. inputs: the inputs of the model and the port, by name. candidate, names, precision, packed: as
    for `compare`. limit: the time in seconds after which the search ends. `Findings` is a list that also says what has
    not been tried.

    Several findings without `on_top_of` are alternatives, which these inputs do not distinguish; the simplest comes
    first. A mistake is named if, with it, every step is right up to rounding error, or if this holds together with
    other named mistakes. The mistake may concern some of the layers only. A mistake that leaves errors unexplained is
    named only if it corrects every value that it changes, and the finding says what remains. Mistakes of precision are
    tried last. If no mistake is named, or if the port is right, the list is empty; `compare` says where the error
    begins.

    Raises InputError if the model does not accept the inputs, or if the model and the candidate share no name.
    """
    check_call("diagnose", model, inputs, precision, limit)
    end = time.monotonic() + limit
    port = _candidate(model, inputs, candidate, names, EPS[precision] / EPS["float32"], packed)
    plain = port.judged()
    if plain is None:
        return Findings()
    in_common(plain.computed, port.values)
    other = port if plain.ok else port.rearranged()
    rearranged = plain if other is port else other.judged()
    if rearranged is None or (rearranged.ok and not plain.ok):
        return Findings()
    with progress(None, "mistakes") as advance:
        clock = Clock(end, advance)
        if plain.ok and plain.remaining > SUSPICIOUS and set(port.values) <= {*ModelOutput.__annotations__, NAME}:
            port, plain = replace(port, bound=SUSPICIOUS), plain._replace(bound=SUSPICIOUS)
        either = [(port, plain), *([] if other is port else [(other, rearranged)])]
        findings = [] if plain.ok else _of_either_order(either, clock)
    return Findings(findings, clock.left_out, _hint(plain, findings))


def check_call(name: str, model: Any, inputs: Any, precision: str, limit: float) -> None:
    """Raise InputError for arguments that neither `diagnose` nor `diagnose_gradients`, whichever it is, can take."""
    if not isinstance(model, Model) or not isinstance(inputs, Mapping):
        raise InputError(
            f"{name} was given a {type(model).__name__} and a {type(inputs).__name__}: give a Model, a dict of its "
            f"inputs, such as {{'input_ids': ids}}, and a port's {'values' if name == 'diagnose' else 'gradients'}"
        )
    check_precision(precision)
    if not limit >= 0:
        raise InputError(f"limit must be a number of seconds, not {limit!r}")


def _of_either_order(either: list[tuple[Candidate, Judged]], clock: "Clock") -> list[Finding]:
    """The findings for the values as they are, or in the reference's order if their elements fit another one.

    Only the steps after such a value tell whether a port also computes with that order. So the first explanation that
    leaves no error counts, and otherwise that of the order with fewer errors.
    """
    likely = sorted(either, key=lambda one: len(one[1].bad))
    found = []
    for port, plain in likely:
        found.append(_explained(_Search(port, clock), plain))
        if found[-1] and not found[-1][0].left:
            return found[-1]
    return found[0]


def _candidate(
    model: Model, inputs: Mapping[str, Any], values: Values, names: Names | None, unit: float = 1.0, packed: Any = None
) -> Candidate:
    canonical = model.config.family.canonical_name
    theirs = under_our_names(values, names, model.config.family)
    model = Pooled.of(model) if NAME in theirs and model.head == "encoder" else model
    precise, inputs = exact(model), given(**inputs)
    known = given_layouts(theirs, run(precise, inputs), model.config) if theirs.layouts else {}
    named = {canonical(name): known[name][0] if name in known else array for name, array in theirs.items()}
    quick = model if is_large(model) else precise
    keys = max((array.shape[-1] for array in named.values() if array.ndim == 4), default=0)
    kept, bound, names_known = Kept(inputs, packed), bound_of(model.config, keys), frozenset(map(canonical, known))
    return Candidate(precise, quick, inputs, named, kept, bound, unit, given=names_known)


def explain(
    report: Report,
    reference: Any,
    candidate: Values,
    names: Names | None = None,
    packed: Any = None,
    limit: float = LIMIT,
) -> Report:
    """The report, with the result of `diagnose` added if the candidate is wrong and the reference has a model."""
    trace, _ = trace_of(reference)
    if report.ok or trace is None:
        return report
    how: dict[str, Any] = {"names": names, "precision": report.precision, "packed": packed, "limit": limit}
    return report.explained(diagnose(trace.model, trace.inputs, candidate, **how))


def _hint(plain: Judged, findings: Sequence[Finding]) -> str:
    """A sentence if every step is right in a lower precision, and no mistake explains all errors; otherwise ""."""
    if plain.ok or any(not finding.left for finding in findings):
        return ""
    for dtype in ("float16", "bfloat16"):
        unit = EPS[dtype] / EPS["float32"]
        small = plain.remaining <= unit * plain.bound and max(plain.levels.values()) <= unit * LEVEL
        if small and _are_close(plain, plain.multiples):
            return f"if the port computes in {dtype}, pass precision={dtype!r}: every step is within its rounding error"
    return ""


# --- the search -----------------------------------------------------------------------------------------------------


class _Trial(NamedTuple):
    """A mistake, the change that makes it, the result of the run with this change, and which layers it concerns."""

    mistake: Mistake
    way: Change
    judged: Judged
    where: str = ""


Way = tuple[Mistake, Change]
Chain = list[list[_Trial]]
"""For each mistake of an explanation its trials. Several trials are alternatives."""


@dataclass
class Clock:
    """The time that is left, and what was left out when it ran out."""

    end: float
    advance: Callable[[int], Any]
    left_out: list[str] = field(default_factory=list)

    def limited(self, items: Iterable[Any], what: str) -> Iterator[Any]:
        """The items, until the time is up. what: the items in words, to say that they were not all tried."""
        for item in items:
            if time.monotonic() > self.end:
                self.left_out += [] if what in self.left_out else [what]
                return
            yield item
            self.advance(1)


@dataclass
class _Search:
    """A search for the mistakes of one candidate.

    tried: the trials after each sequence of changes. effects: the changes tried after it, with what they change.
    """

    candidate: Candidate
    clock: Clock
    tried: dict[tuple, list[_Trial]] = field(default_factory=dict)
    effects: dict[tuple, list[tuple[Way, numpy.ndarray]]] = field(default_factory=dict)

    def without(self, names: Iterable[str]) -> "_Search":
        """The same search, in which these values are not judged."""
        return _Search(replace(self.candidate, unknown=self.candidate.unknown | set(names)), self.clock)

    def of_precision(self, unit: float) -> "_Search":
        return _Search(replace(self.candidate, unit=unit), self.clock)

    def single(self, before: Judged) -> list[_Trial]:
        """Try changes kind by kind, until one explains everything. Returns all trials so far.

        Each corrects the first bad value, and makes no good value wrong.
        """
        key = before.ways
        if key not in self.tried:
            self.tried[key] = trials = []
            precise = [] if self.candidate.unit > 1 else [self._of_precision]
            for kind in (self._whole, self._of_some_layers, self._reordered, *precise):
                trials += kind(before)
                if any(trial.judged.ok for trial in trials):
                    break
        return self.tried[key]

    def _whole(self, before: Judged) -> list[_Trial]:
        formulas = [one for one in catalogue(self.candidate.model) if one not in PRECISIONS]
        likely = sorted(formulas, key=lambda one: not one.seen_in)  # if the time is short, those seen in real ports
        trials = self._all(before, ((one, way) for one in likely for way in one.ways), "mistakes of all layers")
        return sorted(trials, key=lambda trial: formulas.index(trial.mistake))

    def _of_precision(self, before: Judged) -> list[_Trial]:
        ways = [(one, way) for one in PRECISIONS for way in one.ways]
        return self._all(before, ways, "mistakes of precision")

    def _of_some_layers(self, before: Judged) -> list[_Trial]:
        count = self.candidate.model.config.num_hidden_layers
        trials = []
        for layers in sets_of_layers(self.candidate, before):
            where = in_words(layers, count)
            ways = [
                (one, some)
                for one in catalogue(self.candidate.model)
                for way in one.ways
                if (some := within(way, layers)) is not None
            ]
            trials += [trial._replace(where=where) for trial in self._all(before, ways, "mistakes of some layers")]
        return trials

    def _reordered(self, before: Judged) -> list[_Trial]:
        found = (
            (one, way)
            for kind in (rows_reordered, heads_reordered, layers_reordered)
            for one in kind(self.candidate, before)
            for way in one.ways
        )
        return self._all(before, found, "layers, heads or rows in another order")

    def _all(self, before: Judged, ways: Iterable[Way], what: str) -> list[_Trial]:
        effects = self.effects.setdefault(before.ways, [])
        trials = []
        for mistake, way in self.clock.limited(ways, what):
            value = self._reached(before, way) if _can_be(way, self.candidate, before.bad) else None
            if value is not None:
                effects.append(((mistake, way), self._effect(before, value)))
                judged = self._righted(before, way, value)
                trials += [_Trial(mistake, way, judged)] if judged else []
        return trials

    def _effect(self, before: Judged, value: numpy.ndarray) -> numpy.ndarray:
        """The change that a mistake makes to the first bad value: at most some thousand of its elements."""
        other = before.computed[before.bad[0]]
        if value.shape != other.shape:
            return numpy.zeros(0)
        step = 1 + value.size // SAMPLE
        with numpy.errstate(all="ignore"):
            return numpy.nan_to_num((value - other).reshape(-1)[::step]).clip(-MASKED, MASKED)

    def _reached(self, before: Judged, way: Change) -> numpy.ndarray | None:
        """The first bad value, computed with one more mistake; None if that leaves it unchanged."""
        first = before.bad[0]
        old = self.candidate.setting(before.ways, quick=True)
        setting = _or_none(lambda: self.candidate.setting([*before.ways, way], quick=True))
        if setting is None or old is None or not _may_reach(self.candidate, before, way, old, setting):
            return None
        value = _or_none(lambda: self.candidate.value(setting, first, _limits(before)))
        if value is None:
            return None
        arrays = value, before.computed[first], before.noise[first]
        alike = value.shape == arrays[1].shape and value.size >= PLENTY
        differs = _differs(*map(sampled, arrays)) if alike else _differs(*arrays)
        return value if way.rounded or differs else None

    def _righted(self, before: Judged, way: Change, value: numpy.ndarray) -> Judged | None:
        """The complete run if it corrects the first bad value and makes no good value wrong, otherwise None."""
        first = before.bad[0]
        if not way.rounded and not 2 * self.candidate.distance(first, value) <= self.candidate.distance(
            first, before.computed[first]
        ):
            return None
        judged = _or_none(lambda: self.candidate.judged([*before.ways, way], _limits(before)))
        if judged is None or not _has_all(judged, before) or not _is_convincing(judged, before, way):
            return None
        return None if {first, *_limits(before)} & set(judged.bad) else judged

    def pair(self, before: Judged) -> Chain | None:
        """Two mistakes that both change the first bad value, and together explain everything.

        They are tried in the order of the error that would be left if their effects simply added up.
        """
        effects = [
            (way, effect)
            for way, effect in self.effects.get(before.ways, ())
            if effect.size and way[0] not in PRECISIONS and (way[1].values or not way[1].rounded)
        ]
        error = self._error(before)
        if not effects or error is None:
            return None
        ranked = _ranked(error, [effect for _, effect in effects])[:PAIRS]
        for i, j in self.clock.limited(ranked, "pairs of mistakes"):
            one, other = effects[i][0], effects[j][0]
            kinds = {way[0].name.split("-")[0] for way in (one, other)}
            if len(kinds) == 1 and kinds <= VARIANTS:
                continue  # a port makes at most one of them
            found = self._both(before, one, other)
            if found:
                return found
        return None

    def _error(self, before: Judged) -> numpy.ndarray | None:
        """The candidate's error in the first bad value, as an effect; None if it is not known or not finite."""
        computed = before.computed[before.bad[0]]
        array = self.candidate.laid_out(before.bad[0], computed)
        if array is None or not numpy.isfinite(array).all():
            return None
        return self._effect(before, self.candidate.kept.taken(before.bad[0], array, computed))

    def _both(self, before: Judged, one: Way, other: Way) -> Chain | None:
        """Two mistakes if they explain everything: the best in place of the first, and all in place of the second."""
        with_one = before._replace(ways=(*before.ways, one[1]))
        value = self._reached(with_one, other[1])
        both = None if value is None else self._righted(with_one, other[1], value)
        if both is None or not both.ok:
            return None
        firsts = self._beside(other, before)
        first = firsts[0] if firsts else _Trial(*one, both)
        seconds = self._beside((first.mistake, first.way), before)
        if not (firsts and seconds) and (one[1].rounded or other[1].rounded):
            return None  # the wide bound of a rounded value explains the rest, not that mistake
        return [[first], seconds or [_Trial(*other, both)]]

    def _beside(self, known: Way, before: Judged) -> list[_Trial]:
        """The mistakes that explain everything together with a known one."""
        with_known = self.candidate.judged([*before.ways, known[1]])
        return _complete(self.single(with_known)) if with_known and not with_known.ok else []


def _ranked(error: numpy.ndarray, effects: Sequence[numpy.ndarray]) -> list[tuple[int, int]]:
    """Pairs of effects, ordered by |error - a - b|², the smallest first."""
    alike = [effect if effect.shape == error.shape else numpy.zeros(error.shape) for effect in effects]
    stack = numpy.stack(alike).astype(float)  # (N, n)
    products, with_error = stack @ stack.T, stack @ error
    squares = numpy.diag(products)
    rest = squares[:, None] + squares[None, :] + 2 * products - 2 * with_error[:, None] - 2 * with_error[None, :]
    i, j = numpy.triu_indices(len(alike), 1)
    order = rest[i, j].argsort(kind="stable")
    return list(zip(i[order].tolist(), j[order].tolist(), strict=True))


SAMPLE = 4096
"""Maximum number of elements of an effect that are kept."""

VARIANTS = {"eps", "gelu", "positions", "pooling"}
"""First words of the names of mistakes that exclude each other."""

PAIRS = 150
"""Maximum number of pairs of mistakes that are tried."""

FIRSTS = 6
"""Maximum number of mistakes that are tried with further ones. Each of them corrects the first bad value."""

DEPTH = 2
"""Maximum number of mistakes that are added to a first one."""


def _explained(search: _Search, plain: Judged) -> list[Finding]:
    """Mistakes that explain everything together, or else those that are certain although errors remain."""
    chain = _chain(search, plain, DEPTH) or search.pair(plain) or _in_half_precision(search, plain)
    if chain:
        chain[:-1] = [[trials[0]._replace(judged=chain[-1][0].judged)] for trials in chain[:-1]]
        return [_finding(trial, before, plain, ()) for before, trials in _befores(chain) for trial in trials]
    return _in_part(search, plain)


def _befores(chain: Chain) -> Iterator[tuple[str | None, list[_Trial]]]:
    """Each mistake's trials, with the name of the mistake before it."""
    before = None
    for trials in chain:
        yield before, trials
        before = trials[0].mistake.name


def _chain(search: _Search, before: Judged, depth: int) -> Chain | None:
    """Mistakes that together explain everything: one with its alternatives, or several."""
    trials = search.single(before)
    if complete := _complete(trials):
        return [complete]
    formulas = [trial for trial in trials if trial.mistake not in PRECISIONS]
    firsts = sorted(formulas, key=lambda trial: (len(trial.judged.bad), _simplest(trial)))[:FIRSTS] if depth else []
    for first in firsts:
        if seconds := _complete(search.single(first.judged)):
            return [[first], seconds]
    for first in firsts[:1]:
        if rest := _chain(search, first.judged, depth - 1):
            return [[first], *rest]
    return None


def _in_half_precision(search: _Search, plain: Judged) -> Chain | None:
    """Mistakes of a port whose wrong values are all exactly representable in a half-precision type."""
    for mistake in PRECISIONS:
        for way in mistake.ways:
            if way.rounded and _can_be(way, search.candidate, plain.multiples):
                unit = max(EPS[dtype] for dtype in way.rounded.values()) / EPS["float32"]
                halved = search.of_precision(unit)
                before = halved.candidate.judged()
                rest = _chain(halved, before, 1) if before and not before.ok else None
                if rest:
                    return [[_Trial(mistake, way, rest[-1][0].judged)], *rest]
    return None


STEPS = 4
"""Maximum number of mistakes that are named beside unknown ones."""


def _in_part(search: _Search, plain: Judged) -> list[Finding]:
    """Mistakes that are certain, although other errors remain.

    A value whose error no known mistake explains is left out of the comparison, with its counterparts in other layers.
    """
    found: list[_Trial] = []
    before = plain
    for _ in search.clock.limited(range(STEPS), "mistakes beside unknown ones"):
        trials = search.single(before)
        certain = [trial for trial in trials if trial.judged.ok or _is_certain(trial.judged, before)]
        if certain:
            found.append(min(certain, key=lambda trial: (len(trial.judged.bad), _simplest(trial))))
            before = found[-1].judged
        else:
            first = kind_of(before.bad[0])
            search = search.without(name for name in before.bad if kind_of(name) == first)
            judged = search.candidate.judged(before.ways)
            if judged is None:
                break
            before = judged
        if before.ok:
            break
    left = tuple(name for name in plain.bad if name in search.candidate.unknown or name in before.bad)
    names = [None, *(trial.mistake.name for trial in found)]
    return [_finding(trial, on_top_of, plain, left) for trial, on_top_of in zip(found, names, strict=False)]


def _finding(trial: _Trial, on_top_of: str | None, plain: Judged, left: tuple[str, ...]) -> Finding:
    mistake, remaining = trial.mistake, plain.remaining if left else trial.judged.remaining
    explanation = f"{mistake.explanation} This happens {trial.where}." if trial.where else mistake.explanation
    return Finding(mistake.name, explanation, mistake.fix, remaining, on_top_of, mistake.seen_in, left, len(plain.bad))


# --- judging a trial ------------------------------------------------------------------------------------------------


def _complete(trials: Sequence[_Trial]) -> list[_Trial]:
    """The trials that explain all errors, simplest first. For each mistake, only the simplest trial is included.

    A trial that leaves far larger errors than the best one is left out, although they are within the bound.
    """
    best: dict[str, _Trial] = {}
    for trial in sorted((trial for trial in trials if trial.judged.ok), key=_simplest):
        best.setdefault(trial.mistake.name, trial)
    least = min((_level(trial) for trial in best.values()), default=0.0)
    return [trial for trial in best.values() if _level(trial) <= max(1.0, 4 * least)]


def _level(trial: _Trial) -> float:
    return max(trial.judged.levels.values(), default=0.0)


def _simplest(trial: _Trial) -> tuple[int, float]:
    return trial.way.parts, float(f"{trial.judged.remaining:.1g}")  # of equals, the first in the catalogue


LEVEL = 4.0
"""Limit on the root mean square of the errors relative to the noise, for values of half precision."""

REDUCED = 8.0
"""Factor by which a mistake that itself adds noise must reduce the error of each value that was wrong."""


def _is_convincing(judged: Judged, before: Judged, way: Change) -> bool:
    """False if values are right only through a tolerance that the mistake itself brings.

    A mistake such as rounding to TF32 makes the results noisy, so that nearly every error is within the noise. So the
    errors must also be within the noise without the mistake, or far smaller than they were. Only of a model that
    computes in half precision throughout, errors have the size of its rounding, which no reference repeats exactly.
    """
    if way.rounded and not way.values:
        good = [name for name in judged.multiples if name not in judged.bad]
        return all(judged.levels[name] <= LEVEL for name in good) and _are_close(judged, good)
    return all(_is_reduced(name, judged, before) for name in judged.multiples if name in before.noise)


def _are_close(judged: Judged, names: Iterable[str]) -> bool:
    """True if the errors of these values are small compared with the values themselves.

    Otherwise any output is within the rounding errors of half precision: see `compare.SHARE`.
    """
    return all(judged.errors[name] <= SHARE * judged.sizes[name] for name in names)


def _is_reduced(name: str, judged: Judged, before: Judged) -> bool:
    noise, usual = (float(run.noise[name].max(initial=0)) for run in (judged, before))
    return noise <= BROUGHT * usual or judged.errors[name] <= max(usual, before.errors[name] / REDUCED)


BROUGHT = 4.0
"""Factor by which a mistake may raise the noise without having to explain more than the noise."""


def _has_all(judged: Judged, before: Judged) -> bool:
    """False if the changed model lacks a value that the candidate has, other than a sum."""
    return all(name in judged.multiples or name.endswith(".sum") for name in before.multiples)


def _is_certain(judged: Judged, before: Judged) -> bool:
    """True if a mistake corrects every value that it changes, so that the other errors have a different cause."""
    return not any(_differs(judged.computed[name], before.computed[name], before.noise[name]) for name in judged.bad)


def _limits(before: Judged) -> dict[str, Any]:
    """Limits for the errors of good values, beyond which a mistake is rejected."""
    bad = set(before.bad)
    return {name: ROUGHLY * before.bound * noise for name, noise in before.noise.items() if name not in bad}


ROUGHLY = 100
"""Factor by which the bound is widened while the noise of the run with the mistake is not yet known."""


def _may_reach(port: Candidate, before: Judged, way: Change, old: Setting, setting: Setting) -> bool:
    """False if the change certainly has no effect on the first bad value.

    Since a run continues from the candidate's values, a change can have an effect only after the last candidate value
    that precedes the first bad value. For parameters and edits, this is known without a run. If the first bad value is
    an output of the model, it repeats an earlier value, and any change may affect it. Inputs and parameters that are
    equal to the old ones have no effect at all.
    """
    if not _changes_something(way, old, setting):
        return False
    if way.config or way.inputs or way.rounded or before.bad[0] in {*ModelOutput.__annotations__, NAME}:
        return True
    names = list(before.computed)
    end = names.index(before.bad[0]) + 1
    start = max((i for i, name in enumerate(names[: end - 1]) if name in port.values), default=-1) + 1
    modules = {name.rpartition(".")[0] for name in _new_params(old, setting)}
    edited = any(re.fullmatch(pattern, name) for pattern in way.values for name in names[start:end])
    return edited or any(module in names[start:end] or module not in before.computed for module in modules)


def _changes_something(way: Change, old: Setting, setting: Setting) -> bool:
    """False if the way changes inputs or parameters alone, and all of these are equal to the old ones."""
    if way.config or way.values or way.rounded:
        return True
    return bool(_new_params(old, setting)) or any(
        not _equal(old.inputs.get(name), setting.inputs.get(name)) for name in {*old.inputs, *setting.inputs}
    )


def _equal(x: Any, y: Any) -> bool:
    """True if two inputs or parameters are the same array, or none."""
    return x is y or (x is not None and y is not None and numpy.array_equal(to_host(x), to_host(y)))


def _new_params(old: Setting, setting: Setting) -> list[str]:
    """Names of the parameters that differ."""
    before, after = flat(old.model.params), flat(setting.model.params)
    return [name for name, array in after.items() if not _equal(array, before.get(name))]


def _or_none(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Error:
        return None


def _differs(value: Any, other: Any, noise: Any) -> bool:
    """True if the values differ by more than the noise, in their shapes, or in the places of NaN or masked scores."""
    if value.shape != other.shape or (numpy.isnan(value) != numpy.isnan(other)).any():
        return True
    masked = abs(value) >= MASKED
    if (masked != (abs(other) >= MASKED)).any():
        return True
    with numpy.errstate(all="ignore"):
        return bool(((abs(value - other) > noise) & ~masked).any())


# --- half precision -------------------------------------------------------------------------------------------------


def _can_be(way: Change, port: Candidate, names: Iterable[str]) -> bool:
    """True if the rounding to half precision that the change makes can explain the errors of these values.

    It can if all of them that the change rounds to a half-precision type are exactly representable in that type, but
    not all in a coarser one. Errors of this size may come from any mistake, but it cannot be by chance that all values
    end in zero bits. Integers and zeros are representable too, but come from elsewhere. Another formula whose result is
    rounded may be known by later values alone.
    """
    for pattern, dtype in way.rounded.items():
        if way.values and not any(re.fullmatch(pattern, name) for name in port.values):
            continue
        off = [port.values[name] for name in names if re.fullmatch(pattern, name)]
        coarser = all(_holds("bfloat16" if dtype == "float16" else "coarse", array) for array in off)
        if coarser or not all(_holds(dtype, array) for array in off):
            return False
    return True


COARSE = to_bits(4)
"""Rounding to so few bits that numbers of bfloat16 seldom have no more: three bits of their mantissa are 0 then."""


def _holds(dtype: str, array: numpy.ndarray) -> bool:
    """True if every finite element is exactly representable in the dtype: float16, bfloat16, or coarse for COARSE."""
    numbers = array[numpy.isfinite(array)].astype(numpy.float32)
    if dtype == "coarse":
        return bool((COARSE(numbers) == numbers).all())
    if dtype == "bfloat16":
        return not (numbers.view(numpy.uint32) & 0xFFFF).any()
    with numpy.errstate(over="ignore"):
        return bool((numbers.astype(numpy.float16) == numbers).all())
