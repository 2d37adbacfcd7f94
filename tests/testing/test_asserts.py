"""Tests of assert_matches: silent for a match, a message in the report's words for a mismatch."""

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
from minroberta.testing.sentences import times

IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
TRACE = trace(tiny("masked_lm", "float32"), IDS, attention_mask=(IDS != 1).astype(int))
NAME = "encoder.layer.1.intermediate"


def spoilt(name: str = NAME, by: float = 3) -> dict[str, np.ndarray]:
    """The trace's values, with one number of one of them changed."""
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


def test_the_message() -> None:
    candidate = spoilt()
    row = next(row for row in compare(TRACE, candidate).rows if row.name == NAME)
    first, counts, audit, following = message(candidate).splitlines()
    assert audit == f"audit: {compare(TRACE, candidate).audit}"
    numbers = f"{candidate[NAME][1, 2, 17]:.4g} where the reference has {row.reference:.4g}"
    assert first == (
        f"first wrong at {NAME} (last good {NAME}.dense): {times(row.alone)} times the float32 rounding error; "
        f"worst at batch 1, token 2, channel 17: {numbers}"
    )
    assert counts == f"{len(TRACE)} values: 2 wrong, {len(TRACE) - 2} good; bad: {NAME}, encoder.layer.1.output.dense"
    assert following.startswith("next: minroberta.testing.diagnose(trace.model, trace.inputs, candidate) ")


def test_the_message_is_the_reports_text() -> None:
    """The message is the report line for line, without the table of rows."""
    few = {name: spoilt()[name] for name in ("embeddings", f"{NAME}.dense", NAME, "logits")}
    for candidate, reference in ((spoilt(), TRACE), (few, TRACE), ({**few, "more": few[NAME]}, dict(TRACE))):
        *said, following = message(candidate, reference).splitlines()
        found, _, *rest = str(compare(reference, candidate)).split("\n\n")
        assert said == [*found.splitlines(), *"\n".join(rest).splitlines()]
        assert following.startswith("next: ")


def test_notes_are_in_the_message() -> None:
    assert "; 1 of 444 elements are NaN or infinite; worst at" in message(spoilt(by=np.nan))


def test_values_that_follow_and_values_that_were_not_given() -> None:
    spoil = {NAME: lambda value: value + np.float32(0.1)}
    whole = trace(TRACE.model, edit=spoil, **TRACE.inputs)
    text = message({name: whole[name] for name in ("encoder.layer.0", NAME, "encoder.layer.1", "logits")})
    assert "\n4 values: 1 wrong, 2 follows, 1 good\n" in text
    assert f"\nmissing ({len(TRACE) - 4}): " in text


def test_nothing_good_before_it() -> None:
    assert message({"logits": TRACE["logits"] + 1}).startswith(
        "first wrong at logits (no earlier value was compared): "
    )


def test_a_layout_is_accepted() -> None:
    report = assert_matches({**TRACE, NAME: TRACE[NAME].swapaxes(0, 1)}, TRACE)
    assert report.ok and str(report).splitlines()[0].endswith("; in another layout: batch and length swapped")


def test_a_shape() -> None:
    text = message({**TRACE, NAME: TRACE[NAME][:, :5]})
    assert ": shape (2, 5, 37) where the reference has (2, 6, 37)\n" in text and "nan" not in text


def test_a_plain_mapping_lists_what_is_unavailable() -> None:
    text = message(spoilt(), dict(TRACE))
    unavailable = compare(dict(TRACE), spoilt()).unavailable
    assert unavailable and "".join(f"\nunavailable: {sentence}" for sentence in unavailable) in text
    assert "diagnose(model, inputs, candidate)" in text


def test_names() -> None:
    candidate = {f"my.{name}": value for name, value in TRACE.items()}
    assert assert_matches(candidate, TRACE, names={r"my\.(.*)": r"\1"}).ok


# --- precision ------------------------------------------------------------------------------------------------------


def test_the_precision_is_float32_by_default() -> None:
    half = spoilt(by=1e-3)  # of a number of about 1
    assert "the float32 rounding error" in message(half)
    assert assert_matches(half, TRACE, precision="float16").precision == "float16"


def test_an_expected_precision() -> None:
    token = expected_precision.set("bfloat16")
    try:
        assert assert_matches(dict(TRACE), TRACE).precision == "bfloat16"
        assert assert_matches(dict(TRACE), TRACE, precision="float32").precision == "float32"
    finally:
        expected_precision.reset(token)
    assert assert_matches(dict(TRACE), TRACE).precision == "float32"


def test_an_unknown_precision() -> None:
    with pytest.raises(InputError, match="unknown precision 'int8'"):
        assert_matches(dict(TRACE), TRACE, precision="int8")


# --- the page -------------------------------------------------------------------------------------------------------


def test_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert_matches(dict(TRACE), TRACE, report=path)
    assert not path.exists()
    assert re.search(rf"^page: {re.escape(str(path))}$", message(spoilt(), report=path), re.MULTILINE)
    assert path.read_text(encoding="utf-8") == explain(compare(TRACE, spoilt()), TRACE, spoilt()).html()
    assert '<dt>Why</dt><dd><b class="wrong">none</b> of the known mistakes' in path.read_text(encoding="utf-8")
