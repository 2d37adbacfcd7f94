/**
 * RoBERTa's body and masked language modelling head, in the order of the papers: see minroberta/layers.py and heads.py.
 *
 * Each value is named by `tap` after the module of Hugging Face's model that computes it, as in minroberta/trace.py.
 * So every value can be seen, changed, and compared by name with a golden file: see golden.js.
 *
 * Letters: L tokens, D hidden size, H heads, F feed-forward size, V vocabulary.
 */

import {
  add, attentionScores, embedding, gelu, layerNorm, linear, scaleHeads, softmax, weightedValues,
} from "./ops.js";

/**
 * The functions of a model: `encoder`, `lmHead`, and `maskedLm`, which is one after the other.
 *
 * weights: arrays by name. config: the fields of config.json. tap: gets each name and value, and returns the value or a
 * replacement. headMask: for each layer a factor for each head, applied after the softmax; 0 switches a head off.
 */
export function roberta({ weights, config }, { tap = (name, value) => value, headMask = [] } = {}) {
  const parameters = (name) => [weights[`${name}.weight`], weights[`${name}.bias`]];
  const embed = (ids, name) => tap(name, embedding(ids, weights[`${name}.weight`])); // (1, L) -> (1, L, D)
  const dense = (x, name) => tap(name, linear(x, ...parameters(name)));
  const norm = (x, name) => tap(name, layerNorm(x, ...parameters(name), config.layer_norm_eps));

  /** LayerNorm(word + token type + position) (Devlin et al. 2019, figure 2). (1, L) -> (1, L, D). */
  function embeddings(ids) {
    const words = embed(ids, "embeddings.word_embeddings");
    const types = embed({ shape: ids.shape, data: ids.data.map(() => 0) }, "embeddings.token_type_embeddings");
    const positions = embed(tap("embeddings.position_ids", positionIds(ids)), "embeddings.position_embeddings");
    const sum = tap("embeddings.sum", add(words, types, positions));
    return tap("embeddings", norm(sum, "embeddings.LayerNorm"));
  }

  /** Positions begin after the padding's: padding_idx + 1, padding_idx + 2 … A sentence alone has no padding. */
  function positionIds(ids) {
    return { shape: ids.shape, data: ids.data.map((_, l) => config.pad_token_id + 1 + l) };
  }

  /** softmax(q kᵀ / √E) v in each head (Vaswani et al. 2017, section 3.2). (1, L, D) -> (1, L, D). */
  function selfAttention(x, layer) {
    const p = `encoder.layer.${layer}.attention.self`;
    const [q, k, v] = ["query", "key", "value"].map((part) => dense(x, `${p}.${part}`));
    const scores = tap(`${p}.scores`, attentionScores(q, k, config.num_attention_heads)); // (1, H, L, L)
    const probs = tap(`${p}.probs`, scaleHeads(softmax(scores), headMask[layer]));
    return tap(p, weightedValues(probs, v)); // (1, H, L, L) and (1, L, D) -> (1, L, D)
  }

  /** Post-LN: LayerNorm(x + y W + b), where y is what attention or the feed-forward part made of x. */
  function output(x, y, name) {
    const sum = tap(`${name}.sum`, add(x, dense(y, `${name}.dense`)));
    return tap(name, norm(sum, `${name}.LayerNorm`));
  }

  /** Self-attention, then gelu(x W₁ᵀ + b₁) W₂ᵀ + b₂, each with its residual sum and norm. (1, L, D) -> (1, L, D). */
  function encoderLayer(x, layer) {
    const p = `encoder.layer.${layer}`;
    x = tap(`${p}.attention`, output(x, selfAttention(x, layer), `${p}.attention.output`));
    const hidden = tap(`${p}.intermediate`, gelu(dense(x, `${p}.intermediate.dense`))); // (1, L, D) -> (1, L, F)
    return tap(p, output(x, hidden, `${p}.output`)); // (1, L, F) -> (1, L, D)
  }

  /** The embeddings, and all layers in order. ids: (1, L). Returns (1, L, D). */
  function encoder(ids) {
    let x = embeddings(ids);
    for (let layer = 0; layer < config.num_hidden_layers; layer++) x = encoderLayer(x, layer);
    return tap("encoder", x);
  }

  /** LayerNorm(gelu(x Wᵀ + b)) Eᵀ + b', where E is the embedding table. (1, L, D) -> (1, L, V). */
  function lmHead(x) {
    const hidden = norm(tap("lm_head.gelu", gelu(dense(x, "lm_head.dense"))), "lm_head.layer_norm");
    return tap("lm_head", linear(hidden, weights["embeddings.word_embeddings.weight"], weights["lm_head.bias"]));
  }

  const maskedLm = (ids) => tap("logits", lmHead(encoder(ids)));
  return { encoder, lmHead, maskedLm };
}
