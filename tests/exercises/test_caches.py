"""The checks of notebook 10: right answers are right, and each likely mistake gets its sentence."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minroberta import ops
from minroberta.exercises.caches import attention, check


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_silence_and_a_forgotten_return(number: int, capsys: pytest.CaptureFixture) -> None:
    assert said(number, None, capsys) == f"exercise {number} is not answered yet"
    assert said(number, lambda *given: None, capsys).startswith("not yet: your function returns None")
    assert said(number, 7, capsys) == "not yet: a function is asked for, not int"


# --- exercise 1 -----------------------------------------------------------------------------------------------------


def causal_mask(new: int, past: int, diagonal: int = 0) -> np.ndarray:
    return np.tril(np.ones((new, past + new), bool), past + diagonal)


@pytest.mark.parametrize(
    "answer",
    [
        causal_mask,
        lambda new, past: causal_mask(new, past).astype(int),
        lambda new, past: causal_mask(new, past).tolist(),
    ],
)
def test_a_mask(answer: Callable, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith("right: each new token reads all that is cached")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda new, past: causal_mask(new, past, -1), "tokens do not read themselves"),
        (lambda new, past: causal_mask(new, past, 1), "a token reads the one after it as well"),
        (lambda new, past: ~causal_mask(new, past), "True and False are exchanged"),
        (lambda new, past: ~causal_mask(new, past, -1), "rows and columns are exchanged"),
        (lambda new, past: np.ones((new, past + new), bool), "nothing is hidden"),
        (lambda new, past: causal_mask(new, past, -past), "the cached tokens are forgotten"),
        (lambda new, past: causal_mask(new, 0), "for 1 new tokens after 3, the mask lacks the cached tokens"),
        (lambda new, past: causal_mask(past + new, 0), "for 1 new tokens after 3, the mask has rows for cached"),
        (lambda new, past: causal_mask(new, past).T, "rows and columns are exchanged"),
        (
            lambda new, past: np.where(causal_mask(new, past), 0, -np.inf),
            "booleans are asked for",
        ),
        (lambda new, past: np.where(causal_mask(new, past), 0, -1e9), "booleans are asked for"),
        (lambda new, past: causal_mask(new, past)[::-1], "the rows are in reverse order"),
        (
            lambda new, past: causal_mask(new, past) & (np.arange(new)[:, None] > 1),
            "for 4 new tokens after 0, the mask is",
        ),
        (lambda new, past: np.arange(past + new)[None] < past + np.zeros((new, 1)), "all new tokens read the cached"),
        (
            lambda new, past: [[True] * i for i in range(new)],
            "for 4 new tokens after 0, the mask is not an array of num",
        ),
        (lambda new, past: causal_mask(new, 0).tolist(), "for 1 new tokens after 3, the mask lacks the cached tokens"),
        (lambda new, past: new / past, "your function raises ZeroDivisionError"),
        (lambda new, past: causal_mask(new, past) & (np.arange(past + new) >= past), "the cached tokens are hidden"),
    ],
)
def test_mistakes_of_masks(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(f"not yet: {sentence}")


# --- exercise 2 -----------------------------------------------------------------------------------------------------

Shares = tuple[np.ndarray, np.ndarray]


def attend(
    x: np.ndarray,
    k_past: np.ndarray,
    v_past: np.ndarray,
    p: Any,
    E: int,
    scale: float = 0.5,
    diagonal: int = 0,
    hidden: float = -1e30,
    values: bool = True,
) -> Shares:
    q, k, v = (ops.split_heads(ops.linear(x, **part.tree), E) for part in (p.query, p.key, p.value))
    k = np.concatenate([k_past, k], axis=2)
    v = np.concatenate([v_past if values else k_past, v], axis=2)
    scores = q @ k.swapaxes(2, 3) / E**scale
    mask = causal_mask(x.shape[1], k_past.shape[2], diagonal)
    shares = ops.softmax(np.where(mask, scores, np.float32(hidden)))
    return shares, ops.merge_heads(shares @ v)


def with_(**changes: Any) -> Callable:
    return functools.partial(attend, **changes)


def wrong(**changes: bool) -> Callable:
    return lambda x, k, v, p, E: attention(x, (k, v), p, E, **changes)


def without_the_past(x: np.ndarray, k: np.ndarray, v: np.ndarray, p: Any, E: int) -> Shares:
    return attend(x, k[:, :, :0], v[:, :, :0], p, E)


def split(context: np.ndarray) -> np.ndarray:
    return ops.split_heads(context, 8)


def of_values(x: np.ndarray, k: np.ndarray, v: np.ndarray, p: Any, E: int, first: bool) -> Shares:
    """Right shares, of new values before the cached ones or of new keys after them."""
    shares = attend(x, k, v, p, E)[0]
    new = ops.split_heads(ops.linear(x, **(p.value if first else p.key).tree), E)
    return shares, ops.merge_heads(shares @ np.concatenate([new, v] if first else [v, new], axis=2))


def with_einsum(x: np.ndarray, k_past: np.ndarray, v_past: np.ndarray, p: Any, E: int) -> list[list]:
    """Another right answer, head by head in float64, as lists."""
    shares, contexts = [], []
    for h in range(k_past.shape[1]):
        part = slice(h * E, (h + 1) * E)
        q, k, v = (x @ y.weight[part].T.astype(float) + y.bias[part] for y in (p.query, p.key, p.value))
        k, v = np.concatenate([k_past[:, h], k], 1), np.concatenate([v_past[:, h], v], 1)
        scores = np.einsum("bie,bje->bij", q, k) / np.sqrt(E)
        powers = np.exp(scores) * causal_mask(x.shape[1], k_past.shape[2])
        shares.append(powers / powers.sum(-1, keepdims=True))
        contexts.append(shares[-1] @ v)
    return [np.stack(shares, 1).tolist(), np.concatenate(contexts, -1).tolist()]


def unmerged(*given: Any) -> Shares:
    shares, context = attend(*given)
    B, L, D = context.shape
    return shares, context.reshape(B, L, 2, D // 2).swapaxes(1, 2).reshape(B, L, D)


def hidden_late(*given: Any) -> Shares:
    shares, context = attend(*given, diagonal=9)
    L, S = shares.shape[2:]
    return shares * causal_mask(L, S - L), context


@pytest.mark.parametrize("answer", [attend, with_(hidden=-np.inf), wrong(), with_einsum])
def test_attention_with_a_cache(answer: Callable, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys) == "right: the oracle agrees with both"


SELF = "the first wrong value is encoder.layer.0.attention.self"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (wrong(first=True), "the new keys stand before the cached ones"),
        (wrong(corner=False), "the mask begins in the upper left corner"),
        (with_(scale=0), f"{SELF}.probs. It looks like the known mistake scores-unscaled"),
        (with_(diagonal=9), f"{SELF}.probs. It looks like the known mistake causal-missing"),
        (with_(diagonal=1), f"{SELF}.probs. It looks like the known mistake causal-off-by-one"),
        (with_(diagonal=-1), f"{SELF}.probs. It looks like the known mistake causal-off-by-one"),
        (with_(values=False), "k_past stands before the new values"),
        (with_(hidden=0), "hidden scores are 0"),
        (hidden_late, "shares are hidden after the softmax"),
        (wrong(cached=False), f"{SELF}.probs"),
        (unmerged, "the heads are merged without swapping axes back"),
        (lambda *given: (attend(*given)[0], 2 * attend(*given)[1]), SELF),
        (without_the_past, "the cache is forgotten: 3 new tokens read 9"),
        (lambda *given: (attend(*given)[0], split(attend(*given)[1])), "the context is still split into heads"),
        (lambda *given: (attend(*given)[0].mean(1), attend(*given)[1]), "the shares are of one head"),
        (lambda *given: (np.zeros((2, 2, 9, 9)), attend(*given)[1]), "cached tokens have no queries any more"),
        (lambda *given: (attend(*given)[0][..., 1:], attend(*given)[1]), "the array of shares has shape (2, 2, 3, 8)"),
        (lambda *given: ([[1], [1, 2]], attend(*given)[1]), "the array of shares is not an array of numbers"),
        (lambda x, k, v, p, E: attention(x, (k, v[:, :, ::-1]), p, E), SELF),
        (lambda x, k, v, p, E: of_values(x, k, v, p, E, first=True), "the new values stand before the cached ones"),
        (lambda x, k, v, p, E: of_values(x, k, v, p, E, first=False), "the new keys stand where the new values"),
        (lambda x, k, v, p, E: attend(x, k, v, p, E + 1), "your function raises "),
        (lambda *given: attend(*given)[1], "two arrays are asked for, the shares and the context, not ndarray"),
        (lambda *given: (split(attend(*given)[1]), attend(*given)[0]), "the array of shares has shape"),
        (lambda *given: attend(*given)[::-1], "return the shares first, and then the context"),
    ],
)
def test_mistakes_of_attention(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(f"not yet: {sentence}")


# --- exercise 3 -----------------------------------------------------------------------------------------------------


def scores(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> list[float]:
    first = model(prompt)
    found = []
    for ids in continuations:
        then = model(ids, past_key_values=first.past_key_values)
        logits = np.concatenate([first.logits[0, -1:], then.logits[0, :-1]])
        found.append(float(ops.log_softmax(logits)[range(ids.shape[1]), ids[0]].sum()))
    return found


def without_the_last_tokens(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> np.ndarray:
    """Another right way, which does not compute the last token of a continuation."""
    first = model(prompt)
    found = []
    for ids in continuations:
        logits = first.logits[0, -1:]
        if ids.size > 1:
            logits = np.concatenate([logits, model(ids[:, :-1], past_key_values=first.past_key_values).logits[0]])
        found.append(ops.log_softmax(logits)[range(ids.size), ids[0]].sum())
    return np.array(found)


def with_an_empty_call(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> list[float]:
    """The last token of a continuation is left out, but the model is called without tokens if that was all."""
    first, found = model(prompt), []
    for ids in continuations:
        then = model(ids[:, :-1], past_key_values=first.past_key_values)
        logits = np.concatenate([first.logits[0, -1:], then.logits[0]])
        found.append(float(ops.log_softmax(logits)[range(ids.size), ids[0]].sum()))
    return found


def by_text(
    model: Any,
    prompt: np.ndarray,
    continuations: list[np.ndarray],
    shift: int = -1,
    skip: int = 0,
    of: Callable = ops.log_softmax,
    total: Callable = np.sum,
) -> list[float]:
    """The scores of whole texts, computed anew for each."""
    found, start = [], prompt.size + shift
    for ids in continuations:
        rows = of(model(np.concatenate([prompt, ids], axis=1)).logits[0, start:])
        found.append(float(total(rows[range(skip, ids.size), ids[0, skip:]])))
    return found


def without_the_cache(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> list[float]:
    first = model(prompt).logits[0, -1:]
    rows = [np.concatenate([first, model(ids).logits[0, :-1]]) for ids in continuations]
    return [float(ops.log_softmax(x)[range(y.size), y[0]].sum()) for x, y in zip(rows, continuations, strict=True)]


def one_after_the_other(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> list[float]:
    """Each continuation on top of the one before it."""
    output, found = model(prompt), []
    for ids in continuations:
        then = model(ids, past_key_values=output.past_key_values)
        logits = np.concatenate([output.logits[0, -1:], then.logits[0, :-1]])
        found.append(float(ops.log_softmax(logits)[range(ids.size), ids[0]].sum()))
        output = then
    return found


def with_the_cache_of_the_last(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> list[float]:
    """Each continuation with the cache of the one before it, but its first token scored by the prompt."""
    first, found = model(prompt), []
    cache = first.past_key_values
    for ids in continuations:
        then = model(ids, past_key_values=cache)
        cache = then.past_key_values
        logits = np.concatenate([first.logits[0, -1:], then.logits[0, :-1]])
        found.append(float(ops.log_softmax(logits)[range(ids.size), ids[0]].sum()))
    return found


def of_first_tokens(model: Any, prompt: np.ndarray, continuations: list[np.ndarray]) -> list[float]:
    logs = ops.log_softmax(model(prompt).logits[0, -1])
    return [float(logs[ids[0, 0]]) for ids in continuations]


def of_another_model(model: Any, *given: Any) -> list[float]:
    return scores(model.model, *given)


def in_probabilities(*given: Any) -> np.ndarray:
    return np.exp(scores(*given))


def of_the_other_sign(*given: Any) -> np.ndarray:
    return -np.array(scores(*given))


@pytest.mark.parametrize(("answer", "tokens"), [(scores, 12), (without_the_last_tokens, 9)])
def test_scores(answer: Callable, tokens: int, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys) == f"right: {tokens} tokens were computed instead of 24"


def with_text(**changes: Any) -> Callable:
    return functools.partial(by_text, **changes)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (by_text, "the scores are right, but 24 tokens were computed: with a cache, 12 are enough, or 9 without"),
        (with_an_empty_call, "a continuation of one token needs no further call"),
        (lambda model, *given: model([[99]]), "your function raises InputError"),
        (with_text(shift=0), "each token is scored by its own logits"),
        (with_text(skip=1), "the first token of each continuation is left out"),
        (with_text(total=np.mean), "these are means"),
        (with_text(of=lambda logits: logits), "these are sums of logits"),
        (in_probabilities, "these are probabilities"),
        (of_the_other_sign, "the sign is wrong"),
        (without_the_cache, "the positions or the mask of the prompt are lost"),
        (of_another_model, "the scores are right, but not computed with the model that was given"),
        (one_after_the_other, "a continuation goes on after the one before it"),
        (with_the_cache_of_the_last, "a continuation is computed with the cache of the one before it"),
        (of_first_tokens, "only the first token of each continuation is scored"),
        (with_text(of=ops.softmax), "these are sums of probabilities"),
        (lambda *given: [2 * score for score in scores(*given)], "the list of scores is "),
        (with_text(shift=-2), "the list of scores is "),
        (lambda *given: scores(*given)[0], "the list of scores has shape (), not (3,)"),
    ],
)
def test_mistakes_of_scores(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(f"not yet: {sentence}")
