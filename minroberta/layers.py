"""RoBERTa's body, in the order of the papers: embeddings, attention, feed-forward, layer, encoder.

Each function takes activations x and a node p of the parameter tree: `p.tree` holds a module's weight and bias, and
`p.path` is the module's name in Hugging Face's models. `tap` names each value after the Hugging Face module that
computes it, so that a recorder can see or change the value. Without a recorder, `tap` returns its argument.

    encoder_layer(x, model.p.encoder.layer[0], model.config)  # one layer of a loaded model, by hand

The decorators `placewise` and `sequencewise` let NumPy compute a function in pieces, on several threads, with the same
result. They have no effect while values are recorded.

Letters: B batch, L queries, S keys, D hidden size, H heads, E head size (D = H·E), F feed-forward size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import activations, ops
from .attend import Attend, Masked
from .backend.arrays import Array, namespace
from .backend.schedule import placewise, sequencewise
from .cache import KeysValues
from .config import Config
from .trace import Node, keep, tap

# --- a module and its name ------------------------------------------------------------------------------------------


def dense(x: Array, p: Node) -> Array:
    """Apply a linear layer; the output is named after the node."""
    return tap(p.path, ops.linear(x, **p.tree))  # (..., I) -> (..., O)


def norm(x: Array, p: Node, config: Config) -> Array:
    """Apply a layer norm; the output is named after the node."""
    return tap(p.path, ops.layer_norm(x, **p.tree, eps=config.layer_norm_eps))


def embed(ids: Array, p: Node) -> Array:
    """Look up rows of an embedding table; the output is named after the node."""
    return tap(p.path, ops.embedding(ids, **p.tree))  # (B, L) -> (B, L, D)


# --- embeddings -----------------------------------------------------------------------------------------------------


def embeddings(
    p: Node,
    config: Config,
    *,
    input_ids: Array | None,
    inputs_embeds: Array | None,
    token_type_ids: Array | None,
    position_ids: Array,
) -> Array:
    """LayerNorm(word + token type + position) (Devlin et al. 2019, figure 2); XLM-RoBERTa-XL omits the norm.

    All ids are (B, L); inputs_embeds, (B, L, D), replaces the word embeddings. Token types are 0 by default. Relative
    positions are handled by the attention, not here. Returns (B, L, D).
    """
    x = embed(input_ids, p.word_embeddings) if inputs_embeds is None else inputs_embeds
    if token_type_ids is None:
        token_type_ids = namespace(x).zeros(x.shape[:2], dtype=int)  # (B, L)
    x = x + embed(token_type_ids, p.token_type_embeddings)
    if config.position_embedding_type == "absolute":
        x = x + embed(tap(f"{p.path}.position_ids", position_ids), p.position_embeddings)
    if config.embedding_norm:
        x = norm(tap(f"{p.path}.sum", x), p.LayerNorm, config)
    return tap(p.path, x)


# --- attention ------------------------------------------------------------------------------------------------------

UNMASKED = Masked()  # every token attends to every token


def self_attention(x: Array, p: Node, config: Config, attend: Attend = UNMASKED, past: KeysValues = ()) -> Array:
    """softmax(q kᵀ / √E + mask) v in each head, then the output projection (Vaswani et al. 2017, section 3.2).

    past: the keys and values of earlier tokens; those of x are appended. A caller can collect the longer arrays with
    `trace.keeping`, and pass them as `past` in the next call. (B, L, D) -> (B, L, D).
    """
    q, *new = project_heads(x, config, p.self.query, p.self.key, p.self.value)
    if past:
        new = [namespace(x).concatenate(pair, axis=2) for pair in zip(past, new, strict=True)]  # (B, H, S, E) each
    k, v = keep(f"{p.self.path}.past", tuple(new))
    return output(attend(q, k, v, p.self, config), p)


def cross_attention(
    x: Array, memory: Array, p: Node, config: Config, attend: Attend = UNMASKED, past: KeysValues = ()
) -> Array:
    """Like `self_attention`, but keys and values are `past` or, if it is empty, from memory: (B, S, D)."""
    (q,) = project_heads(x, config, p.self.query)
    k, v = keep(f"{p.self.path}.past", tuple(past) or project_heads(memory, config, p.self.key, p.self.value))
    return output(attend(q, k, v, p.self, config), p)


def project_heads(x: Array, config: Config, *parts: Node) -> tuple[Array, ...]:
    """Project x to queries, keys or values, and split each of them into heads."""
    return tuple(ops.split_heads(y, config.head_size) for y in project(x, *parts))  # (B, L, D) -> (B, H, L, E) each


@placewise
def project(x: Array, *parts: Node) -> tuple[Array, ...]:
    """Apply several linear layers to the same input."""
    return tuple(dense(x, p) for p in parts)


def output(context: Array, p: Node) -> Array:
    """Merge the heads and apply the output projection."""
    (y,) = project(tap(p.self.path, ops.merge_heads(context)), p.output.dense)  # (B, H, L, E) -> (B, L, D)
    return y


# --- feed-forward ---------------------------------------------------------------------------------------------------


def feed_forward(x: Array, p: Node, config: Config) -> Array:
    """act(x W₁ᵀ + b₁) W₂ᵀ + b₂ at each position (Vaswani et al. 2017, section 3.3). (B, L, D) -> (B, L, D)."""
    hidden = activations.ACTIVATIONS[config.hidden_act](dense(x, p.intermediate.dense))  # (B, L, D) -> (B, L, F)
    return dense(tap(p.intermediate.path, hidden), p.output.dense)  # (B, L, F) -> (B, L, D)


# --- the layer and the encoder --------------------------------------------------------------------------------------


def residual(x: Array, f: Callable[[Array], Array], p: Node, config: Config) -> Array:
    """Post-LN: norm(x + f(x)). Pre-LN: x + f(norm(x)) (Xiong et al. 2020, figure 1). (B, L, D) -> (B, L, D).

    p: the node that, in Roberta, holds f's last linear layer and the norm; the result is named after this node. Other
    families have the norm in a different module, so the norm's weights are renamed on loading (`config.FAMILIES`).
    """
    if config.norm_first:
        return tap(p.path, x + f(norm(x, p.LayerNorm, config)))
    return tap(p.path, norm(tap(f"{p.path}.sum", x + f(x)), p.LayerNorm, config))


class LayerInputs(NamedTuple):
    """The inputs of one layer other than x. By default, every token attends to every token.

    memory: (B, S, D), the sequence that cross-attention reads; required even if `past` has the keys and values.
    past: (), or self-attention's (k, v) of earlier tokens, followed by cross-attention's (k, v) if there is a memory.
    """

    attend: Attend = UNMASKED
    memory: Array | None = None
    attend_to_memory: Attend = UNMASKED
    past: KeysValues = ()

    def of_sequences(self, some: slice) -> "LayerInputs":
        """The same inputs for a slice of the batch."""
        memory = None if self.memory is None else self.memory[some]
        attend, attend_to_memory = (one.of_sequences(some) for one in (self.attend, self.attend_to_memory))
        return LayerInputs(attend, memory, attend_to_memory, tuple(x[some] for x in self.past))


PLAIN = LayerInputs()  # without a mask, memory or past


def encoder_layer(x: Array, p: Node, config: Config, inputs: LayerInputs = PLAIN) -> Array:
    """Self-attention, cross-attention if there is a memory, and feed-forward, each with its residual sum and norm.

    (B, L, D) -> (B, L, D).
    """
    attend, memory, attend_to_memory, past = inputs

    def within(x: Array) -> Array:
        return self_attention(x, p.attention, config, attend, past[:2])

    def across(x: Array) -> Array:
        return cross_attention(x, memory, p.crossattention, config, attend_to_memory, past[2:])

    x = tap(p.attention.path, residual(x, within, p.attention.output, config))
    if memory is not None:
        x = tap(p.crossattention.path, residual(x, across, p.crossattention.output, config))
    return tap(p.path, transform(x, p, config))


@placewise
def transform(x: Array, p: Node, config: Config) -> Array:
    """Feed-forward with its residual sum and norm; positions are independent."""
    return residual(x, lambda x: feed_forward(x, p, config), p.output, config)


@sequencewise
def encoder(x: Array, p: Node, config: Config, inputs: Sequence[LayerInputs]) -> Array:
    """All layers in order, then XLM-RoBERTa-XL's final norm. (RoBERTa-PreLayerNorm's is in `model.body`.)

    inputs: one `LayerInputs` per layer. (B, L, D) -> (B, L, D).
    """
    for index, own in enumerate(inputs):
        x = encoder_layer(x, p.layer[index], config, own)
    if "LayerNorm" in p:
        x = norm(x, p.LayerNorm, config)
    return tap(p.path, x)
