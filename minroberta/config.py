"""The configuration: every setting that changes the mathematics, with Hugging Face's names.

Model families and heads are described by data, not by code: each entry of `FAMILIES` says what a `model_type` implies,
and each entry of `HEADS` describes a head.
"""

import operator
import reprlib
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from .errors import ConfigError, NameUnknownError, check_integer

ACTIVATIONS = (
    "gelu", "gelu_10", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "gelu_accurate", "gelu_fast", "quick_gelu",
    "laplace", "leaky_relu", "linear", "mish", "relu", "relu2", "relu6", "sigmoid", "silu", "swish", "tanh",
)  # fmt: skip
"""The allowed values of `hidden_act`, those of transformers 4.48.3; `activations.ACTIVATIONS` has their formulas."""

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
RELATIVE = ("relative_key", "relative_key_query")
POSITION_TYPES = ("absolute", *RELATIVE)
BODY = ("embeddings", "encoder", "LayerNorm", "pooler")
"""The parts of the base model. In a file that also holds a head, their names begin with the base model's prefix."""

LARGEST_SIZE = 2**31 - 1
MOST_LAYERS = 1000
MOST_LABELS = 100_000


# --- heads ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """The description of a head; its formula is in `heads.HEADS`.

    ending: the ending of Hugging Face's class names for this head.
    weights: the names of the head's parameters, mapped to their shapes. Each axis is a letter: D for the hidden size, V
        for the vocabulary size, N for the number of labels, or 1 for a size of 1.
    task: Hugging Face's name for the head's task, which is also the task's key in `task_specific_params`.
    reads_first: True if the head reads only the first position of a sequence, False if it reads every position.
    choices: True if each example has several sequences, (B, C, L), from which the head chooses one.
    targets: the inputs that are needed for the loss.
    labels: the shape of `labels`: "BL" for one class per token, "B" for one class per sequence.
    classes: the number of classes, as a letter: V, N, or C for the number of choices.
    has_problem_type: True if `problem_type` selects regression, single-label or multi-label classification.
    cache: True if a decoder with this head returns the keys and values of its tokens.
    memory: True if a decoder with this head and cross-attention accepts an encoder's hidden states.
    """

    ending: str
    weights: Mapping[str, str]
    task: str | None = None
    reads_first: bool = False
    choices: bool = False
    targets: tuple[str, ...] = ("labels",)
    labels: Literal["BL", "B", ""] = ""
    classes: Literal["V", "N", "C", ""] = ""
    has_problem_type: bool = False
    cache: bool = False
    memory: bool = False


_POOLER = {"pooler.dense.weight": "DD", "pooler.dense.bias": "D"}
_LM_HEAD = {
    "lm_head.dense.weight": "DD",
    "lm_head.dense.bias": "D",
    "lm_head.layer_norm.weight": "D",
    "lm_head.layer_norm.bias": "D",
    "lm_head.decoder.weight": "VD",  # only if it is not tied to the word embeddings
    "lm_head.bias": "V",
}
_CLASSIFICATION_HEAD = {
    "classifier.dense.weight": "DD",
    "classifier.dense.bias": "D",
    "classifier.out_proj.weight": "ND",
    "classifier.out_proj.bias": "N",
}

HEADS = {
    "encoder": Head("Model", _POOLER, targets=(), cache=True, memory=True),
    "masked_lm": Head("ForMaskedLM", _LM_HEAD, "fill-mask", labels="BL", classes="V", memory=True),
    "causal_lm": Head("ForCausalLM", _LM_HEAD, "text-generation", labels="BL", classes="V", cache=True, memory=True),
    "sequence_classification": Head(
        "ForSequenceClassification",
        _CLASSIFICATION_HEAD,
        "text-classification",
        reads_first=True,
        labels="B",
        classes="N",
        has_problem_type=True,
    ),
    "multiple_choice": Head(
        "ForMultipleChoice",
        {**_POOLER, "classifier.weight": "1D", "classifier.bias": "1"},
        reads_first=True,
        choices=True,
        labels="B",
        classes="C",
    ),
    "token_classification": Head(
        "ForTokenClassification",
        {"classifier.weight": "ND", "classifier.bias": "N"},
        "token-classification",
        labels="BL",
        classes="N",
    ),
    "question_answering": Head(
        "ForQuestionAnswering",
        {"qa_outputs.weight": "ND", "qa_outputs.bias": "N"},
        "question-answering",
        targets=("start_positions", "end_positions"),
    ),
}
"""The heads, by name."""


def check_head(head: str, config: "Config") -> None:
    """Raise NameUnknownError for an unknown head, or ConfigError if the configuration does not fit the head."""
    check_head_name(head)
    if head == "question_answering" and config.num_labels != 2:
        raise ConfigError(
            f"head 'question_answering' needs 2 labels, for the start and the end, but this configuration has "
            f"{config.num_labels}: give a model that has this head, or set num_labels to 2"
        )


def check_head_name(head: Any) -> None:
    """Raise NameUnknownError for an unknown head."""
    if not isinstance(head, str) or head not in HEADS:
        raise NameUnknownError(f"unknown head {head!r}: give one of {', '.join(HEADS)}")


# --- families -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """The description of a model family: everything that its `model_type` implies.

    architecture: the beginning of Hugging Face's class names for the family.
    prefix: the prefix of the base model's weight names in a file that also holds a head.
    norm_first, embedding_norm: the defaults of these fields of `Config`.
    final_norm: the name of the final norm, or None. A final norm in the encoder is also applied to the last of the
        `hidden_states`; a final norm in the base model is not.
    names: a mapping from Roberta's module names within a layer, which the parameter tree uses, to the family's names.
    mask_in_token_loss: True if the token classification loss ignores labels where the attention mask is not 1.
    feed_forward_dropout: True if training drops parts of the feed-forward's output, as of attention's.
    defaults: the defaults of configuration fields that differ from Roberta's in transformers 4.48.3.
    """

    architecture: str
    prefix: str = "roberta"
    norm_first: bool = False
    embedding_norm: bool = True
    final_norm: Literal["LayerNorm", "encoder.LayerNorm"] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    mask_in_token_loss: bool = False
    feed_forward_dropout: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def own_name(self, name: str) -> str:
        """The family's name for the weight or traced value with this canonical name."""
        return rename(name, self.names)

    def canonical_name(self, name: str) -> str:
        """The canonical name of the weight or traced value with this name in the family."""
        return rename(name, {own: canonical for canonical, own in self.names.items()})


def rename(name: str, names: Mapping[str, str]) -> str:
    """Replace MODULE in a name like `encoder.layer.N.MODULE[.REST]`, as the mapping `names` says."""
    parts = name.split(".", 3)
    if parts[:2] == ["encoder", "layer"] and len(parts) == 4:
        for module, other in names.items():
            if (parts[3] + ".").startswith(module + "."):
                return ".".join([*parts[:3], other + parts[3][len(module) :]])
    return name


FAMILIES = {
    "roberta": Family("Roberta"),
    "xlm-roberta": Family("XLMRoberta", defaults={"vocab_size": 30522}),
    "camembert": Family("Camembert", defaults={"vocab_size": 30522}),
    "data2vec-text": Family("Data2VecText", prefix="data2vec_text", defaults={"vocab_size": 30522}),
    "roberta-prelayernorm": Family(
        "RobertaPreLayerNorm",
        prefix="roberta_prelayernorm",
        norm_first=True,
        final_norm="LayerNorm",
        names={
            "attention.output.LayerNorm": "attention.LayerNorm",
            "crossattention.output.LayerNorm": "crossattention.LayerNorm",
            "output.LayerNorm": "intermediate.LayerNorm",
        },
    ),
    "xlm-roberta-xl": Family(
        "XLMRobertaXL",
        norm_first=True,
        embedding_norm=False,
        final_norm="encoder.LayerNorm",
        names={
            "attention.output.LayerNorm": "attention.self_attn_layer_norm",
            "crossattention.output.LayerNorm": "crossattention.self_attn_layer_norm",
            "output.LayerNorm": "LayerNorm",
        },
        mask_in_token_loss=True,
        feed_forward_dropout=False,
        defaults={
            "vocab_size": 250880,
            "hidden_size": 2560,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "intermediate_size": 10240,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    ),
}

ROBERTA_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


# --- the configuration ----------------------------------------------------------------------------------------------


class _Absent:
    def __repr__(self) -> str:
        return "<the family's default>"


ABSENT: Any = _Absent()
"""A placeholder for a field that was not given, to be replaced by the family's default."""


@dataclass(frozen=True)
class Config:
    """The configuration of a RoBERTa model, with the fields and defaults of transformers 4.48.3 for its `model_type`.

    `norm_first` puts layer norms before attention and feed-forward (pre-LN) instead of after the residual sums
    (post-LN). `embedding_norm` adds a layer norm to the embeddings. The defaults of both depend on the `model_type`.
    If `position_embedding_type` is None, the model does not use the positions of tokens, as in the reference.
    Dropout probabilities are saved with the model, but never applied. `other` holds all further fields of a
    `config.json`: they do not change the mathematics, but are saved with the model too.

    The defaults of Hugging Face's configuration class differ from roberta-base (512 position rows instead of 514, eps
    1e-12 instead of 1e-5, two token types instead of one). For roberta-base, use its `config.json` or `PRESETS`.

    Raises ConfigError for a field with an invalid type or value.
    """

    model_type: str = "roberta"
    vocab_size: int = ABSENT
    hidden_size: int = ABSENT
    num_hidden_layers: int = ABSENT
    num_attention_heads: int = ABSENT
    intermediate_size: int = ABSENT
    hidden_act: str = "gelu"
    max_position_embeddings: int = ABSENT
    type_vocab_size: int = ABSENT
    layer_norm_eps: float = ABSENT
    norm_first: bool = ABSENT
    embedding_norm: bool = ABSENT
    position_embedding_type: str | None = "absolute"
    pad_token_id: int = 1
    bos_token_id: int | None = 0
    eos_token_id: int | None = 2
    is_decoder: bool = False
    add_cross_attention: bool = False
    use_cache: bool = True
    chunk_size_feed_forward: int = 0
    tie_word_embeddings: bool = True
    pruned_heads: Mapping[int, list[int]] = field(default_factory=dict)
    num_labels: int = ABSENT
    id2label: Mapping[int, str] = ABSENT
    label2id: Mapping[str, int] = ABSENT
    problem_type: str | None = None
    initializer_range: float = 0.02
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    architectures: list[str] | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type == "encoder-decoder":
            raise ConfigError(
                "an encoder-decoder has two configurations, in the fields encoder and decoder: open it with "
                "minroberta.load(DIRECTORY), and write it with save"
            )
        if not isinstance(self.model_type, str) or self.model_type not in FAMILIES:
            raise ConfigError(
                f"unknown model_type {reprlib.repr(self.model_type)}: give a model of one of the types "
                f"{', '.join(FAMILIES)}"
            )
        family = FAMILIES[self.model_type]
        defaults = {**ROBERTA_DEFAULTS, **family.defaults}
        defaults.update(norm_first=family.norm_first, embedding_norm=family.embedding_norm)
        for name, value in defaults.items():
            if getattr(self, name) is ABSENT:
                object.__setattr__(self, name, value)
        if isinstance(self.architectures, str):
            object.__setattr__(self, "architectures", [self.architectures])
        for name, value in zip(("num_labels", "id2label", "label2id"), self._labels(), strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "pruned_heads", self._pruned_heads())
        self._check()

    def __hash__(self) -> int:  # dict fields cannot be hashed; equal configurations agree on these
        return hash((self.model_type, self.vocab_size, self.hidden_size, self.num_hidden_layers, self.num_labels))

    # --- derived from the fields ------------------------------------------------------------------------------------

    @property
    def family(self) -> Family:
        """The entry of `FAMILIES` for the `model_type`."""
        return FAMILIES[self.model_type]

    @property
    def head_size(self) -> int:
        """The size of an attention head, E = D / H."""
        return self.hidden_size // self.num_attention_heads

    @property
    def longest(self) -> int:
        """The largest number of tokens in a sequence, not counting padding.

        Absolute positions start at `pad_token_id + 1`, so tokens never use the position embeddings before that row.
        Relative positions have no such offset.
        """
        if self.position_embedding_type == "absolute":
            return self.max_position_embeddings - self.pad_token_id - 1
        return self.max_position_embeddings

    @property
    def head(self) -> str:
        """The head that `architectures` names, or the bare encoder if `architectures` is empty. Raises ConfigError."""
        return head_of(self.architectures)

    def problem(self, integer_labels: bool) -> str:
        """The `problem_type`; if it is None, the type inferred from the labels.

        If `num_labels` is 1, the type is regression. Otherwise, integer labels mean single-label classification, and
        float labels mean multi-label classification. The reference infers the type in the first call, and then stores
        it in the configuration; here, every call infers the type again.
        """
        if self.problem_type is not None:
            return self.problem_type
        if self.num_labels == 1:
            return "regression"
        return "single_label_classification" if integer_labels else "multi_label_classification"

    # --- from and to config.json ------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Make a Config from a parsed `config.json`. Raises ConfigError.

        A missing `model_type` is taken from `architectures`, with a warning. As in the reference, null is false in
        `is_decoder`, `add_cross_attention`, `use_cache` and `tie_word_embeddings`.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"a configuration must be a JSON object, not {type(values).__name__}")
        values = with_model_type(values)
        known = {f.name for f in fields(cls)} - {"other"}
        given = {name: value for name, value in values.items() if name in known}
        given |= {name: False for name in NULL_IS_FALSE if given.get(name, 0) is None}
        for name in ("id2label", "label2id"):
            if given.get(name, 0) is None:
                del given[name]
        if "id2label" in given:  # as in the reference, the number of labels is that of their names
            count = given.pop("num_labels", None)
            if isinstance(given["id2label"], Mapping) and count not in (None, len(given["id2label"])):
                warnings.warn(
                    f"num_labels {count} is ignored: id2label has {len(given['id2label'])} labels", stacklevel=2
                )
        return cls(**given, other={name: value for name, value in values.items() if name not in known})

    def to_dict(self) -> dict[str, Any]:
        """The fields for a `config.json`, including those in `other`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("norm_first", "embedding_norm"):
            if values[name] == getattr(self.family, name):
                del values[name]  # the model_type implies it
        del values["num_labels"]  # as in the reference: id2label implies it
        return {**values.pop("other"), **values}

    def replace(self, **changes: Any) -> "Config":
        """A copy with some fields replaced and derived fields recomputed. Raises ConfigError."""
        return Config.from_dict(merge(self.to_dict(), changes))

    # --- checks -----------------------------------------------------------------------------------------------------

    def _labels(self) -> tuple[int, Mapping[int, str], Mapping[str, int]]:
        names, count = self.id2label, 2 if self.num_labels is ABSENT else self.num_labels
        if names is ABSENT:
            count = check_integer("num_labels", count, 1, MOST_LABELS, ConfigError)
            names = {i: f"LABEL_{i}" for i in range(count)}
        try:
            names = {int(i): _label(i, label) for i, label in names.items()}
            own_ids = {label: i for i, label in names.items()}
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"id2label must be an object that maps numbers to names, not {reprlib.repr(names)}"
            ) from None
        if self.num_labels is not ABSENT and self.num_labels != len(names):
            raise ConfigError(
                f"num_labels is {self.num_labels}, but id2label has {len(names)} labels: set num_labels to {len(names)}"
            )
        check_integer("num_labels", len(names), 1, MOST_LABELS, ConfigError)
        ids = own_ids if self.label2id is ABSENT else self.label2id
        if not isinstance(ids, Mapping):
            raise ConfigError(f"label2id must be an object that maps names to numbers, not {reprlib.repr(ids)}")
        return len(names), names, ids

    def _pruned_heads(self) -> Mapping[int, list[int]]:
        try:
            given = (self.pruned_heads or {}).items()
            pruned = {int(layer): sorted({operator.index(head) for head in heads}) for layer, heads in given}
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"pruned_heads must be an object that maps layers to heads, not {reprlib.repr(self.pruned_heads)}"
            ) from None
        return pruned

    def _check_integer(self, name: str, least: int, most: int) -> None:
        object.__setattr__(self, name, check_integer(name, getattr(self, name), least, most, ConfigError))

    def _check(self) -> None:
        sizes = ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size")
        for name in (*sizes, "max_position_embeddings", "type_vocab_size"):
            self._check_integer(name, 1, LARGEST_SIZE)
        self._check_integer("num_hidden_layers", 1, MOST_LAYERS)
        self._check_integer("chunk_size_feed_forward", 0, LARGEST_SIZE)
        self._check_integer("pad_token_id", 0, self.vocab_size - 1)
        for name in ("norm_first", "embedding_norm", "is_decoder", "add_cross_attention", "use_cache",
                     "tie_word_embeddings"):  # fmt: skip
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, not {reprlib.repr(getattr(self, name))}")
        for name in ("layer_norm_eps", "initializer_range"):
            _check_number(name, getattr(self, name))
        _check_choice("hidden_act", self.hidden_act, ACTIVATIONS)
        if self.position_embedding_type == "rotary":
            raise ConfigError(
                "position_embedding_type 'rotary' belongs to models with code of their own, like jina-embeddings-v3, "
                f"which is not run here: give a model with one of {', '.join(POSITION_TYPES)}"
            )
        if self.position_embedding_type is not None:
            _check_choice("position_embedding_type", self.position_embedding_type, POSITION_TYPES)
        _check_choice("problem_type", self.problem_type, (None, *PROBLEM_TYPES))
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads {self.num_attention_heads}"
            )
        if self.longest < 1:
            raise ConfigError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no position for tokens, which start "
                f"after pad_token_id {self.pad_token_id}: give at least {self.pad_token_id + 2}"
            )
        if self.add_cross_attention and not self.is_decoder:
            raise ConfigError("add_cross_attention is only for decoders, but is_decoder is false: set both, or neither")
        _check_architectures(self.architectures)
        for layer, heads in self.pruned_heads.items():
            if not (0 <= layer < self.num_hidden_layers and all(0 <= h < self.num_attention_heads for h in heads)):
                raise ConfigError(
                    f"pruned_heads names heads {reprlib.repr(heads)} of layer {layer}, but this model has "
                    f"{self.num_hidden_layers} layers of {self.num_attention_heads} heads, both counted from 0"
                )
            if len(heads) == self.num_attention_heads:
                raise ConfigError(
                    f"pruned_heads names all {self.num_attention_heads} heads of layer {layer}: a layer must keep one"
                )


def _label(index: Any, name: Any) -> str:
    """The name of a label: that of a number is its digits, and null is no name. Raises TypeError for anything else."""
    if not isinstance(name, str | int | float | None):
        raise TypeError
    return f"LABEL_{index}" if name is None else str(name)


# --- the fields of a config.json, before they are a Config ----------------------------------------------------------

NULL_IS_FALSE = ("is_decoder", "add_cross_attention", "use_cache", "tie_word_embeddings")
"""Fields in which null means false, as in the reference, whatever the default is."""


def with_model_type(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields with a `model_type`. If they have none, it is that of the first class in `architectures`.

    Raises ConfigError if neither is given.
    """
    if values.get("model_type") is not None:
        return values
    kind = family_of(values.get("architectures"))
    if kind is None:
        raise ConfigError(
            f"the configuration has no model_type: give one of {', '.join(FAMILIES)}, "
            "for example with load(..., config={'model_type': 'roberta'})"
        )
    warnings.warn(f"the configuration has no model_type: {kind!r} is used, as architectures suggests", stacklevel=3)
    return {**values, "model_type": kind}


def family_of(architectures: Any) -> str | None:
    """The family to which the first class in `architectures` belongs, by the beginning of its name, or None."""
    _check_architectures(architectures)
    names = [architectures] if isinstance(architectures, str) else architectures or [""]
    name = names[0].removeprefix("TF").removeprefix("Flax")
    beginnings = {family.architecture: kind for kind, family in FAMILIES.items()}
    found = [beginning for beginning in beginnings if name.startswith(beginning)]
    return beginnings[max(found, key=len)] if found else None


def merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace some fields, and drop the fields that must be derived again from the new values.

    A new number of labels drops the names of the labels, and new names drop `label2id`. If the `model_type` changes,
    fields that were not given keep the defaults of the old type, but `norm_first` and `embedding_norm` get those of the
    new type. Raises ConfigError for an unknown field.
    """
    names = [f.name for f in fields(Config) if f.name != "other"]
    for name in changes.keys() - set(names):
        raise ConfigError(f"unknown configuration field {name}: give one of {', '.join(names)}")
    result = dict(values)
    if "model_type" in changes:
        result = _with_defaults(result)
    labels = result.get("id2label")
    count = len(labels) if isinstance(labels, Mapping) else result.get("num_labels", 2)
    if changes.get("num_labels", count) != count:
        forgotten = ["num_labels", "id2label", "label2id"]
    else:
        forgotten = ["num_labels", "label2id"] if "id2label" in changes else []
    return {name: value for name, value in result.items() if name not in forgotten} | dict(changes)


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults for the `model_type` in `values`, and drop norm fields that have the type's default."""
    kind = values.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        return dict(values)
    result = {**ROBERTA_DEFAULTS, **family.defaults, **values}
    for name in ("norm_first", "embedding_norm"):
        if result.get(name) == getattr(family, name):
            del result[name]
    return result


def labels_of_task(values: Mapping[str, Any], head: str) -> dict[str, Any]:
    """The names of labels in `task_specific_params` for a head's task. Raises ConfigError.

    With these, a checkpoint with several heads can name the labels of each. The other fields have no effect:
    transformers uses them for text generation alone, so never `problem_type`.
    """
    tasks = values.get("task_specific_params") or {}
    found = tasks.get(HEADS[head].task) if isinstance(tasks, Mapping) else tasks
    if not (found is None or isinstance(found, Mapping)):
        raise ConfigError(
            f"task_specific_params must be an object that maps tasks to objects, not {reprlib.repr(tasks)}"
        )
    return {name: value for name, value in (found or {}).items() if name in ("id2label", "label2id")}


def head_of(architectures: Any) -> str:
    """The head of the first class in `architectures`, or the bare encoder if there are none. Raises ConfigError."""
    _check_architectures(architectures)
    if not architectures:
        return "encoder"
    if isinstance(architectures, str):
        architectures = [architectures]
    for head, row in HEADS.items():
        if architectures[0].endswith(row.ending):
            return head
    raise ConfigError(
        f"architectures {reprlib.repr(architectures)} names an unknown head: set head= to one of {', '.join(HEADS)}"
    )


def _check_architectures(value: Any) -> None:
    if value is None or isinstance(value, str):
        return
    if not (isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)):
        raise ConfigError(f"architectures must be a list of class names, not {reprlib.repr(value)}")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise ConfigError(f"{name} must be finite and at least 0, not {reprlib.repr(value)}")


def _check_choice(name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ConfigError(f"unknown {name} {reprlib.repr(value)}: give one of {', '.join(map(str, choices))}")


HUB_NAMES = {
    "roberta-base": "FacebookAI/roberta-base",
    "roberta-large": "FacebookAI/roberta-large",
    "roberta-large-mnli": "FacebookAI/roberta-large-mnli",
    "distilroberta-base": "distilbert/distilroberta-base",
    "xlm-roberta-base": "FacebookAI/xlm-roberta-base",
    "xlm-roberta-large": "FacebookAI/xlm-roberta-large",
    "camembert-base": "almanach/camembert-base",
    "roberta_base_en": "keras/roberta_base_en",
    "roberta_large_en": "keras/roberta_large_en",
    "xlm_roberta_base_multi": "keras/xlm_roberta_base_multi",
    "xlm_roberta_large_multi": "keras/xlm_roberta_large_multi",
}
"""A mapping from well-known short names to full names on the hub."""

_BASE = {
    "model_type": "roberta",
    "architectures": ["RobertaForMaskedLM"],
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_MNLI = {"architectures": ["RobertaForSequenceClassification"],
         "id2label": {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}}  # fmt: skip
_XLM = {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"], "vocab_size": 250002}
_CAMEMBERT = {"model_type": "camembert", "architectures": ["CamembertForMaskedLM"], "vocab_size": 32005,
              "bos_token_id": 5, "eos_token_id": 6}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "roberta-base": _BASE,
    "roberta-large": {**_BASE, **_LARGE},
    "roberta-large-mnli": {**_BASE, **_LARGE, **_MNLI},
    "distilroberta-base": {**_BASE, "num_hidden_layers": 6},
    "xlm-roberta-base": {**_BASE, **_XLM},
    "xlm-roberta-large": {**_BASE, **_XLM, **_LARGE},
    "camembert-base": {**_BASE, **_CAMEMBERT},
}
"""The configurations of well-known models, so that `init` works offline."""
