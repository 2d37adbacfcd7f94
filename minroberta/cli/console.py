"""Output for people and programs: tables, JSON lines, facts; one-line errors and warnings."""

import contextlib
import json
import shutil
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

# --- errors and warnings --------------------------------------------------------------------------------------------


def say(kind: str, message: str) -> None:
    """Print an error, a warning or a note as one line on standard error."""
    click.echo(f"{kind}: {printable(' '.join(message.split()))}", err=True)


@contextlib.contextmanager
def warnings_in_a_line(prefix: str = "") -> Iterator[None]:
    """Print each warning as one line, without the name of a Python file."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: say("warning", prefix + str(message))
        yield


# --- JSON and facts -------------------------------------------------------------------------------------------------


def print_json(value: Any) -> None:
    """Print one line of JSON, without escaping characters outside ASCII."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print a name and its value on each line: lists with commas, integers with thousands separators."""
    for name, value in facts.items():
        text = ", ".join(value) or "none" if isinstance(value, list) else value
        click.echo(printable(f"{name:<24}{text:,}" if type(text) is int else f"{name:<24}{text}"))


# --- tables ---------------------------------------------------------------------------------------------------------


class Output:
    """Results, printed as they arrive: JSON lines, or rows of a table whose columns widen as needed.

    columns: keys of the results; keys that the first row lacks are not shown. spaced: print a blank line between the
    results of two texts.
    """

    def __init__(self, as_json: bool, *columns: str, spaced: bool = False) -> None:
        self.as_json, self.columns, self.spaced = as_json, columns, spaced
        self.widths: list[int] = []

    def write(self, result: Sequence[Any], **extra: Any) -> None:
        """Print the result for one text; `extra` holds additional cells for its rows in the table."""
        if self.as_json:
            print_json(result)
            return
        several = result and isinstance(result[0], list)  # one list for each mask
        for rows in result if several else [result]:
            self._write_rows([{**row, **extra} for row in rows])

    def _write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        table = []
        if not self.widths:
            self._begin(rows[0])
            table = [list(self.columns)]
        elif self.spaced:
            click.echo()
        limit = terminal_width()
        table += [[cell(row[name]) for name in self.columns] for row in rows]
        table = [[shortened(text, limit // 3) for text in texts[:-1]] + texts[-1:] for texts in table]
        self.widths = [max(old, *map(width, texts)) for old, *texts in zip(self.widths, *table, strict=True)]
        rest = max(10, limit - sum(self.widths[:-1]) - 2 * len(self.widths[:-1]))
        for *texts, last in table:
            padded = map(pad, texts, self.widths, self.numbers)
            click.echo("  ".join([*padded, shortened(last, rest)]))

    def _begin(self, row: Mapping[str, Any]) -> None:
        self.columns = tuple(name for name in self.columns if name in row)
        self.numbers = [isinstance(row[name], int | float) for name in self.columns]
        self.widths = [0] * len(self.columns)


def terminal_width() -> int:
    """Width of the terminal in columns; unlimited if standard output is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else sys.maxsize


def cell(value: Any) -> str:
    """A value as a table shows it: floats with four decimals, or as 1.2e-04 if they are very small or large."""
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.1e}"
    return printable(str(value))


DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of text."""


def printable(text: str) -> str:
    """Escape characters that move the cursor, end the line or change the direction of the text."""
    if text.isprintable():
        return text
    return "".join(
        repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in DIRECTIONS else c for c in text
    )


def width(text: str) -> int:
    """Number of columns on a terminal: wide characters take 2, combining characters take 0."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shortened(text: str, limit: int) -> str:
    """The text, shortened to at most `limit` columns; an ellipsis stands for the rest."""
    if width(text) <= limit:
        return text
    used = 1
    for index, character in enumerate(text):
        used += width(character)
        if used > limit:
            return text[:index] + "…"
    return text


def pad(text: str, columns: int, to_the_right: bool) -> str:
    """The text padded with spaces on one side to the width of its column."""
    gap = " " * (columns - width(text))
    return gap + text if to_the_right else text + gap
