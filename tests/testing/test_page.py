"""Tests of a report as HTML: complete, self-contained, harmless, on a page and in a notebook."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from reports import GOOD, HARMLESS, REPORTS, WRONG, Html, every_report, report_of, shown_and_counted

from minroberta.testing.page import notebook, page
from minroberta.testing.sentences import headline


@every_report
@pytest.mark.parametrize("shape", [page, notebook])
def test_html_is_whole_and_fetches_nothing(kind: str, shape) -> None:
    source = shape(REPORTS[kind])
    html = Html(source)
    assert {tag for tag, _ in html.elements} <= HARMLESS
    attributes = {name for _, given in html.elements for name in given}
    assert attributes.isdisjoint({"src", "href", "onclick", "onload"})
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
