"""The backward pass of `ops` and `activations`, formula by formula: from a result's gradient to its arguments'.

∂y stands for the gradient of the loss with respect to y, an array with the shape of y: dy changes the loss by Σ ∂y·dy.
If dy_i = Σ_j a_ij dx_j, then ∂x_j = Σ_i a_ij ∂y_i: the same matrix, transposed. Docstrings give the differential of
their formula. a·b is elementwise, and a b is a product of matrices.

A function takes g, ∂ of a formula's result, and returns ∂ of its arguments. It has the formula's name in `ops`, but
`weighted_sum` is the last product of an attention, and `activation` is any of `activations`. The losses take no g: they
return ∂ for ∂loss = 1.

As in `ops`, the array library is that of the arguments, and every function but `embedding` returns new arrays. The
letters are those of `ops`: B batch, L queries, S keys, D hidden size, H heads, E head size, P position rows, V
vocabulary, N labels; and I inputs and O outputs of a linear layer.
"""

import math
from collections.abc import Callable

from . import ops
from .activations import erf, gelu, sigmoid, softplus
from .backend.arrays import Array, namespace, scattered
from .backend.schedule import matmul, matrix_product, rowwise

Parameters = dict[str, Array]
"""∂ of a module's parameters, by name: weight and bias."""

# --- parts of layers ------------------------------------------------------------------------------------------------


def embedding(g: Array, ids: Array, onto: Array) -> Array:
    """y = W[ids], dy = dW[ids]: row i of ∂W is the sum of g over all positions with the id i. g: (B, L, D).

    onto: zeros, or what ∂W has from another use of W, (V, D); the sums are added to it, in place where possible.
    """
    return scattered(g.reshape(-1, g.shape[-1]), ids.reshape(-1), onto)  # (B, L, D) -> (V, D)


def linear(g: Array, x: Array, weight: Array) -> tuple[Array, Parameters]:
    """y = x Wᵀ + b: ∂x = g W, ∂W = gᵀ x and ∂b = Σ g, with all positions as the rows of g and x.

    From dy_o = Σ_i (W_oi dx_i + x_i dW_oi) + db_o. g: (..., O), x: (..., I), weight: (O, I).
    """
    outputs, inputs = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
    own = {"weight": matrix_product(outputs.T, inputs), "bias": outputs.sum(0)}  # (O, I), (O,)
    return matrix_product(outputs, weight).reshape(x.shape), own


def layer_norm(g: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Parameters]:
    """y = z·w + b, z = (x - mean x) / s, s = √(variance + eps): ∂x = (h - mean h - z · mean(h·z)) / s with h = g·w.

    The variance is mean((x - mean x)²) and mean z = 0, so ds = mean(z·dx) and dz = (dx - mean dx - z · mean(z·dx)) / s.
    This map from dx to dz has a symmetric matrix, (I - 1 1ᵀ/D - z zᵀ/D) / s, so it is also the map from ∂z = h to ∂x.
    Over all positions, ∂w = Σ g·z and ∂b = Σ g. mean: over the last axis. g, x: (..., D); weight: (D,).
    """
    x = x - x.mean(-1, keepdims=True)
    s = namespace(x).sqrt((x * x).mean(-1, keepdims=True) + eps)  # (..., 1)
    z, h, places = x / s, g * weight, tuple(range(g.ndim - 1))
    gx = (h - h.mean(-1, keepdims=True) - z * (h * z).mean(-1, keepdims=True)) / s
    return gx, {"weight": (g * z).sum(places), "bias": g.sum(places)}


@rowwise
def softmax(g: Array, p: Array) -> Array:
    """p = softmax(s) over the last axis: ∂s = p · (g - Σ g·p).

    From log p_i = s_i - log Σ_j exp s_j: dp_i = p_i d log p_i = p_i (ds_i - Σ_j p_j ds_j). The matrix of this map,
    diag(p) - p pᵀ, is symmetric, so it also maps g to ∂s. g, p: (..., S).
    """
    return p * (g - (g * p).sum(-1, keepdims=True))


# --- attention ------------------------------------------------------------------------------------------------------


def weighted_sum(g: Array, p: Array, v: Array) -> tuple[Array, Array]:
    """y = p v in each head: ∂p = g vᵀ and ∂v = pᵀ g.

    From dy_le = Σ_s (dp_ls v_se + p_ls dv_se). g: (B, H, L, E), p: (B, H, L, S), v: (B, H, S, E).
    """
    return matmul(g, v.swapaxes(2, 3)), matmul(p.swapaxes(2, 3), g)


def attention_scores(g: Array, q: Array, k: Array) -> tuple[Array, Array, Array]:
    """y = (q kᵀ + r) / √E + mask, r being the relative scores: ∂r = g / √E, ∂q = ∂r k and ∂k = ∂rᵀ q.

    From dy_ls = (Σ_e (k_se dq_le + q_le dk_se) + dr_ls) / √E; the mask is a constant. g: (B, H, L, S), q: (B, H, L, E),
    k: (B, H, S, E). Returns ∂q, ∂k, ∂r.
    """
    g = g / math.sqrt(q.shape[-1])
    return matmul(g, k), matmul(g.swapaxes(2, 3), q), g


def relative_scores(
    g: Array, q: Array, k: Array, distance_embedding: Array, with_key: bool
) -> tuple[Array, Array | float, Array]:
    """r_ls = q_l·a(l - s), plus k_s·a(l - s) if with_key: ∂q_l = Σ_s g_ls a(l - s), ∂a(d) = Σ g_ls q_l over l - s = d.

    With the key, ∂k_s = Σ_l g_ls a(l - s), and ∂a(d) has Σ g_ls k_s as well. l and s are positions, q_l·a is a dot
    product, and ∂a(d) sums over batch and heads too. As ∂q_l = Σ_d g_l,l-d a(d), g is first arranged by distance, the
    inverse of selecting each key's distance in `ops.relative_scores`. g: ∂r of `attention_scores`, (B, H, L, S).
    Returns ∂q, ∂k, which is 0 without the key, and ∂distance_embedding, (2P - 1, E), with ∂a(d) in row d + P - 1.
    """
    xp, (L, S), P = namespace(g), g.shape[2:], (distance_embedding.shape[0] + 1) // 2
    table, distances = distance_embedding[P - S : P + S - 1], xp.arange(1 - S, S)  # (2S - 1, E), (2S - 1,)
    keys = xp.arange(S - L, S)[:, None] - distances  # the key at each distance from each query: (L, 2S - 1)
    by_query = _selected(g, keys)  # (B, H, L, S) -> (B, H, L, 2S - 1)
    gq, gk, own = matmul(by_query, table), 0.0, xp.einsum("bhld,bhle->de", by_query, q)
    if with_key:
        queries = xp.arange(S)[:, None] + distances - (S - L)  # the query at each distance from each key: (S, 2S - 1)
        by_key = _selected(g.swapaxes(2, 3), queries)  # (B, H, S, L) -> (B, H, S, 2S - 1)
        gk, own = matmul(by_key, table), own + xp.einsum("bhsd,bhse->de", by_key, k)
    return gq, gk, xp.pad(own, ((P - S, P - S), (0, 0)))  # (2S - 1, E) -> (2P - 1, E)


def _selected(g: Array, index: Array) -> Array:
    """g at an index of its last axis for each row, or 0 where there is no such index: (B, H, I, J) -> (B, H, I, K)."""
    exists = (index >= 0) & (index < g.shape[-1])
    rows = namespace(g).arange(g.shape[2])[:, None]
    return namespace(g).where(exists, g[:, :, rows, index.clip(0, g.shape[-1] - 1)], 0)


# --- losses ---------------------------------------------------------------------------------------------------------


def cross_entropy(logits: Array, labels: Array, ignored: int = -100) -> Array:
    """The mean of -log softmax(x)[label] over the n labels not ignored: ∂x = (softmax(x) - one_hot(label)) / n.

    From d log softmax(x)_i = dx_i - Σ_j softmax(x)_j dx_j at i = label. ∂x is 0 where the label is ignored, even if all
    are and the loss is NaN, as in PyTorch. logits: (..., N), labels: (...). Returns (..., N).
    """
    xp, kept = namespace(logits), labels != ignored
    one_hot = xp.arange(logits.shape[-1]) == labels[..., None]  # (..., N)
    weight = (kept / xp.maximum(kept.sum(), 1)).astype(logits.dtype)
    return (ops.softmax(logits) - one_hot) * weight[..., None]


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """The mean of softplus(x) - x·y over n logits: ∂x = (σ(x) - y) / n."""
    return (sigmoid(logits) - labels) / logits.size


def mean_squared_error(predictions: Array, labels: Array) -> Array:
    """The mean of (x - y)² over n predictions: ∂x = 2 (x - y) / n."""
    return (predictions - labels) * 2 / predictions.size


# --- activations ----------------------------------------------------------------------------------------------------


@rowwise
def activation(g: Array, x: Array, *, slope: Callable[[Array], Array]) -> Array:
    """y = f(x) in each element: ∂x = g · f'(x)."""
    return g * slope(x)


def bell(x: Array) -> Array:
    """φ(x) = exp(-x²/2) / √(2π), the density of the normal distribution: the slope of Φ(x) = (1 + erf(x/√2)) / 2."""
    return namespace(x).exp(-x * x / 2) / math.sqrt(2 * math.pi)


@rowwise
def gelu_slope(x: Array) -> Array:
    """(x·Φ(x))' = Φ(x) + x·φ(x)."""
    return (1 + erf(x / math.sqrt(2))) / 2 + x * bell(x)


@rowwise
def gelu_tanh_slope(x: Array) -> Array:
    """(x/2 · (1 + t))' = (1 + t)/2 + x/2 · (1 - t²) u', t = tanh u, u = √(2/π)·(x + 0.044715 x³).

    u' = √(2/π)·(1 + 3 · 0.044715 x²).
    """
    scale = math.sqrt(2 / math.pi)
    t = namespace(x).tanh(scale * (x + 0.044715 * x * x * x))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x)


@rowwise
def gelu_10_slope(x: Array) -> Array:
    """That of gelu, and 0 where gelu is clipped."""
    return gelu_slope(x) * (gelu(x) <= 10)


def sigmoid_slope(x: Array) -> Array:
    """σ'(x) = σ(x) (1 - σ(x))."""
    return sigmoid(x) * (1 - sigmoid(x))


def quick_gelu_slope(x: Array) -> Array:
    """(x·σ(ax))' = σ(ax) + ax·σ'(ax), a = 1.702."""
    return sigmoid(1.702 * x) + 1.702 * x * sigmoid_slope(1.702 * x)


def silu_slope(x: Array) -> Array:
    """(x·σ(x))' = σ(x) + x·σ'(x)."""
    return sigmoid(x) + x * sigmoid_slope(x)


def tanh_slope(x: Array) -> Array:
    """tanh'(x) = 1 - tanh²(x)."""
    t = namespace(x).tanh(x)
    return 1 - t * t


def mish_slope(x: Array) -> Array:
    """(x·tanh u)' = tanh u + x·tanh'(u)·σ(x), where u = log(1 + exp x), whose slope is σ(x)."""
    u = softplus(x)
    return namespace(x).tanh(u) + x * tanh_slope(u) * sigmoid(x)


def relu_slope(x: Array) -> Array:
    """1 for positive x, and 0 for others, as PyTorch has it at 0."""
    return (x > 0).astype(x.dtype)


def leaky_relu_slope(x: Array) -> Array:
    """1 for positive x, and 0.01 for others."""
    return 0.01 + 0.99 * relu_slope(x)


def relu2_slope(x: Array) -> Array:
    """(max(x, 0)²)' = 2 max(x, 0)."""
    return 2 * x * relu_slope(x)


def relu6_slope(x: Array) -> Array:
    """1 between 0 and 6, and 0 elsewhere."""
    return relu_slope(x) * (x < 6)


def laplace_slope(x: Array) -> Array:
    """Φ((x - μ)/σ)' = φ((x - μ)/σ) / σ, with the μ and σ of `activations.laplace`."""
    return bell((x - 0.707107) / 0.282095) / 0.282095


def linear_slope(x: Array) -> Array:
    """1 everywhere."""
    return namespace(x).ones_like(x)


SLOPES: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu_slope,
    "gelu_10": gelu_10_slope,
    "gelu_python": gelu_slope,
    "gelu_new": gelu_tanh_slope,
    "gelu_pytorch_tanh": gelu_tanh_slope,
    "gelu_accurate": gelu_tanh_slope,
    "gelu_fast": gelu_tanh_slope,
    "quick_gelu": quick_gelu_slope,
    "laplace": laplace_slope,
    "leaky_relu": leaky_relu_slope,
    "linear": linear_slope,
    "mish": mish_slope,
    "relu": relu_slope,
    "relu2": relu2_slope,
    "relu6": relu6_slope,
    "sigmoid": sigmoid_slope,
    "silu": silu_slope,
    "swish": silu_slope,
    "tanh": tanh_slope,
}
"""The slope of each of `activations.ACTIVATIONS`: dy/dx for y = f(x), so that ∂x = ∂y · slope."""
