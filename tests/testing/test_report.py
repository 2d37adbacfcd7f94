"""Tests of a report's forms: the headline, short tables, self-contained pages, the picture, JSON."""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support import tiny

from minroberta import trace
from minroberta.testing import Report, Row, compare
from minroberta.testing.diagnose import Finding
from minroberta.testing.page import notebook, page
from minroberta.testing.picture import BOTTOM, LEFT, LETTER, RIGHT, TOP, WIDTH
from minroberta.testing.sentences import headline
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
LAYOUT = replace(GOOD, verdict="layout", note="batch and length swapped")
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
    own = names(layers)
    middle = len(own) // 2
    rows = [GOOD] * middle + [bad] + [after] * (len(own) - middle - 1)
    for index in range(middle, len(own), every or len(own)):
        rows[index] = bad
    return report_of(*(replace(row, name=name) for row, name in zip(rows, own, strict=True)))


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
    "longer": deep(100),
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

every_report = pytest.mark.parametrize("kind", REPORTS)


# --- the sentence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([GOOD], "the one value is right, to within 2 times float32's rounding"),
        ([GOOD, replace(GOOD, multiple=12.4)], "all 2 values are right, to within 12 times float32's rounding"),
        (
            [GOOD, replace(FOLLOWS, multiple=51.0)],
            "all 2 steps are right, and together they are off by 51 times float32's rounding",
        ),
        (
            [replace(GOOD, name="embeddings"), WRONG],
            "first wrong at logits (last good embeddings): 1300 times the rounding of float32; "
            "worst at batch 0, token 5, channel 17: 0.1234 where the reference has 0.1236",
        ),
        (
            [replace(WRONG, alone=None, multiple=3.7e6, place={})],
            "first wrong at logits (it is the first value compared): 3.7e6 times the rounding of float32; "
            "0.1234 where the reference has 0.1236",
        ),
        (
            [NAN],
            "first wrong at logits (it is the first value compared): off by more than any rounding of float32; "
            "worst at batch 0, token 5, channel 17: nan where the reference has 0.1236",
        ),
        (
            [LAYOUT],
            "first wrong at logits (it is the first value compared): "
            "the right numbers in another order, batch and length swapped",
        ),
        (
            [SHAPE],
            "first wrong at logits (it is the first value compared): "
            "of shape (2, 6) where the reference has (2, 6, 30)",
        ),
    ],
)
def test_a_sentence_says_it_all(rows: list[Row], sentence: str) -> None:
    report = report_of(*rows)
    assert headline(report) == sentence
    assert text(report).splitlines()[0] == sentence


@pytest.mark.parametrize("difference", [1e-1, 1e-3, 1e-6, 1e-9, 1e-15])
@pytest.mark.parametrize("number", [0.1, -1.0, 7.25])
def test_as_many_digits_as_distinguish_two_numbers(number: float, difference: float) -> None:
    sentence = headline(report_of(replace(WRONG, reference=number, candidate=number * (1 + difference))))
    candidate, reference = re.search(r"17: (\S+) where the reference has (\S+)$", sentence).groups()
    assert candidate != reference and float(reference) == pytest.approx(number, rel=difference)
    assert len(candidate) <= 6 - math.log10(difference)


# --- in a terminal --------------------------------------------------------------------------------------------------


@every_report
def test_a_terminal_shows_it_without_scrolling(kind: str) -> None:
    lines = text(REPORTS[kind]).split("\n")
    assert len(lines) < 40
    assert all(line.isprintable() for line in lines)
    assert all(line == line.rstrip() for line in lines) and lines[-1]


def shown_and_counted(report: Report) -> tuple[list[str], int]:
    """The names in the table, and the number of rows that are only counted."""
    lines = itertools.takewhile(bool, text(report).split("\n\n")[1].split("\n")[1:])
    counted, seen = [], []
    for line in lines:
        (counted if line.startswith("  ... ") else seen).append(line)
    return [line.split()[0] for line in seen], sum(
        int(number) for line in counted for number in re.findall(r"\d+", line)
    )


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if kind != "hostile"])
def test_each_value_is_shown_or_counted(kind: str) -> None:
    report = REPORTS[kind]
    seen, counted = shown_and_counted(report)
    assert len(seen) + counted == len(report.rows)
    order = {row.name: index for index, row in enumerate(report.rows)}
    assert len(report.rows) < 6 or [order[name] for name in seen] == sorted(order[name] for name in seen)
    assert not re.search(r"\.\.\. 1 \w+$", text(report), re.MULTILINE), "a value takes no more room than its count"


@pytest.mark.parametrize("kind", ["one wrong", "one a layer", "every second", "all wrong", "shapes", "long", "longer"])
def test_what_is_around_the_first_bad_value_is_shown(kind: str) -> None:
    report = REPORTS[kind]
    first = next(index for index, row in enumerate(report.rows) if not row.ok)
    seen, _ = shown_and_counted(report)
    assert {row.name for row in report.rows[first - 3 : first + 3]} <= set(seen)


@pytest.mark.parametrize("kind", ["one wrong", "one a layer", "no numbers"])
def test_all_that_is_wrong_is_shown_where_there_is_room(kind: str) -> None:
    report = REPORTS[kind]
    assert {row.name for row in report.rows if not row.ok} <= set(shown_and_counted(report)[0])


def test_a_right_report_shows_the_worst() -> None:
    report = REPORTS["right"]
    worst = replace(report.rows[100], multiple=31.0)
    report = replace(report, rows=(*report.rows[:100], worst, *report.rows[101:]))
    assert worst.name in shown_and_counted(report)[0]
    assert len(text(report).split("\n")) < 20


def test_a_column_is_aligned() -> None:
    head, *rows = text(REPORTS["one wrong"]).split("\n\n")[1].split("\n")
    end = head.index("reference") + len("reference")
    assert {row[end - 1] for row in rows if "..." not in row} <= set("0123456789")


def test_the_same_step_of_many_layers_is_one_name() -> None:
    wrong = [replace(WRONG, name=f"encoder.layer.{layer}.intermediate") for layer in (0, 1, 2, 3, 5)]
    missing = (*(f"encoder.layer.{layer}" for layer in range(12)), "pooler")
    shown = text(report_of(*wrong, GOOD, missing=missing))
    assert "6 values: 5 wrong, 1 good; bad: encoder.layer.0-3,5.intermediate\n" in shown
    assert shown.endswith("missing (13): encoder.layer.0-11, pooler")


def test_what_was_not_compared_is_said_in_short() -> None:
    unknown = tuple(f"their.{index}" for index in range(500))
    shown = text(report_of(GOOD, unknown=unknown, unavailable=("this needs a model",)))
    assert "\nunknown (500): their.0, their.1, their.2, their.3, their.4, their.5 and 494 more\n" in shown
    assert shown.endswith("\nunavailable: this needs a model")


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
        return [own for name, own in self.elements if name == tag and attributes.items() <= own.items()]

    def text_of(self, tag: str) -> list[str]:
        return [data for name, data in self.words if name == tag]

    def marks(self, kind: str) -> list[dict]:
        return [own for tag, own in self.elements if tag in ("circle", "path") and own.get("class") == kind]


@every_report
@pytest.mark.parametrize("shape", [page, notebook])
def test_html_is_whole_and_fetches_nothing(kind: str, shape) -> None:
    source = shape(REPORTS[kind])
    html = Html(source)
    assert {tag for tag, _ in html.elements} <= HARMLESS
    assert {attribute for _, own in html.elements for attribute in own}.isdisjoint({"src", "href", "onclick", "onload"})
    assert not re.search(r"url\(|@import|@font-face", source)
    assert "".join(html.text_of("h1")).lower() in headline(REPORTS[kind]).lower()
    source.encode("utf-8")


@every_report
def test_the_page_has_every_value(kind: str) -> None:
    report = REPORTS[kind]
    html = Html(page(report))
    assert len(html.of("tr")) == 1 + len(report.rows)
    assert len(html.of("td")) == 9 * len(report.rows)
    verdicts = Counter(own["class"] for own in html.of("td") if "class" in own)
    assert verdicts == Counter(row.verdict for row in report.rows)


def test_a_hostile_name_is_only_words() -> None:
    html = Html(page(REPORTS["hostile"]))
    harmless = '<script src="http://x">&amp;\\x1b[31m\\n\\u202e\\ud800</script>'
    assert f"First wrong at {harmless}" in html.text_of("h1")
    assert any(harmless in words for words in html.text_of("text"))
    assert harmless in html.text_of("span")


@pytest.mark.parametrize("kind", ["one wrong", "one a layer", "long"])
def test_a_long_page_unfolds_where_it_first_goes_wrong(kind: str) -> None:
    report = REPORTS[kind]
    html = Html(page(report))
    folds = html.of("details")
    layers = len({row.name.split(".")[2] for row in report.rows if row.name.startswith("encoder.layer")})
    assert len(folds) == layers + 2
    middle = int(report.first_bad.split(".")[2])
    assert [index for index, own in enumerate(folds) if "open" in own] == [middle + 1]


def test_a_short_page_hides_nothing() -> None:
    rows = [replace(GOOD, name=name) for name in ("embeddings", "encoder.layer.0", "encoder.layer.1")]
    folds = Html(page(report_of(*rows, WRONG))).of("details")
    assert len(folds) == 4 and all("open" in own for own in folds)


def test_a_notebook_shows_what_a_terminal_shows() -> None:
    report = REPORTS["one a layer"]
    html = Html(notebook(report))
    seen, _ = shown_and_counted(report)
    assert len([own for own in html.of("td") if own.get("class") in ("good", "follows", "wrong")]) == len(seen)
    assert len(html.of("tr", **{"class": "bad"})) == sum(not row.ok for row in report.rows)


def test_styles_stay_within_a_report() -> None:
    """Every rule is limited to reports, since a notebook has other cells."""
    style = "".join(Html(notebook(REPORTS["five"])).text_of("style"))
    rules = re.findall(r"([^{}]+)\{", re.sub(r"@media[^{]*\{", "", style))
    assert len(rules) > 20
    assert all("minroberta" in selector for rule in rules for selector in rule.split(","))


# --- the picture ----------------------------------------------------------------------------------------------------


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
def test_infinity_has_its_own_place(kind: str) -> None:
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


# --- JSON -----------------------------------------------------------------------------------------------------------


def strict(source: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(source, parse_constant=refuse)


@every_report
def test_json(kind: str) -> None:
    report = REPORTS[kind]
    content = strict(report.to_json())
    assert (content["ok"], content["first_bad"], content["last_good"]) == (
        report.ok,
        report.first_bad,
        report.last_good,
    )
    assert (content["precision"], content["bound"]) == ("float32", 32.0)
    assert [tuple(content[key]) for key in ("missing", "unknown", "unavailable")] == [
        report.missing, report.unknown, report.unavailable
    ]  # fmt: skip
    assert [row["name"] for row in content["rows"]] == [row.name for row in report.rows]
    assert [row["verdict"] for row in content["rows"]] == [row.verdict for row in report.rows]


def test_json_keeps_every_number_and_has_null_for_none() -> None:
    good, nothing = strict(report_of(GOOD, NAN).to_json())["rows"]
    assert Row(**{**good, "shape": tuple(good["shape"])}) == GOOD
    assert [nothing[key] for key in ("absolute", "relative", "multiple", "alone", "candidate")] == [None] * 5
    assert nothing["reference"] == 0.1236


# --- of a model -----------------------------------------------------------------------------------------------------


def test_a_report_of_a_model_is_shown_in_each_way(tmp_path: Path) -> None:
    model, ids = tiny("masked_lm"), np.array([[0, 7, 9, 11, 13, 2]])
    right = trace(model, input_ids=ids)
    spoilt = trace(model, input_ids=ids, edit={"encoder.layer.1.attention.self.probs": lambda probs: probs * 1.01})
    report = compare(right, dict(spoilt))
    first, last = "encoder.layer.1.attention.self.probs", "encoder.layer.1.attention.self.scores"
    assert str(report).startswith(f"first wrong at {first} (last good {last}): ")
    assert f"First wrong at {first}" in Html(report._repr_html_()).text_of("h1")
    report.save_html(tmp_path / "report.html")
    html = Html((tmp_path / "report.html").read_text("utf-8"))
    assert len(html.marks("whole")) == len(report.rows) and len(html.marks("wrong")) == 1
    assert strict(report.to_json())["first_bad"] == first


GELU = Finding("gelu-tanh", "GELU is computed by tanh.", "Use erf <b>.", 1.5)
BIAS = Finding("lm-bias-missing", "The bias is missing.", "Add it.", 1.5, on_top_of="gelu-tanh")


def test_why_is_said_where_it_was_asked() -> None:
    report = report_of(GOOD, WRONG)
    assert "why:" not in str(report) and "<dt>Why</dt>" not in report.html()
    unknown, one, two = (report.explained(findings) for findings in ([], [GELU], [GELU, BIAS]))
    assert str(unknown).splitlines()[1] == "why: none of the known mistakes explains it"
    assert str(one).splitlines()[1] == "why: gelu-tanh: GELU is computed by tanh. Use erf <b>."
    assert str(two).splitlines()[2] == "why: and on top of it lm-bias-missing: The bias is missing. Add it."
    assert "why: or gelu-tanh" in str(report.explained([replace(BIAS, on_top_of=None), GELU]))
    first = '<dt>Why</dt><dd><b class="wrong">gelu-tanh</b>: GELU is computed by tanh. Use erf &lt;b&gt;.</dd>'
    assert first + '<dt></dt><dd>and on top of it <b class="wrong">lm-bias-missing</b>: ' in two.html()
    assert json.loads(two.to_json())["findings"][1]["on_top_of"] == "gelu-tanh"
    assert json.loads(report.to_json())["findings"] is None
    assert "why:" not in str(report_of(GOOD).explained([]))
