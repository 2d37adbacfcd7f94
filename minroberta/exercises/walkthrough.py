"""The exercises of the first notebook: a shuffled text, a layer of one's own, the attention head that matters most."""

import functools
from typing import Any, NamedTuple

import numpy

from .. import activations, layers, ops
from ..loading import Model, load
from ..trace import Trace, trace
from .checks import Checks, NotYet, array_of, expect, expect_values, result_of, same

TEXT = "The river flows into the <mask> Ocean."
"""The sentence that the notebook follows."""


class Run(NamedTuple):
    """The embedded model, the ids of the sentence, (1, L), and the values of its run."""

    model: Model
    ids: numpy.ndarray
    found: Trace


@functools.cache
def _run() -> Run:
    model = load()
    ids = model.tokenize(TEXT)["input_ids"]
    return Run(model, ids, trace(model, ids))


def _chances(logits: numpy.ndarray, ids: numpy.ndarray) -> numpy.ndarray:
    """The probability of each token at the mask, (V,)."""
    return ops.softmax(_at_mask(logits, ids))


def _at_mask(logits: numpy.ndarray, ids: numpy.ndarray) -> numpy.ndarray:
    """The logits of the mask, (V,): <mask> is the last token of the vocabulary."""
    return logits[ids == logits.shape[-1] - 1][0]


# --- 1: another order -----------------------------------------------------------------------------------------------


def shuffle(answer: Any) -> None:
    """Exercise 1: the ids of the sentence in another order, and position ids with which the guess stays the same."""
    model, ids, found = _run()
    others, positions = _pair(answer, ids.shape)
    right = found["embeddings.position_ids"]
    if (numpy.sort(others) == numpy.sort(right)).all() and (numpy.sort(positions) == numpy.sort(ids)).all():
        raise NotYet("the two arrays are exchanged: the ids come first, then the positions")
    if (numpy.sort(others) != numpy.sort(ids)).any():
        raise NotYet("these are other tokens: reorder those of the sentence")
    if (others == ids).all():
        raise NotYet("the tokens are in the same order as before")
    if (positions == right).all():
        raise NotYet("the positions are in the old order, so that each token has the position of another")
    if (numpy.sort(positions) == numpy.arange(ids.size)).all():
        raise NotYet("the positions count from 0: those of RoBERTa begin at 2")
    if (numpy.sort(positions) != numpy.sort(right)).any():
        raise NotYet(f"the positions must be those of the sentence, {right.min()} to {right.max()}, reordered")
    made = model(others.astype(int), position_ids=positions.astype(int)).logits
    if not same(_chances(made, others), _chances(found.output.logits, ids)):
        raise NotYet("the guess has changed: ids and positions must be reordered alike")


def _pair(answer: Any, shape: tuple[int, ...]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The two arrays of the answer, ids and positions, of this shape each."""
    parts = list(answer) if isinstance(answer, list | tuple) or numpy.ndim(answer) else []
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        raise NotYet("give both, the ids and the positions, each of shape (1, L)")
    return array_of(parts[0], shape, "the array of ids"), array_of(parts[1], shape, "the array of positions")


# --- 2: a layer -----------------------------------------------------------------------------------------------------


def layer(answer: Any) -> None:
    """Exercise 2: a function of x (B, L, D) and a layer's parameters, which returns the layer's output."""
    names = getattr(getattr(answer, "__code__", None), "co_names", ())
    if "layers" in names or "encoder_layer" in names:
        raise NotYet("your function takes the layer from `layers`: write it from `ops` and `activations`")
    for index in (_run().model.config.num_hidden_layers - 1, 1):
        _judge_layer(answer, index)


def _judge_layer(answer: Any, index: int) -> None:
    """Raise NotYet if the reader's function does not make the output of this layer from its input and parameters."""
    model, ids, found = _run()
    name, before = f"encoder.layer.{index}", f"encoder.layer.{index - 1}"
    made = array_of(result_of(answer, found[before], model.p.encoder.layer[index]), found[name].shape)
    if same(made, found[name]):
        return
    _reject_fixed(made, index)
    for sentence, value in _mistaken(index).items():
        if same(made, value):
            raise NotYet(sentence)
    expect_values(model, {"input_ids": ids}, {before: found[before], name: made})
    expect(made, found[name])


def _reject_fixed(made: numpy.ndarray, index: int) -> None:
    """Raise NotYet if this is what another layer makes of this layer's input."""
    model, _, found = _run()
    for other, p in enumerate(model.p.encoder.layer):
        if same(made, layers.encoder_layer(found[f"encoder.layer.{index - 1}"], p, model.config)):
            raise NotYet(f"with the parameters of layer {index} it is still layer {other}: take them from p_layer")


def _mistaken(index: int) -> dict[str, numpy.ndarray]:
    """The layer's output with likely mistakes, and values on the way to it, each under its sentence."""
    return _on_the_way(index) | _attended_wrongly(index) | _fed_wrongly(index)


def _on_the_way(index: int) -> dict[str, numpy.ndarray]:
    """Values of the layer before its output."""
    _, _, found = _run()
    name = f"encoder.layer.{index}"
    return {
        "that is the first half of the layer: the feed-forward half is still to come": found[f"{name}.attention"],
        "that is the context, what attention collects: a linear map comes next": found[f"{name}.attention.self"],
        "that is what attention makes: it is to be added to x, and the sum normed": found[
            f"{name}.attention.output.dense"
        ],
        "that is the sum after attention: it is to be normed": found[f"{name}.attention.output.sum"],
        "that is what the feed-forward makes: it is to be added, and the sum normed": found[f"{name}.output.dense"],
        "that is the sum at the end: its norm is missing": found[f"{name}.output.sum"],
    }


def _with(value: str, array: numpy.ndarray, index: int) -> numpy.ndarray:
    """The layer's output if this value of the layer is another array."""
    model, ids, _ = _run()
    name = f"encoder.layer.{index}"
    return trace(model, ids, edit={f"{name}.{value}": lambda _: array})[name]


def _attended_wrongly(index: int) -> dict[str, numpy.ndarray]:
    """The layer's output with likely mistakes of its first half."""
    model, _, found = _run()
    part, config = f"encoder.layer.{index}.attention", model.config
    scores, dense = found[f"{part}.self.scores"], found[f"{part}.output.dense"]
    values = ops.split_heads(found[f"{part}.self.value"], config.head_size)
    root = config.head_size**0.5

    def with_scores(scores: numpy.ndarray) -> numpy.ndarray:
        return _with("attention.self.scores", scores, index)

    def with_context(by_head: numpy.ndarray) -> numpy.ndarray:
        return _with("attention.self", by_head.reshape(dense.shape), index)

    over_queries = ops.softmax(scores.swapaxes(2, 3)).swapaxes(2, 3)
    return {
        "the scores are not divided by √E, the root of the head size": with_scores(scores * root),
        "the scores are divided by √E twice, or by E: divide once by the root": with_scores(scores / root),
        "the scores are divided by √D: divide by the root of the head size, √E": with_scores(
            scores * root / config.hidden_size**0.5
        ),
        "queries and keys are exchanged: scores are q kᵀ": with_scores(scores.swapaxes(2, 3)),
        "the softmax is over the keys, the last axis": with_context((over_queries @ values).swapaxes(1, 2)),
        "the softmax is missing between scores and context": with_context((scores @ values).swapaxes(1, 2)),
        "the heads are not merged by a reshape alone: swap two axes first, as ops.merge_heads does": with_context(
            found[f"{part}.self.probs"] @ values
        ),
        "the linear map after the context is missing, p_layer.attention.output.dense": _with(
            "attention.output.dense", found[f"{part}.self"], index
        ),
        "x is not added to what attention makes": _with("attention.output.sum", dense, index),
        "the first norm is missing, p_layer.attention.output.LayerNorm": _with(
            "attention", found[f"{part}.output.sum"], index
        ),
    }


def _fed_wrongly(index: int) -> dict[str, numpy.ndarray]:
    """The layer's output with likely mistakes of its second half."""
    model, _, found = _run()
    name = f"encoder.layer.{index}"
    before, half = found[f"encoder.layer.{index - 1}"], found[f"{name}.attention"]
    wide, dense = found[f"{name}.intermediate.dense"], found[f"{name}.output.dense"]
    norm = model.p.encoder.layer[index].attention.output.LayerNorm.tree
    return {
        "what the feed-forward makes is not added to the first half's output": _with("output.sum", dense, index),
        "the second sum is with the first half's output, not with the x of the layer": _with(
            "output.sum", before + dense, index
        ),
        "the second sum is with the first half's output, not with the sum before its norm": _with(
            "output.sum", found[f"{name}.attention.output.sum"] + dense, index
        ),
        "the feed-forward is missing: linear, gelu, linear": _with("output.dense", 0 * dense, index),
        "the gelu between the two linear maps is missing": _with("intermediate", wide, index),
        "that is relu between the two linear maps, not gelu": _with("intermediate", wide * (wide > 0), index),
        "a gelu is too much, at the end of the feed-forward: it belongs between the linear maps": _with(
            "output.dense", activations.gelu(dense), index
        ),
        "the second norm has weights of its own, those of p_layer.output.LayerNorm": ops.layer_norm(
            half + dense, **norm, eps=model.config.layer_norm_eps
        ),
    }


# --- 3: a head ------------------------------------------------------------------------------------------------------


def most_important(answer: Any) -> str:
    """Exercise 3: the (layer, head) without which the first guess is least likely, and a function for its probability.

    The function takes a layer and a head.
    """
    chances = _without_each()
    (i, j), function = _head_and_function(answer, chances.shape)
    for one in ((0, 1), (2, 0), (i, j)):
        _judge_chance(array_of(result_of(function, *one), (), f"without{one}"), chances, one)
    if chances[i, j] > chances.min() * 1.001:
        raise NotYet(
            f"without that head its probability is {_shown(chances[i, j])}, but there is a head that matters more"
        )
    return f"without head {j} of layer {i} the probability of the guess is {_shown(chances[i, j])}"


def _shown(chance: float) -> str:
    """A probability as a percentage, or in full if that would be 0.0%."""
    return f"{chance:.1%}" if chance >= 0.0005 else f"{chance:.1g}"


def _head_and_function(answer: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], Any]:
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise NotYet("give the pair (layer, head), and your function")
    head, function = answer
    head = head.tolist() if isinstance(head, numpy.ndarray) else head
    pair = isinstance(head, list | tuple) and len(head) == 2
    if not pair or not all(isinstance(number, int | numpy.integer) for number in head):
        raise NotYet("the head is a pair (layer, head) of integers, both counted from 0")
    i, j = map(int, head)
    if not (0 <= i < shape[0] and 0 <= j < shape[1]):
        raise NotYet(f"there is no head {j} in a layer {i}: layers are 0 to {shape[0] - 1}, heads 0 to {shape[1] - 1}")
    return (i, j), function


def _judge_chance(given: numpy.ndarray, chances: numpy.ndarray, one: tuple[int, int]) -> None:
    """Raise NotYet if the reader's number is not the probability without this head."""
    if not same(given, chances[one]):
        expect(given, chances[one], _of_numbers(chances, one) | _of_masks(chances.shape, one), f"without{one}")


def _of_numbers(chances: numpy.ndarray, one: tuple[int, int]) -> dict[str, Any]:
    """Likely mistakes with the right mask of the heads, each under its sentence."""
    model, ids, found = _run()
    winner = _chances(found.output.logits, ids).argmax()
    mask = _all_but(one, chances.shape)
    logits = model(ids, head_mask=mask).logits
    plain, chance = _chances(found.output.logits, ids)[winner], chances[one]
    return {
        "that is how likely the guess is with all heads": plain,
        "that is by how much the guess becomes less likely: return how likely it is": plain - chance,
        "that is the change of the probability: return the probability itself": chance - plain,
        "that is the loss: return the probability itself": -numpy.log(chance),
        "that is the logarithm of the probability: return the probability itself": numpy.log(chance),
        "that is a percentage: return the probability, from 0 to 1": 100 * chance,
        "that is the logit: take the softmax of all logits first": _at_mask(logits, ids)[winner],
        "that is the likeliest token without the head: return the probability of `order[0]`": _with_mask(mask).max(),
    }


def _of_masks(shape: tuple[int, ...], one: tuple[int, int]) -> dict[str, Any]:
    """The probability of the guess with likely mistakes of the mask of the heads, each under its sentence."""
    i, j = one
    everything = numpy.ones(shape)
    only, layer_off, head_off = 1 - _all_but(one, shape), everything.copy(), everything.copy()
    layer_off[i] = 0
    head_off[:, j] = 0
    masks = {
        "only this head is left: 1 keeps a head, and 0 switches it off": only,
        "all heads are switched off: 1 keeps a head, and 0 switches it off": 0 * everything,
        "all heads of the layer are switched off: set mask[layer, head] to 0": layer_off,
        "this head of every layer is switched off: set mask[layer, head] to 0": head_off,
        "the head is made twice as strong: set mask[layer, head] to 0": everything + only,
        "heads are counted from 0: another one is switched off": _all_but((i, j - 1), shape),
        "layers are counted from 0: another one is switched off": _all_but((i - 1, j), shape),
        "the mask has layers first, then heads: these two are exchanged": _all_but((j % shape[0], i), shape),
    }
    winner = _with_mask(everything).argmax()
    return {sentence: _with_mask(mask)[winner] for sentence, mask in masks.items()}


def _all_but(one: tuple[int, int], shape: tuple[int, ...]) -> numpy.ndarray:
    mask = numpy.ones(shape)
    mask[one] = 0
    return mask


def _with_mask(mask: numpy.ndarray) -> numpy.ndarray:
    """The probability of each token at the mask, with a mask of the heads, (layers, heads)."""
    model, ids, _ = _run()
    return _chances(model(ids, head_mask=mask).logits, ids)


@functools.cache
def _without_each() -> numpy.ndarray:
    """The probability of the first guess without each head, (layers, heads)."""
    model, ids, found = _run()
    winner = _chances(found.output.logits, ids).argmax()
    shape = model.config.num_hidden_layers, model.config.num_attention_heads
    chances = [_with_mask(_all_but((i, j), shape))[winner] for i, j in numpy.ndindex(*shape)]
    return numpy.array(chances).reshape(shape)


check = Checks(shuffle, layer, most_important)
