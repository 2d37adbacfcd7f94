"""The mistakes that ports of RoBERTa make, as data: each is a change that can be applied to the reference.

The model's code does not depend on them. A change affects the configuration, the parameters, the inputs or, through an
`Edit`, named values during a run. `catalogue(model)` yields all mistakes that a port of that model can make.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy

from .. import activations, ops
from ..backend.arrays import Array, to_host
from ..cache import number_tokens
from ..config import Config
from ..loading import Model
from ..model import self_attention_mask
from ..trace import Node
from ..weights import flat, tree
from .runs import MASKED

Inputs = Mapping[str, Any]
Params = Mapping[str, Array]
"""Parameters, by Roberta's names."""

GITHUB = "https://github.com"

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
            model = Model(model.config.replace(**config), tree({**held, **params}), model.head, model.tokenizer)
        given = {name: value for name, value in {**setting.inputs, **inputs}.items() if value is not None}
        edits, rounded = (*setting.edits, *self.values.items()), (*setting.rounded, *self.rounded.items())
        return Setting(model, given, edits, rounded)


@dataclass(frozen=True)
class Mistake:
    """A mistake that a port can make.

    explanation: what the port does. fix: what it should do. ways: changes, each of which makes this mistake. seen_in:
    the URL of a report in a real project, or "".
    """

    name: str
    explanation: str
    fix: str
    ways: tuple[Change, ...]
    seen_in: str = ""


# --- inputs ---------------------------------------------------------------------------------------------------------


def _positions(numbered: Callable[[Model, Inputs], Array]) -> Change:
    """Change the position ids, unless the caller gives them or the model does not use absolute positions."""

    def changed(model: Model, inputs: Inputs) -> dict[str, Any]:
        if "position_ids" in inputs or model.config.position_embedding_type != "absolute":
            return {}
        last = model.config.max_position_embeddings - 1
        return {"position_ids": numpy.clip(numbered(model, inputs), 0, last)}

    return Change(inputs=changed)


def _counted(model: Model, inputs: Inputs) -> Array:
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
    shape = _counted(model, inputs).shape
    past = inputs.get("past_key_values")
    return numpy.broadcast_to(numpy.arange(shape[-1]) + (past[0][0].shape[2] if past else 0), shape)


def _indices_from(start: int) -> Change:
    return _positions(lambda model, inputs: _indices(model, inputs) + start)


def _counted_from(start: int) -> Change:
    """Positions of tokens counted from `start`; padding has position `start` - 1."""
    return _positions(lambda model, inputs: _counted(model, inputs) - model.config.pad_token_id - 1 + start)


def _positions_by_place(model: Model, inputs: Inputs) -> Array:
    return _indices(model, inputs) + model.config.pad_token_id + 1


def _positions_from_mask(model: Model, inputs: Inputs) -> Array:
    counted = _counted(model, inputs)
    mask = inputs.get("attention_mask")
    if mask is None or to_host(mask).shape != counted.shape:
        return counted
    mask = to_host(mask).astype(int)
    return mask.cumsum(-1) * mask + model.config.pad_token_id


def _shifted(by: int) -> Change:
    """Shift the positions, but only if there is a cache."""
    return _positions(lambda model, inputs: _counted(model, inputs) + by * ("past_key_values" in inputs))


def _rounded_positions(bits: int, counting: bool) -> Change:
    """Positions in a half-precision type with `bits` bits after the leading bit.

    counting: True if the sum itself is rounded after each step, so that it stops growing at 2^(bits + 1).
    """
    to_half = _to_bits(bits, to_even=1)

    def numbered(model: Model, inputs: Inputs) -> Array:
        counted, pad = _counted(model, inputs), model.config.pad_token_id
        number = counted - pad
        number = numpy.minimum(number, 2 ** (bits + 1)) if counting else to_half(number)
        return numpy.where(counted == pad, pad, to_half(number + pad)).astype(int)

    return _positions(numbered)


def _types_of_1(model: Model, inputs: Inputs) -> dict[str, Any]:
    if model.config.type_vocab_size < 2:
        return {}
    return {"token_type_ids": numpy.ones(_counted(model, inputs).shape, int)}


def _mask(change: Callable[[Array], Array | None], name: str = "attention_mask") -> Change:
    """Change the mask, if there is one."""
    return Change(inputs=lambda model, inputs: {name: change(to_host(inputs[name]))} if name in inputs else {})


def _mask_from_id_0(model: Model, inputs: Inputs) -> dict[str, Any]:
    return {"attention_mask": (to_host(inputs["input_ids"]) != 0).astype(int)} if "input_ids" in inputs else {}


def _mask_as_types(types_as_mask: bool) -> Change:
    """Pass the mask as token types, and the token types as the mask or no mask."""

    def changed(model: Model, inputs: Inputs) -> dict[str, Any]:
        mask = inputs.get("attention_mask")
        if mask is None or numpy.ndim(mask) != numpy.ndim(_counted(model, inputs)):
            return {}
        types = inputs.get("token_type_ids", numpy.zeros_like(to_host(mask)))
        return {"token_type_ids": to_host(mask), "attention_mask": types if types_as_mask else None}

    return Change(inputs=changed)


def _causal(seen: Callable[[Array], Array]) -> Change:
    """Change which keys each query of a decoder attends to.

    seen: a function of the key's position minus the query's, which returns True for keys that the query attends to.
    """

    def changed(model: Model, inputs: Inputs) -> dict[str, Any]:
        mask, past = inputs.get("attention_mask"), inputs.get("past_key_values")
        if not model.config.is_decoder or (mask is not None and to_host(mask).ndim != 2):
            return {}
        B, L = _counted(model, inputs).shape
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


def _changed(pattern: str, function: Callable[[Array], Array]) -> Change:
    """Apply the function to the parameters whose names match the pattern."""
    return Change(params=lambda held, _: {n: function(x) for n, x in held.items() if re.fullmatch(pattern, n)})


def _moved(sources: Mapping[str, str], **config: Any) -> Change:
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


def _transposed(weight: Array) -> Array:
    return weight.T if weight.shape[0] == weight.shape[1] else weight


PARTS = ("query", "key", "value")


def _ordered(order: Sequence[str]) -> Change:
    """Compute query, key and value with the parameters of `order[0]`, `order[1]` and `order[2]`, respectively."""
    attention = r"(.*attention\.self)"
    both = zip(PARTS, order, strict=True)
    return _moved({rf"{attention}\.{part}\.(.*)": rf"\1.{source}.\2" for part, source in both if part != source})


def _by_head(held: Params, config: Config) -> Params:
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


def _rows_of_words(rows: Callable[[int], Sequence[int]]) -> Change:
    """Exchange rows of the word embeddings. rows: a function of the vocabulary size that gives the row of each id."""
    return _changed(r"embeddings\.word_embeddings\.weight", lambda table: table[list(rows(len(table)))])


def _layers(order: Sequence[int]) -> Change:
    """Keep the layers with these indices, in this order."""
    moved = {rf"encoder\.layer\.{i}\.(.*)": rf"encoder.layer.{j}.\1" for i, j in enumerate(order) if i != j}
    return _moved(moved, num_hidden_layers=len(order))


def _int8(axis: int | None, inverse: bool) -> Callable[[Array], Array]:
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


def _to_bits(count: int, half: int = 1, to_even: int = 0) -> Callable[[Array], Array]:
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


NORMS_IN = {
    "in-layers": ("The norms of the layers", r"encoder\.layer\..*LayerNorm", f"{GITHUB}/keras-team/keras-hub/issues/642"),
    "outside-layers": (
        "The norms of the embeddings and of the language-model head",
        r"embeddings\.LayerNorm|lm_head\.layer_norm",
        f"{GITHUB}/dmlc/gluon-nlp/pull/1214",
    ),
    "but-lm-head": (
        "All norms but that of the language-model head",
        r".*LayerNorm",
        f"{GITHUB}/microsoft/onnxruntime/issues/3768",
    ),
}
"""Groups of norms that a port may give an eps of their own: in words, a pattern of their names, and where seen."""


def _its_input(value: Array, here: Here) -> Array:
    """The module's input, as if the module were missing."""
    return here.before


def _layer_input(value: Array, here: Here) -> Array:
    return here.layer_input


def _normed(value: Array, here: Here) -> Array:
    return ops.layer_norm(value, **here.module.tree, eps=here.model.config.layer_norm_eps)


def _with_eps(pattern: str, eps: float) -> Change:
    """Norms whose names match the pattern use another eps."""

    def edit(value: Array, here: Here) -> Array:
        return ops.layer_norm(here.before, **here.module.tree, eps=eps)

    return Change(values={pattern: edit})


def _divided_by(divisor: Callable[[Array, float, int], Array]) -> Change:
    """Norms with a different divisor, which is a function of the variance, eps and D."""

    def edit(value: Array, here: Here) -> Array:
        x, p = here.before - here.before.mean(-1, keepdims=True), here.module
        variance = (x * x).mean(-1, keepdims=True)
        return x / divisor(variance, here.model.config.layer_norm_eps, x.shape[-1]) * p.weight + p.bias

    return Change(values={NORMS: edit})


def _without_types(value: Array, here: Here) -> Array:
    return value - here.seen["embeddings.token_type_embeddings"]


def _sum_from_norm(value: Array, here: Here) -> Array:
    return here.value("output.LayerNorm") + here.value("output.dense")


# --- attention ------------------------------------------------------------------------------------------------------

SCORES, PROBS, CONTEXT = r".*attention\.self\.scores", r".*attention\.self\.probs", r".*attention\.self"

Split = Callable[[Array, int], Array]
"""A function that splits heads: it takes an array (B, L, D) and the head size E, and returns an array (B, H, L, E)."""


def _of_all_keys(edit: Edit) -> Edit:
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


def _times(factor: Callable[[Any], float]) -> Change:
    """Multiply scores by a factor. factor: a function that computes it from the configuration."""

    def edit(scores: Array, here: Here) -> Array:
        return numpy.where(_is_masked(scores), scores, scores * factor(here.model.config))

    return Change(values={SCORES: edit})


def _masked_as(score: Callable[[Array], Array | float]) -> Change:
    """Give masked positions other scores. score: a function that computes them from the scores before masking."""

    def edit(scores: Array, here: Here) -> Array:
        return numpy.where(_hidden(here), score(_unmasked(here)), scores)

    return Change(values={SCORES: _of_all_keys(edit)})


def _mask_added(scores: Array, here: Here) -> Array:
    """The mask of 0 and 1 is itself added to the scores."""
    return _unmasked(here) + numpy.where(_hidden(here), 0.0, 1.0)


def _masked_later(masked: Callable[[Array], Array | float]) -> Change:
    """Mask probabilities after the softmax. masked: a function that returns the new probabilities of masked keys."""

    def edit(probs: Array, here: Here) -> Array:
        scores = here.value("scores")
        whole = ops.softmax(numpy.where(_is_masked(scores), _unmasked(here), scores))
        return numpy.where(_is_masked(scores), masked(whole), whole)

    return Change(values={PROBS: _of_all_keys(edit)})


def _softmax_over(axis: int) -> Change:
    def edit(probs: Array, here: Here) -> Array:
        return ops.softmax(here.value("scores").swapaxes(axis, -1)).swapaxes(axis, -1)

    return Change(values={PROBS: edit})


def _transposed_scores(scores: Array, here: Here) -> Array:
    """Scores k qᵀ instead of q kᵀ."""
    swapped = _unmasked(here).swapaxes(2, 3)
    return numpy.where(_is_masked(scores), scores, swapped) if swapped.shape == scores.shape else scores


def _split_interleaved(x: Array, head_size: int) -> Array:
    """Split heads so that head h takes channels h, h + H, h + 2H, and so on: (B, L, D) -> (B, H, L, E)."""
    B, L, D = x.shape
    return x.reshape(B, L, head_size, D // head_size).transpose(0, 3, 1, 2)


def _merge_interleaved(x: Array) -> Array:
    """The inverse of `_split_interleaved`: (B, H, L, E) -> (B, L, D)."""
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


def _split_unswapped(x: Array, head_size: int) -> Array:
    """Split heads so that each takes some of the positions instead of channels: (B, L, D) -> (B, H, L, E)."""
    B, L, D = x.shape
    return x.reshape(B, D // head_size, L, head_size)


def _merge_unswapped(x: Array) -> Array:
    """The inverse of `_split_unswapped`: (B, H, L, E) -> (B, L, D)."""
    return x.reshape(x.shape[0], x.shape[2], -1)


def _heads(split: Split, merge: Callable[[Array], Array]) -> Change:
    """Split and merge heads differently."""

    def scores(value: Array, here: Here) -> Array:
        return numpy.where(_is_masked(value), value, _unmasked(here, split))

    def context(value: Array, here: Here) -> Array:
        return merge(here.seen[f"{here.name}.probs"] @ _values(here, split))

    return Change(values={SCORES: _of_all_keys(scores), CONTEXT: _of_all_keys(context)})


# --- activations and heads ------------------------------------------------------------------------------------------

INTERMEDIATE, LM_GELU, TANH = r".*\.intermediate", r"lm_head\.gelu", r"classifier\.tanh"


def _activation(hidden_act: str) -> tuple[Change, ...]:
    """Use a different activation: in the layers, in the language-model head, or in both."""

    def edit(value: Array, here: Here) -> Array:
        return activations.ACTIVATIONS[hidden_act](here.before)

    config, values = {"hidden_act": hidden_act}, {LM_GELU: edit}
    return Change(config=config), Change(values=values), Change(config=config, values=values)


def _edited_gelu(formula: Callable[[Array], Array], dtype: str | None = None) -> tuple[Change, ...]:
    """Another formula for GELU: in the layers, in the language-model head, or in both. dtype: that of the results."""

    def edit(value: Array, here: Here) -> Array:
        return formula(here.before)

    patterns = (INTERMEDIATE, LM_GELU, f"{INTERMEDIATE}|{LM_GELU}")
    return tuple(Change(values={one: edit}, rounded={one: dtype} if dtype else {}) for one in patterns)


def _without_factor(x: Array) -> Array:
    return 0.5 * (1 + activations.erf(x / math.sqrt(2)))


def _from_table(x: Array) -> Array:
    """GELU by tanh from a table of float16: input and result are rounded, and the formula is computed in between."""
    return _to_float16(activations.ACTIVATIONS["gelu_new"](_to_float16(x)))


def _to_float16(x: Array) -> Array:
    with numpy.errstate(over="ignore"):
        return x.astype("float16").astype(float)


def _in_float16(x: Array) -> Array:
    """GELU whose input and output are rounded to float16."""
    return _to_float16(activations.gelu(_to_float16(x)))


def _stepwise_in_float16(x: Array) -> Array:
    """GELU in float16 arithmetic, with an erf that is rounded to float16."""
    half = x.astype("float16")
    erf = activations.erf(half.astype(float) / math.sqrt(2)).astype("float16")
    return (numpy.float16(0.5) * half * (1 + erf)).astype(float)


def _head_activation(pattern: str, hidden_act: str) -> Change:
    """Use an activation in place of the tanh of a head."""
    return Change(values={pattern: lambda value, here: activations.ACTIVATIONS[hidden_act](here.before)})


def _states(here: Here) -> Array:
    """The head's input, (B, L, D)."""
    return next(here.seen[name] for name in reversed(here.seen) if here.seen[name].ndim == 3)


def _first_state(value: Array, here: Here) -> Array:
    return _states(here)[:, 0]


def _of_token(index: Callable[[Here], Array | int]) -> Change:
    """A head that reads a token other than the first. index: a function that returns that token's position."""

    def edit(value: Array, here: Here) -> Array:
        x = _states(here)
        return ops.linear(x[numpy.arange(len(x)), index(here)], **here.module.tree)  # (B, L, D) -> (B, D)

    return Change(values={r"pooler\.dense|classifier\.dense": edit})


def _last_token(here: Here) -> Array | int:
    """The position of the last token that is not padding."""
    B, L = _states(here).shape[:2]
    mask = here.inputs.get("attention_mask")
    if mask is None or to_host(mask).size != B * L:
        return L - 1
    return L - 1 - (to_host(mask).reshape(B, L) > 0)[:, ::-1].argmax(1)


# --- precision ------------------------------------------------------------------------------------------------------


def _products_of(rounded: Callable[[Array], Array]) -> Change:
    """Matrix products of rounded operands."""

    def dense(value: Array, here: Here) -> Array:
        x, p = here.before, here.module
        if "weight" not in p:  # the whole classification head; in other models the name is that of a linear layer
            return value
        if x.shape[:-1] != value.shape[:-1]:
            x = x[:, 0]  # of the first token
        return value + ops.linear(rounded(x), rounded(p.weight), 0) - ops.linear(x, p.weight, 0)

    def scores(value: Array, here: Here) -> Array:
        return numpy.where(_is_masked(value), value, _unmasked(here, lambda x, E: rounded(ops.split_heads(x, E))))

    def context(value: Array, here: Here) -> Array:
        return ops.merge_heads(rounded(here.seen[f"{here.name}.probs"]) @ rounded(_values(here)))

    def decoder(value: Array, here: Here) -> Array:
        p, tied = here.module, Node(here.model.params).embeddings.word_embeddings
        weight = p.decoder.weight if "decoder" in p else tied.weight
        return ops.linear(rounded(here.before), rounded(weight), p.bias)

    denses = r"(?!.*cross).*(\.query|\.key|\.value|\.dense|\.out_proj)|classifier|qa_outputs"
    attention = {SCORES: _of_all_keys(scores), CONTEXT: _of_all_keys(context)}
    return Change(values={denses: dense, **attention, r"lm_head": decoder})


def _computed_in(dtype: str, bits: int) -> Change:
    """Round weights and values to this dtype, which has `bits` bits after the leading bit."""
    return replace(_changed(r".*", _to_bits(bits, to_even=1)), rounded={r".*": dtype})


# --- the catalogue --------------------------------------------------------------------------------------------------

MISTAKES = (
    # inputs
    Mistake(
        "cache-position-off-by-one",
        "Positions after a cache are one too high or too low.",
        "Continue from the number n of tokens in the cache: the next position is n + pad_token_id + 1.",
        (_shifted(1), _shifted(-1)),
    ),
    Mistake(
        "positions-from-0",
        "Positions start at 0, as in BERT.",
        "Start at pad_token_id + 1: the rows of RoBERTa's position table before that are reserved for padding.",
        (_indices_from(0), _counted_from(0)),
        f"{GITHUB}/sbryngelson/ANEForge/pull/257",
    ),
    Mistake(
        "positions-from-1",
        "Positions start at 1.",
        "Start at pad_token_id + 1.",
        (_indices_from(1), _counted_from(1)),
    ),
    Mistake(
        "positions-by-place",
        "Positions count all tokens, including padding.",
        "Count only tokens that are not padding: cumsum(ids != pad) · (ids != pad) + pad.",
        (_positions(_positions_by_place),),
        f"{GITHUB}/huggingface/transformers/issues/1761",
    ),
    Mistake(
        "positions-from-mask",
        "Positions are computed from the attention mask.",
        "Count the ids that are not padding: a masked token has a position too.",
        (_positions(_positions_from_mask),),
    ),
    *(
        Mistake(
            f"positions-in-{dtype}",
            f"Positions are computed in {dtype}, which does not hold every integer above {2 ** (bits + 1)}.",
            "Compute positions as integers.",
            (_rounded_positions(bits, counting=False), _rounded_positions(bits, counting=True)),
        )
        for dtype, bits in (("bfloat16", 7), ("float16", 10))
    ),
    Mistake(
        "token-types-row-1",
        "Every token has token type 1, although token_type_ids is not given or says otherwise.",
        "Use token_type_ids, and row 0 of the token type embeddings if it is not given.",
        (Change(inputs=_types_of_1),),
    ),
    # norms
    Mistake(
        "embedding-norm-missing",
        "The norm of the embeddings is left out.",
        "Apply embeddings.LayerNorm to the sum of the embeddings.",
        (Change(values={r"embeddings\.LayerNorm": _its_input}),),
    ),
    Mistake(
        "embedding-norm-doubled",
        "The norm of the embeddings is applied twice.",
        "Apply embeddings.LayerNorm once.",
        (Change(values={r"embeddings\.LayerNorm": _normed}),),
    ),
    *(
        Mistake(
            f"eps-{eps}",
            f"The norms use eps {eps}, {whose}.",
            "Use layer_norm_eps from the configuration, which is 1e-5 in the published RoBERTa models.",
            (Change(config={"layer_norm_eps": float(eps)}),),
        )
        for eps, whose in (("1e-12", "BERT's value"), ("1e-6", "Flax's default"), ("1e-3", "Keras' default"))
    ),
    Mistake(
        "eps-1e-5",
        "The norms use eps 1e-5, PyTorch's default.",
        "Use layer_norm_eps from the configuration.",
        (Change(config={"layer_norm_eps": 1e-5}),),
        f"{GITHUB}/keras-team/keras-hub/issues/642",
    ),
    *(
        Mistake(
            f"eps-{eps}-{group}",
            f"{norms} use eps {eps}; the others use the right one.",
            "Use layer_norm_eps from the configuration in every norm.",
            (_with_eps(pattern, float(eps)),),
            url,
        )
        for eps in ("1e-12", "1e-6", "1e-3", "1e-5")
        for group, (norms, pattern, url) in NORMS_IN.items()
    ),
    Mistake(
        "variance-unbiased",
        "The norms compute the variance with a divisor of D - 1.",
        "Divide by D: layer norm uses the biased variance.",
        (
            _divided_by(lambda variance, eps, D: numpy.sqrt(variance * D / (D - 1) + eps)),
            _divided_by(lambda variance, eps, D: numpy.sqrt(variance * D / (D - 1)) + eps),
        ),
    ),
    Mistake(
        "eps-outside-root",
        "The norms add eps to the standard deviation, outside the square root.",
        "Add eps to the variance, and take the square root of the sum.",
        (_divided_by(lambda variance, eps, D: numpy.sqrt(variance) + eps),),
    ),
    Mistake(
        "final-norm-missing",
        "The final norm is left out.",
        "Apply it after the last layer: the layers of a pre-LN model do not normalise the residual stream.",
        (Change(values={FINAL_NORM: _its_input}),),
    ),
    Mistake(
        "final-norm-doubled",
        "The final norm is applied twice.",
        "Apply it once: last_hidden_state already includes it.",
        (Change(values={FINAL_NORM: _normed}),),
    ),
    # activations
    Mistake(
        "gelu-tanh",
        "GELU is computed with the tanh approximation instead of exactly.",
        "Compute x/2 · (1 + erf(x/√2)).",
        _activation("gelu_new"),
        f"{GITHUB}/Blaizzy/mlx-embeddings/issues/81",
    ),
    Mistake(
        "gelu-erf",
        "GELU is computed exactly, with erf, instead of with the tanh approximation.",
        "Compute x/2 · (1 + tanh(√(2/π)·(x + 0.044715 x³))), as hidden_act says.",
        _activation("gelu"),
        f"{GITHUB}/kyutai-labs/pocket-tts/pull/278",
    ),
    Mistake(
        "gelu-quick",
        "GELU is computed as x·σ(1.702 x).",
        "Use the activation that hidden_act names.",
        _activation("quick_gelu"),
    ),
    Mistake("gelu-relu", "The activation is ReLU.", "Use the activation that hidden_act names.", _activation("relu")),
    Mistake(
        "gelu-float16",
        "GELU is computed in float16, but everything else in float32.",
        "Compute the activation in float32.",
        (*_edited_gelu(_in_float16, "float16"), *_edited_gelu(_stepwise_in_float16, "float16")),
    ),
    Mistake(
        "gelu-tanh-float16",
        "GELU is computed with the tanh approximation, from a table of float16, as ggml does.",
        "Compute x/2 · (1 + erf(x/√2)) in float32: in ggml, ggml_gelu_erf.",
        _edited_gelu(_from_table, "float16"),
        f"{GITHUB}/ggml-org/llama.cpp",
    ),
    Mistake(
        "gelu-without-factor",
        "GELU is computed without its factor x, as ½ (1 + erf(x/√2)).",
        "Compute x/2 · (1 + erf(x/√2)).",
        _edited_gelu(_without_factor),
        f"{GITHUB}/LLNL/lbann/pull/1999",
    ),
    # attention
    Mistake(
        "scores-unscaled",
        "Scores are not divided by √E.",
        "Divide q kᵀ by √E, where E is the head size.",
        (_times(lambda config: math.sqrt(config.head_size)),),
        f"{GITHUB}/mlc-ai/mlc-llm/pull/3426",
    ),
    Mistake(
        "scores-scaled-twice",
        "Scores are divided by √E twice, for example once in the query and again in the product.",
        "Divide by √E once.",
        (_times(lambda config: 1 / math.sqrt(config.head_size)),),
        f"{GITHUB}/huggingface/transformers/pull/38290",
    ),
    Mistake(
        "scores-scaled-by-hidden",
        "Scores are divided by √D, where D is the hidden size.",
        "Divide by √E, where E is the head size.",
        (_times(lambda config: math.sqrt(config.head_size / config.hidden_size)),),
        f"{GITHUB}/FareedKhan-dev/train-llm-from-scratch/pull/3",
    ),
    Mistake(
        "mask-ignored",
        "The attention mask is ignored.",
        "Add a large negative number to the scores of masked keys, before the softmax.",
        (_mask(lambda mask: None), _mask(lambda mask: None, "encoder_attention_mask")),
        f"{GITHUB}/AI4Bharat/IndicBERT/issues/20",
    ),
    Mistake(
        "mask-inverted",
        "The attention mask is inverted: tokens are masked, and padding is attended to.",
        "Use 1 for keys that are attended to, and 0 for masked ones.",
        (_mask(lambda mask: 1 - mask), _mask(lambda mask: 1 - mask, "encoder_attention_mask")),
        f"{GITHUB}/nyu-mll/jiant/pull/465",
    ),
    Mistake(
        "mask-added-raw",
        "The mask of 0 and 1 is itself added to the scores.",
        "Add 0 to the scores of keys that are attended to, and a large negative number to those of masked keys.",
        (Change(values={SCORES: _of_all_keys(_mask_added)}),),
        f"{GITHUB}/jerryji1993/DNABERT/issues/102",
    ),
    Mistake(
        "mask-from-id-0",
        "The mask is made from the ids that are not 0, as for BERT.",
        "Padding has the id pad_token_id, which is 1; id 0 is <s>.",
        (Change(inputs=_mask_from_id_0),),
        f"{GITHUB}/allenai/allennlp/issues/3359",
    ),
    Mistake(
        "mask-as-token-types",
        "The attention mask is passed as token types.",
        "Pass attention_mask and token_type_ids by name.",
        (_mask_as_types(True), _mask_as_types(False)),
        f"{GITHUB}/huggingface/setfit/issues/338",
    ),
    Mistake(
        "mask-after-softmax",
        "The mask is applied after the softmax, so that probabilities do not add up to 1.",
        "Add the mask to the scores, before the softmax.",
        (
            _masked_later(lambda probs: 0.0),
            _masked_later(lambda probs: probs - 1e4),
            _masked_later(lambda probs: probs + float(numpy.finfo("float32").min)),
        ),
    ),
    Mistake(
        "mask-multiplied",
        "Scores are multiplied by the mask before the softmax, so that masked keys have a score of 0.",
        "Add a large negative number to the scores of masked keys.",
        (_masked_as(lambda scores: 0.0),),
    ),
    Mistake(
        "mask-1e4",
        "-10000 is added to masked scores: a query whose keys are all masked attends as if none were masked.",
        "Add the lowest finite value of the dtype, with which such a query attends to all keys equally.",
        (_masked_as(lambda scores: scores - 1e4), _masked_as(lambda scores: -1e4)),
    ),
    Mistake(
        "mask-inf",
        "Masked keys have a score of -inf: the result for a query whose keys are all masked is NaN.",
        "Add the lowest finite value of the dtype, with which such a query attends to all keys equally.",
        (_masked_as(lambda scores: -math.inf), _masked_as(lambda scores: scores - math.inf)),
        f"{GITHUB}/tracel-ai/burn/pull/4697",
    ),
    Mistake(
        "softmax-over-queries",
        "The softmax is taken over the queries.",
        "Take it over the keys, the last axis of (B, H, L, S).",
        (_softmax_over(2),),
    ),
    Mistake(
        "softmax-over-heads",
        "The softmax is taken over the heads.",
        "Take it over the keys, the last axis of (B, H, L, S).",
        (_softmax_over(1),),
    ),
    Mistake(
        "query-key-swapped",
        "Query and key are swapped: scores are k qᵀ.",
        "Compute q kᵀ: a row for each query, a column for each key.",
        (_ordered(("key", "query", "value")), Change(values={SCORES: _of_all_keys(_transposed_scores)})),
    ),
    Mistake(
        "heads-interleaved",
        "Heads are split in the wrong order: head h takes channels h, h + H, h + 2H, ...",
        "Reshape D to (H, E), not to (E, H): head h takes channels h·E to (h + 1)·E - 1.",
        (
            _heads(_split_interleaved, _merge_interleaved),
            _heads(_split_interleaved, ops.merge_heads),
            _heads(ops.split_heads, _merge_interleaved),
        ),
    ),
    Mistake(
        "heads-unswapped",
        "Heads are split or merged by a reshape alone, without swapping the head and position axes.",
        "Reshape (B, L, D) to (B, L, H, E), then swap axes to get (B, H, L, E); do the reverse to merge.",
        (
            _heads(_split_unswapped, _merge_unswapped),
            _heads(_split_unswapped, ops.merge_heads),
            _heads(ops.split_heads, _merge_unswapped),
        ),
    ),
    Mistake(
        "causal-missing",
        "A decoder attends to later tokens.",
        "Mask the keys after each query if is_decoder is true.",
        (_causal(lambda distance: distance == distance),),
    ),
    Mistake(
        "causal-off-by-one",
        "The causal mask is off by one: a query attends to the token after it, or not to itself.",
        "Let each query attend to the keys up to and including its own position.",
        (_causal(lambda distance: distance <= 1), _causal(lambda distance: distance < 0)),
    ),
    Mistake(
        "distance-sign",
        "Relative distances have the wrong sign.",
        "Use row (query position - key position + max_position_embeddings - 1) of the distance embeddings.",
        (_changed(r".*distance_embedding\.weight", numpy.flipud),),
    ),
    # tables
    Mistake(
        "rows-shifted-words",
        "The rows of the word embeddings are shifted by one.",
        "Look up row i for id i.",
        (
            _rows_of_words(lambda V: [V - 1, *range(V - 1)]),
            _rows_of_words(lambda V: [*range(1, V), 0]),
            _rows_of_words(lambda V: [*range(1, V), V - 1]),
        ),
    ),
    Mistake(
        "mask-row-moved",
        "The row of <mask> is expected after the four other special tokens, so that all later rows are shifted by one.",
        "<mask> has the last id of RoBERTa's vocabulary.",
        (_rows_of_words(lambda V: [*range(4), V - 1, *range(4, V - 1)]),),
        f"{GITHUB}/dmlc/gluon-nlp",
    ),
    # heads
    Mistake(
        "lm-bias-doubled",
        "The bias of the language-model head is added twice.",
        "Add it once: lm_head.bias and lm_head.decoder.bias are the same parameter.",
        (_changed(r"lm_head\.bias", lambda bias: 2 * bias),),
        f"{GITHUB}/huggingface/transformers/issues/2957",
    ),
    Mistake(
        "lm-bias-missing",
        "The bias of the language-model head is left out.",
        "Add lm_head.bias to the logits; tied embeddings do not include it.",
        (_changed(r"lm_head\.bias", numpy.zeros_like),),
    ),
    Mistake(
        "lm-decoder-untied",
        "The word embeddings are used as the decoder, although the decoder is untied.",
        "Use lm_head.decoder.weight, since tie_word_embeddings is false.",
        (_moved({r"lm_head\.decoder\.weight": "embeddings.word_embeddings.weight"}),),
    ),
    Mistake(
        "pooler-for-classifier",
        "The classifier uses the pooler, or the first token directly, instead of its own first layer.",
        "Compute tanh(x₀ Wᵀ + b) with classifier.dense: RoBERTa's classification head does not use the pooler.",
        (
            _moved({r"classifier\.dense\.(.*)": r"pooler.dense.\1"}),
            Change(values={TANH: _first_state}),
        ),
    ),
    Mistake(
        "classifier-for-pooler",
        "The pooler is left out, or uses the weights of a classification head.",
        "Compute tanh(x₀ Wᵀ + b) with pooler.dense, and use the result.",
        (
            _moved({r"pooler\.dense\.(.*)": r"classifier.dense.\1"}),
            Change(values={r"pooler": _first_state}),
        ),
    ),
    Mistake(
        "tanh-missing-pooler",
        "The pooler's tanh is left out.",
        "Compute tanh(x₀ Wᵀ + b).",
        (Change(values={r"pooler": _its_input}),),
    ),
    Mistake(
        "tanh-missing-classifier",
        "The tanh in the classification head is left out.",
        "Compute tanh(x₀ Wᵀ + b) before classifier.out_proj.",
        (Change(values={TANH: _its_input}),),
    ),
    *(
        Mistake(
            f"{head}-{act.replace('_new', '-tanh')}",
            f"The {head}'s activation is {words} instead of tanh.",
            f"Compute tanh(x₀ Wᵀ + b): {head_of} has a tanh whatever hidden_act says.",
            (_head_activation(pattern, act),),
            f"{GITHUB}/huggingface/candle/pull/2968" if (head, act) == ("classifier", "gelu_new") else "",
        )
        for head, head_of, pattern in (("classifier", "the classification head", TANH), ("pooler", "the pooler", "pooler"))
        for act, words in (("gelu_new", "GELU by tanh"), ("gelu", "GELU"), ("relu", "ReLU"))
    ),
    Mistake(
        "last-token",
        "The head reads the last token instead of the first.",
        "Read the first token, usually <s>.",
        (_of_token(lambda here: -1), _of_token(_last_token)),
    ),
)
"""Mistakes that do not depend on the model."""

PRECISIONS = (
    Mistake(
        "float16",
        "The model computes in float16, or its weights are float16.",
        "Compute in float32, or compare with precision='float16'.",
        (_changed(r".*", _to_bits(10, to_even=1)), _computed_in("float16", 10)),
    ),
    Mistake(
        "bfloat16",
        "The model computes in bfloat16, or its weights are bfloat16.",
        "Compute in float32, or compare with precision='bfloat16'.",
        (_changed(r".*", _to_bits(7, to_even=1)), _computed_in("bfloat16", 7)),
    ),
    Mistake(
        "tf32",
        "Matrix products are computed in TF32, with operands rounded to ten mantissa bits.",
        "Turn TF32 off: torch.backends.cuda.matmul.allow_tf32 = False, or the equivalent in other libraries.",
        (_products_of(_to_bits(10)), _products_of(_to_bits(10, half=0)), _products_of(_to_bits(10, to_even=1))),
        f"{GITHUB}/pytorch/pytorch/issues/61890",
    ),
    Mistake(
        "int8-weights",
        "The weights are quantised to int8, with a scale for each row or for the whole weight.",
        "Use the unquantised weights, or expect this difference.",
        tuple(_changed(PRODUCTS, _int8(axis, inverse)) for axis in (1, None) for inverse in (False, True)),
    ),
)
"""Choices of precision, which may be intended. They are recognised by the size and pattern of the errors."""


def catalogue(model: Model) -> Iterator[Mistake]:
    """All mistakes that a port of the model can make, with those of precision last. Some may not affect this model."""
    yield from MISTAKES
    yield from _of_the_weights()
    yield from _of_the_order(model)
    yield from _of_the_layers(model.config.num_hidden_layers)
    yield from PRECISIONS


def _of_the_weights() -> Iterator[Mistake]:
    for part, pattern in WEIGHTS.items():
        yield Mistake(
            f"bias-missing-{part}",
            f"The bias of {_described(part)} is left out.",
            "Add the bias.",
            (_changed(rf"({pattern})\.bias", numpy.zeros_like),),
        )
    for part in SQUARE:
        yield Mistake(
            f"weight-transposed-{part}",
            f"The weight of {_described(part)} is transposed, which its square shape does not reveal.",
            "Compute x Wᵀ with the weight as stored, (O, I), or transpose it once on loading.",
            (_changed(rf"({WEIGHTS[part]})\.weight", _transposed),),
        )
    yield Mistake(
        "weights-transposed",
        "Every square weight is transposed, as by a loader that expects (I, O); the square shapes do not reveal it.",
        "Compute x Wᵀ with the weights as stored, (O, I), or transpose them once on loading.",
        (_changed(rf"({'|'.join(WEIGHTS[part] for part in SQUARE)})\.weight", _transposed),),
    )
    for order in itertools.permutations(("query", "key", "value")):
        if order != ("query", "key", "value"):
            yield Mistake(
                "qkv-order-" + "".join(part[0] for part in order),
                f"The fused weights are split in the wrong order: query, key and value use weights of {_list(order)}.",
                "Split the fused weight in the order in which its parts were concatenated.",
                (_ordered(order),),
                f"{GITHUB}/tenstorrent/tt-mlir/issues/8958" if order[0] == "query" else "",
            )
    for part, source in itertools.permutations(PARTS, 2):
        yield Mistake(
            f"{part}-from-{source}",
            f"The {part} is computed with the weights of the {source}.",
            f"Compute it with attention.self.{part}.",
            (_ordered(tuple(source if one == part else one for one in PARTS)),),
            f"{GITHUB}/pytorch/torchtune/pull/21" if (part, source) == ("value", "key") else "",
        )
    yield Mistake(
        "qkv-order-by-head",
        "The fused weights are split as if the query, key and value of each head were stored together.",
        "Split the fused weight as it was concatenated: all queries first, then all keys, then all values.",
        (Change(params=_by_head),),
        f"{GITHUB}/awslabs/slapo/pull/46",
    )


def _described(part: str) -> str:
    return f"the {part.replace('-', ' ')} module".replace("lm", "language-model head's").replace(
        "qa", "question-answering"
    )


def _list(parts: Sequence[str]) -> str:
    return f"{parts[0]}, {parts[1]} and {parts[2]}"


def _of_the_order(model: Model) -> Iterator[Mistake]:
    before = model.config.norm_first
    yield Mistake(
        "token-types-missing",
        "The token type embeddings are left out.",
        "Add row 0 of the token type embeddings even without token_type_ids: that row is not zero.",
        (
            Change(values={r"embeddings\.sum" if model.config.embedding_norm else r"embeddings": _without_types}),
            _changed(r"embeddings\.token_type_embeddings\.weight", numpy.zeros_like),
        ),
        f"{GITHUB}/foundation-model-stack/foundation-model-stack/pull/399",
    )
    yield Mistake(
        "norm-order",
        f"The norms are applied {'after' if before else 'before'} attention and feed-forward.",
        f"Apply them {'before both' if before else 'after the sums'}: this model is {'pre' if before else 'post'}-LN.",
        (Change(config={"norm_first": not before}),),
    )
    of_sum = "" if before else r"\.sum"
    yield Mistake(
        "residual-missing",
        "A residual connection is left out: f(x) is used instead of x + f(x).",
        "Add the input of each attention and feed-forward block to its output.",
        tuple(
            Change(values={rf"encoder\.layer\.\d+\.{part}output{of_sum}": _without_residual})
            for part in (r"((cross)?attention\.)?", r"(cross)?attention\.", "")
        ),
    )
    if before:
        yield Mistake(
            "residual-from-norm",
            "The residual is taken after the norm: x becomes norm(x) + f(norm(x)).",
            "Take the residual from before the norm: x + f(norm(x)).",
            (Change(values={r"encoder\.layer\.\d+\.((cross)?attention\.)?output": _sum_from_norm}),),
        )


def _without_residual(value: Array, here: Here) -> Array:
    return here.seen[f"{here.name.removesuffix('.sum')}.dense"]


def _of_the_layers(count: int) -> Iterator[Mistake]:
    if count > 10:
        yield Mistake(
            "layers-in-text-order",
            "The layers are sorted as text: 0, 1, 10, 11, 2, ...",
            "Sort them numerically.",
            (_layers(sorted(range(count), key=str)),),
        )
    for layer in range(count) if count > 1 else ():
        yield Mistake(
            f"layer-missing-{layer}",
            f"Layer {layer} is missing.",
            f"Run all {count} layers.",
            (
                _layers([i for i in range(count) if i != layer]),
                Change(values={rf"encoder\.layer\.{layer}": _layer_input}),
            ),
        )
