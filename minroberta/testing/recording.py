"""The outputs of a live model's modules, by name."""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy


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
    first, *others = _parts(output) or [output]
    yield "", _first(first)
    yield from ((f".{index}", other) for index, other in enumerate(others, 1))


def _first(output: Any) -> Any:
    """The first tensor within an output; None if there are more than `DEPTH` objects around it, or if it is empty."""
    for _ in range(DEPTH):
        parts = _parts(output)
        if parts is None:
            return output
        output = parts[0] if parts else None
    return None


DEPTH = 20
"""Maximum depth at which a tensor is looked for: an object may hold itself."""


def _parts(output: Any) -> list[Any] | None:
    """The parts of a tuple, a list, a mapping or an object with fields; None for anything else, such as a tensor."""
    output = _fields(output)
    if not isinstance(output, tuple | list | Mapping):
        return None
    return [*(output.values() if isinstance(output, Mapping) else output)]


def _fields(output: Any) -> Any:
    """The fields of a dataclass, a named tuple or another object as a dict; a mapping or a tensor as it is."""
    if isinstance(output, type | Mapping) or hasattr(output, "shape"):
        return output
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return output._asdict()
    return dict(vars(output)) if hasattr(output, "__dict__") else output
