"""Changes of the reference that make a mistake: of its configuration, parameters or inputs, or of values during a run.

The model's code does not depend on them. The mistakes that consist of them are listed in `mistakes`.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy

from .. import activations, ops
from ..backend.arrays import Array, to_host
from ..cache import number_tokens
from ..config import Config
from ..loading import Model
from ..model import self_attention_mask
from ..text.encode import finish
from ..trace import Node
from ..weights import flat, tree
from .pooling import NAME, mask_of, pooled, settings
from .runs import MASKED, with_weights

Inputs = Mapping[str, Any]
Params = Mapping[str, Array]
"""Parameters, by Roberta's names."""

# --- what a mistake is ----------------------------------------------------------------------------------------------


class Here(NamedTuple):
    """The context of an edit: the value's name, the values so far, the model and its inputs. Names are Roberta's."""

    name: str
    seen: dict[str, Array]
    model: Model
    inputs: Inputs

    @property
    def module(self) -> Node:
        """The parameters of the module that computes the value."""
        return self._node(self.name)

    @property
    def beside(self) -> Node:
        """The parameters of the parent module."""
        return self._node(self.name.rpartition(".")[0])

    def value(self, name: str) -> Array:
        """The value with the given name under the same parent module."""
        return self.seen[f"{self.name.rpartition('.')[0]}.{name}"]

    @property
    def before(self) -> Array:
        """The module's input: the most recent value, skipping queries and keys, which no module takes as its input."""
        return next(self.seen[name] for name in reversed(self.seen) if not name.endswith((".query", ".key")))

    @property
    def layer_input(self) -> Array:
        """The layer's input."""
        index = int(self.name.split(".")[2])
        return self.seen[f"encoder.layer.{index - 1}" if index else "embeddings"]

    def _node(self, name: str) -> Node:
        node = Node(self.model.params)
        for part in name.split("."):
            node = node[int(part)] if part.isdigit() else getattr(node, part)
        return node


Edit = Callable[[Array, Here], Array]
"""A function that maps the right value to the value of a port with the mistake."""


class Setting(NamedTuple):
    """A model and its inputs, with the edits of its values.

    edits: pairs of a name pattern and an edit of the values whose names match it. rounded: pairs of a name pattern and
    the dtype to which a port rounds these values.
    """

    model: Model
    inputs: Inputs
    edits: tuple[tuple[str, Edit], ...] = ()
    rounded: tuple[tuple[str, str], ...] = ()

    def precision(self, name: str) -> str:
        """The dtype to which the value with this name, as Roberta names it, is rounded."""
        return next((dtype for pattern, dtype in self.rounded if re.fullmatch(pattern, name)), "float32")

    def edited(self, name: str, value: Array, seen: dict[str, Array]) -> Array:
        """The value with this name (Roberta's), after the edits that match the name."""
        for pattern, edit in self.edits:
            if re.fullmatch(pattern, name):
                value = edit(value, Here(name, seen, self.model, self.inputs))
        return value


@dataclass(frozen=True, eq=False)
class Change:
    """One way to make a mistake.

    config: the changed fields of the configuration. params: a function from parameters and configuration to the changed
    parameters. inputs: a function from model and inputs to the changed inputs, with None for an input to leave out.
    values: edits, by name pattern. rounded: the dtypes, other than float32, to which a port rounds values, by name
    pattern.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    params: Callable[[Params, Config], Params] | None = None
    inputs: Callable[[Model, Inputs], Mapping[str, Any]] | None = None
    values: Mapping[str, Edit] = field(default_factory=dict)
    rounded: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """Number of things that are changed. Explanations are sorted by this number, the simplest first."""
        return len(self.config) + len(self.values) + (self.params is not None) + (self.inputs is not None)

    def applied(self, setting: Setting) -> Setting | None:
        """The setting with this change; None if it changes nothing."""
        model, held = setting.model, flat(setting.model.params)
        config = {name: value for name, value in self.config.items() if getattr(model.config, name) != value}
        params = {} if self.params is None else self.params(held, model.config)
        inputs = {} if self.inputs is None else self.inputs(model, setting.inputs)
        if not (config or params or inputs or self.values or self.rounded):
            return None
        if config or params:
            model = with_weights(model, model.config.replace(**config), tree({**held, **params}))
        given = {name: value for name, value in {**setting.inputs, **inputs}.items() if value is not None}
        edits, rounded = (*setting.edits, *self.values.items()), (*setting.rounded, *self.rounded.items())
        return Setting(model, given, edits, rounded)


# --- inputs ---------------------------------------------------------------------------------------------------------


def positions(numbered: Callable[[Model, Inputs], Array]) -> Change:
    """Change the position ids, unless the caller gives them or the model does not use absolute positions."""

    def changed(model: Model, inputs: Inputs) -> dict[str, Any]:
        if "position_ids" in inputs or model.config.position_embedding_type != "absolute":
            return {}
        last = model.config.max_position_embeddings - 1
        return {"position_ids": numpy.clip(numbered(model, inputs), 0, last)}

    return Change(inputs=changed)


def counted(model: Model, inputs: Inputs) -> Array:
    """The correct position ids."""
    if "input_ids" in inputs:
        ids = to_host(inputs["input_ids"])
        rows = ids.reshape(-1, ids.shape[-1])  # (B, C, L) -> (B·C, L)
        return number_tokens(model.config, rows, None, inputs.get("past_key_values"))[0].reshape(ids.shape)
    x = to_host(inputs["inputs_embeds"])
    rows = x.reshape(-1, *x.shape[-2:])  # (B, C, L, D) -> (B·C, L, D)
    return number_tokens(model.config, None, rows, None)[0].reshape(x.shape[:-1])


def _indices(model: Model, inputs: Inputs) -> Array:
    """Positions 0, 1, 2, ..., continuing from the cache. Padding is counted."""
    shape = counted(model, inputs).shape
    past = inputs.get("past_key_values")
    return numpy.broadcast_to(numpy.arange(shape[-1]) + (past[0][0].shape[2] if past else 0), shape)


def indices_from(start: int) -> Change:
    """Positions counted from `start`, padding included."""
    return positions(lambda model, inputs: _indices(model, inputs) + start)


def counted_from(start: int) -> Change:
    """Positions of tokens counted from `start`; padding has position `start` - 1."""
    return positions(lambda model, inputs: counted(model, inputs) - model.config.pad_token_id - 1 + start)


def positions_by_place(model: Model, inputs: Inputs) -> Array:
    """Positions that count padding too."""
    return _indices(model, inputs) + model.config.pad_token_id + 1


def positions_from_mask(model: Model, inputs: Inputs) -> Array:
    """Positions that count the tokens that are not masked."""
    right = counted(model, inputs)
    mask = inputs.get("attention_mask")
    if mask is None or to_host(mask).shape != right.shape:
        return right
    mask = to_host(mask).astype(int)
    return mask.cumsum(-1) * mask + model.config.pad_token_id


def shifted(by: int) -> Change:
    """Shift the positions, but only if there is a cache."""
    return positions(lambda model, inputs: counted(model, inputs) + by * ("past_key_values" in inputs))


def rounded_positions(counting: bool) -> Change:
    """Positions in bfloat16. counting: True if the count is rounded after each token, so that it stops at 256."""
    to_bfloat16 = to_bits(7, to_even=1)

    def numbered(model: Model, inputs: Inputs) -> Array:
        positions, pad = counted(model, inputs), model.config.pad_token_id
        count = numpy.minimum(positions - pad, 256) if counting else to_bfloat16(positions - pad)
        return numpy.where(positions == pad, pad, to_bfloat16(count + pad)).astype(int)

    return positions(numbered)


def types_of_1(model: Model, inputs: Inputs) -> dict[str, Any]:
    """Token type 1 for every token, if the model has it."""
    if model.config.type_vocab_size < 2:
        return {}
    return {"token_type_ids": numpy.ones(counted(model, inputs).shape, int)}


def mask(change: Callable[[Array], Array | None], name: str = "attention_mask") -> Change:
    """Change the mask, if there is one."""
    return Change(inputs=lambda model, inputs: {name: change(to_host(inputs[name]))} if name in inputs else {})


def mask_from_id_0(model: Model, inputs: Inputs) -> dict[str, Any]:
    """A mask of the ids that are not 0."""
    return {"attention_mask": (to_host(inputs["input_ids"]) != 0).astype(int)} if "input_ids" in inputs else {}


def mask_as_types(types_as_mask: bool) -> Change:
    """Pass the mask as token types, and the token types as the mask or no mask."""

    def changed(model: Model, inputs: Inputs) -> dict[str, Any]:
        mask = inputs.get("attention_mask")
        if mask is None or numpy.ndim(mask) != numpy.ndim(counted(model, inputs)):
            return {}
        types = to_host(inputs.get("token_type_ids", numpy.zeros_like(to_host(mask))))
        seen = (types > 0).astype(int)
        return {"token_type_ids": to_host(mask), "attention_mask": seen if types_as_mask else None}

    return Change(inputs=changed)


def causal(seen: Callable[[Array], Array]) -> Change:
    """Change which keys each query of a decoder attends to.

    seen: a function of the key's position minus the query's, which returns True for keys that the query attends to.
    """

    def changed(model: Model, inputs: Inputs) -> dict[str, Any]:
        mask, past = inputs.get("attention_mask"), inputs.get("past_key_values")
        if not model.config.is_decoder or (mask is not None and to_host(mask).ndim != 2):
            return {}
        B, L = counted(model, inputs).shape
        S = L + (past[0][0].shape[2] if past else 0)
        distance = numpy.arange(S)[None, :] - numpy.arange(S - L, S)[:, None]  # (L, S)
        mask = numpy.ones((B, S), int) if mask is None else to_host(mask)
        return {"attention_mask": mask[:, None, :] * seen(distance)}  # (B, L, S)

    return Change(inputs=changed)


# --- parameters -----------------------------------------------------------------------------------------------------

WEIGHTS = {
    "query": r".*attention\.self\.query",
    "key": r".*attention\.self\.key",
    "value": r".*attention\.self\.value",
    "attention-output": r".*attention\.output\.dense",
    "intermediate": r".*\.intermediate\.dense",
    "output": r"encoder\.layer\.\d+\.output\.dense",
    "embedding-norm": r"embeddings\.LayerNorm",
    "attention-norm": r".*attention\.output\.LayerNorm",
    "output-norm": r"encoder\.layer\.\d+\.output\.LayerNorm",
    "final-norm": r"(encoder\.)?LayerNorm",
    "pooler": r"pooler\.dense",
    "classifier": r"classifier",
    "classifier-dense": r"classifier\.dense",
    "classifier-out": r"classifier\.out_proj",
    "qa-outputs": r"qa_outputs",
    "lm-dense": r"lm_head\.dense",
    "lm-norm": r"lm_head\.layer_norm",
}
"""Patterns that match the names of a model's modules. The keys are used in the names of mistakes."""

SQUARE = ("query", "key", "value", "attention-output", "pooler", "classifier-dense", "lm-dense")
PRODUCTS = r"(?!embeddings).*(query|key|value|dense|out_proj|classifier|qa_outputs)\.weight"


def changed(pattern: str, function: Callable[[Array], Array]) -> Change:
    """Apply the function to the parameters whose names match the pattern."""
    return Change(params=lambda held, _: {n: function(x) for n, x in held.items() if re.fullmatch(pattern, n)})


def moved(sources: Mapping[str, str], **config: Any) -> Change:
    """Replace parameters by others of the same shape, if these exist.

    sources: a mapping from name patterns to templates of the other parameters' names, as for `re.Match.expand`.
    """

    def params(held: Params, _: Config) -> Params:
        result = {}
        for name, (pattern, template) in itertools.product(held, sources.items()):
            match = re.fullmatch(pattern, name)
            if match and (source := match.expand(template)) in held and held[source].shape == held[name].shape:
                result[name] = held[source]
        return result

    return Change(config=config, params=params)


def transposed(weight: Array) -> Array:
    """The transposed weight if it is square."""
    return weight.T if weight.shape[0] == weight.shape[1] else weight


PARTS = ("query", "key", "value")


def ordered(order: Sequence[str]) -> Change:
    """Compute query, key and value with the parameters of `order[0]`, `order[1]` and `order[2]`, respectively."""
    attention = r"(.*attention\.self)"
    both = zip(PARTS, order, strict=True)
    return moved({rf"{attention}\.{part}\.(.*)": rf"\1.{source}.\2" for part, source in both if part != source})


def by_head(held: Params, config: Config) -> Params:
    """Split a fused weight in the wrong order.

    The weight holds all queries, all keys and all values. It is split as if each head's query, key and value were
    together.
    """
    result: dict[str, Array] = {}
    for name in held:
        match = re.fullmatch(r"(.*attention\.self)\.query\.(.*)", name)
        if match:
            names = [match.expand(rf"\1.{part}.\2") for part in PARTS]
            fused = numpy.concatenate([held[one] for one in names])
            parts = fused.reshape(-1, 3, config.head_size, *fused.shape[1:])  # (3·H·E, ...) -> (H, 3, E, ...)
            result.update((one, parts[:, i].reshape(-1, *fused.shape[1:])) for i, one in enumerate(names))
    return result


def rows_of_words(rows: Callable[[int], Sequence[int]]) -> Change:
    """Exchange rows of the word embeddings. rows: a function of the vocabulary size that gives the row of each id."""
    return changed(r"embeddings\.word_embeddings\.weight", lambda table: table[list(rows(len(table)))])


def layers(order: Sequence[int]) -> Change:
    """Keep the layers with these indices, in this order."""
    sources = {rf"encoder\.layer\.{i}\.(.*)": rf"encoder.layer.{j}.\1" for i, j in enumerate(order) if i != j}
    return moved(sources, num_hidden_layers=len(order))


def int8(axis: int | None, inverse: bool) -> Callable[[Array], Array]:
    """Symmetric int8 quantisation in float32: integers from -127 to 127 times a scale.

    axis: 1 for a scale per row, None for a single scale for the whole weight. inverse: True to multiply by 1 / scale,
    which occasionally rounds differently from dividing by scale.
    """

    def rounded(weight: Array) -> Array:
        weight = weight.astype("float32")
        scale = abs(weight).max(axis, keepdims=True) / numpy.float32(127)
        scale = numpy.where(scale, scale, numpy.float32(1))
        return (numpy.rint(weight * (1 / scale) if inverse else weight / scale) * scale).astype(float)

    return rounded


def to_bits(count: int, half: int = 1, to_even: int = 0) -> Callable[[Array], Array]:
    """Rounding of float64 to `count` bits after the leading bit.

    half: 1 to round to nearest, 0 to truncate. to_even: 1 to round ties to even, 0 to round them away from zero.
    """
    rest = 52 - count

    def rounded(x: Array) -> Array:
        bits = numpy.ascontiguousarray(x, float).view("i8")
        if half:
            bits = bits + ((1 << rest - 1) - to_even) + (bits >> rest & to_even)
        return (bits >> rest << rest).view("f8")

    return rounded


# --- norms and sums -------------------------------------------------------------------------------------------------

NORMS = r".*(LayerNorm|layer_norm)"
FINAL_NORM = WEIGHTS["final-norm"]


def its_input(value: Array, here: Here) -> Array:
    """The module's input, as if the module were missing."""
    return here.before


def layer_input(value: Array, here: Here) -> Array:
    """The layer's input, as if the layer were missing."""
    return here.layer_input


def normed(value: Array, here: Here) -> Array:
    """The value after one more norm with the module's parameters."""
    return ops.layer_norm(value, **here.module.tree, eps=here.model.config.layer_norm_eps)


def normed_with(eps: float) -> Edit:
    """A norm with another eps."""
    return lambda value, here: ops.layer_norm(here.before, **here.module.tree, eps=eps)


def divided_by(divisor: Callable[[Array, float, int], Array]) -> Change:
    """Norms with a different divisor, which is a function of the variance, eps and D."""

    def edit(value: Array, here: Here) -> Array:
        x, p = here.before - here.before.mean(-1, keepdims=True), here.module
        variance = (x * x).mean(-1, keepdims=True)
        return x / divisor(variance, here.model.config.layer_norm_eps, x.shape[-1]) * p.weight + p.bias

    return Change(values={NORMS: edit})


def without_types(value: Array, here: Here) -> Array:
    """The sum of the embeddings without those of token types."""
    return value - here.seen["embeddings.token_type_embeddings"]


def sum_from_norm(value: Array, here: Here) -> Array:
    """A residual sum in which the norm's output takes the place of its input."""
    return here.value("output.LayerNorm") + here.value("output.dense")


# --- attention ------------------------------------------------------------------------------------------------------

SCORES, PROBS, CONTEXT = r".*attention\.self\.scores", r".*attention\.self\.probs", r".*attention\.self"

Split = Callable[[Array, int], Array]
"""A function that splits heads: it takes an array (B, L, D) and the head size E, and returns an array (B, H, L, E)."""


def of_all_keys(edit: Edit) -> Edit:
    """The edit, skipped in runs with a cache because it needs every key and value."""
    return lambda value, here: value if "past_key_values" in here.inputs else edit(value, here)


def _is_masked(scores: Array) -> Array:
    return scores <= -MASKED


def _hidden(here: Here) -> Array:
    """True for masked scores: (B or 1, 1, 1 or L, S). This is found from the mask, since the scores may be NaN."""
    cross = ".crossattention." in here.name
    mask = here.inputs.get("encoder_attention_mask" if cross else "attention_mask")
    if mask is not None:
        mask = to_host(mask)
        mask = mask.reshape(-1, mask.shape[-1]) if here.model.head == "multiple_choice" else mask
    query = here.value("query")
    if cross:
        added = None if mask is None else ops.additive_mask(mask, query.dtype)
    else:
        added = self_attention_mask(query, mask, 0, here.model.config)
    return numpy.zeros((1, 1, 1, 1), bool) if added is None else _is_masked(added)


def _unmasked(here: Here, split: Split = ops.split_heads) -> Array:
    """The attention scores before the mask is added."""
    E, relative = here.model.config.head_size, None
    q, k = split(here.value("query"), E), split(here.value("key"), E)  # (B, H, L, E), (B, H, S, E)
    if "distance_embedding" in here.beside:
        with_key = here.model.config.position_embedding_type == "relative_key_query"
        relative = ops.relative_scores(q, k, here.beside.distance_embedding.weight, with_key)
    return ops.attention_scores(q, k, None, relative)


def _values(here: Here, split: Split = ops.split_heads) -> Array:
    """The values of the attention, split into heads: (B, H, S, E)."""
    return split(here.seen[f"{here.name}.value"], here.model.config.head_size)


def times(factor: Callable[[Any], float]) -> Change:
    """Multiply scores by a factor. factor: a function that computes it from the configuration."""

    def edit(scores: Array, here: Here) -> Array:
        return numpy.where(_is_masked(scores), scores, scores * factor(here.model.config))

    return Change(values={SCORES: edit})


def masked_as(score: Callable[[Array], Array | float]) -> Change:
    """Give masked positions other scores. score: a function that computes them from the scores before masking."""

    def edit(scores: Array, here: Here) -> Array:
        return numpy.where(_hidden(here), score(_unmasked(here)), scores)

    return Change(values={SCORES: of_all_keys(edit)})


def mask_added(scores: Array, here: Here) -> Array:
    """The mask of 0 and 1 is itself added to the scores."""
    return _unmasked(here) + numpy.where(_hidden(here), 0.0, 1.0)


def masked_later(masked: Callable[[Array], Array | float]) -> Change:
    """Mask probabilities after the softmax. masked: a function that returns the new probabilities of masked keys."""

    def edit(probs: Array, here: Here) -> Array:
        scores = here.value("scores")
        whole = ops.softmax(numpy.where(_is_masked(scores), _unmasked(here), scores))
        return numpy.where(_is_masked(scores), masked(whole), whole)

    return Change(values={PROBS: of_all_keys(edit)})


def softmax_over(axis: int) -> Change:
    """Take the softmax over another axis of (B, H, L, S)."""

    def edit(probs: Array, here: Here) -> Array:
        return ops.softmax(here.value("scores").swapaxes(axis, -1)).swapaxes(axis, -1)

    return Change(values={PROBS: edit})


def transposed_scores(scores: Array, here: Here) -> Array:
    """Scores k qᵀ instead of q kᵀ."""
    swapped = _unmasked(here).swapaxes(2, 3)
    return numpy.where(_is_masked(scores), scores, swapped) if swapped.shape == scores.shape else scores


def split_interleaved(x: Array, head_size: int) -> Array:
    """Split heads so that head h takes channels h, h + H, h + 2H, and so on: (B, L, D) -> (B, H, L, E)."""
    B, L, D = x.shape
    return x.reshape(B, L, head_size, D // head_size).transpose(0, 3, 1, 2)


def merge_interleaved(x: Array) -> Array:
    """The inverse of `split_interleaved`: (B, H, L, E) -> (B, L, D)."""
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


def split_unswapped(x: Array, head_size: int) -> Array:
    """Split heads so that each takes some of the positions instead of channels: (B, L, D) -> (B, H, L, E)."""
    B, L, D = x.shape
    return x.reshape(B, D // head_size, L, head_size)


def merge_unswapped(x: Array) -> Array:
    """The inverse of `split_unswapped`: (B, H, L, E) -> (B, L, D)."""
    return x.reshape(x.shape[0], x.shape[2], -1)


def heads(split: Split, merge: Callable[[Array], Array]) -> Change:
    """Split and merge heads differently."""

    def scores(value: Array, here: Here) -> Array:
        return numpy.where(_is_masked(value), value, _unmasked(here, split))

    def context(value: Array, here: Here) -> Array:
        return merge(here.seen[f"{here.name}.probs"] @ _values(here, split))

    return Change(values={SCORES: of_all_keys(scores), CONTEXT: of_all_keys(context)})


# --- activations and heads ------------------------------------------------------------------------------------------

INTERMEDIATE, LM_GELU, TANH = r".*\.intermediate", r"lm_head\.gelu", r"classifier\.tanh"


def activated(hidden_act: str) -> Edit:
    """Another activation."""
    return lambda value, here: activations.ACTIVATIONS[hidden_act](here.before)


def activation(hidden_act: str) -> tuple[Change, ...]:
    """Use a different activation: in the layers, in the language-model head, or in both."""
    config, values = {"hidden_act": hidden_act}, {LM_GELU: activated(hidden_act)}
    return Change(config=config), Change(values=values), Change(config=config, values=values)


def edited_gelu(formula: Callable[[Array], Array], dtype: str | None = None) -> tuple[Change, ...]:
    """Another formula for GELU: in the layers, in the language-model head, or in both. dtype: that of the results."""

    def edit(value: Array, here: Here) -> Array:
        return formula(here.before)

    patterns = (INTERMEDIATE, LM_GELU, f"{INTERMEDIATE}|{LM_GELU}")
    return tuple(Change(values={one: edit}, rounded={one: dtype} if dtype else {}) for one in patterns)


def without_factor(x: Array) -> Array:
    """GELU without its factor x: ½ (1 + erf(x/√2))."""
    return 0.5 * (1 + activations.erf(x / math.sqrt(2)))


def from_table(x: Array) -> Array:
    """GELU by tanh from a table of float16: input and result are rounded, and the formula is computed in between."""
    return _to_float16(activations.ACTIVATIONS["gelu_new"](_to_float16(x)))


def _to_float16(x: Array) -> Array:
    with numpy.errstate(over="ignore"):
        return x.astype("float16").astype(float)


def in_float16(x: Array) -> Array:
    """GELU whose input and output are rounded to float16."""
    return _to_float16(activations.gelu(_to_float16(x)))


def stepwise_in_float16(x: Array) -> Array:
    """GELU in float16 arithmetic, with an erf that is rounded to float16."""
    half = x.astype("float16")
    erf = activations.erf(half.astype(float) / math.sqrt(2)).astype("float16")
    return (numpy.float16(0.5) * half * (1 + erf)).astype(float)


def head_activation(pattern: str, hidden_act: str) -> Change:
    """Use an activation in place of the tanh of a head."""
    return Change(values={pattern: activated(hidden_act)})


def _states(here: Here) -> Array:
    """The head's input, (B, L, D)."""
    return next(here.seen[name] for name in reversed(here.seen) if here.seen[name].ndim == 3)


def first_state(value: Array, here: Here) -> Array:
    """The first token's last hidden state: (B, L, D) -> (B, D)."""
    return _states(here)[:, 0]


def of_token(index: Callable[[Here], Array | int]) -> Change:
    """A head that reads a token other than the first. index: a function that returns that token's position."""

    def edit(value: Array, here: Here) -> Array:
        x = _states(here)
        return ops.linear(x[numpy.arange(len(x)), index(here)], **here.module.tree)  # (B, L, D) -> (B, D)

    return Change(values={r"pooler\.dense|classifier\.dense": edit})


def last_token(here: Here) -> Array | int:
    """The position of the last token that is not padding."""
    B, L = _states(here).shape[:2]
    mask = here.inputs.get("attention_mask")
    if mask is None or to_host(mask).size != B * L:
        return L - 1
    return L - 1 - (to_host(mask).reshape(B, L) > 0)[:, ::-1].argmax(1)


def pooled_by(pooling: str | None = None, padding: bool = False, unit: bool | None = None) -> Change:
    """Another sentence embedding.

    pooling: its name, None for the right one. padding: True to include masked positions. unit: whether vectors are
    scaled to length 1, None to do what is right.
    """

    def edit(value: Array, here: Here) -> Array:
        states, right = here.seen["last_hidden_state"], settings(here.model)
        mask = numpy.ones(states.shape[:2], bool) if padding else mask_of(here.inputs, states)
        x = pooled(states, mask, right.poolings if pooling is None else (pooling,))
        return finish(x, right, unit, right.truncate_dim)

    return Change(values={NAME: edit})


# --- precision ------------------------------------------------------------------------------------------------------


DENSES = r"(?!.*cross).*(\.query|\.key|\.value|\.dense|\.out_proj)|classifier|qa_outputs"
"""Names of the outputs of linear layers, except for the decoder of the language-model head."""


def _dense_of(rounded: Callable[[Array], Array], weights: Callable[[Array], Array]) -> Edit:
    """Linear layers of a rounded input and rounded weights."""

    def dense(value: Array, here: Here) -> Array:
        x, p = here.before, here.module
        if "weight" not in p:  # the whole classification head; in other models the name is that of a linear layer
            return value
        if x.shape[:-1] != value.shape[:-1]:
            x = x[:, 0]  # of the first token
        return value + ops.linear(rounded(x), weights(p.weight), 0) - ops.linear(x, p.weight, 0)

    return dense


def dynamic_int8(levels: int, half: float, axis: int | None) -> Change:
    """Linear layers whose inputs are quantised at each call, with one scale and zero point for the whole array.

    levels: the largest integer of an input, 127 or 255. half: what the largest weight is divided by to get the scale of
    the weights, 127 or 127.5. axis: 1 for a scale per row of a weight, None for a single scale.
    """

    def of_input(x: Array) -> Array:
        x = x.astype("float32")
        low, high = min(x.min(), 0), max(x.max(), 0)
        scale = numpy.float32((high - low) / levels) or numpy.float32(1)
        zero = numpy.rint(-low / scale)
        return ((numpy.clip(numpy.rint(x / scale) + zero, 0, levels) - zero) * scale).astype(float)

    def of_weight(weight: Array) -> Array:
        weight = weight.astype("float32")
        scale = abs(weight).max(axis, keepdims=True) / numpy.float32(half)
        scale = numpy.where(scale, scale, numpy.float32(1))
        return (numpy.clip(numpy.rint(weight / scale), -128, 127) * scale).astype(float)

    return Change(values={DENSES: _dense_of(of_input, of_weight)})


def products_of(rounded: Callable[[Array], Array]) -> Change:
    """Matrix products of rounded operands."""

    def scores(value: Array, here: Here) -> Array:
        return numpy.where(_is_masked(value), value, _unmasked(here, lambda x, E: rounded(ops.split_heads(x, E))))

    def context(value: Array, here: Here) -> Array:
        return ops.merge_heads(rounded(here.seen[f"{here.name}.probs"]) @ rounded(_values(here)))

    def decoder(value: Array, here: Here) -> Array:
        p, tied = here.module, Node(here.model.params).embeddings.word_embeddings
        weight = p.decoder.weight if "decoder" in p else tied.weight
        return ops.linear(rounded(here.before), rounded(weight), p.bias)

    attention = {SCORES: of_all_keys(scores), CONTEXT: of_all_keys(context)}
    return Change(values={DENSES: _dense_of(rounded, rounded), **attention, r"lm_head": decoder})


def computed_in(dtype: str, bits: int) -> Change:
    """Round weights and values to this dtype, which has `bits` bits after the leading bit."""
    return replace(changed(r".*", to_bits(bits, to_even=1)), rounded={r".*": dtype})
