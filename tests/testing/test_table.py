"""Tests of a report in a terminal: short, aligned, every value shown or counted."""

import re
from dataclasses import replace

import pytest
from reports import GOOD, REPORTS, WRONG, every_report, report_of, shown_and_counted

from minroberta.testing.table import text


@every_report
def test_a_report_fits_a_terminal(kind: str) -> None:
    lines = text(REPORTS[kind]).split("\n")
    assert len(lines) < 40
    assert all(line.isprintable() for line in lines)
    assert all(line == line.rstrip() for line in lines) and lines[-1]


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if kind != "hostile"])
def test_each_value_is_shown_or_counted(kind: str) -> None:
    report = REPORTS[kind]
    seen, counted = shown_and_counted(report)
    assert len(seen) + counted == len(report.rows)
    order = {row.name: index for index, row in enumerate(report.rows)}
    assert len(report.rows) < 6 or [order[name] for name in seen] == sorted(order[name] for name in seen)
    assert not re.search(r"\.\.\. 1 \w+$", text(report), re.MULTILINE), "a value takes no more room than its count"


@pytest.mark.parametrize("kind", ["one wrong", "one a layer", "every second", "all wrong", "shapes", "long", "longer"])
def test_values_around_the_first_bad_one_are_shown(kind: str) -> None:
    report = REPORTS[kind]
    first = next(index for index, row in enumerate(report.rows) if not row.ok)
    seen, _ = shown_and_counted(report)
    assert {row.name for row in report.rows[first - 3 : first + 3]} <= set(seen)


@pytest.mark.parametrize("kind", ["one wrong", "one a layer", "no numbers"])
def test_all_wrong_values_are_shown_if_there_is_room(kind: str) -> None:
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


def test_values_that_were_not_compared_are_counted() -> None:
    unknown = tuple(f"their.{index}" for index in range(500))
    shown = text(report_of(GOOD, unknown=unknown, unavailable=("this needs a model",)))
    assert "\nunknown (500): their.0, their.1, their.2, their.3, their.4, their.5 and 494 more\n" in shown
    assert shown.endswith("\nunavailable: this needs a model")
