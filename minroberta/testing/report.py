"""How a report is shown: a table in a terminal, HTML in a notebook, a page of its own, JSON for programs.

    text(report), notebook(report), page(report), as_json(report)

Names and notes may come from somebody's file: they are made printable for the one, and escaped for the other.
"""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .compare import Report, Row

LAYER = re.compile(r"(?<=\blayer\.)[0-9]{1,4}(?=\.|$)")
"""The number of a layer in a value's name."""

LINES = 26
"""Of a table in a terminal: the whole report is to be seen without scrolling."""

WORST = 6
"""Of the values where all are right."""

MEANING = {
    "good": "right, up to rounding",
    "follows": "off only because the values it is made from are",
    "wrong": "this step itself is wrong",
    "layout": "the right numbers in another order",
    "shape": "of a shape that fits no order",
}
"""The verdicts, in words."""

NONE_BEFORE = "it is the first value compared"


def text(report: "Report") -> str:
    """A table for a terminal, under 40 lines: what is wrong, what is around the first, and how many are left out."""
    rest = [f"{what}: {which}" for what, which in _rest(report)]
    return "\n".join([headline(report), *_also(report), "", *_short_table(report), *([""] if rest else []), *rest])


def as_json(report: "Report") -> str:
    """All of a report in strict JSON: a number that is none (NaN, infinite) is null."""
    content = {
        "ok": report.ok,
        "first_bad": report.first_bad,
        "last_good": report.last_good,
        **dataclasses.asdict(report),
    }
    return json.dumps(_strict(content), allow_nan=False)


def _strict(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- sentences ------------------------------------------------------------------------------------------------------


def headline(report: "Report") -> str:
    """All of a report in a sentence: where it first goes wrong, by how much, and the two numbers at the worst place."""
    title, rest = _verdict(report)
    return f"{title}{rest}"


def _verdict(report: "Report") -> tuple[str, str]:
    """The headline in two: what to say in large letters, and the rest."""
    row = _first(report)
    if row is None:
        return _all_right(report)
    before = f" (last good {_plain(report.last_good)})" if report.last_good else f" ({NONE_BEFORE})"
    return f"first wrong at {_plain(row.name)}", f"{before}: {_what(row, report)}{_worst(row)}"


def _all_right(report: "Report") -> tuple[str, str]:
    largest = _times(max(row.multiple for row in report.rows))
    one = len(report.rows) == 1
    if any(row.verdict == "follows" for row in report.rows):
        steps = "the one step is" if one else f"all {len(report.rows)} steps are"
        return f"{steps} right", f", and together they are off by {largest} times {report.precision}'s rounding"
    values = "the one value is" if one else f"all {len(report.rows)} values are"
    return f"{values} right", f", to {largest} times {report.precision}'s rounding"


def _first(report: "Report") -> "Row | None":
    return next((row for row in report.rows if not row.ok), None)


def _what(row: "Row", report: "Report") -> str:
    """What is wrong with a value."""
    if row.verdict == "shape":
        return _plain(row.note, 200)
    if row.verdict == "layout":
        return f"the right numbers in another order, {_plain(row.note, 200)}"
    if not math.isfinite(_judged(row)):
        return f"off by more than any rounding of {report.precision}"
    return f"{_times(_judged(row))} times the rounding of {report.precision}"


def _worst(row: "Row") -> str:
    if row.place is None or row.verdict == "layout":
        return ""
    candidate, reference = _pair(row)
    return f"; {'worst at ' if row.place else ''}{_where(row)}{candidate} where the reference has {reference}"


def _where(row: "Row") -> str:
    """Where a value is worst, in words: `batch 0, token 5, channel 17: `."""
    where = ", ".join(f"{_plain(axis)} {index}" for axis, index in (row.place or {}).items())
    return f"{where}: " if where else ""


def _also(report: "Report") -> list[str]:
    """How many there are of each verdict, and every wrong step where there is more than one."""
    wrong = [row.name for row in report.rows if not row.ok]
    if not wrong:
        return []
    counts = f"of {len(report.rows)} values {_counted(report.rows)}"
    return [counts if len(wrong) == 1 else f"{counts}; bad: {_some(_merged(wrong))}"]


def _rest(report: "Report") -> Iterator[tuple[str, str]]:
    """What was not compared, and what could not be said."""
    if report.missing:
        yield f"missing ({len(report.missing)})", _some(_merged(report.missing))
    if report.unknown:
        yield f"unknown ({len(report.unknown)})", _some(_merged(report.unknown))
    for sentence in report.unavailable:
        yield "unavailable", _plain(sentence, 300)


def _merged(names: Iterable[str]) -> list[str]:
    """Names that are the same but for the layer as one: `encoder.layer.0-3,5.output`."""
    layers: dict[tuple[str, ...], list[int]] = {}
    for name in names:
        found = LAYER.search(name)
        key = (name[: found.start()], name[found.end() :]) if found else (name,)
        layers.setdefault(key, []).extend([int(found[0])] if found else [])
    return [_ranges(numbers).join(map(_plain, key)) for key, numbers in layers.items()]


def _ranges(numbers: list[int]) -> str:
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(set(numbers))), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _counted(rows: Sequence["Row"]) -> str:
    """How many there are of each verdict: `1 wrong, 18 good`."""
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(MEANING) if counts[verdict])


# --- numbers and names ----------------------------------------------------------------------------------------------


def _judged(row: "Row") -> float:
    """By what a value is judged: its own step's error, or where that is unknown, all of its error."""
    return row.multiple if row.alone is None else row.alone


def _times(multiple: float | None) -> str:
    """A multiple of the rounding, in a few digits."""
    if multiple is None or math.isnan(multiple):
        return "-"
    if multiple < 10_000 or math.isinf(multiple):
        return f"{multiple:.2g}" if multiple < 10 else f"{multiple:.0f}"
    digits, power = f"{multiple:.1e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def _small(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.2g}"


def _pair(row: "Row") -> tuple[str, str]:
    """Both numbers at the worst place, in as many digits as tell them apart, and one more."""
    both = row.candidate, row.reference
    if row.place is None:
        return "-", "-"
    digits = next((n for n in range(3, 17) if f"{both[0]:.{n}g}" != f"{both[1]:.{n}g}"), 3)
    return f"{both[0]:.{digits + 1}g}", f"{both[1]:.{digits + 1}g}"


def _plain(name: Any, longest: int = 100) -> str:
    """A name that may be printed: on one line, no longer than a line, and with no control characters."""
    name = str(name)[: 2 * longest]
    name = name if name.isprintable() else name.encode("unicode_escape").decode()
    return name if len(name) <= longest else f"{name[: longest // 2 - 2]}...{name[-longest // 2 + 1 :]}"


# --- the table ------------------------------------------------------------------------------------------------------

HEADINGS = (
    "value", "verdict", "× rounding", "alone ×", "difference", "relative", "worst at", "candidate", "reference", "",
)  # fmt: skip


def _cells(row: "Row") -> tuple[str, ...]:
    """One value under `HEADINGS`; the last is its note."""
    place = f"[{', '.join(map(str, row.place.values()))}]" if row.place else "-"
    return (
        _plain(row.name),
        row.verdict,
        _times(row.multiple),
        _times(row.alone),
        _small(row.absolute),
        _small(row.relative),
        place,
        *_pair(row),
        _plain(row.note, 200),
    )


def _short_table(report: "Report") -> list[str]:
    """The lines of a table: the rows that matter, and how many are between."""
    lines = [(_plain(row.name, 52), *_cells(row)[1:]) for row in report.rows]
    stretches = list(_stretches(report))
    table = [HEADINGS, *(line for start, stop, seen in stretches if seen for line in lines[start:stop])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    result = [_aligned(HEADINGS, widths)]
    for start, stop, seen in stretches:
        counted = [f"  ... {_counted(report.rows[start:stop])}"]
        result += [_aligned(line, widths) for line in lines[start:stop]] if seen else counted
    return result


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    words = [f"{line[0]:<{widths[0]}}", f"{line[1]:<{widths[1]}}"]
    numbers = [f"{cell:>{width}}" for cell, width in zip(line[2:-1], widths[2:-1], strict=True)]
    return "  ".join([*words, *numbers, line[-1]]).rstrip()


def _stretches(report: "Report") -> Iterator[tuple[int, int, bool]]:
    """The rows in stretches, each from `start` to `stop`, and whether a short table shows them or only counts them."""
    seen = _chosen(report)
    for shown, stretch in groupby(range(len(report.rows)), lambda index: index in seen):
        indices = list(stretch)
        yield indices[0], indices[-1] + 1, shown


def _chosen(report: "Report") -> set[int]:
    """The rows that matter, as many as there is room for."""
    seen: set[int] = set()
    for index in _by_weight(report):
        if _height(seen | {index}, len(report.rows)) > LINES:
            break
        seen.add(index)
    return _filled(seen, len(report.rows))


def _by_weight(report: "Report") -> list[int]:
    """All rows: those around the first bad value, then what is wrong, then the last; of right ones the worst first."""
    wrong = [index for index, row in enumerate(report.rows) if not row.ok]
    around = range(max(0, wrong[0] - 4), min(len(report.rows), wrong[0] + 3)) if wrong else ()
    by_error = sorted(range(len(report.rows)), key=lambda index: -report.rows[index].multiple)
    short = len(report.rows) <= LINES
    return [*around, *wrong, len(report.rows) - 1, *(by_error if short else () if wrong else by_error[:WORST])]


def _height(seen: set[int], count: int) -> int:
    """Lines of a table: the rows seen, and one for each stretch of others."""
    return len(seen) + sum(index not in seen and (index == 0 or index - 1 in seen) for index in range(count))


def _filled(seen: set[int], count: int) -> set[int]:
    """A row alone between two that are seen is seen too, since to count it takes the same line."""
    return seen | {i for i in range(count) if (i == 0 or i - 1 in seen) and (i + 1 == count or i + 1 in seen)}


# --- the picture ----------------------------------------------------------------------------------------------------

# Mid-tones, to be told apart on white and on black, and by eyes that miss a colour; marks differ in form as well.
OWN, ALONE, WRONG, ORDER, ROUNDING = "#3f8fd2", "#8a8f98", "#e0520f", "#b565c9", "#2a9d8f"

WIDTH, HEIGHT = 1060, 352
LEFT, RIGHT, TOP, BOTTOM = 76, 984, 46, 282
"""The edges of the plot within the picture; beneath TOP lies what has a number, on its edge what is infinite."""

FLOOR = 0.1
"""Roundings at the bottom edge; below it nothing is of interest."""

LETTER = 6.4
"""About the width of a letter."""


class Scale(NamedTuple):
    """From values to points: `columns` values side by side, errors from FLOOR to 10^decades on a log scale."""

    columns: int
    decades: int

    def x(self, index: float) -> float:
        """The middle of a value's column; half a column to the left is its edge."""
        return LEFT + (index + 0.5) * (RIGHT - LEFT) / self.columns

    def y(self, multiple: float) -> float:
        """The height of an error, at the top edge where it is infinite."""
        if not math.isfinite(multiple):
            return TOP
        low = math.log10(FLOOR)
        return BOTTOM - (BOTTOM - TOP) * (math.log10(max(multiple, FLOOR)) - low) / (self.decades - low)


def picture(report: "Report") -> str:
    """The error through the depth of the network, as SVG: all of each value's error, and its own step's."""
    multiples = [m for row in report.rows for m in (row.multiple, row.alone or 0.0) if math.isfinite(m)]
    scale = Scale(len(report.rows), math.ceil(math.log10(max([50.0, report.bound, *multiples])) + 0.2))
    parts = [*_groups(report, scale), *_grid(report, scale), *_series(report, scale), *_finding(report, scale)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"<title>{escape(headline(report))}</title>{''.join([*parts, *_legend(report)])}</svg>"
    )


def _groups(report: "Report", scale: Scale) -> Iterator[str]:
    """A band for every other part of the network, and the parts' names beneath."""
    parts = _parts(report)
    room = max((stop - start for _, start, stop in parts[1:-1]), default=1) * (RIGHT - LEFT) / scale.columns
    for number, (part, start, stop) in enumerate(parts):
        left, right = scale.x(start - 0.5), scale.x(stop - 0.5)
        if number % 2:
            yield _box(left, TOP, right - left, BOTTOM - TOP, "currentColor", 0.045)
        anchor, x = "middle", (left + right) / 2
        if LETTER * len(part) > right - left and number in (0, len(parts) - 1):  # the margins have room
            anchor, x = ("start", left + 3) if number else ("end", right)
        elif part.startswith("layer "):
            part = _layer(part, room)
        yield _words(x, BOTTOM + 17, part, anchor)


def _layer(part: str, room: float) -> str:
    """A layer's name in as much room as there is: `layer 3`, `3`, or of many layers every fifth or tenth."""
    digits = part.removeprefix("layer ")
    if room > LETTER * len("layer 99"):
        return part
    every = next((step for step in (1, 5, 10) if step * room > 3 * LETTER), 50)
    return "" if int(digits) % every else digits


def _parts(report: "Report") -> list[tuple[str, int, int]]:
    """The parts of the network in order: embeddings, layer 0, ..., head; each from row `start` to `stop`."""
    result, start = [], 0
    for part, rows in groupby(report.rows, lambda row: _part(row.name)):
        stop = start + len(list(rows))
        result.append((part, start, stop))
        start = stop
    return [("values", 0, start)] if [part for part, *_ in result] == ["head"] else result


def _part(name: str) -> str:
    if found := LAYER.search(name):
        return f"layer {int(found[0])}"
    return "embeddings" if "embeddings" in name.split(".") else "head"


def _grid(report: "Report", scale: Scale) -> Iterator[str]:
    """Lines at powers of ten, and the band of what is rounding."""
    bound = scale.y(report.bound)
    yield _box(LEFT, bound, RIGHT - LEFT, BOTTOM - bound, ROUNDING, 0.16)
    yield _stroke(LEFT, bound, RIGHT, bound, ROUNDING, 1.2)
    yield _words(RIGHT + 6, bound + 4, f"{_times(report.bound)} ×")
    yield _words(RIGHT + 6, (bound + BOTTOM) / 2 + 4, "rounding")
    for power in range(0, scale.decades, 1 + scale.decades // 7):
        yield _stroke(LEFT, scale.y(10.0**power), RIGHT, scale.y(10.0**power), "currentColor", 0.12)
        yield _words(LEFT - 8, scale.y(10.0**power) + 4, f"{10**power:,} ×" if power < 5 else f"1e{power} ×", "end")
    yield _words(LEFT - 8, BOTTOM + 3, "0", "end")
    if any(math.isinf(_judged(row)) or math.isinf(row.multiple) for row in report.rows):
        yield _words(LEFT - 8, TOP + 5, "∞", "end")
    axes = f"values in the order of computation, by layer; error in multiples of {report.precision}'s rounding"
    yield _words(LEFT, BOTTOM + 37, axes)


def _series(report: "Report", scale: Scale) -> Iterator[str]:
    """All of each value's error as a line, and its own step's as points."""
    points = [(scale.x(i), scale.y(row.multiple), row) for i, row in enumerate(report.rows) if _has_numbers(row)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline points="{line}" fill="none" stroke="{OWN}" stroke-width="1.6" stroke-linejoin="round"/>'
    size = 2.6 if scale.columns <= 150 else 1.7
    for x, y, row in points:
        yield _dot("own", x, y, size, OWN, row)
    for index, row in enumerate(report.rows):
        if row.alone is not None and row.verdict in ("good", "follows"):
            yield _dot("alone", scale.x(index), scale.y(row.alone), size, ALONE, row)


def _has_numbers(row: "Row") -> bool:
    return not math.isnan(row.multiple)


def _finding(report: "Report", scale: Scale) -> Iterator[str]:
    """What is wrong in strong colours, and the name of the first."""
    bad = [(scale.x(index), row) for index, row in enumerate(report.rows) if not row.ok]
    for x, row in bad:
        if row.verdict == "wrong":
            yield _dot("wrong", x, scale.y(_judged(row)), 5 if len(bad) <= 60 else 2.6, WRONG, row)
        else:
            yield _diamond(x, TOP - 9, row)
    if bad:
        yield from _pointer(*bad[0], scale)


def _pointer(x: float, row: "Row", scale: Scale) -> Iterator[str]:
    """To the first bad value: its name, a line down to where it is computed, and a ring."""
    color = WRONG if row.verdict == "wrong" else ORDER
    share = (x - LEFT) / (RIGHT - LEFT)
    anchor = "start" if share < 0.35 else "end" if share > 0.65 else "middle"
    yield _stroke(x, TOP - 18, x, BOTTOM, color, 1.2, "4 3")
    yield _words(x, TOP - 24, f"first: {_plain(row.name, 70)}", anchor, color, 'font-weight="bold" font-size="13"')
    if row.verdict == "wrong":
        ring = f'cx="{x:.1f}" cy="{scale.y(_judged(row)):.1f}" r="8.5" fill="none" stroke="{color}" stroke-width="1.8"'
        yield f"<circle {ring}/>"


def _legend(report: "Report") -> Iterator[str]:
    """What the marks mean, of those that are there."""
    verdicts = {row.verdict for row in report.rows}
    x = float(LEFT)
    for there, color, meaning in (
        (True, OWN, "all of a value's error"),
        (any(row.alone is not None for row in report.rows), ALONE, "its own step, judged alone"),
        ("wrong" in verdicts, WRONG, "wrong"),
        (bool(verdicts & {"layout", "shape"}), ORDER, "other layout or shape"),
    ):
        if there:
            yield _mark(x + 9, HEIGHT - 10, color) + _words(x + 24, HEIGHT - 6, meaning)
            x += 48 + LETTER * len(meaning)


def _mark(x: float, y: float, color: str) -> str:
    if color == ORDER:
        return f'<path d="M{x} {y - 6}l6 6l-6 6l-6 -6z" fill="{color}"/>'
    line = f'<path d="M{x - 9} {y}h18" stroke="{color}" stroke-width="1.6"/>' if color == OWN else ""
    return f'{line}<circle cx="{x}" cy="{y}" r="{5 if color == WRONG else 2.6}" fill="{color}"/>'


def _dot(kind: str, x: float, y: float, radius: float, color: str, row: "Row") -> str:
    place = f'class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"'
    return f"<circle {place}><title>{_tip(row)}</title></circle>"


def _diamond(x: float, y: float, row: "Row") -> str:
    path = f'class="{row.verdict}" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z" fill="{ORDER}"'
    return f"<path {path}><title>{_tip(row)}</title></path>"


def _tip(row: "Row") -> str:
    """What a pointer over a mark shows."""
    alone = "" if row.alone is None else f", alone {_times(row.alone)}"
    return escape(f"{_plain(row.name)}: {row.verdict}, {_times(row.multiple)} × rounding{alone}")


def _box(x: float, y: float, width: float, height: float, color: str, opacity: float) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} fill="{color}" fill-opacity="{opacity}"/>'


def _stroke(x1: float, y1: float, x2: float, y2: float, color: str, width: float, dashes: str = "none") -> str:
    line = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {line} stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'


def _words(x: float, y: float, words: str, anchor: str = "start", color: str = "currentColor", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" {more}>{escape(words)}</text>'


# --- HTML -----------------------------------------------------------------------------------------------------------

STYLE = """
.minroberta { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --dim: #626871; --line: #d9dce1; --head: #f3f4f6;
  --wrong: #b83a00; --wrong-paper: #fdeee6; --order: #8b3fa0; --order-paper: #f7edfa; --follows: #1f6cab;
  --good: #177a6c;
  color: var(--ink); background: var(--paper); font: 14px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
@media (prefers-color-scheme: dark) { .minroberta { --ink: #e4e6ea; --paper: #16181b; --dim: #9aa1ab; --line: #363a40;
  --head: #22252a; --wrong: #ff8a50; --wrong-paper: #3a2015; --order: #d79be6; --order-paper: #33203a;
  --follows: #7cb9ea; --good: #58c3b3 } }
.minroberta h1 { font-size: 1.6em; line-height: 1.25; margin: 0 0 .3em; overflow-wrap: anywhere }
div.minroberta { padding: .8em; max-width: 1100px; overflow-x: auto }
div.minroberta h1 { font-size: 1.3em }
div.minroberta th, div.minroberta td { white-space: nowrap } div.minroberta wbr { display: none }
div.minroberta th:nth-child(5), div.minroberta td:nth-child(5), div.minroberta th:nth-child(6),
div.minroberta td:nth-child(6) { display: none }
body.minroberta { margin: 0 }
.minroberta main table { table-layout: fixed } .minroberta main col { width: 8% }
.minroberta main col:first-child { width: 30% } .minroberta main col:nth-child(2) { width: 7% }
.minroberta main col:nth-child(3) { width: 9% } .minroberta main col:nth-child(n+7) { width: 10% }
.minroberta .wrong { color: var(--wrong) } .minroberta .layout, .minroberta .shape { color: var(--order) }
.minroberta .follows { color: var(--follows) } .minroberta .good { color: var(--good) }
.minroberta dl { display: grid; grid-template-columns: max-content 1fr; gap: .25em 1.2em; margin: 0 0 1.2em }
.minroberta dt { color: var(--dim) } .minroberta dd { margin: 0; overflow-wrap: anywhere }
.minroberta code, .minroberta td, .minroberta dd { font-variant-numeric: tabular-nums }
.minroberta code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .93em }
.minroberta figure { margin: 0 0 1.2em; overflow-x: auto } .minroberta svg { min-width: 700px; display: block }
.minroberta table { width: 100%; border-collapse: collapse; font-size: 13px; margin: 0 }
.minroberta th, .minroberta td { padding: .22em .6em; text-align: right; vertical-align: top; overflow-wrap: anywhere;
  border: 0; border-bottom: 1px solid var(--line); background: none; color: inherit }
.minroberta th { background: var(--head); font-weight: 600; overflow-wrap: normal }
.minroberta th:nth-child(-n+2), .minroberta td:nth-child(-n+2), .minroberta td[colspan] { text-align: left }
.minroberta td:nth-child(2) { font-weight: 600 }
.minroberta tr.bad td { background: var(--wrong-paper) } .minroberta tr.order td { background: var(--order-paper) }
.minroberta tr { background: none }
.minroberta .dim, .minroberta .note { color: var(--dim) } .minroberta .note { display: block }
.minroberta .sticky { position: sticky; top: 0; z-index: 1 }
.minroberta summary { padding: .3em .6em; cursor: pointer; border-bottom: 1px solid var(--line) }
.minroberta summary b { display: inline-block; min-width: 8em }
.minroberta main { max-width: 1180px; min-width: 900px; margin: 0 auto; padding: 1.6em; box-sizing: border-box }
@media print { .minroberta main { min-width: 0; padding: 0; font-size: 11px } .minroberta table { font-size: 9px }
  .minroberta .sticky { position: static } .minroberta tr, .minroberta figure { break-inside: avoid } }
"""


def page(report: "Report") -> str:
    """A page of its own, with nothing fetched and nothing run: the finding, the picture, every value."""
    style = f"<style>{STYLE}@page {{ size: landscape; margin: 12mm }}</style>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_verdict(report)[0])}</title>{style}</head>"
        f'<body class="minroberta"><main>{_title(report)}{_facts(report)}<figure>{picture(report)}</figure>'
        f"{_everything(report)}{_glossary(report)}</main></body></html>\n"
    )


def notebook(report: "Report") -> str:
    """The finding, the picture and the values that matter, as HTML for a notebook."""
    rows = []
    for start, stop, seen in _stretches(report):
        if seen:
            rows += [_tr(row) for row in report.rows[start:stop]]
        else:
            counted = f"... {_counted(report.rows[start:stop])}"
            rows.append(f'<tr><td colspan="{len(HEADINGS) - 1}" class="dim">{counted}</td></tr>')
    return (
        f'<style>{STYLE}</style><div class="minroberta">{_title(report)}{_facts(report)}'
        f"<figure>{picture(report)}</figure>{_table(rows, _thead())}</div>"
    )


def _title(report: "Report") -> str:
    """The verdict in large letters; where all is right, all of it."""
    row = _first(report)
    title = _verdict(report)[0] if row else headline(report)
    return f'<h1 class="{row.verdict if row else "good"}">{escape(title[0].upper() + title[1:])}</h1>'


def _facts(report: "Report") -> str:
    """What there is to know at once, as pairs of a word and what it says."""
    row = _first(report)
    facts = [*(_findings(row, report) if row else ()), ("Values", _counted(report.rows))]
    bound = f"{report.precision}'s; up to {_times(report.bound)} times it, a difference is no mistake"
    facts.append(("Rounding", escape(bound)))
    facts += [(escape(what.capitalize()), escape(which)) for what, which in _rest(report)]
    return f"<dl>{''.join(f'<dt>{what}</dt><dd>{which}</dd>' for what, which in facts)}</dl>"


def _findings(row: "Row", report: "Report") -> Iterator[tuple[str, str]]:
    """Of the first bad value, each in HTML."""
    wrong = row.verdict == "wrong"
    alone = ", judged alone on the candidate's own values before it" if wrong and row.alone is not None else ""
    note = f"; {_plain(row.note, 200)}" if wrong and row.note else ""
    yield "What", f'<b class="{row.verdict}">{escape(_what(row, report))}</b>{escape(alone + note)}'
    if wrong and row.place is not None:
        candidate, reference = _pair(row)
        yield "Worst at", f"{escape(_where(row))}<b>{candidate}</b> where the reference has <b>{reference}</b>"
    between = "; the mistake may lie in a missing value in between" if report.missing else ""
    yield "Last good", f"<code>{escape(_plain(report.last_good))}</code>{between}" if report.last_good else NONE_BEFORE
    bad = [row.name for row in report.rows if not row.ok]
    if len(bad) > 1:
        yield f"All {len(bad)} bad", f"<code>{escape(_some(_merged(bad)))}</code>"


def _everything(report: "Report") -> str:
    """Every value, by the parts of the network; in a long report only the part of the first bad value is unfolded."""
    first = _first(report)
    parts = []
    for part, start, stop in _parts(report):
        rows = report.rows[start:stop]
        unfold = " open" if len(report.rows) <= LINES or first in rows else ""
        table = _table([_tr(row) for row in rows])
        parts.append(f"<details{unfold}><summary>{_summary(part, rows)}</summary>{table}</details>")
    return f'<div class="sticky">{_table([], _thead())}</div>{"".join(parts)}'


def _summary(part: str, rows: Sequence["Row"]) -> str:
    """What is in a part of the network, and what of it is bad."""
    worst = max(rows, key=lambda row: list(MEANING).index(row.verdict)).verdict
    bad = _some([f'<code class="{row.verdict}">{_split(row)}</code>' for row in rows if not row.ok], 3)
    return f'<b class="{worst}">{part}</b> {_counted(rows)}{bad and ": "}{bad}'


def _glossary(report: "Report") -> str:
    """What the words and columns of this report mean."""
    alone = any(row.alone is not None for row in report.rows)
    words = MEANING if alone else {**MEANING, "wrong": "off by more than rounding, here or in what it is made from"}
    verdicts = {row.verdict for row in report.rows}
    meanings = [f"<b>{verdict}</b>: {meaning}" for verdict, meaning in words.items() if verdict in verdicts]
    meanings.append("<b>× rounding</b>: the largest difference, as a multiple of what rounding moves this value by")
    if alone:
        meanings.append("<b>alone ×</b>: the same of this step alone, made from the candidate's own values before it")
    return f'<p class="dim">{"; ".join(meanings)}.</p>'


def _table(rows: Sequence[str], head: str = "") -> str:
    """Of the same columns wherever it stands, so that tables beneath each other are one to the eye."""
    columns = "<col>" * (len(HEADINGS) - 1)
    return f"<table><colgroup>{columns}</colgroup>{head}<tbody>{''.join(rows)}</tbody></table>"


def _thead() -> str:
    cells = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in HEADINGS[:-1])
    return f"<thead><tr>{cells}</tr></thead>"


def _tr(row: "Row") -> str:
    _, verdict, *numbers, note = _cells(row)
    note = f'<span class="note">{escape(note)}</span>' if note else ""
    kind = "" if row.ok else ' class="bad"' if row.verdict == "wrong" else ' class="order"'
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in numbers)
    name = f"<td><code>{_split(row)}</code>{note}</td>"
    return f'<tr{kind}>{name}<td class="{row.verdict}">{escape(verdict)}</td>{cells}</tr>'


def _split(row: "Row") -> str:
    """A name whose layer steps back behind what it is of the layer, and which may break at its dots."""
    name = _plain(row.name)
    found = LAYER.search(name)
    end = found.end() + 1 if found and found.end() < len(name) else 0
    first, rest = (escape(part).replace(".", ".<wbr>") for part in (name[:end], name[end:]))
    return f'<span class="dim">{first}</span>{rest}' if first else rest
