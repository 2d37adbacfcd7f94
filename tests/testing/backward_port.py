"""The backward pass of `port.Port`, as another port might have it: plain, in float32 or float64, from Jacobians.

It imports nothing of minroberta. A mistake is a subclass that overrides one step, as in `port`. Gradients have the
names of the parameters and of the values that they belong to.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from port import PRE_NORMS, Array, Port

Found = dict[str, Array]


class BackwardPort(Port):
    """A model whose `gradients` gives ∂loss / ∂parameter, and ∂loss / ∂value in `flow`."""

    dtype: Any = np.float32

    # --- the forward pass, in either dtype

    def keep(self, name: str, value: Array) -> Array:
        assert value.dtype == self.dtype, name
        self.values[name] = value
        return value

    def get(self, name: str, *shape: int) -> Array:
        return self.weight(name, shape).astype(self.dtype)

    def linear(self, name: str, x: Array, size: int) -> Array:
        self.inputs_of[name] = x
        return super().linear(name, x, size)

    def norm(self, name: str, x: Array) -> Array:
        self.inputs_of[name] = x
        return super().norm(name, x)

    def deviation(self, x: Array) -> Array:
        return np.sqrt((x * x).mean(-1, keepdims=True) + self.dtype(self.eps))

    def gelu(self, x: Array) -> Array:
        return (x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2).astype(self.dtype)

    def activation(self, x: Array) -> Array:
        if self.config["hidden_act"] == "gelu":
            return self.gelu(x)
        return (x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))).astype(self.dtype)

    def scores(self, own: str, q: Array, k: Array) -> Array:
        return self.product(q, k) / self.dtype(math.sqrt(self.E))

    # --- the whole

    def gradients(self, input_ids: Array, labels: Any = None, **inputs: Any) -> Found:
        """The gradients of the parameters. labels: for question answering a pair of starts and ends."""
        self.found: Found = {}
        self.flow: Found = {}
        self.inputs_of: Found = {}
        self.ids = input_ids.reshape(-1, input_ids.shape[-1])
        self.types = inputs.get("token_type_ids", np.zeros_like(input_ids)).reshape(self.ids.shape)
        mask = inputs.get("attention_mask")
        self.seen = None if mask is None else mask.reshape(self.ids.shape)
        self(input_ids, **inputs)
        g = getattr(self, f"{self.head}_back")(labels)
        if self.type in PRE_NORMS:
            g = self.norm_back("LayerNorm" if self.type == "roberta-prelayernorm" else "encoder.LayerNorm", g)
        for index in reversed(range(self.config["num_hidden_layers"])):
            g = self.layer_back(f"encoder.layer.{index}", g)
        self.embed_back(g)
        return self.found

    def add(self, name: str, g: Array) -> None:
        self.found[name] = self.found[name] + g if name in self.found else g

    def passed(self, name: str, g: Array) -> Array:
        self.flow[name] = g
        return g

    # --- modules

    def linear_back(self, name: str, g: Array) -> Array:
        x = self.inputs_of[name]
        g = self.passed(name, g.astype(self.dtype))
        W = self.get(f"{name}.weight", g.shape[-1], x.shape[-1])
        self.add(f"{name}.weight", self.of_weight(name, g, x))
        self.add(f"{name}.bias", self.of_bias(g))
        return self.through(name, g, W)

    def of_weight(self, name: str, g: Array, x: Array) -> Array:
        """∂W. (..., O), (..., I) -> (O, I)."""
        return np.tensordot(g, x, axes=[range(g.ndim - 1)] * 2)

    def of_bias(self, g: Array) -> Array:
        return g.sum(tuple(range(g.ndim - 1)))

    def through(self, name: str, g: Array, W: Array) -> Array:
        return np.einsum("...o,oi->...i", g, W)

    mean_term = variance_term = 1
    unscaled = False
    back_eps: float | None = None

    def norm_back(self, name: str, g: Array) -> Array:
        """The Jacobian of z, (I - 11ᵀ/D - zzᵀ/D) / s, is symmetric."""
        x, g, D = self.inputs_of[name], self.passed(name, g), self.D
        w = self.get(f"{name}.weight", D)
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        s = np.sqrt(variance + self.dtype(self.eps if self.back_eps is None else self.back_eps))
        z = centred / s
        ones = self.mean_term * np.ones((D, D), self.dtype) / D
        outer = self.variance_term * z[..., :, None] * z[..., None, :] / D
        jacobian = (np.eye(D, dtype=self.dtype) - ones - outer) / (1 if self.unscaled else s[..., None])
        self.add(f"{name}.weight", self.of_norm(g, z, x, centred))
        self.add(f"{name}.bias", g.sum((0, 1)))
        return np.einsum("...ij,...j->...i", jacobian, self.weighted(g, w))

    def of_norm(self, g: Array, z: Array, x: Array, centred: Array) -> Array:
        return (g * z).sum((0, 1))

    def weighted(self, g: Array, w: Array) -> Array:
        return g * w

    # --- layers

    def layer_back(self, name: str, g: Array) -> Array:
        """Feed-forward, then attention."""
        self.passed(name, g)
        if self.type in PRE_NORMS:
            first, second = PRE_NORMS[self.type]
            block = self.norm_back(f"{name}.{second}", self.feed_forward_back(name, g))
            g = self.passed(f"{name}.attention.output", self.around("feed-forward", g, block))
            return self.around("attention", g, self.norm_back(f"{name}.{first}", self.attention_back(name, g)))
        g = self.passed(f"{name}.output.sum", self.norm_back(f"{name}.output.LayerNorm", g))
        g = self.passed(f"{name}.attention", self.around("feed-forward", g, self.feed_forward_back(name, g)))
        norm = f"{name}.attention.output.LayerNorm"
        g = self.passed(f"{name}.attention.output.sum", self.norm_back(norm, g))
        return self.around("attention", g, self.attention_back(name, g))

    def around(self, block: str, g: Array, through: Array) -> Array:
        """A residual sum's gradient."""
        return g + through

    def feed_forward_back(self, name: str, g: Array) -> Array:
        g = self.passed(f"{name}.intermediate", self.linear_back(f"{name}.output.dense", g))
        return self.linear_back(f"{name}.intermediate.dense", g * self.slope(self.values[f"{name}.intermediate.dense"]))

    def slope(self, u: Array) -> Array:
        return erf_slope(u) if self.config["hidden_act"] == "gelu" else tanh_approximation_slope(u)

    def attention_back(self, name: str, g: Array) -> Array:
        own = f"{name}.attention.self"
        q, k, v = (self.split(self.values[f"{own}.{part}"]) for part in ("query", "key", "value"))
        g = self.split(self.passed(own, self.linear_back(f"{name}.attention.output.dense", g)))
        for_scores, for_values = self.probs_again(self.values[f"{own}.probs"], q, k)
        gp = self.passed(f"{own}.probs", np.einsum("bhle,bhse->bhls", g, v))
        gs = self.passed(f"{own}.scores", self.softmax_back(gp, for_scores))
        root_q, root_k = self.roots()
        gv = self.of_values(for_values, g)
        gq = np.einsum("bhls,bhse->bhle", gs, k) / root_q
        gk = self.of_keys(gs, q) / root_k
        parts = {"query": gq, "key": gk, "value": gv}
        return self.joined({part: self.linear_back(f"{own}.{part}", self.merge(g)) for part, g in parts.items()})

    def probs_again(self, probs: Array, q: Array, k: Array) -> tuple[Array, Array]:
        """The probabilities for the backward pass of the softmax, and for the values."""
        return probs, probs

    row_term = 1

    def softmax_back(self, g: Array, p: Array) -> Array:
        """The Jacobian is diag(p) - ppᵀ."""
        jacobian = p[..., :, None] * np.eye(p.shape[-1], dtype=self.dtype)
        jacobian = jacobian - self.row_term * p[..., :, None] * p[..., None, :]
        return np.einsum("...ij,...j->...i", jacobian, g)

    def roots(self) -> tuple[Any, Any]:
        """What ∂q and ∂k are divided by."""
        return (self.dtype(math.sqrt(self.E)),) * 2

    def of_values(self, p: Array, g: Array) -> Array:
        return np.einsum("bhls,bhle->bhse", p, g)

    def of_keys(self, gs: Array, q: Array) -> Array:
        return np.einsum("bhls,bhle->bhse", gs, q)

    def joined(self, parts: Found) -> Array:
        return parts["query"] + parts["key"] + parts["value"]

    # --- embeddings

    def embed_back(self, g: Array) -> None:
        self.passed("embeddings", g)
        if self.type != "xlm-roberta-xl":
            g = self.passed("embeddings.sum", self.norm_back("embeddings.LayerNorm", g))
        c = self.config
        self.add("embeddings.token_type_embeddings.weight", self.scattered(self.types, g, c["type_vocab_size"]))
        positions = self.scattered(self.positions(self.ids, 0), g, c["max_position_embeddings"])
        self.add("embeddings.position_embeddings.weight", self.without_padding(positions))
        words = self.without_padding(self.scattered(self.ids, g, c["vocab_size"]))
        self.found[WORDS] = self.tied(self.found.get(WORDS, np.zeros_like(words)), words)

    def scattered(self, ids: Array, g: Array, count: int) -> Array:
        """The sum of g over equal ids, as a product with a one-hot matrix. (B, L, D) -> (count, D)."""
        one_hot = (np.arange(count)[:, None] == ids.reshape(-1)).astype(self.dtype)  # (count, B·L)
        return one_hot @ g.reshape(-1, self.D)

    def without_padding(self, table: Array) -> Array:
        return table * (np.arange(len(table)) != self.config["pad_token_id"])[:, None]

    def tied(self, decoder: Array, lookup: Array) -> Array:
        return decoder + lookup

    # --- heads and losses: from the labels to the last hidden state's gradient

    def entropy_back(self, logits: Array, labels: Array, ignored: int = -100) -> Array:
        """Softmax minus one-hot for each label that counts, weighted. (..., N) -> (..., N)."""
        g = np.zeros_like(logits)
        weights = self.label_weights(labels, ignored)
        for place in np.ndindex(labels.shape):
            if weights[place]:
                e = np.exp(logits[place] - logits[place].max())
                g[place] = e / e.sum() - (np.arange(len(e)) == labels[place])
                g[place] *= weights[place]
        return g

    def label_weights(self, labels: Array, ignored: int) -> Array:
        counts = labels != ignored
        return counts / counts.sum()

    def masked_lm_back(self, labels: Array) -> Array:
        g = self.passed("logits", self.entropy_back(self.values["logits"], labels))
        hidden, V = self.values["lm_head.layer_norm"], self.config["vocab_size"]
        self.add("lm_head.bias", self.of_bias(g))
        self.add(WORDS, self.of_weight(WORDS, g, hidden))
        g = self.norm_back("lm_head.layer_norm", g @ self.get(WORDS, V, self.D))
        g = self.passed("lm_head.gelu", g)
        return self.linear_back("lm_head.dense", g * self.head_slope(self.values["lm_head.dense"]))

    def head_slope(self, u: Array) -> Array:
        return erf_slope(u)

    def first_back(self, name: str, g: Array, y: Array) -> Array:
        """Through y = tanh(u) of a linear layer of the first token. (B, D) -> (B, L, D)."""
        first = self.linear_back(name, g * self.tanh_slope(self.values[name], y))
        g = np.zeros((*self.ids.shape, self.D), self.dtype)
        g[:, 0] = first
        return g

    def tanh_slope(self, u: Array, y: Array) -> Array:
        return 1 - y * y

    def sequence_classification_back(self, labels: Array) -> Array:
        logits = self.values["logits"]
        if labels.ndim == 2:
            g = self.flags_back(logits, labels)
        elif logits.shape[-1] == 1:
            g = self.regression_back(logits, labels)
        else:
            g = self.entropy_back(logits, labels)
        g = self.linear_back("classifier.out_proj", self.passed("logits", g))
        return self.first_back("classifier.dense", g, self.inputs_of["classifier.out_proj"])

    def regression_back(self, predictions: Array, labels: Array) -> Array:
        return (2 * (predictions - labels[:, None]) / len(labels)).astype(self.dtype)

    def flags_back(self, logits: Array, labels: Array) -> Array:
        return ((1 / (1 + np.exp(-logits)) - labels) / labels.size).astype(self.dtype)

    def multiple_choice_back(self, labels: Array) -> Array:
        g = self.passed("logits", self.entropy_back(self.values["logits"], labels))
        g = self.linear_back("classifier", g.reshape(-1, 1))
        return self.first_back("pooler.dense", self.passed("pooler", g), self.inputs_of["classifier"])

    def multiple_choice(self, x: Array) -> None:
        logits = self.linear("classifier", self.pooled(x), 1)
        self.keep("logits", logits.reshape(1, -1))

    def token_classification_back(self, labels: Array) -> Array:
        return self.linear_back("classifier", self.passed("logits", self.entropy_back(self.values["logits"], labels)))

    half: Any = 0.5

    def question_answering_back(self, places: Any) -> Array:
        L = self.ids.shape[1]
        sides = zip(("start_logits", "end_logits"), places, strict=True)
        parts = [self.half * self.entropy_back(self.values[name], place, L) for name, place in sides]
        return self.linear_back("qa_outputs", np.stack(parts, axis=-1))


WORDS = "embeddings.word_embeddings.weight"


def erf_slope(u: Array) -> Array:
    u = u.astype(float)
    return np.vectorize(math.erfc)(-u / math.sqrt(2)) / 2 + u * np.exp(-u * u / 2) / math.sqrt(2 * math.pi)


def tanh_approximation_slope(u: Array) -> Array:
    """The slope of u·σ(2v), v = √(2/π)·(u + 0.044715 u³)."""
    u = u.astype(float)
    a, b = 2 * math.sqrt(2 / math.pi), 0.044715
    s = 1 / (1 + np.exp(-a * (u + b * u**3)))
    return s + u * s * (1 - s) * a * (1 + 3 * b * u * u)


# --- mistakes -------------------------------------------------------------------------------------------------------


def but(**steps: Any) -> type[BackwardPort]:
    """A port in which these steps are wrong."""
    return type("Wrong", (BackwardPort,), steps)


def _over_channels(self: Any, g: Array) -> Array:
    return g.reshape(-1, g.shape[-1]).sum(1)


def _averaged(self: Any, g: Array) -> Array:
    return g.mean(tuple(range(g.ndim - 1)))


def _weight_of_last(self: Any, name: str, g: Array, x: Array) -> Array:
    return BackwardPort.of_weight(self, name, g[-1:], x[-1:])


def _bias_of_last(self: Any, g: Array) -> Array:
    return BackwardPort.of_bias(self, g[-1:])


def _turned(part: str) -> Callable[..., Array]:
    """The transposed gradient of a square weight."""

    def of_weight(self: Any, name: str, g: Array, x: Array) -> Array:
        W = BackwardPort.of_weight(self, name, g, x)
        return W.T if W.shape[0] == W.shape[1] and part in name else W

    return of_weight


def _through_turned(part: str) -> Callable[..., Array]:
    """The input's gradient through a square weight that is transposed."""

    def through(self: Any, name: str, g: Array, W: Array) -> Array:
        square = W.shape[0] == W.shape[1] and part in name
        return BackwardPort.through(self, name, g, W.T if square else W)

    return through


def _without_residual(*blocks: str) -> Callable[..., Array]:
    return lambda self, block, g, through: through if block in blocks else g + through


def _unmasked(for_values: bool) -> Callable[..., tuple[Array, Array]]:
    def again(self: Any, probs: Array, q: Array, k: Array) -> tuple[Array, Array]:
        own = self.softmax(self.scores("", q, k))
        return own, own if for_values else probs

    return again


def _last_wins(self: Any, ids: Array, g: Array, count: int) -> Array:
    table = np.zeros((count, self.D), self.dtype)
    for row, own in zip(ids.reshape(-1), g.reshape(-1, self.D), strict=True):
        table[row] = own
    return table


def _summed(self: Any, labels: Array, ignored: int) -> Array:
    return (labels != ignored).astype(float)


def _of_all(self: Any, labels: Array, ignored: int) -> Array:
    return (labels != ignored) / labels.size


def _per_sequence(self: Any, labels: Array, ignored: int) -> Array:
    counts = labels != ignored
    return counts / counts.sum(-1, keepdims=True) / len(labels)


def _all_count(self: Any, labels: Array, ignored: int) -> Array:
    return np.full(labels.shape, 1 / labels.size)


def _padding_counts(self: Any, labels: Array) -> Array:
    labels = np.where((self.seen == 0) & (labels == -100), self.config["pad_token_id"], labels)
    return BackwardPort.masked_lm_back(self, labels)


def _at_output(self: Any, u: Array) -> Array:
    return BackwardPort.slope(self, self.activation(u))


def _head_at_output(self: Any, u: Array) -> Array:
    return erf_slope(self.gelu(u))


def _unscaled(self: Any) -> tuple[Any, Any]:
    return 1, 1


def _keys_unscaled(self: Any) -> tuple[Any, Any]:
    return self.dtype(math.sqrt(self.E)), 1


def _times(number: float) -> Callable[..., Array]:
    return lambda self, labels, ignored: number * BackwardPort.label_weights(self, labels, ignored)


def _half_of(self: Any, predictions: Array, labels: Array) -> Array:
    return BackwardPort.regression_back(self, predictions, labels) / 2


MISTAKES: dict[str, dict[str, type[BackwardPort]]] = {
    "masked_lm": {
        "bias-gradient-over-channels": but(of_bias=_over_channels),
        "bias-gradient-averaged": but(of_bias=_averaged),
        "gradient-of-one-sequence": but(of_bias=_bias_of_last, of_weight=_weight_of_last),
        "weight-gradients-transposed": but(of_weight=_turned("")),
        "weight-gradient-transposed-key": but(of_weight=_turned("key")),
        "input-gradients-transposed": but(through=_through_turned("")),
        "input-gradient-transposed-attention-output": but(through=_through_turned("attention.output")),
        "norm-mean-term-missing": but(mean_term=0),
        "norm-variance-term-missing": but(variance_term=0),
        "norm-terms-missing": but(mean_term=0, variance_term=0),
        "norm-weight-missing-in-backward": but(weighted=lambda self, g, w: g),
        "norm-scale-missing-in-backward": but(unscaled=True),
        "norm-weight-gradient-of-input": but(of_norm=lambda self, g, z, x, centred: (g * x).sum((0, 1))),
        "norm-weight-gradient-of-input, centred": but(of_norm=lambda self, g, z, x, c: (g * c).sum((0, 1))),
        "norm-eps-1e-3-in-backward": but(back_eps=1e-3),
        "residual-gradient-missing": but(around=_without_residual("attention", "feed-forward")),
        "residual-gradient-missing at attention": but(around=_without_residual("attention")),
        "residual-gradient-missing at feed-forward": but(around=_without_residual("feed-forward")),
        "softmax-row-term-missing": but(row_term=0),
        "scores-gradient-unscaled": but(roots=_unscaled),
        "scores-gradient-unscaled of keys": but(roots=_keys_unscaled),
        "scores-gradient-scaled-twice": but(roots=lambda self: (self.dtype(self.E), self.dtype(self.E))),
        "mask-missing-in-backward": but(probs_again=_unmasked(for_values=True)),
        "mask-missing-in-backward of scores": but(probs_again=_unmasked(for_values=False)),
        "key-gradient-untransposed": but(of_keys=lambda self, gs, q: gs @ q),
        "value-gradient-untransposed": but(of_values=lambda self, p, g: p @ g),
        "attention-input-gradient-overwritten": but(joined=lambda self, parts: parts["value"]),
        "embedding-gradients-overwritten": but(scattered=_last_wins),
        "decoder-gradient-missing": but(tied=lambda self, decoder, lookup: lookup),
        "lookup-gradient-missing": but(tied=lambda self, decoder, lookup: decoder),
        "slope-of-gelu-new": but(slope=lambda self, u: tanh_approximation_slope(u)),
        "slope-of-relu": but(slope=lambda self, u: u > 0, head_slope=lambda self, u: u > 0),
        "slope-missing": but(slope=lambda self, u: 1),
        "slope-at-output": but(slope=_at_output, head_slope=_head_at_output),
        "loss-summed": but(label_weights=_summed),
        "loss-mean-of-ignored": but(label_weights=_of_all),
        "loss-mean-per-sequence": but(label_weights=_per_sequence),
        "ignored-labels-in-loss": but(label_weights=_all_count),
        "padding-in-loss": but(masked_lm_back=_padding_counts),
        "gradients-scaled": but(label_weights=_times(1024)),
    },
    "sequence_classification": {
        "padding-row-gradient": but(without_padding=lambda self, table: table),
        "tanh-slope-missing": but(tanh_slope=lambda self, u, y: 1),
        "tanh-slope-of-input": but(tanh_slope=lambda self, u, y: 1 - u * u),
        "loss-summed": but(label_weights=_summed),
    },
    "multiple_choice": {"tanh-slope-missing": but(tanh_slope=lambda self, u, y: 1)},
    "question_answering": {"loss-half-missing": but(half=1)},
    "flags": {
        "loss-summed": but(flags_back=lambda self, x, y: y.size * BackwardPort.flags_back(self, x, y)),
        "loss-mean-of-batch": but(flags_back=lambda self, x, y: y.shape[1] * BackwardPort.flags_back(self, x, y)),
    },
    "regression": {
        "loss-two-missing": but(regression_back=lambda self, x, y: _half_of(self, x, y)),
        "loss-summed": but(regression_back=lambda self, x, y: len(y) * BackwardPort.regression_back(self, x, y)),
    },
}  # fmt: skip
"""For each head the mistakes, by the name that `diagnose_gradients` should give them."""
