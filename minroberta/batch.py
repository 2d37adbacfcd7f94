"""`Mapper`: a task of a model as a function of batches, which Ray Data, Dask, Spark and datasets map over a corpus.

The engine sends the function to its processes, and calls it there with a few hundred rows at a time. docs/corpus.md is
about the engines.
"""

import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from . import loading
from .backend.locks import Lock
from .checkpoints.hub import EMBEDDED
from .errors import InputError, NameUnknownError


class Task(NamedTuple):
    """A method of `Model` whose results fit in columns.

    head: the head that it needs. texts: the possible numbers of columns that it reads. columns: those that it adds,
    with their types. several: True if a row may have any number of results, whatever the arguments are.
    """

    head: str
    texts: tuple[int, ...]
    columns: dict[str, str]
    several: bool = False


SCORED = {"label": "string", "score": "float64"}
SPAN = {"start": "int64", "end": "int64"}

TASKS = {
    "encode": Task("encoder", (1,), {"vector": ""}),
    "classify": Task("sequence_classification", (1, 2), SCORED),
    "zero_shot": Task("sequence_classification", (1,), SCORED, several=True),
    "tag": Task("token_classification", (1,), {**SCORED, "word": "string", **SPAN}, several=True),
    "answer": Task("question_answering", (2,), {"answer": "string", "score": "float64", **SPAN}),
    "fill_mask": Task("masked_lm", (1,), {"token_str": "string", "token": "int64", "score": "float64"}),
}


class Column(NamedTuple):
    """Values for each row, and their type; or vectors (N, W)."""

    values: Any
    type: str
    several: bool = False  # a list for each row


class Mapper:
    """A task of a model as a function from a batch to the same batch with more columns, the results.

    name, load: the arguments of `minroberta.load`, all but the first in a dict, such as {"adapter": "my-adapter"}. The
    head is the task's by default; xp may be the name of a module, such as "jax.numpy".
    task: encode, classify, zero_shot, tag, answer or fill_mask. arguments: those of the method with this name.
    column: the column of texts. For `answer` two columns, of questions and contexts, and for pairs in `classify`.
    prefix: put before the names of new columns.

    A batch is a dict of columns (lists or arrays), a pandas DataFrame, or a pyarrow Table or RecordBatch, and so is the
    result. The new columns are

    - for encode: `vector`, an array (N, W); in Arrow, lists of a fixed size
    - for classify, zero_shot: `label`, `score`; for tag: also `word`, `start`, `end`
    - for answer: `answer`, `score`, `start`, `end`
    - for fill_mask: `token_str`, `token`, `score`, if each text has one mask

    If top_k is 1, as it is by default for classify and answer, each row has one result. Otherwise, and for zero_shot
    and tag, each row has lists, with an item for each result, in the method's order.

    A mapper is pickled without the model. Each process loads the model at the first batch, and keeps it until it ends.
    Its threads share the model, as do mappers with the same `name` and `load`, head included.

    Raises NameUnknownError and InputError. Calls raise these too, and what `load` and the method raise.
    """

    def __init__(
        self,
        name: str | Path = EMBEDDED,
        task: str = "encode",
        column: str | Sequence[str] = "text",
        *,
        prefix: str = "",
        load: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        if not isinstance(task, str) or task not in TASKS:
            raise NameUnknownError(f"unknown task {task!r}: give one of {', '.join(TASKS)}")
        if not isinstance(prefix, str):
            raise InputError(f"prefix must be a str, not {prefix!r}")
        if not isinstance(load or {}, Mapping):
            raise InputError(f"load must be a dict of arguments, not {load!r}")
        self.name, self.task, self.prefix, self.arguments = name, task, prefix, arguments
        self.columns = _checked_columns(task, column)
        self.load = {"head": TASKS[task].head, **(load or {})}
        if isinstance(xp := self.load.get("xp"), ModuleType):  # modules cannot be pickled
            self.load["xp"] = xp.__name__
        _checked_call("load", loading.load, [name], self.load)
        model_and_texts = [None] * (1 + min(TASKS[task].texts))
        called = _checked_call(task, getattr(loading.Model, task), model_and_texts, arguments)
        self.several = TASKS[task].several or called.get("top_k", 1) != 1
        _check_pickled({"name": name, **self.load, **arguments})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.task!r}, {self.columns!r})"

    def __call__(self, batch: Any) -> Any:
        """The batch with the results, in the same order."""
        names = _names(batch)
        for new in TASKS[self.task].columns:
            if self.prefix + new in names:
                raise InputError(f"the batch already has a column {self.prefix + new!r}: rename it, or give a prefix=")
        texts: list[Any] = [_texts(batch, column, names) for column in self.columns]
        _check_lengths(self.columns, texts)
        if self.task == "classify" and len(texts) == 2:
            texts = [list(zip(*texts, strict=True))]
        results = getattr(_model(self.name, self.load), self.task)(*texts, **self.arguments)
        return _with_columns(batch, {self.prefix + name: column for name, column in self._columns_of(results)})

    def _columns_of(self, results: Any) -> Iterator[tuple[str, Column]]:
        """The results of all rows, column by column."""
        if self.task == "encode":
            yield "vector", Column(results, results.dtype.name)
            return
        if self.task == "fill_mask":
            _check_masks(results)
        rows = [_as_dicts(self.task, result) for result in results]
        for name, kind in TASKS[self.task].columns.items():
            values = [[str(one[name]) if kind == "string" else one[name] for one in row] for row in rows]
            yield name, Column(values if self.several else [value for (value,) in values], kind, self.several)


def _as_dicts(task: str, result: Any) -> list[dict[str, Any]]:
    """The results of one row, with the names of the columns as keys."""
    if task == "zero_shot":
        pairs = zip(result["labels"], result["scores"], strict=True)
        return [{"label": label, "score": score} for label, score in pairs]
    if task == "tag":  # `entity` for a word or token, `entity_group` for several
        return [{"label": one.get("entity_group", one.get("entity")), **one} for one in result]
    return list(result)


# --- the model of a process -----------------------------------------------------------------------------------------

_loaded: list[tuple[tuple[str | Path, Mapping[str, Any]], loading.Model]] = []
_lock = Lock()


def _model(name: str | Path, options: Mapping[str, Any]) -> loading.Model:
    """The model with these options. The first call loads it, while other threads wait."""
    with _lock:
        for known, model in _loaded:
            if known == (name, options):
                return model
        xp = options.get("xp", numpy)
        model = loading.load(name, **{**options, "xp": importlib.import_module(xp) if isinstance(xp, str) else xp})
        _loaded.append(((name, options), model))
        return model


# --- checks that need no model, made before an engine starts --------------------------------------------------------


def _checked_columns(task: str, column: Any) -> list[str]:
    names = [column] if isinstance(column, str) else column
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise InputError(f"column must be a name or a list of names, not {column!r}")
    allowed = TASKS[task].texts
    if len(names) not in allowed:
        raise InputError(
            f"{task} reads {' or '.join(map(str, allowed))} of the columns, not {len(names)}: give column= the name or "
            "a list of names"
        )
    return list(names)


def _checked_call(name: str, function: Callable[..., Any], texts: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The call's arguments by name, with defaults. Raises InputError for arguments that the function does not take."""
    try:
        call = inspect.signature(function).bind(*texts, **options)
    except TypeError as error:
        raise InputError(f"{name} cannot be called with these arguments: {error}") from None
    call.apply_defaults()
    return call.arguments


def _check_pickled(options: Mapping[str, Any]) -> None:
    """Raise InputError for values that another process cannot get, or cannot recognise as those that it has."""
    for name, value in options.items():
        try:
            same = bool(pickle.loads(pickle.dumps(value)) == value)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError):
            same = False
        if not same:
            raise InputError(
                f"{name} is a {type(value).__name__}, which cannot be sent to other processes: give a name or a "
                "number, or a list or dict of them"
            )


# --- batches of each kind -------------------------------------------------------------------------------------------


def _is_from(library: str, batch: Any, *kinds: str) -> bool:
    """True for an object of one of a library's classes. The library is not imported: if it has not been, it is not."""
    module = sys.modules.get(library)
    return any(isinstance(batch, getattr(module, kind, ())) for kind in kinds)


def _names(batch: Any) -> list[str]:
    if _is_from("pyarrow", batch, "Table", "RecordBatch"):
        return list(batch.schema.names)
    if isinstance(batch, Mapping) or _is_from("pandas", batch, "DataFrame"):
        return list(batch)
    raise InputError(
        f"a batch must be a dict of columns, a pandas DataFrame, or a pyarrow Table or RecordBatch, not a "
        f"{type(batch).__name__}"
    )


def _texts(batch: Any, column: str, names: Sequence[str]) -> list[str]:
    """The texts of a column, a list, an array, or a column of pandas or pyarrow."""
    if column not in names:
        raise InputError(
            f"the batch has no column {column!r}: it has {', '.join(map(repr, names))}. Give column= the name of one"
        )
    values = batch[column]
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(
            f"column {column!r} is a {type(values).__name__}: give a list or an array, with a str for each row"
        )
    for method in ("to_pylist", "tolist"):
        if hasattr(values, method):
            values = getattr(values, method)()
    texts = list(values)
    for row, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise InputError(
                f"row {row} of {len(texts)} in column {column!r} is a {type(text).__name__}: give a str, or leave out "
                "rows without text"
            )
    return texts


def _check_lengths(names: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    if len(set(map(len, texts))) > 1:
        counts = " and ".join(f"{name!r} has {len(column)}" for name, column in zip(names, texts, strict=True))
        raise InputError(f"columns must have equally many rows, but {counts}: give a str for each row in both")


def _check_masks(results: Sequence[Any]) -> None:
    for row, result in enumerate(results, 1):
        if isinstance(result[0], list):  # of fillings, one for each mask
            raise InputError(f"row {row} of {len(results)} has {len(result)} masks: give texts with one")


def _with_columns(batch: Any, columns: Mapping[str, Column]) -> Any:
    """The batch with these columns after its own."""
    if isinstance(batch, Mapping):
        return {**batch, **{name: _as_array(column) for name, column in columns.items()}}
    if _is_from("pandas", batch, "DataFrame"):
        return batch.assign(**{name: _as_series(column) for name, column in columns.items()})
    for name, column in columns.items():
        batch = batch.append_column(name, _as_arrow(column))
    return batch


def _as_array(column: Column) -> Any:
    """An array of vectors or numbers; a list of str or lists."""
    return column.values if column.several or column.type == "string" else numpy.asarray(column.values, column.type)


def _as_series(column: Column) -> Any:
    """As `_as_array`, with an object for each vector or list: pandas has one dimension."""
    array = _as_array(column)
    nested = column.several or isinstance(column.values, numpy.ndarray)
    return numpy.fromiter(array, object, len(array)) if nested else array


def _as_arrow(column: Column) -> Any:
    import pyarrow  # type: ignore[import-untyped]  # here the batch is one of its tables

    if isinstance(column.values, numpy.ndarray):
        return pyarrow.FixedSizeListArray.from_arrays(column.values.reshape(-1), column.values.shape[1])
    kind = pyarrow.string() if column.type == "string" else pyarrow.from_numpy_dtype(column.type)
    return pyarrow.array(column.values, pyarrow.list_(kind) if column.several else kind)
