"""The whole model: the body, the pure function `forward`, and `Network`, which is called like a Hugging Face model."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy

from . import compiled, heads, ops, packed, weights
from .attend import Masked
from .backend import devices, fused
from .backend.arrays import Array, Namespace, cast, computable, compute_dtype, namespace, to_host, widen, widened
from .backend.memory import keep_freed_memory
from .backend.precision import precise
from .cache import Cache, KeysValues, cached_length, number_tokens
from .config import HEADS, Config, check_head
from .errors import BackendError, ConfigError, InputError, NameUnknownError, check_integer
from .inputs import NUMBERS, Inputs, as_array, check_shapes, check_values, given, heads_with_cache
from .layers import LayerInputs, embeddings, encoder, norm
from .packed import Packing
from .trace import Node, is_recording, keep, keeping

Params = dict[str, Any]

# --- the body -------------------------------------------------------------------------------------------------------


def body(p: Node, config: Config, inputs: Inputs, packing: Packing | None = None) -> Array:
    """The base model: embeddings, encoder, and RoBERTa-PreLayerNorm's final norm.

    Returns the last hidden state, (B, L, D); for a packed row that specifies W wanted positions, only the states at
    those positions, (W, 1, D).
    """
    position_ids, tokens = number_tokens(config, inputs.input_ids, inputs.inputs_embeds, inputs.past_key_values)
    keep("tokens", tokens)
    x = embeddings(
        p.embeddings,
        config,
        input_ids=inputs.input_ids,
        inputs_embeds=inputs.inputs_embeds,
        token_type_ids=inputs.token_type_ids,
        position_ids=position_ids if inputs.position_ids is None else inputs.position_ids,
    )
    if packing is None:
        x = encoder(x, p.encoder, config, layer_inputs(x, config, inputs))
    else:
        x = packed.encoder(x, p.encoder, config, packing)
    if "LayerNorm" in p:
        x = norm(x, p.LayerNorm, config)
    return x if packing is None or packing.wanted is None else x.swapaxes(0, 1)  # (1, W, D) -> (W, 1, D)


def layer_inputs(x: Array, config: Config, inputs: Inputs) -> list[LayerInputs]:
    """The inputs of each layer other than x: masks, the memory of cross-attention, and the cache."""
    layers, past, memory, memory_mask = config.num_hidden_layers, inputs.past_key_values, None, None
    mask = self_attention_mask(x, inputs.attention_mask, cached_length(past), config)
    head_masks: Sequence[Array | None] = [None] * layers
    if inputs.head_mask is not None:
        rows = cast(inputs.head_mask, x.dtype)  # (H,) or (layers, H)
        head_masks = [rows if rows.ndim == 1 else rows[index] for index in range(layers)]
    if inputs.encoder_hidden_states is not None:
        memory = computable(namespace(x).asarray(inputs.encoder_hidden_states))
    if inputs.encoder_attention_mask is not None:
        memory_mask = ops.additive_mask(inputs.encoder_attention_mask, widened(x.dtype))
    return [
        LayerInputs(Masked(mask, head_mask), memory, Masked(memory_mask, head_mask), own)
        for head_mask, own in zip(head_masks, past or [()] * layers, strict=True)
    ]


def self_attention_mask(x: Array, mask: Array | None, past: int, config: Config) -> Array | None:
    """The additive mask of self-attention, or None if every query attends to every key.

    In a decoder, a 2-D mask is multiplied by the causal mask, and a 3-D mask replaces the causal mask. x: (B, L, D).
    Returns (B, 1, 1, S), (B, 1, L, S) or (1, 1, L, S).
    """
    xp, L = namespace(x), x.shape[1]
    if config.is_decoder and (mask is None or mask.ndim == 2):
        causal = ops.causal_mask(xp, L, L + past)[None]  # (1, L, S)
        mask = causal if mask is None else causal * mask[:, None, :]  # (B, L, S)
    return None if mask is None else ops.additive_mask(mask, widened(x.dtype))


# --- the pure function ----------------------------------------------------------------------------------------------


def forward(
    params: Params,
    config: Config,
    head: str = "encoder",
    *,
    use_cache: bool | None = None,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    precision: str = "highest",
    **inputs: Any,
) -> dict[str, Any]:
    """Compute a model's outputs: a pure function that JAX can trace, differentiate and vectorise.

    params: the parameter tree, nested dicts of arrays with Hugging Face's names for Roberta, without the base model's
    prefix.
    inputs: arrays of the same library as params, with the shapes given in `Inputs`: input_ids or inputs_embeds,
    attention_mask, token_type_ids, position_ids, head_mask, encoder_hidden_states with encoder_attention_mask, and
    past_key_values. For a loss, also labels: (B, L) ids for masked_lm, causal_lm (which shifts them) and
    token_classification; (B,) integers for multiple_choice; for sequence_classification, (B,) integers, or (B, N)
    floats for multi-label classification or regression. The label -100 is ignored. question_answering takes
    start_positions and end_positions, (B,), instead of labels.
    use_cache: whether to return a cache, by default as configured. Only a decoder called without labels returns one.
    precision: of float32 matrix products, as `load` describes it.

    Returns a dict with Hugging Face's names, in Hugging Face's order, with None for outputs that were not requested:
    the scalar loss; then, depending on the head, logits, of shape (B, L, V), (B, L, N), (B, N) or (B, C), or
    last_hidden_state (B, L, D) and pooler_output (B, D), or start_logits and end_logits, both (B, L); then
    past_key_values, hidden_states, attentions and cross_attentions as in `ModelOutput`.

    Only shapes are checked; the result for an invalid id depends on the array library. With `jax.jit`, close over
    config and head, or make them static arguments. Raises InputError, NameUnknownError, ConfigError, BackendError, and
    TypeError for an unknown input.
    """
    check_head(head, config)
    if unknown := inputs.keys() - set(Inputs._fields):
        raise TypeError(f"unknown input {', '.join(sorted(unknown))}: give one of {', '.join(Inputs._fields)}")
    arrays = Inputs(**inputs)
    check_shapes(config, head, arrays.given)
    return run(
        params,
        config,
        head,
        arrays,
        use_cache=use_cache,
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
        precision=precision,
    )


def run(
    params: Params,
    config: Config,
    head: str,
    inputs: Inputs,
    packing: Packing | None = None,
    *,
    wanted: Array | None = None,
    use_cache: bool | None = None,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    precision: str = "highest",
) -> dict[str, Any]:
    """Compute the outputs of `forward` without checking shapes; also for a packed row, (1, T).

    wanted: the positions that the head reads in each row of a batch, (B, W); by default all. A head that reads a
    sequence's first position takes each as the first of another sequence.

    Raises InputError, and BackendError for an invalid precision.
    """
    p, rows = Node(params), inputs.without_choices() if packing is None and HEADS[head].choices else inputs
    caches = packing is None and keeps_cache(config, head, inputs, use_cache)
    names = names_of_outputs(config, inputs, caches, output_attentions, output_hidden_states)
    with precise(table(params), precision), keeping([name for several in names.values() for name in several]) as kept:
        x = body(p, config, rows, packing)
        if wanted is not None:
            x = namespace(x).take_along_axis(x, wanted[..., None], axis=1)  # (B, L, D) -> (B, W, D)
            x = x.reshape(-1, 1, x.shape[-1]) if HEADS[head].reads_first else x  # (B, W, D) -> (B·W, 1, D)
        outputs = heads.HEADS[head](x, p, config, inputs)
    seen = {output: tuple(kept[name] for name in several) for output, several in names.items()}
    if caches:
        own, across = seen["self_past"], seen.get("cross_past", [()] * config.num_hidden_layers)
        seen["past_key_values"] = Cache([a + b for a, b in zip(own, across, strict=True)], kept["tokens"])
    return {**outputs, **{name: seen.get(name) for name in (ORDER_OF_THE_ENCODER if head == "encoder" else ORDER)}}


ORDER = ("past_key_values", "hidden_states", "attentions", "cross_attentions")
"""The outputs that follow those of the head, in Hugging Face's order."""

ORDER_OF_THE_ENCODER = ("hidden_states", "past_key_values", "attentions", "cross_attentions")
"""The outputs that follow those of the bare model, in Hugging Face's order."""


def table(params: Params) -> Array:
    """The table of word embeddings, whose library and dtype are the model's."""
    return params["embeddings"]["word_embeddings"]["weight"]


def keeps_cache(config: Config, head: str, inputs: Inputs, use_cache: bool | None) -> bool:
    """Return whether a run returns a cache; by default, a decoder does if there are no labels. Raises InputError."""
    caching = config.is_decoder and HEADS[head].cache
    if use_cache and not caching:
        raise InputError(
            f"use_cache=True, but head {head!r} with is_decoder={config.is_decoder} does not return a cache: "
            f"only decoders with one of the heads {heads_with_cache()} do"
        )
    return caching and inputs.labels is None and (config.use_cache if use_cache is None else use_cache)


def names_of_outputs(
    config: Config, inputs: Inputs, caches: bool, attentions: bool, hidden_states: bool
) -> dict[str, list[str]]:
    """The requested outputs of the body, with the names of the values that each output consists of."""
    layers = [f"encoder.layer.{index}" for index in range(config.num_hidden_layers)]
    across = inputs.encoder_hidden_states is not None
    names = {}
    if hidden_states:  # XLM-RoBERTa-XL's last one comes after its final norm
        last = "encoder" if config.family.final_norm == "encoder.LayerNorm" else layers[-1]
        names["hidden_states"] = ["embeddings", *layers[:-1], last]
    if attentions:
        names["attentions"] = [f"{layer}.attention.self.probs" for layer in layers]
    if attentions and across:
        names["cross_attentions"] = [f"{layer}.crossattention.self.probs" for layer in layers]
    if caches:
        names["tokens"] = ["tokens"]
        names["self_past"] = [f"{layer}.attention.self.past" for layer in layers]
    if caches and across:
        names["cross_past"] = [f"{layer}.crossattention.self.past" for layer in layers]
    return names


# --- the outputs ----------------------------------------------------------------------------------------------------


class ModelOutput(dict[Any, Any]):
    """The outputs of a model by name and by position: `o.logits`, `o["logits"]`, `o[0]`.

    The arrays belong to the model's library. They are annotated as NumPy arrays, because the arrays of the other
    libraries have the same methods. For an output that was not requested, the attribute is None, and there is no item.
    """

    loss: numpy.ndarray  # ()
    last_hidden_state: numpy.ndarray  # (B, L, D)
    pooler_output: numpy.ndarray  # (B, D)
    logits: numpy.ndarray  # (B, L, V), (B, L, N), (B, N) or (B, C)
    start_logits: numpy.ndarray  # (B, L)
    end_logits: numpy.ndarray  # (B, L)
    past_key_values: Cache  # layers of (k, v[, cross k, cross v]), each (B, H, S, E)
    hidden_states: tuple[numpy.ndarray, ...]  # layers + 1 of (B, L, D)
    attentions: tuple[numpy.ndarray, ...]  # layers of (B, H, L, S)
    cross_attentions: tuple[numpy.ndarray, ...]  # layers of (B, H, L, S)

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        super().__init__(given(**outputs))

    def __getattr__(self, name: str) -> Any:
        if name in ModelOutput.__annotations__:
            return self.get(name)
        raise AttributeError(f"a model's output has no {name}; it has {', '.join(ModelOutput.__annotations__)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ModelOutput.__annotations__:
            raise AttributeError(f"a model's output has no {name}; it has {', '.join(ModelOutput.__annotations__)}")
        self.pop(name, None) if value is None else self.update({name: value})

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and key not in self:
            raise NameUnknownError(f"this output has no {key}; it has {', '.join(self)}")
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<18} {_summary(value)}" for name, value in self.items())

    def to_tuple(self) -> tuple[Any, ...]:
        """The requested outputs, in order."""
        return tuple(self.values())


def _summary(value: Any) -> str:
    """The dtype and shape of an array; for a tuple, its length and the dtype and shape of its first item."""
    if isinstance(value, tuple):
        return f"{len(value)} of {_summary(value[0]) if value else 'nothing'}"
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "dtype") else repr(value)


def to_numpy(x: Any) -> Any:
    """Convert arrays of any library to NumPy: an array, an output, or a dict, list, tuple or Cache of arrays.

    The result has the same structure, and None stays None; a Trace becomes a dict. bfloat16, which NumPy does not have,
    becomes float32, which can represent every bfloat16 number. Arrays of NumPy are not copied.

    Raises BackendError for something else, such as a string, and for a model, which has a method `to_numpy`.
    """
    if x is None:
        return None
    if isinstance(x, Cache):
        return Cache(to_numpy(tuple(x)), to_numpy(x.tokens))
    if isinstance(x, Mapping):
        values = {name: to_numpy(value) for name, value in x.items()}
        return ModelOutput(values) if isinstance(x, ModelOutput) else values
    if isinstance(x, list | tuple):
        return (list if isinstance(x, list) else tuple)(map(to_numpy, x))
    if isinstance(x, Network):
        raise BackendError("to_numpy takes arrays and outputs, not a model: call model.to_numpy()")
    if not hasattr(x, "dtype"):
        raise BackendError(f"to_numpy takes arrays, and dicts, lists and tuples of arrays, not {type(x).__name__}")
    array = to_host(x)
    return widen(array) if array.dtype.name == "bfloat16" else array


# --- the network ----------------------------------------------------------------------------------------------------


class Network:
    """A RoBERTa model for inference: a configuration, parameters and a head. It is called like a Hugging Face model.

    config: a Config, with Hugging Face's field names; params: the parameter tree, as `forward` takes it; head: encoder,
    masked_lm, causal_lm, sequence_classification, multiple_choice, token_classification or question_answering;
    tokenizer: a tokenizer for the tasks in `text`, or None. All four are also attributes. Dropout is never applied, and
    no state is kept between calls.

    Raises ConfigError, NameUnknownError, and WeightsError if params lack a weight that the head needs.
    """

    embedding: Any = None
    """The description that `encode` follows: a `text.embedding.Embedding`, or None for its defaults."""
    generation: Any = None
    """The settings that `generate` follows: a `text.generation.Generation`, or None for its defaults."""
    encoder: Any = None
    """The encoder of an encoder-decoder, a `Network`, if this is its decoder; or None."""
    precision: str = "highest"
    """The precision of float32 matrix products, as `load` describes it."""
    files: Iterable[Any] = ()
    """The files that parameters are mapped from. A call checks that they have not changed."""

    def __init__(self, config: Config, params: Params, head: str = "encoder", tokenizer: Any = None) -> None:
        if not isinstance(config, Config):
            raise ConfigError(f"a model takes a Config, not {type(config).__name__}: make one with Config.from_dict")
        check_head(head, config)
        weights.check_names(params, config, head)
        self._hold(config, params, head, tokenizer)

    @classmethod
    def of_checked(cls, config: Config, params: Params, head: str, precision: str) -> Self:
        """Make a model from parts that `load` or `init` has already checked."""
        model = cls.__new__(cls)
        model._hold(config, params, head, None)
        model.precision = precision
        return model

    def _hold(self, config: Config, params: Params, head: str, tokenizer: Any) -> None:
        keep_freed_memory()
        self.config, self.params, self.head, self.tokenizer = config, params, head, tokenizer
        self.compilations: list[str] = []  # what JAX has compiled for calls of this model

    def __repr__(self) -> str:
        c = self.config
        size = f"{c.num_hidden_layers} layers of {c.hidden_size}, {c.num_attention_heads} heads"
        library = self.xp.__name__ + (f", {self.device_count} devices" if self.device_count > 1 else "")
        return f"<minroberta.{type(self).__name__} {c.model_type}, {self.head}, {size}, {self.dtype}, {library}>"

    @property
    def p(self) -> Node:
        """The root node of the parameter tree; `layers.encoder_layer` takes the node `model.p.encoder.layer[0]`."""
        return Node(self.params)

    @property
    def xp(self) -> Namespace:
        """The array library that the parameters belong to."""
        return namespace(table(self.params))

    @property
    def dtype(self) -> Any:
        """The dtype in which the parameters are stored."""
        return table(self.params).dtype

    @property
    def device_count(self) -> int:
        """Number of devices among which batches are shared, as asked for with `devices=` of `load`."""
        return devices.count(table(self.params))

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Sequence[KeysValues] | None = None,
        use_cache: bool | None = None,
        labels: Any = None,
        start_positions: Any = None,
        end_positions: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        skip_padding: bool = False,
    ) -> ModelOutput:
        """Run the model on lists, or on arrays of any library and any integer dtype; `forward` describes the inputs.

        Shapes, dtypes and values are checked on the host before the inputs are moved to the model's library. On NumPy,
        which has no fast float16 products, a float16 model computes in float32. With `return_dict=False`, the outputs
        are a tuple.

        On JAX, calls without labels, a cache or other rare inputs are compiled, once for each of the few shapes that
        inputs are padded to (`compiled` lists both); `jax.disable_jit` turns this off. If the model has several
        devices, they divide the batch of a compiled call.

        A decoder returns `past_key_values`. Pass them to the call for the next tokens, with an attention mask for all
        positions, both cached and new. The cache stores the number of tokens in each row, not counting padding, so that
        cached and uncached results agree, even after a left-padded prompt.

        With `skip_padding`, nothing is computed for padding, and outputs at padding positions are 0 instead of the
        reference's values; a compiled call on JAX only sets them to 0. This has no effect while values are recorded, or
        if hidden states, attentions or a cache are requested.

        Raises InputError, with the offending value and its index; and WeightsError if a file that the parameters are
        mapped from has changed.
        """
        inputs = Inputs(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds, encoder_hidden_states,
            encoder_attention_mask, past_key_values, labels, start_positions, end_positions,
        )  # fmt: skip
        if self.encoder is not None and encoder_hidden_states is None:
            raise InputError(
                "the decoder of an encoder-decoder needs encoder_hidden_states: give "
                "model.encoder(input_ids, attention_mask).last_hidden_state"
            )
        arrays = self.checked(inputs)
        if skip_padding and not (is_recording() or use_cache or output_attentions or output_hidden_states):
            outputs = self._without_padding(arrays)
        else:
            outputs = self._run(
                arrays,
                use_cache=use_cache,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
            )
        result = ModelOutput(outputs)
        return result if return_dict else result.to_tuple()  # type: ignore[return-value]  # few calls want a tuple

    def checked(self, inputs: Inputs) -> dict[str, Any]:
        """The given inputs as arrays. Raises the errors of a call."""
        arrays = {name: x if name == "past_key_values" else as_array(name, x) for name, x in inputs.given.items()}
        check_shapes(self.config, self.head, arrays)
        check_values(self.config, self.head, arrays)
        self._check_files()
        return arrays

    def moved(self, arrays: Mapping[str, Any]) -> Inputs:
        """Inputs as arrays of the model's library."""
        return Inputs(**{name: self._move(name, value) for name, value in arrays.items()})

    def to_numpy(self) -> Self:
        """Return the same model with its parameters on NumPy; the function `to_numpy` does so for outputs.

        All else stays: the tokenizer, the precision, an encoder-decoder's encoder, and the settings of tasks.
        """
        model = copy.copy(self)
        model.params, model.compilations = to_numpy(self.params), []
        model.encoder = None if self.encoder is None else self.encoder.to_numpy()
        return model

    def compile(self, lengths: Iterable[int], batches: Iterable[int] = (1,)) -> None:
        """Compile calls of these lengths and batch sizes on JAX, so that the first of them need not wait.

        Without this, a call is compiled when it is needed. Sizes are padded to the few that `compiled` lists, and
        `compilations` describes what JAX has compiled for this model. Calls for a cache, for hidden states or
        attentions, with position_ids, and tasks that read a few positions or put several texts in a row are compiled
        separately, when needed: call them once.

        Raises BackendError on other libraries than JAX, and InputError for sizes that the model does not take.
        """
        if self.xp.__name__ != "jax.numpy":
            raise BackendError(f"only JAX compiles models, not {self.xp.__name__}: load with xp=jax.numpy")
        if not compiled.compiles(table(self.params)):
            raise BackendError(
                "nothing is compiled within jax.disable_jit, a trace or a gradient: call compile outside"
            )
        for name, sizes in {"lengths": lengths, "batches": batches}.items():
            if not isinstance(sizes, Iterable):
                raise InputError(f"{name} must be a list of integers, such as [16, 32], not {sizes!r}")
        token = (self.config.pad_token_id + 1) % self.config.vocab_size
        for length, batch in itertools.product(lengths, tuple(batches)):
            check_integer("a length", length, 1)
            check_integer("a batch size", batch, 1)
            shape = (batch, 1, length) if HEADS[self.head].choices else (batch, length)
            self(numpy.full(shape, token), use_cache=False)

    def on_rows(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]] | None = None
    ) -> list[dict[str, Array]]:
        """The head's outputs, (positions, ...), for each of several sequences of ids.

        They are computed without padding, or on JAX with as much as compiled calls need; then they are NumPy's arrays.
        wanted: the positions to return for each sequence; by default all, or only the first if the head reads no other.
        """
        if not all(map(len, rows)):
            raise InputError("a sequence of ids is empty: give at least one id in each sequence")
        if not rows:
            return []
        self._check_rows(rows)
        self._check_files()
        if compiled.compiles(table(self.params)):
            return self._on_compiled_rows(rows, wanted)
        if wanted is None and HEADS[self.head].reads_first:
            wanted = [[0]] * len(rows)
        if is_recording() or self.config.position_embedding_type != "absolute":
            return self._on_padded_rows(rows, wanted)
        inputs = packed.pack_ids(rows, self.config.pad_token_id)
        outputs = self._run(inputs, Packing([len(row) for row in rows], wanted))
        counts = [len(positions) for positions in (rows if wanted is None else wanted)]
        flat = {name: outputs[name].reshape(sum(counts), -1) for name in packed.OUTPUTS if name in outputs}
        return [{name: x[span] for name, x in flat.items()} for span in packed.spans(counts)]

    def _check_files(self) -> None:
        """Raise WeightsError if a file that parameters are mapped from has changed."""
        for file in self.files:
            file.check()

    def _check_rows(self, rows: Sequence[Sequence[int]]) -> None:
        """Raise InputError for ids that the model cannot take, by the number of their row, and for rows too long."""
        inputs = packed.pad_ids(rows, self.config.pad_token_id)
        if self.config.position_embedding_type != "absolute":  # their length is not among the values
            check_shapes(self.config, "encoder", inputs)
        check_values(self.config, self.head, inputs)

    def _on_padded_rows(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]] | None
    ) -> list[dict[str, Array]]:
        """Do the same as `on_rows` with a padded batch, for relative positions or while values are recorded."""
        inputs = packed.pad_ids(rows, self.config.pad_token_id)  # (B, L)
        if HEADS[self.head].choices:
            inputs = {name: x[:, None] for name, x in inputs.items()}  # (B, 1, L)
        outputs, result = self(**inputs), []  # type: ignore[arg-type]
        for index, row in enumerate(rows):
            positions = self.xp.asarray(range(len(row)) if wanted is None else wanted[index], dtype=int)
            own = {name: outputs[name][index] for name in packed.OUTPUTS if name in outputs}
            read = {name: x[None] if HEADS[self.head].reads_first else x[positions] for name, x in own.items()}
            result.append({name: x.reshape(len(positions), math.prod(x.shape[1:])) for name, x in read.items()})
        return result

    def _on_compiled_rows(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]] | None
    ) -> list[dict[str, Array]]:
        """Do the same as `on_rows` by compiled calls, with rows that short sequences share. Returns NumPy arrays."""
        if HEADS[self.head].reads_first:
            wanted = [[0]] * len(rows)
        counts = [len(row) for row in (rows if wanted is None else wanted)]
        result: list[dict[str, Array]] = [{}] * len(rows)
        tokens, lengths = compiled.tokens_at_once(table(self.params)), list(map(len, rows))
        for batch, length in compiled.batches_of(lengths, self.config, self.device_count, tokens):
            several = [[rows[index] for index in row] for row in batch]
            own = None if wanted is None else [[wanted[index] for index in row] for row in batch]
            outputs = self._run_shared_rows(several, own, length)
            for place, row in enumerate(batch):
                for index, span in zip(row, packed.spans(counts[index] for index in row), strict=True):
                    result[index] = {name: x[place, span] for name, x in outputs.items()}
        return result

    def _run_shared_rows(
        self, several: list[list[Sequence[int]]], wanted: list[list[Sequence[int]]] | None, length: int
    ) -> dict[str, numpy.ndarray]:
        """The outputs for rows of this length, each of several sequences of ids, (B, positions, ...)."""
        head, positions = HEADS[self.head], None
        inputs = packed.pack_in_rows(several, length, self.config)
        if wanted is not None and not (head.reads_first and max(map(len, several)) == 1):
            positions = compiled.padded_positions(several, wanted)
        if head.choices:
            inputs = {name: x[:, None] for name, x in inputs.items()}  # (B, L) -> (B, 1, L)
        outputs = self._run_compiled(inputs, positions, use_cache=False)
        count = positions.shape[1] if positions is not None else 1 if head.reads_first else length
        shape = (len(several), count, -1)
        return {name: to_host(outputs[name]).reshape(shape) for name in packed.OUTPUTS if name in outputs}

    @property
    def can_continue(self) -> bool:
        """True if `continued` works: on JAX, for a decoder with absolute positions that has no encoder."""
        return compiled.compiles(table(self.params)) and self.encoder is None and compiled.can_step(self.config)

    def continued(
        self, rows: Sequence[Sequence[int]], parents: Sequence[int], past: compiled.Roomy | None
    ) -> tuple[Array, compiled.Roomy]:
        """The logits after each of some rows of equal length, (B, V), by calls that JAX compiles; and their cache.

        past: the cache that the call for the same rows without their last tokens returned, or None for the first call.
        parents: for each row, its number in that call.
        """
        self._check_files()
        if past is None:
            ids, last = numpy.array(rows), len(rows[0]) - 1
            check_values(self.config, self.head, {"input_ids": ids})
            inputs = compiled.padded(self.config, {"input_ids": ids}, len(rows))
            outputs = self._run_compiled(inputs, numpy.full((len(rows), 1), last), divided=False, use_cache=True)
            return outputs["logits"][:, 0], compiled.Roomy(outputs["past_key_values"], last + 1)
        ids = numpy.array([row[-1:] for row in rows])
        check_values(self.config, self.head, {"input_ids": ids, "past_key_values": past.cache})
        return compiled.step(
            run, self.params, self.config, self.head, ids, numpy.array(parents), past, self.compilations,
            precision=self.precision,
        )  # fmt: skip

    def pooled(self, x: Array) -> Array:
        """The pooler's output for hidden states x, which a call may have returned: (B, L, D) -> (B, D)."""
        with precise(table(self.params), self.precision):
            return heads.pooler(self.xp.asarray(x), self.p.pooler)

    def _without_padding(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The outputs for a batch, computed without its padding. At padding positions, the outputs are 0.

        A compiled call computes padding after all, since packed rows would have too many lengths.
        """
        rows = Inputs(**inputs)
        if HEADS[self.head].choices:
            rows = rows.without_choices()
        row, packing = packed.pack(rows.given, self.config, self.head)
        if compiled.compiles(table(self.params)) and compiled.fits(self.config, inputs):
            return self._run_in_parts(inputs, with_zeros=True, use_cache=False)
        outputs, mask = self._run(row, packing), inputs["attention_mask"]
        if HEADS[self.head].choices:
            outputs["logits"] = outputs["logits"].reshape(mask.shape[:2])  # (B·C, 1) -> (B, C)
        return self._with_zeros(outputs, packed.unpack, mask)

    def _with_zeros(
        self, outputs: dict[str, Any], of_batch: Callable[[Array, numpy.ndarray], Array], mask: numpy.ndarray
    ) -> dict[str, Any]:
        """The outputs with zeros at padding positions, as `of_batch` makes them; the pooler's are computed anew."""
        if HEADS[self.head].reads_first:
            return outputs
        pooled = outputs.pop("pooler_output", None)  # the pooler of one row, or of padding
        outputs = {name: of_batch(x, mask) for name, x in given(**outputs).items()}
        if pooled is not None:
            outputs["pooler_output"] = self.pooled(outputs["last_hidden_state"])
        return outputs

    def _run(self, inputs: Mapping[str, Any], packing: Packing | None = None, **asked: Any) -> dict[str, Any]:
        """Move the inputs to the model's library, and call `run` with them, compiled if possible."""
        if packing is None and compiled.compiles(table(self.params)) and compiled.fits(self.config, inputs):
            asked["use_cache"] = keeps_cache(self.config, self.head, Inputs(**inputs), asked["use_cache"])
            return self._run_in_parts(inputs, **asked)
        moved = self.moved(inputs)
        return run(self.params, self.config, self.head, moved, packing, precision=self.precision, **asked)

    def _run_in_parts(self, inputs: Mapping[str, Any], with_zeros: bool = False, **asked: Any) -> dict[str, Any]:
        """The outputs of compiled calls for the parts of a batch, perhaps with zeros at padding positions."""
        shape, made = inputs["input_ids"].shape, []
        whole = {name: numpy.broadcast_to(x, shape) for name, x in inputs.items()}
        for part in compiled.parts_of(shape, self.config, self.device_count, table(self.params)):
            own = {name: x[part] for name, x in whole.items()}
            batch = compiled.padded_batch(len(own["input_ids"]), self.device_count)
            padded = compiled.padded(self.config, own, batch)
            outputs = self._run_compiled(padded, **asked)
            if with_zeros:
                outputs = self._with_zeros(outputs, packed.without_padding, padded["attention_mask"])
            made.append(compiled.cut(outputs, self.head, own["input_ids"].shape))
        return compiled.joined(made)

    def _run_compiled(
        self,
        inputs: Mapping[str, numpy.ndarray],
        wanted: numpy.ndarray | None = None,
        *,
        divided: bool = True,
        use_cache: bool,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> dict[str, Any]:
        """The outputs of a compiled call for padded inputs, padding included.

        divided: whether the devices divide the batch, or each computes it all. Compiled functions take NumPy's arrays
        as they are, whereas JAX's asarray would compile a copy of each shape.
        """
        length, head_size = inputs["input_ids"].shape[-1], self.config.head_size
        inputs = {**inputs, "attention_mask": inputs["attention_mask"].astype(self.dtype)}
        if divided:
            inputs, wanted = devices.shared((inputs, wanted), table(self.params))
        return compiled.call(
            run, self.params, self.config, self.head, inputs, self.compilations,
            wanted=wanted, count=self.device_count, use_cache=use_cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, precision=self.precision,
            fused=fused.is_right(ops.attend, table(self.params), length, head_size),
        )  # fmt: skip

    def _move(self, name: str, value: Any) -> Any:
        """Move an input to the model's library; floats and cached arrays get the dtype in which the model computes."""
        xp = self.xp
        dtype = compute_dtype(xp, self.dtype)
        if name == "past_key_values":
            layers = [tuple(xp.asarray(array, dtype=dtype) for array in layer) for layer in value]
            return Cache(layers, xp.asarray(value.tokens)) if isinstance(value, Cache) else layers
        if name in NUMBERS or value.dtype.kind == "f":
            return xp.asarray(value, dtype=dtype)
        return xp.asarray(value)
