/** A loaded model, and what its head would guess at each layer's state: the logit lens (nostalgebraist 2020). */

import { softmax } from "./ops.js";
import { roberta } from "./roberta.js";
import { read } from "./safetensors.js";

/** A model from the bytes of model.safetensors, and the object in config.json. */
export function modelOf(bytes, config) {
  const { arrays } = read(bytes);
  const named = Object.entries(arrays).map(([name, array]) => [name.replace(/^roberta\./, ""), array]);
  return { weights: Object.fromEntries(named), config };
}

/** Ids as the model takes them, (1, L). */
export const asInput = (ids) => ({ shape: [1, ids.length], data: Int32Array.from(ids) });

/** The named values of the encoder. headMask: as in roberta.js. */
export function run(model, ids, headMask) {
  const values = {};
  roberta(model, { headMask, tap: (name, value) => (values[name] = value) }).encoder(asInput(ids));
  return values;
}

/** The names of the embeddings and of each layer's output. */
export function states({ config }) {
  return ["embeddings", ...Array.from({ length: config.num_hidden_layers }, (_, layer) => `encoder.layer.${layer}`)];
}

/** For each of the states the `count` likeliest tokens at a position, best first, each as [id, probability]. */
export function lens(model, values, position, count) {
  const D = model.config.hidden_size;
  const rows = states(model).map((name) => values[name].data.subarray(position * D, (position + 1) * D));
  const x = { shape: [1, rows.length, D], data: Float32Array.from(rows.flatMap((row) => [...row])) };
  return likeliest(roberta(model).lmHead(x), count); // (1, N, D) -> (1, N, V), only at this position
}

/** For each position of logits, (1, L, V), the `count` likeliest tokens, best first, each as [id, probability]. */
export function likeliest(logits, count) {
  const V = logits.shape[2];
  const { data } = softmax(logits);
  return Array.from({ length: data.length / V }, (_, l) => best(data.subarray(l * V, (l + 1) * V), count));
}

function best(probabilities, count) {
  const found = [];
  probabilities.forEach((p, id) => {
    if (found.length === count && p <= found[count - 1][1]) return;
    found.push([id, p]);
    found.sort(([, one], [, other]) => other - one);
    found.length = Math.min(found.length, count);
  });
  return found;
}
