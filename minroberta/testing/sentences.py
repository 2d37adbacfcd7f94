"""Sentences and short numbers that describe a result. They are the same in a terminal, in a failed test and on a page.

Names and notes may come from an untrusted file: they are made printable here.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from .result import Result, Row

LAYER = re.compile(r"(?<=\blayer\.)[0-9]{1,4}(?=\.|$)")
"""The index of a layer in a value's name."""

MEANING = {
    "good": "right, up to rounding",
    "follows": "this step is right, but the values it is computed from are off",
    "wrong": "this step itself is wrong",
    "suspicious": "within the bound, but further off than right ports are",
    "layout": "right, with the elements in a different order",
    "shape": "a shape that no order of the axes explains",
}
"""The meaning of each verdict."""

NONE_BEFORE = "no earlier value was compared"


def headline(result: Result) -> str:
    """A result in one sentence: the first wrong value, the size of the error, and the two numbers that differ most."""
    title, rest = verdict_in_two(result)
    return f"{title}{rest}"


def verdict_in_two(result: Result) -> tuple[str, str]:
    """The headline in two parts: a title, and the rest."""
    if result.ok:
        return _all_right(result)
    row = result.bad[0]
    before = f" (last good {plain(result.last_good)})" if result.last_good else f" ({NONE_BEFORE})"
    return f"first wrong at {plain(row.name)}", f"{before}: {what_is_wrong(row, result.precision)}{_worst(row)}"


def _all_right(result: Result) -> tuple[str, str]:
    largest = times(max(row.multiple for row in result.rows))
    one = len(result.rows) == 1
    if any(row.multiple > result.bound for row in result.rows):
        steps = "the only step is" if one else f"all {len(result.rows)} steps are"
        return (
            f"{steps} right",
            f", but their errors add up to {largest} times the {result.precision} rounding error{_reserve(result)}",
        )
    values = "the only value is" if one else f"all {len(result.rows)} values are"
    return f"{values} right", f", to within {largest} times the {result.precision} rounding error{_reserve(result)}"


def _reserve(result: Result) -> str:
    """The end of a right result's headline: its suspicious values and other layouts."""
    names, layouts = shortened(merged(result.suspicious)), {row.layout for row in result.rows if row.layout}
    parts = [f"; suspicious: {names}, further off than in right ports"] if names else []
    return "".join([*parts, *(f"; in another layout: {plain(layout, 200)}" for layout in sorted(layouts))])


def what_is_wrong(row: Row, precision: str) -> str:
    """The size of a value's error, or what is wrong with its shape, and the row's note."""
    note = plain(row.note, 200)
    if row.verdict == "shape":
        return note
    finite = math.isfinite(row.error)
    size = f"{times(row.error)} times the" if finite else "off by more than any"
    return f"{size} {precision} rounding error" + (f"; {note}" if note else "")


def _worst(row: Row) -> str:
    if row.place is None:
        return ""
    candidate, reference = two_numbers(row)
    return f"; {'worst at ' if row.place else ''}{where_worst(row)}{candidate} where the reference has {reference}"


def where_worst(row: Row) -> str:
    """The position of the largest error in words, such as `batch 0, token 5, channel 17: `."""
    where = ", ".join(f"{plain(axis)} {index}" for axis, index in (row.place or {}).items())
    return f"{where}: " if where else ""


def summary(result: Result) -> list[str]:
    """The known mistakes, the number of values with each verdict, and the names of all bad values if there are several.

    Empty if all is right.
    """
    bad = [row.name for row in result.bad]
    if not bad:
        return []
    counts = f"{len(result.rows)} values: {count_verdicts(result.rows)}"
    why = [f"why: {joint}{name}{words}" for joint, name, words in reasons(result)]
    return [*why, counts if len(bad) == 1 else f"{counts}; bad: {shortened(merged(bad))}"]


def reasons(result: Result) -> Iterator[tuple[str, str, str]]:
    """The findings of `diagnose`, if it was run.

    Each consists of a word that joins it to the previous finding, the mistake's name, and the rest of the sentence.
    """
    if result.findings == ():
        yield "", "none", " of the known mistakes explains it"
    findings = result.findings or ()
    for index, finding in enumerate(findings):
        is_second = index and finding.on_top_of not in (None, findings[index - 1].on_top_of)
        joint = "and also " if is_second else "or " if index else ""
        yield joint, finding.name, f": {finding.explanation} {finding.fix}{finding.rest}"


def left_out(result: Result) -> Iterator[tuple[str, str]]:
    """The names that were not compared, and what could not be determined, each with a label."""
    if result.audit:
        yield "audit", plain(result.audit, 300)
    if result.missing:
        yield f"missing ({len(result.missing)})", shortened(merged(result.missing))
    if result.unknown:
        yield f"unknown ({len(result.unknown)})", shortened(merged(result.unknown))
    for sentence in result.unavailable:
        yield "unavailable", plain(sentence, 300)


def in_brief(result: Result) -> list[str]:
    """The lines of a result without its rows: the headline, the summary, and what was left out."""
    return [headline(result), *summary(result), *(f"{what}: {which}" for what, which in left_out(result))]


def merged(names: Iterable[str]) -> list[str]:
    """Merge all names that differ only in the layer number, for example into `encoder.layer.0-3,5.output`."""
    layers: dict[tuple[str, ...], list[int]] = {}
    for name in names:
        found = LAYER.search(name)
        key = (name[: found.start()], name[found.end() :]) if found else (name,)
        layers.setdefault(key, []).extend([int(found[0])] if found else [])
    return [_ranges(numbers).join(map(plain, key)) for key, numbers in layers.items()]


def _ranges(numbers: list[int]) -> str:
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(set(numbers))), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def shortened(names: Sequence[str], most: int = 6) -> str:
    """The first of the names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def count_verdicts(rows: Sequence[Row]) -> str:
    """The number of rows with each verdict, such as `1 wrong, 18 good`."""
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(MEANING) if counts[verdict])


# --- numbers and names ----------------------------------------------------------------------------------------------


def times(multiple: float | None) -> str:
    """A multiple of the rounding error, in a few digits."""
    if multiple is None or math.isnan(multiple):
        return "-"
    if multiple < 10_000 or math.isinf(multiple):
        return f"{multiple:.2g}" if multiple < 10 else f"{multiple:.0f}"
    digits, power = f"{multiple:.1e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def in_short(number: float) -> str:
    """A number with two significant digits; a dash for NaN."""
    return "-" if math.isnan(number) else f"{number:.2g}"


def two_numbers(row: Row) -> tuple[str, str]:
    """The candidate's and the reference's number where they differ most.

    Both have one more digit than is needed to tell them apart.
    """
    both = row.candidate, row.reference
    if row.place is None:
        return "-", "-"
    digits = next((n for n in range(3, 17) if f"{both[0]:.{n}g}" != f"{both[1]:.{n}g}"), 3)
    return f"{both[0]:.{digits + 1}g}", f"{both[1]:.{digits + 1}g}"


def plain(name: Any, longest: int = 100) -> str:
    """A name made printable: on one line, without control characters, and shortened in the middle if it is long."""
    name = str(name)[: 2 * longest]
    name = name if name.isprintable() else name.encode("unicode_escape").decode()
    return name if len(name) <= longest else f"{name[: longest // 2 - 2]}...{name[-longest // 2 + 1 :]}"
