"""The exercises of notebook 7: masking, a step of Adam, and the lowest loss."""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from .checks import Checks, NotYet, array_of, expect, result_of, same

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
    return integers(result[0], ids.shape, "array of new ids"), integers(result[1], ids.shape, "array of labels")


def integers(found: Any, shape: tuple[int, ...], what: str) -> Array:
    """An answer as integers of this shape."""
    array = array_of(found, shape, f"the {what}")
    if array.dtype.kind not in "iu":
        raise NotYet(f"the {what} should be of integers, not of {array.dtype}")
    return array


def check_labels(ids: Array, new: Array, labels: Array) -> None:
    """Raise NotYet if the labels are not the tokens that were there, or tokens are changed that do not count."""
    chosen = labels != -100
    check_choice(ids, new, chosen)
    if (labels[chosen] == new[chosen]).all() and (labels != ids)[chosen].any():
        raise NotYet("the labels are the new tokens: they should be those that were there before")
    if (labels[chosen] != ids[chosen]).any():
        raise NotYet("a label is not the token that was there before")
    if numpy.isin(ids[chosen], SPECIAL).any():
        raise NotYet("special tokens were chosen: exclude those in `special`, padding among them")
    if (new != ids)[~chosen].any():
        raise NotYet("tokens were changed whose label is -100: change only the chosen ones")


def check_choice(ids: Array, new: Array, chosen: Array) -> None:
    """Raise NotYet if the positions with a label cannot be a choice of some tokens."""
    inner = slice(1, 25)  # tokens of every text
    if (new == -100).any():
        raise NotYet("the new ids contain -100, which is not a token: return the new ids first, and then the labels")
    if chosen.all():
        raise NotYet("every position has a label: give -100 where nothing is asked, or all positions count")
    if not chosen.any():
        raise NotYet("no position has a label: the chosen ones keep their token as label")
    if chosen[:, inner].mean() > 0.5 and not (new != ids)[chosen].any():
        raise NotYet("the labels are the wrong way round: the chosen positions keep their token, all others get -100")


def check_shares(ids: Array, new: Array, labels: Array) -> None:
    """Raise NotYet for other shares than 15 %, and 80, 10 and 10 % of them; about 17,500 tokens are not special."""
    chosen = labels != -100
    share = chosen.sum() / (~numpy.isin(ids, SPECIAL)).sum()
    if abs(share - 0.15) > 0.02:
        raise NotYet(f"{share:.1%} of the tokens are chosen, not 15 %")
    if (chosen[:, 1:25] == chosen[0, 1:25]).all():
        raise NotYet("all texts have their gaps at the same positions: choose for each token of each text")
    masks, kept = (new == MASK)[chosen], (new == ids)[chosen]
    check_parts(masks, kept)
    others = new[chosen][~masks & ~kept]
    if len(numpy.unique(others)) < len(others) / 2 or others.max() < 0.9 * VOCABULARY:
        raise NotYet("the random tokens are few different ones: take each from the whole vocabulary")


def check_parts(masks: Array, kept: Array) -> None:
    """Raise NotYet if not 80 % of the chosen tokens become <mask>, 10 % stay as they are, and 10 % become another."""
    if masks.mean() < 0.95 and kept.mean() < 0.01:
        raise NotYet("all tokens with a label are changed: a tenth of the chosen keep their token, and are asked for")
    if abs(kept.mean() - 0.18) < 0.03 and masks.mean() + kept.mean() < 0.99:  # 0.18 is 0.2 · 0.9
        raise NotYet(
            f"{kept.mean():.0%} of the chosen tokens stay as they are, not 10%: use one random number for both parts, "
            "below 0.8 for <mask>, and from 0.8 to 0.9 for another token"
        )
    for what, found, wanted in (
        ("become <mask>", masks.mean(), 0.8),
        ("stay as they are", kept.mean(), 0.1),
        ("become another token", (~masks & ~kept).mean(), 0.1),
    ):
        if abs(found - wanted) > 0.04:
            raise NotYet(f"{found:.0%} of the chosen tokens {what}, not {wanted:.0%}")


# --- 2. Adam with an L2 penalty -------------------------------------------------------------------------------------

STATES = ("w", "m", "v")

State = tuple[Array, ...]
"""w, g, m and v before a step, or w, m and v after it."""


SETTINGS = ((3, 0.1, 0.2), (1, 0.05, 0.3))
"""Steps, rates and decays to try."""


def second(answer: Any) -> str:
    """A function of w, g, m, v, t, rate and decay that returns the new w, m and v."""
    random = numpy.random.default_rng(0)
    w, g, m = random.standard_normal((3, 6))
    v = m * m + 0.1
    w[:2], g[:2], m[:2], v[:2] = 0, 1e-8, 1e-8, 1e-16  # so small that ε counts
    for t, rate, decay in SETTINGS:
        start = (w, g, m, v) if t > 1 else (w, g, 0 * m, 0 * v)
        result = result_of(answer, *start, t, rate, decay)
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise NotYet("3 arrays are asked for: return w, m, v")
        judge_step(result, start, t, rate, decay)
    return "here a weight with large gradients hardly decays, unlike in AdamW"


def judge_step(result: Sequence[Any], start: State, t: int, rate: float, decay: float) -> None:
    """Raise NotYet if these are not the new w, m and v. A likely mistake has its sentence."""
    right, known = stepped(*start, t=t, rate=rate, penalty=decay), wrong_steps(start, t, rate, decay)
    found = [
        array_of(x, y.shape, f"the new {name} of step {t}") for name, x, y in zip(STATES, result, right, strict=True)
    ]
    if all(map(same, found, right)):
        return
    for sentence, wrong in known.items():
        if all(map(same, found, wrong)):
            raise NotYet(sentence)
    for place in (1, 2, 0):  # w needs the others
        sentences = {sentence: wrong[place] for sentence, wrong in known.items()}
        expect(found[place], right[place], sentences, f"the new {STATES[place]} of step {t}")


def stepped(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    t: int,
    rate: float,
    penalty: float,
    decoupled: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    corrected: tuple[bool, bool] = (True, True),
    eps: tuple[float, float] = (1e-8, 0.0),
    power: int = 2,
    late: float = 0.0,
) -> State:
    """A step, and with other settings a wrong one.

    decoupled: the decay that is subtracted from the weight. eps: added outside of the root, and inside. late: the decay
    that is added to m for this step alone, when it is divided by the root of v.
    """
    (one, two), g = betas, g + penalty * w
    m, v = one * m + (1 - one) * g, two * v + (1 - two) * abs(g) ** power
    of_m, of_v = (1 - beta**t if is_corrected else 1.0 for beta, is_corrected in zip(betas, corrected, strict=True))
    step = (m / of_m + late * w) / (numpy.sqrt(v / of_v + eps[1]) + eps[0])
    return w - rate * step - decoupled * w, m, v


def of_m_alone(start: State, t: int, rate: float, decay: float) -> State:
    """A step with the decay added to m, after the running mean."""
    w, g, m, v = start
    m, v = 0.9 * m + 0.1 * g + decay * w, 0.999 * v + 0.001 * g * g
    step = m / (1 - 0.9**t) / (numpy.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w - rate * step, m, v


def wrong_steps(start: State, t: int, rate: float, decay: float) -> dict[str, State]:
    """Likely mistakes, each under its sentence."""

    def one(**settings: Any) -> State:
        return stepped(*start, **{"t": t, "rate": rate, "penalty": decay} | settings)

    w, (new, m, v) = start[0], one()
    return {
        "that is AdamW: here the decay goes into the gradient, before m and v": one(penalty=0, decoupled=rate * decay),
        "the decay is missing: add decay · w to the gradient": one(penalty=0),
        "the decay is there twice: add it to the gradient, and no longer subtract it from w": one(
            decoupled=rate * decay
        ),
        "the decay is added after m and v: add it to the gradient, so that both get it": one(penalty=0, late=decay),
        "the decay is subtracted from w without the rate, and here it goes into the gradient": one(
            penalty=0, decoupled=decay
        ),
        "the decay is added to m alone: add it to the gradient, before m and v": of_m_alone(start, t, rate, decay),
        "the decay is subtracted from the gradient: add it": one(penalty=-decay),
        "decay · w is multiplied by the rate already: it goes into the gradient as it is": one(penalty=rate * decay),
        "the rate is missing: multiply the step by it": one(rate=1),
        f"the rate is {rate} here: use the argument, not a fixed number": one(rate=SETTINGS[0][1]),
        f"the decay is {decay} here: use the argument, not a fixed number": one(penalty=SETTINGS[0][2]),
        "the bias correction is missing: divide m by 1 - 0.9ᵗ, and v by 1 - 0.999ᵗ": one(corrected=(False, False)),
        "v is not corrected: divide it by 1 - 0.999ᵗ": one(corrected=(True, False)),
        "m is not corrected: divide it by 1 - 0.9ᵗ": one(corrected=(False, True)),
        "ε is added after the root, not inside": one(eps=(0.0, 1e-8)),
        "ε is missing": one(eps=(0.0, 0.0)),
        "ε is 1e-8 here, not 1e-6": one(eps=(1e-6, 0.0)),
        "v is the mean of squares: g² is missing its square": one(power=1),
        "β₁ and β₂ are swapped": one(betas=(0.999, 0.9)),
        "β₂ is 0.999 here, not 0.98": one(betas=(0.9, 0.98)),
        "the step goes uphill: subtract it": (2 * w - new, m, v),
        "return m as it is kept, without the correction": (new, m / (1 - 0.9**t), v),
        "return v as it is kept, without the correction": (new, m, v / (1 - 0.999**t)),
        "return m and v as they are kept, without the correction": (new, m / (1 - 0.9**t), v / (1 - 0.999**t)),
        "return w, m, v in this order": (m, v, new),
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
