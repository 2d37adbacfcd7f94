"""Training, with NumPy alone: AdamW, a schedule, clipping, dropout, masking, and the loop that uses them.

Nothing here keeps a reference to a model: every function takes arrays and returns new ones. Weights and gradients are
dicts by canonical name, as `weights.flat` and `backward.loss_and_gradients` give them.
"""

import copy
import itertools
import math
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy

from .backend.arrays import Array, namespace, to_host
from .backend.schedule import rowwise, steady
from .backward import check_dtype, loss_and_gradients, unchanged
from .config import Config
from .errors import ConfigError
from .inputs import Inputs
from .model import Network
from .trace import Record
from .weights import flat, tree

Weights = dict[str, Array]

# --- the optimizer --------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """State of AdamW: the number of steps so far, and the running means of gradients and of their squares."""

    steps: int
    first: Weights
    second: Weights

    @classmethod
    def of(cls, weights: Mapping[str, Array]) -> "Moments":
        """Zeros for every weight."""
        zeros = {name: namespace(x).zeros_like(x) for name, x in weights.items()}
        return cls(0, zeros, dict(zeros))


def adamw(
    weights: Mapping[str, Array],
    gradients: Mapping[str, Array],
    moments: Moments,
    rate: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Weights, Moments]:
    """A step of Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019, algorithm 2).

        m = β₁ m + (1 - β₁) g,    v = β₂ v + (1 - β₂) g²
        w = w - rate · (λ w + m̂ / (√v̂ + eps)),    m̂ = m / (1 - β₁ᵗ),    v̂ = v / (1 - β₂ᵗ)

    λ is weight_decay for the weights that `decays` names, and 0 for others. Returns new weights and moments.
    """
    (one, two), t = betas, moments.steps + 1
    result, first, second = {}, {}, {}
    for name, w in weights.items():
        m = first[name] = running_mean(moments.first[name], gradients[name], beta=one)
        v = second[name] = running_mean_of_squares(moments.second[name], gradients[name], beta=two)
        shrink = 1 - rate * weight_decay * decays(name)
        result[name] = stepped(w, m, v, rate=rate, shrink=shrink, of_m=1 - one**t, of_v=1 - two**t, eps=eps)
    return result, Moments(t, first, second)


@rowwise
def running_mean(m: Array, g: Array, *, beta: float) -> Array:
    """β m + (1 - β) g."""
    return beta * m + (1 - beta) * g


@rowwise
def running_mean_of_squares(v: Array, g: Array, *, beta: float) -> Array:
    """β v + (1 - β) g²."""
    return beta * v + (1 - beta) * g * g


@rowwise
def stepped(w: Array, m: Array, v: Array, *, rate: float, shrink: float, of_m: float, of_v: float, eps: float) -> Array:
    """w · shrink - rate · m̂ / (√v̂ + eps), with m̂ = m / of_m and v̂ = v / of_v."""
    return shrink * w - rate * (m / of_m / (namespace(v).sqrt(v / of_v) + eps))


def decays(name: str) -> bool:
    """True for the weights that decay: all but biases and the weights of norms, as in Devlin et al. 2019."""
    *_, module, last = ("", *name.split("."))
    return last != "bias" and module not in ("LayerNorm", "layer_norm")


def clipped(gradients: Mapping[str, Array], most: float) -> Weights:
    """The gradients, scaled down together if their norm exceeds `most` (Pascanu et al. 2013, algorithm 1).

    The norm is √Σ g² over all elements of all gradients. As in PyTorch, 1e-6 is added to it.
    """
    norm = math.sqrt(sum(float(to_host(sum_of_squares(g))) for g in gradients.values()))
    factor = min(1.0, most / (norm + 1e-6))
    return {name: factor * g for name, g in gradients.items()} if factor < 1 else dict(gradients)


def sum_of_squares(g: Array) -> Array:
    """Σ g², a sum of those of the rows, so that no array of squares is stored and float32 rounds less."""
    return namespace(g).einsum("...d,...d->...", g, g).sum()


def warm_up_and_decay(step: int, warm_up: int, steps: int) -> float:
    """The factor of the learning rate at a step, counted from 0: up to 1 at `warm_up`, then down to 0, linearly."""
    if step < warm_up:
        return step / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))


# --- noise ----------------------------------------------------------------------------------------------------------


def dropout(config: Config, head: str, seed: Any) -> Record:
    """A function of a value's name and the value, or its gradient, that sets a random part of it to 0.

    What stays is divided by the probability of staying (Srivastava et al. 2014, section 10). The mask depends on the
    seed and the name alone, so that a value and its gradient get the same one. A probability is rounded down to a
    multiple of 2⁻¹⁶, since 16 random bits decide about an element. Raises ConfigError for a probability that is not
    from 0 to less than 1; inference does not look at it.
    """
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
        p = getattr(config, name)
        if not (p is None or (isinstance(p, int | float) and 0 <= p < 1)):
            raise ConfigError(f"{name} must be a number from 0 to less than 1, not {p!r:.100}")

    def dropped(name: str, value: Array) -> Array:
        if not (p := dropout_at(name, config, head)):
            return value
        random = numpy.random.default_rng([*numpy.atleast_1d(seed), zlib.crc32(name.encode())])
        least = int(p * 2**16)
        kept = random.integers(0, 2**16, value.shape, numpy.uint16) >= least
        return value * namespace(value).asarray(kept) * (2**16 / (2**16 - least))

    return dropped


def dropout_at(name: str, config: Config, head: str) -> float:
    """The probability of dropping an element of a value, where the reference has dropout; 0 elsewhere.

    These are the embeddings, attention's weights, the outputs of attention and feed-forward before their residual sums
    (XLM-RoBERTa-XL: only of attention), and what a classifier reads.
    """
    hidden, of_classifier = config.hidden_dropout_prob, config.classifier_dropout
    if name.endswith(".self.probs"):
        return config.attention_probs_dropout_prob
    if name == "embeddings" or re.search(r"attention\.output\.dense$", name):
        return hidden
    if name.endswith(".output.dense"):
        return hidden if config.family.feed_forward_dropout else 0.0
    if head == "multiple_choice":
        return hidden if name == "pooler" else 0.0
    last = "LayerNorm" if config.family.final_norm == "LayerNorm" else "encoder"
    if head in CLASSIFIERS and name in (last, *CLASSIFIERS[head]):
        return hidden if of_classifier is None else of_classifier
    return 0.0


CLASSIFIERS: dict[str, tuple[str, ...]] = {"sequence_classification": ("classifier.tanh",), "token_classification": ()}
"""The heads that drop a part of the last hidden state, and the other values of which they do."""


def masked(ids: Any, config: Config, mask_token_id: int, special: Collection[int], seed: Any) -> tuple[Any, Any]:
    """Choose each token with probability 15%, anew for each seed (Liu et al. 2019, section 4.1). ids: (B, L).

    Of these, 80% become the mask token, 10% a random token, and 10% stay (Devlin et al. 2019, section 3.1). Special
    tokens, such as padding, are never chosen. Returns the new ids, and the labels: -100 where nothing is predicted.
    """
    random, ids = numpy.random.default_rng(seed), numpy.asarray(ids)
    chosen = (random.random(ids.shape) < 0.15) & ~numpy.isin(ids, list(special))
    kind = random.random(ids.shape)
    others = random.integers(0, config.vocab_size, ids.shape)
    new = numpy.where(kind < 0.8, mask_token_id, numpy.where(kind < 0.9, others, ids))
    return numpy.where(chosen, new, ids), numpy.where(chosen, ids, -100)


# --- the loop -------------------------------------------------------------------------------------------------------

AnyNetwork = TypeVar("AnyNetwork", bound=Network)


class Part:
    """The weights of a model that are trained: those whose canonical names a function chooses; the others stay.

    weights: where training begins, by name. `lora.Lora` is another kind of part.
    """

    def __init__(self, model: Network, chosen: Callable[[str], bool] = lambda name: True) -> None:
        self.weights: Weights = {name: x for name, x in flat(model.params).items() if chosen(name)}

    def merged(self, weights: Weights) -> Weights:
        """The model's weights that follow from the trained ones."""
        return weights

    def gradients(self, weights: Weights, found: Mapping[str, Array]) -> Weights:
        """The gradients of the trained weights, from those of the model's weights."""
        return {name: found[name] for name in weights}


class Step(NamedTuple):
    """A step of training: its number from 1, the mean loss of its batches, before the weights change, and the rate.

    weights, moments: what is trained, after the step. With these, `train` can go on from here.
    """

    number: int
    loss: float
    rate: float
    weights: Weights
    moments: Moments


def with_params(model: AnyNetwork, params: dict[str, Any], files: Iterable[Any] = ()) -> AnyNetwork:
    """The same model with other parameters. files: those that some of them are mapped from."""
    result = copy.copy(model)
    result.params, result.compilations, result.files = params, [], files
    return result


def train(
    model: AnyNetwork,
    batches: Iterable[Mapping[str, Any]],
    *,
    steps: int,
    learning_rate: float,
    warm_up: int = 0,
    weight_decay: float = 0.01,
    most: float = 1.0,
    accumulate: int = 1,
    seed: int | None = None,
    part: Part | None = None,
    moments: Moments | None = None,
) -> Iterator[tuple[Step, AnyNetwork]]:
    """Train on batches, the inputs of calls with labels. Yields each step with the model after it.

    learning_rate: the largest, after `warm_up` steps. most: the norm to which the gradients are clipped. accumulate:
    the number of batches of a step, whose gradients are averaged. seed: of dropout; if None, nothing is dropped.
    part: what is trained; by default, all weights. moments: those of an earlier step, after which training goes on:
    `part` then holds the weights of that step, and `batches` those that follow.

    Ends after `steps` steps, or when there are no more batches. Raises the errors of `gradients`.
    """
    check_dtype(model)
    part, source, base = part or Part(model), iter(batches), flat(model.params)
    weights, moments = part.weights, moments or Moments.of(part.weights)
    changed = part.merged(weights)
    files = () if changed.keys() == base.keys() else model.files  # of the weights that stay
    model = with_params(model, tree({**base, **changed}), files)
    for step in range(moments.steps, steps):
        own = list(itertools.islice(source, accumulate))
        if not own:
            return
        total, loss = dict[str, Array](), 0.0
        for index, batch in enumerate(own):
            edit = unchanged if seed is None else dropout(model.config, model.head, (seed, step, index))
            with steady(model.xp):
                one, found = loss_and_gradients(
                    model.params, model.config, model.head, model.moved(model.checked(Inputs(**batch))),
                    precision=model.precision, on_value=edit, on_gradient=None if seed is None else edit,
                    everywhere=False, wanted=changed,
                )  # fmt: skip
            loss += float(to_host(one)) / len(own)
            total = {name: total[name] + g for name, g in found.items()} if total else found
        mean = {name: g / len(own) for name, g in total.items()} if len(own) > 1 else total
        rate = learning_rate * warm_up_and_decay(step, warm_up, steps)
        found = clipped(part.gradients(weights, mean), most)
        weights, moments = adamw(weights, found, moments, rate, weight_decay=weight_decay)
        changed = part.merged(weights)
        model = with_params(model, tree({**base, **changed}), files)
        yield Step(step + 1, loss, rate, weights, moments), model
