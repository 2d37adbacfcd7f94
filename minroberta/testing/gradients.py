"""Gradients of the loss in float64, to compare with a port's backward pass: of parameters, and of named values."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy

from .. import backward, ops_backward
from ..backend.arrays import Array, is_float
from ..backward import Pass, last_of_body, unchanged
from ..inputs import Inputs
from ..loading import Model
from ..trace import Node, tap
from ..weights import flat, tree
from .changes import Change
from .runs import EPS, MASKED, RUNS, Edit, bound_of, exact, factors, with_weights


class Gradients(dict[str, numpy.ndarray]):
    """Gradients by name, in the order of the backward pass: those closest to the loss come first.

    `noise` maps each name to the largest change that float32 rounding makes to the gradient; `bound` is the multiple of
    the noise up to which a difference counts as rounding error. `compare` uses both. model, given: the model in
    float64, and the arguments of the call, labels included.
    """

    noise: Mapping[str, float]
    bound: float

    def __init__(self, found: Mapping[str, numpy.ndarray], model: Model, given: Inputs) -> None:
        super().__init__(found)
        self.model, self.given = model, given

    def steps(self, theirs: Mapping[str, numpy.ndarray]) -> dict[str, tuple[numpy.ndarray, float]]:
        """Each gradient as it follows from a port's gradients of later values, and its noise."""
        canonical, own = self.model.config.family.canonical_name, self.model.config.family.own_name
        known = {canonical(name): array for name, array in theirs.items()}

        def continued(name: str, g: Array) -> Array:
            return known[name].astype(g.dtype) if name in known else g

        computed, noise = _with_noise(self.model, self.given, continued)
        return {own(name): (g, noise[name]) for name, g in computed.items() if name in known}


def reference_gradients(
    model: Model, inputs: Mapping[str, Any], labels: Any = None, *, intermediates: bool = False
) -> Gradients:
    """∂loss / ∂parameter for every parameter, by `minroberta.gradients` in float64.

        gradients = reference_gradients(model, {"input_ids": ids, "attention_mask": mask}, labels)
        gradients["encoder.layer.0.attention.self.query.weight"]                     # (D, D), a NumPy array
        compare(gradients, {name: p.grad for name, p in port.named_parameters() if p.grad is not None})

    model: a model of any array library and dtype. inputs: the model's inputs, by name. labels: labels for the model's
    head; for question answering, give `start_positions` and `end_positions` among the inputs instead. intermediates:
    also give ∂loss / ∂value for every value that `trace` names, under its name; `compare` then also judges those that a
    port gives, each step of the backward pass alone.

    Names are those in a checkpoint, without the base model's prefix. Each parameter has one name: a tied decoder's
    gradient is part of `embeddings.word_embeddings.weight`. As with `padding_idx` of torch.nn.Embedding, looking up the
    padding row of the word or position embeddings adds nothing to the row's gradient; only a tied decoder adds to it.
    Parameters that the loss does not depend on have gradient 0; in PyTorch, it is None.

    Raises InputError if the call computes no loss, and any error that a call to the model raises.
    """
    given = Inputs(**{**inputs, **({} if labels is None else {"labels": labels})})
    precise, own_name = exact(model), model.config.family.own_name
    found, noise = _with_noise(precise, given)
    wanted = [name for name in found if intermediates or name in flat(model.params)]
    result = Gradients({own_name(name): found[name] for name in wanted}, precise, given)
    result.noise = {own_name(name): noise[name] for name in wanted}
    result.bound = bound_of_gradients(precise, given)
    return result


def bound_of_gradients(model: Model, given: Inputs) -> float:
    """The multiple of the noise up to which a difference counts as rounding: a weight's gradient sums all positions."""
    tokens: Any = given.input_ids if given.inputs_embeds is None else numpy.asarray(given.inputs_embeds)[..., 0]
    return bound_of(model.config, numpy.size(tokens))


# --- a backward pass, as it is or with mistakes ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BackwardChange(Change):
    """One way to make a mistake in the backward pass.

    formulas: for the name of a function in `backward`, or of a formula such as `ops_backward.softmax`, the function to
    call in its place, with the right one as its first argument. edits: functions of a gradient, by patterns of names.
    """

    formulas: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    edits: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)

    def edited(self, name: str, g: Array) -> Array:
        """The gradient with this name, after the edits that match the name."""
        for pattern, edit in self.edits.items():
            g = edit(g) if re.fullmatch(pattern, name) else g
        return g


def backward_pass(
    model: Model,
    given: Inputs,
    changes: Sequence[BackwardChange] = (),
    *,
    on_value: Edit = unchanged,
    on_gradient: Edit = unchanged,
    see: Callable[[str, Array], Any] = unchanged,
    values: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """The gradients of all parameters and named values, by Roberta's names, in the order in which they are complete.

    on_value, on_gradient: edits with whose results the passes continue. see: a function that gets every gradient as
    soon as it is known, and may end the pass by an exception. values: those of the forward pass if they are known.
    """
    found: dict[str, Array] = {}
    names = _rewritten(changes)

    def keep(name: str, g: Array) -> Array:
        for change in changes:
            g = change.edited(name, g)
        found.pop(name, None)
        found[name] = g
        see(name, g)
        return g

    class Watched(Pass):
        def add(self, name: str, g: Array) -> None:
            super().add(name, g)
            keep(name, self.gradients[name])

    def embed(g: Array, ids: Array, p: Node, to: Pass, padding: int | None = None) -> None:
        right_embed(g, ids, p, to, padding)
        keep(f"{p.path}.weight", to.gradients[f"{p.path}.weight"])

    right_embed = names["embed"]
    names.update({"Pass": Watched, "embed": embed}, **({} if values is None else _repeated(values, model)))
    moved = model.moved(model.checked(given))
    every = names["loss_and_gradients"](
        model.params, model.config, model.head, moved, precision="highest",
        on_value=on_value, on_gradient=lambda name, g: on_gradient(name, keep(name, g)),
    )[1]  # fmt: skip
    return {**found, **{name: g for name, g in every.items() if name not in found}}


def _repeated(values: Mapping[str, Array], model: Model) -> dict[str, Any]:
    """The forward pass of body and head, in place of their modules, as passes that name these values again."""
    every = list(values)
    head = every.index(last_of_body(model.p)) + 1

    def body(*_: Any) -> Array:
        return [tap(name, values[name]) for name in every[:head]][-1]

    def outputs(*_: Any) -> dict[str, Array]:
        return {name: tap(name, values[name]) for name in every[head:]}

    heads = {model.head: outputs}
    return {"forward_model": SimpleNamespace(body=body), "forward_heads": SimpleNamespace(HEADS=heads)}


def _rewritten(changes: Sequence[BackwardChange]) -> dict[str, Any]:
    """The functions of `backward`, with a namespace of their own, in which the changes replace some.

    The module itself stays as it is, since another thread may be using it.
    """
    names = {**vars(backward), "ops_backward": SimpleNamespace(**vars(ops_backward)), "SLOPES": {**ops_backward.SLOPES}}
    for name, f in vars(backward).items():
        if inspect.isfunction(f) and f.__module__ == backward.__name__:
            names[name] = FunctionType(f.__code__, names, name, f.__defaults__, f.__closure__)
            names[name].__kwdefaults__ = f.__kwdefaults__
    names["HEADS"] = {head: names[f.__name__] for head, f in backward.HEADS.items()}
    for change in changes:
        for path, wrong in change.formulas.items():
            owner, _, name = path.rpartition(".")
            held = names[owner] if owner else names
            held = held if isinstance(held, dict) else vars(held)
            held[name] = partial(wrong, held[name])
    return names


# --- rounding -------------------------------------------------------------------------------------------------------


def _with_noise(
    model: Model, given: Inputs, on_gradient: Edit = unchanged
) -> tuple[dict[str, Array], dict[str, float]]:
    exactly = backward_pass(model, given, on_gradient=on_gradient)
    return exactly, noise_of(exactly, model, given, on_gradient=on_gradient)


def noise_of(
    exactly: Mapping[str, Array],
    model: Model,
    given: Inputs,
    changes: Sequence[BackwardChange] = (),
    on_gradient: Edit = unchanged,
) -> dict[str, float]:
    """The noise of each gradient: its largest change in runs in float32 that are rounded differently."""
    rounded, small = [], _in_float32(model)
    for seed in range(RUNS):
        wiggle = _wiggled(seed)
        edit = _both(on_gradient, wiggle)
        rounded.append(backward_pass(small, given, changes, on_value=wiggle, on_gradient=edit))
    return _noise(exactly, rounded)


def _both(one: Edit, other: Edit) -> Edit:
    return lambda name, value: other(name, one(name, value))


def _in_float32(model: Model) -> Model:
    params = {name: weight.astype("float32") for name, weight in flat(exact(model).params).items()}
    return with_weights(model, model.config, tree(params))


def _wiggled(seed: int) -> Edit:
    """An edit that multiplies each value, or each gradient, by 1 + ε·r with random r in [-1, 1].

    So each run in float32 is rounded differently, as with another order of summation. In float64, the same edit would
    miss the rounding errors of a saturated softmax in the backward pass, where large numbers cancel.
    """

    def record(name: str, value: Array) -> Array:
        if not is_float(value.dtype):
            return value
        factor = numpy.resize(factors(seed), value.shape).astype(value.dtype)
        return value * numpy.where(abs(value) < MASKED, factor, 1)

    return record


def _noise(exactly: Mapping[str, numpy.ndarray], rounded: list[dict[str, numpy.ndarray]]) -> dict[str, float]:
    """The noise of each gradient: its largest change in any run, but at least ε/2 times its largest element.

    The noise of a bias is at least that of its weight: both gradients sum the same terms, which in the weight's
    gradient are multiplied by inputs of about 1. If the sum is zero, as for the bias of the keys, which a softmax
    ignores, the noise of the bias alone would depend on chance.
    """
    noise = {}
    for name, gradient in exactly.items():
        least = EPS["float32"] / 2 * abs(gradient).max(initial=0)
        noise[name] = float(numpy.max([least, *(abs(other[name] - gradient).max(initial=0) for other in rounded)]))
    return {name: max(most, noise.get(re.sub("bias$", "weight", name), 0)) for name, most in noise.items()}
