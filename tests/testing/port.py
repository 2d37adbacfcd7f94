"""Another RoBERTa in NumPy, from the papers' formulas alone, as a port might be: slow, plain, in float32.

It imports nothing of minroberta. How it sums is a choice (`Sums`), since a right port may sum in any order; and a
mistake is a subclass that overrides one step. Its values have Hugging Face's names, without the base model's prefix.

Letters as in minroberta: B batch, L queries, S keys, D hidden size, H heads, E head size, F feed-forward size.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
LOWEST = np.finfo(np.float32).min

# --- sums -----------------------------------------------------------------------------------------------------------


def one_by_one(x: Array) -> Array:
    """The sum from first to last, each step rounded to float32."""
    return np.add.accumulate(x, axis=-1)[..., -1]


def backwards(x: Array) -> Array:
    """The sum from last to first."""
    return one_by_one(x[..., ::-1])


def by_halves(x: Array) -> Array:
    """The sum of the halves' sums."""
    if x.shape[-1] == 1:
        return x[..., 0]
    half = x.shape[-1] // 2
    return by_halves(x[..., :half]) + by_halves(x[..., half:])


def in_lanes(x: Array) -> Array:
    """The sum of every fourth number, as a vector unit computes it, and then of the four."""
    return one_by_one(np.stack([one_by_one(x[..., i::4]) for i in range(min(4, x.shape[-1]))], axis=-1))


def in_float64(x: Array) -> Array:
    """The exact sum, rounded once."""
    return x.astype(np.float64).sum(-1).astype(np.float32)


SUMS: dict[str, Callable[[Array], Array]] = {
    "one by one": one_by_one,
    "backwards": backwards,
    "by halves": by_halves,
    "in lanes": in_lanes,
    "in float64": in_float64,
}
"""Orders in which a row of float32 numbers may be summed: (..., N) -> (...)."""

# --- the port -------------------------------------------------------------------------------------------------------

Weight = Callable[[str, tuple[int, ...]], Array]

PRE_NORMS = {
    "roberta-prelayernorm": ("attention.LayerNorm", "intermediate.LayerNorm"),
    "xlm-roberta-xl": ("attention.self_attn_layer_norm", "LayerNorm"),
}
"""Names of the norms before attention and feed-forward."""


@dataclass
class Port:
    """A model in float32. weight: a function of name and shape; total: an order of sums, None for the library's."""

    config: Mapping[str, Any]
    head: str
    weight: Weight
    total: Callable[[Array], Array] | None = None
    shows_scores = False

    def __post_init__(self) -> None:
        self.D, self.H = self.config["hidden_size"], self.config["num_attention_heads"]
        self.E, self.eps = self.D // self.H, self.config["layer_norm_eps"]
        self.type = self.config["model_type"]
        self.values: dict[str, Array] = {}

    def __call__(self, input_ids: Array, **inputs: Any) -> dict[str, Array]:
        """All named values, and the outputs."""
        self.values = {}
        if self.head == "multiple_choice":
            input_ids = input_ids.reshape(-1, input_ids.shape[-1])
            masks = ("attention_mask", "token_type_ids")
            inputs.update({name: inputs[name].reshape(input_ids.shape) for name in masks if name in inputs})
        past = inputs.get("past_key_values")
        x = self.embed(input_ids, inputs.get("token_type_ids"), 0 if past is None else past[0][0].shape[2])
        mask = self.mask(input_ids, inputs.get("attention_mask"), past)
        for index in range(self.config["num_hidden_layers"]):
            x = self.layer(x, index, mask, None if past is None else past[index])
        if self.type == "roberta-prelayernorm":
            x = self.norm("LayerNorm", x)
        if self.type == "xlm-roberta-xl":
            x = self.norm("encoder.LayerNorm", x)
        getattr(self, self.head)(x)
        return self.values

    # --- arithmetic

    def keep(self, name: str, value: Array) -> Array:
        assert value.dtype == np.float32, name
        self.values[name] = value
        return value

    def get(self, name: str, *shape: int) -> Array:
        return self.weight(name, shape).astype(np.float32)

    def sum(self, x: Array) -> Array:
        """The sum over the last axis. (..., N) -> (..., 1)."""
        return (x.sum(-1) if self.total is None else self.total(x))[..., None]

    def product(self, a: Array, b: Array) -> Array:
        """The product a bᵀ: (..., L, N), (..., S, N) -> (..., L, S)."""
        if self.total is None:
            return a @ b.swapaxes(-1, -2)
        return self.total(a[..., :, None, :] * b[..., None, :, :])

    def linear(self, name: str, x: Array, size: int) -> Array:
        """The product with a weight, plus its bias: (..., I) -> (..., size)."""
        rows = x.reshape(-1, x.shape[-1])
        y = self.product(rows, self.get(f"{name}.weight", size, x.shape[-1])) + self.get(f"{name}.bias", size)
        return self.keep(name, y.reshape(*x.shape[:-1], size))

    def norm(self, name: str, x: Array) -> Array:
        """Layer norm: (x - mean) / √(variance + eps) · weight + bias."""
        x = x - self.sum(x) / np.float32(x.shape[-1])
        x = x / self.deviation(x)
        return self.keep(name, x * self.get(f"{name}.weight", self.D) + self.get(f"{name}.bias", self.D))

    def deviation(self, x: Array) -> Array:
        """The divisor of centred rows."""
        return np.sqrt(self.sum(x * x) / np.float32(x.shape[-1]) + np.float32(self.eps))

    def gelu(self, x: Array) -> Array:
        erf = np.vectorize(math.erf)(x.astype(np.float64) / math.sqrt(2)).astype(np.float32)
        return np.float32(0.5) * x * (1 + erf)

    def activation(self, x: Array) -> Array:
        if self.config["hidden_act"] == "gelu":
            return self.gelu(x)
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return np.float32(0.5) * x * (1 + np.tanh(inner))

    # --- embeddings

    def positions(self, ids: Array, past: int) -> Array:
        """Positions counted from pad + 1, not counting padding. (B, L)."""
        pad = self.config["pad_token_id"]
        is_token = (ids != pad).astype(int)
        return (is_token.cumsum(1) + past) * is_token + pad

    def embed(self, ids: Array, types: Array | None, past: int) -> Array:
        def rows(name: str, which: Array, count: int) -> Array:
            return self.keep(f"embeddings.{name}", self.get(f"embeddings.{name}.weight", count, self.D)[which])

        c = self.config
        x = rows("word_embeddings", ids, c["vocab_size"])
        x = x + rows("token_type_embeddings", np.zeros_like(ids) if types is None else types, c["type_vocab_size"])
        if c["position_embedding_type"] == "absolute":
            x = x + rows("position_embeddings", self.positions(ids, past), c["max_position_embeddings"])
        if self.type != "xlm-roberta-xl":
            x = self.norm("embeddings.LayerNorm", x)
        return self.keep("embeddings", x)

    def mask(self, ids: Array, mask: Array | None, past: Any) -> Array:
        """A mask: True if a query sees a key. (B, 1, L, S)."""
        B, L = ids.shape
        S = L + (0 if past is None else past[0][0].shape[2])
        seen = np.ones((B, L, S), bool)
        if mask is not None:
            seen = seen & (mask[:, None, :] if mask.ndim == 2 else mask).astype(bool)
        if self.config["is_decoder"] and (mask is None or mask.ndim == 2):
            seen = seen & self.causal(np.arange(S - L, S)[:, None] - np.arange(S)[None, :])
        return seen[:, None]

    def causal(self, distance: Array) -> Array:
        """True for distances to keys that a query sees."""
        return distance >= 0

    # --- layers

    def layer(self, x: Array, index: int, mask: Array, past: Any) -> Array:
        name = f"encoder.layer.{index}"
        if self.type in PRE_NORMS:
            x = self.pre_norm(name, x, mask, past, *PRE_NORMS[self.type])
        else:
            x = self.norm(f"{name}.attention.output.LayerNorm", x + self.attention(name, x, mask, past))
            x = self.norm(f"{name}.output.LayerNorm", x + self.feed_forward(name, x))
        return self.keep(name, x)

    def pre_norm(self, name: str, x: Array, mask: Array, past: Any, first: str, second: str) -> Array:
        x = self.attention(name, self.norm(f"{name}.{first}", x), mask, past) + self.keep_in(x)
        self.keep(f"{name}.attention.output", x)
        return self.feed_forward(name, self.norm(f"{name}.{second}", x)) + x

    def keep_in(self, x: Array) -> Array:
        """The residual stream's part in the sum around attention."""
        return x

    def attention(self, name: str, x: Array, mask: Array, past: Any) -> Array:
        own = f"{name}.attention.self"
        q, k, v = (self.split(y) for y in self.projections(own, x))
        if past is not None:
            k, v = np.concatenate([past[0], k], 2).astype(np.float32), np.concatenate([past[1], v], 2, dtype=np.float32)
        scores = self.scores(own, q, k)
        probs = self.keep(f"{own}.probs", self.probs(scores, mask))
        if self.shows_scores:
            self.keep(f"{own}.scores", self.masked(scores, mask))
        context = self.product(probs, v.swapaxes(2, 3))  # (B, H, L, E)
        return self.linear(f"{name}.attention.output.dense", self.keep(own, self.merge(context)), self.D)

    def projections(self, own: str, x: Array) -> list[Array]:
        return [self.linear(f"{own}.{part}", x, self.D) for part in ("query", "key", "value")]

    def split(self, x: Array) -> Array:
        """Split heads: (B, L, D) -> (B, H, L, E)."""
        return x.reshape(*x.shape[:2], self.H, self.E).transpose(0, 2, 1, 3)

    def merge(self, x: Array) -> Array:
        """Merge heads: (B, H, L, E) -> (B, L, D)."""
        B, _, L, _ = x.shape
        return x.transpose(0, 2, 1, 3).reshape(B, L, self.D)

    def scores(self, own: str, q: Array, k: Array) -> Array:
        """Scores q kᵀ / √E, with a(l - s) beside k where positions are relative."""
        scores = self.product(q, k)
        if self.config["position_embedding_type"] == "relative_key":
            L, S, P = q.shape[2], k.shape[2], self.config["max_position_embeddings"]
            table = self.get(f"{own}.distance_embedding.weight", 2 * P - 1, self.E)
            distance = self.distance(np.arange(S - L, S)[:, None], np.arange(S)[None, :])
            rows = table[distance + P - 1]  # (L, S, E)
            scores = scores + self.product(q[:, :, :, None], rows)[:, :, :, 0]
        return scores / np.float32(math.sqrt(self.E))

    def distance(self, query: Array, key: Array) -> Array:
        return query - key

    def probs(self, scores: Array, mask: Array) -> Array:
        """Probabilities softmax(scores + mask)."""
        return self.softmax(self.masked(scores, mask))

    def masked(self, scores: Array, mask: Array) -> Array:
        return scores + np.where(mask, np.float32(0), LOWEST)

    def softmax(self, scores: Array) -> Array:
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / self.sum(e)

    def feed_forward(self, name: str, x: Array) -> Array:
        hidden = self.activation(self.linear(f"{name}.intermediate.dense", x, self.config["intermediate_size"]))
        return self.linear(f"{name}.output.dense", self.keep(f"{name}.intermediate", hidden), self.D)

    # --- heads

    def encoder(self, x: Array) -> None:
        self.keep("last_hidden_state", x)
        self.keep("pooler_output", self.pooled(x))

    def pooled(self, x: Array) -> Array:
        return np.tanh(self.linear("pooler.dense", self.first(x), self.D))

    def first(self, x: Array) -> Array:
        """The token that stands for its sequence. (B, L, D) -> (B, D)."""
        return x[:, 0]

    def masked_lm(self, x: Array) -> None:
        x = self.norm("lm_head.layer_norm", self.gelu(self.linear("lm_head.dense", x, self.D)))
        V = self.config["vocab_size"]
        tied = self.config["tie_word_embeddings"]
        table = self.get("embeddings.word_embeddings.weight" if tied else "lm_head.decoder.weight", V, self.D)
        logits = self.product(x.reshape(-1, self.D), table) + self.get("lm_head.bias", V)
        self.keep("logits", logits.reshape(*x.shape[:2], V))

    causal_lm = masked_lm

    def sequence_classification(self, x: Array) -> None:
        hidden = np.tanh(self.linear("classifier.dense", self.first(x), self.D))
        self.keep("logits", self.linear("classifier.out_proj", hidden, self.config["num_labels"]))

    def multiple_choice(self, x: Array) -> None:
        self.keep("logits", self.linear("classifier", self.pooled(x), 1).reshape(-1, len(x) // 2))

    def token_classification(self, x: Array) -> None:
        self.keep("logits", self.linear("classifier", x, self.config["num_labels"]))

    def question_answering(self, x: Array) -> None:
        logits = self.linear("qa_outputs", x, 2)
        self.keep("start_logits", logits[..., 0].copy())
        self.keep("end_logits", logits[..., 1].copy())


# --- right in another way -------------------------------------------------------------------------------------------


class OnePass(Port):
    """The variance as E[x²] - E[x]², which kernels compute in one pass."""

    def norm(self, name: str, x: Array) -> Array:
        N = np.float32(x.shape[-1])
        mean = self.sum(x) / N
        scale = 1 / np.sqrt(self.sum(x * x) / N - mean * mean + np.float32(self.eps))
        weight, bias = self.get(f"{name}.weight", self.D), self.get(f"{name}.bias", self.D)
        return self.keep(name, x * (weight * scale) + (bias - mean * (weight * scale)))


class QueriesScaled(Port):
    """Queries divided by √E before the product, as attention kernels do."""

    def scores(self, own: str, q: Array, k: Array) -> Array:
        if self.config["position_embedding_type"] != "absolute":
            return super().scores(own, q, k)
        return self.product(q * np.float32(1 / math.sqrt(self.E)), k)


class SoftmaxOnTheWay(Port):
    """The softmax key by key, with the largest score so far, as flash attention does."""

    def softmax(self, scores: Array) -> Array:
        largest = np.full((*scores.shape[:-1], 1), -np.inf, np.float32)
        total = np.zeros_like(largest)
        for s in range(scores.shape[-1]):
            new = np.maximum(largest, scores[..., s : s + 1])
            total = total * np.exp(largest - new) + np.exp(scores[..., s : s + 1] - new)
            largest = new
        return np.exp(scores - largest - np.log(total))


class HiddenKeysLeftOut(Port):
    """Masked keys get exactly 0, by a selection instead of a sum."""

    def probs(self, scores: Array, mask: Array) -> Array:
        scores = np.where(mask, scores, LOWEST)
        return self.softmax(scores)


class LowScores(Port):
    """Masked scores are -1e4: a query without a visible key still has equal weights, since all its scores are -1e4."""

    def probs(self, scores: Array, mask: Array) -> Array:
        return self.softmax(np.where(mask, scores, np.float32(-1e4)))


class Fused(Port):
    """Query, key and value in one product."""

    def projections(self, own: str, x: Array) -> list[Array]:
        B, L, D = x.shape
        parts = [self.get(f"{own}.{part}.weight", D, D) for part in self.order]
        biases = [self.get(f"{own}.{part}.bias", D) for part in self.order]
        y = self.product(x.reshape(-1, D), np.concatenate(parts)) + np.concatenate(biases)
        made = self.unfused(y.reshape(B, L, 3 * D))
        return [self.keep(f"{own}.{part}", y) for part, y in zip(("query", "key", "value"), made, strict=True)]

    order = ("query", "key", "value")

    def unfused(self, y: Array) -> list[Array]:
        return np.split(y, 3, axis=-1)


RIGHT = {"one pass": OnePass, "queries scaled": QueriesScaled, "flash": SoftmaxOnTheWay,
         "keys left out": HiddenKeysLeftOut, "low scores": LowScores, "fused": Fused}  # fmt: skip
"""Ports without a mistake."""

# --- mistakes -------------------------------------------------------------------------------------------------------


class MaskAddedAfterSoftmax(Port):
    def probs(self, scores: Array, mask: Array) -> Array:
        return self.softmax(scores) + np.where(mask, np.float32(0), np.float32(-1e4))


class MaskMultipliedAfterSoftmax(Port):
    def probs(self, scores: Array, mask: Array) -> Array:
        return self.softmax(scores) * mask


class MaskMultiplied(Port):
    def probs(self, scores: Array, mask: Array) -> Array:
        return self.softmax(scores * mask)


class Mask1e4(Port):
    def probs(self, scores: Array, mask: Array) -> Array:
        return self.softmax(scores + np.where(mask, np.float32(0), np.float32(-1e4)))


class MaskInf(Port):
    def probs(self, scores: Array, mask: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return self.softmax(np.where(mask, scores, -np.inf).astype(np.float32))


class SoftmaxOverQueries(Port):
    def softmax(self, scores: Array) -> Array:
        return super().softmax(scores.swapaxes(2, 3)).swapaxes(2, 3)


class SoftmaxOverHeads(Port):
    def softmax(self, scores: Array) -> Array:
        return super().softmax(scores.swapaxes(1, 3)).swapaxes(1, 3)


class DistanceSign(Port):
    def distance(self, query: Array, key: Array) -> Array:
        return key - query


class CacheForward(Port):
    def positions(self, ids: Array, past: int) -> Array:
        return super().positions(ids, past + (past > 0))


class CacheBack(Port):
    def positions(self, ids: Array, past: int) -> Array:
        return super().positions(ids, past - (past > 0))


class CausalForward(Port):
    def causal(self, distance: Array) -> Array:
        return distance >= -1


class CausalBack(Port):
    """A query does not see itself, so the first one sees nothing."""

    def causal(self, distance: Array) -> Array:
        return distance >= 1


class HeadsSplitInterleaved(Port):
    def split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self.E, self.H).transpose(0, 3, 1, 2)


class HeadsInterleaved(HeadsSplitInterleaved):
    def merge(self, x: Array) -> Array:
        B, _, L, _ = x.shape
        return x.transpose(0, 2, 3, 1).reshape(B, L, self.D)


class HeadsNotSwapped(Port):
    """(B, L, D) reshaped to (B, H, L, E) at once, and back."""

    def split(self, x: Array) -> Array:
        return x.reshape(len(x), self.H, x.shape[1], self.E)

    def merge(self, x: Array) -> Array:
        return x.reshape(len(x), x.shape[2], self.D)


class HeadsMergedUnswapped(Port):
    """Heads split correctly, and merged without swapping axes."""

    def merge(self, x: Array) -> Array:
        return x.reshape(len(x), x.shape[2], self.D)


class FusedKqv(Fused):
    order = ("key", "query", "value")


class FusedVkq(Fused):
    order = ("value", "key", "query")


class FusedByHead(Fused):
    """A fused weight read as GPT-NeoX stores it, the three of a head together, though it has all queries first."""

    def unfused(self, y: Array) -> list[Array]:
        B, L, _ = y.shape
        by_head = y.reshape(B, L, self.H, 3, self.E)
        return [by_head[..., i, :].reshape(B, L, self.D) for i in range(3)]


class Unbiased(Port):
    def deviation(self, x: Array) -> Array:
        return np.sqrt(self.sum(x * x) / np.float32(x.shape[-1] - 1) + np.float32(self.eps))


class EpsOutside(Port):
    def deviation(self, x: Array) -> Array:
        return np.sqrt(self.sum(x * x) / np.float32(x.shape[-1])) + np.float32(self.eps)


class GeluFloat16(Port):
    def gelu(self, x: Array) -> Array:
        half = x.astype(np.float16)
        erf = np.vectorize(math.erf)(half.astype(np.float64) / math.sqrt(2)).astype(np.float16)
        return (np.float16(0.5) * half * (np.float16(1) + erf)).astype(np.float32)


class LastToken(Port):
    """The last position that is not padding, as in decoders."""

    def __call__(self, input_ids: Array, **inputs: Any) -> dict[str, Array]:
        self.last = (input_ids != self.config["pad_token_id"]).sum(1) - 1
        return super().__call__(input_ids, **inputs)

    def first(self, x: Array) -> Array:
        return x[np.arange(len(x)), self.last]


class KeysAsk(Port):
    """Scores k qᵀ of right queries and keys."""

    def scores(self, own: str, q: Array, k: Array) -> Array:
        return super().scores(own, k, q)


class Cosines(Port):
    """Scores of queries and keys of length 1."""

    def scores(self, own: str, q: Array, k: Array) -> Array:
        q, k = (x / np.sqrt((x * x).sum(-1, keepdims=True)) for x in (q, k))
        return self.product(q, k)


class OneHeadForAll(Port):
    """Every merged head is the first, as if a loop kept its first result."""

    def merge(self, x: Array) -> Array:
        return super().merge(np.repeat(x[:, :1], self.H, axis=1))


class KerasEps(Port):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.eps = 1e-3


class Transposed(Port):
    def get(self, name: str, *shape: int) -> Array:
        weight = super().get(name, *shape)
        return weight.T if weight.ndim == 2 and shape[0] == shape[1] and "embeddings" not in name else weight


class NoResidual(Port):
    def layer(self, x: Array, index: int, mask: Array, past: Any) -> Array:
        name = f"encoder.layer.{index}"
        x = self.norm(f"{name}.attention.output.LayerNorm", self.attention(name, x, mask, past))
        return self.keep(name, self.norm(f"{name}.output.LayerNorm", self.feed_forward(name, x)))


class NoResidualAroundAttention(Port):
    def keep_in(self, x: Array) -> Array:
        return 0 * x


class ScoresShown(Port):
    """Right, with -1e9 for masked keys, and the scores among its values."""

    shows_scores = True

    def masked(self, scores: Array, mask: Array) -> Array:
        return np.where(mask, scores, np.float32(-1e9))


class RawMask(ScoresShown):
    """The mask of 0 and 1 itself is added to the scores."""

    def masked(self, scores: Array, mask: Array) -> Array:
        return scores + mask.astype(np.float32)


class NoMask(ScoresShown):
    def masked(self, scores: Array, mask: Array) -> Array:
        return scores


class MaskInverted(ScoresShown):
    def masked(self, scores: Array, mask: Array) -> Array:
        return super().masked(scores, ~mask)


class MaskFromId0(ScoresShown):
    def mask(self, ids: Array, mask: Array | None, past: Any) -> Array:
        return super().mask(ids, (ids != 0).astype(int), past)


class MaskAsTypes(Port):
    """Called with the mask where the token types belong, and the other way round."""

    def __call__(self, input_ids: Array, **inputs: Any) -> dict[str, Array]:
        mask, types = inputs["attention_mask"], inputs["token_type_ids"]
        return super().__call__(input_ids, attention_mask=types, token_type_ids=mask)


class GgmlGelu(Port):
    """GELU by tanh from a table of float16, as in ggml."""

    def gelu(self, x: Array) -> Array:
        half = x.astype(np.float16).astype(np.float32)
        inner = np.float32(0.79788456080286535587989211986876) * half * (1 + np.float32(0.044715) * half * half)
        return (np.float32(0.5) * half * (1 + np.tanh(inner))).astype(np.float16).astype(np.float32)


class GgmlGeluFrom0(GgmlGelu):
    def positions(self, ids: Array, past: int) -> Array:
        return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)


class GeluWithoutFactor(Port):
    def gelu(self, x: Array) -> Array:
        erf = np.vectorize(math.erf)(x.astype(np.float64) / math.sqrt(2)).astype(np.float32)
        return np.float32(0.5) * (1 + erf)


def one_from_another(part: str, source: str) -> type[Port]:
    """One of the three projections with the weights of another."""

    def projections(self: Port, own: str, x: Array) -> list[Array]:
        made = dict(zip(PROJECTIONS, Port.projections(self, own, x), strict=True))
        made[part] = self.keep(f"{own}.{part}", made[source])
        return list(made.values())

    return type(f"{part}From{source}".title(), (Port,), {"projections": projections})


PROJECTIONS = ("query", "key", "value")


class MaskRowMoved(Port):
    """A vocabulary whose <mask> has id 4; rows of the table in the published order."""

    def get(self, name: str, *shape: int) -> Array:
        x = super().get(name, *shape)
        return np.concatenate([x[:4], x[-1:], x[4:-1]]) if name.endswith("word_embeddings.weight") else x


class RowsShifted(Port):
    def get(self, name: str, *shape: int) -> Array:
        x = super().get(name, *shape)
        return np.roll(x, 1, 0) if name.endswith("word_embeddings.weight") else x


class PositionsInBfloat16(Port):
    """Every sum and product of the positions is rounded to eight bits."""

    def positions(self, ids: Array, past: int) -> Array:
        pad = self.config["pad_token_id"]
        is_token = (ids != pad).astype(int)
        count = is_token.cumsum(1)
        return self.rounded(self.rounded(count) * is_token + pad)

    def rounded(self, count: Array) -> Array:
        bits = count.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(int)


class TanhReplaced(Port):
    def sequence_classification(self, x: Array) -> None:
        hidden = self.instead(self.linear("classifier.dense", self.first(x), self.D))
        self.keep("logits", self.linear("classifier.out_proj", hidden, self.config["num_labels"]))

    def pooled(self, x: Array) -> Array:
        return self.instead(self.linear("pooler.dense", self.first(x), self.D))

    def instead(self, x: Array) -> Array:
        return np.maximum(x, 0)


class TanhByGelu(TanhReplaced):
    def instead(self, x: Array) -> Array:
        return self.gelu(x)


class TanhByGeluTanh(TanhReplaced):
    def instead(self, x: Array) -> Array:
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return np.float32(0.5) * x * (1 + np.tanh(inner))


class NormsApart(Port):
    """Some norms have another eps."""

    eps_of: Callable[[str], bool]
    other_eps: float

    def norm(self, name: str, x: Array) -> Array:
        right, self.eps = self.eps, self.other_eps if type(self).eps_of(name) else self.eps
        y = super().norm(name, x)
        self.eps = right
        return y


NORMS = {
    "in-layers": lambda name: "layer." in name,
    "outside-layers": lambda name: "layer." not in name,
    "but-lm-head": lambda name: "lm_head" not in name,
}


def norms_apart(eps: str, group: str) -> type[Port]:
    facts = {"eps_of": staticmethod(NORMS[group]), "other_eps": float(eps)}
    return type(f"Eps{eps}{group.title().replace('-', '')}", (NormsApart,), facts)


class OneLayer(Port):
    """A mistake in layer 1 alone."""

    def layer(self, x: Array, index: int, mask: Array, past: Any) -> Array:
        self.index = index
        return super().layer(x, index, mask, past)


class TanhGeluInLayer1(OneLayer):
    def gelu(self, x: Array) -> Array:
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return np.float32(0.5) * x * (1 + np.tanh(inner)) if getattr(self, "index", None) == 1 else super().gelu(x)

    def masked_lm(self, x: Array) -> None:
        self.index = None
        super().masked_lm(x)


class ValueBiasMissingInLayer1(Port):
    def get(self, name: str, *shape: int) -> Array:
        x = super().get(name, *shape)
        return 0 * x if name == "encoder.layer.1.attention.self.value.bias" else x


class LayersExchanged(Port):
    def get(self, name: str, *shape: int) -> Array:
        for i, j in ((0, 1), (1, 0)):
            if name.startswith(f"encoder.layer.{i}."):
                return super().get(name.replace(f"layer.{i}", f"layer.{j}"), *shape)
        return super().get(name, *shape)


class HeadsReversed(Port):
    def merge(self, x: Array) -> Array:
        return super().merge(x[:, ::-1])


MISTAKES: tuple[tuple[type[Port], str, tuple[str, ...]], ...] = (
    (MaskAddedAfterSoftmax, "post", ("mask-after-softmax",)),
    (MaskMultipliedAfterSoftmax, "pre", ("mask-after-softmax",)),
    (MaskMultiplied, "encoder", ("mask-multiplied",)),
    (Mask1e4, "blind", ("mask-1e4",)),
    (MaskInf, "blind", ("mask-inf",)),
    (SoftmaxOverQueries, "pre", ("softmax-over-queries",)),
    (SoftmaxOverHeads, "xl", ("softmax-over-heads",)),
    (DistanceSign, "relative", ("distance-sign",)),
    (CacheForward, "cached", ("cache-position-off-by-one",)),
    (CacheBack, "cached", ("cache-position-off-by-one",)),
    (CausalForward, "decoder", ("causal-off-by-one",)),
    (CausalBack, "decoder", ("causal-off-by-one",)),
    (HeadsSplitInterleaved, "post", ("heads-interleaved",)),
    (HeadsInterleaved, "pre", ("heads-interleaved",)),
    (HeadsNotSwapped, "post", ("heads-unswapped",)),
    (HeadsMergedUnswapped, "encoder", ("heads-unswapped",)),
    (FusedKqv, "pre", ("qkv-order-kqv", "query-key-swapped")),
    (FusedVkq, "xl", ("qkv-order-vkq",)),
    (FusedByHead, "post", ("qkv-order-by-head",)),
    (Unbiased, "xl", ("variance-unbiased",)),
    (EpsOutside, "small", ("eps-outside-root",)),
    (GeluFloat16, "post", ("gelu-float16",)),
    (LastToken, "encoder", ("last-token",)),
    (LastToken, "classify", ("last-token",)),
    (KeysAsk, "encoder", ("query-key-swapped",)),
    (KerasEps, "small", ("eps-1e-3",)),
    (Transposed, "post", ("weights-transposed",)),
    (Transposed, "xl", ("weights-transposed",)),
    (NoResidual, "post", ("residual-missing",)),
    (NoResidualAroundAttention, "pre", ("residual-missing",)),
    (RawMask, "three", ("mask-added-raw",)),
    (NoMask, "with-0", ("mask-ignored",)),
    (MaskInverted, "three", ("mask-inverted",)),
    (MaskFromId0, "with-0", ("mask-from-id-0",)),
    (MaskAsTypes, "post", ("mask-as-token-types",)),
    (GgmlGelu, "three", ("gelu-tanh-float16",)),
    (GeluWithoutFactor, "three", ("gelu-without-factor",)),
    *(
        (one_from_another(part, source), "three", (f"{part}-from-{source}",))
        for part, source in itertools.permutations(PROJECTIONS, 2)
    ),
    (MaskRowMoved, "three", ("mask-row-moved",)),
    (RowsShifted, "three", ("rows-shifted-words",)),
    (PositionsInBfloat16, "long", ("positions-in-bfloat16",)),
    (TanhReplaced, "classify", ("classifier-relu",)),
    (TanhByGelu, "classify", ("classifier-gelu",)),
    (TanhByGeluTanh, "classify", ("classifier-gelu-tanh",)),
    (TanhReplaced, "encoder", ("pooler-relu",)),
    (TanhByGelu, "encoder", ("pooler-gelu",)),
    (TanhByGeluTanh, "encoder", ("pooler-gelu-tanh",)),
    *((norms_apart("1e-3", group), "small", (f"eps-1e-3-{group}",)) for group in NORMS),
    (norms_apart("1e-12", "but-lm-head"), "small", ("eps-1e-12-but-lm-head",)),
    (TanhGeluInLayer1, "three", ("gelu-tanh",)),
    (ValueBiasMissingInLayer1, "three", ("bias-missing-value",)),
    (LayersExchanged, "three", ("layers-reordered",)),
    (HeadsReversed, "three", ("heads-reordered",)),
)
"""Each with its setting of `mistake_cases.py`, and the names that it may be given."""


class ValuesOfTheHeadBefore(Port):
    """The last head has its own probabilities, but the values of the head before it."""

    def attention(self, name: str, x: Array, mask: Array, past: Any) -> Array:
        self.parts = iter(PROJECTIONS)
        return super().attention(name, x, mask, past)

    def split(self, x: Array) -> Array:
        heads = super().split(x)
        return np.concatenate([heads[:, :-1], heads[:, -2:-1]], 1) if next(self.parts) == "value" else heads


STRANGERS: tuple[tuple[type[Port], str, str], ...] = (
    (Cosines, "post", "encoder.layer.0.attention.self.probs"),
    (OneHeadForAll, "pre", "encoder.layer.0.attention.self"),
    (ValuesOfTheHeadBefore, "post", "encoder.layer.0.attention.self"),
    (ValuesOfTheHeadBefore, "single", "encoder.layer.0.attention.self"),
)
"""Mistakes that are not in the catalogue, each with its setting and the first value whose own step is wrong."""
