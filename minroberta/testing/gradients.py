"""Gradients of the loss with respect to every parameter, in float64, to compare with a port's backward pass."""

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy

from ..backend.arrays import Array, is_float, to_host
from ..errors import BackendError, InputError
from ..loading import Model
from ..trace import recording
from ..weights import flat
from .runs import EPS, MASKED, RUNS, Edit, exact, factors


class Gradients(dict[str, numpy.ndarray]):
    """Gradients by parameter name, in the order of the backward pass: those closest to the loss come first.

    `noise` maps each name to the largest change that float32 rounding makes to the gradient; `compare` uses it.
    """

    noise: Mapping[str, float]


def reference_gradients(model: Model, inputs: Mapping[str, Any], labels: Any = None) -> Gradients:
    """∂loss / ∂parameter for every parameter, by `jax.grad` of `minroberta.forward` in float64.

        gradients = reference_gradients(model, {"input_ids": ids, "attention_mask": mask}, labels)
        gradients["encoder.layer.0.attention.self.query.weight"]                     # (D, D), a NumPy array
        compare(gradients, {name: p.grad for name, p in port.named_parameters() if p.grad is not None})

    model: a model of any array library and dtype. inputs: the model's inputs, by name. labels: labels for the model's
    head; for question answering, give `start_positions` and `end_positions` among the inputs instead.

    Names are those in a checkpoint, without the base model's prefix. Each parameter has one name: a tied decoder's
    gradient is part of `embeddings.word_embeddings.weight`. As with `padding_idx` of torch.nn.Embedding, looking up the
    padding row of the word or position embeddings adds nothing to the row's gradient; only a tied decoder adds to it.
    Parameters that the loss does not depend on have gradient 0; in PyTorch, it is None.

    Raises BackendError if JAX is not installed, InputError if the call computes no loss, and any error that a call to
    the model raises.
    """
    steps: dict[str, int] = {}
    model = exact(model)
    with _in_full_precision():
        exactly = _gradients(model, inputs, labels, "float64", lambda name, value: _numbered(name, value, steps))
        rounded = [_gradients(model, inputs, labels, "float32", _wiggled(seed)) for seed in range(RUNS)]
    own_name, noise = model.config.family.own_name, _noise(exactly, rounded)
    names = sorted(exactly, key=lambda name: _step(name, steps), reverse=True)
    result = Gradients({own_name(name): exactly[name] for name in names})
    result.noise = {own_name(name): noise[name] for name in names}
    return result


def _gradients(
    model: Model, inputs: Mapping[str, Any], labels: Any, dtype: str, edit: Edit
) -> dict[str, numpy.ndarray]:
    """The gradients of one backward pass, through a run whose values are edited. Names are Roberta's."""
    jax, answers = _jax(), {} if labels is None else {"labels": labels}
    without_padding = _without_padding(inputs.get("input_ids"), model.config.pad_token_id)

    def loss(params: Any) -> Array:
        with recording(lambda name, value: edit(name, without_padding(name, value))):
            output = Model(model.config, params, model.head)(**{**inputs, **answers})
        if output.loss is None:
            raise InputError(
                f"head {model.head!r} computed no loss to differentiate: add labels to the inputs "
                "(for question_answering, start_positions and end_positions)"
            )
        return output.loss

    params = jax.tree.map(lambda weight: jax.numpy.asarray(weight, dtype), model.params)
    return {name: to_host(gradient) for name, gradient in flat(jax.grad(loss)(params)).items()}


def _without_padding(input_ids: Any, pad: int) -> Edit:
    """An edit that stops the gradient at the padding row of the word and position embeddings."""
    ids = {"embeddings.word_embeddings": input_ids}

    def record(name: str, value: Array) -> Array:
        if name == "embeddings.position_ids":
            ids["embeddings.position_embeddings"] = value
        if name not in ids:
            return value
        is_pad = (to_host(ids[name]) == pad).reshape(*value.shape[:2], 1)  # (B, L) or (B, C, L) -> (B or B·C, L, 1)
        return _jax().numpy.where(is_pad, _jax().lax.stop_gradient(value), value)

    return record


# --- the order of the backward pass ---------------------------------------------------------------------------------


def _numbered(name: str, value: Array, steps: dict[str, int]) -> Array:
    steps[name] = len(steps)
    return value


def _step(name: str, steps: Mapping[str, int]) -> int:
    """The step of a parameter's module, or of the innermost enclosing module that has a step, or else -1."""
    while name and name not in steps:
        name = name.rpartition(".")[0]
    return steps.get(name, -1)


# --- rounding -------------------------------------------------------------------------------------------------------


def _wiggled(seed: int) -> Edit:
    """An edit that multiplies each value, and in the backward pass its gradient, by 1 + ε·r with random r in [-1, 1].

    So each run in float32 is rounded differently, as with another order of summation. In float64, the same edit would
    miss the rounding errors of a saturated softmax in the backward pass, where large numbers cancel.
    """

    def record(name: str, value: Array) -> Array:
        if not is_float(value.dtype):
            return value
        factor = numpy.resize(factors(seed), value.shape).astype(value.dtype)
        return value * _jax().numpy.where(abs(value) < MASKED, factor, 1)

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


# --- JAX ------------------------------------------------------------------------------------------------------------


def _jax() -> Any:
    try:
        return importlib.import_module("jax")
    except ImportError as error:
        raise BackendError("reference_gradients needs JAX: pip install 'minroberta[jax]'") from error


@contextmanager
def _in_full_precision() -> Iterator[None]:
    """A context in which JAX supports float64, and multiplies float32 at full precision, whatever its settings."""
    jax = _jax()
    place = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    with place.enable_x64(True), jax.default_matmul_precision("highest"):
        yield
