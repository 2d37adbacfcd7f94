"""The whole model: a pure `forward`, and `Model`, called as a Hugging Face model is, around it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from . import heads, hub, weights
from .backend import Array, Namespace, compute_dtype, namespace
from .config import HEADS, PRESETS, Config
from .errors import ConfigError, InputError, NameUnknownError, NotFoundError, SaveError, TokenizerError
from .inputs import NUMBERS, WITH_CACHE, as_array, check_shapes, check_values
from .layers import Cache, KeysValues, body
from .tokenizer import Tokenizer
from .trace import Node

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
) -> dict[str, Any]:
    """The outputs of a model for arrays of one library: a pure function, to be traced, differentiated and mapped.

    params: the parameter tree, nested dicts under Hugging Face's names for Roberta, without the base model's prefix.
    input_ids: (B, L) integers, or (B, C, L) for multiple choice, and so the other inputs; inputs_embeds, (B, L, D),
    stands in place of ids. attention_mask: (B, S), or (B, L, S), 1 where a key is attended to. head_mask: (H,) or
    (layers, H). encoder_hidden_states: (B, S, D), for cross-attention. past_key_values: from an earlier call.
    use_cache: by default the configuration's, in a decoder without labels.

    Returns a dict under Hugging Face's names, in its order; what was not asked for is None. `Model` says what else.
    Only shapes are checked here: a wrong id is whatever the library makes of it. Raises InputError.
    """
    sequence = {
        "input_ids": input_ids,
        "inputs_embeds": inputs_embeds,
        "attention_mask": attention_mask,
        "token_type_ids": token_type_ids,
        "position_ids": position_ids,
    }
    context = {
        "head_mask": head_mask,
        "encoder_hidden_states": encoder_hidden_states,
        "encoder_attention_mask": encoder_attention_mask,
        "past_key_values": past_key_values,
    }
    answers = {"labels": labels, "start_positions": start_positions, "end_positions": end_positions}
    sequence, context, answers = map(_given, (sequence, context, answers))
    check_shapes(config, head, {**sequence, **context, **answers})
    if head == "multiple_choice":
        answers["choices"] = sequence["input_ids" if "input_ids" in sequence else "inputs_embeds"].shape[1]
        sequence = {name: x.reshape(-1, *x.shape[2:]) for name, x in sequence.items()}  # (B, C, L) -> (B·C, L)
    if head == "token_classification":
        answers["attention_mask"] = attention_mask
    if use_cache is None:
        use_cache = config.use_cache and labels is None
    p = Node(params)
    made = body(
        p,
        config,
        **sequence,
        **context,
        use_cache=use_cache and config.is_decoder and head in WITH_CACHE,
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
    )
    outputs = heads.HEADS[head](p, config, made, **answers)
    extras = {"past_key_values": made.cache, "hidden_states": made.hidden_states}
    if head == "encoder":  # where the reference has these two the other way round
        extras = dict(reversed(extras.items()))
    return {**outputs, **extras, "attentions": made.attentions, "cross_attentions": made.cross_attentions}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
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
        super().__init__(_given(outputs))

    def __getattr__(self, name: str) -> Any:
        if name in ModelOutput.__annotations__:
            return self.get(name)
        raise AttributeError(f"a model's output has no {name}; it has {', '.join(ModelOutput.__annotations__)}")

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The outputs that were asked for, in order."""
        return tuple(self.values())


# --- the model ------------------------------------------------------------------------------------------------------


class Model:
    """A RoBERTa for inference: a configuration, parameters, a head, and a tokenizer where there is one.

    config: Config, with Hugging Face's field names; params: the parameter tree; head: one of `config.HEADS`.
    Dropout is never applied. Nothing is remembered from call to call.
    """

    def __init__(
        self, config: Config, params: Params, head: str = "encoder", tokenizer: Tokenizer | None = None
    ) -> None:
        _check_head(head, config)
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
    ) -> ModelOutput:
        """Run the model on lists or arrays of any library and integer dtype; `forward` says what each means.

        Every shape, dtype and value is checked on the host, then moved to the model's library. A model in float16 on
        NumPy, which has no matrix products for it, computes in float32. `return_dict=False` gives a tuple.

        In a decoder `past_key_values` comes out and goes in again for the next tokens, with a mask over all places;
        it counts each row's tokens that are no pads, so that cached and uncached agree, left padding included.

        Raises InputError, with the offending value and its place.
        """
        given = _given(
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
                "position_ids": position_ids,
                "head_mask": head_mask,
                "inputs_embeds": inputs_embeds,
                "encoder_hidden_states": encoder_hidden_states,
                "encoder_attention_mask": encoder_attention_mask,
                "labels": labels,
                "start_positions": start_positions,
                "end_positions": end_positions,
            }
        )
        inputs: dict[str, Any] = {name: as_array(name, value) for name, value in given.items()}
        if past_key_values is not None:
            inputs["past_key_values"] = past_key_values
        check_shapes(self.config, self.head, inputs)
        check_values(self.config, self.head, inputs)
        outputs = forward(
            self.params,
            self.config,
            self.head,
            **{name: self._move(name, value) for name, value in inputs.items()},
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        result = ModelOutput(outputs)
        return result if return_dict else result.to_tuple()  # type: ignore[return-value]  # asked for by few

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

    def tokenize(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        padding: bool = True,
        truncation: bool = True,
        max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> dict[str, numpy.ndarray]:
        """`input_ids` and `attention_mask`, ready for the model; `Tokenizer.__call__` says what each argument means."""
        return self._tokenizer()(
            texts,
            pairs,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            add_special_tokens=add_special_tokens,
        )

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str | list[str]:
        """The text of ids (L,), or the texts of (B, L)."""
        return self._tokenizer().decode(ids, skip_special_tokens)

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise TokenizerError(
                "this model has no tokenizer: its directory holds neither tokenizer.json nor vocab.json with merges.txt"
            )
        return self.tokenizer

    def save(self, directory: str | Path) -> None:
        """Write configuration, weights and tokenizer to a directory that transformers opens with equal output.

        Raises SaveError.
        """
        try:
            weights.save(Path(directory), self.params, self.config, self.head)
            if self.tokenizer is not None:
                self.tokenizer.save(Path(directory))
        except OSError as error:
            raise SaveError(f"the model cannot be written to {directory}: {error.strerror or error}") from error


def _check_choices(head: str | None, seed: int) -> None:
    if head is not None and (not isinstance(head, str) or head not in HEADS):
        raise NameUnknownError(f"there is no head {head!r}: give one of {', '.join(HEADS)}")
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is a whole number of at least 0, not {seed!r}")


def _check_head(head: str, config: Config) -> None:
    _check_choices(head, seed=0)
    if head == "question_answering" and config.num_labels != 2:
        raise ConfigError(
            f"head 'question_answering' has a start and an end; this configuration has {config.num_labels} labels"
        )


# --- loading --------------------------------------------------------------------------------------------------------


def load(
    name: str | Path | None = None,
    *,
    head: str | None = None,
    dtype: Any = "float32",
    xp: Namespace = numpy,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    missing: str = "error",
    seed: int = 0,
    check: bool = False,
) -> Model:
    """The model of a name, its weights mapped from the file where dtype and library allow.

    name: a directory, a weights file with `config.json` beside it, a hub name, or a short name such as
    `roberta-base`. head: one of `config.HEADS`, by default the one that the configuration's `architectures` names.
    dtype: float64, float32, float16 (on NumPy for storage; it computes in float32), bfloat16 where xp has it.
    xp: numpy, cupy or jax.numpy. revision, local_files_only, token: huggingface_hub's.
    missing: "error", or "init" to draw a head that the file lacks from N(0, initializer_range²) with `seed`.
    check: look for NaN and infinite weights, and for tied ones that differ; reads the whole file.

    Raises NotFoundError, DownloadError, ConfigError, WeightsError, TokenizerError, BackendError, NameUnknownError.
    """
    if name is None:
        raise NotFoundError("no model comes with the package yet: give a directory or a name such as 'roberta-base'")
    if missing not in ("error", "init"):
        raise NameUnknownError(f'missing is "error" or "init", not {missing!r}')
    _check_choices(head, seed)
    path = hub.locate(name, revision=revision, local_files_only=local_files_only, token=token)
    directory = path.parent if path.is_file() else path
    config = read_config(directory)
    head = head or config.head
    _check_head(head, config)
    arrays = weights.load_arrays(weights.read(path), config, head, missing=missing, seed=seed, check=check)
    return Model(config, weights.tree(weights.move(arrays, dtype, xp)), head, Tokenizer.load(directory, config))


def init(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    head: str | None = None,
    seed: int = 0,
    dtype: Any = "float32",
    xp: Namespace = numpy,
) -> Model:
    """A randomly initialised model: N(0, initializer_range²), norms 1, biases and pads' rows 0.

    config: a Config, the fields of one, a directory with a `config.json`, or a short name such as `roberta-base`,
    whose configuration is known here. The same seed gives the same weights.

    Raises ConfigError, NotFoundError, BackendError, NameUnknownError.
    """
    _check_choices(head, seed)
    config = _as_config(config)
    head = head or config.head
    _check_head(head, config)
    arrays = {name: weights.draw(name, shape, config, seed) for name, shape in weights.shapes(config, head).items()}
    return Model(config, weights.tree(weights.move(arrays, dtype, xp)), head)


def _as_config(config: Config | Mapping[str, Any] | str | Path) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return Config.from_dict(config)
    if config in PRESETS:
        return Config.from_dict(PRESETS[str(config)])
    return read_config(hub.locate(config, weights=False))


def read_config(directory: Path) -> Config:
    """The Config of a directory's `config.json`. Raises ConfigError, NotFoundError."""
    return Config.from_dict(weights.read_json(directory / "config.json", ConfigError))
