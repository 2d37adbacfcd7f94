"""The exercises of notebook 10: the causal mask after a cache, attention with a cache, a prompt that is read once."""

import functools
from typing import Any

import numpy

from .. import ops
from ..loading import Model, init
from ..trace import Node, trace
from .checks import Checks, NotYet, array_of, expect, expect_values, numbers_of, result_of

SIZES = ((4, 0), (1, 3), (3, 2), (2, 5))
"""Numbers of new and of cached tokens."""

PROMPT, CONTINUATIONS = ([0, 5, 6, 7, 8, 9], ([11], [12, 13, 14], [14, 5]))

Shape = tuple[int, ...]

SELF = "encoder.layer.0.attention.self"


# --- exercise 1: the mask -------------------------------------------------------------------------------------------


def masking(answer: Any) -> str:
    """A function from the numbers of new and cached tokens to the causal mask."""
    for new, past in SIZES:
        judge_mask(answer, new, past)
    return "each new token reads all that is cached, and the new ones up to itself"


def judge_mask(answer: Any, new: int, past: int) -> None:
    """Raise NotYet if the mask of these sizes is not right."""
    given = f"for {new} new tokens after {past}"
    found = numbers_of(result_of(answer, new, past), f"{given}, the mask")
    judge_shape(found.shape, new, past)
    if found.dtype.kind in "if" and (found < 0).any():
        raise NotYet("booleans are asked for, True where a token may read, and not numbers to add to the scores")
    rows, columns = numpy.arange(new)[:, None], numpy.arange(past + new)[None]
    right = columns <= rows + past
    known = {
        "tokens do not read themselves: a token reads those up to and including itself": columns < rows + past,
        "a token reads the one after it as well": columns <= rows + past + 1,
        "True and False are exchanged: True is where a token may read": ~right,
        "the cached tokens are hidden: each new token may read all of them": right & (columns >= past),
        "rows and columns are exchanged: a row is a token that reads, and may read to the left": columns >= rows + past,
        "nothing is hidden": numpy.ones_like(right),
        "the cached tokens are forgotten: new token i is token past + i of the text": columns <= rows,
        "all new tokens read the cached ones, but no new ones": numpy.broadcast_to(columns < past, right.shape),
        "the rows are in reverse order: the first row is the first new token": right[::-1],
    }
    expect(found, right, known, f"{given}, the mask")


def judge_shape(shape: tuple[int, ...], new: int, past: int) -> None:
    """Raise NotYet if a likely mistake gives a mask of this shape."""
    given = f"for {new} new tokens after {past}"
    if past and shape == (new, new):
        raise NotYet(f"{given}, the mask lacks the cached tokens: its shape is {shape}, not {(new, past + new)}")
    if past and shape == (past + new, past + new):
        raise NotYet(f"{given}, the mask has rows for cached tokens too: only the new ones ask. Keep its last {new}")
    if past and shape == (past + new, new):
        raise NotYet(f"{given}, rows and columns are exchanged: a row is a token that reads")


# --- exercise 2: attention with a cache -----------------------------------------------------------------------------


@functools.cache
def small() -> Model:
    """A random decoder in whose values each mistake shows: its weights are large."""
    config = {
        "model_type": "roberta",
        "vocab_size": 30,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "max_position_embeddings": 24,
        "initializer_range": 0.5,
        "is_decoder": True,
    }
    return init(config, head="causal_lm", seed=3)


def attending(answer: Any) -> str:
    """A function for the attention of new tokens on top of a cache, judged by the oracle."""
    model, E = small(), small().config.head_size
    past = model([PROMPT, PROMPT[::-1]]).past_key_values
    inputs: dict[str, Any] = {"input_ids": numpy.array([[11, 12, 13], [14, 5, 6]]), "past_key_values": past}
    x, p = trace(model, **inputs)["embeddings"], model.p.encoder.layer[0].attention.self
    found = result_of(answer, x, *past[0], p, E)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise NotYet(f"two arrays are asked for, the shares and the context, not {type(found).__name__}")
    B, L, D = x.shape
    S = past[0][0].shape[2] + L
    given = numbers_of(found[0], "the array of shares"), numbers_of(found[1], "the context")
    judge_shapes(given[0].shape, given[1].shape, (B, D // E, L, S), E)
    shares = array_of(found[0], (B, D // E, L, S), "the array of shares")
    context = array_of(found[1], (B, L, D), "the context")
    known = {sentence: attention(x, past[0], p, E, **change)[0] for sentence, change in ATTENDING_MISTAKES.items()}
    for sentence, wrong in known.items():
        if numpy.allclose(shares, wrong, atol=1e-4):
            raise NotYet(sentence)
    judge_context(context, shares, x, past[0], p, E)
    expect_values(model, inputs, {f"{SELF}.probs": shares, SELF: context})
    return "the oracle agrees with both"


def judge_shapes(shares: Shape, context: Shape, wanted: Shape, E: int) -> None:
    """Raise NotYet if likely mistakes give these shapes. wanted: the right shape of the shares."""
    B, H, L, S = wanted
    if shares == (B, L, H * E) and context == wanted:
        raise NotYet("return the shares first, and then the context")
    if shares == (B, H, L, L):
        raise NotYet(f"the cache is forgotten: {L} new tokens read {S}, so put k_past and v_past before the new ones")
    if shares == (B, H, S, S):
        raise NotYet("cached tokens have no queries any more: only the new ones ask")
    if shares == (B, L, S):
        raise NotYet("the shares are of one head: split queries and keys by `ops.split_heads`")
    if context in ((B, H, L, E), (B, L, H, E)):
        raise NotYet("the context is still split into heads: merge it by `ops.merge_heads`")


def judge_context(context: numpy.ndarray, shares: numpy.ndarray, x: numpy.ndarray, past: Any, p: Node, E: int) -> None:
    """Raise NotYet if the shares are right, and the context shows a likely mistake."""
    if not numpy.allclose(shares, attention(x, past, p, E)[0], atol=1e-4):
        return
    v = ops.split_heads(ops.linear(x, **p.value.tree), E)
    collected = shares @ numpy.concatenate([past[1], v], 2)  # (B, H, L, E)
    known = {
        "the heads are merged without swapping axes back: move the axis of heads behind the tokens, then reshape": (
            collected.reshape(context.shape)
        ),
        "k_past stands before the new values: v_past belongs there": ops.merge_heads(
            shares @ numpy.concatenate([past[0], v], 2)
        ),
        "the new values stand before the cached ones: they come after them": ops.merge_heads(
            shares @ numpy.concatenate([v, past[1]], 2)
        ),
        "the new keys stand where the new values belong": ops.merge_heads(
            shares @ numpy.concatenate([past[1], ops.split_heads(ops.linear(x, **p.key.tree), E)], 2)
        ),
    }
    for sentence, wrong in known.items():
        if numpy.allclose(context, wrong, atol=1e-4):
            raise NotYet(sentence)


def attention(
    x: numpy.ndarray,
    past: Any,
    p: Node,
    E: int,
    first: bool = False,
    cached: bool = True,
    corner: bool = True,
    low: bool = True,
    late: bool = False,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The shares and the context of new tokens.

    first: put the new keys and values before the cached ones. cached: if False, leave out what is cached. corner: if
    False, begin the mask in the upper left corner, as without a cache. low: if False, put 0 where the mask hides. late:
    mask the shares, after the softmax.
    """
    q, k, v = (ops.split_heads(ops.linear(x, **part.tree), E) for part in (p.query, p.key, p.value))
    before = [array if cached else 0 * array for array in past[:2]]
    keys, values = (numpy.concatenate([b, a] if first else [a, b], 2) for a, b in zip(before, (k, v), strict=True))
    L, S = q.shape[2], keys.shape[2]
    mask = ops.causal_mask(numpy, L, S) if corner else ops.causal_mask(numpy, S, S)[:L]
    hidden = numpy.float32(-1e30 if low else 0)
    shares = ops.softmax(numpy.where(mask | late, q @ keys.swapaxes(2, 3) / E**0.5, hidden)) * (mask | (not late))
    return shares, ops.merge_heads(shares @ values)


ATTENDING_MISTAKES: dict[str, dict[str, bool]] = {
    "the new keys stand before the cached ones: they come after them": {"first": True},
    "the mask begins in the upper left corner: new token i is token past + i of the text": {"corner": False},
    "hidden scores are 0, of which the softmax makes e⁰ = 1: give them a very low number, such as -1e30": {
        "low": False
    },
    "shares are hidden after the softmax, so that they do not sum to 1: hide the scores before it": {"late": True},
}
"""Likely mistakes that the oracle does not know: the sentence to say, and the change of `attention`."""


# --- exercise 3: a prompt that is read once -------------------------------------------------------------------------


class Counted:
    """A model that counts the tokens that it computes, and calls without any. Copies are the model itself."""

    def __init__(self, model: Model) -> None:
        self.model, self.tokens, self.empty_calls = model, 0, 0

    def __call__(self, input_ids: Any, **inputs: Any) -> Any:
        """Call the model."""
        self.tokens += numpy.size(input_ids)
        self.empty_calls += numpy.size(input_ids) == 0
        return self.model(input_ids, **inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __deepcopy__(self, memo: Any) -> "Counted":
        return self


def scoring(answer: Any) -> str:
    """A function from a prompt and continuations to log probabilities, whose computed tokens are counted."""
    model, prompt = Counted(small()), numpy.array([PROMPT])
    continuations = [numpy.array([ids]) for ids in CONTINUATIONS]
    found = array_of(scores_of(answer, model, prompt, continuations), (len(continuations),), "the list of scores")
    logs = [all_logs(prompt, ids) for ids in continuations]  # (L + N, V) each
    L = prompt.shape[1]

    def summed(shift: int, mean: bool = False, skip: int = 0) -> numpy.ndarray:
        rows = [
            x[L + shift :][range(skip, ids.size), ids[0, skip:]] for x, ids in zip(logs, continuations, strict=True)
        ]
        return numpy.array([row.mean() if mean else row.sum() for row in rows])

    known = {
        "each token is scored by its own logits: the logits of a token predict the next one": summed(0),
        "the first token of each continuation is left out: the last logits of the prompt predict it": summed(
            -1, skip=1
        ),
        "these are means: the sum of the log probabilities is asked for": summed(-1, mean=True),
        "these are probabilities: their logarithms are asked for": numpy.exp(summed(-1)),
        "these are sums of probabilities: take their logarithms first, and then the sum": numpy.array(
            [numpy.exp(x[L - 1 :][range(ids.size), ids[0]]).sum() for x, ids in zip(logs, continuations, strict=True)]
        ),
        "the sign is wrong: the logarithm of a probability is negative": -summed(-1),
        "these are sums of logits: take `ops.log_softmax` of them first": summed_logits(prompt, continuations),
        "only the first token of each continuation is scored: all of its tokens count": numpy.array(
            [x[L - 1, ids[0, 0]] for x, ids in zip(logs, continuations, strict=True)]
        ),
        "a continuation goes on after the one before it: begin each with the cache of the prompt": one_after_the_other(
            prompt, continuations
        ),
        "a continuation is computed with the cache of the one before it: begin each with the prompt's": (
            one_after_the_other(prompt, continuations, first_from_prompt=True)
        ),
        "the positions or the mask of the prompt are lost: give the cache as past_key_values": alone(continuations),
    }
    expect(found, summed(-1), known, "the list of scores")
    judge_count(model.tokens, L, [ids.size for ids in continuations])
    return f"{model.tokens} tokens were computed instead of {sum(L + ids.size for ids in continuations)}"


def scores_of(answer: Any, model: Counted, *given: Any) -> Any:
    """The result of the reader's function. Raises NotYet, with the reason if it computes no tokens."""
    try:
        return result_of(answer, model, *given)
    except NotYet as error:
        if model.empty_calls:
            raise NotYet(
                "a continuation of one token needs no further call: the prompt's last logits predict it"
            ) from error
        raise


def judge_count(tokens: int, prompt: int, sizes: list[int]) -> None:
    """Raise NotYet if this is not the number of tokens that a cache lets one compute."""
    most, least = prompt + sum(sizes), prompt + sum(sizes) - len(sizes)
    if tokens > most:
        raise NotYet(
            f"the scores are right, but {tokens} tokens were computed: with a cache, {most} are enough, or {least} "
            "without the last of each continuation"
        )
    if tokens < least:
        raise NotYet("the scores are right, but not computed with the model that was given")


def all_logs(prompt: numpy.ndarray, ids: numpy.ndarray) -> numpy.ndarray:
    """The log probabilities of all tokens after each token of a text: (L + N, V)."""
    return ops.log_softmax(small()(numpy.concatenate([prompt, ids], 1)).logits[0])


def summed_logits(prompt: numpy.ndarray, continuations: list[numpy.ndarray]) -> numpy.ndarray:
    """The sum of the logits of each continuation's tokens."""
    L, found = prompt.shape[1], []
    for ids in continuations:
        logits = small()(numpy.concatenate([prompt, ids], 1)).logits[0, L - 1 :]
        found.append(logits[range(ids.size), ids[0]].sum())
    return numpy.array(found)


def one_after_the_other(
    prompt: numpy.ndarray, continuations: list[numpy.ndarray], first_from_prompt: bool = False
) -> numpy.ndarray:
    """The scores if each continuation stands after the one before it.

    first_from_prompt: score the first token of each by the last logits of the prompt.
    """
    text, found = prompt, []
    for ids in continuations:
        logs = all_logs(text, ids)[text.size - 1 : -1]  # (N, V): each predicts the next
        if first_from_prompt:
            logs[0] = all_logs(prompt, ids)[prompt.size - 1]
        found.append(logs[range(ids.size), ids[0]].sum())
        text = numpy.concatenate([text, ids], 1)
    return numpy.array(found)


def alone(continuations: list[numpy.ndarray]) -> numpy.ndarray:
    """The scores if the continuations are computed without the prompt, but for the first token."""
    model, prompt, found = small(), numpy.array([PROMPT]), []
    for ids in continuations:
        logits = numpy.concatenate([model(prompt).logits[0, -1:], model(ids).logits[0, :-1]])
        found.append(ops.log_softmax(logits)[range(ids.size), ids[0]].sum())
    return numpy.array(found)


check = Checks(masking, attending, scoring)
"""Judge the answer to an exercise of notebook 10."""
