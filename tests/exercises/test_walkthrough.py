"""The exercises of the first notebook: right answers are right, and each likely mistake gets its sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minroberta
from minroberta import activations, ops
from minroberta.exercises.walkthrough import TEXT, check

MODEL = minroberta.load()
CONFIG = MODEL.config
IDS = MODEL.tokenize(TEXT)["input_ids"]
POSITIONS = np.arange(2, 2 + IDS.size)[None]
ROOT = CONFIG.head_size**0.5
MASK = IDS == CONFIG.vocab_size - 1


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


def changed(array: np.ndarray, value: int) -> np.ndarray:
    """The array with another last number."""
    return np.where(np.arange(array.size) == array.size - 1, value, array)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "exercise 1 is not answered yet"),
        ((IDS[:, ::-1], POSITIONS[:, ::-1]), "right"),
        ((IDS[:, ::-1].tolist(), POSITIONS[:, ::-1].tolist()), "right"),
        (np.stack([IDS[:, ::-1], POSITIONS[:, ::-1]]), "right"),
        ((IDS[:, [1, 0, *range(2, IDS.size)]], POSITIONS[:, [1, 0, *range(2, IDS.size)]]), "right"),
        (IDS[:, ::-1], "not yet: give both, the ids and the positions, each of shape (1, L)"),
        ((IDS[:, ::-1], None), "not yet: give both, the ids and the positions"),
        ((IDS[0, ::-1], POSITIONS[0, ::-1]), f"not yet: the array of ids has shape ({IDS.size},), not (1, {IDS.size})"),
        ((POSITIONS[:, ::-1], IDS[:, ::-1]), "not yet: the two arrays are exchanged: the ids come first"),
        (lambda: None, "not yet: give both, the ids and the positions"),
        (np.array(5), "not yet: give both, the ids and the positions"),
        (([[0, 1], [2]], POSITIONS), "not yet: the array of ids is not an array of numbers: do all its rows have one"),
        ((IDS[:, ::-1].astype(float), POSITIONS[:, ::-1].astype(float)), "right"),
        ((changed(IDS, 7), POSITIONS), "not yet: these are other tokens: reorder those of the sentence"),
        ((IDS, POSITIONS), "not yet: the tokens are in the same order as before"),
        ((IDS[:, ::-1], POSITIONS), "not yet: the positions are in the old order, so that each token has"),
        ((IDS[:, ::-1], POSITIONS[:, ::-1] - 2), "not yet: the positions count from 0: those of RoBERTa begin at 2"),
        ((IDS[:, ::-1], changed(POSITIONS[:, ::-1], 3)), "not yet: the positions must be those of the sentence, 2 to"),
        ((IDS[:, ::-1], np.roll(POSITIONS, 1)), "not yet: the guess has changed: ids and positions must be"),
    ],
)
def test_another_order(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


def layer(x: np.ndarray, p: Any, stop: str = "", **how: Any) -> np.ndarray:
    """A right layer, but for what is said. stop: the value after which to stop."""
    factor, act = how.get("factor", 1), how.get("act", activations.gelu)
    own, eps = p.attention.self, CONFIG.layer_norm_eps
    q, k, v = (
        ops.split_heads(ops.linear(x, **part.tree), CONFIG.head_size) for part in (own.query, own.key, own.value)
    )
    scores = factor * ops.attention_scores(*((k, q) if how.get("swapped") else (q, k)))
    made = {"context": how.get("merge", ops.merge_heads)(how.get("softmax", ops.softmax)(scores) @ v)}
    dense = p.attention.output.dense.tree
    made["attended"] = made["context"] if how.get("no_linear") else ops.linear(made["context"], **dense)
    made["sum"] = how.get("first", 1) * x + made["attended"]
    made["half"] = ops.layer_norm(made["sum"], **p.attention.output.LayerNorm.tree, eps=eps)
    y = made["sum"] if how.get("no_norm") else made["half"]
    made["back"] = ops.linear(act(ops.linear(y, **p.intermediate.dense.tree)), **p.output.dense.tree)
    made["end"] = how.get("second", 1) * how.get("before", made[how["from"]] if "from" in how else y)
    made["end"] = made["end"] + how.get("late", lambda back: back)(made["back"])
    made[""] = ops.layer_norm(made["end"], **how.get("norm", p.output.LayerNorm).tree, eps=eps)
    return made[stop]


def by_einsum(x: np.ndarray, p: Any) -> np.ndarray:
    """Another right layer, in float64, head by head."""

    def norm(x: np.ndarray, n: Any) -> np.ndarray:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * n.weight + n.bias

    x, a = x.astype(float), p.attention
    made = np.zeros_like(x) + a.output.dense.bias
    for h in range(CONFIG.num_attention_heads):
        rows = slice(h * CONFIG.head_size, (h + 1) * CONFIG.head_size)
        q, k, v = (np.einsum("bld,ed->ble", x, part.weight[rows]) + part.bias[rows] for part in (
            a.self.query, a.self.key, a.self.value))  # fmt: skip
        shares = ops.softmax(np.einsum("ble,bse->bls", q, k) / ROOT)
        made += np.einsum("bls,bse,de->bld", shares, v, a.output.dense.weight[:, rows])
    x = norm(x + made, a.output.LayerNorm)
    wide = activations.gelu(x @ p.intermediate.dense.weight.T + p.intermediate.dense.bias)
    return norm(x + wide @ p.output.dense.weight.T + p.output.dense.bias, p.output.LayerNorm)


def of_layer(index: int) -> Callable:
    """A layer that ignores its parameters."""
    return lambda x, p: layer(x, MODEL.p.encoder.layer[index])


def over_queries(scores: np.ndarray) -> np.ndarray:
    return ops.softmax(scores.swapaxes(2, 3)).swapaxes(2, 3)


def unswapped(by_head: np.ndarray) -> np.ndarray:
    return by_head.reshape(by_head.shape[0], by_head.shape[2], -1)


def without_biases(x: np.ndarray, p: Any) -> np.ndarray:
    """Linear maps without their bias."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "linear", lambda x, weight, bias: x @ weight.T)
        return layer(x, p)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (layer, "right"),
        (lambda x, p: layer(x.astype(float), p), "right"),
        (by_einsum, "right"),
        (lambda x, p: by_einsum(x, p).tolist(), "right"),
        (
            lambda x, p: minroberta.layers.encoder_layer(x, p, CONFIG),
            "not yet: your function takes the layer from `layers`",
        ),
        (of_layer(5), "not yet: with the parameters of layer 1 it is still layer 5: take them from p_layer"),
        (of_layer(0), "not yet: with the parameters of layer 5 it is still layer 0: take them from p_layer"),
        (lambda x, p: layer(x, p, stop="context"), "not yet: that is the context"),
        (lambda x, p: layer(x, p, no_norm=True), "not yet: the first norm is missing"),
        (lambda x, p: layer(x, p, no_linear=True), "not yet: the linear map after the context is missing"),
        (lambda x, p: layer(x, p, factor=ROOT / 16), "not yet: the scores are divided by √D"),
        (lambda x, p: layer(x, p, swapped=True), "not yet: queries and keys are exchanged"),
        (lambda x, p: layer(x, p, softmax=over_queries), "not yet: the softmax is over the keys"),
        (lambda x, p: layer(x, p, softmax=lambda scores: scores), "not yet: the softmax is missing"),
        (lambda x, p: layer(x, p, merge=unswapped), "not yet: the heads are not merged by a reshape alone"),
        (lambda x, p: layer(x, p, late=lambda back: 0 * back), "not yet: the feed-forward is missing"),
        (lambda x, p: layer(x, p, late=activations.gelu), "not yet: a gelu is too much"),
        (
            lambda x, p: layer(x, p, **{"from": "sum"}),
            "not yet: the second sum is with the first half's output, not with the sum before its norm",
        ),
        pytest.param(without_biases, "not yet: the first wrong value is encoder.layer.5", marks=pytest.mark.slow),
        (lambda x, p: x @ p.attention.self.query.bias[:7], "not yet: your function raises ValueError in line "),
        (lambda x, p: None, "not yet: your function returns None: is it written, and does it end with return?"),
        (lambda x, p: layer(x, p)[0], "not yet: the result has shape"),
        (lambda x, p: layer(x, p, stop="attended"), "not yet: that is what attention makes: it is to be added to x"),
        (lambda x, p: layer(x, p, stop="sum"), "not yet: that is the sum after attention: it is to be normed"),
        (lambda x, p: layer(x, p, stop="half"), "not yet: that is the first half of the layer: the feed-forward"),
        (lambda x, p: layer(x, p, stop="back"), "not yet: that is what the feed-forward makes: it is to be added"),
        (lambda x, p: layer(x, p, stop="end"), "not yet: that is the sum at the end: its norm is missing"),
        (lambda x, p: layer(x, p, factor=ROOT), "not yet: the scores are not divided by √E, the root of the head size"),
        (lambda x, p: layer(x, p, factor=1 / ROOT), "not yet: the scores are divided by √E twice"),
        (lambda x, p: layer(x, p, act=lambda y: y), "not yet: the gelu between the two linear maps is missing"),
        (lambda x, p: layer(x, p, act=lambda y: np.maximum(y, 0)), "not yet: that is relu between the two linear maps"),
        (lambda x, p: layer(x, p, first=0), "not yet: x is not added to what attention makes"),
        (lambda x, p: layer(x, p, second=0), "not yet: what the feed-forward makes is not added to the first half"),
        (lambda x, p: layer(x, p, before=x), "not yet: the second sum is with the first half's output, not with the x"),
        (
            lambda x, p: layer(x, p, norm=p.attention.output.LayerNorm),
            "not yet: the second norm has weights of its own",
        ),
    ],
)
def test_a_layer(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


@pytest.mark.slow
def test_the_oracle_judges_a_layer(capsys: pytest.CaptureFixture) -> None:
    assert said(2, lambda x, p: 1.01 * layer(x, p), capsys) == "not yet: the first wrong value is encoder.layer.5"


def chance(mask: np.ndarray) -> float:
    first = MODEL(IDS).logits[MASK][0].argmax()
    return float(ops.softmax(MODEL(IDS, head_mask=mask).logits[MASK][0])[first])


def likeliest(i: int, j: int) -> float:
    mask = np.ones((CONFIG.num_hidden_layers, CONFIG.num_attention_heads))
    mask[i, j] = 0
    return float(ops.softmax(MODEL(IDS, head_mask=mask).logits[MASK][0]).max())


def without_layer(i: int, j: int) -> float:
    mask = np.ones((CONFIG.num_hidden_layers, CONFIG.num_attention_heads))
    mask[i] = 0
    return chance(mask)


def without(i: int, j: int) -> float:
    mask = np.ones((CONFIG.num_hidden_layers, CONFIG.num_attention_heads))
    mask[i, j] = 0
    return chance(mask)


def without_everywhere(i: int, j: int) -> float:
    mask = np.ones((CONFIG.num_hidden_layers, CONFIG.num_attention_heads))
    mask[:, j] = 0
    return chance(mask)


def logit(i: int, j: int) -> float:
    mask = np.ones((CONFIG.num_hidden_layers, CONFIG.num_attention_heads))
    mask[i, j] = 0
    return float(MODEL(IDS, head_mask=mask).logits[MASK][0][MODEL(IDS).logits[MASK][0].argmax()])


def only(i: int, j: int) -> float:
    mask = np.zeros((CONFIG.num_hidden_layers, CONFIG.num_attention_heads))
    mask[i, j] = 1
    return chance(mask)


Head = tuple[int, int]


@pytest.fixture(scope="module")
def best() -> Head:
    return min(np.ndindex(CONFIG.num_hidden_layers, CONFIG.num_attention_heads), key=lambda one: without(*one))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda best: (best, without), "right: without head "),
        (lambda best: (np.array(best), without), "right: without head "),
        (lambda best: (best, likeliest), "not yet: that is the likeliest token without the head"),
        (lambda best: (best, without_layer), "not yet: all heads of the layer are switched off"),
        (lambda best: (best, lambda i, j: -np.log(without(i, j))), "not yet: that is the loss"),
        (
            lambda best: (best, lambda i, j: chance(np.ones((6, 8))) - without(i, j)),
            "not yet: that is by how much the guess becomes less likely",
        ),
        (lambda best: best, "not yet: the head is a pair (layer, head) of integers, both counted from 0"),
        (lambda best: without, "not yet: give the pair (layer, head), and your function"),
        (lambda best: ((6, 0), without), "not yet: there is no head 0 in a layer 6: layers are 0 to 5, heads 0 to 7"),
        (lambda best: ((0, -1), without), "not yet: there is no head -1 in a layer 0"),
        (lambda best: (best, lambda i, j: None), "not yet: your function returns None"),
        (lambda best: (best, only), "not yet: only this head is left: 1 keeps a head, and 0 switches it off"),
        (lambda best: (best, lambda i, j: without(j % 6, i)), "not yet: the mask has layers first, then heads"),
        (lambda best: (best, lambda i, j: without(i, j - 1)), "not yet: heads are counted from 0"),
        (lambda best: (best, lambda i, j: without(i - 1, j)), "not yet: layers are counted from 0"),
        (
            lambda best: (best, lambda i, j: chance(np.ones((6, 8)))),
            "not yet: that is how likely the guess is with all",
        ),
        (lambda best: (best, lambda i, j: 0.25), "not yet: without("),
        (lambda best: (best, lambda i, j: 100 * without(i, j)), "not yet: that is a percentage"),
        (lambda best: (best, lambda i, j: np.log(without(i, j))), "not yet: that is the logarithm"),
        (
            lambda best: (best, lambda i, j: without(i, j) - chance(np.ones((6, 8)))),
            "not yet: that is the change of the probability",
        ),
        (lambda best: (best, logit), "not yet: that is the logit: take the softmax"),
        (lambda best: (best, without_everywhere), "not yet: this head of every layer is switched off"),
        (lambda best: (best, lambda i, j: chance(np.zeros((6, 8)))), "not yet: all heads are switched off"),
        (lambda best: (best, lambda i, j: [without(i, j)]), "not yet: without("),
        (lambda best: (best, lambda i, j: 1 // 0), "not yet: your function raises ZeroDivisionError in line "),
        (lambda best: (("a", "b"), without), "not yet: the head is a pair (layer, head) of integers"),
        (lambda best: ((1, [2]), without), "not yet: the head is a pair (layer, head) of integers"),
        (lambda best: ((1, 2, 3), without), "not yet: the head is a pair (layer, head) of integers"),
        (lambda best: ((1.5, 2), without), "not yet: the head is a pair (layer, head) of integers"),
        (lambda best: (list(best), lambda i, j: np.float64(without(i, j))), "right: without head "),
        (lambda best: (((best[0] + 1) % 6, best[1]), without), "not yet: without that head its probability is "),
    ],
)
def test_the_head_that_matters_most(
    answer: Callable[[Head], Any], sentence: str, best: Head, capsys: pytest.CaptureFixture
) -> None:
    assert said(3, answer(best), capsys).startswith(sentence)


def test_a_small_probability_is_not_shown_as_0(best: Head, capsys: pytest.CaptureFixture) -> None:
    assert "0.0%" not in said(3, (best, without), capsys)
