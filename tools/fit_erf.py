"""Fit the coefficients of a branch-free error function, and measure how good they are.

erf is odd, increasing and bounded by one, and so is tanh.  One is therefore the other after a gentle change of
argument,

    erf(z) = tanh(z R(z^2)),        R(z^2) = atanh(erf(z)) / z,

where R rises slowly from R(0) = 2 / sqrt(pi) = 1.128 and has no kinks, so that one rational function serves the whole
real line.  Since R(0) is close to one, the fitted form is

    erf(z) = tanh(z + z P(u) / Q(u)),        u = z^2,

which leaves rounding errors made in P / Q only a ninth of their weight where they would matter most, near z = 0.

How exact must R be?  An error dR changes erf(z) by (1 - erf(z)^2) z dR, so the relative error of erf is w dR with

    w(z) = (1 - erf(z)^2) z / erf(z),

which falls like exp(-z^2): close to z = 0 every digit counts, in the tails hardly any.  The fit makes the largest
|w (1 + P/Q - R)| as small as possible.  By the equioscillation theorem that best P / Q is the one whose weighted error
reaches its largest size m + n + 2 times with alternating signs (degrees m of P and n of Q); Remez' exchange finds it.

Q is monic, which saves one multiplication, and its leading 1 is not printed.  Coefficients are listed lowest degree
first.  All of them are positive, so no sum of the evaluation cancels.

Run with `python tools/fit_erf.py` (a quarter of a minute); needs mpmath besides NumPy.
"""

import math

import mpmath as mp
import numpy as np

DIGITS = 60  # working precision of the fit; its linear systems are badly conditioned
CLIP = 6.5  # |z| beyond this gives exactly +-1 in either type; keeps z^2 finite, so that inf / inf never arises
FITS = {  # type: (degree of P, degree of Q, fit on 0 < z < z_max, where erf has reached 1 in that type)
    "float32": (3, 2, 4),
    "float64": (9, 9, 6),
}


def sample(z):
    """(u, R - 1, w) at z, from erfc so that 1 - erf does not cancel in the tail."""
    tail = mp.erfc(z)
    r = mp.log((2 - tail) / tail) / (2 * z)  # atanh(y) = log((1 + y) / (1 - y)) / 2
    return z * z, r - 1, tail * (2 - tail) * z / (1 - tail)


def chebyshev_samples(z_max, count):
    """Samples on 0 < z < z_max, densest at both ends, as the extrema of a minimax error are."""
    angles = [mp.pi * (2 * k + 1) / (2 * count) for k in range(count)]
    return [sample(z_max * (1 - mp.cos(angle)) / 2) for angle in angles]


def evaluate(coefficients, u):
    """Horner's rule, lowest degree first."""
    total = 0
    for c in reversed(coefficients):
        total = total * u + c
    return total


def level(points, m, n, q):
    """Find P and Q whose weighted errors at m + n + 2 points have one size and alternate in sign.

    The condition P - f Q = (-1)^i (e / w) Q is linear but for the product of e and Q on the right; take Q there from
    the previous round (`q` to begin with) and repeat until it stands still.  Here Q(0) = 1 fixes the common factor.
    """
    for _ in range(50):
        rows, right = [], []
        for i, (u, f, w) in enumerate(points):
            powers = [u**k for k in range(max(m, n) + 1)]
            rows.append(powers[: m + 1] + [-f * p for p in powers[1 : n + 1]] + [(-1) ** i * evaluate(q, u) / w])
            right.append(f)
        solution = list(mp.lu_solve(mp.matrix(rows), mp.matrix(right)))
        p, previous, q = solution[: m + 1], q, [mp.mpf(1), *solution[m + 1 : -1]]
        if all(abs(a - b) <= abs(a) * mp.mpf(10) ** (-DIGITS // 2) for a, b in zip(q, previous, strict=True)):
            break
    return p, q


def alternating_extrema(errors, count):
    """Indices of `count` large errors of alternating sign: the next reference of Remez' exchange."""
    peaks = []
    for i, error in enumerate(errors):
        if peaks and (error > 0) == (errors[peaks[-1]] > 0):  # the same lobe: keep its larger error
            if abs(error) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        else:
            peaks.append(i)
    while len(peaks) > count:  # too many lobes: give up the smaller of the two outermost
        peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
    if len(peaks) < count:
        raise ArithmeticError("the error does not alternate often enough; try other degrees")
    return peaks


def minimax(m, n, z_max, samples=600):
    """Best P and Q of degrees m and n for R - 1 = P / Q, and their largest relative error in erf."""
    points = chebyshev_samples(z_max, samples)
    count = m + n + 2
    reference = [(samples - 1) * k // (count - 1) for k in range(count)]
    q = [mp.mpf(1)] + [mp.mpf(0)] * n
    for _ in range(50):
        p, q = level([points[i] for i in reference], m, n, q)
        errors = [w * (evaluate(p, u) / evaluate(q, u) - f) for u, f, w in points]
        previous, reference = reference, alternating_extrema(errors, count)
        if reference == previous:
            break
    return p, q, max(abs(e) for e in errors)


def rounded(coefficients, dtype):
    """The coefficients in the precision of dtype, as Python floats with no more digits than it takes."""
    return tuple(float(str(dtype(mp.nstr(c, 30)))) for c in coefficients)


def erf(x, p, q):
    """erf as the package evaluates it; `q` is without its leading 1.  Python scalars leave the type of x alone."""
    z = np.clip(x, -CLIP, CLIP)
    u = z * z
    num, den = u * p[-1] + p[-2], u + q[-1]
    for c in p[-3::-1]:
        num = num * u + c
    for c in q[-2::-1]:
        den = den * u + c
    return np.tanh(z + z * (num / den))


def exact(x):
    """math.erf of every element, in float64; its own error is below one ulp of float64."""
    return np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64)).astype(np.float64)


def largest_ulp(p, q, dtype, count=60_000):
    """Largest error in units of the last place over random points in every binade from the smallest number to 8."""
    rng, worst = np.random.default_rng(0), 0.0
    lowest = int(np.log2(float(np.finfo(dtype).smallest_subnormal)))
    for exponent in [*range(lowest, -24, 10), *range(-24, 3)]:
        x = np.ldexp(1 + rng.random(count), exponent).astype(dtype)
        truth = exact(x)
        ulp = np.spacing(np.minimum(np.abs(truth.astype(dtype)), 1 - np.finfo(dtype).epsneg)).astype(np.float64)
        worst = max(worst, float(np.max(np.abs(erf(x, p, q) - truth) / ulp)))
    return worst


def gelu_error(p, q, dtype):
    """Largest absolute error of x (1 + erf(x / sqrt 2)) / 2 for -8 < x < 4."""
    x = np.linspace(-8, 4, 1_000_001).astype(dtype)
    truth = 0.5 * x.astype(np.float64) * (1 + exact(x.astype(np.float64) * math.sqrt(0.5)))
    return float(np.max(np.abs(0.5 * x * (1 + erf(x * math.sqrt(0.5), p, q)) - truth)))


def check_special_values(p, q, dtype):
    """Odd, exact at zero and at infinity, NaN kept, type kept."""
    limits = np.array([0.0, 6.5, 1e30, np.finfo(dtype).max, np.inf], dtype=dtype)
    with np.errstate(all="raise"):
        high, low, nan = erf(limits, p, q), erf(-limits, p, q), erf(np.array([np.nan], dtype=dtype), p, q)
    assert high.dtype == dtype and np.isnan(nan).all()
    assert high.tolist() == [0, 1, 1, 1, 1] and low.tolist() == [0, -1, -1, -1, -1] and np.signbit(low[0])


def main():
    """Fit, print and measure the coefficients of every type."""
    mp.mp.dps = DIGITS
    for name, (m, n, z_max) in FITS.items():
        dtype = getattr(np, name)
        p, q, fit_error = minimax(m, n, z_max)
        p, q = rounded([c / q[-1] for c in p], dtype), rounded([c / q[-1] for c in q[:-1]], dtype)
        check_special_values(p, q, dtype)
        print(f"# {name}: fitted to a relative error of {mp.nstr(fit_error, 3)};", end=" ")
        print(f"measured: erf within {largest_ulp(p, q, dtype):.2f} ulp, GELU within {gelu_error(p, q, dtype):.2g}")
        print(f"P = {p}\nQ = {q}  # and a leading 1\n")


if __name__ == "__main__":
    main()
