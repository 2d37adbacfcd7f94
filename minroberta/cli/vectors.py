"""Files of vectors: .npy, one array; and .parquet, a row for each text."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy

from ..checkpoints.files import replacing
from ..text.running import progress
from .texts import AT_ONCE, Texts, ask, batches

ROWS = 4096
"""Number of rows that are written to a .parquet file at once, as a row group."""

Encode = Callable[[Any], numpy.ndarray]
"""A function from N texts to their vectors, (N, W)."""


def writer(name: str, at_once: int | None) -> Callable[[Texts, Encode], None]:
    """Return a function that writes the vectors of texts in the format that a file's name ends in. Raises UsageError.

    Standard output (-), a pipe or a device is written in .npy format. at_once: the caller's batch size, if given: each
    call of `encode` for a .parquet file then gets at least as many texts.
    """
    if name.endswith(".parquet"):
        pyarrow = _pyarrow()
        return lambda texts, encode: _write_parquet(name, texts, encode, max(AT_ONCE, at_once or 0), pyarrow)
    if name.endswith(".npy") or _is_stream(name):
        return lambda texts, encode: _write_npy(name, texts, encode)
    raise click.UsageError(f"unknown ending of --output {name}: give a name that ends in .npy or .parquet")


def _is_stream(name: str) -> bool:
    path = Path(name)
    return name == "-" or (path.exists() and not path.is_file())


@contextlib.contextmanager
def _open_new(name: str) -> Iterator[Any]:
    """Open a file for writing. An existing file is replaced once everything is written, and kept after an error."""
    if _is_stream(name):
        with click.open_file(name, "wb") as file:
            yield file
        return
    try:
        with replacing(Path(name)) as partial, partial.open("wb") as file:
            yield file
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error


def _write_npy(name: str, texts: Texts, encode: Encode) -> None:
    with _open_new(name) as file:  # opened first, since the work may take long
        numpy.save(file, encode([text for _, text in texts.items]))


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise click.ClickException('writing .parquet needs pyarrow: pip install "minroberta[parquet]"') from error
    return pyarrow


def _write_parquet(name: str, texts: Texts, encode: Encode, at_once: int, pyarrow: ModuleType) -> None:
    """Write a column `text`, and a column `vector` of lists with a fixed size. Only ROWS rows are in memory at once."""
    none = encode([])
    of_vectors = pyarrow.list_(pyarrow.from_numpy_dtype(none.dtype), none.shape[1])
    schema = pyarrow.schema([("text", pyarrow.string()), ("vector", of_vectors)])
    with (
        _open_new(name) as file,
        pyarrow.parquet.ParquetWriter(file, schema) as written,
        progress(texts.total, "texts") as advance,
    ):
        rows = _rows(texts, encode, at_once, advance)
        while some := list(itertools.islice(rows, ROWS)):
            vectors = pyarrow.array(numpy.concatenate([vector for _, vector in some]))
            columns = [[text for text, _ in some], pyarrow.FixedSizeListArray.from_arrays(vectors, none.shape[1])]
            written.write_table(pyarrow.table(columns, schema=schema))


def _rows(
    texts: Texts, encode: Encode, at_once: int, advance: Callable[[int], Any]
) -> Iterator[tuple[str, numpy.ndarray]]:
    """Each text with its vector."""
    for batch in batches(texts.items, at_once):
        yield from zip((text for _, text in batch), ask(batch, encode), strict=True)
        advance(len(batch))
