"""Reports of all kinds for the tests of how they are shown, and a reader of their HTML."""

import itertools
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support import slow_but

from minroberta.testing import Report, Row
from minroberta.testing.table import text

GOOD = Row(
    name="logits",
    verdict="good",
    shape=(2, 6, 30),
    dtype="float32",
    absolute=2e-7,
    relative=1e-7,
    noise=1e-7,
    multiple=2.0,
    alone=1.0,
    place={"batch": 0, "token": 5, "channel": 17},
    reference=0.1236,
    candidate=0.12360001,
)
WRONG = replace(GOOD, verdict="wrong", absolute=2e-4, multiple=1234.5, alone=1300.0, candidate=0.1234)
FOLLOWS = replace(WRONG, verdict="follows", alone=0.5)
LAYOUT = replace(GOOD, verdict="layout", note="batch and length swapped", layout="batch and length swapped")
SHAPE = Row("logits", "shape", (2, 6, 30), "float32", note="of shape (2, 6) where the reference has (2, 6, 30)")
NAN = replace(WRONG, absolute=math.inf, relative=math.inf, multiple=math.inf, alone=math.inf, candidate=math.nan)
HUGE = replace(WRONG, multiple=1e300, alone=1e200)
HOSTILE = '<script src="http://x">&amp;\x1b[31m\n\u202e\ud800</script>'


def report_of(*rows: Row, missing: tuple = (), unknown: tuple = (), unavailable: tuple = ()) -> Report:
    return Report(rows, missing, unknown, unavailable, "float32", 32.0)


def names(layers: int) -> list[str]:
    """Names of values, as many as in a real model: 18 a layer."""
    steps = [f"attention.self.{i}" for i in range(10)] + [f"output.{i}" for i in range(8)]
    inner = [f"encoder.layer.{layer}.{step}" for layer in range(layers) for step in steps]
    return [*(f"embeddings.{i}" for i in range(7)), *inner, "encoder", "lm_head.dense", "lm_head", "logits"]


def deep(layers: int, bad: Row = WRONG, every: int = 0, after: Row = FOLLOWS) -> Report:
    """A report that is good up to the middle, bad there and in each `every`th value after it, and else `after`."""
    values = names(layers)
    middle = len(values) // 2
    rows = [GOOD] * middle + [bad] + [after] * (len(values) - middle - 1)
    for index in range(middle, len(values), every or len(values)):
        rows[index] = bad
    return report_of(*(replace(row, name=name) for row, name in zip(rows, values, strict=True)))


REPORTS = {
    "one": report_of(GOOD),
    "five": report_of(GOOD, WRONG, FOLLOWS, LAYOUT, SHAPE),
    "right": deep(12, GOOD, after=GOOD),
    "one wrong": deep(12),
    "one a layer": deep(12, every=18),
    "every second": deep(12, every=2),
    "all wrong": deep(12, every=1),
    "layouts": deep(12, LAYOUT, every=9, after=GOOD),
    "shapes": deep(12, SHAPE, every=7),
    "no numbers": deep(12, NAN, after=replace(NAN, verdict="follows", alone=0.0)),
    "huge": deep(12, HUGE),
    "not alone": deep(12, replace(WRONG, alone=None), every=1),
    "long": deep(48, every=30),
    "longer": deep(300),
    "hostile": report_of(
        replace(WRONG, name=HOSTILE, note=HOSTILE, place={HOSTILE: 3}),
        replace(SHAPE, name="x" * 5000, note=HOSTILE),
        replace(GOOD, name=f"encoder.layer.{'9' * 5000}.output"),
        missing=(HOSTILE,) * 9,
        unknown=(HOSTILE,),
        unavailable=(HOSTILE,),
    ),
    "hostile shape": report_of(replace(SHAPE, note=HOSTILE), GOOD),
    "hostile layout": report_of(replace(LAYOUT, note=HOSTILE), GOOD),
    "scalars": report_of(replace(WRONG, shape=(), place={})),
}
every_report = pytest.mark.parametrize("kind", slow_but(REPORTS, *REPORTS.keys() - {"longer"}))


def shown_and_counted(report: Report) -> tuple[list[str], int]:
    """The names in the table, and the number of rows that are only counted."""
    lines = itertools.takewhile(bool, text(report).split("\n\n")[1].split("\n")[1:])
    counted, seen = [], []
    for line in lines:
        (counted if line.startswith("  ... ") else seen).append(line)
    return [line.split()[0] for line in seen], sum(
        int(number) for line in counted for number in re.findall(r"\d+", line)
    )


# --- HTML -----------------------------------------------------------------------------------------------------------

VOID = {"meta", "col", "wbr"}
HARMLESS = {
    *(
        "html",
        "head",
        "title",
        "style",
        "body",
        "main",
        "div",
        "h1",
        "dl",
        "dt",
        "dd",
        "b",
        "code",
        "span",
        "p",
        "figure",
    ),
    *("table", "colgroup", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("svg", "rect", "line", "polyline", "circle", "path", "text", *VOID),
}


class Html(HTMLParser):
    """The elements of a document; an element that is not closed where it was opened fails the test."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: list[tuple[str, str]] = []
        self.inside: list[str] = []
        self.feed(html)
        self.close()
        assert not self.inside

    def handle_starttag(self, tag: str, attrs: list) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.inside[-1] if self.inside else "", data))

    def of(self, tag: str, **attributes: str) -> list[dict]:
        return [given for name, given in self.elements if name == tag and attributes.items() <= given.items()]

    def text_of(self, tag: str) -> list[str]:
        return [data for name, data in self.words if name == tag]

    def marks(self, kind: str) -> list[dict]:
        return [given for tag, given in self.elements if tag in ("circle", "path") and given.get("class") == kind]
