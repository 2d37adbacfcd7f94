"""A result as a table for a terminal, and the choice of rows for a short table."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from .result import Result, Row
from .sentences import count_verdicts, headline, in_short, left_out, plain, summary, times, two_numbers

LINES = 26
"""Maximum number of lines of a table in a terminal, so that a whole report is visible without scrolling."""

WORST = 6
"""Number of rows with the largest errors that a short table shows if all rows are right."""

HEADINGS = (
    "value", "verdict", "× rounding", "alone ×", "difference", "relative", "worst at", "candidate", "reference", "",
)  # fmt: skip


def text(result: Result) -> str:
    """A report for a terminal, under 40 lines: the finding, the rows around it, and counts of the rows left out."""
    rest = [f"{what}: {which}" for what, which in left_out(result)]
    return "\n".join([headline(result), *summary(result), "", *_short_table(result), *([""] if rest else []), *rest])


def cells(row: Row) -> tuple[str, ...]:
    """The cells of one value, in the order of `HEADINGS`; the last is its note."""
    place = f"[{', '.join(map(str, row.place.values()))}]" if row.place else "-"
    return (
        plain(row.name),
        row.verdict,
        times(row.multiple),
        times(row.alone),
        in_short(row.absolute),
        in_short(row.relative),
        place,
        *two_numbers(row),
        plain(row.note, 200),
    )


def _short_table(result: Result) -> list[str]:
    """The lines of a shortened table: the rows that matter, and a count of the rows left out between them."""
    rows = [(plain(row.name, 52), *cells(row)[1:]) for row in result.rows]
    found = list(stretches(result))
    table = [HEADINGS, *(row for start, stop, shown in found if shown for row in rows[start:stop])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_aligned(HEADINGS, widths)]
    for start, stop, shown in found:
        counted = [f"  ... {count_verdicts(result.rows[start:stop])}"]
        lines += [_aligned(row, widths) for row in rows[start:stop]] if shown else counted
    return lines


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """A line of the table: words are aligned left, numbers right."""
    words = [f"{line[0]:<{widths[0]}}", f"{line[1]:<{widths[1]}}"]
    numbers = [f"{cell:>{width}}" for cell, width in zip(line[2:-1], widths[2:-1], strict=True)]
    return "  ".join([*words, *numbers, line[-1]]).rstrip()


def stretches(result: Result) -> Iterator[tuple[int, int, bool]]:
    """The rows as consecutive ranges (start, stop, shown).

    shown: True if a short table shows the rows, False if it only counts them.
    """
    chosen = _chosen(result)
    for shown, stretch in groupby(range(len(result.rows)), lambda index: index in chosen):
        indices = list(stretch)
        yield indices[0], indices[-1] + 1, shown


def _chosen(result: Result) -> set[int]:
    """The indices of the rows that matter, as many as there is room for."""
    chosen: set[int] = set()
    for index in _by_weight(result):
        if _height(chosen | {index}, len(result.rows)) > LINES:
            break
        chosen.add(index)
    return _filled(chosen, len(result.rows))


def _by_weight(result: Result) -> list[int]:
    """The indices of rows by importance.

    First come the rows around the first bad value, then the other bad ones, then the last row. If all are right, the
    rows with the largest errors follow.
    """
    bad = [index for index, row in enumerate(result.rows) if not row.ok]
    around = range(max(0, bad[0] - 4), min(len(result.rows), bad[0] + 3)) if bad else ()
    by_error = sorted(range(len(result.rows)), key=lambda index: -result.rows[index].multiple)
    short = len(result.rows) <= LINES
    return [*around, *bad, len(result.rows) - 1, *(by_error if short else () if bad else by_error[:WORST])]


def _height(chosen: set[int], count: int) -> int:
    """Number of lines: one for each chosen row, and one for each range of others."""
    return len(chosen) + sum(index not in chosen and (index == 0 or index - 1 in chosen) for index in range(count))


def _filled(chosen: set[int], count: int) -> set[int]:
    """The chosen rows, plus each other row that stands alone: a count in its place would also take one line."""
    return chosen | {i for i in range(count) if (i == 0 or i - 1 in chosen) and (i + 1 == count or i + 1 in chosen)}
