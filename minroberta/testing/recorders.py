"""The values of a live model in another framework: the output of every module or layer, by name.

Each framework needs three functions: to NumPy, from NumPy, and a context in which modules' outputs are kept.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import to_host
from ..errors import BackendError
from .recording import Recording
from .values import from_torch


def record(model: Any, /, *arguments: Any, **inputs: Any) -> dict[str, numpy.ndarray]:
    """The output of every module within a live model of torch, Keras, TensorFlow, Flax or MLX, by name.

        compare(trace(reference, **inputs), record(port, **inputs))

    model: a torch module; a model of Keras 3 or tf_keras; a bound module of flax.linen, or a Flax model of
    transformers; or a module of mlx.nn. NumPy arrays in the arguments are converted to torch's, MLX's or JAX's.

    The model is called for inference: for torch and MLX in evaluation mode, and for torch without gradients and fused
    paths, so that every module runs; the others have no dropout by default. The output of a module's second call is
    called `name#2`. If a module has several outputs, the first has the module's name, and the others are called
    `name.1` and so on. The fields of the model's output keep their names, such as `logits` or `hidden_states.0`; an
    output without fields is called `output`. A warning names an output that holds no tensors.

    Raises BackendError for any other model, or if the model's library has not been imported.
    """
    recorder = next((found for of in RECORDERS if (found := of(model))), None)
    if recorder is None:
        raise BackendError(
            f"cannot record a {type(model).__name__}: give a torch module, a Keras model, a bound module of "
            "flax.linen, a Flax model of transformers, or a module of mlx.nn"
        )
    recording = Recording(recorder.to_numpy)
    values = [_converted(value, recorder.to_tensor) for value in arguments]
    named = {name: _converted(value, recorder.to_tensor) for name, value in inputs.items()}
    with recorder.watching(model, recording):
        recording.finish(model, model(*values, **named))
    return recording.values


class Recorder(NamedTuple):
    """The functions that record the models of a framework.

    to_numpy: a function that returns a tensor as a NumPy array, and None for anything else. watching: a context in
    which a recording keeps the output of every module. to_tensor: a function that converts a NumPy array for the model.
    """

    to_numpy: Callable[[Any], numpy.ndarray | None]
    watching: Callable[[Any, Recording], contextlib.AbstractContextManager[None]]
    to_tensor: Callable[[numpy.ndarray], Any] = lambda array: array


def _converted(value: Any, to_tensor: Callable[[numpy.ndarray], Any]) -> Any:
    """The value with every NumPy array in it, at any depth, as a tensor."""
    if isinstance(value, Mapping):
        return {name: _converted(part, to_tensor) for name, part in value.items()}
    if type(value) in (list, tuple):  # such as the keys and values of a cache
        return type(value)(_converted(part, to_tensor) for part in value)
    return to_tensor(value) if isinstance(value, numpy.ndarray) else value


@contextlib.contextmanager
def _inferring(model: Any, set_training: Callable[[Any, bool], None]) -> Iterator[None]:
    """A context in which a model of torch or MLX is in evaluation mode. Afterwards every module is in its own again."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            set_training(part, training)


# --- torch ----------------------------------------------------------------------------------------------------------


def _torch(model: Any) -> Recorder | None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return None
    device = next((x.device for x in model.parameters()), None)
    return Recorder(
        lambda x: from_torch(x) if isinstance(x, torch.Tensor) else None,
        _watched_modules,
        lambda x: torch.as_tensor(x, device=device),
    )


COMPILED = "_orig_mod"
"""Name that torch.compile gives to the module it wraps."""


@contextlib.contextmanager
def _watched_modules(model: Any, recording: Recording) -> Iterator[None]:
    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda _, __, output: recording.keep(name, output)

    hooks = [
        part.register_forward_hook(keep(name.replace(f"{COMPILED}.", "")))
        for name, part in model.named_modules()
        if name and not name.endswith(COMPILED)
    ]
    torch = sys.modules["torch"]
    try:
        with torch.no_grad(), _unfused(torch), _inferring(model, lambda part, mode: setattr(part, "training", mode)):
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _unfused(torch: Any) -> Iterator[None]:
    """A context in which torch's encoder layers call their modules, instead of one kernel for all of them."""
    mha: Any = getattr(getattr(torch, "backends", None), "mha", None)
    if not hasattr(mha, "set_fastpath_enabled"):  # torch before 2.1
        yield
        return
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


# --- Keras and TensorFlow -------------------------------------------------------------------------------------------


def _keras(model: Any) -> Recorder | None:
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.layers.Layer) or not hasattr(keras, "ops"):
        return None
    return Recorder(lambda x: keras.ops.convert_to_numpy(x) if keras.ops.is_tensor(x) else None, _watched_layers)


def _keras_2(model: Any) -> Recorder | None:
    """Keras 2, also as tf_keras, which transformers' TensorFlow models use."""
    tensorflow, found = sys.modules.get("tensorflow"), [sys.modules.get(name) for name in ("tf_keras", "keras")]
    if tensorflow is None or not any(isinstance(model, keras.layers.Layer) for keras in found if keras is not None):
        return None
    return Recorder(lambda x: x.numpy() if tensorflow.is_tensor(x) else None, _watched_layers)


@contextlib.contextmanager
def _watched_layers(model: Any, recording: Recording) -> Iterator[None]:
    """A context in which the `call` of each layer also records its output, since Keras has no hooks."""

    def recorded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def call_and_keep(*arguments: Any, **inputs: Any) -> Any:
            output = call(*arguments, **inputs)
            recording.keep(name, output)
            return output

        return call_and_keep

    layers = {id(layer): (name, layer) for name, layer in reversed(list(_layers(model)))}  # under its first name
    for name, layer in layers.values():
        vars(layer)["call"] = recorded(name, layer.call)
    try:
        yield
    finally:
        for _, layer in layers.values():
            del vars(layer)["call"]


def _layers(layer: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The layers within a layer, at any depth, with their names."""
    for part in layer._flatten_layers(include_self=False, recursive=False):
        yield prefix + part.name, part
        yield from _layers(part, f"{prefix}{part.name}.")


# --- Flax -----------------------------------------------------------------------------------------------------------


def _flax(model: Any) -> Recorder | None:
    flax: Any = sys.modules.get("flax.linen")
    if flax is None or not any(isinstance(x, flax.Module) for x in (model, getattr(model, "module", None))):
        return None
    jax = sys.modules["jax"]
    return Recorder(lambda x: to_host(x) if isinstance(x, jax.Array) else None, _intercepted, jax.numpy.asarray)


@contextlib.contextmanager
def _intercepted(model: Any, recording: Recording) -> Iterator[None]:
    """A context in which each call of a module within is recorded. Nothing is compiled, so that outputs are numbers."""
    flax, jax = sys.modules["flax.linen"], sys.modules["jax"]

    def call_and_keep(call: Callable[..., Any], arguments: Any, inputs: Any, context: Any) -> Any:
        output = call(*arguments, **inputs)
        if context.method_name == "__call__" and context.module.path:
            recording.keep(".".join(context.module.path), output)
        return output

    with flax.intercept_methods(call_and_keep), jax.disable_jit():
        yield


# --- MLX ------------------------------------------------------------------------------------------------------------


def _mlx(model: Any) -> Recorder | None:
    nn, core = sys.modules.get("mlx.nn"), sys.modules.get("mlx.core")
    if nn is None or core is None or not isinstance(model, nn.Module):
        return None

    def to_numpy(x: Any) -> numpy.ndarray | None:
        if not isinstance(x, core.array):
            return None
        return numpy.array(x.astype(core.float32) if x.dtype == core.bfloat16 else x)

    return Recorder(to_numpy, _of_other_classes, core.array)


@contextlib.contextmanager
def _of_other_classes(model: Any, recording: Recording) -> Iterator[None]:
    """A context in which each module has a subclass of its class that records, since MLX has no hooks."""

    def recorded(name: str, kind: Any) -> type:
        def call_and_keep(self: Any, *arguments: Any, **inputs: Any) -> Any:
            output = kind.__call__(self, *arguments, **inputs)
            recording.keep(name, output)
            return output

        return type(kind.__name__, (kind,), {"__call__": call_and_keep})

    modules = {id(part): (name, part, type(part)) for name, part in model.named_modules() if name}  # the last first
    for name, part, kind in modules.values():
        part.__class__ = recorded(name, kind)
    try:
        with _inferring(model, sys.modules["mlx.nn"].Module.train):  # a module's parts follow it
            yield
    finally:
        for _, part, kind in modules.values():
            part.__class__ = kind


RECORDERS = (_keras, _keras_2, _torch, _flax, _mlx)
"""Functions from a model to its `Recorder`, or to None. Keras comes first: on torch, its layers are modules too."""
