"""What a model can be called with: every mistake gets a sentence before it meets the mathematics.

Shapes are checked wherever the model runs, under `jax.jit` too, since they do not depend on data. Values are checked
by `Model.__call__` on the host, before the arrays move to a library that would wrap or clamp a wrong index silently.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from .backend.arrays import is_float, to_host
from .config import Config
from .errors import InputError
from .heads import problem_type
from .layers import Cache, cached_length

IDS = ("input_ids", "token_type_ids", "position_ids", "start_positions", "end_positions")
NUMBERS = ("attention_mask", "head_mask", "inputs_embeds", "encoder_hidden_states", "encoder_attention_mask")
WITH_CACHE = ("encoder", "causal_lm")
WITH_MEMORY = (*WITH_CACHE, "masked_lm")
LARGEST_INTEGER = 2**63 - 1
TOKEN_LABELS = ("masked_lm", "causal_lm", "token_classification")

Inputs = Mapping[str, Any]


# --- shapes ---------------------------------------------------------------------------------------------------------


def check_shapes(config: Config, head: str, inputs: Inputs) -> None:
    """Raise InputError unless all shapes fit each other, the model and the head. inputs: arrays by name, no None."""
    for name, value in inputs.items():
        if name != "past_key_values" and not hasattr(value, "shape"):
            raise InputError(f"{name} is a {type(value).__name__}; forward takes arrays, and Model lists too")
    rows = _rows(config, head, inputs)
    past = inputs.get("past_key_values")
    if past is not None:
        _check_cache_layers(config, head, past, "encoder_hidden_states" in inputs)
    S = rows[-1] + cached_length(past)
    if config.position_embedding_type != "absolute" and S > config.longest:
        _too_long(S, config)
    B, L = rows[0], rows[-1]
    several = head == "multiple_choice"
    for name in ("token_type_ids", "position_ids"):
        _check_shape(inputs, name, rows, rows if several else (1, L))
    keys = f": {S - L} places of the cache, then {L}" if past is not None else ""
    _check_shape(inputs, "attention_mask", *([rows] if several else [(B, S), (B, L, S)]), hint=keys)
    _check_head_mask(config, inputs)
    _check_memory(config, head, inputs, B, L)
    if past is not None:
        _check_cache_shapes(config, past, B, inputs)
    _check_label_shapes(config, head, inputs, rows)


def _rows(config: Config, head: str, inputs: Inputs) -> tuple[int, ...]:
    """(B, L), or (B, C, L) for multiple choice."""
    given = [name for name in ("input_ids", "inputs_embeds") if name in inputs]
    if len(given) != 1:
        raise InputError(f"give input_ids or inputs_embeds: {'not both' if given else 'one'} of them")
    (name,) = given
    rows = "(B, C, L" if head == "multiple_choice" else "(B, L"
    wanted = rows + (")" if name == "input_ids" else f", {config.hidden_size})")
    shape = tuple(inputs[name].shape)
    if len(shape) != wanted.count(",") + 1 or (name == "inputs_embeds" and shape[-1] != config.hidden_size):
        hint = ": a batch of one sequence is [sequence]" if len(shape) <= wanted.count(",") else ""
        raise InputError(f"{name} has shape {shape}; head {head!r} takes {wanted}{hint}")
    shape = shape[: rows.count(",") + 1]
    if 0 in shape[1:]:
        what = "tokens" if not shape[-1] else "choices"
        raise InputError(f"input of 0 {what}; at least one is wanted")
    return shape


def _check_shape(inputs: Inputs, name: str, *allowed: tuple[int, ...], hint: str = "") -> None:
    if name in inputs and tuple(inputs[name].shape) not in allowed:
        wanted = " or ".join(map(str, dict.fromkeys(allowed)))
        raise InputError(f"{name} has shape {tuple(inputs[name].shape)}; {wanted} is wanted{hint}")


def _check_head_mask(config: Config, inputs: Inputs) -> None:
    layers, H = config.num_hidden_layers, config.num_attention_heads
    _check_shape(inputs, "head_mask", (H,), (layers, H))
    if "head_mask" in inputs and config.pruned_heads:
        raise InputError(
            "head_mask has one number a head, but this model's heads are pruned: prune those, or load it whole"
        )


def _check_memory(config: Config, head: str, inputs: Inputs, B: int, L: int) -> None:
    memory = inputs.get("encoder_hidden_states")
    if memory is None:
        if "encoder_attention_mask" in inputs:
            raise InputError("encoder_attention_mask without encoder_hidden_states: give both")
        return
    if not config.add_cross_attention or head not in WITH_MEMORY:
        raise InputError(
            f"encoder_hidden_states is for decoders with cross-attention and the heads {', '.join(WITH_MEMORY)}: "
            f"this model has head {head!r}, and add_cross_attention is {config.add_cross_attention}"
        )
    if memory.ndim != 3 or memory.shape[::2] != (B, config.hidden_size) or not memory.shape[1]:
        wanted = f"({B}, S, {config.hidden_size}), S at least 1,"
        raise InputError(f"encoder_hidden_states has shape {tuple(memory.shape)}; {wanted} is wanted")
    S = memory.shape[1]
    _check_shape(inputs, "encoder_attention_mask", (B, S), (B, L, S))


def _check_cache_layers(config: Config, head: str, past: Any, with_memory: bool) -> None:
    if head not in WITH_CACHE:
        raise InputError(f"past_key_values is for the heads {', '.join(WITH_CACHE)}, not {head!r}")
    if not (_is_sequence(past) and all(_is_sequence(x) and all(map(_is_states, x)) for x in past)):
        raise InputError("past_key_values is what an earlier call gave: for each layer a tuple of arrays (B, H, S, E)")
    count = 4 if with_memory else 2
    if len(past) != config.num_hidden_layers or any(len(layer) != count for layer in past):
        sizes = " or ".join(map(str, sorted({len(layer) for layer in past})))
        raise InputError(
            f"past_key_values has {len(past)} layers of {sizes or 'no'} arrays; "
            f"{config.num_hidden_layers} of {count} are wanted: four with encoder_hidden_states, two without"
        )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_states(value: Any) -> bool:
    """Whether it has four axes and, where its library has NumPy's dtypes, is of floats."""
    return getattr(value, "ndim", 0) == 4 and (not hasattr(value.dtype, "kind") or is_float(value.dtype))


def _check_cache_shapes(config: Config, past: Sequence[Any], B: int, inputs: Inputs) -> None:
    S, H = cached_length(past), config.num_attention_heads
    for index, layer in enumerate(past):
        heads = H - len(config.pruned_heads.get(index, ()))
        for array in layer[:2]:
            _cache_shape(index, array, (B, heads, S, config.head_size))
        for array in layer[2:]:
            _cache_shape(index, array, (B, H, inputs["encoder_hidden_states"].shape[1], config.head_size))
    if isinstance(past, Cache) and tuple(past.tokens.shape) != (B, 1):
        raise InputError(f"past_key_values has tokens of shape {tuple(past.tokens.shape)}; {(B, 1)} is wanted")


def _cache_shape(index: int, array: Any, wanted: tuple[int, ...]) -> None:
    if tuple(array.shape) != wanted:
        raise InputError(
            f"past_key_values has shape {tuple(array.shape)} in layer {index}; {wanted} is wanted: another model's?"
        )


def _check_label_shapes(config: Config, head: str, inputs: Inputs, rows: tuple[int, ...]) -> None:
    B, N = rows[0], config.num_labels
    places = [name for name in ("start_positions", "end_positions") if name in inputs]
    if head == "question_answering":
        if "labels" in inputs:
            raise InputError("head 'question_answering' takes no labels: give start_positions and end_positions")
        if len(places) == 1:
            raise InputError(f"{places[0]} alone; a loss needs start_positions and end_positions")
        for name in places:
            _check_shape(inputs, name, (B,), (B, 1))
        return
    if places:
        raise InputError(f"{places[0]} is for head 'question_answering', not {head!r}")
    if "labels" not in inputs:
        return
    labels = inputs["labels"]
    if head == "encoder":
        raise InputError("head 'encoder' has no loss: leave labels out, or load another head")
    if head in TOKEN_LABELS:
        _check_shape(inputs, "labels", rows)
        if head == "token_classification" and config.family.mask_in_token_loss:
            _check_shape(inputs, "attention_mask", rows, hint=": the loss reads it")
    elif head == "multiple_choice":
        _check_shape(inputs, "labels", (B,))
    elif problem_type(config, labels.dtype.kind in "iu") == "single_label_classification":
        _check_shape(inputs, "labels", (B,), (B, 1), hint=": one class each; for several give floats (B, N)")
    elif N == 1:
        _check_shape(inputs, "labels", (B, 1), (B,))
    else:
        hint = ": floats are several classes, or numbers, at once; for one class each give integers (B,)"
        _check_shape(inputs, "labels", (B, N), hint=hint)


# --- values ---------------------------------------------------------------------------------------------------------


def check_values(config: Config, head: str, inputs: Inputs) -> None:
    """Raise InputError unless all dtypes and values fit. inputs: NumPy arrays by name, of the right shapes."""
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
            raise InputError(f"{name} holds {low} to {high}; 1 attends and 0 does not: give numbers from 0 to 1")
    if "labels" in inputs:
        _check_labels(config, head, inputs)


def _check_range(inputs: Inputs, name: str, size: int, field: str) -> None:
    values = inputs.get(name)
    if values is None:
        return
    wrong = numpy.argwhere((values < 0) | (values >= size))
    if len(wrong):
        place = tuple(map(int, wrong[0]))
        raise InputError(
            f"{name} holds {values[place]} at {place}; this model's {field} is {size}: 0 to {size - 1} are allowed"
        )


def _check_length(config: Config, inputs: Inputs) -> None:
    ids, past = inputs.get("input_ids"), inputs.get("past_key_values")
    if ids is None:
        tokens, before = inputs["inputs_embeds"].shape[-2], getattr(past, "tokens", 0)
    else:
        tokens = (ids != config.pad_token_id).sum(-1, keepdims=True)
        before = getattr(past, "tokens", cached_length(past))
    before = to_host(before)
    if before.dtype.kind not in "iu" or before.min(initial=0) < 0:
        raise InputError(f"past_key_values counts {before.tolist()} tokens; whole numbers of at least 0 are wanted")
    most = int(numpy.max(tokens + before, initial=0))
    if most > config.longest:
        _too_long(most, config)


def _too_long(tokens: int, config: Config) -> None:
    rows, why = config.max_position_embeddings, ""
    if config.position_embedding_type == "absolute":
        why = f" ({rows} rows less padding_idx + 1 = {config.pad_token_id + 1})"
    raise InputError(
        f"input of {tokens} tokens; this model has {config.longest} positions{why}: truncate, or load a longer model"
    )


def _check_labels(config: Config, head: str, inputs: Inputs) -> None:
    labels = inputs["labels"]
    integers = labels.dtype.kind in "iu"
    if head == "sequence_classification" and problem_type(config, integers) == "regression":
        return
    if head == "sequence_classification" and problem_type(config, integers) == "multi_label_classification":
        if labels.size and not (labels.min() >= 0 and labels.max() <= 1):
            raise InputError(f"labels hold {labels.min()} to {labels.max()}; several classes at once are from 0 to 1")
        return
    if not integers:
        raise InputError(f"labels are {labels.dtype}; whole numbers are wanted: the labels' ids")
    match head:
        case "masked_lm" | "causal_lm":
            size = config.vocab_size
        case "multiple_choice":
            size = next(inputs[name] for name in ("input_ids", "inputs_embeds") if name in inputs).shape[1]
        case _:
            size = config.num_labels
    wrong = numpy.argwhere((labels != -100) & ((labels < 0) | (labels >= size)))
    if len(wrong):
        place = tuple(map(int, wrong[0]))
        raise InputError(f"labels hold {labels[place]} at {place}; 0 to {size - 1}, or -100 for none, are allowed")


def as_array(name: str, values: Any) -> numpy.ndarray:
    """The host's array of an input: int64 for whole numbers, else its own dtype. Raises InputError."""
    if isinstance(values, Mapping):
        raise InputError(f"{name} is a dict: call the model with its items, model(**inputs)")
    try:
        array = to_host(values)
    except (ValueError, TypeError, RuntimeError) as error:
        if "Tracer" in type(values).__name__:
            raise InputError(f"{name} is traced, and a model checks values: call minroberta.forward") from None
        if "inhomogeneous" in str(error):
            raise InputError(f"{name} has rows of several lengths: pad them to one, and mask the pads") from None
        raise InputError(f"{name} is no array of numbers: {error}") from error
    kind = array.dtype.kind
    if name == "input_ids" and kind in "UST":
        raise InputError(f"{name} is text: call the model with its tokens, model(**model.tokenize(text))")
    if name in IDS and kind not in "iu" and array.size:  # an empty list is float64
        raise InputError(f"{name} is {array.dtype}; ids are whole numbers: give an integer dtype")
    if kind not in "iufb" and array.dtype.name != "bfloat16":
        raise InputError(f"{name} is {array.dtype}; numbers are wanted")
    if name == "labels" and kind == "b":
        raise InputError("labels are bool; give integers for classes, floats for several classes at once")
    if kind == "u" and array.size and array.max() > LARGEST_INTEGER:
        raise InputError(f"{name} holds {array.max()}; whole numbers up to {LARGEST_INTEGER} are wanted")
    return array.astype(numpy.int64, copy=False) if kind in "iu" else array
