"""Comparison of a port's named values with the reference's, in which each step is judged alone."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import Array, to_host
from ..config import Config
from ..errors import Error, InputError, WeightsError
from ..inputs import given
from ..trace import Trace
from .layout import AXES, arranged
from .report import Report
from .result import Row
from .runs import EPS, MASKED, bound_of, exact, noises, run
from .values import Names, Values, numbers, under_our_names

NO_NOISE = (
    "rounding is estimated from the size of each value: to have it measured, compare with a Trace or a golden file"
)
NO_STEPS = "no step is judged alone, so values that follow a wrong one count as wrong too: compare with a Trace"


def compare(
    reference: Trace | Values, candidate: Values, *, names: Names | None = None, precision: str = "float32"
) -> Report:
    """Compare a port's named values with the reference's.

        report = compare(trace(model, ids), read("port.npz"))
        report.ok, report.first_bad, report.last_good
        print(report)

    reference: a `Trace`, a golden file, or a mapping from names to arrays; candidate: a mapping from names to arrays,
    as `read` and `record` give it, with as many of the values as the port has. names: a translation of foreign names
    to ours: a dict, whose keys may be patterns, a function, or one of `NAMES`. precision: the dtype that the candidate
    computes in: float32, float64, float16, bfloat16.

    With a model every step of the candidate is judged alone: the reference repeats it in float64 from the candidate's
    own values. A difference counts as rounding up to 2·√n times the noise, which is how far one rounding in every value
    moves this one; n is the length of the longest sum, D, F or S. Padding is left out, where implementations may
    differ.

    Raises InputError if nothing can be compared.
    """
    if precision not in EPS:
        raise InputError(f"unknown precision {precision!r}: give one of {', '.join(EPS)}")
    if isinstance(candidate, Trace) and not hasattr(reference, "trace") and not isinstance(reference, Trace):
        raise InputError("the reference comes first: swap the two, or pass the candidate's Trace as dict(trace)")
    ours = _reference(reference, precision)
    theirs = under_our_names(candidate, names, ours.config.family if ours.config else None)
    shared = in_common(ours.values, theirs)
    laid = {name: _laid_out(name, theirs[name], ours) for name in shared}
    alone = _steps(ours, {name: array for name, (array, _) in laid.items() if array is not None})
    rows = tuple(_row(name, theirs[name], *laid[name], ours, alone.get(name)) for name in shared)
    known = ours.values if isinstance(reference, Trace) else reference
    found = Report(
        rows,
        tuple(name for name in known if name not in theirs),
        tuple(name for name in theirs if name not in ours.values),
        ours.unavailable,
        precision,
        ours.bound,
    )
    return dataclasses.replace(found, between=tuple(_between(list(ours.values), found)))


def _between(names: list[str], report: Report) -> list[str]:
    """The names between the last good value and the first bad one, which the candidate lacks."""
    if report.first_bad is None:
        return []
    start = 0 if report.last_good is None else names.index(report.last_good) + 1
    return names[start : names.index(report.first_bad)]


def in_common(ours: Iterable[str], theirs: Mapping[str, Any]) -> list[str]:
    """The names that both have, in our order. Raises InputError if they have none in common."""
    shared = [name for name in ours if name in theirs]
    if shared:
        return shared
    close = [near for name in theirs for near in difflib.get_close_matches(name, ours, n=1)]
    hint = f" (perhaps {_some(dict.fromkeys(close))})" if close else ""
    raise InputError(
        f"the reference, with {_some(ours)}, and the candidate, with {_some(theirs)}, have no name in common{hint}: "
        "give `names`, which maps the candidate's to the reference's"
    )


def _some(names: Any) -> str:
    return ", ".join(list(map(repr, names))[:3]) or "nothing"


# --- the reference --------------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """The reference in float64: its values, the noise of each, and if it has a model, the call that made them."""

    values: Mapping[str, numpy.ndarray]
    noise: Mapping[str, Array]  # a number each, or one for all
    kept: "Kept"
    config: Config | None
    bound: float  # the multiple of the noise up to which a difference is rounding
    unit: float  # the rounding of the candidate's precision, in roundings of float32
    trace: Trace | None  # with the model in float64
    unavailable: tuple[str, ...] = ()

    @property
    def heads(self) -> int | None:
        """H, if it is known."""
        return self.config.num_attention_heads if self.config else None


class Kept:
    """The numbers of a value that are compared: neither padding nor the scores of masked keys."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        ids = inputs.get("input_ids", inputs.get("inputs_embeds"))
        several = ids is not None and numpy.ndim(ids) - ("inputs_embeds" in inputs) == 3  # (B, C, L)
        self.masks = [_mask(inputs.get(name), several) for name in ("attention_mask", "encoder_attention_mask")]

    def __call__(self, name: str, value: numpy.ndarray) -> numpy.ndarray:
        """A mask of the value's shape: True for numbers that are compared."""
        kept = ~(abs(value) >= MASKED)
        mask = self.masks["crossattention.self.key" in name or "crossattention.self.value" in name]
        if (
            mask is None
            or value.ndim < 2
            or len(value) != len(mask)
            or (value.ndim == 2 and not OF_TOKENS.search(name))
        ):
            return kept
        axis = 2 if value.ndim == 4 else 1  # (B, H, L, S), or (B, L, ...)
        L = value.shape[axis]
        if L > mask.shape[1]:
            return kept
        tokens = mask[:, mask.shape[1] - L :]  # after a cache, the last positions
        tokens = tokens[:, None, :, None] if axis == 2 else tokens.reshape(*tokens.shape, *[1] * (value.ndim - 2))
        return kept & tokens

    def taken(self, name: str, array: numpy.ndarray, value: numpy.ndarray) -> numpy.ndarray:
        """The candidate's value, to continue with; the reference's for masked scores, and for NaN in padding."""
        usable = ~(abs(value) >= MASKED) & (numpy.isfinite(array) | self(name, value))
        return numpy.where(usable, array, value).astype(value.dtype)


OF_TOKENS = re.compile(r"position_ids$|^(start|end)_logits$")
"""Names of values (B, L); others of two axes are (B, D) or (B, N)."""


def _mask(mask: Any, several: bool) -> numpy.ndarray | None:
    """True for tokens, (B, L); None if all are, or if each query has a mask of its own."""
    if mask is None:
        return None
    mask = to_host(mask)
    mask = mask.reshape(-1, mask.shape[-1]) if several else mask  # (B, C, L) -> (B·C, L)
    return mask > 0 if mask.ndim == 2 else None


def _reference(reference: Any, precision: str) -> Reference:
    """The reference in float64, with its noise."""
    if not isinstance(reference, Mapping):
        raise InputError(
            f"invalid reference of type {type(reference).__name__}: give a Trace, a golden file, or arrays by name"
        )
    unit = EPS[precision] / EPS["float32"]
    trace, why = trace_of(reference)
    if trace is not None:
        model, inputs = exact(trace.model), given(**trace.inputs)
        values = run(model, inputs)
        noise = noises(model, inputs, values)
        _check_file(reference, values, noise)
        bound = _bound(model.config, values)
        return Reference(values, noise, Kept(inputs), model.config, bound, unit, Trace(model, inputs))
    values = {name: numbers(name, value) for name, value in reference.items()}
    kept = Kept(getattr(reference, "inputs", {}))
    known = getattr(reference, "noise", None)
    estimated = {name: _estimated(value, kept(name, value)) for name, value in values.items()}
    config = getattr(reference, "config", None)
    bound = ESTIMATED if config is None else _bound(config, values)
    return Reference(values, known or estimated, kept, config, bound, unit, None, (why,) if known else (NO_NOISE, why))


def _bound(config: Config, values: Mapping[str, numpy.ndarray]) -> float:
    return bound_of(config, max((x.shape[-1] for name, x in values.items() if name.endswith("self.scores")), default=0))


def _estimated(value: numpy.ndarray, kept: numpy.ndarray) -> float:
    """The rounding of a value, from its size alone."""
    return EPS["float32"] * float(abs(value).max(initial=0, where=kept))


def _check_file(reference: Mapping[str, Any], values: Mapping[str, numpy.ndarray], noise: Mapping[str, Array]) -> None:
    """Raise InputError if a golden file's values are not those of its own model."""
    for name in () if isinstance(reference, Trace) else reference:
        stored, made = to_host(reference[name]), values.get(name, numpy.zeros(0))
        rounding = noise.get(name, 0.0) + EPS["float32"] * abs(made)
        if stored.shape != made.shape or (differences(stored, made, ~(abs(made) >= MASKED)) > rounding).any():
            raise InputError(f"the file is damaged: its {name} is not what its own model computes; make it again")


def trace_of(reference: Any) -> tuple[Trace | None, str]:
    """The reference's run, recorded or repeated; or None and the reason why it cannot be repeated."""
    if isinstance(reference, Trace):
        if reference.edited:
            raise InputError(f"the reference is edited at {_some(reference.edited)}: trace it without edits")
        return reference, ""
    if not hasattr(reference, "trace"):
        return None, NO_STEPS
    try:
        return reference.trace(), ""
    except WeightsError:
        raise  # a damaged file cannot be a reference
    except Error as error:
        return None, f"{NO_STEPS} ({error})"


ESTIMATED = 64.0
"""The bound if F is not known."""


# --- one value ------------------------------------------------------------------------------------------------------


def _laid_out(name: str, array: numpy.ndarray, ours: Reference) -> tuple[numpy.ndarray | None, str]:
    """The candidate's value in the reference's layout, and a description of its own layout."""
    truth = ours.values[name]
    if FOR_ALL.fullmatch(name) and array.shape == (1, *truth.shape[1:]):
        return numpy.broadcast_to(array, truth.shape), ""
    return arranged(array, truth, ours.heads, ours.kept(name, truth))


FOR_ALL = re.compile(r"embeddings\.(position|token_type)_(ids|embeddings)")
"""Names of values that may be the same for a whole batch, (1, ...)."""


class Step(NamedTuple):
    """A value as the reference computes it from the candidate's own values before it, and the noise of that."""

    value: numpy.ndarray
    noise: Array


def _steps(ours: Reference, theirs: Mapping[str, numpy.ndarray]) -> dict[str, Step]:
    """Each step of the candidate, repeated by the reference; none without a model."""
    if ours.trace is None:
        return {}
    model, inputs = ours.trace.model, ours.trace.inputs

    def go_on(name: str, value: numpy.ndarray) -> numpy.ndarray:
        array = theirs.get(name)
        return value if array is None else ours.kept.taken(name, array, value)

    with numpy.errstate(all="ignore"):  # the candidate may hold any numbers
        made = run(model, inputs, go_on)
        noise = noises(model, inputs, {name: made[name] for name in theirs}, go_on)
    return {name: Step(made[name], noise[name]) for name in theirs}


def _row(
    name: str, given: numpy.ndarray, array: numpy.ndarray | None, order: str, ours: Reference, step: Step | None
) -> Row:
    truth, dtype = ours.values[name], str(given.dtype)
    if array is None:
        note = f"shape {given.shape} where the reference has {truth.shape}"
        return Row(name, "shape", truth.shape, dtype, note=note)
    kept = ours.kept(name, truth)
    if not kept.any():
        return Row(name, "good", truth.shape, dtype, 0.0, 0.0, 0.0, 0.0, note="padding only")
    difference, noise = differences(array, truth, kept), numpy.broadcast_to(ours.noise[name] * ours.unit, truth.shape)
    whole = multiple_of(difference, noise)
    alone = None if step is None else _multiples_alone(name, array, step, ours)
    judged = whole if alone is None else alone
    wrong, off = bool(judged.max() > ours.bound), bool(whole.max() > ours.bound)
    place = numpy.unravel_index((judged if wrong else whole).argmax(), truth.shape)
    absolute = float(difference.max(initial=0))
    return Row(
        name,
        "wrong" if wrong else "layout" if order else "follows" if off else "good",
        truth.shape,
        dtype,
        absolute,
        relative=absolute / float(abs(truth).max(initial=0, where=kept) or 1),
        noise=float(noise[place]),
        multiple=float(whole.max()),
        alone=None if alone is None else float(alone.max()),
        place=_axes(name, place, ours.config is not None),
        reference=float((step.value if step and wrong else truth)[place]),
        candidate=float(array[place]),
        note=order or _note(array, given.dtype, truth.dtype, wrong and not off),
    )


def _multiples_alone(name: str, array: numpy.ndarray, step: Step, ours: Reference) -> numpy.ndarray:
    return multiple_of(differences(array, step.value, ours.kept(name, step.value)), step.noise * ours.unit)


def differences(array: numpy.ndarray, truth: numpy.ndarray, kept: numpy.ndarray) -> numpy.ndarray:
    """|array - truth| where it is compared, 0 elsewhere; infinite where only one of the two is NaN."""
    with numpy.errstate(all="ignore"):
        difference = abs(array.astype(numpy.float64) - truth)
    kept = kept & ~(numpy.isnan(array) & numpy.isnan(truth))
    return numpy.where(kept, numpy.where(numpy.isnan(difference), numpy.inf, difference), 0.0)


def multiple_of(difference: numpy.ndarray, noise: numpy.ndarray) -> numpy.ndarray:
    """difference / noise; 0 without a difference, infinite without noise."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(difference == 0, 0.0, difference / noise)


def _axes(name: str, place: tuple, of_model: bool) -> dict[str, int]:
    """A place by the names of its axes; in a weight's gradient, which comes without a model, by row and column."""
    axes = AXES.get(len(place), tuple(f"axis {i}" for i in range(len(place))))
    if len(place) == 2 and OF_TOKENS.search(name):
        axes = ("batch", "token")
    elif len(place) == 2 and not of_model:
        axes = ("row", "column")
    return {axis: int(index) for axis, index in zip(axes, place, strict=True)}


def _note(array: numpy.ndarray, dtype: numpy.dtype, wanted: numpy.dtype, undoes: bool) -> str:
    if undoes:
        return "the value is right, but the step is wrong: it undoes an earlier mistake"
    if not numpy.isfinite(array).all():
        return f"{int((~numpy.isfinite(array)).sum())} of {array.size} numbers are NaN or infinite"
    poorer = wanted.kind == "f" and (dtype.kind != "f" or dtype.itemsize < 4)
    return f"stored as {dtype}" if poorer else ""
