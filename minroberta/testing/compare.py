"""Comparison of a port's named values with the reference's. Each step is judged alone."""

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import Array, to_host
from ..config import Config
from ..errors import Error, InputError, WeightsError
from ..inputs import given
from ..trace import Trace
from .audit import audit
from .layout import AXES, OF_TOKENS, REORDERED, arranged, as_given
from .pooling import NAME, Pooled
from .report import Report
from .result import Row
from .runs import EPS, MASKED, RUNS_THROUGH, bound_of, exact, noises, run, with_arguments
from .values import Named, Names, Values, numbers, under_our_names

NO_NOISE = (
    "rounding error is estimated from the largest element of each value: to have it measured, compare with a Trace "
    "or a golden file"
)
NO_STEPS = "steps are not judged alone, so values computed from wrong values count as wrong too: compare with a Trace"


def compare(
    reference: Trace | Values,
    candidate: Values,
    *,
    names: Names | None = None,
    precision: str = "float32",
    packed: Any = None,
) -> Report:
    """Compare a port's named values with the reference's.

        report = compare(trace(model, ids), read("port.npz"))
        report.ok, report.first_bad, report.last_good
        print(report)

    reference: a `Trace`, a golden file, or a mapping from names to arrays. candidate: a mapping from names to arrays,
    such as `read` or `record` returns; some values may be missing. names: the translation of the candidate's names to
    minroberta's: a dict, whose keys may be regular expressions; a function; or one of `NAMES`. It may also give the
    layout of a value, such as "b h l e" for (B, H, L, E). precision: the dtype in which the candidate computes:
    float32, float64, float16 or bfloat16. packed: a mask (B, L) of the tokens that a packed candidate holds, if it is
    not the attention mask; other positions are not compared.

    If the reference has a model, every step of the candidate is judged alone: the reference recomputes it in float64
    from the candidate's values, or for `reference_gradients` from its gradients of later values. A value's noise is the
    amount by which it changes when each of the preceding values is rounded once. A difference of up to 2·√n times the
    noise counts as rounding error, where n is the number of terms in the longest sum (the hidden size, the feed-forward
    size or the number of keys, and for gradients the number of tokens), but at least 64. Padding is not compared, since
    implementations may differ there, but gradients are.

    Raises InputError if nothing can be compared.
    """
    check_precision(precision)
    if isinstance(candidate, Trace) and not hasattr(reference, "trace") and not isinstance(reference, Trace):
        raise InputError(
            "the reference must come first: swap the arguments, or pass the candidate's Trace as dict(trace)"
        )
    ours = _reference(reference, precision, packed)
    theirs = under_our_names(candidate, names, ours.config.family if ours.config else None)
    if NAME in theirs and ours.trace is not None and ours.trace.model.head == "encoder":
        model = Pooled.of(ours.trace.model)
        ours = _reference(Trace(model, ours.trace.inputs), precision, packed)
    shared = in_common(ours.values, theirs)
    laid = _all_laid_out(ours, {name: theirs[name] for name in shared}, given_layouts(theirs, ours.values, ours.config))
    laid = laid if ours.steps is None else weights_alike(laid, theirs)
    laid[shared[-1]] = _without_excuse(theirs[shared[-1]], *laid[shared[-1]])
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
    said = "" if ours.trace is None else audit(ours.trace.model, ours.trace.inputs).of_inputs
    return dataclasses.replace(found, between=tuple(_between(list(ours.values), found)), audit=said)


def laid_out(reference: Values, candidate: Values, names: Names | None = None) -> dict[str, numpy.ndarray]:
    """The candidate's gradients by our names and in our layout, or as they are if no layout fits.

    reference: the result of `reference_gradients`.
    """
    ours, theirs = _reference(reference, "float32", None), under_our_names(candidate, names)
    shared = {name: theirs[name] for name in in_common(ours.values, theirs)}
    laid = weights_alike(_all_laid_out(ours, shared, given_layouts(theirs, ours.values, None)), shared)
    return {name: theirs[name] if array is None else array for name, (array, _) in laid.items()}


def check_precision(precision: str) -> None:
    """Raise InputError for an unknown precision."""
    if precision not in EPS:
        raise InputError(f"unknown precision {precision!r}: give one of {', '.join(EPS)}")


def _between(names: list[str], report: Report) -> list[str]:
    """Names of the values between the last good one and the first bad one; the candidate lacks all of them."""
    if report.first_bad is None:
        return []
    start = 0 if report.last_good is None else names.index(report.last_good) + 1
    return names[start : names.index(report.first_bad)]


def in_common(ours: Iterable[str], theirs: Mapping[str, Any]) -> list[str]:
    """The names that reference and candidate share, in the reference's order. Raises InputError if there are none."""
    shared = [name for name in ours if name in theirs]
    if shared:
        return shared
    close = [near for name in theirs for near in difflib.get_close_matches(name, ours, n=1)]
    hint = f" (did you mean {_some(dict.fromkeys(close))}?)" if close else ""
    raise InputError(
        f"the reference (with {_some(ours)}) and the candidate (with {_some(theirs)}) have no name in common{hint}: "
        "give `names`, which maps the candidate's names to the reference's"
    )


def _some(names: Any) -> str:
    return ", ".join(list(map(repr, names))[:3]) or "nothing"


# --- the reference --------------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """The reference in float64: its values, their noise, and the call that computed them if there is a model."""

    values: Mapping[str, numpy.ndarray]
    noise: Mapping[str, Array]  # an array of the value's shape, or one number for the value
    kept: "Kept"
    config: Config | None
    bound: float  # the multiple of the noise up to which a difference counts as rounding error
    unit: float  # the unit roundoff of the candidate's precision, as a multiple of float32's
    trace: Trace | None  # of the model in float64
    unavailable: tuple[str, ...] = ()
    steps: Callable[[Values], Mapping[str, Any]] | None = None  # of gradients: each step on a candidate's

    @property
    def heads(self) -> int | None:
        """Number of heads H, or None if unknown."""
        return self.config.num_attention_heads if self.config else None


class Kept:
    """The elements of a value that are compared: all except padding and the scores of masked keys."""

    def __init__(self, inputs: Mapping[str, Any], packed: Any = None) -> None:
        ids = inputs.get("input_ids", inputs.get("inputs_embeds"))
        several = ids is not None and numpy.ndim(ids) - ("inputs_embeds" in inputs) == 3  # (B, C, L)
        mask = inputs.get("attention_mask") if packed is None else _checked(packed, ids, "inputs_embeds" in inputs)
        self.masks = [_mask(mask, several), _mask(inputs.get("encoder_attention_mask"), several)]

    def __call__(self, name: str, value: numpy.ndarray) -> numpy.ndarray:
        """A mask of the value's shape, True for elements that are compared."""
        return ~(abs(value) >= MASKED) & self._of_tokens(name, value)

    def _of_tokens(self, name: str, value: numpy.ndarray) -> numpy.ndarray:
        """A mask of the value's shape, False for padding."""
        kept = numpy.ones(value.shape, bool)
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
        tokens = mask[:, mask.shape[1] - L :]  # with a cache, only the last positions are computed
        tokens = tokens[:, None, :, None] if axis == 2 else tokens.reshape(*tokens.shape, *[1] * (value.ndim - 2))
        return kept & tokens

    def taken(self, name: str, array: numpy.ndarray, value: numpy.ndarray) -> numpy.ndarray:
        """The value to continue with: the candidate's, with some elements replaced by the reference's.

        The replaced elements are masked scores, and NaN or infinity in padding.
        """
        ordinary = self(name, value) | self.unmasked(name, array, value)
        usable = ordinary | (~(abs(value) >= MASKED) & numpy.isfinite(array))
        return numpy.where(usable, array, value).astype(value.dtype)

    def unmasked(self, name: str, array: numpy.ndarray, value: numpy.ndarray) -> numpy.ndarray:
        """True for the scores of keys that are masked in the reference's value, but not in the candidate's.

        Candidates mask with any number from which a probability of 0 follows.
        """
        masked = abs(value) >= MASKED
        if array.shape != value.shape or not masked.any():
            return numpy.zeros(value.shape, bool)
        with numpy.errstate(all="ignore"):
            highest = array.max(-1, keepdims=True, initial=-numpy.inf, where=~masked)
            low = (array <= highest - NEGLIGIBLE) | (array <= LOW) | numpy.isnan(array)
        return masked & ~low & self._of_tokens(name, value)


def _checked(packed: Any, ids: Any, embedded: bool) -> numpy.ndarray:
    """The mask of a packed port. Raises InputError unless it has the shape of the ids, where they are known."""
    mask, shape = to_host(packed), None if ids is None else numpy.shape(ids)[: -1 if embedded else None]
    fits = mask.ndim == 2 if shape is None else mask.shape == shape
    if not fits or mask.dtype.kind not in "biuf" or not (mask > 0).any():
        raise InputError(
            f"packed must be a mask of shape {shape or '(B, L)'} that marks at least one token, not {mask.dtype} of "
            f"shape {mask.shape}"
        )
    return mask


NEGLIGIBLE, LOW = 100.0, -1000.0
"""A score so far below the largest one, or below 0, counts as masked: its probability is 0 in float32."""


def _mask(mask: Any, several: bool) -> numpy.ndarray | None:
    """A mask (B, L), False for padding; None if no mask is given, or a separate one for each query."""
    if mask is None:
        return None
    mask = to_host(mask)
    mask = mask.reshape(-1, mask.shape[-1]) if several else mask  # (B, C, L) -> (B·C, L)
    return mask > 0 if mask.ndim == 2 else None


def _reference(reference: Any, precision: str, packed: Any) -> Reference:
    """The reference in float64, with its noise."""
    if not isinstance(reference, Mapping):
        raise InputError(
            f"invalid reference of type {type(reference).__name__}: give a Trace, a golden file, or a dict of arrays"
        )
    unit = EPS[precision] / EPS["float32"]
    trace, why = trace_of(reference)
    if trace is not None:
        model, inputs = exact(trace.model), given(**trace.inputs)
        values = run(model, inputs)
        noise = noises(model, inputs, values, runs=RUNS_THROUGH)
        _check_file(reference, values, noise)
        bound = _bound(model.config, values)
        return Reference(values, noise, Kept(inputs, packed), model.config, bound, unit, Trace(model, inputs))
    values = {name: numbers(name, value) for name, value in reference.items()}
    kept = Kept(getattr(reference, "inputs", {}), packed)
    known = getattr(reference, "noise", None)
    estimated = {name: _estimated(value, kept(name, value)) for name, value in values.items()}
    config, steps = getattr(reference, "config", None), getattr(reference, "steps", None)
    if steps is not None:  # of gradients
        bound = getattr(reference, "bound", ESTIMATED)
        return Reference(values, known or estimated, kept, None, bound, unit, None, (), steps)
    bound = ESTIMATED if config is None else _bound(config, values)
    return Reference(values, known or estimated, kept, config, bound, unit, None, (why,) if known else (NO_NOISE, why))


def _bound(config: Config, values: Mapping[str, numpy.ndarray]) -> float:
    return bound_of(config, max((x.shape[-1] for name, x in values.items() if name.endswith("self.scores")), default=0))


def _estimated(value: numpy.ndarray, kept: numpy.ndarray) -> float:
    """The rounding error of a value, estimated from its largest element."""
    return EPS["float32"] * float(abs(value).max(initial=0, where=kept))


def _check_file(reference: Mapping[str, Any], values: Mapping[str, numpy.ndarray], noise: Mapping[str, Array]) -> None:
    """Raise InputError if a golden file's values are not those that its model computes."""
    for name in () if isinstance(reference, Trace) else reference:
        stored, computed = to_host(reference[name]), values.get(name, numpy.zeros(0))
        rounding = noise.get(name, 0.0) + EPS["float32"] * abs(computed)
        if (
            stored.shape != computed.shape
            or (differences(stored, computed, ~(abs(computed) >= MASKED)) > rounding).any()
        ):
            raise InputError(
                f"the golden file is damaged: its {name} is not what its model computes; create the file again"
            )


def trace_of(reference: Any) -> tuple[Trace | None, str]:
    """The reference's trace, recomputed if necessary, and ""; or None and the reason why there is no trace."""
    if isinstance(reference, Trace):
        if reference.edited:
            raise InputError(
                f"the reference was traced with edits at {_some(reference.edited)}: trace it without edits"
            )
        return reference, ""
    if not hasattr(reference, "trace"):
        return None, NO_STEPS
    try:
        return reference.trace(), ""
    except WeightsError:
        raise  # a damaged file cannot serve as a reference
    except Error as error:
        return None, f"{NO_STEPS} ({error})"


ESTIMATED = 64.0
"""The bound if the model's configuration is unknown."""


# --- one value ------------------------------------------------------------------------------------------------------


LaidOut = tuple[numpy.ndarray | None, str]
"""A candidate's value in the reference's layout, or None if no layout fits; and the original layout in words."""


def given_layouts(
    theirs: Named, values: Mapping[str, Array], config: Config | None
) -> dict[str, tuple[numpy.ndarray, str]]:
    """The candidate's values whose layout `names` gives, in the reference's; and the original layout in words."""
    head_size = config.head_size if config else None
    shared = [(name, layout) for name, layout in theirs.layouts.items() if name in values]
    return {name: as_given(name, theirs[name], layout, values[name].shape, head_size) for name, layout in shared}


def _all_laid_out(
    ours: Reference, theirs: Mapping[str, numpy.ndarray], known: Mapping[str, tuple[numpy.ndarray, str]]
) -> dict[str, LaidOut]:
    """Every value of the candidate in the reference's layout.

    Unless it is known, it is recognised by the reference's value, computed from the candidate's earlier values if there
    is a model.
    """
    result: dict[str, LaidOut] = {**known}

    def continued(name: str, value: numpy.ndarray) -> numpy.ndarray:
        if name not in theirs:
            return value
        if name not in result:
            result[name] = _laid_out(name, theirs[name], value, ours)
        array = result[name][0]
        return value if array is None else ours.kept.taken(name, array, value)

    others = [name for name in theirs if name not in known]
    if ours.trace is not None and any(theirs[name].shape != ours.values[name].shape for name in others):
        with numpy.errstate(all="ignore"):
            run(ours.trace.model, ours.trace.inputs, continued)
    return {name: result.get(name) or _laid_out(name, theirs[name], ours.values[name], ours) for name in theirs}


def _without_excuse(given: numpy.ndarray, array: numpy.ndarray | None, order: str) -> LaidOut:
    """The last value: if its heads are merged in another order, no later value shows that the port knows this."""
    return (given, order) if order.startswith(REORDERED) else (array, order)


def _laid_out(name: str, array: numpy.ndarray, truth: numpy.ndarray, ours: Reference) -> LaidOut:
    """A value in the layout of `truth`."""
    array = for_each_row(name, array, truth)
    return arranged(array, truth, ours.heads, ours.kept(name, truth))


def weights_alike(laid: Mapping[str, LaidOut], theirs: Mapping[str, numpy.ndarray]) -> dict[str, LaidOut]:
    """Gradients of weights, of which square ones are transposed if the others are: their shape does not tell."""
    weights = {name: theirs[name] for name in laid if OF_WEIGHT.fullmatch(name) and theirs[name].ndim == 2}
    square = {name for name, array in weights.items() if array.shape[0] == array.shape[1]}
    orders = [laid[name][1] for name in weights.keys() - square]
    if not orders:
        return dict(laid)
    alike = {name: (theirs[name].T, orders[0]) if all(orders) else (theirs[name], "") for name in square}
    return {name: alike.get(name, one) for name, one in laid.items()}


OF_WEIGHT = re.compile(r"(?!.*embedding).*weight")
"""Names of the weights of linear layers, and of norms, which are no matrices."""


def for_each_row(name: str, array: numpy.ndarray, truth: numpy.ndarray) -> numpy.ndarray:
    """A value that was given once for the whole batch, repeated for each row; any other value as it is."""
    once = FOR_ALL.fullmatch(name) and array.shape == (1, *truth.shape[1:])
    return numpy.broadcast_to(array, truth.shape) if once else array


FOR_ALL = re.compile(r"embeddings\.(position|token_type)_(ids|embeddings)")
"""Names of values that may be given once for the whole batch, with shape (1, ...)."""


class Step(NamedTuple):
    """A value that the reference computed from the candidate's earlier values, and its noise."""

    value: numpy.ndarray
    noise: Array


def _steps(ours: Reference, theirs: Mapping[str, numpy.ndarray]) -> dict[str, Step]:
    """Each step of the candidate, recomputed by the reference; empty if the reference has no model."""
    if ours.steps is not None:
        return {name: Step(value, noise) for name, (value, noise) in ours.steps(theirs).items()}
    if ours.trace is None:
        return {}
    model, inputs = ours.trace.model, ours.trace.inputs

    def continued(name: str, value: numpy.ndarray) -> numpy.ndarray:
        array = theirs.get(name)
        return value if array is None else ours.kept.taken(name, array, value)

    with numpy.errstate(all="ignore"):  # the candidate's values may be arbitrary
        computed = run(model, inputs, continued)
        noise = noises(model, inputs, {name: computed[name] for name in with_arguments(theirs)}, continued)
    return {name: Step(computed[name], noise[name]) for name in theirs}


def _row(
    name: str, given: numpy.ndarray, array: numpy.ndarray | None, order: str, ours: Reference, step: Step | None
) -> Row:
    truth, dtype = ours.values[name], str(given.dtype)
    if array is None:
        note = f"shape {given.shape} where the reference has {truth.shape}"
        return Row(name, "shape", truth.shape, dtype, note=note)
    kept = ours.kept(name, truth)
    if not kept.any() and not ours.kept.unmasked(name, array, truth).any():
        return Row(name, "good", truth.shape, dtype, 0.0, 0.0, 0.0, 0.0, note="padding only")
    difference, noise = (
        all_differences(name, array, truth, ours.kept),
        numpy.broadcast_to(ours.noise[name] * ours.unit, truth.shape),
    )
    whole = multiple_of(difference, noise)
    alone = None if step is None else _multiples_alone(name, array, step, ours)
    judged = whole if alone is None else alone
    far = ours.unit > 1 and usual(difference[kept]) > SHARE * usual(truth[kept])
    wrong, off = far or bool(judged.max() > ours.bound), bool(whole.max() > ours.bound)
    suspicious = not off and ours.trace is not None and _is_suspicious(whole[kept], ours.bound)
    verdict = "wrong" if wrong else "suspicious" if suspicious else "layout" if order else "follows" if off else "good"
    place = numpy.unravel_index((judged if wrong else whole).argmax(), truth.shape)
    absolute = float(difference.max(initial=0))
    return Row(
        name,
        verdict,
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
        layout=order,
    )


SUSPICIOUS, SUSPICIOUS_SHARE, SYSTEMATIC = 5.0, 1 / 5, 2.0
"""Limits from which a value is suspicious: its largest multiple of the noise, the same as a part of the bound, and the
root mean square of all its multiples.

Rounding is random, but a wrong eps moves every element: then the root mean square is 3 or more. In right ports it is at
most 0.9 for random weights, and the largest multiple 5.7; for trained weights 1.52 and 10.3, where the bound is 64.
"""


SHARE = 1 / 2
"""Limit on the error of a value of half precision, as a fraction of the value; both are root mean squares.

The rounding errors of all layers in half precision may together be as large as an output. Then any output is within
them: zeros, or those of another text.
"""


def usual(array: numpy.ndarray) -> float:
    """The root mean square; 0 of an empty array."""
    return math.sqrt(float((array * array).mean())) if array.size else 0.0


def _is_suspicious(multiples: numpy.ndarray, bound: float) -> bool:
    """True if the multiples of a value's elements are within the bound, but larger than in right ports."""
    if not multiples.size:
        return False
    largest = max(SUSPICIOUS, SUSPICIOUS_SHARE * bound)
    return bool(multiples.max() > largest or (multiples * multiples).mean() > SYSTEMATIC**2)


def _multiples_alone(name: str, array: numpy.ndarray, step: Step, ours: Reference) -> numpy.ndarray:
    return multiple_of(all_differences(name, array, step.value, ours.kept), step.noise * ours.unit)


def all_differences(name: str, array: numpy.ndarray, truth: numpy.ndarray, kept: Kept) -> numpy.ndarray:
    """`differences` of the elements that are compared; infinite for masked keys that the candidate does not mask."""
    difference = differences(array, truth, kept(name, truth))
    return numpy.where(kept.unmasked(name, array, truth), numpy.inf, difference)


def differences(array: numpy.ndarray, truth: numpy.ndarray, kept: numpy.ndarray) -> numpy.ndarray:
    """|array - truth| of the elements that are compared, 0 for others; infinite if only one of the two is NaN."""
    with numpy.errstate(all="ignore"):
        difference = abs(array.astype(numpy.float64) - truth)
    kept = kept & ~(numpy.isnan(array) & numpy.isnan(truth))
    return numpy.where(kept, numpy.where(numpy.isnan(difference), numpy.inf, difference), 0.0)


def multiple_of(difference: numpy.ndarray, noise: numpy.ndarray) -> numpy.ndarray:
    """difference / noise; 0 if the difference is 0, infinite if only the noise is 0."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(difference == 0, 0.0, difference / noise)


def _axes(name: str, place: tuple, of_model: bool) -> dict[str, int]:
    """An element's index, by axis name. Without a model, matrices are gradients of weights, with rows and columns."""
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
        return f"{int((~numpy.isfinite(array)).sum())} of {array.size} elements are NaN or infinite"
    coarser = wanted.kind == "f" and (dtype.kind != "f" or dtype.itemsize < 4)
    return f"stored as {dtype}" if coarser else ""
