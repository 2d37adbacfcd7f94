"""assert_matches: silent where the candidate matches; where it does not, the message tells the essentials."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny

from minroberta import InputError, trace
from minroberta.testing import Report, compare
from minroberta.testing.asserts import Mismatch, assert_matches, expected_precision
from minroberta.testing.diagnose import explain

IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
TRACE = trace(tiny("masked_lm", "float32"), IDS, attention_mask=(IDS != 1).astype(int))
NAME = "encoder.layer.1.intermediate"


def spoilt(name: str = NAME, by: float = 3) -> dict[str, np.ndarray]:
    """The trace's own values, one number of one of them changed."""
    value = TRACE[name].copy()
    value[(1, 2, 17)[: value.ndim]] += by
    return {**TRACE, name: value}


def message(candidate: Any, reference: Any = TRACE, **options: Any) -> str:
    with pytest.raises(Mismatch) as caught:
        assert_matches(candidate, reference, **options)
    return str(caught.value)


def test_a_match_gives_the_report() -> None:
    report = assert_matches(dict(TRACE), TRACE)
    assert isinstance(report, Report) and report.ok
    assert len(report.rows) == len(TRACE)


def test_a_mismatch_is_an_assertion_that_has_the_report() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_matches(spoilt(), TRACE)
    assert type(caught.value) is Mismatch
    assert caught.value.report.first_bad == NAME
    again = copy.copy(caught.value)  # as a pickle would make it
    assert str(again) == str(caught.value) and again.report is caught.value.report


def test_the_essentials() -> None:
    candidate = spoilt()
    row = next(row for row in compare(TRACE, candidate).rows if row.name == NAME)
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in message(candidate).splitlines())
    assert lines["first bad"] == f"{NAME}, wrong"
    assert lines["last good"] == f"{NAME}.dense"
    assert lines["error"] == (
        f"3, {row.multiple:.3g} times the rounding of float32 here; this step by itself {row.alone:.3g} times"
    )
    numbers = f"{candidate[NAME][1, 2, 17]:.9g} instead of {row.reference:.9g}"
    assert lines["worst at"] == f"batch 1, token 2, channel 17: {numbers}"
    assert lines["in all"] == f"2 of {len(TRACE)} values are bad, and 0 off because of them"  # the next one's input
    assert lines["next"].startswith("minroberta.testing.diagnose(trace.model, trace.inputs, candidate)")
    assert lines.keys() == {"first bad", "last good", "error", "worst at", "in all", "next"}


def test_what_follows_and_what_was_not_given() -> None:
    spoil = {NAME: lambda value: value + np.float32(0.1)}
    whole = trace(TRACE.model, edit=spoil, **TRACE.inputs)
    text = message({name: whole[name] for name in ("encoder.layer.0", NAME, "encoder.layer.1", "logits")})
    assert f"1 of 4 values are bad, and 2 off because of them; {len(TRACE) - 4} more were not given" in text


def test_nothing_good_before_it() -> None:
    assert re.search(r"^last good +none$", message({"logits": TRACE["logits"] + 1}), re.MULTILINE)


def test_a_layout_needs_no_numbers() -> None:
    candidate = {**TRACE, NAME: TRACE[NAME].swapaxes(0, 1)}
    text = message(candidate)
    assert f"first bad   {NAME}, layout: batch and length swapped\n" in text
    assert "error" not in text and "worst at" not in text


def test_a_shape() -> None:
    text = message({**TRACE, NAME: TRACE[NAME][:, :5]})
    assert f"{NAME}, shape: " in text and "nan" not in text


def test_a_plain_mapping_says_what_it_cannot() -> None:
    text = message(spoilt(), dict(TRACE))
    unavailable = compare(dict(TRACE), spoilt()).unavailable
    assert unavailable and "unavailable " + "; ".join(unavailable) in text
    assert "diagnose(model, inputs, candidate)" in text
    assert "this step by itself" not in text


def test_names() -> None:
    candidate = {f"my.{name}": value for name, value in TRACE.items()}
    assert assert_matches(candidate, TRACE, names={r"my\.(.*)": r"\1"}).ok


# --- precision ------------------------------------------------------------------------------------------------------


def test_the_precision_is_float32_unless_it_is_said() -> None:
    half = spoilt(by=1e-3)  # of a number of about 1
    assert "the rounding of float32" in message(half)
    assert assert_matches(half, TRACE, precision="float16").precision == "float16"


def test_an_expected_precision() -> None:
    token = expected_precision.set("bfloat16")
    try:
        assert assert_matches(dict(TRACE), TRACE).precision == "bfloat16"
        assert assert_matches(dict(TRACE), TRACE, precision="float32").precision == "float32"
    finally:
        expected_precision.reset(token)
    assert assert_matches(dict(TRACE), TRACE).precision == "float32"


def test_a_precision_that_is_none() -> None:
    with pytest.raises(InputError, match="not 'int8'"):
        assert_matches(dict(TRACE), TRACE, precision="int8")


# --- the page -------------------------------------------------------------------------------------------------------


def test_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert_matches(dict(TRACE), TRACE, report=path)
    assert not path.exists()
    assert re.search(rf"^page +{re.escape(str(path))}$", message(spoilt(), report=path), re.MULTILINE)
    assert path.read_text(encoding="utf-8") == explain(compare(TRACE, spoilt()), TRACE, spoilt()).html()
    assert '<dt>Why</dt><dd><b class="wrong">none</b> of the mistakes' in path.read_text(encoding="utf-8")
