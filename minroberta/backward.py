"""The gradient of a model's loss, by hand: `layers`, `heads` and `model.body`, in reverse order.

Each function has the name of the one that it reverses. It takes g, the gradient of the loss with respect to that
function's result, and returns the gradient with respect to its input x. What else it needs is in a `Pass`: the values
of the forward pass by name, as `trace` has them, and the sums of the parameters' gradients. `tap` names each gradient
after the value that it belongs to, so that a recorder can see or change it.

Letters: B batch, L queries, S keys, D hidden size, H heads, E head size (D = H·E), F feed-forward size,
V vocabulary, C choices, N labels.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from . import heads as forward_heads
from . import model as forward_model
from . import ops, ops_backward
from .backend.arrays import Array, namespace, scattered
from .backend.precision import precise
from .backend.schedule import steady
from .config import HEADS as HEADS_OF_MODELS
from .config import Config
from .errors import InputError
from .inputs import Inputs
from .layers import LayerInputs
from .model import Network, layer_inputs, table
from .ops_backward import SLOPES
from .trace import Node, Record, recording, tap
from .weights import flat, head_shapes, tree

Backward = Callable[[Array, Array], Array]
"""A function from the gradient of its result and its input to the gradient of its input."""


class Pass(NamedTuple):
    """Inputs and sums of a backward pass. values: those of the forward pass, by name, as the model computed them.

    gradients: the sum so far for each parameter, by name, and for the memory of cross-attention.
    """

    config: Config
    inputs: Inputs
    values: dict[str, Array]
    gradients: dict[str, Array]

    @property
    def labels(self) -> Array:
        """The labels of the loss."""
        return self.inputs.labels

    def forget_after(self, name: str) -> None:
        """Free the values that were computed after this one, once the backward pass has come back to it."""
        while next(reversed(self.values)) != name:
            self.values.popitem()

    def add(self, name: str, g: Array) -> None:
        """Add to the gradient of a parameter, or of a memory, which every layer reads."""
        self.gradients[name] = self.gradients.pop(name) + g if name in self.gradients else g

    def of_module(self, p: Node, own: Mapping[str, Array]) -> None:
        """Add to the gradients of a module's parameters."""
        for name, g in own.items():
            self.add(f"{p.path}.{name}", g)


# --- a module -------------------------------------------------------------------------------------------------------


def dense(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """y = x Wᵀ + b. (..., O) -> (..., I)."""
    g, own = ops_backward.linear(tap(p.path, g), x, p.weight)
    to.of_module(p, own)
    return g


def norm(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """y = LayerNorm(x). (..., D) -> (..., D)."""
    g, own = ops_backward.layer_norm(tap(p.path, g), x, p.weight, to.config.layer_norm_eps)
    to.of_module(p, own)
    return g


def embed(g: Array, ids: Array, p: Node, to: Pass, padding: int | None = None) -> None:
    """y = W[ids]. padding: an id whose row gets no gradient, as with `padding_idx` of torch.nn.Embedding.

    If the ids are the same for all sequences, (1, L), the gradients of the sequences are summed.
    """
    xp, name = namespace(g), f"{p.path}.weight"
    g = tap(p.path, g.sum(0, keepdims=True) if len(ids) < len(g) else g)
    if padding is not None:
        g = xp.where((ids != padding)[..., None], g, 0)
    sums = to.gradients.pop(name) if name in to.gradients else xp.zeros(p.weight.shape, g.dtype)  # of a tied decoder
    to.gradients[name] = ops_backward.embedding(g, ids, sums)


# --- embeddings -----------------------------------------------------------------------------------------------------


def embeddings(g: Array, p: Node, to: Pass) -> None:
    """Every table gets the gradient of the sum, at its own ids."""
    config, inputs, pad = to.config, to.inputs, to.config.pad_token_id
    g = tap(p.path, g)
    if config.embedding_norm:
        g = tap(f"{p.path}.sum", norm(g, to.values[f"{p.path}.sum"], p.LayerNorm, to))
    types = inputs.token_type_ids
    if config.position_embedding_type == "absolute":
        embed(g, to.values[f"{p.path}.position_ids"], p.position_embeddings, to, pad)
    embed(g, namespace(g).zeros(g.shape[:2], dtype=int) if types is None else types, p.token_type_embeddings, to)
    if inputs.inputs_embeds is None:
        embed(g, inputs.input_ids, p.word_embeddings, to, pad)
    else:
        tap("inputs_embeds", g)


# --- attention ------------------------------------------------------------------------------------------------------


def self_attention(g: Array, x: Array, p: Node, inputs: LayerInputs, to: Pass) -> Array:
    """x is projected three times, so its gradient is a sum of three. Keys and values in `past` do not depend on x."""
    k, v = heads_of(p.self.key, to), heads_of(p.self.value, to)
    if inputs.past:
        k, v = (namespace(x).concatenate(pair, axis=2) for pair in zip(inputs.past[:2], (k, v), strict=True))
    gq, gk, gv = attend(g, k, v, p, inputs.attend.head_mask, to)
    new = slice(k.shape[2] - x.shape[1], None)
    parts = zip((gv[:, new], gk[:, new], gq), (p.self.value, p.self.key, p.self.query), strict=True)
    return sum(dense(g, x, part, to) for g, part in parts)


def cross_attention(g: Array, x: Array, p: Node, inputs: LayerInputs, to: Pass) -> Array:
    """Only the queries come from x. Keys and values come from the memory, whose gradient is collected."""
    past, memory = inputs.past[2:], inputs.memory
    k, v = past or (heads_of(p.self.key, to), heads_of(p.self.value, to))
    gq, gk, gv = attend(g, k, v, p, inputs.attend_to_memory.head_mask, to)
    if not past:
        to.add(MEMORY, dense(gk, memory, p.self.key, to) + dense(gv, memory, p.self.value, to))
    return dense(gq, x, p.self.query, to)


MEMORY = "encoder_hidden_states"
"""The name of the memory's gradient, with which a decoder's encoder can be trained."""


def heads_of(p: Node, to: Pass) -> Array:
    """The queries, keys or values of each head, (B, H, L, E)."""
    return ops.split_heads(to.values[p.path], to.config.head_size)


def attend(g: Array, k: Array, v: Array, p: Node, head_mask: Array | None, to: Pass) -> tuple[Array, Array, Array]:
    """From the output projection to queries, (B, L, D), and keys and values, (B, S, D). k, v: (B, H, S, E)."""
    at, q = p.self.path, heads_of(p.self.query, to)
    g = tap(at, dense(g, to.values[at], p.output.dense, to))
    g, gv = ops_backward.weighted_sum(ops.split_heads(g, to.config.head_size), to.values[f"{at}.probs"], v)
    g = tap(f"{at}.probs", g)  # (B, H, L, S)
    if head_mask is not None:
        g = g * head_mask[:, None, None]
    p_again = ops.softmax(to.values[f"{at}.scores"])  # as before a recorder, such as dropout, changed the value probs
    g = tap(f"{at}.scores", ops_backward.softmax(g, p_again))
    gq, gk, g = ops_backward.attention_scores(g, q, k)
    if "distance_embedding" in p.self:
        with_key = to.config.position_embedding_type == "relative_key_query"
        more_q, more_k, own = ops_backward.relative_scores(g, q, k, p.self.distance_embedding.weight, with_key)
        gq, gk = gq + more_q, gk + more_k
        to.add(f"{at}.distance_embedding.weight", own)
    return ops.merge_heads(gq), ops.merge_heads(gk), ops.merge_heads(gv)


# --- the layer and the encoder --------------------------------------------------------------------------------------


def feed_forward(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """y = act(u) W₂ᵀ + b₂ with u = x W₁ᵀ + b₁: ∂u = act'(u) · (∂y W₂), ∂x = ∂u W₁. (B, L, D) -> (B, L, D)."""
    inner = p.intermediate
    g = tap(inner.path, dense(g, to.values[inner.path], p.output.dense, to))  # (B, L, D) -> (B, L, F)
    g = ops_backward.activation(g, to.values[inner.dense.path], slope=SLOPES[to.config.hidden_act])
    return dense(g, x, inner.dense, to)


def residual(g: Array, x: Array, f: Backward, p: Node, to: Pass) -> Array:
    """y = norm(x + f(x)) or x + f(norm(x)): x is used twice, so ∂x = the sum's gradient + what f passes back.

    f: the backward pass of f, a function of ∂f and of f's input. (B, L, D) -> (B, L, D).
    """
    g = tap(p.path, g)
    if to.config.norm_first:
        return g + norm(f(g, to.values[p.LayerNorm.path]), x, p.LayerNorm, to)
    g = tap(f"{p.path}.sum", norm(g, to.values[f"{p.path}.sum"], p.LayerNorm, to))
    return g + f(g, x)


def encoder_layer(g: Array, x: Array, p: Node, inputs: LayerInputs, to: Pass) -> Array:
    """Feed-forward, cross-attention if there is a memory, and self-attention. (B, L, D) -> (B, L, D)."""
    last = p.attention if inputs.memory is None else p.crossattention
    middle = to.values[last.path]
    g = residual(tap(p.path, g), middle, lambda g, x: feed_forward(g, x, p, to), p.output, to)
    if inputs.memory is not None:

        def across(g: Array, x: Array) -> Array:
            return cross_attention(g, x, p.crossattention, inputs, to)

        g = tap(p.crossattention.path, g)
        g = residual(g, to.values[p.attention.path], across, p.crossattention.output, to)

    def own(g: Array, x: Array) -> Array:
        return self_attention(g, x, p.attention, inputs, to)

    return residual(tap(p.attention.path, g), x, own, p.attention.output, to)


def body(g: Array, p: Node, to: Pass, lowest: int) -> None:
    """From the last hidden state to the layer with the number `lowest`, or to the embeddings if it is -1. g: (B, L, D).

    The values of a layer are freed as soon as it is reversed.
    """
    values, layers = to.values, p.encoder.layer
    to.forget_after(last_of_body(p))
    if "LayerNorm" in p:
        g = norm(g, values[p.encoder.path], p.LayerNorm, to)
    g = tap(p.encoder.path, g)
    if "LayerNorm" in p.encoder:
        g = norm(g, values[layers[len(layers) - 1].path], p.encoder.LayerNorm, to)
    inputs = layer_inputs(values[p.embeddings.path], to.config, to.inputs)
    for index in reversed(range(max(lowest, 0), len(layers))):
        before = layers[index - 1].path if index else p.embeddings.path
        g = encoder_layer(g, values[before], layers[index], inputs[index], to)
        to.forget_after(before)
    if lowest < 0:
        embeddings(g, p.embeddings, to)
        if MEMORY in to.gradients:
            tap(MEMORY, to.gradients.pop(MEMORY))


def last_of_body(p: Node) -> str:
    """The name of the last hidden state."""
    return p.LayerNorm.path if "LayerNorm" in p else p.encoder.path


def lowest_of(names: Iterable[str], layers: int) -> int:
    """The lowest layer that has one of these parameters: -1 for the embeddings, `layers` for what is above them all."""

    def layer_of(name: str) -> int:
        if name.startswith("embeddings."):
            return -1
        found = re.match(r"encoder\.layer\.(\d+)\.", name)
        return int(found[1]) if found else layers

    return min(map(layer_of, names), default=layers)


# --- the heads ------------------------------------------------------------------------------------------------------


def tanh_of_first(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """y = tanh(u), u = x₀ Wᵀ + b: ∂u = tanh'(u) · ∂y, and ∂x is 0 but at position 0. (B, D) -> (B, L, D).

    The slope is taken from u, because a recorder may have changed y since, as dropout does.
    """
    xp = namespace(x)
    g = dense(ops_backward.activation(g, to.values[p.path], slope=SLOPES["tanh"]), x[:, 0], p, to)  # (B, D)
    return xp.concatenate([g[:, None], xp.zeros_like(x[:, 1:])], axis=1)  # (B, D) -> (B, L, D)


def pooler(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """y = tanh(x₀ Wᵀ + b). (B, D) -> (B, L, D)."""
    return tanh_of_first(tap(p.path, g), x, p.dense, to)


def lm_head(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """A tied table gets a second gradient here, as the decoder. (B, L, V) -> (B, L, D)."""
    head = p.lm_head
    decoder = head.decoder if "decoder" in head else p.embeddings.word_embeddings
    g, own = ops_backward.linear(tap(head.path, g), to.values[head.layer_norm.path], decoder.weight)
    to.add(f"{decoder.path}.weight", own["weight"])
    to.add(f"{head.path}.bias", own["bias"])
    g = tap(f"{head.path}.gelu", norm(g, to.values[f"{head.path}.gelu"], head.layer_norm, to))
    g = ops_backward.activation(g, to.values[head.dense.path], slope=SLOPES["gelu"])
    return dense(g, x, head.dense, to)


def masked_lm(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """The cross entropy at every position, and the head. () -> (B, L, D), as for the other heads."""
    return lm_head(tap("logits", g * ops_backward.cross_entropy(to.values["logits"], to.labels)), x, p, to)


def causal_lm(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """The last position predicts nothing."""
    xp, logits, labels = namespace(x), to.values["logits"], to.labels
    g = g * ops_backward.cross_entropy(logits[:, :-1], labels[:, 1:])
    g = xp.concatenate([g, xp.zeros_like(logits[:, -1:])], axis=1)
    return lm_head(tap("logits", g), x, p, to)


def sequence_classification(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """One of the three losses, then y = tanh(x₀ Wᵀ + b) Uᵀ + c, as in `pooler`."""
    logits, labels, head = to.values["logits"], to.labels, p.classifier
    match to.config.problem(labels.dtype.kind in "iu"):
        case "regression":
            g = g * ops_backward.mean_squared_error(logits, labels.reshape(logits.shape))
        case "single_label_classification":
            g = g * ops_backward.cross_entropy(logits, labels.reshape(-1))
        case _:
            g = g * ops_backward.binary_cross_entropy(logits, labels.reshape(logits.shape))
    name = f"{head.path}.tanh"
    g = dense(tap(head.path, tap("logits", g)), to.values[name], head.out_proj, to)  # (B, N) -> (B, D)
    return tanh_of_first(tap(name, g), x, head.dense, to)


def multiple_choice(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """The cross entropy over the choices of a row; each choice has a row of x. () -> (B·C, L, D)."""
    g = tap("logits", g * ops_backward.cross_entropy(to.values["logits"], to.labels))  # (B, C)
    return pooler(dense(g.reshape(-1, 1), to.values[p.pooler.path], p.classifier, to), x, p.pooler, to)


def token_classification(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """The cross entropy at every position whose label counts, and a linear layer."""
    labels, mask = to.labels, to.inputs.attention_mask
    if mask is not None and to.config.family.mask_in_token_loss:
        labels = namespace(x).where(mask == 1, labels, -100)
    g = tap("logits", g * ops_backward.cross_entropy(to.values["logits"], labels))
    return dense(g, x, p.classifier, to)


def question_answering(g: Array, x: Array, p: Node, to: Pass) -> Array:
    """Half of the gradient goes to each of the two losses."""
    parts, length = [], x.shape[1]
    for side in ("start", "end"):
        logits, places = to.values[f"{side}_logits"], getattr(to.inputs, f"{side}_positions").reshape(-1)
        own = ops_backward.cross_entropy(logits, places.clip(0, length), ignored=length)
        parts.append(tap(f"{side}_logits", g / 2 * own))
    return dense(namespace(x).stack(parts, axis=-1), x, p.qa_outputs, to)  # (B, L) twice -> (B, L, 2)


HEADS: dict[str, Callable[[Array, Array, Node, Pass], Array]] = {
    "masked_lm": masked_lm,
    "causal_lm": causal_lm,
    "sequence_classification": sequence_classification,
    "multiple_choice": multiple_choice,
    "token_classification": token_classification,
    "question_answering": question_answering,
}
"""The backward pass of each head that has a loss, from ∂loss = 1 to the last hidden state x."""

# --- the whole ------------------------------------------------------------------------------------------------------


class Gradients(dict[str, Any]):
    """∂loss / ∂parameter for every parameter, by its name in a checkpoint, without the base model's prefix.

    loss: the loss, a scalar. tree: the gradients in a tree like `model.params`. intermediates: the gradient of every
    named value, by the names of `trace`, if it was asked for.
    """

    loss: Array
    tree: dict[str, Any]
    intermediates: dict[str, Array]


def gradients(model: Network, input_ids: Any = None, *, intermediates: bool = False, **inputs: Any) -> Gradients:
    """The loss of a call, and its gradient with respect to every parameter.

        found = gradients(model, ids, attention_mask=mask, labels=labels)
        found.loss                                                       # a scalar
        found["encoder.layer.0.attention.self.query.weight"]             # (D, D)
        found.tree["embeddings"]["word_embeddings"]["weight"]            # (V, D)

    model: a model in float32 or float64, of any array library. input_ids, inputs: the arguments of a call to the model,
    with labels (for question answering, start_positions and end_positions). intermediates: also give the gradient of
    every value that `trace` names, and of `encoder_hidden_states` and `inputs_embeds` if these are given.

    As with `padding_idx` of torch.nn.Embedding, looking up the row of the padding token or its position adds nothing to
    the row's gradient. A tied decoder's gradient is part of `embeddings.word_embeddings.weight`. A parameter that the
    loss does not depend on has gradient 0.

    Raises InputError if the call computes no loss, or the model is in half precision, and the errors of a call.
    """
    check_dtype(model)
    moved = model.moved(model.checked(Inputs(input_ids, **inputs)))
    own_name, seen = model.config.family.own_name, dict[str, Array]()

    def record(name: str, g: Array) -> Array:
        seen[own_name(name)] = g
        return g

    with steady(model.xp):
        loss, found = loss_and_gradients(
            model.params, model.config, model.head, moved, precision=model.precision,
            on_gradient=record if intermediates else None, everywhere=intermediates,
        )  # fmt: skip
    result = Gradients({own_name(name): g for name, g in found.items()})
    result.loss, result.tree, result.intermediates = loss, tree(found), seen
    return result


def check_dtype(model: Network) -> None:
    """Raise InputError for a model in half precision."""
    if model.dtype.itemsize == 2:
        raise InputError(f"gradients are computed in float32 or float64, not {model.dtype}: load the model as float32")


def unchanged(name: str, value: Array) -> Array:
    """Return the value."""
    return value


def loss_and_gradients(
    params: dict[str, Any],
    config: Config,
    head: str,
    inputs: Inputs,
    *,
    precision: str = "highest",
    on_value: Record = unchanged,
    on_gradient: Record | None = None,
    everywhere: bool = True,
    wanted: Collection[str] | None = None,
) -> tuple[Array, dict[str, Array]]:
    """The loss of `model.run`, and the gradients by canonical name, those closest to the loss first.

    on_value, on_gradient: functions of a name and a value, or of a name and its gradient, that return what to go on
    with. Dropout, which multiplies a value by a mask, multiplies its gradient by the same one. everywhere: if false,
    the head of a masked language model is computed only at the n positions that have a label, usually one in seven, and
    its values are (1, n, ...); the loss is that of all positions. wanted: the names of the parameters whose gradients
    are returned, by default all. The pass ends at the lowest layer that has one of them.
    """
    p, values, weights = Node(params), dict[str, Array](), flat(params)
    names = {name for name in weights if wanted is None or name in wanted}
    is_in_body = not names <= head_shapes(config, head).keys()
    is_for_few = head == "masked_lm" and inputs.labels is not None and not everywhere

    def record(name: str, value: Array) -> Array:
        values[name] = value = on_value(name, value)
        return value

    rows = inputs.without_choices() if HEADS_OF_MODELS[head].choices else inputs
    with recording(record if is_in_body or on_value is not unchanged else None), precise(table(params), precision):
        x = forward_model.body(p, config, rows)
    read, of_head = where_labelled(x, inputs) if is_for_few else (x, inputs)
    with recording(record), precise(table(params), precision):
        loss = forward_heads.HEADS[head](read, p, config, of_head).get("loss")
    if loss is None:
        raise InputError(
            f"head {head!r} computed no loss to differentiate: add labels to the inputs "
            "(for question_answering, start_positions and end_positions)"
        )
    to = Pass(config, rows, values, {})
    with precise(table(params), precision), recording(on_gradient):
        g = HEADS[head](tap("loss", namespace(x).ones_like(loss)), read, p, to._replace(inputs=of_head))
        if is_for_few:
            g = from_where_labelled(g, x, inputs)
        if is_in_body:
            body(g, p, to, lowest_of(names, config.num_hidden_layers))
    found = {name: g for name, g in to.gradients.items() if name in names}
    unused = [name for name in weights if name in names and name not in found]
    return loss, {**found, **{name: namespace(x).zeros_like(weights[name]) for name in unused}}


def labelled(inputs: Inputs) -> Array:
    """The positions whose label is not -100, (n,), counted over all sequences."""
    labels: Array = inputs.labels
    (kept,) = namespace(labels).nonzero(labels.reshape(-1) != -100)
    return kept


def where_labelled(x: Array, inputs: Inputs) -> tuple[Array, Inputs]:
    """x and the labels at the n positions that have one. (B, L, D) -> (1, n, D)."""
    labels: Array = inputs.labels
    kept = labelled(inputs)
    return x.reshape(-1, x.shape[-1])[None, kept], inputs._replace(labels=labels.reshape(-1)[None, kept])


def from_where_labelled(g: Array, x: Array, inputs: Inputs) -> Array:
    """The gradient at all positions: 0 where there is no label. (1, n, D) -> (B, L, D)."""
    zeros = namespace(x).zeros_like(x).reshape(-1, x.shape[-1])
    return scattered(g[0], labelled(inputs), zeros).reshape(x.shape)
