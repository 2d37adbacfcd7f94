// RoBERTa in JavaScript, from the formulas: the post-LN encoder with pooler, and the masked LM head.
//
//     node roberta.mjs SUITE OUTPUT [CASE ...]
//
// computes the given cases of the golden suite, by default all that it supports (see `unsupported`), and writes all
// named values of each to OUTPUT/CASE.safetensors. It reads the suite's safetensors files. `minroberta golden check
// SUITE OUTPUT` compares.
//
// An array is { shape, data }. B: sequences, L: positions, D: channels, H: heads, E = D / H, F: feed-forward channels,
// V: tokens of the vocabulary. Numbers are computed in float64 and stored in float32.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

// --- files -----------------------------------------------------------------------------------------------------------

/** The arrays of a safetensors file by name, and its metadata. */
function readSafetensors(path) {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const { __metadata__: metadata, ...entries } = JSON.parse(file.toString("utf8", 8, start));
  const arrays = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(entries)) {
    const bytes = new Uint8Array(file.subarray(start + begin, start + end)).buffer; // a copy, aligned
    if (dtype !== "F32" && dtype !== "I32") throw Error(`${path}: ${name} is in ${dtype}, not in F32 or I32`);
    arrays[name] = { shape, data: dtype === "F32" ? new Float32Array(bytes) : new Int32Array(bytes) };
  }
  return { arrays, metadata };
}

/** Write arrays to a safetensors file, all as F32. */
function writeSafetensors(path, arrays) {
  const header = {};
  let length = 0;
  for (const [name, { shape, data }] of Object.entries(arrays)) {
    header[name] = { dtype: "F32", shape, data_offsets: [length, length + 4 * data.length] };
    length += 4 * data.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const parts = Object.values(arrays).map(({ data }) => Buffer.from(Float32Array.from(data).buffer));
  writeFileSync(path, Buffer.concat([size, text, ...parts]));
}

// --- mathematics on arrays -------------------------------------------------------------------------------------------

const array = (shape, data) => ({ shape, data });
const map = (x, f) => array(x.shape, Float64Array.from(x.data, f));
const add = (x, y) => map(x, (number, i) => number + y.data[i]);
const product = (numbers) => numbers.reduce((x, y) => x * y, 1);

/** Rows of a table: ids (B, L), table (N, D) -> (B, L, D). */
function rows(ids, table) {
  const D = table.shape[1];
  const result = new Float64Array(ids.data.length * D);
  ids.data.forEach((id, row) => result.set(table.data.subarray(id * D, (id + 1) * D), row * D));
  return array([...ids.shape, D], result);
}

/** x · weightᵀ + bias: x (..., D), weight (F, D), bias (F) -> (..., F). */
function linear(x, weight, bias) {
  const [F, D] = weight.shape;
  const count = x.data.length / D;
  const result = new Float64Array(count * F);
  for (let row = 0; row < count; row++) {
    for (let f = 0; f < F; f++) {
      let sum = bias.data[f];
      for (let d = 0; d < D; d++) sum += x.data[row * D + d] * weight.data[f * D + d];
      result[row * F + f] = sum;
    }
  }
  return array([...x.shape.slice(0, -1), F], result);
}

/** Layer norm over the last axis: (x - mean) / √(variance + eps) · weight + bias, for each position alone. */
function layerNorm(x, weight, bias, eps) {
  const D = weight.data.length;
  const result = new Float64Array(x.data.length);
  for (let start = 0; start < result.length; start += D) {
    const row = x.data.subarray(start, start + D);
    const mean = row.reduce((sum, number) => sum + number, 0) / D;
    const variance = row.reduce((sum, number) => sum + (number - mean) ** 2, 0) / D;
    for (let d = 0; d < D; d++) {
      result[start + d] = ((row[d] - mean) / Math.sqrt(variance + eps)) * weight.data[d] + bias.data[d];
    }
  }
  return array(x.shape, result);
}

/** Softmax of one row, in place. The largest score is subtracted first, so that exp does not overflow. */
function softmax(row) {
  const largest = row.reduce((x, y) => Math.max(x, y), -Infinity);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - largest);
  for (let i = 0; i < row.length; i++) row[i] /= sum;
}

/**
 * The complementary error function 2/√π · ∫ exp(-t²) dt from x to infinity, which JavaScript lacks: for small x from
 * the power series of erf, for large x from a continued fraction.
 */
function erfc(x) {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

/** x · Φ(x), where Φ is the cumulative distribution of the normal distribution. */
const gelu = (x) => 0.5 * x * erfc(-x / Math.SQRT2);
const geluTanh = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

// --- RoBERTa ---------------------------------------------------------------------------------------------------------

/** The named values of a call. */
function roberta(weights, config, head, inputs) {
  const values = {};
  const keep = (name, value) => (values[name] = value);
  const weight = (name) => weights[`weights.${name}`];
  const dense = (name, x) => keep(name, linear(x, weight(`${name}.weight`), weight(`${name}.bias`)));
  const norm = (name, x) =>
    keep(name, layerNorm(x, weight(`${name}.weight`), weight(`${name}.bias`), config.layer_norm_eps));

  const hidden = keep("encoder", encoder(embeddings()));
  if (head === "encoder") {
    keep("last_hidden_state", hidden);
    keep("pooler_output", pooler(hidden));
  } else {
    keep("logits", maskedLmHead(hidden));
  }
  return values;

  /** Words + token types + positions, then a norm: (B, L) -> (B, L, D). */
  function embeddings() {
    const name = "embeddings";
    const table = (part) => weight(`${name}.${part}_embeddings.weight`);
    const words = inputs.inputs_embeds ?? keep(`${name}.word_embeddings`, rows(inputs.input_ids, table("word")));
    const shape = words.shape.slice(0, 2);
    const types = inputs.token_type_ids ?? array(shape, new Int32Array(product(shape)));
    const ofTypes = keep(`${name}.token_type_embeddings`, rows(types, table("token_type")));
    const positions = keep(`${name}.position_ids`, inputs.position_ids ?? positionIds(shape));
    const ofPositions = keep(`${name}.position_embeddings`, rows(positions, table("position")));
    const sum = keep(`${name}.sum`, add(add(words, ofTypes), ofPositions));
    return keep(name, norm(`${name}.LayerNorm`, sum));
  }

  /** Positions (B, L): pad + 1, pad + 2 … for the tokens of a row, and pad for padding. */
  function positionIds([B, L]) {
    const pad = config.pad_token_id;
    const result = new Int32Array(B * L);
    for (let b = 0; b < B; b++) {
      let position = pad;
      for (let l = 0; l < L; l++) {
        const isPad = inputs.input_ids && inputs.input_ids.data[b * L + l] === pad; // embeddings have no padding
        result[b * L + l] = isPad ? pad : ++position;
      }
    }
    return array([B, L], result);
  }

  function encoder(x) {
    for (let index = 0; index < config.num_hidden_layers; index++) x = layer(`encoder.layer.${index}`, index, x);
    return x;
  }

  /** Attention, then two dense layers; after each, its input is added, and the sum is normalised. */
  function layer(name, index, x) {
    const mixed = keep(`${name}.attention.self`, selfAttention(`${name}.attention.self`, index, x));
    const attended = keep(`${name}.attention`, output(`${name}.attention.output`, mixed, x));
    const activation = config.hidden_act === "gelu_new" ? geluTanh : gelu;
    const wide = map(dense(`${name}.intermediate.dense`, attended), activation); // (B, L, F)
    keep(`${name}.intermediate`, wide);
    return keep(name, output(`${name}.output`, wide, attended));
  }

  /** dense(x), plus the input of the block, normalised. */
  function output(name, x, input) {
    const sum = keep(`${name}.sum`, add(dense(`${name}.dense`, x), input));
    return keep(name, norm(`${name}.LayerNorm`, sum));
  }

  /** softmax(query · keyᵀ / √E + mask) · value, for each head: (B, L, D) -> (B, L, D). */
  function selfAttention(name, index, x) {
    const [query, key, value] = ["query", "key", "value"].map((part) => dense(`${name}.${part}`, x));
    const [B, L, D] = x.shape;
    const H = config.num_attention_heads, E = D / H;
    const scores = new Float64Array(B * H * L * L); // of query q and key k, (B, H, L, L)
    const probs = new Float64Array(B * H * L * L);
    const result = new Float64Array(B * L * D);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        for (let q = 0; q < L; q++) {
          const start = ((b * H + h) * L + q) * L;
          for (let k = 0; k < L; k++) {
            let dot = 0; // head h has the channels h·E to (h + 1)·E
            for (let e = 0; e < E; e++) {
              dot += query.data[(b * L + q) * D + h * E + e] * key.data[(b * L + k) * D + h * E + e];
            }
            scores[start + k] = attends(b, q, k, L) ? dot / Math.sqrt(E) : LOWEST;
          }
          const row = probs.subarray(start, start + L);
          row.set(scores.subarray(start, start + L));
          softmax(row);
          const share = inputs.head_mask ? inputs.head_mask.data[index * H + h] : 1; // (layers, H)
          for (let k = 0; k < L; k++) {
            row[k] *= share;
            for (let e = 0; e < E; e++) {
              result[(b * L + q) * D + h * E + e] += row[k] * value.data[(b * L + k) * D + h * E + e];
            }
          }
        }
      }
    }
    keep(`${name}.scores`, array([B, H, L, L], scores));
    keep(`${name}.probs`, array([B, H, L, L], probs));
    return array(x.shape, result);
  }

  /** True if query q of sequence b attends to key k. The mask: (B, L), or (B, L, L) with a row for each query. */
  function attends(b, q, k, L) {
    const mask = inputs.attention_mask;
    if (!mask) return true;
    return mask.data[mask.shape.length === 3 ? (b * L + q) * L + k : b * L + k] !== 0;
  }

  /** tanh(dense(first position)): (B, L, D) -> (B, D). */
  function pooler(x) {
    const [B, L, D] = x.shape;
    const first = new Float64Array(B * D);
    for (let b = 0; b < B; b++) first.set(x.data.subarray(b * L * D, b * L * D + D), b * D);
    return keep("pooler", map(dense("pooler.dense", array([B, D], first)), Math.tanh));
  }

  /** dense, GELU, norm; then a product with the word embeddings unless they are untied: (B, L, D) -> (B, L, V). */
  function maskedLmHead(x) {
    const activated = keep("lm_head.gelu", map(dense("lm_head.dense", x), gelu)); // whatever hidden_act is
    const normal = norm("lm_head.layer_norm", activated);
    const decoder = config.tie_word_embeddings ? "embeddings.word_embeddings.weight" : "lm_head.decoder.weight";
    return keep("lm_head", linear(normal, weight(decoder), weight("lm_head.bias")));
  }
}

const LOWEST = -3.4028234663852886e38; // the lowest float32: a masked score

// --- the suite -------------------------------------------------------------------------------------------------------

/** Why a case is not computed here, or undefined. */
function unsupported(config, head) {
  if (!["roberta", "xlm-roberta", "camembert", "data2vec-text"].includes(config.model_type)) return config.model_type;
  if (!["encoder", "masked_lm"].includes(head)) return head;
  if (config.position_embedding_type !== "absolute") return config.position_embedding_type;
}

const [suite, output, ...chosen] = process.argv.slice(2);
if (!output) throw Error("give the directory of the suite, and one to write to");
mkdirSync(output, { recursive: true });
for (const { name, file } of JSON.parse(readFileSync(join(suite, "index.json"), "utf8")).cases) {
  if (chosen.length && !chosen.includes(name)) continue;
  const { arrays, metadata } = readSafetensors(join(suite, file));
  const config = JSON.parse(metadata.config);
  const why = unsupported(config, metadata.head);
  if (why) {
    console.log(`${name}: skipped, ${why}`);
    continue;
  }
  const inputs = {};
  for (const key of Object.keys(arrays)) if (key.startsWith("inputs.")) inputs[key.slice(7)] = arrays[key];
  writeSafetensors(join(output, `${name}.safetensors`), roberta(arrays, config, metadata.head, inputs));
  console.log(`${name}: written`);
}
