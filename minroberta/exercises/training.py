"""The exercises of notebook 7: masking, a step of Adam, and the lowest loss."""

import math
from typing import Any

import numpy

from .checks import Checks, NotYet, array_of, as_array, expect, result_of

Array = numpy.ndarray

# --- 1. masking -----------------------------------------------------------------------------------------------------

VOCABULARY, MASK = 1000, 999
SPECIAL = (0, 1, 2, 3, 999)


def first(answer: Any) -> str:
    """A function of ids, special ids, the mask's id, the vocabulary's size and a generator: new ids and labels."""
    ids = texts()
    new, labels = two_of(answer, ids, seed=1)
    check_labels(ids, new, labels)
    check_shares(ids, new, labels)
    if (two_of(answer, ids, seed=2)[1] == labels).all():
        raise NotYet("another generator gives the same choice: use `random`, so that each reading has other gaps")
    return "15 % are asked for: 80, 10 and 10 in a hundred of these"


def texts() -> Array:
    """400 texts of 60 tokens, with padding at their ends."""
    random = numpy.random.default_rng(0)
    ids = random.integers(4, MASK, (400, 62))
    ids[:, 0] = 0
    for row, length in zip(ids, random.integers(30, 61, len(ids)), strict=True):
        row[length], row[length + 1 :] = 2, 1
    return ids


def two_of(answer: Any, ids: Array, seed: int) -> tuple[Array, Array]:
    """The new ids and the labels, with the right shape."""
    result = result_of(answer, ids, SPECIAL, MASK, VOCABULARY, numpy.random.default_rng(seed))
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise NotYet("two arrays are asked for: return the new ids, and the labels")
    new, labels = map(as_array, result, ("the array of new ids", "the array of labels"))
    for array, what in ((new, "the new ids"), (labels, "the labels")):
        if array.shape != ids.shape or array.dtype.kind not in "iu":
            raise NotYet(f"{what} should be integers of shape {ids.shape}, not {array.dtype} of shape {array.shape}")
    return new, labels


def check_labels(ids: Array, new: Array, labels: Array) -> None:
    """Raise NotYet if the labels are not the tokens that were there, or tokens are changed that do not count."""
    chosen = labels != -100
    if (new == -100).any():
        raise NotYet("the new ids contain -100, which is no token: return the new ids first, and then the labels")
    if chosen.all():
        raise NotYet("every position has a label: give -100 where nothing is asked, or all positions count")
    if (chosen != (new != ids))[:, 1:25].mean() > 0.7:
        raise NotYet("the labels are the wrong way round: the chosen positions keep their token, all others get -100")
    if not chosen.any():
        raise NotYet("no position has a label: the chosen ones keep their token as label")
    if (labels[chosen] == new[chosen]).all() and (labels != ids)[chosen].any():
        raise NotYet("the labels are the new tokens: they should be those that were there before")
    if (labels[chosen] != ids[chosen]).any():
        raise NotYet("a label is not the token that was there before")
    if numpy.isin(ids[chosen], SPECIAL).any():
        raise NotYet("special tokens were chosen: exclude those in `special`, padding among them")
    if (new != ids)[~chosen].any():
        raise NotYet("tokens were changed whose label is -100: change only the chosen ones")


def check_shares(ids: Array, new: Array, labels: Array) -> None:
    """Raise NotYet for other shares than 15 %, and 80, 10 and 10 % of them; about 17,500 tokens are not special."""
    chosen = labels != -100
    share = chosen.sum() / (~numpy.isin(ids, SPECIAL)).sum()
    if abs(share - 0.15) > 0.02:
        raise NotYet(f"{share:.1%} of the tokens are chosen, not 15 %")
    if (chosen[:, 1:25] == chosen[0, 1:25]).all():
        raise NotYet("all texts have their gaps at the same positions: choose for each token of each text")
    masks, same = (new == MASK)[chosen], (new == ids)[chosen]
    for what, found, wanted in (
        ("become <mask>", masks.mean(), 0.8),
        ("stay as they are", same.mean(), 0.1),
        ("become another token", (~masks & ~same).mean(), 0.1),
    ):
        if abs(found - wanted) > 0.04:
            raise NotYet(f"{found:.0%} of the chosen tokens {what}, not {wanted:.0%}")
    others = new[chosen][~masks & ~same]
    if len(numpy.unique(others)) < len(others) / 2 or others.max() < 0.9 * VOCABULARY:
        raise NotYet("the random tokens are few different ones: take each from the whole vocabulary")


# --- 2. Adam with an L2 penalty -------------------------------------------------------------------------------------

STATES = ("w", "m", "v")
RATES = {3: 0.1, 1: 0.03}
"""The learning rate of each step: two of them, so that a fixed one shows."""


def second(answer: Any) -> str:
    """A function of w, g, m, v, t, rate and decay that returns the new w, m and v."""
    random = numpy.random.default_rng(0)
    w, g, m = random.standard_normal((3, 6))
    v = m * m + 0.1
    w[:2], g[:2], m[:2], v[:2] = 0, 1e-8, 1e-8, 1e-16  # so small that ε counts
    for t, rate in RATES.items():
        start = (w, g, m, v) if t == 3 else (w, g, 0 * m, 0 * v)
        result = result_of(answer, *start, t, rate, 0.2)
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise NotYet("3 arrays are asked for: return w, m, v")
        right, known = stepped(*start, t=t, rate=rate), wrong_steps(*start, t=t, rate=rate)
        for place in (1, 2, 0):  # w needs the others
            sentences = {sentence: wrong[place] for sentence, wrong in known.items()}
            expect(result[place], right[place], sentences, f"the new {STATES[place]} of step {t}")
    return "here a weight with large gradients hardly decays, unlike in AdamW"


def stepped(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    t: int,
    rate: float,
    penalty: float = 0.2,
    decoupled: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    corrected: tuple[bool, bool] = (True, True),
    eps: tuple[float, float] = (1e-8, 0.0),
    power: int = 2,
) -> tuple[Array, Array, Array]:
    """A step, and with other settings a wrong one. eps: added outside of the root, and inside."""
    (one, two), g = betas, g + penalty * w
    m, v = one * m + (1 - one) * g, two * v + (1 - two) * abs(g) ** power
    of_m, of_v = (1 - beta**t if is_corrected else 1.0 for beta, is_corrected in zip(betas, corrected, strict=True))
    step = (m / of_m) / (numpy.sqrt(v / of_v + eps[1]) + eps[0])
    return w - rate * step - decoupled * w, m, v


def of_m_alone(w: Array, g: Array, m: Array, v: Array, *, t: int, rate: float) -> tuple[Array, Array, Array]:
    """A step with the decay added to m, after the running mean."""
    m, v = 0.9 * m + 0.1 * g + 0.2 * w, 0.999 * v + 0.001 * g * g
    step = m / (1 - 0.9**t) / (numpy.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w - rate * step, m, v


def wrong_steps(
    w: Array, g: Array, m: Array, v: Array, *, t: int, rate: float
) -> dict[str, tuple[Array, Array, Array]]:
    """Likely mistakes, each under its sentence."""

    def one(**settings: Any) -> tuple[Array, Array, Array]:
        return stepped(w, g, m, v, **{"t": t, "rate": rate} | settings)

    right = one()
    return {
        "that is AdamW: here the decay goes into the gradient, before m and v": one(penalty=0, decoupled=rate * 0.2),
        "the decay is missing: add decay · w to the gradient": one(penalty=0),
        "the decay is added to m alone: add it to the gradient, before m and v": of_m_alone(w, g, m, v, t=t, rate=rate),
        "the decay is subtracted from the gradient: add it": one(penalty=-0.2),
        "decay · w is multiplied by the rate already: it goes into the gradient as it is": one(penalty=0.2 * rate),
        "the bias correction is missing: divide m by 1 - 0.9ᵗ, and v by 1 - 0.999ᵗ": one(corrected=(False, False)),
        "v is not corrected: divide it by 1 - 0.999ᵗ": one(corrected=(True, False)),
        "m is not corrected: divide it by 1 - 0.9ᵗ": one(corrected=(False, True)),
        "ε is added after the root, not inside": one(eps=(0.0, 1e-8)),
        "ε is missing": one(eps=(0.0, 0.0)),
        "v is the mean of squares: g² is missing its square": one(power=1),
        "β₁ and β₂ are swapped": one(betas=(0.999, 0.9)),
        "the step goes uphill: subtract it": (2 * w - right[0], *right[1:]),
        "return m as it is kept, without the correction": (w, right[1] / (1 - 0.9**t), right[2]),
        "return v as it is kept, without the correction": (w, right[1], right[2] / (1 - 0.999**t)),
        "the rate is an argument, and not always 0.1": one(rate=0.1),
        "the exponent is t, which is counted from 1 already": one(t=t + 1),
    }


# --- 3. the lowest loss ---------------------------------------------------------------------------------------------


ROUNDED = 0.002
"""Difference from the right number that counts as rounding."""


def third(answer: Any) -> str:
    """The lowest loss for palindromes of which 15 % of the letters are masked."""
    blind = math.log(26)
    known = {
        "it is not 0: what if the mirror image is masked as well?": 0.0,
        "that is the loss of one who knows only the letters: how often is nothing else known?": blind,
        "that is in bits: take the natural logarithm": 0.15 * math.log2(26),
        "the mean is over the masked letters: given one, how likely is it that its mirror image is masked too?": (
            0.15**2 * blind
        ),
        "in 85 of 100 cases the mirror image can be read, and then the loss is 0": 0.85 * blind,
        "only the 26 letters stand in a text, not all 31 tokens": 0.15 * math.log(31),
        "that is the probability that nothing is known: multiply it by the loss of that case": 0.15,
        "that is the perplexity: its logarithm is asked for": math.exp(0.15 * blind),
        "that would be with 80 % of the chosen masked: now it is all of them": 0.12 * blind,
    }
    found = float(array_of(answer, (), "the loss"))
    for sentence, wrong in known.items():
        if abs(found - wrong) < ROUNDED:
            raise NotYet(sentence)
    if abs(found - 0.15 * blind) > ROUNDED:
        raise NotYet(f"not {found:.4g}: multiply how often a masked letter cannot be known by the loss of that case")
    return "it cannot be reached exactly, but nearly"


check = Checks(first, second, third)
"""Judge an answer to an exercise of notebook 7: `check(n, answer)`."""
