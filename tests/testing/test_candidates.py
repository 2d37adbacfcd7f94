"""Tests of the candidates: two independent implementations agree on the right values and on the wrong ones."""

import numpy as np
import port
import pytest
from candidates import CATALOGUE, RIGHT, TWO, UNKNOWN, Candidate, Values, from_port, without_prefix
from generators.mistake_cases import SETTINGS

from minroberta.testing.mistakes import catalogue

BY_NAME = {candidate.name: candidate for candidate in [*CATALOGUE, *TWO, *UNKNOWN, *RIGHT]}

ROUNDING = 2e-4
"""Tolerance relative to the largest number: float32 is within it after two layers, different mistakes are not."""

SAME = {
    "post/mask-multiplied": port.MaskMultiplied,
    "post/mask-after-softmax": port.MaskMultipliedAfterSoftmax,
    "blind/mask-1e4": port.Mask1e4,
    "blind/mask-inf": port.MaskInf,
    "post/softmax-over-queries": port.SoftmaxOverQueries,
    "post/softmax-over-heads": port.SoftmaxOverHeads,
    "relative/distance-sign": port.DistanceSign,
    "cached/cache-position-off-by-one": port.CacheForward,
    "decoder/causal-off-by-one": port.CausalForward,
    "encoder/heads-interleaved": port.HeadsInterleaved,
    "post/query-key-swapped": port.FusedKqv,
    "encoder/qkv-order-vkq": port.FusedVkq,
    "post/variance-unbiased": port.Unbiased,
    "small/eps-outside-root": port.EpsOutside,
}


def distance(one: Values, other: Values) -> float:
    """The largest difference of a value that both have, as a part of its largest number; NaN if one has a NaN."""
    one = {without_prefix(name): value for name, value in one.items()}
    shared = one.keys() & other.keys()
    assert len(shared) > 5
    return np.max([difference(one[name], other[name]) for name in shared])  # Python's max may lose a NaN


def difference(one: np.ndarray, other: np.ndarray) -> float:
    both = np.isnan(one) & np.isnan(other)
    return np.where(both, 0, abs(one - other)).max() / abs(np.where(both, 1, other)).max()


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_right_models_agree(setting: str) -> None:
    assert distance(BY_NAME[f"eager/{setting}"].values, from_port(port.Port, setting)) < ROUNDING


@pytest.mark.parametrize("name", SAME)
def test_two_codes_have_the_same_mistake(name: str) -> None:
    setting = name.partition("/")[0]
    wrong = from_port(SAME[name], setting)
    assert distance(BY_NAME[name].values, wrong) < ROUNDING
    assert not distance(from_port(port.Port, setting), wrong) < ROUNDING


@pytest.mark.parametrize("candidate", [*CATALOGUE, *TWO], ids=lambda candidate: candidate.name)
def test_a_mistake_is_one_of_the_catalogue(candidate: Candidate) -> None:
    known = {mistake.name for mistake in catalogue(candidate.model)} | {"layers-reordered", "heads-reordered"}
    assert all(set(names) <= known for names in candidate.names)
    assert len(candidate.names) == (1 if candidate in CATALOGUE else 2)


@pytest.mark.parametrize("candidate", UNKNOWN, ids=lambda candidate: candidate.name)
def test_a_stranger_is_not(candidate: Candidate) -> None:
    assert not candidate.names
    assert candidate.first_bad is not None


def test_there_are_enough() -> None:
    found = {name for candidate in CATALOGUE for names in candidate.names for name in names}
    model = BY_NAME["deep/layers-in-text-order"].model
    missing = {mistake.name for mistake in catalogue(model)} - found
    assert not {
        name
        for name in missing
        if not name.startswith(("layer-missing", "weight-transposed", "eps-1e-", "int8-dynamic"))
    }
    assert {f"eps-{eps}" for eps in ("1e-12", "1e-6", "1e-3", "1e-5")} <= found
    assert {f"eps-1e-3-{group}" for group in port.NORMS} <= found
    assert len(RIGHT) == 100
    assert len(TWO) >= 12
    assert len(UNKNOWN) >= 10
    assert len(BY_NAME) == len([*CATALOGUE, *TWO, *UNKNOWN, *RIGHT])
