"""The whole model: a pure `forward`, and `Model`, called as a Hugging Face model is, around it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from . import heads, weights
from .backend.arrays import Array, Namespace, compute_dtype, namespace
from .backend.memory import keep_freed_memory
from .config import HEADS, Config
from .errors import ConfigError, InputError, NameUnknownError
from .inputs import NUMBERS, WITH_CACHE, as_array, check_shapes, check_values
from .layers import Cache, KeysValues, body
from .ops import create_position_ids_from_input_ids
from .packing import NAMES, PER_PLACE, Packing, pack, spans, unpack
from .trace import Node, is_recording

Params = dict[str, Any]

# --- the pure function ----------------------------------------------------------------------------------------------


def forward(
    params: Params,
    config: Config,
    head: str = "encoder",
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
    use_cache: bool | None = None,
    labels: Array | None = None,
    start_positions: Array | None = None,
    end_positions: Array | None = None,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    packing: Packing | None = None,
) -> dict[str, Any]:
    """The outputs of a model for arrays of one library: a pure function, to be traced, differentiated and mapped.

    params: the parameter tree, nested dicts under Hugging Face's names for Roberta, without the base model's prefix.
    input_ids: (B, L) integers, or (B, C, L) for multiple choice, as then all that has a row a sequence; inputs_embeds,
    (B, L, D), stands in place of ids. token_type_ids, position_ids: (B, L); by default 0, and counted from the ids.
    attention_mask: (B, S), or (B, L, S): 1 where a key is attended to; with a cache it covers earlier places too.
    head_mask: (H,) or (layers, H). encoder_hidden_states: (B, S', D), for cross-attention, with encoder_attention_mask
    (B, S') or (B, L, S'). past_key_values: an earlier call's. use_cache: by default the configuration's, in a decoder
    without labels. labels: (B, L) ids, -100 ignored, for masked_lm, causal_lm (shifted here) and token_classification;
    (B,) integers for sequence_classification and multiple_choice, or (B, N) floats for several classes or numbers.
    start_positions, end_positions: (B,), for question_answering. packing: how one row (1, T) holds several sequences,
    one behind the other without pads, as `Packing` says; position_ids tell where each begins anew.

    Returns a dict under Hugging Face's names, in its order; what was not asked for is None: loss (), logits (B, L, V),
    (B, L, N), (B, N) or (B, C), or last_hidden_state (B, L, D) and pooler_output (B, D), or start_logits and end_logits
    (B, L); past_key_values, hidden_states, attentions and cross_attentions as in `ModelOutput`.

    Only shapes are checked: a wrong id is whatever the library makes of it. With `jax.jit`, close over config and head,
    or make them static. Raises InputError.
    """
    check_head(head, config)
    sequence = given(
        input_ids=input_ids,
        inputs_embeds=inputs_embeds,
        attention_mask=attention_mask,
        token_type_ids=token_type_ids,
        position_ids=position_ids,
    )
    context = given(
        head_mask=head_mask,
        encoder_hidden_states=encoder_hidden_states,
        encoder_attention_mask=encoder_attention_mask,
        past_key_values=past_key_values,
    )
    answers = given(labels=labels, start_positions=start_positions, end_positions=end_positions)
    # A packed row is one of ids for every head.
    check_shapes(config, "encoder" if packing else head, {**sequence, **context, **answers})
    if head == "multiple_choice" and packing:
        answers["choices"] = 1
    elif head == "multiple_choice":
        answers["choices"] = next(iter(sequence.values())).shape[1]
        sequence = {name: x.reshape(-1, *x.shape[2:]) for name, x in sequence.items()}  # (B, C, L) -> (B·C, L)
    if head == "token_classification":
        answers["attention_mask"] = attention_mask
    caching = config.is_decoder and head in WITH_CACHE
    if use_cache and not caching:
        raise InputError(
            f"use_cache=True, but head {head!r} with is_decoder={config.is_decoder} keeps no cache: "
            f"decoders with the heads {', '.join(WITH_CACHE)} do"
        )
    if labels is not None or packing or not caching:
        use_cache = False
    p = Node(params)
    made = body(
        p,
        config,
        **sequence,
        **context,
        use_cache=config.use_cache if use_cache is None else use_cache,
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
        packing=packing,
    )
    outputs = heads.HEADS[head](p, config, made, **answers)
    rest = {
        "past_key_values": made.cache,
        "hidden_states": made.hidden_states,
        "attentions": made.attentions,
        "cross_attentions": made.cross_attentions,
    }
    order = ORDER_OF_THE_ENCODER if head == "encoder" else tuple(rest)
    return {**outputs, **{name: rest[name] for name in order}}


ORDER_OF_THE_ENCODER = ("hidden_states", "past_key_values", "attentions", "cross_attentions")
"""Of the outputs behind the head's own; the other heads have the cache first."""


def given(**values: Any) -> dict[str, Any]:
    """What was given, and is not None."""
    return {name: value for name, value in values.items() if value is not None}


# --- the outputs ----------------------------------------------------------------------------------------------------


class ModelOutput(dict[Any, Any]):
    """What a model gives, by name and by place: `o.logits`, `o["logits"]`, `o[0]`.

    Arrays stay in the model's library. What was not asked for is None as an attribute, and has no place.
    """

    loss: Any  # ()
    last_hidden_state: Any  # (B, L, D)
    pooler_output: Any  # (B, D)
    logits: Any  # (B, L, V), (B, L, N), (B, N) or (B, C)
    start_logits: Any  # (B, L)
    end_logits: Any  # (B, L)
    past_key_values: Any  # a Cache, layers of (k, v[, cross k, cross v]), each (B, H, S, E)
    hidden_states: Any  # layers + 1 of (B, L, D)
    attentions: Any  # layers of (B, H, L, S)
    cross_attentions: Any  # layers of (B, H, L, S)

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
        """The outputs that were asked for, in order."""
        return tuple(self.values())


def _summary(value: Any) -> str:
    """Dtype and shape of an array; how many of them there are in a tuple."""
    if isinstance(value, tuple):
        return f"{len(value)} of {_summary(value[0]) if value else 'nothing'}"
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "dtype") else repr(value)


# --- the model ------------------------------------------------------------------------------------------------------


class Network:
    """A RoBERTa for inference: a configuration, parameters, a head, and a tokenizer where there is one.

    config: a Config, with Hugging Face's field names; params: the parameter tree, as `forward` takes it; head: encoder,
    masked_lm, causal_lm, sequence_classification, multiple_choice, token_classification or question_answering;
    tokenizer: a Tokenizer, or None. All four are attributes. Dropout is never applied, and nothing is remembered from
    call to call.

    Raises ConfigError, NameUnknownError, and WeightsError where params lack what the head takes.
    """

    def __init__(self, config: Config, params: Params, head: str = "encoder", tokenizer: Any = None) -> None:
        if not isinstance(config, Config):
            raise ConfigError(f"a model takes a Config, not {type(config).__name__}: see Config.from_dict")
        check_head(head, config)
        weights.check_names(params, config, head)
        keep_freed_memory()
        self.config, self.params, self.head, self.tokenizer = config, params, head, tokenizer

    def __repr__(self) -> str:
        c = self.config
        size = f"{c.num_hidden_layers} layers of {c.hidden_size}, {c.num_attention_heads} heads"
        return f"<minroberta.Model {c.model_type}, {self.head}, {size}, {self.dtype}, {self.xp.__name__}>"

    @property
    def xp(self) -> Namespace:
        """The array library that the parameters belong to."""
        return namespace(self._table)

    @property
    def dtype(self) -> Any:
        """The dtype that the parameters are stored in."""
        return self._table.dtype

    @property
    def _table(self) -> Array:
        return self.params["embeddings"]["word_embeddings"]["weight"]

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
        """Run the model on lists or arrays of any library and integer dtype; `forward` says what each means.

        Every shape, dtype and value is checked on the host, then moved to the model's library. A model in float16 on
        NumPy, which has no matrix products for it, computes in float32. `return_dict=False` gives a tuple.

        In a decoder `past_key_values` comes out and goes in again for the next tokens, with a mask over all places;
        it counts each row's tokens that are no pads, so that cached and uncached agree, left padding included.

        With `skip_padding` nothing is computed for pads, where the outputs are then 0 and not the reference's values; a
        recorder or an asked-for intermediate sees the plain path all the same.

        Raises InputError, with the offending value and its place.
        """
        values = given(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            labels=labels,
            start_positions=start_positions,
            end_positions=end_positions,
        )
        inputs: dict[str, Any] = {name: as_array(name, value) for name, value in values.items()}
        if past_key_values is not None:
            inputs["past_key_values"] = past_key_values
        check_shapes(self.config, self.head, inputs)
        check_values(self.config, self.head, inputs)
        asked = {
            "use_cache": use_cache,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        if skip_padding and not (is_recording() or any(asked.values())):
            outputs = self._without_pads(inputs)
        else:
            outputs = self._forward(inputs, **asked)
        result = ModelOutput(outputs)
        return result if return_dict else result.to_tuple()  # type: ignore[return-value]  # asked for by few

    def on_rows(
        self, rows: Sequence[Sequence[int]], asked: Sequence[Sequence[int]] | None = None
    ) -> list[dict[str, Array]]:
        """The head's outputs for each of several sequences of ids, (places, ...), without a pad computed.

        asked: for each the places that are wanted; by default all, or the first where the head reads that alone.
        """
        if asked is None and self.head not in PER_PLACE:
            asked = [[0]] * len(rows)
        if is_recording() or self.config.position_embedding_type != "absolute":
            return self._on_padded_rows(rows, asked)
        ids = numpy.array([[token for row in rows for token in row]])  # (1, T)
        numbers = [create_position_ids_from_input_ids(numpy.array([row]), self.config.pad_token_id) for row in rows]
        inputs = {"input_ids": ids, "position_ids": numpy.concatenate(numbers, axis=1)}
        check_values(self.config, self.head, inputs)
        packing = Packing([len(row) for row in rows], asked)
        outputs = self._forward(inputs, packing=packing)
        counts = [len(places) for places in (rows if asked is None else asked)]
        flat = {name: outputs[name].reshape(sum(counts), -1) for name in NAMES if name in outputs}
        return [{name: x[span] for name, x in flat.items()} for span in spans(counts)]

    def _on_padded_rows(
        self, rows: Sequence[Sequence[int]], asked: Sequence[Sequence[int]] | None
    ) -> list[dict[str, Array]]:
        """The same by a batch with pads: for relative positions, and for who records."""
        lengths = numpy.array([len(row) for row in rows])
        mask = (numpy.arange(lengths.max()) < lengths[:, None]).astype(int)  # (B, L)
        ids = numpy.full(mask.shape, self.config.pad_token_id)
        ids[mask == 1] = [token for row in rows for token in row]
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.head == "multiple_choice":
            inputs = {name: x[:, None] for name, x in inputs.items()}  # (B, 1, L)
        outputs = self(**inputs)  # type: ignore[arg-type]
        result = []
        for row, length in enumerate(lengths):
            places = self.xp.asarray(range(length) if asked is None else asked[row])
            own = {name: outputs[name][row] for name in NAMES if name in outputs}
            picked = {name: x[places] if self.head in PER_PLACE else x for name, x in own.items()}
            result.append({name: x.reshape(len(places), -1) for name, x in picked.items()})
        return result

    def _without_pads(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The outputs for a batch whose pads are left out, and 0 there."""
        several = self.head == "multiple_choice"
        rows = {name: x.reshape(-1, *x.shape[2:]) for name, x in inputs.items()} if several else inputs
        packed, packing = pack(rows, self.config, self.head)
        outputs = self._forward(packed, packing=packing)
        if several:
            outputs["logits"] = outputs["logits"].reshape(inputs["attention_mask"].shape[:2])  # (B·C, 1) -> (B, C)
        if self.head in PER_PLACE:
            pooled = outputs.pop("pooler_output", None)  # of the first sequence alone
            outputs.update((name, unpack(x, inputs["attention_mask"])) for name, x in given(**outputs).items())
            if pooled is not None:
                outputs["pooler_output"] = heads.pooler(outputs["last_hidden_state"], Node(self.params).pooler)
        return outputs

    def _forward(self, inputs: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
        """`forward` on inputs that are moved to the model's library."""
        moved = {name: self._move(name, value) for name, value in inputs.items()}
        return forward(self.params, self.config, self.head, **moved, **asked)

    def _move(self, name: str, value: Any) -> Any:
        """An input in the model's library; numbers, and the arrays of a cache, in the dtype that it computes in."""
        xp = self.xp
        dtype = compute_dtype(xp, self.dtype)
        if name == "past_key_values":
            layers = [tuple(xp.asarray(array, dtype=dtype) for array in layer) for layer in value]
            return Cache(layers, xp.asarray(value.tokens)) if isinstance(value, Cache) else layers
        if name in NUMBERS or value.dtype.kind == "f":
            return xp.asarray(value, dtype=dtype)
        return xp.asarray(value)


def check_choices(head: str | None, seed: int) -> None:
    """Raise NameUnknownError for an unknown head, InputError for an invalid seed."""
    if head is not None and (not isinstance(head, str) or head not in HEADS):
        raise NameUnknownError(f"there is no head {head!r}: give one of {', '.join(HEADS)}")
    if not isinstance(seed, int | numpy.integer) or seed < 0:
        raise InputError(f"seed is a whole number of at least 0, not {seed!r}")


def check_head(head: str, config: Config) -> None:
    """Raise NameUnknownError for a head that there is not, ConfigError for one that the configuration does not fit."""
    check_choices(head, seed=0)
    if head == "question_answering" and config.num_labels != 2:
        raise ConfigError(
            f"head 'question_answering' has a start and an end; this configuration has {config.num_labels} labels"
        )
