"""The mistakes that ports make in the backward pass, as data, like those of the forward pass in `mistakes`.

Each replaces functions of `backward` or formulas of `ops_backward`. A wrong function takes the right one first.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy

from .. import ops, ops_backward
from ..activations import ACTIVATIONS
from ..attend import relative_scores
from ..backend.arrays import Array
from ..backward import Pass, heads_of
from ..loading import Model
from ..ops_backward import SLOPES
from ..trace import Node
from .changes import SQUARE, WEIGHTS, Inputs
from .compare import OF_WEIGHT
from .gradients import BackwardChange
from .mistakes import Mistake
from .mistakes import catalogue as forward_catalogue

Right = Callable[..., Any]


def formula(wrong: Callable[..., Any], *names: str) -> BackwardChange:
    """Call a wrong function in place of those with these names."""
    return BackwardChange(formulas=dict.fromkeys(names, wrong))


# --- linear layers --------------------------------------------------------------------------------------------------


def linear(change: Callable[[dict[str, Array], Array, Array], Mapping[str, Array]]) -> BackwardChange:
    """Other gradients of weight and bias. change: a function of the right ones, of g and of x, both with all axes."""

    def wrong(right: Right, g: Array, x: Array, weight: Array) -> tuple[Array, Mapping[str, Array]]:
        gx, own = right(g, x, weight)
        return gx, {**own, **change(own, g, x)}

    return formula(wrong, "ops_backward.linear")


def rows(x: Array) -> Array:
    """All positions, (..., O) -> (N, O)."""
    return x.reshape(-1, x.shape[-1])


def of_sequence(index: int) -> BackwardChange:
    """The parameters' gradients from one sequence."""
    return linear(lambda own, g, x: {"weight": rows(g[index]).T @ rows(x[index]), "bias": rows(g[index]).sum(0)})


def through_transposed(pattern: str) -> BackwardChange:
    """∂x = g Wᵀ where W is square, in the modules whose names match the pattern."""

    def wrong(right: Right, g: Array, x: Array, p: Node, to: Pass) -> Array:
        square = p.weight.shape[0] == p.weight.shape[1] and re.fullmatch(pattern, p.path)
        return right(g, x, Node({**p.tree, "weight": p.weight.T}, p.path) if square else p, to)

    return formula(wrong, "dense")


def square_transposed(g: Array) -> Array:
    """The transposed gradient of a square weight."""
    return g.T if g.ndim == 2 and g.shape[0] == g.shape[1] else g


# --- norms and sums -------------------------------------------------------------------------------------------------


def norm(gradient: Callable[[Array, Array, Array, Array], Array]) -> BackwardChange:
    """Another ∂x of a norm, a function of h = g·w, z, s and g."""

    def wrong(right: Right, g: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Mapping[str, Array]]:
        x = x - mean(x)
        s = numpy.sqrt(mean(x * x) + eps)
        return gradient(g * weight, x / s, s, g), right(g, x, weight, eps)[1]

    return formula(wrong, "ops_backward.layer_norm")


def mean(x: Array) -> Array:
    """The mean over the channels, (..., D) -> (..., 1)."""
    return x.mean(-1, keepdims=True)


def right_norm(h: Array, z: Array, s: Array | float) -> Array:
    """∂x of a norm."""
    return (h - mean(h) - z * mean(h * z)) / s


def of_input(centred: bool) -> BackwardChange:
    """∂w = Σ g·x, or Σ g·(x - mean x)."""

    def wrong(right: Right, g: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Mapping[str, Array]]:
        gx, own = right(g, x, weight, eps)
        return gx, {**own, "weight": rows(g * (x - mean(x) if centred else x)).sum(0)}

    return formula(wrong, "ops_backward.layer_norm")


def with_eps(eps: float) -> BackwardChange:
    """The backward pass of norms with another eps."""
    return formula(lambda right, g, x, weight, _: right(g, x, weight, eps), "ops_backward.layer_norm")


def without_residual(pattern: str) -> BackwardChange:
    """The gradient of a sum x + f(x) through f alone, in the blocks whose names match the pattern."""

    def wrong(right: Right, g: Array, x: Array, f: Callable[..., Array], p: Node, to: Pass) -> Array:
        passed = []

        def block(g: Array, x: Array) -> Array:
            passed.append(g)
            return f(g, x)

        gx = right(g, x, block, p, to)
        return gx - passed[0] if re.fullmatch(pattern, p.path) else gx

    return formula(wrong, "residual")


# --- attention ------------------------------------------------------------------------------------------------------


def scores(of_query: float, of_key: float) -> BackwardChange:
    """∂q and ∂k times √E to these powers."""

    def wrong(right: Right, g: Array, q: Array, k: Array) -> tuple[Array, Array, Array]:
        (gq, gk, gr), root = right(g, q, k), math.sqrt(q.shape[-1])
        return gq * root**of_query, gk * root**of_key, gr * root**of_query

    return formula(wrong, "ops_backward.attention_scores")


def without_mask(probs: bool) -> BackwardChange:
    """Scores computed again without the mask. probs: True if ∂v is computed with their probabilities too."""

    def wrong(right: Right, g: Array, k: Array, v: Array, p: Node, head_mask: Array | None, to: Pass) -> Any:
        q, at = heads_of(p.self.query, to), p.self.path
        raw = ops.attention_scores(q, k, None, relative_scores(q, k, p.self, to.config))
        again = {f"{at}.scores": raw, **({f"{at}.probs": ops.softmax(raw)} if probs else {})}
        return right(g, k, v, p, head_mask, to._replace(values={**to.values, **again}))

    return formula(wrong, "attend")


def only_through(part: str) -> BackwardChange:
    """The gradient of attention's input from one of its three projections."""
    others = rf".*attention\.self\.(?!{part})\w+"

    def wrong(right: Right, g: Array, x: Array, p: Node, to: Pass) -> Array:
        return right(g, x, p, to) * (not re.fullmatch(others, p.path))

    return formula(wrong, "dense")


# --- embeddings -----------------------------------------------------------------------------------------------------

WORDS = "embeddings.word_embeddings"


def overwritten(pattern: str) -> BackwardChange:
    """Of equal ids the last one alone counts, in the tables whose names match the pattern."""

    def wrong(right: Right, g: Array, ids: Array, p: Node, to: Pass, padding: int | None = None) -> None:
        right(g, ids, p, to, padding)
        if re.fullmatch(pattern, p.path):
            g = g.sum(0, keepdims=True) if len(ids) < len(g) else g
            g = numpy.where((ids != padding)[..., None], g, 0)
            table, zeros = numpy.zeros_like(p.weight), numpy.zeros_like(p.weight)
            table[ids.reshape(-1)] = rows(g)
            to.gradients[f"{p.path}.weight"] += table - ops_backward.embedding(g, ids, zeros)

    return formula(wrong, "embed")


def with_padding(pattern: str) -> BackwardChange:
    """The row of padding gets a gradient, in the tables whose names match the pattern."""

    def wrong(right: Right, g: Array, ids: Array, p: Node, to: Pass, padding: int | None = None) -> None:
        right(g, ids, p, to, None if re.fullmatch(pattern, p.path) else padding)

    return formula(wrong, "embed")


def untied(keep_decoder: bool) -> BackwardChange:
    """Of the two gradients of a tied table, that of the decoder alone, or that of the lookup alone."""

    def wrong(right: Right, g: Array, ids: Array, p: Node, to: Pass, padding: int | None = None) -> None:
        name = f"{p.path}.weight"
        decoder = to.gradients[name].copy() if name in to.gradients else None  # to which the lookup's sums are added
        right(g, ids, p, to, padding)
        if decoder is not None:
            to.gradients[name] = decoder if keep_decoder else to.gradients[name] - decoder

    return formula(wrong, "embed")


# --- losses ---------------------------------------------------------------------------------------------------------


def loss(factor: Callable[[Array, Array, Array], Any], *names: str) -> BackwardChange:
    """Multiply the gradient of these losses by a function of logits, labels and which labels count."""

    def wrong(right: Right, x: Array, y: Array, ignored: int | None = None) -> Array:
        g, ignored = (right(x, y), -100) if ignored is None else (right(x, y, ignored), ignored)
        return (g * factor(x, y, y != ignored)).astype(g.dtype)

    return formula(wrong, *(f"ops_backward.{name}" for name in names))


def per_sequence(logits: Array, labels: Array, kept: Array) -> Any:
    """n / (B · the count of the sequence's labels), which turns one mean into a mean of means."""
    if labels.ndim != 2:
        return 1
    counts = kept.sum(1, keepdims=True)
    return (kept.sum() / (len(labels) * numpy.maximum(counts, 1)))[..., None]


def of_ignored(all_count: bool) -> BackwardChange:
    """Ignored labels get the gradient of a label that is no class. all_count: True if they also count in n."""

    def wrong(right: Right, x: Array, y: Array, ignored: int = -100) -> Array:
        n = y.size if all_count else max(1, (y != ignored).sum())
        return (ops.softmax(x) - (numpy.arange(x.shape[-1]) == y[..., None])) / int(n)

    return formula(wrong, "ops_backward.cross_entropy")


def padding_labelled(model: Model, inputs: Inputs) -> dict[str, Any]:
    """Labels of padding that count: the id of padding, or class 0."""
    labels, mask = inputs.get("labels"), inputs.get("attention_mask")
    if labels is None or mask is None or labels.shape != mask.shape:
        return {}
    label = 0 if model.head == "token_classification" else model.config.pad_token_id
    return {"labels": numpy.where((mask == 0) & (labels == -100), label, labels)}


def as_unmasked(right: Right, g: Array, x: Array, p: Node, to: Pass) -> Array:
    """A head without its mask."""
    return right(g, x, p, to._replace(inputs=to.inputs._replace(attention_mask=None)))


CROSS_ENTROPY, OTHERS = "cross_entropy", ("binary_cross_entropy", "mean_squared_error")

# --- the catalogue --------------------------------------------------------------------------------------------------

MISTAKES = (
    # linear layers
    Mistake(
        "bias-gradient-over-channels",
        "The gradient of a bias is summed over the channels instead of the positions.",
        "Sum g, (N, O), over its first axis: ∂b = Σ g, (O,).",
        (linear(lambda own, g, x: {"bias": rows(g).sum(1)}),),
    ),
    Mistake(
        "bias-gradient-averaged",
        "The gradient of a bias is the mean over the positions instead of the sum.",
        "Sum over batch and positions: the loss has been divided already.",
        (linear(lambda own, g, x: {"bias": rows(g).mean(0)}),),
    ),
    Mistake(
        "gradient-of-one-sequence",
        "The gradients of weight and bias are those of one sequence of the batch.",
        "Add up the gradients of all sequences.",
        (of_sequence(-1), of_sequence(0), linear(lambda own, g, x: {"bias": rows(g[-1]).sum(0)})),
    ),
    Mistake(
        "weight-gradients-transposed",
        "The gradients of square weights are transposed: xᵀ g.",
        "Compute gᵀ x, (O, I), as PyTorch stores weights.",
        (BackwardChange(edits={OF_WEIGHT.pattern: square_transposed}),),
    ),
    Mistake(
        "input-gradients-transposed",
        "The gradient of a linear layer's input is g Wᵀ, which the square shape of W does not reveal.",
        "Compute g W, with W as stored, (O, I).",
        (through_transposed(".*"),),
    ),
    # norms
    Mistake(
        "norm-mean-term-missing",
        "The backward pass of the norms leaves out mean(h): the mean is treated as a constant.",
        "Compute (h - mean(h) - z·mean(h·z)) / s with h = g·w.",
        (norm(lambda h, z, s, g: (h - z * mean(h * z)) / s),),
    ),
    Mistake(
        "norm-variance-term-missing",
        "The backward pass of the norms leaves out z·mean(h·z): the variance is treated as a constant.",
        "Compute (h - mean(h) - z·mean(h·z)) / s with h = g·w.",
        (norm(lambda h, z, s, g: (h - mean(h)) / s),),
    ),
    Mistake(
        "norm-terms-missing",
        "The backward pass of the norms treats mean and variance as constants.",
        "Compute (h - mean(h) - z·mean(h·z)) / s with h = g·w.",
        (norm(lambda h, z, s, g: h / s),),
    ),
    Mistake(
        "norm-weight-missing-in-backward",
        "The backward pass of the norms does not multiply by the weight.",
        "Compute (h - mean(h) - z·mean(h·z)) / s with h = g·w.",
        (norm(lambda h, z, s, g: right_norm(g, z, s)),),
    ),
    Mistake(
        "norm-scale-missing-in-backward",
        "The backward pass of the norms does not divide by s.",
        "Compute (h - mean(h) - z·mean(h·z)) / s, where s = √(variance + eps).",
        (norm(lambda h, z, s, g: right_norm(h, z, 1.0)),),
    ),
    Mistake(
        "norm-weight-gradient-of-input",
        "The gradient of a norm's weight is the sum of g·x, with the input x as it is or without its mean.",
        "Sum g·z over the positions, with the normalised input z.",
        (of_input(centred=False), of_input(centred=True)),
    ),
    Mistake(
        "residual-gradient-missing",
        "The gradient of a sum x + f(x) is passed on through f alone.",
        "Add the gradient of the sum to that of f's input.",
        tuple(without_residual(rf".*layer\.\d+\.{part}output") for part in ("(attention.)?", r"attention\.", "")),
    ),
    # attention
    Mistake(
        "softmax-row-term-missing",
        "The backward pass of the softmax leaves out its sum over the row: ∂s = p·g.",
        "Compute p·(g - Σ g·p), with the sum over the keys.",
        (formula(lambda right, g, p: p * g, "ops_backward.softmax"),),
    ),
    Mistake(
        "scores-gradient-unscaled",
        "The gradients of queries and keys, or of one of them, are not divided by √E.",
        "Divide the gradient of the scores by √E: ∂q = g k / √E and ∂k = gᵀ q / √E.",
        (scores(1, 1), scores(1, 0), scores(0, 1)),
    ),
    Mistake(
        "scores-gradient-scaled-twice",
        "The gradients of queries and keys, or of one of them, are divided by √E twice.",
        "Divide the gradient of the scores by √E once.",
        (scores(-1, -1), scores(-1, 0), scores(0, -1)),
    ),
    Mistake(
        "mask-missing-in-backward",
        "The backward pass computes the probabilities again without the mask, so that masked keys get a gradient.",
        "Add the mask to the scores before the softmax in the backward pass too.",
        (without_mask(probs=False), without_mask(probs=True)),
    ),
    Mistake(
        "key-gradient-untransposed",
        "The gradient of the keys is g q instead of gᵀ q.",
        "Sum over the queries: ∂k = gᵀ q / √E, with g (B, H, L, S).",
        (formula(
            lambda right, g, q, k: (right(g, q, k)[0], right(g.swapaxes(2, 3), q, k)[1], g / math.sqrt(q.shape[-1])),
            "ops_backward.attention_scores",
        ),),
    ),
    Mistake(
        "value-gradient-untransposed",
        "The gradient of the values is p g instead of pᵀ g.",
        "Sum over the queries: ∂v = pᵀ g, with p (B, H, L, S).",
        (formula(
            lambda right, g, p, v: (right(g, p, v)[0], right(g, p.swapaxes(2, 3), v)[1]), "ops_backward.weighted_sum"
        ),),
    ),
    Mistake(
        "attention-input-gradient-overwritten",
        "The gradient of attention's input comes from one of query, key and value alone, instead of all three.",
        "Add up the three gradients.",
        tuple(map(only_through, ("query", "key", "value"))),
    ),
    # embeddings
    Mistake(
        "embedding-gradients-overwritten",
        "If an id occurs several times, the last gradient replaces the others, as in table[ids] += g.",
        "Add them up: numpy.add.at(table, ids, g), or index_add_ in torch.",
        tuple(map(overwritten, (".*", re.escape(WORDS), r".*(word|position)_embeddings"))),
    ),
    Mistake(
        "padding-row-gradient",
        "The row of padding gets a gradient from looking it up.",
        "Leave it 0, as torch.nn.Embedding does with padding_idx.",
        tuple(map(with_padding, (".*", r".*word_embeddings", r".*position_embeddings"))),
    ),
    Mistake(
        "decoder-gradient-missing",
        "The gradient of the tied decoder is not added to that of the word embeddings.",
        "Add both: the table is used twice.",
        (untied(keep_decoder=False),),
    ),
    Mistake(
        "lookup-gradient-missing",
        "The gradient of the word embeddings is that of the tied decoder alone.",
        "Add the gradient from looking up the ids: the table is used twice.",
        (untied(keep_decoder=True),),
    ),
    # losses
    Mistake(
        "loss-summed",
        "The loss is a sum instead of a mean.",
        "Divide by the number of labels that count, or of predicted numbers.",
        (
            loss(lambda x, y, kept: max(1, kept.sum()), CROSS_ENTROPY),
            loss(lambda x, y, kept: x.size, *OTHERS),
        ),
    ),
    Mistake(
        "loss-mean-of-ignored",
        "The loss is divided by the number of all labels, ignored ones included.",
        "Divide by the number of labels that are not -100.",
        (loss(lambda x, y, kept: kept.sum() / kept.size, CROSS_ENTROPY),),
    ),
    Mistake(
        "loss-mean-per-sequence",
        "The loss is the mean of each sequence's mean.",
        "Take one mean over the labels of all sequences.",
        (loss(per_sequence, CROSS_ENTROPY),),
    ),
    Mistake(
        "loss-mean-of-batch",
        "The loss is summed over the labels of a sequence, and divided by the batch size.",
        "Divide by the number of all predicted numbers, B·N.",
        (loss(lambda x, y, kept: x.shape[-1], *OTHERS),),
    ),
    Mistake(
        "loss-two-missing",
        "The gradient of the squared error lacks the factor 2.",
        "Compute 2 (x - y) / n.",
        (loss(lambda x, y, kept: 0.5, "mean_squared_error"),),
    ),
    Mistake(
        "ignored-labels-in-loss",
        "Positions whose label is ignored get a gradient.",
        "Give them 0: a label of -100 takes no part in the loss.",
        (of_ignored(all_count=False), of_ignored(all_count=True)),
    ),
    Mistake(
        "padding-in-loss",
        "Padding counts in the loss.",
        "Ignore the labels of padding: set them to -100.",
        (BackwardChange(inputs=padding_labelled), formula(as_unmasked, "HEADS.token_classification")),
    ),
    Mistake(
        "loss-half-missing",
        "The losses of start and end are added up, but not divided by 2.",
        "Take their mean.",
        (formula(lambda right, g, *args: right(2 * g, *args), "HEADS.question_answering"),),
    ),
)  # fmt: skip


def catalogue(model: Model) -> Iterator[Mistake]:
    """The mistakes that a port of the model can make in its backward pass alone."""
    yield from MISTAKES
    for module in SQUARE:
        yield Mistake(
            f"weight-gradient-transposed-{module}",
            "The gradient of this square weight is transposed: xᵀ g.",
            "Compute gᵀ x, (O, I), as PyTorch stores weights.",
            (BackwardChange(edits={rf"{WEIGHTS[module]}\.weight": square_transposed}),),
        )
        yield Mistake(
            f"input-gradient-transposed-{module}",
            "The gradient of this linear layer's input is g Wᵀ, which the square shape of W does not reveal.",
            "Compute g W, with W as stored, (O, I).",
            (through_transposed(WEIGHTS[module]),),
        )
    for eps in ("0", "1e-12", "1e-6", "1e-5", "1e-3"):
        if float(eps) != model.config.layer_norm_eps:
            yield Mistake(
                f"norm-eps-{eps}-in-backward",
                f"The backward pass of the norms uses eps {eps}, the forward pass the right one.",
                "Use layer_norm_eps from the configuration in both passes, or keep s from the forward pass.",
                (with_eps(float(eps)),),
            )
    yield from _of_slopes(model)


def of_both_passes(model: Model) -> Iterator[Mistake]:
    """The mistakes of the forward pass that change the configuration or the inputs, and with these both passes."""
    for mistake in forward_catalogue(model):
        ways = [way for way in mistake.ways if not (way.values or way.params or way.rounded)]
        if ways:
            yield replace(mistake, ways=tuple(BackwardChange(config=way.config, inputs=way.inputs) for way in ways))


def _of_slopes(model: Model) -> Iterator[Mistake]:
    act = model.config.hidden_act
    fix = "Use the slope of the activation that the forward pass computes, at its input."
    used = dict.fromkeys([act, "gelu"] if model.head.endswith("_lm") else [act])
    for other in ("gelu", "gelu_new", "quick_gelu", "relu", "silu", "linear"):
        if SLOPES[other] is not SLOPES[act]:
            what = "left out" if other == "linear" else f"that of {other}"
            yield Mistake(
                "slope-missing" if other == "linear" else f"slope-of-{other.replace('_', '-')}",
                f"The slope of the activation is {what} in the backward pass.",
                fix,
                (formula(_with(other), f"SLOPES.{act}"), formula(_in_layers(other), "feed_forward")),
            )
    yield Mistake(
        "slope-at-output",
        "The slope of the activation is taken at its output.",
        fix,
        tuple(formula(_at_output(one), f"SLOPES.{one}") for one in used),
    )
    yield Mistake(
        "tanh-slope-missing",
        "The slope of the tanh in the pooler or the classification head is left out.",
        "Multiply by 1 - y², where y is the output of the tanh.",
        (formula(lambda right, x: numpy.ones_like(x), "SLOPES.tanh"),),
    )
    yield Mistake(
        "tanh-slope-of-input",
        "The slope of the tanh in the pooler or the classification head is 1 - u², of its input u.",
        "Multiply by 1 - y², where y is the output of the tanh.",
        (formula(lambda right, x: 1 - x * x, "SLOPES.tanh"),),
    )


def _with(act: str) -> Callable[..., Array]:
    return lambda right, x: SLOPES[act](x)


def _in_layers(act: str) -> Callable[..., Array]:
    return lambda right, g, x, p, to: right(g, x, p, to._replace(config=to.config.replace(hidden_act=act)))


def _at_output(act: str) -> Callable[..., Array]:
    return lambda right, x: right(ACTIVATIONS[act](x))
