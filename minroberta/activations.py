"""The activations, as functions of arrays: the formula of each `hidden_act`, and the error function.

As in `ops`, every function gets the array library from its argument, and `rowwise` marks a formula whose elements may
be computed in any blocks.
"""

import math
from collections.abc import Callable

from .backend.arrays import Array, from_library, namespace
from .backend.schedule import rowwise

ERF = {  # P and Q of erf, lowest degree first, as fitted by tools/fit_erf.py; Q's last coefficient, 1, is left out
    "float32": (
        (9.999544, 9.336259, 1.1796225, 0.052465796),
        (77.89061, 10.372407),
    ),
    "float64": (
        (4473632246.121851, 5693373471.08788, 2290403685.8903837, 574188156.8328806, 96108294.62473491,
         11274943.502631001, 934198.586180478, 51704.92386245415, 1766.639331247667, 15.301311169220288),
        (34847026564.62572, 16451686683.230734, 4727486878.631903, 875045883.8847024, 113934087.3028782,
         10558463.172690278, 664745.9118198886, 28053.872560240197, 481.51681660817),
    ),
}  # fmt: skip


@rowwise
def erf(x: Array) -> Array:
    """The error function 2/√π · ∫₀ˣ exp(-t²) dt, elementwise. The array library's function is used if there is one.

    NumPy has none, so erf is computed as tanh(x·(1 + P(x²)/Q(x²))), with 1 + P/Q fitted to atanh(erf(x))/x; the fit in
    tanh-GELU is coarser. The error is at most 5 ulp in float32 and 4 ulp in float64. The result is an odd function of
    x, and exactly ±1 if |x| is 4.25 or more (6.1 in float64).
    """
    xp = namespace(x)
    library = from_library(xp, "erf")
    if library is not None:
        return library(x)
    P, Q = ERF[x.dtype.name]
    x = xp.clip(x, -6.5, 6.5)  # tanh is already 1 there, and an infinite x would give inf/inf
    square = x * x
    # Q's last coefficient is 1, so its first step is a sum.
    ratio = horner(square, P[-1], P[:-1]) / horner(square, square + Q[-1], Q[:-1])
    return xp.tanh(x + x * ratio)


def horner(x: Array, value: Array | float, coefficients: tuple[float, ...]) -> Array:
    """The polynomial ((value·x + cₙ)·x + ...)·x + c₀, with coefficients c₀ ... cₙ."""
    for c in reversed(coefficients):
        value = value * x + c
    return value


@rowwise
def gelu(x: Array) -> Array:
    """x·Φ(x) = x/2 · (1 + erf(x/√2)), the exact Gaussian error linear unit (Hendrycks and Gimpel 2016, section 2)."""
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


@rowwise
def gelu_tanh(x: Array) -> Array:
    """x/2 · (1 + tanh(√(2/π)·(x + 0.044715 x³))), within 4.7e-4 of `gelu` (Hendrycks and Gimpel 2016, section 2)."""
    return 0.5 * x * (1 + namespace(x).tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@rowwise
def gelu_10(x: Array) -> Array:
    """`gelu` clipped to [-10, 10], for quantisation (Wu et al. 2020)."""
    return namespace(x).clip(gelu(x), -10, 10)


@rowwise
def quick_gelu(x: Array) -> Array:
    """x·σ(1.702 x) (Hendrycks and Gimpel 2016, section 2)."""
    return x * sigmoid(1.702 * x)


@rowwise
def silu(x: Array) -> Array:
    """x·σ(x), also called swish (Hendrycks and Gimpel 2016, section 4; Ramachandran et al. 2017)."""
    return x * sigmoid(x)


@rowwise
def mish(x: Array) -> Array:
    """x·tanh(log(1 + exp x)) (Misra 2019)."""
    return x * namespace(x).tanh(softplus(x))


@rowwise
def relu(x: Array) -> Array:
    """max(x, 0)."""
    return namespace(x).maximum(x, 0)


@rowwise
def leaky_relu(x: Array) -> Array:
    """max(x, 0.01 x) (Maas et al. 2013), with PyTorch's slope for negative numbers."""
    return namespace(x).maximum(x, 0.01 * x)


@rowwise
def relu2(x: Array) -> Array:
    """max(x, 0)² (So et al. 2021)."""
    return relu(x) * relu(x)


@rowwise
def relu6(x: Array) -> Array:
    """min(max(x, 0), 6) (Krizhevsky 2010)."""
    return namespace(x).clip(x, 0, 6)


@rowwise
def laplace(x: Array) -> Array:
    """1/2 · (1 + erf((x - μ) / (σ√2))), with μ = √½ and σ = 1/√(4π) rounded to six digits (Ma et al. 2022)."""
    return 0.5 * (1 + erf((x - 0.707107) / (0.282095 * math.sqrt(2))))


@rowwise
def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return namespace(x).tanh(x)


def softplus(x: Array) -> Array:
    """log(1 + exp x), without overflow."""
    return namespace(x).logaddexp(x, 0.0)


@rowwise
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp -x). For x below -80, the result stays at 1.8e-35, so that nothing overflows, even in a gradient.

    This changes x·σ(x) by less than 1e-7 for x down to -5e27.
    """
    xp = namespace(x)
    return 1 / (1 + xp.exp(xp.minimum(-x, 80.0)))


def identity(x: Array) -> Array:
    """Return x itself."""
    return x


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_10": gelu_10,
    "gelu_python": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "quick_gelu": quick_gelu,
    "laplace": laplace,
    "leaky_relu": leaky_relu,
    "linear": identity,
    "mish": mish,
    "relu": relu,
    "relu2": relu2,
    "relu6": relu6,
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}
"""The formula of each `hidden_act`. The reference's `gelu_fast` differs by 3e-12: it has only ten digits of √(2/π)."""
