"""The exercises of notebook 6: the gradients of a loss, of an RMS norm, and of attention."""

from collections.abc import Mapping
from typing import Any

import numpy

from .. import ops, ops_backward
from .checks import Checks, NotYet, expect, numbers_of, result_of

Array = numpy.ndarray


def arrays_of(result: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The arrays that a function returned, one for each name, in a list or stacked. Raises NotYet for more or fewer."""
    if not isinstance(result, tuple | list | Array) or len(result) != len(names):
        raise NotYet(f"{len(names)} arrays are asked for: return {', '.join(names)}")
    return tuple(result)


# --- 1. the logits --------------------------------------------------------------------------------------------------

LABELS = numpy.array([3, -100, 0, 104, 3, -100])
"""Labels of six positions, of 106 classes: so many that -100 is a valid index, too."""


def first(answer: Any) -> str:
    """A function of logits, (L, V), and labels, (L,), that returns ∂logits."""
    logits = 2 * numpy.random.default_rng(0).standard_normal((len(LABELS), 106))
    right = ops_backward.cross_entropy(logits, LABELS)
    expect(result_of(answer, logits, LABELS), right, of_logits(logits, right), "∂logits")
    every = numpy.full_like(LABELS, 5)
    expect(result_of(answer, logits, every), ops_backward.cross_entropy(logits, every), what="∂logits if all count")
    return "each position that counts owes 0 in total, and the others owe nothing at all"


def of_logits(logits: Array, right: Array) -> dict[str, Array]:
    """Likely mistakes, each under its sentence. right: the gradient of the mean."""
    counts, n = (LABELS != -100)[:, None], (LABELS != -100).sum()
    chances = ops.softmax(logits)
    everywhere = chances - numpy.eye(logits.shape[1])[LABELS]  # where -100 is the class at that index
    return {
        "the sign is wrong: this would make the loss larger": -right,
        "that is the gradient of the sum: divide by the number of labels that count": right * n,
        "divide by the number of labels that count, not of all labels": right * n / len(LABELS),
        "positions with the label -100 owe nothing: set them to 0": everywhere / n,
        "positions with the label -100 owe nothing, and the sum is to be divided by those that count": everywhere,
        "positions with the label -100 owe nothing, and do not count in the mean": everywhere / len(LABELS),
        "the right token owes its probability less 1: subtract the one-hot of the label": chances * counts / n,
        "the softmax is over the classes, the last axis": (ops.softmax(logits.T).T - chances + everywhere) * counts / n,
        "use probabilities: a softmax of the logits comes first": (logits * counts + right * n - chances * counts) / n,
    }


# --- 2. an RMS norm -------------------------------------------------------------------------------------------------

EPS = 0.1
"""Large enough for an answer without it to differ."""


def second(answer: Any) -> str:
    """A function of g, x, (N, D), w and eps that returns ∂x and ∂w."""
    g, x = numpy.random.default_rng(1).standard_normal((2, 5, 8))
    x, w = x + 0.5, numpy.linspace(0.5, 2, 8)
    of_x, of_w = arrays_of(result_of(answer, g, x, w, EPS), ("∂x", "∂w"))
    if numbers_of(of_x, "∂x").shape == w.shape and numbers_of(of_w, "∂w").shape == x.shape:
        raise NotYet("return them in this order: ∂x, ∂w")
    right, known, known_w = of_norm(g, x, w)
    expect(of_x, right, known, "∂x")
    z = x / spread(x)
    expect(of_w, (g * z).sum(0), known_w, "∂w")
    return "with one term less than a layer norm"


def spread(x: Array, eps: float = EPS) -> Array:
    """√(mean(x²) + eps), (N, 1)."""
    return numpy.sqrt((x * x).mean(-1, keepdims=True) + eps)


def of_norm(g: Array, x: Array, w: Array) -> tuple[Array, Mapping[str, Array], Mapping[str, Array]]:
    """The right ∂x, and likely mistakes of ∂x and of ∂w."""
    s, h = spread(x), g * w
    z = x / s
    along = z * (h * z).mean(-1, keepdims=True)
    bare = x / spread(x, 0)
    known = {
        "s depends on x too: a term with z is missing": h / s,
        "nothing is subtracted forwards, so mean(h) has no part in this norm": (h - h.mean(-1, keepdims=True) - along)
        / s,
        "that is the backward pass of a layer norm, with its mean": ops_backward.layer_norm(g, x, w, EPS)[0],
        "mean(h) is the term to leave out: that of z · mean(h·z) comes from s, which is here too": (
            h - h.mean(-1, keepdims=True)
        )
        / s,
        "g goes through the weight first, inside the mean too: h = g · w": w
        * (g - z * (g * z).mean(-1, keepdims=True))
        / s,
        "g goes through the weight first: h = g · w": (g - z * (g * z).mean(-1, keepdims=True)) / s,
        "divide by s": h - along,
        "z · mean(h·z) is subtracted, not added": (h + along) / s,
        "take the mean of h·z, not the sum": (h - z * (h * z).sum(-1, keepdims=True)) / s,
        "take the mean over the channels of a row, the last axis": (h - z * (h * z).mean(0)) / s,
        "the term is z · mean(h·z), with z = x / s in both places": (h - x * (h * x).mean(-1, keepdims=True)) / s,
        "eps is missing, or not the one that was given": (h - bare * (h * bare).mean(-1, keepdims=True)) / spread(x, 0),
        "mean(h·z) is to be multiplied by z again": (h - (h * z).mean(-1, keepdims=True)) / s,
    }
    known_w = {
        "∂w is the sum of g·z, with the normed z, not of g·x": (g * x).sum(0),
        "∂w is a sum over the rows, not a mean": (g * z).mean(0),
        "∂w takes g, before it is multiplied by w": (h * z).sum(0),
        "that is the gradient of a bias: ∂w is the sum of g·z": g.sum(0),
    }
    return (h - along) / s, known, known_w


# --- 3. attention ---------------------------------------------------------------------------------------------------

HEAD_SIZE = 32
"""Channels of a head of the embedded model, which the notebook uses: not those of the arrays here."""

Three = tuple[Array, Array, Array]


def third(answer: Any) -> str:
    """A function of g, q, k, v, (B, H, L, E), and a mask, (B, 1, 1, L), that returns ∂q, ∂k and ∂v."""
    g, q, k, v = numpy.random.default_rng(2).standard_normal((4, 2, 3, 4, 4))  # square: L = E
    mask = ops.additive_mask(numpy.array([[1, 1, 1, 1], [1, 1, 1, 0]]), q.dtype)
    found = arrays_of(result_of(answer, g, q, k, v, mask), ("∂q", "∂k", "∂v"))
    right, known = of_attention(g, q, k, v, mask)
    for place in (2, 0, 1):  # ∂v needs the fewest steps
        sentences = {sentence: wrong[place] for sentence, wrong in known.items()}
        expect(found[place], right[place], sentences, ("∂q", "∂k", "∂v")[place])
    return "masked keys owe nothing, and their values neither"


def of_attention(g: Array, q: Array, k: Array, v: Array, mask: Array) -> tuple[Three, dict[str, Three]]:
    """The right gradients, and those of likely mistakes."""
    scale = q.shape[-1] ** 0.5
    raw = q @ turned(k)
    p = ops.softmax(raw / scale + mask)
    g_p = g @ turned(v)
    s = p * (g_p - (g_p * p).sum(-1, keepdims=True))
    over_queries = p * (g_p - (g_p * p).sum(-2, keepdims=True))

    def ended(s: Array, p: Array = p, by: float = scale) -> Three:
        return s @ k / by, turned(s) @ q / by, turned(p) @ g

    unmasked, unscaled = ops.softmax(raw / scale), ops.softmax(raw + mask)
    other = HEAD_SIZE**0.5
    of_other = ops.softmax(raw / other + mask)
    q_of, k_of, v_of = ended(s)
    known = {
        "the mask is missing: add it to the scores before the softmax": ended(of_softmax(g_p, unmasked), unmasked),
        "the scores are divided by √E forwards, too, before the softmax": ended(of_softmax(g_p, unscaled), unscaled),
        "E is the last axis of q, q.shape[-1], not the head size of the model above": ended(
            of_softmax(g_p, of_other), of_other, by=other
        ),
        "return them in this order: ∂q, ∂k, ∂v": (v_of, k_of, q_of),
        "the shares are not a weight to be passed as they lie: ∂v is sharesᵀ g": (q_of, k_of, p @ g),
        "the row's sum is missing in the softmax: p · (∂p - Σ p·∂p)": ended(p * g_p),
        "Σ p·∂p is a sum over the keys, the last axis": ended(over_queries),
        "∂p is missing its factor p: p · (∂p - Σ p·∂p)": ended(g_p - (g_p * p).sum(-1, keepdims=True)),
        "the softmax is missing: ∂scores is not ∂shares": ended(g_p),
        "divide by √E, as the scores were": ended(s, by=1),
        "divide by √E once, not twice": ended(s, by=scale**2),
        "∂q and ∂k are swapped": (k_of, q_of, v_of),
        "∂k is ∂scoresᵀ q: sum over the queries": (q_of, s @ q / scale, v_of),
        "∂q is ∂scores k: sum over the keys": (turned(s) @ k / scale, k_of, v_of),
        "∂q takes the keys, and ∂k the queries": (s @ q / scale, turned(s) @ k / scale, v_of),
    }
    return (q_of, k_of, v_of), known


def of_softmax(g: Array, p: Array) -> Array:
    """∂scores of p = softmax(scores)."""
    return p * (g - (g * p).sum(-1, keepdims=True))


def turned(x: Array) -> Array:
    """The last two axes, swapped."""
    return x.swapaxes(-1, -2)


check = Checks(first, second, third)
"""Judge an answer to an exercise of notebook 6: `check(n, answer)`."""
