"""RoBERTa's body, in the order of the papers: embeddings, attention, feed-forward, layer, encoder.

A function takes activations x and a place p in the parameter tree (`Node`), whose names are the checkpoint's, and gives
each value the name of Hugging Face's module for it. Letters as in `ops`. In which pieces a function is computed is the
matter of `backend.schedule`; how queries meet keys, of `attend`; how several sequences share a row, of `packed`.

    encoder_layer(x, p.encoder.layer[0], config)  # p = model.p, the parameters of a loaded model
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import ops
from .attend import Attend, Masked
from .backend.arrays import Array, namespace
from .backend.schedule import placewise, sequencewise
from .cache import KeysValues
from .config import Config
from .trace import Node, keep, tap

# --- a module and its name ------------------------------------------------------------------------------------------


def dense(x: Array, p: Node) -> Array:
    """A linear layer with its name."""
    return tap(p.path, ops.linear(x, **p.tree))  # (..., I) -> (..., O)


def norm(x: Array, p: Node, config: Config) -> Array:
    """A layer norm with its name."""
    return tap(p.path, ops.layer_norm(x, **p.tree, eps=config.layer_norm_eps))


def embed(ids: Array, p: Node) -> Array:
    """An embedding table's rows with their name."""
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
    """LayerNorm(word + token type + position), without the norm in XLM-Roberta-XL (Devlin et al. 2019, figure 2).

    All ids are (B, L); inputs_embeds, (B, L, D), replaces the word embeddings. Token types are 0 by default. Relative
    positions enter in the attention, and add nothing here. Returns (B, L, D).
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

UNMASKED = Masked()
"""Every token attends to every token."""


def self_attention(x: Array, p: Node, config: Config, attend: Attend = UNMASKED, past: KeysValues = ()) -> Array:
    """softmax(q kᵀ / √E + mask) v in each head, the heads merged and projected (Vaswani et al. 2017, section 3.2).

    The keys and values of earlier tokens, `past`, come before the new ones; all are kept for the next call's `past`.
    (B, L, D) -> (B, L, D).
    """
    q, *new = project_heads(x, config, p.self.query, p.self.key, p.self.value)
    if past:
        new = [namespace(x).concatenate(pair, axis=2) for pair in zip(past, new, strict=True)]  # (B, H, S, E) each
    k, v = keep(f"{p.self.path}.past", tuple(new))
    return output(attend(q, k, v, p.self, config), p)


def cross_attention(
    x: Array, memory: Array, p: Node, config: Config, attend: Attend = UNMASKED, past: KeysValues = ()
) -> Array:
    """The same with the keys and values of another sequence, memory: (B, S, D), or with `past`, where they are kept."""
    (q,) = project_heads(x, config, p.self.query)
    k, v = keep(f"{p.self.path}.past", past or project_heads(memory, config, p.self.key, p.self.value))
    return output(attend(q, k, v, p.self, config), p)


def project_heads(x: Array, config: Config, *parts: Node) -> tuple[Array, ...]:
    """Queries, keys or values of every position in every head."""
    return tuple(ops.split_heads(y, config.head_size) for y in project(x, *parts))  # (B, L, D) -> (B, H, L, E) each


@placewise
def project(x: Array, *parts: Node) -> tuple[Array, ...]:
    """Several linear layers of the same input."""
    return tuple(dense(x, p) for p in parts)


def output(context: Array, p: Node) -> Array:
    """The heads merged, and one more linear layer."""
    (y,) = project(tap(p.self.path, ops.merge_heads(context)), p.output.dense)  # (B, H, L, E) -> (B, L, D)
    return y


# --- feed-forward ---------------------------------------------------------------------------------------------------


def feed_forward(x: Array, p: Node, config: Config) -> Array:
    """act(x W₁ᵀ + b₁) W₂ᵀ + b₂ at every position alone (Vaswani et al. 2017, section 3.3). (B, L, D) -> (B, L, D)."""
    hidden = ops.ACTIVATIONS[config.hidden_act](dense(x, p.intermediate.dense))  # (B, L, D) -> (B, L, F)
    return dense(tap(p.intermediate.path, hidden), p.output.dense)  # (B, L, F) -> (B, L, D)


# --- the layer and the encoder --------------------------------------------------------------------------------------


def residual(x: Array, f: Callable[[Array], Array], p: Node, config: Config) -> Array:
    """x + f(x), with a norm after the sum (post-LN), or before f (pre-LN; Xiong et al. 2020, figure 1).

    p holds the norm and names the sum, as in Roberta; where another family keeps the norm elsewhere, its table of names
    says so. (B, L, D) -> (B, L, D).
    """
    if config.norm_first:
        return tap(p.path, x + f(norm(x, p.LayerNorm, config)))
    return tap(p.path, norm(tap(f"{p.path}.sum", x + f(x)), p.LayerNorm, config))


class LayerInputs(NamedTuple):
    """Inputs of one layer besides x; by default every token attends to every token.

    memory: (B, S, D), the other sequence of cross-attention, to which queries attend by `attend_to_memory`.
    past: keys and values of earlier tokens, for self-attention, then for cross-attention.
    """

    attend: Attend = UNMASKED
    memory: Array | None = None
    attend_to_memory: Attend = UNMASKED
    past: KeysValues = ()

    def of_sequences(self, some: slice) -> "LayerInputs":
        """The same for some sequences of a batch."""
        memory = None if self.memory is None else self.memory[some]
        attend, attend_to_memory = (one.of_sequences(some) for one in (self.attend, self.attend_to_memory))
        return LayerInputs(attend, memory, attend_to_memory, tuple(x[some] for x in self.past))


PLAIN = LayerInputs()
"""A layer without a mask, another sequence or earlier tokens."""


def encoder_layer(x: Array, p: Node, config: Config, inputs: LayerInputs = PLAIN) -> Array:
    """Self-attention, cross-attention where there is a memory, feed-forward, each in a residual sum with its norm.

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
    """The second half of a layer, in which positions do not mix."""
    return residual(x, lambda x: feed_forward(x, p, config), p.output, config)


@sequencewise
def encoder(x: Array, p: Node, config: Config, inputs: Sequence[LayerInputs]) -> Array:
    """The layers one after the other, then XLM-Roberta-XL's last norm. inputs: one a layer. (B, L, D) -> (B, L, D)."""
    for index, own in enumerate(inputs):
        x = encoder_layer(x, p.layer[index], config, own)
    if "LayerNorm" in p:
        x = norm(x, p.LayerNorm, config)
    return tap(p.path, x)
