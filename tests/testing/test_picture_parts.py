"""The plot of the error by depth: complete SVG, its scale, the parts of a network, marks and their meaning."""

import itertools
import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from reports import GOOD, LAYOUT, REPORTS, SHAPE, WRONG, deep, report_of

from minroberta.testing.picture import BOTTOM, FLOOR, LEFT, RIGHT, TOP, Scale, parts_of, picture

SVG = "{http://www.w3.org/2000/svg}"


def elements(report: object) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture(report)).iter())  # type: ignore[arg-type]


def words(report: object) -> list[str]:
    return ["".join(element.itertext()) for element in elements(report) if element.tag == f"{SVG}text"]


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if not kind.startswith("hostile")])
def test_a_picture_is_whole_xml_and_fetches_nothing(kind: str) -> None:
    found = elements(REPORTS[kind])
    assert found[0].tag == f"{SVG}svg" and found[0].get("role") == "img"
    assert {element.tag.removeprefix(SVG) for element in found} <= {
        "svg", "title", "rect", "line", "text", "polyline", "circle", "path",
    }  # fmt: skip
    for element in found:
        assert not {"href", "src", "style", "onload"} & element.attrib.keys()
        assert all("nan" not in value and "inf" not in value for value in element.attrib.values())


def test_the_title_is_the_headline_of_the_report() -> None:
    report = deep(2)
    title = next(element for element in elements(report) if element.tag == f"{SVG}title")
    assert title.text == str(report).splitlines()[0]


# --- the scale ------------------------------------------------------------------------------------------------------


def test_columns_share_the_width() -> None:
    scale = Scale(columns=10, decades=3)
    assert scale.x(-0.5) == LEFT and scale.x(9.5) == pytest.approx(RIGHT)
    assert scale.x(1) - scale.x(0) == pytest.approx((RIGHT - LEFT) / 10)


def test_heights_are_logarithmic_from_the_floor_to_the_edge() -> None:
    scale = Scale(columns=10, decades=3)
    assert scale.y(0) == scale.y(FLOOR / 10) == scale.y(FLOOR) == BOTTOM
    assert scale.y(1000) == pytest.approx(TOP)
    assert scale.y(1) - scale.y(10) == pytest.approx(scale.y(10) - scale.y(100))
    assert scale.y(math.inf) == scale.y(math.nan) == TOP


@pytest.mark.parametrize("multiple", [2.0, 1e4, 1e12, 1e300])
def test_the_largest_error_has_room(multiple: float) -> None:
    """The largest error is below the edge, which is for infinity."""
    report = report_of(GOOD, replace(WRONG, multiple=multiple, alone=multiple))
    heights = [float(e.get("cy", 0)) for e in elements(report) if e.get("class") == "whole"]
    assert TOP < min(heights) <= max(heights) <= BOTTOM


# --- the parts of a network -----------------------------------------------------------------------------------------


def test_the_parts_are_in_order_and_leave_nothing_out() -> None:
    report = deep(3)
    parts = parts_of(report)
    assert [part for part, *_ in parts] == ["embeddings", "layer 0", "layer 1", "layer 2", "head"]
    assert parts[0][1] == 0 and parts[-1][2] == len(report.rows)
    assert all(one[2] == other[1] for one, other in itertools.pairwise(parts))


def test_values_without_layers_are_one_part() -> None:
    assert parts_of(report_of(GOOD, WRONG)) == [("values", 0, 2)]


@pytest.mark.parametrize(("layers", "step"), [(2, 1), (12, 1), (48, 5), (300, 10)])
def test_some_of_many_layers_are_named(layers: int, step: int) -> None:
    below = [e for e in elements(deep(layers)) if e.tag == f"{SVG}text" and e.get("y") == f"{BOTTOM + 17:.1f}"]
    numbers = [int(e.text.removeprefix("layer ")) for e in below if e.text and e.text[-1].isdigit()]
    assert numbers == list(range(0, layers, step))


# --- marks ----------------------------------------------------------------------------------------------------------


OWN, ALONE, BAD, ORDER = "total error of a value", "error of its step alone", "wrong", "different layout or shape"


@pytest.mark.parametrize(
    ("rows", "meanings"),
    [
        ([GOOD], [OWN, ALONE]),
        ([replace(GOOD, alone=None)], [OWN]),
        ([GOOD, WRONG], [OWN, ALONE, BAD]),
        ([replace(GOOD, alone=None), LAYOUT, replace(SHAPE, alone=None)], [OWN, ALONE, ORDER]),
    ],
)
def test_the_legend_explains_the_marks_in_use(rows: list, meanings: list[str]) -> None:
    assert [w for w in words(report_of(*rows)) if w in (OWN, ALONE, BAD, ORDER)] == meanings


def test_a_mark_says_what_it_is() -> None:
    marks = [element for element in elements(report_of(GOOD, WRONG)) if element.get("class") == "wrong"]
    (mark,) = marks
    assert "".join(mark.itertext()) == "logits: wrong, 1234 × rounding, alone 1300"


def test_nothing_points_where_nothing_is_wrong() -> None:
    assert not [w for w in words(report_of(GOOD)) if w.startswith("first: ")]
    assert [w for w in words(report_of(GOOD, WRONG)) if w.startswith("first: ")] == ["first: logits"]


@pytest.mark.parametrize(("index", "anchor"), [(0, "start"), (9, "middle"), (19, "end")])
def test_the_name_of_the_first_bad_value_stays_within_the_picture(index: int, anchor: str) -> None:
    rows = [replace(GOOD, name=f"encoder.layer.{i}") for i in range(20)]
    rows[index] = replace(WRONG, name=rows[index].name)
    (label,) = [e for e in elements(report_of(*rows)) if e.tag == f"{SVG}text" and (e.text or "").startswith("first: ")]
    assert label.get("text-anchor") == anchor


def test_rounding_has_a_band_up_to_the_bound() -> None:
    report = report_of(GOOD, WRONG)
    scale = Scale(2, math.ceil(math.log10(1300) + 0.2))
    bands = [e for e in elements(report) if e.tag == f"{SVG}rect" and e.get("fill") != "currentColor"]
    (band,) = bands
    assert float(band.attrib["y"]) == pytest.approx(scale.y(report.bound), abs=0.1)
    assert float(band.attrib["y"]) + float(band.attrib["height"]) == pytest.approx(BOTTOM, abs=0.15)
