/**
 * The mathematics, as functions of arrays that do not depend on a model: see minroberta/ops.py.
 *
 * An array is { shape, data }, where data is a Float32Array, or an Int32Array of ids. Sums are computed in float64,
 * which is what JavaScript's numbers are, and each result is rounded to float32 once.
 *
 * Letters: L tokens, D hidden size, H heads, E head size (D = H·E), I and O sizes of a linear layer's input and output.
 * A page has one sentence at a time, so each shape begins with 1.
 */

/** Look up the row of a table for each id. ids: (1, L), table: (N, D). Returns (1, L, D). */
export function embedding(ids, table) {
  const D = table.shape[1];
  const data = new Float32Array(ids.data.length * D);
  ids.data.forEach((id, l) => data.set(table.data.subarray(id * D, (id + 1) * D), l * D));
  return { shape: [...ids.shape, D], data };
}

/** The sum of arrays of one shape. */
export function add(x, ...others) {
  const data = x.data.map((number, i) => others.reduce((sum, y) => sum + y.data[i], number));
  return { shape: x.shape, data };
}

/**
 * x Wᵀ + b. x: (..., I), weight: (O, I) as PyTorch stores it, bias: (O). Returns (..., O). O must be a multiple of 4.
 *
 * Four outputs are computed at once, since each number of x is then read once for four products. This alone halves the
 * time.
 */
export function linear(x, weight, bias) {
  const [O, I] = weight.shape;
  const [numbers, w, b] = [x.data, weight.data, bias.data];
  const count = numbers.length / I;
  const y = new Float32Array(count * O);
  for (let o = 0; o < O; o += 4) {
    for (let row = 0; row < count; row++) {
      let [y0, y1, y2, y3] = [0, 0, 0, 0];
      for (let i = row * I, j = o * I; i < (row + 1) * I; i++, j++) {
        const number = numbers[i];
        y0 += number * w[j];
        y1 += number * w[j + I];
        y2 += number * w[j + 2 * I];
        y3 += number * w[j + 3 * I];
      }
      y.set([y0 + b[o], y1 + b[o + 1], y2 + b[o + 2], y3 + b[o + 3]], row * O + o);
    }
  }
  return { shape: [...x.shape.slice(0, -1), O], data: y }; // (..., I) -> (..., O)
}

/** (x - mean) / √(variance + eps) · weight + bias over the last axis (Ba et al. 2016, equation 3). x: (..., D). */
export function layerNorm(x, weight, bias, eps) {
  const D = weight.data.length;
  const data = new Float32Array(x.data.length);
  for (let start = 0; start < data.length; start += D) {
    const row = x.data.subarray(start, start + D);
    const mean = row.reduce((sum, number) => sum + number, 0) / D;
    const variance = row.reduce((sum, number) => sum + (number - mean) ** 2, 0) / D;
    const scale = 1 / Math.sqrt(variance + eps);
    for (let d = 0; d < D; d++) data[start + d] = (row[d] - mean) * scale * weight.data[d] + bias.data[d];
  }
  return { shape: x.shape, data };
}

/** exp(x) / Σ exp(x) over the last axis. The largest number is subtracted first, so that nothing overflows. */
export function softmax(x) {
  const N = x.shape.at(-1);
  const data = new Float32Array(x.data.length);
  for (let start = 0; start < data.length; start += N) {
    const row = x.data.subarray(start, start + N);
    const largest = row.reduce((one, other) => Math.max(one, other));
    const exponentials = Float64Array.from(row, (number) => Math.exp(number - largest));
    const sum = exponentials.reduce((one, other) => one + other);
    for (let i = 0; i < N; i++) data[start + i] = exponentials[i] / sum;
  }
  return { shape: x.shape, data };
}

/** q kᵀ / √E in each head (Vaswani et al. 2017, equation 1). Head h has the channels h·E to (h + 1)·E - 1. */
export function attentionScores(q, k, H) {
  const [, L, D] = q.shape;
  const E = D / H;
  const data = new Float32Array(H * L * L);
  for (let h = 0; h < H; h++) {
    for (let i = 0; i < L; i++) {
      for (let j = 0; j < L; j++) {
        let sum = 0;
        for (let e = h * E; e < (h + 1) * E; e++) sum += q.data[i * D + e] * k.data[j * D + e];
        data[(h * L + i) * L + j] = sum / Math.sqrt(E);
      }
    }
  }
  return { shape: [1, H, L, L], data }; // two of (1, L, D) -> (1, H, L, L)
}

/** Multiply each head by its factor. probs: (1, H, L, L); factors: H numbers, or undefined to change nothing. */
export function scaleHeads(probs, factors) {
  const ofHead = probs.shape[2] * probs.shape[3];
  return factors ? { ...probs, data: probs.data.map((p, i) => p * factors[Math.floor(i / ofHead)]) } : probs;
}

/** The values, weighted by the probabilities, in each head; the heads are merged. v: (1, L, D). Returns (1, L, D). */
export function weightedValues(probs, v) {
  const [, H, L] = probs.shape;
  const D = v.shape[2];
  const E = D / H;
  const data = new Float32Array(L * D);
  for (let i = 0; i < L; i++) {
    for (let d = 0; d < D; d++) {
      const row = (Math.floor(d / E) * L + i) * L;
      let sum = 0;
      for (let j = 0; j < L; j++) sum += probs.data[row + j] * v.data[j * D + d];
      data[i * D + d] = sum;
    }
  }
  return { shape: v.shape, data }; // (1, H, L, L) and (1, L, D) -> (1, L, D)
}

/** x·Φ(x) = x/2 · (1 + erf(x/√2)) (Hendrycks and Gimpel 2016, section 2), the exact gelu. */
export function gelu(x) {
  return { shape: x.shape, data: x.data.map((number) => 0.5 * number * (1 + erf(number / Math.SQRT2))) };
}

/** The error function, which JavaScript lacks: tanh(x + x·P(x²)/Q(x²)), as minroberta/activations.py fits it. */
function erf(x) {
  x = Math.min(Math.max(x, -6.5), 6.5); // tanh is already 1 there, and a large x² would give infinity / infinity
  return Math.tanh(x + (x * horner(P, x * x)) / horner(Q, x * x));
}

/** The polynomial ((c₀·x + c₁)·x + ...)·x + cₙ. */
function horner(coefficients, x) {
  let value = 0;
  for (const c of coefficients) value = value * x + c;
  return value;
}

const P = [
  15.301311169220288, 1766.639331247667, 51704.92386245415, 934198.586180478, 11274943.502631001, 96108294.62473491,
  574188156.8328806, 2290403685.8903837, 5693373471.08788, 4473632246.121851,
];
const Q = [
  1, 481.51681660817, 28053.872560240197, 664745.9118198886, 10558463.172690278, 113934087.3028782,
  875045883.8847024, 4727486878.631903, 16451686683.230734, 34847026564.62572,
];
