"""Where a port first goes wrong: its named values beside the reference's, and each of its steps judged alone."""

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from ..backend.arrays import Array, to_host
from ..config import Config
from ..errors import Error, InputError, WeightsError
from ..inputs import given
from ..trace import Trace
from . import report
from .layout import AXES, arranged
from .runs import EPS, MASKED, bound_of, exact, noises, run
from .values import Names, Values, numbers, under_our_names

if TYPE_CHECKING:
    from .diagnose import Finding

NO_NOISE = "rounding is guessed from the size of each value: a Trace or a golden file knows it"
NO_STEPS = "a value that is wrong by itself is not told from one that follows: that needs a model, as a Trace has it"


@dataclass(frozen=True)
class Row:
    """One value of the candidate beside the reference's.

    verdict: "good"; "wrong", where this step is no right step from the candidate's own values before it; "follows",
    where the step is right and the value is off, since those before it are; "layout", right numbers in another order;
    "shape". absolute: the largest difference; relative: the same as a part of the reference's largest number; noise:
    what rounding moves this value by; multiple: absolute / noise; alone: the step's own difference as a multiple of its
    own noise, None where it cannot be judged alone. place: where the difference is largest, by axis; reference and
    candidate: the two numbers there.
    """

    name: str
    verdict: str
    shape: tuple[int, ...]
    dtype: str
    absolute: float = math.nan
    relative: float = math.nan
    noise: float = math.nan
    multiple: float = math.nan
    alone: float | None = None
    place: Mapping[str, int] | None = None
    reference: float = math.nan
    candidate: float = math.nan
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether this step is right."""
        return self.verdict in ("good", "follows")


@dataclass(frozen=True)
class Report:
    """What `compare` found, in the order of computation.

    rows: a `Row` for each value that both have; missing: the reference's other names; unknown: the candidate's other
    names; unavailable: what could not be said, and what that needs; precision: what rounding was allowed for; bound:
    how many times the noise is still rounding; findings: what `diagnose` said, None where it was not asked; between:
    the reference's other names from the last good value to the first bad one. Prints as a table, and shows as HTML in
    a notebook.
    """

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    unavailable: tuple[str, ...]
    precision: str
    bound: float
    findings: "tuple[Finding, ...] | None" = None
    between: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every step that could be judged is right."""
        return all(row.ok for row in self.rows)

    @property
    def first_bad(self) -> str | None:
        """The first value whose own step is wrong."""
        return next((row.name for row in self.rows if not row.ok), None)

    @property
    def last_good(self) -> str | None:
        """The value before it, or the last of all."""
        good = [row.name for row in itertools.takewhile(lambda row: row.ok, self.rows)]
        return good[-1] if good else None

    def explained(self, findings: "Iterable[Finding]") -> "Report":
        """The same with what `diagnose` found, so that table and page say why."""
        return replace(self, findings=tuple(findings))

    def __str__(self) -> str:
        return report.text(self)

    def _repr_html_(self) -> str:
        return report.notebook(self)

    def html(self) -> str:
        """A page of its own: what is wrong and where, a picture of the error through the depth, every value."""
        return report.page(self)

    def save_html(self, path: str | Path) -> None:
        """Write `html()` to a file."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def to_json(self) -> str:
        """All of it for programs; a number that is none (NaN, infinite) is null."""
        return report.as_json(self)


def compare(
    reference: Trace | Values, candidate: Values, *, names: Names | None = None, precision: str = "float32"
) -> Report:
    """Compare a port's named values with the reference's.

        report = compare(trace(model, ids), read("port.npz"))
        report.ok, report.first_bad, report.last_good
        print(report)

    reference: a `Trace`, a golden file, or a mapping from names to arrays; candidate: a mapping from names to arrays,
    as `read` and `record` make it, of as many values as there are. names: how foreign names become ours: a dict, whose
    keys may be patterns, a function, or one of `NAMES`. precision: what the candidate computes in: float32, float64,
    float16, bfloat16.

    With a model every step of the candidate is judged alone: the reference makes it again in float64 from the
    candidate's own values. The difference is rounding up to 2·√n times what a rounding in every value moves it by,
    where n is the most numbers in a sum, D, F or S. Pads are left out, since implementations differ there by right.

    Raises InputError where nothing can be compared.
    """
    if precision not in EPS:
        raise InputError(f"precision is one of {', '.join(EPS)}, not {precision!r}")
    if isinstance(candidate, Trace) and not hasattr(reference, "trace") and not isinstance(reference, Trace):
        raise InputError("a Trace is a reference, which comes first: as a candidate give dict(trace)")
    ours = _reference(reference, precision)
    theirs = under_our_names(candidate, names, ours.config.family if ours.config else None)
    shared = in_common(ours.values, theirs)
    laid = {name: _laid(name, theirs[name], ours) for name in shared}
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
    return replace(found, between=tuple(_between(list(ours.values), found)))


def _between(names: list[str], report: Report) -> list[str]:
    """The names that the candidate lacks right before its first bad value."""
    if report.first_bad is None:
        return []
    start = 0 if report.last_good is None else names.index(report.last_good) + 1
    return names[start : names.index(report.first_bad)]


def in_common(ours: Iterable[str], theirs: Mapping[str, Any]) -> list[str]:
    """The names that both have, in our order. Raises InputError where there is none."""
    shared = [name for name in ours if name in theirs]
    if shared:
        return shared
    close = [near for name in theirs for near in difflib.get_close_matches(name, ours, n=1)]
    hint = f" (perhaps {_some(dict.fromkeys(close))})" if close else ""
    raise InputError(
        f"no name is the reference's and the candidate's: {_some(ours)} and {_some(theirs)}{hint}; "
        "`names` maps the candidate's to the reference's"
    )


def _some(names: Any) -> str:
    return ", ".join(list(map(repr, names))[:3]) or "nothing"


# --- the reference --------------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """What a candidate is compared with: the true values, the noise of each, and where a model is, how to go on."""

    values: Mapping[str, numpy.ndarray]
    noise: Mapping[str, Array]  # for each number, or one for all
    kept: "Kept"
    config: Config | None
    bound: float  # how many times the noise is rounding still
    unit: float  # rounding in the candidate's precision, in roundings of float32
    trace: Trace | None  # holds the model in float64, and the inputs
    unavailable: tuple[str, ...] = ()

    @property
    def heads(self) -> int | None:
        """H, where it is known."""
        return self.config.num_attention_heads if self.config else None


class Kept:
    """Which places of a value are compared: pads are not, nor the scores of keys that nobody attends to."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        ids = inputs.get("input_ids", inputs.get("inputs_embeds"))
        several = ids is not None and numpy.ndim(ids) - ("inputs_embeds" in inputs) == 3  # (B, C, L)
        self.masks = [_mask(inputs.get(name), several) for name in ("attention_mask", "encoder_attention_mask")]

    def __call__(self, name: str, value: numpy.ndarray) -> numpy.ndarray:
        """True where it is compared, of the value's shape."""
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
        own = mask[:, mask.shape[1] - L :]  # after a cache, the last of all places
        return kept & (own[:, None, :, None] if axis == 2 else own.reshape(*own.shape, *[1] * (value.ndim - 2)))

    def taken(self, name: str, own: numpy.ndarray, value: numpy.ndarray) -> numpy.ndarray:
        """The candidate's value, to go on with; the reference's at masked scores, and at pads that are no numbers."""
        usable = ~(abs(value) >= MASKED) & (numpy.isfinite(own) | self(name, value))
        return numpy.where(usable, own, value).astype(value.dtype)


OF_TOKENS = re.compile(r"position_ids$|^(start|end)_logits$")
"""Values (B, L); other ones of two axes are (B, D) or (B, N)."""


def _mask(mask: Any, several: bool) -> numpy.ndarray | None:
    """Where tokens are, (B, L); None where all are, or each query has keys of its own."""
    if mask is None:
        return None
    mask = to_host(mask)
    mask = mask.reshape(-1, mask.shape[-1]) if several else mask  # (B, C, L) -> (B·C, L)
    return mask > 0 if mask.ndim == 2 else None


def _reference(reference: Any, precision: str) -> Reference:
    """The reference in float64, with its noise."""
    if not isinstance(reference, Mapping):
        raise InputError(
            f"a reference is a Trace, a golden file, or a mapping from names to arrays, not {type(reference).__name__}"
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
    guessed = {name: _guessed(value, kept(name, value)) for name, value in values.items()}
    config = getattr(reference, "config", None)
    bound = GUESSED if config is None else _bound(config, values)
    return Reference(values, known or guessed, kept, config, bound, unit, None, (why,) if known else (NO_NOISE, why))


def _bound(config: Config, values: Mapping[str, numpy.ndarray]) -> float:
    return bound_of(config, max((x.shape[-1] for name, x in values.items() if name.endswith("self.scores")), default=0))


def _guessed(value: numpy.ndarray, kept: numpy.ndarray) -> float:
    """The rounding of a value of which only its size is known."""
    return EPS["float32"] * float(abs(value).max(initial=0, where=kept))


def _check_file(reference: Mapping[str, Any], values: Mapping[str, numpy.ndarray], noise: Mapping[str, Array]) -> None:
    """Raise InputError where a golden file's values are not what its own model makes."""
    for name in () if isinstance(reference, Trace) else reference:
        stored, made = to_host(reference[name]), values.get(name, numpy.zeros(0))
        rounding = noise.get(name, 0.0) + EPS["float32"] * abs(made)
        if stored.shape != made.shape or (_difference(stored, made, ~(abs(made) >= MASKED)) > rounding).any():
            raise InputError(f"the file's {name} is not what its own model makes: the file is damaged")


def trace_of(reference: Any) -> tuple[Trace | None, str]:
    """The reference's run, where it is one or can be made again; else why it cannot be."""
    if isinstance(reference, Trace):
        if reference.edited:
            raise InputError(f"the reference is edited at {_some(reference.edited)}: trace it without edits")
        return reference, ""
    if not hasattr(reference, "trace"):
        return None, NO_STEPS
    try:
        return reference.trace(), ""
    except WeightsError:
        raise  # a file that is damaged is no reference
    except Error as error:
        return None, f"{NO_STEPS} ({error})"


GUESSED = 64.0
"""The bound where no configuration says F."""


# --- one value ------------------------------------------------------------------------------------------------------


def _laid(name: str, array: numpy.ndarray, ours: Reference) -> tuple[numpy.ndarray | None, str]:
    """The candidate's value in the reference's order, and what its own was."""
    truth = ours.values[name]
    if FOR_ALL.fullmatch(name) and array.shape == (1, *truth.shape[1:]):
        return numpy.broadcast_to(array, truth.shape), ""
    return arranged(array, truth, ours.heads, ours.kept(name, truth))


FOR_ALL = re.compile(r"embeddings\.(position|token_type)_(ids|embeddings)")
"""Values that may be the same for all of a batch, and be made once."""


class Step(NamedTuple):
    """What the reference makes of the candidate's own values before this one, and the noise of that."""

    value: numpy.ndarray
    noise: Array


def _steps(ours: Reference, theirs: Mapping[str, numpy.ndarray]) -> dict[str, Step]:
    """Each step of the candidate, made again by the reference; without a model none can be."""
    if ours.trace is None:
        return {}
    model, inputs = ours.trace.model, ours.trace.inputs

    def go_on(name: str, value: numpy.ndarray) -> numpy.ndarray:
        own = theirs.get(name)
        return value if own is None else ours.kept.taken(name, own, value)

    with numpy.errstate(all="ignore"):  # the candidate's values may be any
        made = run(model, inputs, go_on)
        own_noise = noises(model, inputs, {name: made[name] for name in theirs}, go_on)
    return {name: Step(made[name], own_noise[name]) for name in theirs}


def _row(
    name: str, given: numpy.ndarray, array: numpy.ndarray | None, order: str, ours: Reference, step: Step | None
) -> Row:
    truth, dtype = ours.values[name], given.dtype
    if array is None:
        note = f"of shape {given.shape} where the reference has {truth.shape}"
        return Row(name, "shape", truth.shape, str(dtype), note=note)
    kept = ours.kept(name, truth)
    if not kept.any():
        return Row(name, "good", truth.shape, str(dtype), 0.0, 0.0, 0.0, 0.0, note="no token is in it")
    difference, noise = _difference(array, truth, kept), numpy.broadcast_to(ours.noise[name] * ours.unit, truth.shape)
    whole = multiple_of(difference, noise)
    own = whole if step is None else _multiples_alone(name, array, step, ours)
    multiple, alone = float(whole.max()), None if step is None else float(own.max())
    wrong, off = own.max() > ours.bound, multiple > ours.bound
    place = numpy.unravel_index((own if wrong else whole).argmax(), truth.shape)
    right = truth if step is None or not wrong else step.value
    return Row(
        name,
        "wrong" if wrong else "layout" if order else "follows" if off else "good",
        truth.shape,
        str(dtype),
        float(difference.max(initial=0)),
        float(difference.max(initial=0) / (abs(truth).max(initial=0, where=kept) or 1)),
        float(noise[place]),
        multiple,
        alone,
        _axes(name, place, ours.config is not None),
        float(right[place]),
        float(array[place]),
        order or _note(array, dtype, truth.dtype, wrong and not off),
    )


def _multiples_alone(name: str, array: numpy.ndarray, step: Step, ours: Reference) -> numpy.ndarray:
    return multiple_of(_difference(array, step.value, ours.kept(name, step.value)), step.noise * ours.unit)


def _difference(array: numpy.ndarray, truth: numpy.ndarray, kept: numpy.ndarray) -> numpy.ndarray:
    """|array - truth| where it is compared, 0 elsewhere; infinite where only one of them is a number."""
    with numpy.errstate(all="ignore"):
        difference = abs(array.astype(numpy.float64) - truth)
    kept = kept & ~(numpy.isnan(array) & numpy.isnan(truth))
    return numpy.where(kept, numpy.where(numpy.isnan(difference), numpy.inf, difference), 0.0)


def multiple_of(difference: numpy.ndarray, noise: numpy.ndarray) -> numpy.ndarray:
    """difference / noise; 0 where there is no difference, infinite where there is no noise."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(difference == 0, 0.0, difference / noise)


def _axes(name: str, place: tuple, of_model: bool) -> dict[str, int]:
    """The place by the names of the axes; of a weight's gradient, which no model gives, by row and column."""
    axes = AXES.get(len(place), tuple(f"axis {i}" for i in range(len(place))))
    if len(place) == 2 and OF_TOKENS.search(name):
        axes = ("batch", "token")
    elif len(place) == 2 and not of_model:
        axes = ("row", "column")
    return {axis: int(index) for axis, index in zip(axes, place, strict=True)}


def _note(array: numpy.ndarray, dtype: numpy.dtype, wanted: numpy.dtype, undoes: bool) -> str:
    if undoes:
        return "the value is right, and the step is not: it undoes an earlier mistake"
    if not numpy.isfinite(array).all():
        return f"{int((~numpy.isfinite(array)).sum())} of {array.size} numbers are NaN or infinite"
    poorer = wanted.kind == "f" and (dtype.kind != "f" or dtype.itemsize < 4)
    return f"stored as {dtype}" if poorer else ""
