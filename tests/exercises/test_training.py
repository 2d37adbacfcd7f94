"""The exercises of notebook 7: right answers are right, and each likely mistake gets its sentence."""

import functools
import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from minroberta.exercises.training import check

Array = np.ndarray


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


# --- 1. masking -----------------------------------------------------------------------------------------------------


def masks(
    ids: Array,
    special: Collection[int],
    mask_id: int,
    vocabulary: int,
    random: np.random.Generator,
    *,
    share: float = 0.15,
    parts: tuple[float, float] = (0.8, 0.9),
    excluded: bool = True,
    of: str = "old",
    elsewhere: int = -100,
    rows_alike: bool = False,
    lowest: int = 0,
    one_token: bool = False,
    changes: str = "chosen",
) -> tuple[Array, Array]:
    """The right answer, and with other settings some wrong ones."""
    shape = (1, ids.shape[1]) if rows_alike else ids.shape
    chosen = random.random(shape) < share
    chosen = chosen & ~np.isin(ids, list(special)) if excluded else np.broadcast_to(chosen, ids.shape)
    kind = random.random(ids.shape)
    others = random.integers(lowest, vocabulary, () if one_token else ids.shape)
    shown = np.where(kind < parts[0], mask_id, np.where(kind < parts[1], others, ids))
    other_choice = (random.random(ids.shape) < share) & ~np.isin(ids, list(special))
    new = np.where(chosen if changes == "chosen" else other_choice, shown, ids)
    return new, np.where(chosen, ids if of == "old" else new, elsewhere)


def in_a_loop(ids: Array, special: Collection[int], mask_id: int, vocabulary: int, random: Any) -> tuple[Array, Array]:
    """Another right answer."""
    labels = np.full_like(ids, -100)
    for where in np.ndindex(ids.shape):
        if ids[where] not in special and random.random() < 0.15:
            labels[where], kind = ids[where], random.random()
            if kind < 0.9:
                ids[where] = mask_id if kind < 0.8 else random.integers(0, vocabulary)
    return ids, labels


def how(**settings: Any) -> Any:
    return lambda *given: masks(*given, **settings)


def always_alike(ids: Array, special: Any, mask_id: int, vocabulary: int, random: Any) -> tuple[Array, Array]:
    return masks(ids, special, mask_id, vocabulary, np.random.default_rng(0))


def inverted(ids: Array, *given: Any) -> tuple[Array, Array]:
    new, labels = masks(ids, *given)
    return new, np.where(labels == -100, ids, -100)


def with_other_labels(*given: Any) -> tuple[Array, Array]:
    new, labels = masks(*given)
    return new, np.where(labels == -100, -100, labels % 900 + 1)


def of_changed(ids: Array, *given: Any) -> tuple[Array, Array]:
    """Labels at changed tokens alone."""
    new, labels = masks(ids, *given)
    return new, np.where(new != ids, labels, -100)


def of_two_draws(
    ids: Array, special: Any, mask_id: int, vocabulary: int, random: Any, masks_last: bool = False
) -> tuple[Array, Array]:
    """A random number for the masks, and another for the random tokens."""
    chosen = (random.random(ids.shape) < 0.15) & ~np.isin(ids, special)
    masked, other = chosen & (random.random(ids.shape) < 0.8), chosen & (random.random(ids.shape) < 0.1)
    others = random.integers(0, vocabulary, ids.shape)
    if masks_last:
        new = np.where(masked, mask_id, np.where(other, others, ids))
    else:
        new = np.where(other, others, np.where(masked, mask_id, ids))
    return new, np.where(chosen, ids, -100)


FIRST: list[tuple[Any, str]] = [
    (None, "exercise 1 is not answered yet"),
    (lambda *a: None, "not yet: your function returns None"),
    (masks, "right: 15 % are asked for"),
    (in_a_loop, "right"),
    (how(lowest=4), "right"),
    (lambda *a: masks(*a)[0], "not yet: two arrays are asked for"),
    (lambda *a: [x * 1.0 for x in masks(*a)], "not yet: the array of new ids should be of integers, not of float64"),
    (lambda *a: [x[:3] for x in masks(*a)], "not yet: the array of new ids has shape (3, 62), not (400, 62)"),
    (lambda *a: (masks(*a)[0], [[1], [1, 2]]), "not yet: the array of labels is not an array of numbers"),
    (lambda *a: [x.tolist() for x in masks(*a)], "right"),
    (of_changed, "not yet: all tokens with a label are changed: a tenth of the chosen keep their token"),
    (of_two_draws, "not yet: 19% of the chosen tokens stay as they are, not 10%: use one random number for both"),
    (
        functools.partial(of_two_draws, masks_last=True),
        "not yet: 19% of the chosen tokens stay as they are, not 10%: use one random number",
    ),
    (lambda *a: (masks(*a)[0], a[0]), "not yet: every position has a label"),
    (how(elsewhere=0), "not yet: every position has a label"),
    (how(elsewhere=1), "not yet: every position has a label"),
    (lambda *a: (a[0], np.full_like(a[0], -100)), "not yet: no position has a label"),
    (inverted, "not yet: the labels are the wrong way round"),
    (how(of="new"), "not yet: the labels are the new tokens"),
    (lambda *a: masks(*a)[::-1], "not yet: the new ids contain -100"),
    (lambda *a: (masks(*a)[0], np.abs(masks(*a)[1] - 1)), "not yet: every position has a label"),
    (with_other_labels, "not yet: a label is not the token that was there before"),
    (how(excluded=False), "not yet: special tokens were chosen"),
    (lambda ids, special, *a: masks(ids, (0, 2), *a), "not yet: special tokens were chosen"),
    (how(changes="others"), "not yet: tokens were changed whose label is -100"),
    (how(share=0.85), "not yet: 8"),
    (how(share=0.12), "not yet: 1"),
    (how(rows_alike=True), "not yet: all texts have their gaps at the same positions"),
    (how(parts=(1, 1)), "not yet: 100% of the chosen tokens become <mask>, not 80%"),
    (how(parts=(0.8, 0.8)), "not yet: 21% of the chosen tokens stay as they are, not 10%"),
    (how(parts=(0.8, 1)), "not yet: all tokens with a label are changed"),
    (how(parts=(0.9, 0.95)), "not yet: 90% of the chosen tokens become <mask>"),
    (how(one_token=True), "not yet: the random tokens are few different ones"),
    (lambda ids, special, mask_id, vocabulary, random: masks(ids, special, mask_id, 31, random), "not yet: the random"),
    (always_alike, "not yet: another generator gives the same choice"),
]


@pytest.mark.parametrize(("answer", "sentence"), FIRST)
def test_masks(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


# --- 2. Adam with an L2 penalty -------------------------------------------------------------------------------------


def adam(
    w: Array, g: Array, m: Array, v: Array, t: int, rate: float, decay: float, **how: Any
) -> tuple[Array, Array, Array]:
    """The right answer, and with how some wrong ones."""
    one, two = how.get("betas", (0.9, 0.999))
    g = g + how.get("penalty", 1) * decay * w
    m, v = one * m + (1 - one) * g, two * v + (1 - two) * abs(g) ** how.get("power", 2)
    of_m = 1 if "m" in how.get("uncorrected", "") else 1 - one ** (t + how.get("later", 0))
    of_v = 1 if "v" in how.get("uncorrected", "") else 1 - two ** (t + how.get("later", 0))
    root = np.sqrt(v / of_v + how.get("inside", 0)) + how.get("eps", 1e-8)
    step = (m / of_m + how.get("late", 0) * decay * w) / root
    new = w - how.get("sign", 1) * rate * step - how.get("decoupled", 0) * rate * decay * w
    kept = how.get("kept", "")
    return new, m / of_m if "m" in kept else m, v / of_v if "v" in kept else v


def decay_in_m(w: Array, g: Array, m: Array, v: Array, t: int, rate: float, decay: float) -> tuple[Array, Array, Array]:
    m, v = 0.9 * m + 0.1 * g + decay * w, 0.999 * v + 0.001 * g * g
    return w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def in_place(w: Array, g: Array, m: Array, v: Array, t: int, rate: float, decay: float) -> list[Array]:
    """Another right answer, which writes into the arrays that it is given."""
    g += decay * w
    m[:] = 0.9 * m + 0.1 * g
    v[:] = 0.999 * v + 0.001 * g**2
    w -= rate * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return [w, m, v]


def by_number(w: Array, g: Array, m: Array, v: Array, *more: Any) -> list[list[float]]:
    """Another right answer, for each number alone, as lists."""
    found = [adam(*numbers, *more) for numbers in zip(w, g, m, v, strict=True)]
    return [[float(one[i]) for one in found] for i in range(3)]


def settings(**how: Any) -> Any:
    return lambda *given: adam(*given, **how)


SECOND: list[tuple[Any, str]] = [
    (None, "exercise 2 is not answered yet"),
    (lambda *a: None, "not yet: your function returns None"),
    (adam, "right: here a weight with large gradients hardly decays"),
    (lambda *a: adam(*a)[0], "not yet: 3 arrays are asked for: return w, m, v"),
    (settings(penalty=0, decoupled=1), "not yet: that is AdamW"),
    (settings(penalty=0), "not yet: the decay is missing"),
    (decay_in_m, "not yet: the decay is added to m alone"),
    (settings(penalty=-1), "not yet: the decay is subtracted from the gradient"),
    (settings(penalty=0.1), "not yet: decay · w is multiplied by the rate already"),
    (settings(uncorrected="mv"), "not yet: the bias correction is missing"),
    (settings(uncorrected="v"), "not yet: v is not corrected"),
    (settings(uncorrected="m"), "not yet: m is not corrected"),
    (settings(eps=0, inside=1e-8), "not yet: ε is added after the root"),
    (settings(eps=0), "not yet: ε is missing"),
    (settings(eps=1e-6), "not yet: ε is 1e-8 here, not 1e-6"),
    (settings(eps=1e-7), "not yet: the new w of step 3 is "),
    (settings(power=1), "not yet: v is the mean of squares"),
    (settings(betas=(0.999, 0.9)), "not yet: β₁ and β₂ are swapped"),
    (settings(betas=(0.9, 0.98)), "not yet: β₂ is 0.999 here, not 0.98"),
    (settings(betas=(0.9, 0.99)), "not yet: the new v of step 3 is "),
    (settings(sign=-1), "not yet: the step goes uphill"),
    (settings(kept="m"), "not yet: return m as it is kept"),
    (settings(kept="v"), "not yet: return v as it is kept"),
    (settings(later=1), "not yet: the exponent is t, which is counted from 1 already"),
    (settings(kept="mv"), "not yet: return m and v as they are kept"),
    (settings(decoupled=1), "not yet: the decay is there twice"),
    (settings(penalty=0, late=1), "not yet: the decay is added after m and v"),
    (settings(penalty=0, decoupled=10), "not yet: the decay is subtracted from w without the rate"),
    (lambda w, g, m, v, t, rate, decay: adam(w, g, m, v, t, 0.1, decay), "not yet: the rate is 0.05 here: use the"),
    (lambda w, g, m, v, t, rate, decay: adam(w, g, m, v, t, rate, 0.2), "not yet: the decay is 0.3 here: use the"),
    (lambda w, g, m, v, t, rate, decay: adam(w, g, m, v, t, 1, decay), "not yet: the rate is missing"),
    (lambda *a: (adam(*a)[1], adam(*a)[2], adam(*a)[0]), "not yet: return w, m, v in this order"),
    (in_place, "right"),
    (by_number, "right"),
]


@pytest.mark.parametrize(("answer", "sentence"), SECOND)
def test_adam_with_a_penalty(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


# --- 3. the lowest loss ---------------------------------------------------------------------------------------------

THIRD: list[tuple[Any, str]] = [
    (None, "exercise 3 is not answered yet"),
    (0.15 * math.log(26), "right"),
    (0.48871, "right"),
    (0.49, "right"),
    (0.47, "not yet: not 0.47: multiply how often"),
    (3.0, "not yet: not 3: multiply how often"),
    (0, "not yet: it is not 0"),
    (math.log(26), "not yet: that is the loss of one who knows only the letters"),
    (0.15 * math.log2(26), "not yet: that is in bits"),
    (0.15**2 * math.log(26), "not yet: the mean is over the masked letters"),
    (0.85 * math.log(26), "not yet: in 85 of 100 cases"),
    (0.15 * math.log(31), "not yet: only the 26 letters"),
    (0.15, "not yet: that is the probability"),
    (26**0.15, "not yet: that is the perplexity"),
    (0.12 * math.log(26), "not yet: that would be with 80 %"),
    ("half", "not yet: the loss is not an array of numbers"),
    ([0.4887], "not yet: the loss has shape (1,), not ()"),
]


@pytest.mark.parametrize(("answer", "sentence"), THIRD)
def test_the_lowest_loss(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(sentence)
