"""Embeddings, attention, feed-forward, the encoder: the body that every head stands on.

Every function takes activations and a place in the parameter tree (`Node`), whose names are the checkpoint's, and
gives each value the name of the module that Hugging Face has for it. Letters as in `ops`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import ops
from .backend.arrays import Array, as_container, cast, compute_dtype, namespace, widened
from .backend.schedule import by_rows, each, sequence_shares
from .config import Config
from .errors import InputError
from .packing import Packing, Segment, segments, spans
from .trace import Node, is_recording, tap

KeysValues = tuple[Array, ...]
"""(k, v) of a layer, or (k, v, cross k, cross v); each (B, H, S, E)."""


class Cache(tuple[KeysValues, ...]):
    """The keys and values of the tokens so far, one tuple a layer: what `past_key_values` takes and gives.

    `tokens`, (B, 1), counts each row's tokens that are no pads, so that a left-padded prompt goes on at the right
    positions. A bare tuple in its place gets Hugging Face's numbering, which counts pads too.
    """

    tokens: Array

    def __new__(cls, layers: Sequence[KeysValues], tokens: Array) -> "Cache":
        """layers: each layer's keys and values; tokens: (B, 1) integers."""
        self = super().__new__(cls, layers)
        self.tokens = tokens
        as_container(cls, tokens, cls._flatten, cls._build)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:  # for copies and pickles, which know only a tuple's items
        return tuple(self), self.tokens

    def _flatten(self) -> tuple[tuple[Any, Array], None]:
        return (tuple(self), self.tokens), None

    @classmethod
    def _build(cls, _: None, children: tuple[Any, Array]) -> "Cache":
        self = super().__new__(cls, children[0])
        self.tokens = children[1]
        return self


def cached_length(cache: Sequence[KeysValues] | None) -> int:
    """How many places the cache holds."""
    return 0 if not cache else cache[0][0].shape[2]


# --- a module and its name ------------------------------------------------------------------------------------------


def dense(x: Array, p: Node) -> Array:
    """A linear layer with its name. On NumPy a weight in float16 is widened here, by NumPy's own promotion."""
    return tap(p.path, ops.linear(x, **p.tree))  # (..., I) -> (..., O)


def norm(x: Array, p: Node, config: Config) -> Array:
    """A layer norm with its name."""
    return tap(p.path, ops.layer_norm(x, **p.tree, eps=config.layer_norm_eps))


def embed(ids: Array, p: Node) -> Array:
    """The rows of a table, with its name."""
    return tap(p.path, computable(p.weight[ids]))  # (B, L) -> (B, L, D)


def at_places(function: Callable[[Array], Sequence[Array]], x: Array) -> Sequence[Array]:
    """function(x), which takes every place of (B, L, D) alone: on shares of the places, where nobody looks."""
    return function(x) if is_recording() else by_rows(function, x)


def computable(x: Array) -> Array:
    """x in the dtype that its library computes in."""
    return cast(x, compute_dtype(namespace(x), x.dtype))


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
    """LayerNorm(word + token type + position), without the norm in XLM-Roberta-XL. Returns (B, L, D).

    Devlin et al. 2019, section 3 and figure 2. Relative positions enter in the attention, and add nothing here.
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


def number_tokens(
    config: Config, input_ids: Array | None, inputs_embeds: Array | None, past: Sequence[KeysValues] | None
) -> tuple[Array, Array]:
    """The position of each token, (B, L), and each row's count of tokens up to here, pads apart, (B, 1).

    Embeddings do not tell a pad, so that each counts. After a `Cache` the numbers go on from its count of tokens; after
    a bare tuple as in the reference, from its length for ids, and anew for embeddings.
    """
    pad = config.pad_token_id
    if input_ids is not None:
        ids, before = input_ids, cached_length(past)
    else:
        B, L, _ = inputs_embeds.shape  # type: ignore[union-attr]
        ids, before = namespace(inputs_embeds).full((B, L), pad + 1), 0  # as of any id that is no pad
    if isinstance(past, Cache):
        before = past.tokens
    return ops.create_position_ids_from_input_ids(ids, pad, before), (ids != pad).sum(1, keepdims=True) + before


# --- attention ------------------------------------------------------------------------------------------------------


class Attended(NamedTuple):
    """What an attention makes beside its output: the probabilities (B, H, L, S), and its keys and values."""

    probs: Array | None  # where they were not asked for
    cache: KeysValues


def attention(
    x: Array,
    p: Node,
    config: Config,
    *,
    mask: Array | None,
    head_mask: Array | None,
    past: KeysValues | None,
    memory: Array | None = None,
    segments: Sequence[Segment] | None = None,
    keep_probs: bool = True,
) -> tuple[Array, Attended]:
    """softmax(q kᵀ / √E + mask) v in each head, the heads merged and projected (Vaswani et al. 2017, section 3.2).

    Self-attention takes keys and values from x, after those of `past`; cross-attention takes them from `memory`, the
    encoder's last hidden state, or from `past` where they stand already. x: (B, L, D); memory: (B, S, D).
    In a packed row each segment attends by itself. Returns (B, L, D), and what was `Attended`.
    """
    own = p.self
    E = config.head_size
    if memory is None:
        q, *new = project(x, [own.query, own.key, own.value], E)
        k, v = append(past, tuple(new))
    else:
        (q,) = project(x, [own.query], E)
        k, v = project(memory, [own.key, own.value], E) if past is None else past
    probs = None
    if segments is not None:
        context = attend_by_segments(q, k, v, segments)
    elif keep_probs or "distance_embedding" in own:
        probs = probabilities(q, k, own, config, mask, head_mask)
        context = probs @ v  # (B, H, L, S) @ (B, H, S, E) -> (B, H, L, E)
    else:
        context = ops.attend(q, k, v, mask)
    context = tap(own.path, ops.merge_heads(context))  # (B, H, L, E) -> (B, L, D)
    (output,) = at_places(lambda x: [dense(x, p.output.dense)], context)
    return output, Attended(probs, (k, v))


def attend_by_segments(q: Array, k: Array, v: Array, segments: Sequence[Segment]) -> Array:
    """`ops.attend` of each sequence of a packed row. q: (1, H, T, E); k, v: (1, H, S, E). Returns (1, H, T, E)."""

    def attend(s: Segment) -> Array:
        return ops.attend(q[:, :, s.queries], k[:, :, s.keys], v[:, :, s.keys], s.mask)

    scores = sum((s.queries.stop - s.queries.start) * (s.keys.stop - s.keys.start) for s in segments)
    none = q[:, :, :0]  # for a share of which nothing is asked
    return namespace(q).concatenate([none, *each(attend, segments, q, scores * q.shape[1])], axis=2)


def probabilities(q: Array, k: Array, p: Node, config: Config, mask: Array | None, head_mask: Array | None) -> Array:
    """softmax(q kᵀ / √E + mask), with relative positions where there are any, times the head mask. (B, H, L, S)."""
    relative = None
    if "distance_embedding" in p:
        with_key = config.position_embedding_type == "relative_key_query"
        relative = ops.relative_scores(q, k, p.distance_embedding.weight, with_key)
    scores = tap(f"{p.path}.scores", ops.attention_scores(q, k, mask, relative))
    probs = cast(ops.softmax(scores), q.dtype)
    if head_mask is not None:
        probs = probs * head_mask[None, :, None, None]
    return tap(f"{p.path}.probs", probs)


def project(x: Array, parts: Sequence[Node], E: int) -> KeysValues:
    """Queries, keys or values of every place, split into heads. x: (B, L, D). Returns of each (B, H, L, E)."""
    made = at_places(lambda x: [dense(x, p) for p in parts], x)
    return tuple(ops.split_heads(y, E) for y in made)  # (B, L, D) -> (B, H, L, E)


def append(past: KeysValues | None, new: KeysValues) -> KeysValues:
    """The keys and values of earlier places, then those of the new ones."""
    if past is None:
        return new
    return tuple(namespace(x).concatenate([before, x], axis=2) for before, x in zip(past, new, strict=True))


# --- feed-forward ---------------------------------------------------------------------------------------------------


def feed_forward(x: Array, p: Node, config: Config) -> Array:
    """act(x W₁ᵀ + b₁) W₂ᵀ + b₂ at every place alone (Vaswani et al. 2017, section 3.3). (B, L, D) -> (B, L, D)."""
    hidden = ops.ACTIVATIONS[config.hidden_act](dense(x, p.intermediate.dense))  # (B, L, D) -> (B, L, F)
    return dense(tap(p.intermediate.path, hidden), p.output.dense)  # (B, L, F) -> (B, L, D)


def chunked_feed_forward(x: Array, p: Node, config: Config) -> Array:
    """`feed_forward` on `chunk_size_feed_forward` places at a time, for the sake of memory; the result is the same."""
    size, L = config.chunk_size_feed_forward, x.shape[1]
    if size and L % size:
        raise InputError(f"input of {L} tokens; chunk_size_feed_forward {size} must divide the length: pad the input")
    if not size or is_recording():  # a named value has its full shape
        return feed_forward(x, p, config)
    chunks = [feed_forward(x[:, i : i + size], p, config) for i in range(0, L, size)]
    return namespace(x).concatenate(chunks, axis=1)


# --- the encoder ----------------------------------------------------------------------------------------------------


def residual(x: Array, f: Callable[[Array], tuple[Array, Any]], p: Node, config: Config) -> tuple[Array, Any]:
    """A sum around f, with the norm after it (post-LN) or before f (pre-LN; Xiong et al. 2020, figure 1).

    p holds the norm and names the sum, as in Roberta; where another family keeps the norm elsewhere, its table of names
    says so. f returns its output and whatever else it makes, which is passed on.
    """
    if config.norm_first:
        output, rest = f(norm(x, p.LayerNorm, config))
        return tap(p.path, x + output), rest
    output, rest = f(x)
    if not is_recording() and widened(x.dtype) == x.dtype:  # a half type's sum is rounded before its norm
        return ops.layer_norm_of_sum(x, output, **p.LayerNorm.tree, eps=config.layer_norm_eps), rest
    return tap(p.path, norm(tap(f"{p.path}.sum", x + output), p.LayerNorm, config)), rest


class AttentionInputs(NamedTuple):
    """What the layers attend under: additive masks, the sequence of cross-attention, the cache, the parts of a row."""

    mask: Array | None  # (B, 1, 1 or L, S)
    head_mask: Array | None  # (layers, H); in a layer (H,)
    memory: Array | None  # (B, S, D)
    memory_mask: Array | None  # (B, 1, 1 or L, S)
    past: Any  # layers of KeysValues; in a layer one
    segments: Sequence[Segment] | None = None  # of a packed row
    keep_probs: bool = True  # whether somebody asked for the probabilities

    def of_sequences(self, some: slice) -> "AttentionInputs":
        """What some sequences of a batch attend under, of which nothing is cached."""
        memory = None if self.memory is None else self.memory[some]
        return self._replace(
            mask=_of_rows(self.mask, some), memory=memory, memory_mask=_of_rows(self.memory_mask, some)
        )

    def of_layer(self, index: int) -> "AttentionInputs":
        """What one layer attends under."""
        head_mask = None if self.head_mask is None else self.head_mask[index]
        past = None if self.past is None else self.past[index]
        return self._replace(head_mask=head_mask, past=past)


def _of_rows(mask: Array | None, some: slice) -> Array | None:
    """What a mask (B or 1, 1, 1 or L, S) says of some sequences."""
    return mask if mask is None or len(mask) == 1 else mask[some]


class LayerOutput(NamedTuple):
    """What a layer makes: x (B, L, D), the probabilities of its attentions, and its part of the cache."""

    x: Array
    attention: Array | None
    cross_attention: Array | None
    cache: KeysValues


def encoder_layer(
    x: Array, p: Node, config: Config, inputs: AttentionInputs, asked: Sequence[int] | None = None
) -> LayerOutput:
    """Self-attention, cross-attention where there is a memory, feed-forward; each with its residual sum and norm.

    asked: the places of a packed row that go on, the others being keys and values alone.
    """
    mask, head_mask, memory, memory_mask, past, segments, keep_probs = inputs
    past_self = None if past is None else past[:2]
    past_cross = None if past is None else past[2:]

    def attend(y: Array, keys: Array | None = None) -> tuple[Array, Attended]:
        return attention(
            y, p.attention, config, mask=mask, head_mask=head_mask, past=past_self, memory=keys, segments=segments,
            keep_probs=keep_probs,
        )  # fmt: skip

    def attend_from_asked(y: Array) -> tuple[Array, Attended]:
        return attend(y, norm(x, p.attention.output.LayerNorm, config) if config.norm_first else x)

    def attend_to_memory(x: Array) -> tuple[Array, Attended]:
        return attention(
            x, p.crossattention, config, mask=memory_mask, head_mask=head_mask, past=past_cross, memory=memory,
            keep_probs=keep_probs,
        )  # fmt: skip

    def transform(x: Array) -> tuple[Array, None]:
        return (chunked_feed_forward if segments is None else feed_forward)(x, p, config), None

    def to_output(x: Array) -> list[Array]:
        return [residual(x, transform, p.output, config)[0]]

    if asked is None:
        x, seen = residual(x, attend, p.attention.output, config)
    else:
        x, seen = residual(x[:, namespace(x).asarray(asked, dtype=int)], attend_from_asked, p.attention.output, config)
    x = tap(p.attention.path, x)
    cross = None
    if memory is not None:
        x, cross = residual(x, attend_to_memory, p.crossattention.output, config)
        x = tap(p.crossattention.path, x)
    whole = segments is None and config.chunk_size_feed_forward  # chunks are of a sequence
    (x,) = to_output(x) if whole else at_places(to_output, x)
    x = tap(p.path, x)
    if cross is None:
        return LayerOutput(x, seen.probs, None, seen.cache)
    return LayerOutput(x, seen.probs, cross.probs, seen.cache + cross.cache)


class Body(NamedTuple):
    """What the base model makes. What was not asked for is None."""

    last_hidden_state: Array  # (B, L, D)
    hidden_states: tuple[Array, ...] | None  # layers + 1 of (B, L, D)
    attentions: tuple[Array, ...] | None  # layers of (B, H, L, S)
    cross_attentions: tuple[Array, ...] | None
    cache: tuple[KeysValues, ...] | None


def encoder(
    x: Array,
    p: Node,
    config: Config,
    inputs: AttentionInputs,
    *,
    use_cache: bool,
    attentions: bool,
    hidden_states: bool,
    packing: Packing | None,
) -> Body:
    """The layers one after the other. x: (B, L, D), the embeddings; in a packed row the last has what was asked for."""
    states, probs, cross_probs, caches = [x] if hidden_states else [], [], [], []
    for index in range(config.num_hidden_layers):
        own, asked = inputs.of_layer(index), None
        if packing and packing.asked is not None and index == config.num_hidden_layers - 1:
            own = own._replace(segments=segments(packing, config, x, packing.asked))
            starts = [span.start for span in spans(packing.lengths)]
            asked = [start + i for start, places in zip(starts, packing.asked, strict=True) for i in places]
        layer = encoder_layer(x, p.layer[index], config, own, asked)
        x = layer.x
        if hidden_states:
            states.append(x)
        if attentions:
            probs.append(layer.attention)
            cross_probs.append(layer.cross_attention)
        if use_cache:
            caches.append(layer.cache)
    if "LayerNorm" in p:  # XLM-Roberta-XL's last hidden state is behind the last norm
        x = norm(x, p.LayerNorm, config)
        states[-1:] = [x] if hidden_states else []
    return Body(
        tap(p.path, x),
        tuple(states) if hidden_states else None,
        tuple(probs) if attentions else None,
        tuple(cross_probs) if attentions and inputs.memory is not None else None,
        tuple(caches) if use_cache else None,
    )


def by_sequences(
    x: Array, p: Node, config: Config, inputs: AttentionInputs, *, packing: Packing | None, **asked: bool
) -> Body:
    """`encoder`, which for who asks for the last hidden state alone takes shares of the sequences: they do not mix.

    x: (B, L, D), or a packed row, (1, T, D), of which a share is some of its segments.
    """
    some = sequence_shares(x, [x.shape[1]] * len(x) if packing is None else packing.lengths)
    if len(some) < 2 or is_recording() or inputs.past is not None or any(asked.values()):
        return encoder(x, p, config, inputs, packing=packing, **asked)

    def last_hidden_state(part: slice) -> Array:
        if packing is None:
            return encoder(x[part], p, config, inputs.of_sequences(part), packing=None, **asked).last_hidden_state
        own = packing.of_sequences(part)
        under = inputs._replace(segments=segments(own, config, x))
        return encoder(x[:, packing.tokens(part)], p, config, under, packing=own, **asked).last_hidden_state

    states = namespace(x).concatenate(each(last_hidden_state, some, x, x.size), axis=0 if packing is None else 1)
    return Body(states, None, None, None, None)


def body(
    p: Node,
    config: Config,
    *,
    input_ids: Array | None = None,
    attention_mask: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    head_mask: Array | None = None,
    inputs_embeds: Array | None = None,
    encoder_hidden_states: Array | None = None,
    encoder_attention_mask: Array | None = None,
    past_key_values: Sequence[KeysValues] | None = None,
    use_cache: bool = False,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    packing: Packing | None = None,
) -> Body:
    """The base model: embeddings, encoder, and where there is one a last norm (RobertaPreLayerNorm).

    input_ids, token_type_ids, position_ids: (B, L); inputs_embeds: (B, L, D) in place of ids; attention_mask: (B, S)
    or (B, L, S); head_mask: (H,) or (layers, H); encoder_hidden_states: (B, S', D) with a mask (B, S') or (B, L, S').
    packing: how one row (1, T) holds several sequences; it wants position_ids.
    """
    numbers, tokens = number_tokens(config, input_ids, inputs_embeds, past_key_values)
    x = embeddings(
        p.embeddings,
        config,
        input_ids=input_ids,
        inputs_embeds=inputs_embeds,
        token_type_ids=token_type_ids,
        position_ids=numbers if position_ids is None else position_ids,
    )
    inputs = AttentionInputs(
        self_attention_mask(x, attention_mask, cached_length(past_key_values), config),
        None if head_mask is None else expand_head_mask(cast(head_mask, x.dtype), config),
        None if encoder_hidden_states is None else computable(namespace(x).asarray(encoder_hidden_states)),
        None if encoder_attention_mask is None else ops.additive_mask(encoder_attention_mask, widened(x.dtype)),
        past_key_values,
        packing and segments(packing, config, x),
        output_attentions or head_mask is not None or is_recording(),
    )
    made = by_sequences(
        x, p.encoder, config, inputs,
        use_cache=use_cache, attentions=output_attentions, hidden_states=output_hidden_states, packing=packing,
    )  # fmt: skip
    if made.cache is not None:
        made = made._replace(cache=Cache(made.cache, tokens))
    if "LayerNorm" in p:
        made = made._replace(last_hidden_state=norm(made.last_hidden_state, p.LayerNorm, config))
    if packing and packing.asked is not None:
        made = made._replace(last_hidden_state=made.last_hidden_state.swapaxes(0, 1))  # (1, W, D) -> (W, 1, D)
    return made


def self_attention_mask(x: Array, mask: Array | None, past: int, config: Config) -> Array | None:
    """The additive mask of self-attention, or None where every query attends to every key.

    In a decoder a 2-D mask is multiplied by the causal one; a 3-D mask says all by itself. x: (B, L, D).
    Returns (B, 1, 1, S), (B, 1, L, S) or (1, 1, L, S).
    """
    xp, L = namespace(x), x.shape[1]
    if config.is_decoder and (mask is None or mask.ndim == 2):
        causal = ops.causal_mask(xp, L, L + past)[None]  # (1, L, S)
        mask = causal if mask is None else causal * mask[:, None, :]  # (B, L, S)
    return None if mask is None else ops.additive_mask(mask, widened(x.dtype))


def expand_head_mask(head_mask: Array, config: Config) -> Array:
    """One row a layer: (H,) is the same for all. Returns (layers, H)."""
    if head_mask.ndim == 2:
        return head_mask
    return namespace(head_mask).broadcast_to(head_mask[None, :], (config.num_hidden_layers, head_mask.shape[0]))
