"""The inputs of a model, and checks that report a mistake before anything is computed.

Shapes are always checked, even under `jax.jit`, because they do not depend on the data. Values are checked on the host
by `Network.__call__`, before the arrays are moved to a library that would silently wrap or clamp an invalid index.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from .backend.arrays import Array, is_float, to_host
from .cache import Cache, KeysValues, cached_length
from .config import HEADS, Config
from .errors import InputError


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None, by name."""
    return {name: value for name, value in values.items() if value is not None}


class Inputs(NamedTuple):
    """The arrays that a model is called with, in Hugging Face's order. `config.HEADS` says which of them a head takes.

    The first four and `inputs_embeds` have an extra axis, (B, C, ...), if the head chooses among C sequences.
    """

    input_ids: Array | None = None  # (B, L) integers
    attention_mask: Array | None = None  # (B, S) or (B, L, S), where S includes cached positions; 1 attends
    token_type_ids: Array | None = None  # (B, L) or (1, L); by default 0
    position_ids: Array | None = None  # (B, L) or (1, L); by default counted from the ids
    head_mask: Array | None = None  # (H,) or (layers, H)
    inputs_embeds: Array | None = None  # (B, L, D), in place of input_ids
    encoder_hidden_states: Array | None = None  # (B, S', D), for cross-attention
    encoder_attention_mask: Array | None = None  # (B, S') or (B, L, S')
    past_key_values: Sequence[KeysValues] | None = None  # from an earlier call
    labels: Array | None = None  # (B, L), (B,) or (B, N)
    start_positions: Array | None = None  # (B,)
    end_positions: Array | None = None  # (B,)

    @property
    def given(self) -> dict[str, Any]:
        """The inputs that are not None, by name."""
        return given(**self._asdict())

    @property
    def choices(self) -> int:
        """Number of choices: C if the input ids are (B, C, L) or the embeddings (B, C, L, D), otherwise 1."""
        with_choices = (self.input_ids, 3) if self.inputs_embeds is None else (self.inputs_embeds, 4)
        array, axes = with_choices
        return array.shape[1] if array is not None and array.ndim == axes else 1

    def without_choices(self) -> "Inputs":
        """The same inputs with one row per choice, (B, C, ...) -> (B·C, ...)."""
        rows = {name: self.given[name] for name in ROWS if name in self.given}
        return self._replace(**{name: x.reshape(-1, *x.shape[2:]) for name, x in rows.items()})


ROWS = ("input_ids", "inputs_embeds", "attention_mask", "token_type_ids", "position_ids")
"""Inputs that have a row for each sequence."""

IDS = ("input_ids", "token_type_ids", "position_ids", "start_positions", "end_positions")
NUMBERS = ("attention_mask", "head_mask", "inputs_embeds", "encoder_hidden_states", "encoder_attention_mask")
LARGEST_INTEGER = 2**63 - 1

Given = Mapping[str, Any]


# --- shapes ---------------------------------------------------------------------------------------------------------


def check_shapes(config: Config, head: str, inputs: Given) -> None:
    """Raise InputError unless all shapes agree with each other, the model and the head. inputs: arrays by name."""
    for name, value in inputs.items():
        if name != "past_key_values" and not hasattr(value, "shape"):
            raise InputError(f"{name} is a {type(value).__name__}, but forward takes arrays: convert it to an array")
    rows = _rows(config, head, inputs)
    past = inputs.get("past_key_values")
    if past is not None:
        _check_cache_layers(config, head, past, "encoder_hidden_states" in inputs)
    S = rows[-1] + cached_length(past)
    if config.position_embedding_type != "absolute" and S > config.longest:
        _too_long(S, config)
    B, L, several = rows[0], rows[-1], HEADS[head].choices
    if config.chunk_size_feed_forward and L % config.chunk_size_feed_forward:
        raise InputError(
            f"the input has {L} tokens, but chunk_size_feed_forward requires a multiple of "
            f"{config.chunk_size_feed_forward}: pad the input"
        )
    for name in ("token_type_ids", "position_ids"):
        _check_shape(inputs, name, rows, rows if several else (1, L))
    keys = f": {S} is the sum of {S - L} cached and {L} new positions" if past is not None else ""
    _check_shape(inputs, "attention_mask", *([rows] if several else [(B, S), (B, L, S)]), hint=keys)
    _check_head_mask(config, inputs)
    _check_memory(config, head, inputs, B, L)
    if past is not None:
        _check_cache_shapes(config, past, B, inputs)
    _check_label_shapes(config, head, inputs, rows)


def _rows(config: Config, head: str, inputs: Given) -> tuple[int, ...]:
    """The batch's shape, (B, L), or (B, C, L) for multiple choice. Raises InputError."""
    given = [name for name in ("input_ids", "inputs_embeds") if name in inputs]
    if len(given) != 1:
        raise InputError(f"give either input_ids or inputs_embeds{', not both' if given else ''}")
    (name,) = given
    rows = "(B, C, L" if HEADS[head].choices else "(B, L"
    wanted = rows + (")" if name == "input_ids" else f", {config.hidden_size})")
    shape = tuple(inputs[name].shape)
    if len(shape) != wanted.count(",") + 1 or (name == "inputs_embeds" and shape[-1] != config.hidden_size):
        hint = ": for a single sequence, give [sequence]" if len(shape) <= wanted.count(",") else ""
        raise InputError(f"{name} has shape {shape}, but head {head!r} takes shape {wanted}{hint}")
    shape = shape[: rows.count(",") + 1]
    if 0 in shape[1:]:
        what = "tokens" if not shape[-1] else "choices"
        raise InputError(f"the input has 0 {what}: give at least one")
    return shape


def _check_shape(inputs: Given, name: str, *allowed: tuple[int, ...], hint: str = "") -> None:
    if name in inputs and tuple(inputs[name].shape) not in allowed:
        wanted = " or ".join(map(str, dict.fromkeys(allowed)))
        raise InputError(f"{name} has shape {tuple(inputs[name].shape)}, not {wanted}{hint}")


def _check_head_mask(config: Config, inputs: Given) -> None:
    layers, H = config.num_hidden_layers, config.num_attention_heads
    _check_shape(inputs, "head_mask", (H,), (layers, H))
    if "head_mask" in inputs and config.pruned_heads:
        raise InputError(
            "head_mask needs one number per head, but some of this model's heads are pruned: "
            "prune the heads that you want to mask, or load the model unpruned"
        )


def _check_memory(config: Config, head: str, inputs: Given, B: int, L: int) -> None:
    memory = inputs.get("encoder_hidden_states")
    if memory is None:
        if "encoder_attention_mask" in inputs:
            raise InputError("encoder_attention_mask was given without encoder_hidden_states: give both")
        return
    if not (config.add_cross_attention and HEADS[head].memory):
        heads = ", ".join(name for name, row in HEADS.items() if row.memory)
        raise InputError(
            f"encoder_hidden_states is only for decoders with cross-attention and one of the heads {heads}: "
            f"this model has head {head!r}, and add_cross_attention is {config.add_cross_attention}"
        )
    if memory.ndim != 3 or memory.shape[::2] != (B, config.hidden_size) or not memory.shape[1]:
        wanted = f"({B}, S, {config.hidden_size}) with S of at least 1"
        raise InputError(f"encoder_hidden_states has shape {tuple(memory.shape)}, not {wanted}")
    S = memory.shape[1]
    _check_shape(inputs, "encoder_attention_mask", (B, S), (B, L, S))


def _check_cache_layers(config: Config, head: str, past: Any, with_memory: bool) -> None:
    if not HEADS[head].cache:
        raise InputError(f"past_key_values is only for the heads {heads_with_cache()}, not for {head!r}")
    if not (_is_sequence(past) and all(_is_sequence(x) and all(map(_is_states, x)) for x in past)):
        raise InputError(
            "past_key_values must be the value returned by an earlier call: "
            "for each layer, a tuple of arrays with four axes"
        )
    count = 4 if with_memory else 2
    if len(past) != config.num_hidden_layers or any(len(layer) != count for layer in past):
        sizes = " or ".join(map(str, sorted({len(layer) for layer in past})))
        raise InputError(
            f"past_key_values has {len(past)} layers of {sizes or 'no'} arrays: give {config.num_hidden_layers} layers "
            f"of {count} arrays each (4 with encoder_hidden_states, 2 without)"
        )


def heads_with_cache() -> str:
    """Names of the heads with which a decoder returns a cache, for use in error messages."""
    return ", ".join(name for name, row in HEADS.items() if row.cache)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_states(value: Any) -> bool:
    """Return whether a value is a 4-D array with a floating-point dtype; non-NumPy dtypes are not checked."""
    return getattr(value, "ndim", 0) == 4 and (not hasattr(value.dtype, "kind") or is_float(value.dtype))


def _check_cache_shapes(config: Config, past: Sequence[Any], B: int, inputs: Given) -> None:
    S, H = cached_length(past), config.num_attention_heads
    for index, layer in enumerate(past):
        heads = H - len(config.pruned_heads.get(index, ()))
        for array in layer[:2]:
            _cache_shape(index, array, (B, heads, S, config.head_size))
        for array in layer[2:]:
            _cache_shape(index, array, (B, H, inputs["encoder_hidden_states"].shape[1], config.head_size))
    if isinstance(past, Cache) and tuple(past.tokens.shape) != (B, 1):
        raise InputError(f"past_key_values.tokens has shape {tuple(past.tokens.shape)}, not {(B, 1)}")


def _cache_shape(index: int, array: Any, wanted: tuple[int, ...]) -> None:
    if tuple(array.shape) != wanted:
        raise InputError(
            f"past_key_values has shape {tuple(array.shape)} in layer {index}, not {wanted}: "
            "give the value that an earlier call of this model returned"
        )


def _check_label_shapes(config: Config, head: str, inputs: Given, rows: tuple[int, ...]) -> None:
    targets = [name for name in ("labels", "start_positions", "end_positions") if name in inputs]
    if wrong := [name for name in targets if name not in HEADS[head].targets]:
        instead = " and ".join(HEADS[head].targets)
        hint = f"give {instead}" if instead else "leave it out, or load the model with another head"
        raise InputError(f"head {head!r} does not take {wrong[0]}: {hint}")
    if targets and len(targets) < len(HEADS[head].targets):
        raise InputError(f"only {targets[0]} was given: the loss needs {' and '.join(HEADS[head].targets)}")
    B, N = rows[0], config.num_labels
    for name in targets:
        if name != "labels":
            _check_shape(inputs, name, (B,), (B, 1))
        elif HEADS[head].labels == "BL":
            _check_shape(inputs, name, rows)
            if head == "token_classification" and config.family.mask_in_token_loss:
                _check_shape(inputs, "attention_mask", rows, hint=": the loss needs one value per label")
        elif not HEADS[head].has_problem_type:
            _check_shape(inputs, name, (B,))
        elif config.problem(_is_integer(inputs[name])) == "single_label_classification":
            hint = f": for several classes per sequence, give floats of shape {(B, N)}"
            _check_shape(inputs, name, (B,), (B, 1), hint=hint)
        elif N == 1:
            _check_shape(inputs, name, (B, 1), (B,))
        else:
            hint = f": for one class per sequence, give integers of shape {(B,)}"
            _check_shape(inputs, name, (B, N), hint=hint)


def _is_integer(array: Array) -> bool:
    return array.dtype.kind in "iu"


# --- values ---------------------------------------------------------------------------------------------------------


def check_values(config: Config, head: str, inputs: Given) -> None:
    """Raise InputError for an invalid dtype or value. inputs: NumPy arrays by name, with shapes already checked."""
    _check_range(inputs, "input_ids", config.vocab_size, "vocab_size")
    _check_range(inputs, "token_type_ids", config.type_vocab_size, "type_vocab_size")
    if config.position_embedding_type == "absolute":
        if "position_ids" in inputs:
            _check_range(inputs, "position_ids", config.max_position_embeddings, "max_position_embeddings")
        else:
            _check_length(config, inputs)
    for name in ("attention_mask", "encoder_attention_mask"):
        values = inputs.get(name)
        if values is not None and values.size and not (values.min() >= 0 and values.max() <= 1):
            low, high = values.min(), values.max()
            raise InputError(
                f"{name} has values from {low} to {high}: give numbers from 0 to 1, where 1 marks tokens to attend "
                "to, and 0 marks tokens to ignore"
            )
    if "labels" in inputs:
        _check_labels(config, head, inputs)


def _check_range(inputs: Given, name: str, size: int, field: str) -> None:
    values = inputs.get(name)
    if values is None:
        return
    wrong = numpy.argwhere((values < 0) | (values >= size))
    if len(wrong):
        index = tuple(map(int, wrong[0]))
        raise InputError(
            f"{name} has {values[index]} at {index}, but this model's {field} is {size}: give ids from 0 to {size - 1}"
        )


def _check_length(config: Config, inputs: Given) -> None:
    ids, past = inputs.get("input_ids"), inputs.get("past_key_values")
    if ids is None:
        tokens, before = inputs["inputs_embeds"].shape[-2], getattr(past, "tokens", 0)
    else:
        tokens = (ids != config.pad_token_id).sum(-1, keepdims=True)
        before = getattr(past, "tokens", cached_length(past))
    before = to_host(before)
    if before.dtype.kind not in "iu" or before.min(initial=0) < 0:
        raise InputError(f"past_key_values has token counts {before.tolist()}: give integers of at least 0")
    most = int(numpy.max(tokens + before, initial=0))
    if most > config.longest:
        _too_long(most, config)


def _too_long(tokens: int, config: Config) -> None:
    rows, why = config.max_position_embeddings, ""
    if config.position_embedding_type == "absolute":
        why = f" ({rows} rows, less padding_idx + 1, which is {config.pad_token_id + 1})"
    raise InputError(
        f"input of {tokens} tokens; this model has {config.longest} positions{why}: "
        "truncate the input, or load a model with more positions"
    )


def _check_labels(config: Config, head: str, inputs: Given) -> None:
    labels = inputs["labels"]
    problem = config.problem(_is_integer(labels)) if HEADS[head].has_problem_type else "single_label_classification"
    if problem == "regression":
        return
    if problem == "multi_label_classification":
        if labels.size and not (labels.min() >= 0 and labels.max() <= 1):
            raise InputError(
                f"labels have values from {labels.min()} to {labels.max()}: "
                "for multi-label classification, give numbers from 0 to 1"
            )
        return
    if not _is_integer(labels):
        raise InputError(f"labels have dtype {labels.dtype}: give label ids in an integer dtype")
    sizes = {"V": config.vocab_size, "N": config.num_labels, "C": Inputs(**inputs).choices}
    size = sizes[HEADS[head].classes]
    wrong = numpy.argwhere((labels != -100) & ((labels < 0) | (labels >= size)))
    if len(wrong):
        index = tuple(map(int, wrong[0]))
        raise InputError(f"labels have {labels[index]} at {index}: give 0 to {size - 1}, or -100 to ignore a label")


def as_array(name: str, values: Any) -> numpy.ndarray:
    """Convert an input to a NumPy array. Integers become int64; other dtypes are kept. Raises InputError."""
    if isinstance(values, Mapping):
        raise InputError(f"{name} is a dict: pass its items instead, as in model(**inputs)")
    if numpy.ma.is_masked(values):
        raise InputError(f"{name} is a masked array: give {name}.filled(...), and its mask as attention_mask")
    try:
        array = to_host(values)
    except (ValueError, TypeError, RuntimeError) as error:
        if "Tracer" in type(values).__name__:
            raise InputError(
                f"{name} is a traced array, whose values a Model cannot check: call minroberta.forward instead"
            ) from None
        if "inhomogeneous" in str(error):
            raise InputError(
                f"{name} has rows of different lengths: pad them to the same length, and mask the padding"
            ) from None
        raise InputError(f"{name} cannot be converted to an array of numbers: {error}") from error
    kind = array.dtype.kind
    if name == "input_ids" and kind in "UST":
        raise InputError(f"{name} is text: tokenize it first, as in model(**model.tokenize(text))")
    if name in IDS and kind not in "iu" and array.size:  # an empty list is float64
        raise InputError(f"{name} has dtype {array.dtype}: give ids in an integer dtype")
    if kind not in "iufb" and array.dtype.name != "bfloat16":
        raise InputError(f"{name} has dtype {array.dtype}: give numbers")
    if name == "labels" and kind == "b":
        raise InputError("labels have dtype bool: give integers for one class, or floats for several classes at once")
    if kind == "u" and array.size and array.max() > LARGEST_INTEGER:
        raise InputError(f"{name} has the value {array.max()}: give integers up to {LARGEST_INTEGER}")
    return array.astype(numpy.int64, copy=False) if kind in "iu" or name in IDS else array
