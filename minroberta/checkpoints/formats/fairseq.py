"""fairseq checkpoints: weights with fairseq's names, and the training arguments.

Three sets of names are supported: the current names; the names of 2019, when queries, keys and values shared one array;
and the names of DinkyTrain, which uses DeepSpeed's names for layers. Sizes are taken from the weights, and must agree
with the arguments. The number of heads and the activation are taken from the arguments.
"""

import re
import reprlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy

from ...config import FAMILIES, HEADS
from ...errors import ConfigError, WeightsError
from ..arrays import Arrays
from .pytorch import File, Namespace, Tensor

# --- names ----------------------------------------------------------------------------------------------------------


def _module(stored: str, name: str) -> dict[str, str]:
    """A dict from fairseq's names for the weight and bias of a linear layer or norm to their canonical names."""
    return {f"{stored}.weight": f"{name}.weight", f"{stored}.bias": f"{name}.bias"}


WHOLE = {
    "sentence_encoder.embed_tokens.weight": "embeddings.word_embeddings.weight",
    "sentence_encoder.embed_positions.weight": "embeddings.position_embeddings.weight",
    **_module("sentence_encoder.emb_layer_norm", "embeddings.LayerNorm"),  # until 2020
    **_module("sentence_encoder.layernorm_embedding", "embeddings.LayerNorm"),
    **_module("sentence_encoder.layer_norm", "LayerNorm"),
    **_module("lm_head.dense", "lm_head.dense"),
    **_module("lm_head.layer_norm", "lm_head.layer_norm"),
    "lm_head.weight": "lm_head.decoder.weight",
    "lm_head.bias": "lm_head.bias",
}
"""A dict from fairseq's names, without the prefix `encoder.` (`decoder.` in 2019), to canonical names."""

LAYER = {
    **_module("self_attn.q_proj", "attention.self.query"),
    **_module("self_attn.k_proj", "attention.self.key"),
    **_module("self_attn.v_proj", "attention.self.value"),
    **_module("self_attn.out_proj", "attention.output.dense"),
    **_module("self_attn_layer_norm", "attention.output.LayerNorm"),
    **_module("fc1", "intermediate.dense"),
    **_module("fc2", "output.dense"),
    **_module("final_layer_norm", "output.LayerNorm"),
    **{"attn_ow": "attention.output.dense.weight", "attn_ob": "attention.output.dense.bias"},  # DeepSpeed's
    **{"norm_w": "attention.output.LayerNorm.weight", "norm_b": "attention.output.LayerNorm.bias"},
    **{"inter_w": "intermediate.dense.weight", "inter_b": "intermediate.dense.bias"},
    **{"output_w": "output.dense.weight", "output_b": "output.dense.bias"},
    **{"attn_nw": "output.LayerNorm.weight", "attn_nb": "output.LayerNorm.bias"},
}
"""The same within a layer. `final_layer_norm` and DeepSpeed's `attn_n…` are the norm of the feed-forward part."""

THIRDS = {
    "self_attn.in_proj_weight": "weight", "self_attn.in_proj_bias": "bias",  # of 2019
    "attn_qkvw": "weight", "attn_qkvb": "bias",  # DeepSpeed's
}  # fmt: skip
"""Arrays that hold the weights of query, key and value, in this order along the first axis."""

UNUSED = re.compile(
    r"sentence_encoder\.(version|layers\.[0-9]+\.(in_proj|out_proj|fc1|fc2)_(weight|bias))|_ema|regression_head\..*"
)
"""Unused arrays: a version number, fairseq 0.12's copies for a faster kernel, and Data2Vec's training state."""

IN_LAYER = re.compile(r"sentence_encoder\.layers\.(0|[1-9][0-9]{0,5})\.(.+)")
IN_HEAD = re.compile(r"classification_heads\.([^.]+)\.(.+)")
DEFAULT_HEAD = "sentence_classification_head"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"

Found = dict[str, Tensor]
"""The tensors of a file, by canonical name."""


def _canonical(stored: str, tensor: Tensor) -> Found:
    """The weights, one or three, that a tensor holds; an empty dict if it is not used. Raises WeightsError."""
    name = stored.removeprefix("encoder." if stored.startswith("encoder.") else "decoder.")
    if UNUSED.fullmatch(name) or name == stored:
        return {}
    if name in WHOLE:
        return {WHOLE[name]: tensor}
    index, part = match.groups() if (match := IN_LAYER.fullmatch(name)) else ("", "")
    if part in THIRDS:
        names = [f"encoder.layer.{index}.attention.self.{which}.{THIRDS[part]}" for which in ("query", "key", "value")]
        return dict(zip(names, _thirds(stored, tensor), strict=True))
    if part not in LAYER:
        raise WeightsError(f"{stored[:200]!r} is not a weight of fairseq's RoBERTa: the file holds a different model")
    return {f"encoder.layer.{index}.{LAYER[part]}": tensor}


def _thirds(stored: str, tensor: Tensor) -> list[Tensor]:
    """The first, second and last third of a tensor's rows: (3 O, I) -> three of (O, I)."""
    _, offset, shape, strides = tensor
    if not shape or shape[0] % 3:
        raise WeightsError(f"{stored} has shape {_shown(shape)}: it cannot be split into queries, keys and values")
    rows = shape[0] // 3
    return [tensor._replace(offset=offset + i * rows * strides[0], shape=(rows, *shape[1:])) for i in range(3)]


def _shown(value: Any) -> str:
    """A value from a file as text for an error message, shortened because it may be a long list."""
    return reprlib.repr(value)[:100]


# --- the checkpoint -------------------------------------------------------------------------------------------------


def is_fairseq(content: Any) -> bool:
    """Return whether fairseq wrote the content of a PyTorch file."""
    return isinstance(content, dict) and isinstance(content.get("model"), dict) and bool({"args", "cfg"} & set(content))


class Checkpoint(Arrays):
    """The arrays of a `.pt` file, with Hugging Face's names. `config` has the fields of Hugging Face's configuration.

    No other file is needed. A post-LN model is read as Roberta, a pre-LN model as RobertaPreLayerNorm, and a pre-LN
    model without an embedding norm as XLM-RoBERTa-XL. fairseq has no token types, so their embedding is a row of zeros.
    If there are several classification heads, the one with the default name is used. A head that computes something
    different from Hugging Face's head is left out, with a warning.

    Raises WeightsError if the weights belong to a different model or contradict the arguments, and ConfigError for
    arguments that no RoBERTa model can have.
    """

    config: Mapping[str, Any]

    format = "fairseq"

    def __init__(self, file: File) -> None:
        model, arguments = file.content["model"], _arguments(file.content)
        self.path, self.size, self.maps = file.path, file.size, file.maps
        try:
            found = _found(model) | _classifier(model)
            _leave_out(found, arguments)
            self.config = _config(found, arguments, old=any("emb_layer_norm" in str(stored) for stored in model))
        except (WeightsError, ConfigError) as error:
            raise type(error)(f"{file.path}: {error}") from error
        self._tensors = file.within(_family_names(found, self.config["model_type"]))
        self._entries = {**dict.fromkeys(self._tensors), TOKEN_TYPES: None}

    def __getitem__(self, name: str) -> numpy.ndarray:
        if name == TOKEN_TYPES:
            return numpy.zeros((1, self.config["hidden_size"]), numpy.float32)
        return self._tensors[name]

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array as stored in the file; those of the zeros without making them."""
        return ("float32", (1, self.config["hidden_size"])) if name == TOKEN_TYPES else self._tensors.stored(name)


def _arguments(content: Mapping[str, Any]) -> dict[str, Any]:
    """The training arguments: in the parts of `cfg` since fairseq 0.12, and in `args` before that."""
    result: dict[str, Any] = {}
    whole = _values(content.get("cfg"))
    for part in (content.get("args"), whole.get("criterion"), whole.get("model")):
        result |= _values(part)
    return result


def _values(part: Any) -> dict[str, Any]:
    part = part.values if isinstance(part, Namespace) else part
    return part if isinstance(part, dict) else {}


def _found(model: Mapping[Any, Any]) -> Found:
    """The weights in the file, except those of classification heads. Raises WeightsError."""
    result: Found = {}
    for stored, tensor in model.items():
        if isinstance(stored, str) and isinstance(tensor, Tensor):
            for name, part in _canonical(stored, tensor).items():
                if name in result:
                    raise WeightsError(f"{stored} is a second array for {name}: remove one of them")
                result[name] = part
    return result


def _classifier(model: Mapping[Any, Any]) -> Found:
    """The weights of the only classification head, or of the one with the default name."""
    names = {match[1] for name in model if isinstance(name, str) and (match := IN_HEAD.fullmatch(name))}
    if len(names) > 1 and DEFAULT_HEAD not in names:
        warnings.warn(
            f"{len(names)} classification heads {_shown(sorted(names))} are left out: none is named {DEFAULT_HEAD}",
            stacklevel=4,
        )
        return {}
    head = DEFAULT_HEAD if DEFAULT_HEAD in names else "".join(names)
    wanted = _module("dense", "classifier.dense") | _module("out_proj", "classifier.out_proj")
    held = {name: model.get(f"classification_heads.{head}.{part}") for part, name in wanted.items()}
    return {name: tensor for name, tensor in held.items() if isinstance(tensor, Tensor)}


def _leave_out(found: Found, arguments: Mapping[str, Any]) -> None:
    """Remove a head whose activation differs from the fixed activation of Hugging Face's head."""
    for argument, fixed, head in (("activation_fn", "gelu", "lm_head"), ("pooler_activation_fn", "tanh", "classifier")):
        given = arguments.get(argument, fixed)
        names = [name for name in found if name.startswith(f"{head}.")]
        if given != fixed and names:
            warnings.warn(
                f"the {head} is left out: its {argument} is {_shown(given)}, but Hugging Face's is always {fixed}",
                stacklevel=4,
            )
            for name in names:
                del found[name]


def _family_names(found: Found, model_type: str) -> Found:
    """The same weights, with the names that a model family uses."""
    family = FAMILIES[model_type]
    result = {}
    for name, tensor in found.items():
        norm = name.removeprefix("LayerNorm")
        result[f"{family.final_norm}{norm}" if norm != name else family.own_name(name)] = tensor
    return result


# --- the configuration ----------------------------------------------------------------------------------------------

HEAD_COUNTS = {"roberta": 12, "roberta_base": 12, "roberta_prenorm": 12, "roberta_large": 16, "xlm": 16}
"""The number of attention heads for each `arch`, in case the arguments do not give it."""

ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu", "tanh": "tanh",
               "linear": "linear"}  # fmt: skip
"""fairseq's names for activations, mapped to Hugging Face's."""

SIZES = {
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_layers": "num_hidden_layers",
    "max_positions": "max_position_embeddings",
}
"""fairseq's names for sizes that both the arguments and the weights give, mapped to Hugging Face's names."""


def _config(found: Found, arguments: Mapping[str, Any], old: bool) -> dict[str, Any]:
    vocabulary, hidden = _shape(found, "embeddings.word_embeddings.weight")
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": _count_layers(found),
        "intermediate_size": _shape(found, "encoder.layer.0.intermediate.dense.weight")[0],
        "max_position_embeddings": _shape(found, "embeddings.position_embeddings.weight")[0],
    }
    _check_sizes(sizes, arguments)
    model_type = _model_type(found, arguments, old)
    return {
        "model_type": model_type,
        **sizes,
        "num_attention_heads": _head_count(arguments),
        "hidden_act": _activation(arguments),
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": not arguments.get("untie_weights_roberta"),
        **_of_head(found, arguments, FAMILIES[model_type].architecture),
    }


def _shape(found: Found, name: str) -> tuple[int, int]:
    if name not in found:
        raise WeightsError(f"the weights lack fairseq's array for {name}")
    shape = found[name].shape
    if len(shape) != 2:
        raise WeightsError(f"fairseq's array for {name} has shape {_shown(shape)}; it must have two axes")
    return shape[0], shape[1]


def _count_layers(found: Found) -> int:
    indices = {int(name.split(".")[2]) for name in found if name.startswith("encoder.layer.")}
    lacking = set(range(len(indices))) - indices
    if lacking:
        raise WeightsError(f"the weights have layers up to layer {max(indices)}, but lack layer {min(lacking)}")
    return len(indices)


def _check_sizes(sizes: Mapping[str, int], arguments: Mapping[str, Any]) -> None:
    for argument, name in SIZES.items():
        given = arguments.get(argument)
        shown = sizes[name] - 2 * (argument == "max_positions")  # positions start at 2, after the row for padding
        if given is not None and given != shown:
            raise WeightsError(f"{argument} is {_shown(given)} in the arguments, but {shown} in the weights")


def _model_type(found: Found, arguments: Mapping[str, Any], old: bool) -> str:
    """The model type, inferred from which norms the weights include. The arguments must not contradict the weights.

    Until 2020, when the embedding norm was called `emb_layer_norm`, every model was post-LN, and the arguments about
    norms had a different meaning, so they are ignored.
    """
    first, last = (any(name.startswith(norm) for name in found) for norm in ("embeddings.LayerNorm.", "LayerNorm."))
    for argument, shown in (("layernorm_embedding", first), ("encoder_normalize_before", last)):
        given = arguments.get(argument)
        if given is not None and bool(given) != shown and not old:
            verb = "have" if shown else "lack"
            raise WeightsError(f"{argument} is {_shown(given)} in the arguments, but the weights {verb} that norm")
    if not last:
        return "roberta"
    return "roberta-prelayernorm" if first else "xlm-roberta-xl"


def _head_count(arguments: Mapping[str, Any]) -> Any:
    given, arch = arguments.get("encoder_attention_heads"), arguments.get("arch", arguments.get("_name"))
    if given is not None:
        return given
    known = arch.removeprefix("deepspeed_") if isinstance(arch, str) else ""
    if known not in HEAD_COUNTS:
        raise ConfigError(
            f"the arguments lack encoder_attention_heads, and the number of heads of arch {_shown(arch)} is unknown: "
            f"the supported architectures are {', '.join(HEAD_COUNTS)}"
        )
    return HEAD_COUNTS[known]


def _activation(arguments: Mapping[str, Any]) -> str:
    given = arguments.get("activation_fn", "gelu")
    if not isinstance(given, str) or given not in ACTIVATIONS:
        raise ConfigError(f"unsupported activation_fn {_shown(given)}: the supported ones are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[given]


def _of_head(found: Found, arguments: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """The fields that the head implies. A classifier takes precedence over a language model head."""
    heads = {name.split(".")[0] for name in found}
    if "classifier" in heads:
        labels, _ = _shape(found, "classifier.out_proj.weight")
        problem = {"problem_type": "regression"} if arguments.get("regression_target") else {}
        architectures = [architecture + HEADS["sequence_classification"].ending]
        return {"architectures": architectures, "num_labels": labels, **problem}
    return {"architectures": [architecture + HEADS["masked_lm" if "lm_head" in heads else "encoder"].ending]}
