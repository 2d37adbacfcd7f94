"""The exercises of the first notebook: a shuffled text, a layer of one's own, the attention head that matters most."""

import functools
from typing import Any, NamedTuple

import numpy

from .. import layers, ops
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
    return ops.softmax(logits[ids == logits.shape[-1] - 1][0])  # <mask> is the last token of the vocabulary


# --- 1: another order -----------------------------------------------------------------------------------------------


def shuffle(answer: Any) -> None:
    """Exercise 1: the ids of the sentence in another order, and position ids with which the guess stays the same."""
    model, ids, found = _run()
    pair = isinstance(answer, list | tuple) or numpy.shape(answer) == (2, *ids.shape)
    if not pair or len(answer) != 2 or any(part is None for part in answer):
        raise NotYet("give both, the ids and the positions, each of shape (1, L)")
    others, positions = (
        array_of(part, ids.shape, f"the array of {what}")
        for part, what in zip(answer, ("ids", "positions"), strict=True)
    )
    if (numpy.sort(others) != numpy.sort(ids)).any():
        raise NotYet("these are other tokens: reorder those of the sentence")
    if (others == ids).all():
        raise NotYet("the tokens are in the same order as before")
    right = found["embeddings.position_ids"]
    if (positions == right).all():
        raise NotYet("the positions are in the old order, so that each token has the position of another")
    if (numpy.sort(positions) == numpy.arange(ids.size)).all():
        raise NotYet("the positions count from 0: those of RoBERTa begin at 2")
    if (numpy.sort(positions) != numpy.sort(right)).any():
        raise NotYet(f"the positions must be those of the sentence, {right.min()} to {right.max()}, reordered")
    made = model(others.astype(int), position_ids=positions.astype(int)).logits
    if not same(_chances(made, others), _chances(found.output.logits, ids)):
        raise NotYet("the guess has changed: ids and positions must be reordered alike")


# --- 2: a layer -----------------------------------------------------------------------------------------------------


def layer(answer: Any) -> None:
    """Exercise 2: a function of x (B, L, D) and a layer's parameters, which returns the layer's output."""
    if "encoder_layer" in getattr(getattr(answer, "__code__", None), "co_names", ()):
        raise NotYet("that calls the library's encoder_layer: write the layer yourself, from ops and activations")
    for index in (
        _run().model.config.num_hidden_layers - 1,
        1,
    ):  # a second one, so that a layer with fixed parameters shows
        _judge_layer(answer, index)


def _judge_layer(answer: Any, index: int) -> None:
    """Raise NotYet if the reader's function does not compute this layer."""
    model, ids, found = _run()
    name, before = f"encoder.layer.{index}", f"encoder.layer.{index - 1}"
    nodes = model.p.encoder.layer
    made = array_of(result_of(answer, found[before], nodes[index]), found[name].shape)
    if same(made, found[name]):
        return
    for sentence, value in _mistaken(index).items():
        if same(made, value):
            raise NotYet(sentence)
    for other in range(model.config.num_hidden_layers):
        if same(made, layers.encoder_layer(found[before], nodes[other], model.config)):
            raise NotYet(f"p_layer is not used: these are the parameters of layer {other}, where {index} is asked for")
    expect_values(model, {"input_ids": ids}, {before: found[before], name: made})
    expect(made, found[name])


def _mistaken(index: int) -> dict[str, numpy.ndarray]:
    """The layer's output with likely mistakes, and values on the way to it, each under its sentence."""
    model, ids, found = _run()
    name, before = f"encoder.layer.{index}", found[f"encoder.layer.{index - 1}"]
    attention, wide = f"{name}.attention", found[f"{name}.intermediate.dense"]
    root = model.config.head_size**0.5
    on_the_way = {
        "that is the first half of the layer: the feed-forward half is still to come": attention,
        "that is what attention makes: it is to be added to x, and the sum normed": f"{attention}.output.dense",
        "that is the sum after attention: it is to be normed": f"{attention}.output.sum",
        "that is what the feed-forward makes: it is to be added, and the sum normed": f"{name}.output.dense",
        "that is the sum at the end: its norm is missing": f"{name}.output.sum",
    }
    edits = {
        "the scores are not divided by √E, the root of the head size": (f"{attention}.self.scores", lambda s: s * root),
        "the scores are divided by √E twice": (f"{attention}.self.scores", lambda s: s / root),
        "queries and keys are exchanged: scores are q kᵀ": (f"{attention}.self.scores", lambda s: s.swapaxes(2, 3)),
        "the linear map after the context is missing: p_layer.attention.output.dense": (
            f"{attention}.output.dense",
            lambda _: found[f"{attention}.self"],
        ),
        "the first norm is missing: p_layer.attention.output.LayerNorm": (
            attention,
            lambda _: found[f"{attention}.output.sum"],
        ),
        "x is not added to what attention makes": (
            f"{attention}.output.sum",
            lambda _: found[f"{attention}.output.dense"],
        ),
        "what the feed-forward makes is not added to the first half's output": (
            f"{name}.output.sum",
            lambda _: found[f"{name}.output.dense"],
        ),
        "the second sum is with the first half's output, not with the x of the layer": (
            f"{name}.output.sum",
            lambda _: before + found[f"{name}.output.dense"],
        ),
        "the gelu between the two linear maps is missing": (f"{name}.intermediate", lambda _: wide),
        "that is relu between the two linear maps, not gelu": (f"{name}.intermediate", lambda _: wide * (wide > 0)),
    }
    made = {sentence: trace(model, ids, edit={value: edit})[name] for sentence, (value, edit) in edits.items()}
    norm = model.p.encoder.layer[index].attention.output.LayerNorm.tree
    made["the second norm has weights of its own, those of p_layer.output.LayerNorm"] = ops.layer_norm(
        found[f"{name}.output.sum"], **norm, eps=model.config.layer_norm_eps
    )
    return {sentence: found[value] for sentence, value in on_the_way.items()} | made


# --- 3: a head ------------------------------------------------------------------------------------------------------


def most_important(answer: Any) -> str:
    """Exercise 3: the (layer, head) without which the first guess is least likely, and a function that says how likely.

    The function takes a layer and a head.
    """
    chances = _without_each()
    (i, j), function = _head_and_function(answer, chances.shape)
    for one in {(i, j), (0, 1), (2, 0)}:
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
    if not (isinstance(head, list | tuple) and len(head) == 2):
        raise NotYet("the head is a pair (layer, head) of integers, both counted from 0")
    i, j = (int(number) for number in head)
    if not (0 <= i < shape[0] and 0 <= j < shape[1]):
        raise NotYet(f"there is no head {j} in a layer {i}: layers are 0 to {shape[0] - 1}, heads 0 to {shape[1] - 1}")
    return (i, j), function


def _judge_chance(given: numpy.ndarray, chances: numpy.ndarray, one: tuple[int, int]) -> None:
    """Raise NotYet if the reader's number is not the probability without this head."""
    _, ids, found = _run()
    plain = _chances(found.output.logits, ids)
    layer_off = numpy.ones(chances.shape)
    layer_off[one[0]] = 0
    known = {
        "that is how likely the guess is with all heads": plain.max(),
        "that is by how much the guess becomes less likely: return how likely it is": plain.max() - chances[one],
        "that is the loss: return the probability itself": -numpy.log(chances[one]),
    }
    if chances.shape[0] > one[1] and chances.shape[1] > one[0]:
        known["the mask has layers first, then heads: these two are exchanged"] = chances[one[::-1]]
    only = numpy.zeros(chances.shape)
    only[one] = 1
    masks = {
        "only this head is left: 1 keeps a head, and 0 switches it off": only,
        "heads are counted from 0: another one is switched off": _all_but((one[0], one[1] - 1), chances.shape),
        "all heads of the layer are switched off: set mask[layer, head] to 0": layer_off,
        "layers are counted from 0: another one is switched off": _all_but((one[0] - 1, one[1]), chances.shape),
    }
    winner = plain.argmax()
    known |= {words: _with_mask(mask)[winner] for words, mask in masks.items()}
    known["that is the likeliest token without the head: return the probability of `order[0]`"] = _with_mask(
        _all_but(one, chances.shape)
    ).max()
    if not same(given, chances[one]):
        expect(given, chances[one], known, f"without{one}")


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
    """How likely the first guess is without each head, (layers, heads)."""
    model, ids, found = _run()
    winner = _chances(found.output.logits, ids).argmax()
    shape = model.config.num_hidden_layers, model.config.num_attention_heads
    chances = [_with_mask(_all_but((i, j), shape))[winner] for i, j in numpy.ndindex(*shape)]
    return numpy.array(chances).reshape(shape)


check = Checks(shuffle, layer, most_important)
