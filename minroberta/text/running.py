"""Helpers for running a task: checks, computation in batches, progress bars, and the best scores."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict, TypeVar

import numpy

from .. import ops
from ..backend.arrays import Array, to_host, widen
from ..config import HEADS, Config
from ..errors import InputError
from ..model import Network
from .texts import which
from .tokenizer import Row as Tokenized
from .tokenizer import Tokenizer, tokenizer_of

Value = TypeVar("Value")

Row = Sequence[int]
"""The ids of a text or a window."""

Output = dict[str, Array]
"""The head's outputs for a row, each (positions, ...)."""

Read = Callable[[Output, Row], Value]
"""A function that reads what a task needs from the outputs of a row."""

TOKENS = 4096
"""Maximum number of tokens in a batch of several texts. It is enough to keep a processor busy."""

ON_JAX = 4
"""Factor of TOKENS for each device of a model on JAX, which packs texts into rows and makes batches of rows."""

LOGITS = 2**26
"""Maximum number of logits in a batch of several texts, for heads over the whole vocabulary: 256 MiB in float32."""

LONG = 100
"""Minimum number of texts for a progress bar."""

SETFIT = ("classify", "encoder")
"""A task, and the head of the model that it is called on, as for a SetFit model, whose classifier is not read."""

# --- checks ---------------------------------------------------------------------------------------------------------


def ready(model: Network, task: str, head: str) -> Tokenizer:
    """Check that the model has the task's head, and return the model's tokenizer. Raises InputError, TokenizerError."""
    if model.head != head:
        setfit = ". The classifier of a SetFit model is not read" if (task, model.head) == SETFIT else ""
        raise InputError(
            f"{task} needs head {head!r}, but this model has {model.head!r}: load one that has it, with "
            f"load(name, head={head!r}){setfit}"
        )
    return tokenizer_of(model)


def warn_of_cut(rows: Sequence[Tokenized], limit: int) -> None:
    """Warn the task's caller of texts that were cut to `limit` tokens."""
    longer = [which(index, rows) for index, row in enumerate(rows) if row.rest]
    if longer:
        subject = f"{longer[0]} is" if len(longer) == 1 else f"{len(longer)} of {len(rows)} texts are"
        warnings.warn(
            f"{subject} longer than the {limit} tokens that this model reads: the rest is left out", stacklevel=3
        )


# --- rows in batches ------------------------------------------------------------------------------------------------


def run(
    model: Network,
    rows: Sequence[Row],
    read: Read[Value],
    wanted: Sequence[Sequence[int]] | None = None,
    batch_size: int | None = None,
    unit: str = "texts",
) -> list[Value]:
    """Apply `read` to the outputs of each row, and show a progress bar.

    wanted: for each row, the positions whose outputs are computed; by default all.
    """
    results: list[Value] = []
    with progress(len(rows), unit) as advance:
        for batch in _batches(model, rows, wanted, batch_size):
            outputs = model.on_rows(rows[batch], None if wanted is None else wanted[batch])
            results += [read(output, row) for output, row in zip(outputs, rows[batch], strict=True)]
            advance(len(outputs))
    return results


def _batches(
    model: Network, rows: Sequence[Row], wanted: Sequence[Sequence[int]] | None, batch_size: int | None
) -> Iterator[slice]:
    """Split the rows into batches of `batch_size` rows, or of as many rows as TOKENS and LOGITS allow."""
    most = TOKENS * (ON_JAX * model.device_count if model.xp.__name__ == "jax.numpy" else 1)
    each = model.config.vocab_size * most / LOGITS if HEADS[model.head].classes == "V" else 0
    start, cost = 0, 0.0
    for index, row in enumerate(rows):
        added = max(len(row), each * len(row if wanted is None else wanted[index]))
        full = index - start == batch_size if batch_size else cost + added > most
        if full and index > start:
            yield slice(start, index)
            start, cost = index, 0.0
        cost += added
    if rows:
        yield slice(start, len(rows))


@contextlib.contextmanager
def progress(total: int | None, unit: str) -> Iterator[Callable[[int], Any]]:
    """Show a progress bar for a long list if standard error is a terminal. Yields a function that advances the bar.

    total: length of the list, or None if unknown. In that case, a counter appears instead of a bar, after a second.
    """
    if (total is not None and total < LONG) or not (sys.stderr and sys.stderr.isatty()):
        yield lambda count: None
        return
    from tqdm import tqdm  # type: ignore[import-untyped]  # importing it takes longer than computing a short list

    with tqdm(total=total, unit=f" {unit}", leave=None, delay=0 if total else 1) as bar:
        yield bar.update


# --- scores ---------------------------------------------------------------------------------------------------------


class Label(TypedDict):
    """A label or a choice, with its score."""

    label: str
    score: float


def probabilities(logits: Array) -> numpy.ndarray:
    """Softmax over the last axis, on the host: (..., N)."""
    return to_host(ops.softmax(widen(logits)))


def best(scores: numpy.ndarray, top_k: int | None) -> numpy.ndarray:
    """Indices of the largest scores, largest first: (N,) -> (top_k,). Equal scores keep their order."""
    indices = numpy.arange(len(scores))
    if top_k is not None and top_k < len(scores):  # sort only the largest
        least = -numpy.partition(-scores, top_k - 1)[top_k - 1]
        indices = numpy.flatnonzero(~(scores < least))
    return indices[numpy.argsort(-scores[indices], kind="stable")][:top_k]


def ranked(labels: Sequence[str], scores: numpy.ndarray) -> list[Label]:
    """All labels with their scores, best first."""
    return [{"label": labels[i], "score": float(scores[i])} for i in best(scores, None)]


def label_names(config: Config) -> list[str]:
    """The labels' names, in order. Labels that the configuration does not name are called `LABEL_0`, `LABEL_1`, ..."""
    return [config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels)]
