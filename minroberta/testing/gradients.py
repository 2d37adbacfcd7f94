"""Gradients of the loss with respect to every parameter, in float64, to compare with a port's backward pass."""

import re
from collections.abc import Mapping
from typing import Any

import numpy

from ..backend.arrays import Array, is_float
from ..backward import loss_and_gradients, unchanged
from ..inputs import Inputs
from ..loading import Model
from ..weights import flat, tree
from .runs import EPS, MASKED, RUNS, Edit, exact, factors, with_weights


class Gradients(dict[str, numpy.ndarray]):
    """Gradients by parameter name, in the order of the backward pass: those closest to the loss come first.

    `noise` maps each name to the largest change that float32 rounding makes to the gradient; `compare` uses it.
    """

    noise: Mapping[str, float]


def reference_gradients(model: Model, inputs: Mapping[str, Any], labels: Any = None) -> Gradients:
    """∂loss / ∂parameter for every parameter, by `minroberta.gradients` in float64.

        gradients = reference_gradients(model, {"input_ids": ids, "attention_mask": mask}, labels)
        gradients["encoder.layer.0.attention.self.query.weight"]                     # (D, D), a NumPy array
        compare(gradients, {name: p.grad for name, p in port.named_parameters() if p.grad is not None})

    model: a model of any array library and dtype. inputs: the model's inputs, by name. labels: labels for the model's
    head; for question answering, give `start_positions` and `end_positions` among the inputs instead.

    Names are those in a checkpoint, without the base model's prefix. Each parameter has one name: a tied decoder's
    gradient is part of `embeddings.word_embeddings.weight`. As with `padding_idx` of torch.nn.Embedding, looking up the
    padding row of the word or position embeddings adds nothing to the row's gradient; only a tied decoder adds to it.
    Parameters that the loss does not depend on have gradient 0; in PyTorch, it is None.

    Raises InputError if the call computes no loss, and any error that a call to the model raises.
    """
    given = Inputs(**inputs, **({} if labels is None else {"labels": labels}))
    exactly = _gradients(exact(model), given)
    rounded = [_gradients(_in_float32(model), given, _wiggled(seed)) for seed in range(RUNS)]
    own_name, noise = model.config.family.own_name, _noise(exactly, rounded)
    result = Gradients({own_name(name): gradient for name, gradient in exactly.items()})
    result.noise = {own_name(name): most for name, most in noise.items()}
    return result


def _gradients(model: Model, inputs: Inputs, edit: Edit = unchanged) -> dict[str, numpy.ndarray]:
    """The gradients of a run whose values are edited, and whose gradients too. Names are Roberta's."""
    moved = model.moved(model.checked(inputs))
    return loss_and_gradients(model.params, model.config, model.head, moved, on_value=edit, on_gradient=edit)[1]


def _in_float32(model: Model) -> Model:
    params = {name: weight.astype("float32") for name, weight in flat(exact(model).params).items()}
    return with_weights(model, model.config, tree(params))


# --- rounding -------------------------------------------------------------------------------------------------------


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
