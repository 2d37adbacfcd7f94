/**
 * Mistakes that ports make (docs/mistakes.md lists more), planted by changing a named value on its way.
 *
 * Each is a function of the value's name, the value, the values before it, and the weights; it returns the value with
 * which the run continues.
 */

const changed = (value, change) => ({ shape: value.shape, data: value.data.map(change) });

const geluByTanh = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

export const MISTAKES = {
  none: (name, value) => value,
  "positions begin at 0": (name, value) =>
    name === "embeddings.position_ids" ? changed(value, (position) => position - 2) : value,
  "keys without their bias": (name, value, values, weights) => {
    if (!name.endsWith(".key")) return value;
    const bias = weights[`${name}.bias`].data;
    return changed(value, (number, i) => number - bias[i % bias.length]);
  },
  "gelu approximated by tanh": (name, value, values) =>
    name.endsWith(".intermediate") ? changed(values[`${name}.dense`], geluByTanh) : value,
  "scores not divided by √E": (name, value, values, weights) => {
    if (!name.endsWith(".scores")) return value;
    const [H, D] = [value.shape[1], weights["embeddings.LayerNorm.weight"].shape[0]];
    return changed(value, (score) => score * Math.sqrt(D / H));
  },
};
