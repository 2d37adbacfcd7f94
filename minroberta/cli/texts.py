"""Texts from arguments, a file or standard input, and a task's answers for them."""

import contextlib
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import click

from ..errors import Error
from ..text.running import progress
from .console import warnings_in_a_line

AT_ONCE = 64
"""Number of texts in one call of a task."""

# --- reading --------------------------------------------------------------------------------------------------------


class Texts(NamedTuple):
    """Texts or pairs of texts, each with a prefix for messages about it."""

    items: Iterator[tuple[str, Any]]
    total: int | None  # None for a pipe, from which texts come one by one


def read_texts(texts: Sequence[str], file: BinaryIO | None) -> Texts:
    """The arguments, or the lines of a file, or the lines of standard input."""
    if texts and file:
        raise click.UsageError("give texts as arguments or with --file, not both")
    if texts:
        prefixes = (f"text {number}: " if len(texts) > 1 else "" for number in range(1, len(texts) + 1))
        return Texts(zip(prefixes, texts, strict=True), len(texts))
    given = file or _standard_input("no text: give one as an argument, with --file, or on standard input")
    total = _count_lines(given)
    return Texts(_lines(given), total)


def read_pairs(texts: Sequence[str], file: BinaryIO | None) -> Texts:
    """Pairs of texts: every two consecutive arguments, or the two fields of each line."""
    if len(texts) % 2:
        raise click.UsageError(f"--pairs takes texts in pairs, but {len(texts)} were given: give one more")
    items, total = read_texts(texts, file)
    if texts:
        return Texts(((prefix, (text, next(items)[1])) for prefix, text in items), len(texts) // 2)
    return Texts(((prefix, _fields(prefix, line)) for prefix, line in items), total)


def read_context(text: str | None, file: BinaryIO | None) -> str:
    """The context of a question: the option's text, or a file or standard input without its final newline."""
    if text is not None and file:
        raise click.UsageError("give the context with --context or --context-file, not both")
    if text is not None:
        return text
    otherwise = "no context: give one with --context, with --context-file, or on standard input"
    return _without_newline(_decode((file or _standard_input(otherwise)).read()))


def _standard_input(otherwise: str) -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError(otherwise)
    return sys.stdin.buffer


def _count_lines(file: BinaryIO) -> int | None:
    """Number of lines to read, or None for a pipe."""
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
    except OSError:  # a file in memory
        pass
    start = file.tell()
    count = sum(1 for _ in file)
    file.seek(start)
    return count


def _lines(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(file, 1):
        prefix = f"line {number}: "
        yield prefix, _without_newline(_decode(line, prefix, start=number == 1))


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _decode(content: bytes, prefix: str = "", start: bool = True) -> str:
    """Decode UTF-8. start: remove a byte order mark at the start."""
    try:
        return content.decode("utf-8-sig" if start else "utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} is {content[error.start]:#04x}"
        raise click.ClickException(
            f"{prefix}the text is not in UTF-8 ({byte}): convert it, for example with iconv"
        ) from None


def _fields(prefix: str, line: str) -> tuple[str, ...]:
    fields = tuple(line.split("\t"))
    if len(fields) != 2:
        raise click.ClickException(
            f"{prefix}--pairs takes two texts with a tab between them, but this line has {len(fields)}"
        )
    return fields


# --- answers --------------------------------------------------------------------------------------------------------


def answers(texts: Texts, task: Callable[[Any], Any], at_once: int = AT_ONCE) -> Iterator[tuple[Any, Any]]:
    """Each text with the task's answer. A progress bar is shown, unless the answers appear on a terminal.

    Texts are processed in batches of `at_once`, or one by one if they come from a pipe.
    """
    several = at_once if texts.total is not None else 1
    with _progress(texts.total) as advance:
        for batch in batches(texts.items, several):
            for answer in zip((text for _, text in batch), ask(batch, task), strict=True):
                advance(1)
                yield answer


def _progress(total: int | None) -> contextlib.AbstractContextManager[Callable[[int], Any]]:
    on_terminal = sys.stdout and sys.stdout.isatty()
    return contextlib.nullcontext(lambda count: None) if on_terminal else progress(total, "texts")


def batches(items: Iterator[tuple[str, Any]], at_once: int) -> Iterator[list[tuple[str, Any]]]:
    """The texts in batches. Texts before an unreadable one are yielded before its error is raised."""
    batch: list[tuple[str, Any]] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == at_once:
                yield batch
                batch = []
    except click.ClickException:
        yield batch
        raise
    yield batch


def ask(batch: list[tuple[str, Any]], task: Callable[[Any], Any]) -> Iterator[Any]:
    """The answers for a batch. After an error or a warning, texts are processed one by one, to name the culprit."""
    if not batch:
        return iter(())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return iter(task([text for _, text in batch]))
    except (Error, UserWarning):
        return (_ask_one(prefix, text, task) for prefix, text in batch)


def _ask_one(prefix: str, text: Any, task: Callable[[Any], Any]) -> Any:
    try:
        with warnings_in_a_line(prefix):
            return task(text)
    except Error as error:
        raise click.ClickException(prefix + str(error)) from error
