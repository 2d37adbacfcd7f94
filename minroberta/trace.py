"""Every intermediate value has a name: `q = tap(p.query.path, linear(x, **p.query.tree))`.

A value has the name of the Hugging Face module that returns it, without the base model's prefix. A value that no module
returns (`.scores`, `.probs`, `.sum`) is named after the module that computes it. By default, `tap` only returns its
argument.
"""

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from .errors import InputError, NameUnknownError

Array = Any
Record = Callable[[str, Array], Array]
Kept = dict[str, Any]

_record: ContextVar[Record | None] = ContextVar("record", default=None)
_wanted: ContextVar[tuple[Collection[str], Kept]] = ContextVar("wanted", default=((), {}))


def tap(name: str, value: Array) -> Array:
    """Name an intermediate value. Returns the value, or a recorder's replacement."""
    record = _record.get()
    return keep(name, value if record is None else record(name, value))


def keep(name: str, value: Any) -> Any:
    """Name a value for `keeping` only; recorders do not see it. Returns the value."""
    names, kept = _wanted.get()
    if name in names:
        kept[name] = value
    return value


def is_recording() -> bool:
    """Return whether values are passed to a recorder. If so, every named value must be computed as a whole."""
    return _record.get() is not None


def is_watched(name: str | None = None) -> bool:
    """Return whether the value with this name is recorded or kept; without a name, whether any value is."""
    names, _ = _wanted.get()
    return is_recording() or (bool(names) if name is None else name in names)


@contextlib.contextmanager
def recording(record: Record | None) -> Iterator[None]:
    """Replace every value tapped within the block by `record(name, value)`; if `record` is None, record nothing."""
    token = _record.set(record)
    try:
        yield
    finally:
        _record.reset(token)


@contextlib.contextmanager
def keeping(names: Collection[str]) -> Iterator[Kept]:
    """Yield a dict, and store in it the values with the given names that are computed within the block.

    A value inside a `placewise` function may be only one thread's share. `keeping` is meant for direct calls of
    functions in `layers`. `model.run` has its own block, so a block around it does not get the values of the body.
    """
    kept: Kept = {}
    token = _wanted.set((frozenset(names), kept))
    try:
        yield kept
    finally:
        _wanted.reset(token)


class Node:
    """A node of the parameter tree, with its dotted name.

    A node such as `p.attention.self.query` has the arrays of a module as `tree`, and the module's name as `path`.
    `p.layer[3]` is an item of a list, `p.query.weight` is an array, and `"pooler" in p` is True if p has a pooler.
    """

    __slots__ = ("path", "tree")

    def __init__(self, tree: Any, path: str = "") -> None:
        self.tree, self.path = tree, path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask for methods that a node may lack
            raise AttributeError(name)
        try:
            return self._step(self.tree[name], name)
        except KeyError:
            place = f"{self.path}.{name}" if self.path else name
            raise NameUnknownError(f"the parameters have no {place}; this node has {', '.join(self.tree)}") from None

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self.tree):
            raise NameUnknownError(
                f"the parameters have no {self.path}.{index}: {self.path} has {len(self.tree)} items"
            )
        return self._step(self.tree[index], str(index))

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self.tree)))

    def __contains__(self, name: str) -> bool:
        return name in self.tree

    def __len__(self) -> int:
        return len(self.tree)

    def _step(self, child: Any, name: str) -> Any:
        if isinstance(child, dict | list):
            return Node(child, f"{self.path}.{name}" if self.path else name)
        return child


class Trace(Mapping[str, Array]):
    """The named intermediate values of one run, in the order of computation.

    It is a mapping from names to arrays. The attributes are `model`, `inputs`, `output`, and `edited`, a tuple of the
    names of the edited values.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any], edited: Iterable[str] = ()) -> None:
        self.model, self.inputs, self.edited = model, inputs, tuple(edited)
        self.output: Any = None
        self._values: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._values:
            raise NameUnknownError(_no_value(name, self._values))
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        rows = (f"{name:<48} {value.dtype!s:<9} {tuple(value.shape)}" for name, value in self.items())
        return "\n".join(rows)


def trace(
    model: Any,
    input_ids: Any = None,
    *,
    edit: Mapping[str, Callable[[Array], Array]] | None = None,
    **inputs: Any,
) -> Trace:
    """Run a model, and record every named intermediate value.

        t = trace(model, ids)                                                   # print(t) lists the names and shapes
        t["encoder.layer.3.attention.self.probs"]                               # (B, H, L, S)
        t.output.logits                                                         # the model's output
        trace(model, ids, edit={"encoder.layer.3.output": lambda x: 0 * x})     # the run continues with zeros

    model: a `Model`; input_ids, inputs: the arguments with which to call the model.
    edit: a dict from names to functions. Each function gets the value with that name and returns a replacement of the
    same shape and dtype, with which the run continues.

    The names depend on the model's family: `encoder.layer.0.attention.output.LayerNorm` in Roberta is called
    `encoder.layer.0.attention.LayerNorm` in RobertaPreLayerNorm.

    Raises NameUnknownError if `edit` has a name that the run does not compute, and InputError if a replacement has a
    different shape or dtype.
    """
    edit = edit or {}
    if not (callable(model) and hasattr(model, "config")):
        raise InputError(f"trace takes a Model, not {type(model).__name__}: load one with minroberta.load(name)")
    if not (isinstance(edit, Mapping) and all(map(callable, edit.values()))):
        raise InputError("edit must be a dict from names to functions, such as {'encoder': lambda x: 2 * x}")
    if input_ids is not None:
        inputs["input_ids"] = input_ids
    result, own_name = Trace(model, inputs, edit), model.config.family.own_name

    def record(name: str, value: Array) -> Array:
        name = own_name(name)
        if name in edit:
            with recording(None), keeping(()):  # an edit may run a model or a layer, as activation patching does
                value = _edited(name, value, edit[name])
        result._values[name] = value
        return value

    with recording(record):
        result.output = model(**inputs)
    for name in edit:
        if name not in result:
            raise NameUnknownError(_no_value(name, result))
    return result


def _edited(name: str, value: Array, function: Callable[[Array], Array]) -> Array:
    new = function(value)
    made = f"{new.dtype} {tuple(new.shape)}" if hasattr(new, "shape") else type(new).__name__
    if made != (wanted := f"{value.dtype} {tuple(value.shape)}"):
        raise InputError(f"the edit of {name} returned {made} instead of {wanted}: return the same dtype and shape")
    return new


def _no_value(name: Any, names: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), names, n=3)
    return f"this run has no value named {name!r}" + (f": did you mean {', '.join(close)}?" if close else "")
