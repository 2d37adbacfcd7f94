"""Tests of the report itself: JSON, all forms of a real one, and the mistakes that explain it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from reports import GOOD, NAN, REPORTS, WRONG, Html, every_report, report_of
from support import tiny

from minroberta import trace
from minroberta.testing import Finding, Row, compare


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


def test_json_keeps_every_number_and_has_null_for_nan() -> None:
    good, nothing = strict(report_of(GOOD, NAN).to_json())["rows"]
    assert Row(**{**good, "shape": tuple(good["shape"])}) == GOOD
    assert [nothing[key] for key in ("absolute", "relative", "multiple", "alone", "candidate")] == [None] * 5
    assert nothing["reference"] == 0.1236


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


def test_the_mistakes_are_given_if_asked_for() -> None:
    report = report_of(GOOD, WRONG)
    assert "why:" not in str(report) and "<dt>Why</dt>" not in report.html()
    unknown, one, two = (report.explained(findings) for findings in ([], [GELU], [GELU, BIAS]))
    assert str(unknown).splitlines()[1] == "why: none of the known mistakes explains it"
    assert str(one).splitlines()[1] == "why: gelu-tanh: GELU is computed by tanh. Use erf <b>."
    assert str(two).splitlines()[2] == "why: and also lm-bias-missing: The bias is missing. Add it."
    assert "why: or gelu-tanh" in str(report.explained([replace(BIAS, on_top_of=None), GELU]))
    other = replace(BIAS, name="lm-bias-doubled")  # in place of BIAS, beside GELU as well
    assert str(report.explained([GELU, BIAS, other])).splitlines()[3].startswith("why: or lm-bias-doubled")
    first = '<dt>Why</dt><dd><b class="wrong">gelu-tanh</b>: GELU is computed by tanh. Use erf &lt;b&gt;.</dd>'
    assert first + '<dt></dt><dd>and also <b class="wrong">lm-bias-missing</b>: ' in two.html()
    assert json.loads(two.to_json())["findings"][1]["on_top_of"] == "gelu-tanh"
    assert json.loads(report.to_json())["findings"] is None
    assert "why:" not in str(report_of(GOOD).explained([]))
