"""Tests of a report's headline."""

import math
import re
from dataclasses import replace

import pytest
from reports import FOLLOWS, GOOD, LAYOUT, NAN, SHAPE, WRONG, report_of

from minroberta.testing import Row
from minroberta.testing.sentences import headline
from minroberta.testing.table import text


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([GOOD], "the only value is right, to within 2 times the float32 rounding error"),
        ([GOOD, replace(GOOD, multiple=12.4)], "all 2 values are right, to within 12 times the float32 rounding error"),
        (
            [GOOD, replace(FOLLOWS, multiple=51.0)],
            "all 2 steps are right, but their errors add up to 51 times the float32 rounding error",
        ),
        (
            [replace(GOOD, name="embeddings"), WRONG],
            "first wrong at logits (last good embeddings): 1300 times the float32 rounding error; "
            "worst at batch 0, token 5, channel 17: 0.1234 where the reference has 0.1236",
        ),
        (
            [replace(WRONG, alone=None, multiple=3.7e6, place={})],
            "first wrong at logits (no earlier value was compared): 3.7e6 times the float32 rounding error; "
            "0.1234 where the reference has 0.1236",
        ),
        (
            [NAN],
            "first wrong at logits (no earlier value was compared): off by more than any float32 rounding error; "
            "worst at batch 0, token 5, channel 17: nan where the reference has 0.1236",
        ),
        (
            [LAYOUT],
            "the only value is right, to within 2 times the float32 rounding error; "
            "in another layout: batch and length swapped",
        ),
        (
            [SHAPE],
            "first wrong at logits (no earlier value was compared): of shape (2, 6) where the reference has (2, 6, 30)",
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
