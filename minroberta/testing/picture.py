"""A plot of the error by depth in the network, as SVG."""

import math
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import NamedTuple

from .result import Result, Row
from .sentences import LAYER, headline, plain, times

# Mid-tones that stand out on white and on black, and to colour-blind readers; marks also differ in shape.
WHOLE, ALONE, WRONG, ORDER, ROUNDING = "#3f8fd2", "#8a8f98", "#e0520f", "#b565c9", "#2a9d8f"

WIDTH, HEIGHT = 1060, 352
LEFT, RIGHT, TOP, BOTTOM = 76, 984, 46, 282
"""The edges of the plotting area. Finite errors are drawn below TOP, and infinite errors at TOP."""

FLOOR = 0.1
"""The error at the bottom edge, as a multiple of the rounding error; smaller errors are drawn there too."""

LETTER = 6.4
"""Approximate width of a letter."""


class Scale(NamedTuple):
    """Coordinates in the plot: `columns` values are side by side; errors are on a log scale, FLOOR to 10^decades."""

    columns: int
    decades: int

    def x(self, index: float) -> float:
        """The middle of a value's column; its edges are half a column to the left and right."""
        return LEFT + (index + 0.5) * (RIGHT - LEFT) / self.columns

    def y(self, multiple: float) -> float:
        """The vertical position of an error; infinite errors are at the top edge."""
        if not math.isfinite(multiple):
            return TOP
        low = math.log10(FLOOR)
        return BOTTOM - (BOTTOM - TOP) * (math.log10(max(multiple, FLOOR)) - low) / (self.decades - low)


def picture(result: Result) -> str:
    """The plot as SVG. It shows the total error of each value, and the error of its step alone."""
    multiples = [m for row in result.rows for m in (row.multiple, row.alone or 0.0) if math.isfinite(m)]
    scale = Scale(len(result.rows), math.ceil(math.log10(max([50.0, result.bound, *multiples])) + 0.2))
    parts = [*_groups(result, scale), *_grid(result, scale), *_series(result, scale), *_finding(result, scale)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"<title>{escape(headline(result))}</title>{''.join([*parts, *_legend(result)])}</svg>"
    )


def _groups(result: Result, scale: Scale) -> Iterator[str]:
    """A shaded band behind alternate parts of the network and, below the plot, the name of each part."""
    parts = parts_of(result)
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
    """A layer's label: `layer 3` if there is room, otherwise `3`.

    If there are too many layers to label, only every 5th, 10th or 50th is labelled.
    """
    digits = part.removeprefix("layer ")
    if room > LETTER * len("layer 99"):
        return part
    every = next((step for step in (1, 5, 10) if step * room > 3 * LETTER), 50)
    return "" if int(digits) % every else digits


def parts_of(result: Result) -> list[tuple[str, int, int]]:
    """The parts of the network (embeddings, layer 0, ..., head), each with the `start` and `stop` index of its rows."""
    parts, start = [], 0
    for part, rows in groupby(result.rows, lambda row: _part(row.name)):
        stop = start + len(list(rows))
        parts.append((part, start, stop))
        start = stop
    return [("values", 0, start)] if [part for part, *_ in parts] == ["head"] else parts


def _part(name: str) -> str:
    if found := LAYER.search(name):
        return f"layer {int(found[0])}"
    return "embeddings" if "embeddings" in name.split(".") else "head"


def _grid(result: Result, scale: Scale) -> Iterator[str]:
    """Lines at powers of ten, and the band of errors that count as rounding."""
    bound = scale.y(result.bound)
    yield _box(LEFT, bound, RIGHT - LEFT, BOTTOM - bound, ROUNDING, 0.16)
    yield _stroke(LEFT, bound, RIGHT, bound, ROUNDING, 1.2)
    yield _words(RIGHT + 6, bound + 4, f"{times(result.bound)} ×")
    yield _words(RIGHT + 6, (bound + BOTTOM) / 2 + 4, "rounding")
    for power in range(0, scale.decades, 1 + scale.decades // 7):
        yield _stroke(LEFT, scale.y(10.0**power), RIGHT, scale.y(10.0**power), "currentColor", 0.12)
        yield _words(LEFT - 8, scale.y(10.0**power) + 4, f"{10**power:,} ×" if power < 5 else f"1e{power} ×", "end")
    yield _words(LEFT - 8, BOTTOM + 3, "0", "end")
    if any(math.isinf(row.error) or math.isinf(row.multiple) for row in result.rows):
        yield _words(LEFT - 8, TOP + 5, "∞", "end")
    axes = f"values in the order of computation, by layer; errors as multiples of the {result.precision} rounding error"
    yield _words(LEFT, BOTTOM + 37, axes)


def _series(result: Result, scale: Scale) -> Iterator[str]:
    """Each value's total error as a line with points, and the error of its step alone as points."""
    points = [(scale.x(i), scale.y(row.multiple), row) for i, row in enumerate(result.rows) if row.verdict != "shape"]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline points="{line}" fill="none" stroke="{WHOLE}" stroke-width="1.6" stroke-linejoin="round"/>'
    size = 2.6 if scale.columns <= 150 else 1.7
    for x, y, row in points:
        yield _dot("whole", x, y, size, WHOLE, row)
    for index, row in enumerate(result.rows):
        if row.alone is not None and row.ok:
            yield _dot("alone", scale.x(index), scale.y(row.alone), size, ALONE, row)


def _finding(result: Result, scale: Scale) -> Iterator[str]:
    """The bad values and other layouts in strong colours, and the name of the first bad value."""
    rows = [(scale.x(index), row) for index, row in enumerate(result.rows)]
    bad = [(x, row) for x, row in rows if not row.ok]
    for x, row in rows:
        if row.verdict == "wrong":
            yield _dot("wrong", x, scale.y(row.error), 5 if len(bad) <= 60 else 2.6, WRONG, row)
        elif row.verdict in ("layout", "shape"):
            yield _diamond(x, TOP - 9, row)
    if bad:
        yield from _pointer(*bad[0], scale)


def _pointer(x: float, row: Row, scale: Scale) -> Iterator[str]:
    """A pointer to the first bad value: its name, a line down to it, and a ring."""
    color = WRONG if row.verdict == "wrong" else ORDER
    share = (x - LEFT) / (RIGHT - LEFT)
    anchor = "start" if share < 0.35 else "end" if share > 0.65 else "middle"
    yield _stroke(x, TOP - 18, x, BOTTOM, color, 1.2, "4 3")
    yield _words(x, TOP - 24, f"first: {plain(row.name, 70)}", anchor, color, 'font-weight="bold" font-size="13"')
    if row.verdict == "wrong":
        ring = f'cx="{x:.1f}" cy="{scale.y(row.error):.1f}" r="8.5" fill="none" stroke="{color}" stroke-width="1.8"'
        yield f"<circle {ring}/>"


def _legend(result: Result) -> Iterator[str]:
    """The meaning of the marks that occur in the plot."""
    verdicts = {row.verdict for row in result.rows}
    x = float(LEFT)
    for there, color, meaning in (
        (True, WHOLE, "total error of a value"),
        (any(row.alone is not None for row in result.rows), ALONE, "error of its step alone"),
        ("wrong" in verdicts, WRONG, "wrong"),
        (bool(verdicts & {"layout", "shape"}), ORDER, "different layout or shape"),
    ):
        if there:
            yield _mark(x + 9, HEIGHT - 10, color) + _words(x + 24, HEIGHT - 6, meaning)
            x += 48 + LETTER * len(meaning)


def _mark(x: float, y: float, color: str) -> str:
    if color == ORDER:
        return f'<path d="M{x} {y - 6}l6 6l-6 6l-6 -6z" fill="{color}"/>'
    line = f'<path d="M{x - 9} {y}h18" stroke="{color}" stroke-width="1.6"/>' if color == WHOLE else ""
    return f'{line}<circle cx="{x}" cy="{y}" r="{5 if color == WRONG else 2.6}" fill="{color}"/>'


def _dot(kind: str, x: float, y: float, radius: float, color: str, row: Row) -> str:
    place = f'class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"'
    return f"<circle {place}><title>{_tip(row)}</title></circle>"


def _diamond(x: float, y: float, row: Row) -> str:
    path = f'class="{row.verdict}" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z" fill="{ORDER}"'
    return f"<path {path}><title>{_tip(row)}</title></path>"


def _tip(row: Row) -> str:
    """The tooltip of a mark."""
    alone = "" if row.alone is None else f", alone {times(row.alone)}"
    return escape(f"{plain(row.name)}: {row.verdict}, {times(row.multiple)} × rounding{alone}")


def _box(x: float, y: float, width: float, height: float, color: str, opacity: float) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} fill="{color}" fill-opacity="{opacity}"/>'


def _stroke(x1: float, y1: float, x2: float, y2: float, color: str, width: float, dashes: str = "none") -> str:
    line = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {line} stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'


def _words(x: float, y: float, words: str, anchor: str = "start", color: str = "currentColor", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" {more}>{escape(words)}</text>'
