"""What a report says, in sentences and short numbers.

Names and notes may come from somebody's file: they are made printable here.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare import Report, Row

LAYER = re.compile(r"(?<=\blayer\.)[0-9]{1,4}(?=\.|$)")
"""The number of a layer in a value's name."""

MEANING = {
    "good": "right, up to rounding",
    "follows": "off only because the values it is made from are",
    "wrong": "this step itself is wrong",
    "layout": "the right numbers in another order",
    "shape": "of a shape that fits no order",
}
"""The verdicts, in words."""

NONE_BEFORE = "it is the first value compared"


def headline(report: "Report") -> str:
    """All of a report in a sentence: where it first goes wrong, by how much, and the two numbers at the worst place."""
    title, rest = verdict_in_two(report)
    return f"{title}{rest}"


def verdict_in_two(report: "Report") -> tuple[str, str]:
    """The headline in two: what to say in large letters, and the rest."""
    row = first_bad_row(report)
    if row is None:
        return _all_right(report)
    before = f" (last good {plain(report.last_good)})" if report.last_good else f" ({NONE_BEFORE})"
    return f"first wrong at {plain(row.name)}", f"{before}: {what_is_wrong(row, report)}{_worst(row)}"


def _all_right(report: "Report") -> tuple[str, str]:
    largest = times(max(row.multiple for row in report.rows))
    one = len(report.rows) == 1
    if any(row.verdict == "follows" for row in report.rows):
        steps = "the one step is" if one else f"all {len(report.rows)} steps are"
        return f"{steps} right", f", and together they are off by {largest} times {report.precision}'s rounding"
    values = "the one value is" if one else f"all {len(report.rows)} values are"
    return f"{values} right", f", to {largest} times {report.precision}'s rounding"


def first_bad_row(report: "Report") -> "Row | None":
    """The row of the first bad value, if there is one."""
    return next((row for row in report.rows if not row.ok), None)


def what_is_wrong(row: "Row", report: "Report") -> str:
    """What is wrong with a value."""
    if row.verdict == "shape":
        return plain(row.note, 200)
    if row.verdict == "layout":
        return f"the right numbers in another order, {plain(row.note, 200)}"
    if not math.isfinite(judged_by(row)):
        return f"off by more than any rounding of {report.precision}"
    return f"{times(judged_by(row))} times the rounding of {report.precision}"


def _worst(row: "Row") -> str:
    if row.place is None or row.verdict == "layout":
        return ""
    candidate, reference = two_numbers(row)
    return f"; {'worst at ' if row.place else ''}{where_worst(row)}{candidate} where the reference has {reference}"


def where_worst(row: "Row") -> str:
    """Where a value is worst, in words: `batch 0, token 5, channel 17: `."""
    where = ", ".join(f"{plain(axis)} {index}" for axis, index in (row.place or {}).items())
    return f"{where}: " if where else ""


def summary(report: "Report") -> list[str]:
    """Why, how many there are of each verdict, and every wrong step where there is more than one."""
    wrong = [row.name for row in report.rows if not row.ok]
    if not wrong:
        return []
    counts = f"of {len(report.rows)} values {count_verdicts(report.rows)}"
    why = [f"why: {joint}{name}{words}" for joint, name, words in reasons(report)]
    return [*why, counts if len(wrong) == 1 else f"{counts}; bad: {shortened(merged(wrong))}"]


def reasons(report: "Report") -> Iterator[tuple[str, str, str]]:
    """What `diagnose` said, where it was asked: what joins it to the one before, a mistake's name, and the rest."""
    if report.findings == ():
        yield "", "none", " of the mistakes that are known by name"
    for count, finding in enumerate(report.findings or ()):
        joint = "" if not count else "and on top of it " if finding.on_top_of else "or "
        yield joint, finding.name, f": {finding.explanation} {finding.fix}"


def left_out(report: "Report") -> Iterator[tuple[str, str]]:
    """What was not compared, and what could not be said."""
    if report.missing:
        yield f"missing ({len(report.missing)})", shortened(merged(report.missing))
    if report.unknown:
        yield f"unknown ({len(report.unknown)})", shortened(merged(report.unknown))
    for sentence in report.unavailable:
        yield "unavailable", plain(sentence, 300)


def merged(names: Iterable[str]) -> list[str]:
    """Names that are the same but for the layer as one: `encoder.layer.0-3,5.output`."""
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
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def count_verdicts(rows: Sequence["Row"]) -> str:
    """How many there are of each verdict: `1 wrong, 18 good`."""
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(MEANING) if counts[verdict])


# --- numbers and names ----------------------------------------------------------------------------------------------


def judged_by(row: "Row") -> float:
    """By what a value is judged: its own step's error, or where that is unknown, all of its error."""
    return row.multiple if row.alone is None else row.alone


def times(multiple: float | None) -> str:
    """A multiple of the rounding, in a few digits."""
    if multiple is None or math.isnan(multiple):
        return "-"
    if multiple < 10_000 or math.isinf(multiple):
        return f"{multiple:.2g}" if multiple < 10 else f"{multiple:.0f}"
    digits, power = f"{multiple:.1e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def in_short(number: float) -> str:
    """A number in two digits, where there is one."""
    return "-" if math.isnan(number) else f"{number:.2g}"


def two_numbers(row: "Row") -> tuple[str, str]:
    """Both numbers at the worst place, in as many digits as tell them apart, and one more."""
    both = row.candidate, row.reference
    if row.place is None:
        return "-", "-"
    digits = next((n for n in range(3, 17) if f"{both[0]:.{n}g}" != f"{both[1]:.{n}g}"), 3)
    return f"{both[0]:.{digits + 1}g}", f"{both[1]:.{digits + 1}g}"


def plain(name: Any, longest: int = 100) -> str:
    """A name that may be printed: on one line, no longer than a line, and with no control characters."""
    name = str(name)[: 2 * longest]
    name = name if name.isprintable() else name.encode("unicode_escape").decode()
    return name if len(name) <= longest else f"{name[: longest // 2 - 2]}...{name[-longest // 2 + 1 :]}"
