"""Tests of the plot of the error by depth: marks, heights, labels."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from reports import FOLLOWS, GOOD, REPORTS, WRONG, Html, deep, every_report, names, report_of

from minroberta.testing import Report
from minroberta.testing.page import page
from minroberta.testing.picture import BOTTOM, LEFT, LETTER, RIGHT, TOP, WIDTH


@every_report
def test_the_marks_of_a_picture(kind: str) -> None:
    report = REPORTS[kind]
    html = Html(page(report))
    verdicts = Counter(row.verdict for row in report.rows)
    assert len(html.marks("whole")) == len(report.rows) - verdicts["shape"]
    assert len(html.marks("alone")) == sum(row.ok and row.alone is not None for row in report.rows)
    assert [len(html.marks(verdict)) for verdict in ("wrong", "layout", "shape")] == [
        verdicts[verdict] for verdict in ("wrong", "layout", "shape")
    ]
    labels = [words for words in html.text_of("text") if words.startswith("first: ")]
    assert len(labels) == (not report.ok)
    assert kind == "hostile" or report.ok or labels == [f"first: {report.first_bad}"]


@every_report
def test_marks_are_within_the_picture_and_in_order(kind: str) -> None:
    html = Html(page(REPORTS[kind]))
    own = [float(mark["cx"]) for mark in html.marks("whole")]
    assert own == sorted(set(own))
    for mark in [*html.marks("whole"), *html.marks("alone"), *html.marks("wrong")]:
        assert LEFT <= float(mark["cx"]) <= RIGHT and TOP <= float(mark["cy"]) <= BOTTOM


def test_heights_follow_the_error() -> None:
    multiples = [0.0, 0.001, 0.1, 1.0, 32.0, 1e3, 1e9, math.inf]
    report = report_of(*(replace(FOLLOWS, multiple=multiple) for multiple in multiples))
    heights = [float(mark["cy"]) for mark in Html(page(report)).marks("whole")]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == heights[1] == BOTTOM and heights[-1] == TOP < heights[-2]
    decade = (BOTTOM - heights[3]) / (0 - math.log10(0.1))
    assert heights[3] - heights[5] == pytest.approx(3 * decade, abs=0.2)


def test_the_step_of_a_wrong_value_is_marked_by_its_own_error() -> None:
    """A wrong step that undoes an earlier mistake is marked at its own error, not at the value's."""
    undoing = replace(WRONG, multiple=1.0, alone=1e4)
    html = Html(page(report_of(WRONG, undoing)))
    assert float(html.marks("wrong")[1]["cy"]) < float(html.marks("whole")[1]["cy"]) - 50


@pytest.mark.parametrize("kind", ["no numbers", "right"])
def test_infinity_is_marked_if_there_is_any(kind: str) -> None:
    assert ("∞" in Html(page(REPORTS[kind])).text_of("text")) == (kind == "no numbers")


def extents(report: Report) -> Iterator[tuple[float, float, str]]:
    """The left and right ends of each part's name beneath the picture."""
    reach = {"start": (0, 1), "middle": (0.5, 0.5), "end": (1, 0)}
    words = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)"[^>]*>([^<]+)<', page(report))
    for x, y, anchor, name in words:
        if float(y) == BOTTOM + 17:
            before, after = reach[anchor]
            yield float(x) - before * LETTER * len(name), float(x) + after * LETTER * len(name), name


@pytest.mark.parametrize("layers", [1, 2, 6, 12, 24, 36, 48, 100])
def test_the_names_of_parts_do_not_overlap(layers: int) -> None:
    found = list(extents(deep(layers)))
    assert found[0][2] == "embeddings" and found[-1][2] == "head"
    assert found[0][0] > 0 and found[-1][1] < WIDTH
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    assert len(found) >= 2 + min(layers, 4)


def test_every_other_part_has_a_band() -> None:
    bands = Html(page(deep(12))).of("rect", fill="currentColor")
    assert len(bands) == 7
    width = (RIGHT - LEFT) * 18 / len(names(12))
    assert [float(band["width"]) for band in bands[:-1]] == pytest.approx([width] * 6, abs=0.1)


def test_without_layers_a_picture_has_one_part() -> None:
    assert [name for *_, name in extents(report_of(WRONG, GOOD))] == ["values"]
