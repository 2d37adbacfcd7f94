"""The values of a live model in another framework: the output of every module or layer, by name."""

import contextlib
import dataclasses
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy

from ..errors import BackendError
from .values import from_torch


def record(model: Any, /, *arguments: Any, **inputs: Any) -> dict[str, numpy.ndarray]:
    """The output of every module within a live torch module, or of every layer of a Keras model, by name.

        compare(trace(reference, **inputs), record(port, **inputs))

    The model is called for inference, without dropout. For torch, gradients and fused paths are off, so that every
    module runs, and NumPy arrays are converted to tensors. The output of a module's second call is called `name#2`. If
    a module has several outputs, the first has the module's name, and the others are called `name.1` and so on. The
    fields of the model's output keep their names, such as `logits` or `hidden_states.0`; an output without fields is
    called `output`. A warning names an output that holds no tensors.

    Raises BackendError for any other model, or if the model's library has not been imported.
    """
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.layers.Layer):  # with Keras on torch, a layer is a module as well
        recording = Recording(lambda x: keras.ops.convert_to_numpy(x) if keras.ops.is_tensor(x) else None)
        with _watched_layers(model, recording):
            recording.finish(model, model(*arguments, **inputs))
    elif torch is not None and isinstance(model, torch.nn.Module):
        device = next((x.device for x in model.parameters()), None)
        tensors = _to_torch(torch, inputs, device)
        recording = Recording(lambda x: from_torch(x) if isinstance(x, torch.Tensor) else None)
        with torch.no_grad(), _unfused(torch), _inferring(model), _watched_modules(model, recording):
            recording.finish(model, model(*(_to_torch(torch, x, device) for x in arguments), **tensors))
    else:
        raise BackendError(f"cannot record a {type(model).__name__}: give a torch module or a Keras model")
    return recording.values


class Recording:
    """Outputs of modules by name, in the order in which they were computed.

    to_numpy: a function that returns a tensor as a NumPy array, and None for anything else.
    """

    def __init__(self, to_numpy: Callable[[Any], numpy.ndarray | None]) -> None:
        self.values: dict[str, numpy.ndarray] = {}
        self._to_numpy, self._calls = to_numpy, Counter[str]()

    def keep(self, name: str, output: Any) -> None:
        """Keep the output of a module."""
        self._calls[name] += 1
        if self._calls[name] > 1:
            name = f"{name}#{self._calls[name]}"
        for ending, tensor in _tensors(output):
            self._keep(name + ending, tensor)

    def finish(self, model: Any, output: Any) -> None:
        """Keep the output of the model. A warning names both if there are no tensors in it."""
        before = len(self.values)
        self._finish(_fields(output))
        if len(self.values) == before:
            warnings.warn(
                f"the {type(model).__name__} returned a {type(output).__name__}, in which no tensors were found: "
                "only its modules' outputs were recorded",
                stacklevel=3,
            )

    def _finish(self, output: Any) -> None:
        if not isinstance(output, Mapping):
            self.keep("output", output)
            return
        for name, value in output.items():
            several = isinstance(value, tuple | list)
            for index, tensor in enumerate(value if several else [value]):
                self._keep(f"{name}.{index}" if several else name, tensor)

    def _keep(self, name: str, tensor: Any) -> None:
        array = self._to_numpy(tensor)
        if array is not None:
            self.values[name] = array.copy()  # later modules may write into it


def _tensors(output: Any) -> Iterator[tuple[str, Any]]:
    """The tensors of an output, each with a suffix for its name; the first tensor's suffix is empty.

    Tensors nested more deeply are left out, since they are other modules' outputs.
    """
    output = _fields(output)
    if not isinstance(output, tuple | list | Mapping):
        yield "", output
        return
    first, *others = [*(output.values() if isinstance(output, Mapping) else output)] or [None]
    yield next(_tensors(first))
    yield from ((f".{index}", other) for index, other in enumerate(others, 1))


def _fields(output: Any) -> Any:
    """The fields of a dataclass, a named tuple or another object as a dict; a mapping or a tensor as it is."""
    if isinstance(output, type | Mapping) or hasattr(output, "shape"):
        return output
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return output._asdict()
    return dict(vars(output)) if hasattr(output, "__dict__") else output


def _to_torch(torch: Any, value: Any, device: Any) -> Any:
    """The value with every NumPy array in it, at any depth, as a tensor."""
    if isinstance(value, Mapping):
        return {name: _to_torch(torch, part, device) for name, part in value.items()}
    if type(value) in (list, tuple):  # such as the keys and values of a cache
        return type(value)(_to_torch(torch, part, device) for part in value)
    return torch.as_tensor(value, device=device) if isinstance(value, numpy.ndarray) else value


@contextlib.contextmanager
def _inferring(module: Any) -> Iterator[None]:
    """A context in which a module is in evaluation mode. Afterwards, all submodules are in their previous modes."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


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


COMPILED = "_orig_mod"
"""Name that torch.compile gives to the module it wraps."""


@contextlib.contextmanager
def _watched_modules(module: Any, recording: Recording) -> Iterator[None]:
    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda _, __, output: recording.keep(name, output)

    hooks = [
        part.register_forward_hook(keep(name.replace(f"{COMPILED}.", "")))
        for name, part in module.named_modules()
        if name and not name.endswith(COMPILED)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
