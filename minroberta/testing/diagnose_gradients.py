"""Search for the known mistakes that explain a port's gradients.

The reference makes each mistake of the catalogue in turn in its own backward pass. A mistake explains the port if, with
it, every gradient agrees up to rounding error.
"""

import itertools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import Array
from ..errors import Error, InputError
from ..inputs import Inputs
from ..loading import Model
from ..text.running import progress
from .changes import Setting
from .compare import laid_out
from .diagnose import DEPTH, FIRSTS, LIMIT, ROUGHLY, Clock, check_call
from .gradient_mistakes import catalogue, of_both_passes
from .gradients import BackwardChange, Gradients, backward_pass, noise_of, reference_gradients
from .mistakes import Mistake
from .report import Report
from .result import Finding, Findings
from .runs import EPS
from .sentences import LAYER
from .values import Names, Values


def diagnose_gradients(
    model: Model,
    inputs: Mapping[str, Any],
    gradients: Values,
    labels: Any = None,
    *,
    names: Names | None = None,
    precision: str = "float32",
    limit: float = LIMIT,
) -> Findings:
    """Find the known mistakes that explain a port's gradients, the best explanation first.

        found = {name: p.grad for name, p in port.named_parameters() if p.grad is not None}
        for finding in diagnose_gradients(model, inputs, found, labels):
            print(finding)

    model, inputs, labels: as for `reference_gradients`. gradients: gradients of parameters, of the values that `trace`
    names, or both; those of parameters alone are enough. names: as for `compare`. precision: the dtype in which the
    port computes, float32 or float64. limit: the time in seconds after which the search ends. The result is that of
    `diagnose`.

    This is a function beside `diagnose` because the gradient of a value has the value's name: the names do not tell
    which of the two a port gives. A mistake is named if, with it, all given gradients agree up to rounding error, or if
    they do together with other named mistakes. Several findings without `on_top_of` are alternatives, which these
    gradients do not distinguish. Mistakes of the forward pass are tried too, if they consist of another configuration
    or other inputs. If all gradients are wrong by the same factor, a finding says so, beside those of mistakes that are
    such a factor; a factor of some gradients is named if no mistake explains them. A mistake of some of the layers is
    not searched for. If nothing is named, or the port is right, the list is empty.

    Raises InputError as `reference_gradients` and `compare` do.
    """
    check_call("diagnose_gradients", model, inputs, precision, limit)
    if precision not in PRECISIONS:
        raise InputError(
            f"mistakes cannot be distinguished from rounding in {precision}: compute gradients in "
            f"{', '.join(PRECISIONS)}"
        )
    end = time.monotonic() + limit
    reference = reference_gradients(model, inputs, labels, intermediates=True)
    canonical = model.config.family.canonical_name
    theirs = {canonical(name): array for name, array in laid_out(reference, gradients, names).items()}
    noise = {canonical(name): most for name, most in reference.noise.items()}
    with progress(None, "mistakes") as advance, numpy.errstate(all="ignore"):  # a mistake may divide by 0
        clock = Clock(end, advance)
        search = _Search(reference, theirs, noise, EPS[precision] / EPS["float32"], clock)
        plain = search.judged(())
        chain = _chain(search, plain, DEPTH) if plain.bad else []
    befores = [None, *(trials[0].mistake.name for trials in chain)]
    found = [_finding(trial, before, plain) for before, trials in zip(befores, chain, strict=False) for trial in trials]
    return Findings(found, clock.left_out)


def explain_gradients(report: Report, reference: Gradients, candidate: Values, names: Names | None = None) -> Report:
    """The report, with the result of `diagnose_gradients` added if the port is wrong."""
    if report.ok or report.precision not in PRECISIONS:
        return report
    given, how = reference.given.given, partial(diagnose_gradients, names=names, precision=report.precision)
    return report.explained(how(reference.model, given, candidate))


PRECISIONS = ("float32", "float64")
"""The dtypes in which a backward pass can be diagnosed."""


class Judged(NamedTuple):
    """A backward pass with some mistakes: its gradients, their noise, and the port's errors, also relative to it."""

    ways: tuple[BackwardChange, ...]
    found: Mapping[str, Array]
    noise: Mapping[str, float]
    errors: Mapping[str, float]
    multiples: Mapping[str, float]
    bad: list[str]


class _Trial(NamedTuple):
    mistake: Mistake
    judged: Judged

    @property
    def remaining(self) -> float:
        return max(self.judged.multiples.values())

    def explains(self, before: Judged) -> bool:
        """True if no error is left, and what is left is far smaller than it was, not just within the bound."""
        return not self.judged.bad and self.remaining <= max(before.multiples.values()) / REDUCED


Chain = list[list[_Trial]]
"""For each mistake of an explanation its trials. Several trials are alternatives."""


class _Rejected(Exception):
    """A gradient that was right is wrong, or the first wrong one is no better: the pass need not go on."""


@dataclass
class _Search:
    """A search for the mistakes of a port. theirs: its gradients; noise: the reference's; both by Roberta's names."""

    reference: Gradients
    theirs: Mapping[str, numpy.ndarray]
    noise: Mapping[str, float]
    unit: float
    clock: Clock
    values: dict[str, Array] = field(default_factory=dict)  # of the right forward pass

    def setting(self, ways: Sequence[BackwardChange]) -> Setting:
        """The model and its inputs, with the changes of the forward pass."""
        model, given = self.reference.model, self.reference.given
        setting = Setting(model, model.checked(given))
        for way in ways:
            setting = way.applied(setting) or setting
        return setting

    def judged(self, ways: tuple[BackwardChange, ...], before: Judged | None = None) -> Judged:
        """A run with these mistakes. Raises _Rejected if it is no better than the run before."""
        setting = self.setting(ways)
        given, unchanged = Inputs(**setting.inputs), not any(way.config or way.inputs for way in ways)

        def keep(name: str, value: Array) -> Array:
            if not ways:
                self.values[name] = value
            return value

        def see(name: str, g: Array) -> None:
            if before and name in self.theirs and name not in ADDED and not self._may_be(name, g, before):
                raise _Rejected

        known = self.values if ways and unchanged else None
        found = backward_pass(setting.model, given, ways, on_value=keep, see=see, values=known)
        if before and not all(name in found and self._may_be(name, found[name], before) for name in before.errors):
            raise _Rejected
        noise = noise_of(found, setting.model, given, ways) if ways else self.noise
        errors = {name: self._error(name, g) for name, g in found.items() if name in self.theirs}
        multiples = {name: multiple(error, self.unit * noise[name]) for name, error in errors.items()}
        bad = [name for name, multiple in multiples.items() if not multiple <= self.reference.bound]
        return Judged(ways, found, noise, errors, multiples, bad)

    def _error(self, name: str, g: Array) -> float:
        """The largest difference from a gradient of the port's."""
        if g.shape != self.theirs[name].shape:
            return math.inf
        error = float(abs(self.theirs[name] - g).max(initial=0))
        return math.inf if math.isnan(error) else error

    def _may_be(self, name: str, g: Array, before: Judged) -> bool:
        """True if the first wrong gradient is far better than before, and others are not yet certainly wrong."""
        if name not in before.bad:
            return self._error(name, g) <= ROUGHLY * self.reference.bound * self.unit * before.noise[name]
        return name != before.bad[0] or self._error(name, g) < before.errors[name] / 2

    def single(self, before: Judged) -> list[_Trial]:
        """The mistakes that correct the first wrong gradient, and make no other one wrong.

        Those of the forward pass change every gradient, also the one that is closest to the loss.
        """
        model = self.reference.model
        trials = [*self._tried(before, catalogue(model), "mistakes of the backward pass")]
        if before.bad[0] == next(iter(before.errors)):
            trials += self._tried(before, of_both_passes(model), "mistakes of the forward pass")
        factors = _factors(before, self.theirs, model.config.family.own_name)
        trials += self._tried(before, itertools.islice(factors, 1), "constant factors")  # a mistake may be a factor
        for factor in factors:
            if any(trial.explains(before) for trial in trials):
                break
            trials += self._tried(before, [factor], "constant factors")
        return trials

    def _tried(self, before: Judged, mistakes: Iterable[Mistake], what: str) -> Iterator[_Trial]:
        ways = ((mistake, way) for mistake in mistakes for way in mistake.ways)
        for mistake, way in self.clock.limited(ways, what):
            try:
                if not (way.formulas or way.edits) and way.applied(self.setting(before.ways)) is None:
                    continue
                judged = self.judged((*before.ways, way), before)
            except (_Rejected, Error):
                continue
            if {*judged.bad} <= {*before.bad[1:]}:
                yield _Trial(mistake, judged)


ADDED = ("embeddings.word_embeddings.weight", "encoder_hidden_states")
"""Names of gradients that are sums of which parts are known before the whole."""


def multiple(error: float, noise: float) -> float:
    """error / noise; 0 without an error, infinite if only the noise is 0."""
    return error / noise if noise else math.inf * error if error else 0.0


def _chain(search: _Search, before: Judged, depth: int) -> Chain:
    """Mistakes that together explain everything, the first of which corrects the first wrong gradient."""
    trials = sorted(search.single(before), key=lambda trial: len(trial.judged.bad))
    if complete := _simplest(trial for trial in trials if trial.explains(before)):
        return [complete]
    for first in [trial for trial in trials if trial.judged.bad][: FIRSTS if depth else 0]:
        if rest := _chain(search, first.judged, depth - 1):
            return [[first._replace(judged=rest[-1][0].judged)], *rest]
    return []


REDUCED = 4.0
"""Factor by which a mistake must reduce the largest error. Right ports differ by less than that among each other."""


def _simplest(trials: Iterable[_Trial]) -> list[_Trial]:
    """The first trial of each mistake, without those that leave far larger errors than the best."""
    best: dict[str, _Trial] = {}
    for trial in trials:
        best.setdefault(trial.mistake.name, trial)
    least = min((trial.remaining for trial in best.values()), default=0.0)
    alike = [trial for trial in best.values() if trial.remaining <= max(1.0, REDUCED * least)]
    return sorted(alike, key=lambda trial: max(1.0, float(f"{trial.remaining:.1g}")))  # of equals, the first tried


def _finding(trial: _Trial, on_top_of: str | None, plain: Judged) -> Finding:
    one = trial.mistake
    return Finding(one.name, one.explanation, one.fix, trial.remaining, on_top_of, one.seen_in, (), len(plain.bad))


# --- constant factors -----------------------------------------------------------------------------------------------


def _factors(before: Judged, theirs: Mapping[str, numpy.ndarray], own_name: Callable[[str], str]) -> Iterator[Mistake]:
    """The factor of the first wrong gradient: of all gradients, of this one alone, or of those from there on."""
    first = before.bad[0]
    g, other = before.found[first].astype(float), theirs[first]
    square = float((g * g).sum())
    if g.shape != other.shape or not square or not numpy.isfinite(other).all():
        return
    c = float((g * other).sum()) / square
    ratio = Fraction(c).limit_denominator(1 << 16 if c < 1 else 1)
    c = float(ratio) if abs(c - ratio) <= CLOSE * abs(c) else c
    size = str(ratio) if c == ratio and 1 in (ratio.numerator, ratio.denominator) else f"{c:.4g}"

    def of(name: str, which: str, pattern: str) -> Mistake:
        ways = (BackwardChange(edits={pattern: lambda g: g * c}),)
        fix = "Multiply or divide once: each gradient is the derivative of the loss that the model returns."
        return Mistake(name, f"{which} {size} times what it should be.", fix, ways)

    module = re.sub(r"\.(weight|bias)$", "", first)
    yield of("gradients-scaled", "Every gradient is", "loss")
    yield of("gradients-scaled", "Every parameter's gradient is", r".*\.(weight|bias)")
    yield of("gradient-scaled", f"The gradient of {own_name(first)} is", re.escape(first))
    yield of("gradient-scaled", f"The gradient of {own_name(first)}, in every layer, is", _in_every_layer(first))
    from_here = f"Every gradient from {own_name(module)} on, backwards to the embeddings, is"
    yield of("gradients-scaled-from", from_here, re.escape(module))
    yield of(
        "gradients-scaled-in",
        f"The gradient that flows back through {own_name(module)}, in every layer, is",
        _in_every_layer(module),
    )


def _in_every_layer(name: str) -> str:
    """A pattern of the names that differ from this one in the layer alone."""
    return LAYER.sub(r"\\d+", name)


CLOSE = 1e-5
"""Relative difference of a measured factor from a number in whose place it stands."""
