/** Compare values with those of a golden file, by the rule of docs/golden.md. */

/**
 * A row for each value of the golden file, in the order of computation.
 *
 * Each has its `name` and `shape`; `difference`, the largest of its elements; `relative`, the same as a part of the
 * largest number; `multiple`, the same as a multiple of its noise, which is the largest change that float32's rounding
 * makes; and `right`: true if the multiple is within `limit(config, L)`.
 */
export function compare({ arrays, metadata }, values) {
  const noise = JSON.parse(metadata.noise);
  const most = limit(JSON.parse(metadata.config), arrays["inputs.input_ids"].shape[1]);
  const stored = Object.keys(arrays).filter((name) => name.startsWith("values."));
  return stored.map((its) => {
    const name = its.slice("values.".length);
    const { shape, data: truth } = arrays[its];
    const data = values[name]?.shape.join() === shape.join() ? values[name].data : truth.map(() => NaN);
    const difference = truth.reduce((largest, number, i) => worse(largest, Math.abs(number - data[i])), 0);
    const relative = difference / truth.reduce((largest, number) => Math.max(largest, Math.abs(number)), 0);
    const multiple = difference === 0 ? 0 : difference / noise[name]; // integers have no noise, and must be equal
    return { name, shape, difference, relative, multiple, right: multiple <= most };
  });
}

/** The largest multiple of the noise that is right: 2·√n for sums of n products. L: the number of keys. */
export const limit = (config, L) => 2 * Math.sqrt(Math.max(config.hidden_size, config.intermediate_size, L, 64));

/** The larger of two numbers, or NaN if one is NaN: a value that is not a number is never right. */
const worse = (one, other) => (one >= other ? one : other);
