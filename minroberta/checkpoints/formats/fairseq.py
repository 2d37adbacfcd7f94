"""fairseq's checkpoints: weights under names of its own, beside the arguments of their training.

Versions differ in names alone: that of today, that of 2019, in which queries, keys and values are one array, and that
of DinkyTrain, whose layers are DeepSpeed's. What the weights can tell is taken from them, and held against the
arguments; the number of heads and the activation are known by these alone.
"""

import json
import re
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from ...config import FAMILIES, HEADS
from ...errors import ConfigError, TokenizerError, WeightsError
from ..arrays import Arrays
from .pytorch import File, Namespace, Tensor

# --- names ----------------------------------------------------------------------------------------------------------


def _module(own: str, name: str) -> dict[str, str]:
    """The names of what a linear layer or a norm has."""
    return {f"{own}.weight": f"{name}.weight", f"{own}.bias": f"{name}.bias"}


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
"""fairseq's names behind `encoder.`, or in 2019 `decoder.`, and the canonical ones."""

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
"""Likewise within a layer. The `final` norm is that of the feed-forward part, as is DeepSpeed's `attn_n`."""

THIRDS = {
    "self_attn.in_proj_weight": "weight", "self_attn.in_proj_bias": "bias",  # of 2019
    "attn_qkvw": "weight", "attn_qkvb": "bias",  # DeepSpeed's
}  # fmt: skip
"""What holds queries, keys and values, one below the other."""

UNUSED = re.compile(
    r"sentence_encoder\.(version|layers\.[0-9]+\.(in_proj|out_proj|fc1|fc2)_(weight|bias))|_ema|regression_head\..*"
)
"""A number, the copies that 0.12 makes for a faster kernel, and what only the training of Data2Vec needs."""

IN_LAYER = re.compile(r"sentence_encoder\.layers\.(0|[1-9][0-9]{0,5})\.(.+)")
IN_HEAD = re.compile(r"classification_heads\.([^.]+)\.(.+)")
DEFAULT_HEAD = "sentence_classification_head"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"

Found = dict[str, Tensor]
"""The tensors of a file under canonical names."""


def _canonical(own: str, tensor: Tensor) -> Found:
    """What a tensor is to a model: one weight, or three; and nothing where no model uses it. Raises WeightsError."""
    name = own.removeprefix("encoder." if own.startswith("encoder.") else "decoder.")
    if UNUSED.fullmatch(name) or name == own:
        return {}
    if name in WHOLE:
        return {WHOLE[name]: tensor}
    index, part = match.groups() if (match := IN_LAYER.fullmatch(name)) else ("", "")
    if part in THIRDS:
        names = [f"encoder.layer.{index}.attention.self.{which}.{THIRDS[part]}" for which in ("query", "key", "value")]
        return dict(zip(names, _thirds(own, tensor), strict=True))
    if part not in LAYER:
        raise WeightsError(f"{own[:200]!r} is no weight of fairseq's RoBERTa: the file holds a model of another kind")
    return {f"encoder.layer.{index}.{LAYER[part]}": tensor}


def _thirds(own: str, tensor: Tensor) -> list[Tensor]:
    """The tensor's first, second and last rows: (3 O, I) -> 3 of (O, I)."""
    _, offset, shape, strides = tensor
    if not shape or shape[0] % 3:
        raise WeightsError(f"{own} has shape {_shown(shape)}: it cannot be parted into queries, keys and values")
    rows = shape[0] // 3
    return [tensor._replace(offset=offset + i * rows * strides[0], shape=(rows, *shape[1:])) for i in range(3)]


def _shown(value: Any) -> str:
    """A value of a file in a few words: lists in lists would be many."""
    return reprlib.repr(value)[:100]


# --- the checkpoint -------------------------------------------------------------------------------------------------


def is_fairseq(content: Any) -> bool:
    """Whether the content of a file of PyTorch's is such as fairseq writes."""
    return isinstance(content, dict) and isinstance(content.get("model"), dict) and bool({"args", "cfg"} & set(content))


class Checkpoint(Arrays):
    """The arrays of a `.pt` under Hugging Face's names, and `config`, the fields of Hugging Face's configuration.

    Nothing but the file is needed. post-LN is Roberta, pre-LN RobertaPreLayerNorm, and pre-LN without a norm of the
    embeddings XLM-Roberta-XL. fairseq has no token types: one row of zeros stands for them. It has any number of
    classification heads: taken is the only one, or that of the default name. A head that computes what
    Hugging Face's does not is left out, with a warning.

    Raises WeightsError where the weights are those of another model or not what the arguments say, and ConfigError for
    arguments that no RoBERTa can have.
    """

    config: Mapping[str, Any]

    format = "fairseq"

    def __init__(self, file: File) -> None:
        model, arguments = file.content["model"], _arguments(file.content)
        self.path, self.size = file.path, file.size
        try:
            found = _found(model) | _classifier(model)
            _leave_out(found, arguments)
            self.config = _config(found, arguments, old=any("emb_layer_norm" in str(own) for own in model))
        except (WeightsError, ConfigError) as error:
            raise type(error)(f"{file.path}: {error}") from error
        self._tensors = file.within(_own_names(found, self.config["model_type"]))

    def __getitem__(self, name: str) -> numpy.ndarray:
        if name == TOKEN_TYPES:
            return numpy.zeros((1, self.config["hidden_size"]), numpy.float32)
        return self._tensors[name]

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in the file."""
        return super().stored(name) if name == TOKEN_TYPES else self._tensors.stored(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._tensors, TOKEN_TYPES))

    def __len__(self) -> int:
        return len(self._tensors) + 1


def _arguments(content: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a training: since 0.12 in the parts of `cfg`, before in `args`."""
    result: dict[str, Any] = {}
    whole = _values(content.get("cfg"))
    for part in (content.get("args"), whole.get("criterion"), whole.get("model")):
        result |= _values(part)
    return result


def _values(part: Any) -> dict[str, Any]:
    part = part.values if isinstance(part, Namespace) else part
    return part if isinstance(part, dict) else {}


def _found(model: Mapping[Any, Any]) -> Found:
    """What the file holds of a model without classifiers. Raises WeightsError."""
    result: Found = {}
    for own, tensor in model.items():
        if isinstance(own, str) and isinstance(tensor, Tensor):
            for name, part in _canonical(own, tensor).items():
                if name in result:
                    raise WeightsError(f"{own} is {name}, which the weights hold already under another name")
                result[name] = part
    return result


def _classifier(model: Mapping[Any, Any]) -> Found:
    """The weights of the classification head that is taken."""
    names = {match[1] for own in model if isinstance(own, str) and (match := IN_HEAD.fullmatch(own))}
    if len(names) > 1 and DEFAULT_HEAD not in names:
        warnings.warn(
            f"of {len(names)} classification heads, {_shown(sorted(names))}, none is taken, for none is called "
            f"{DEFAULT_HEAD}",
            stacklevel=4,
        )
        return {}
    head = DEFAULT_HEAD if DEFAULT_HEAD in names else "".join(names)
    wanted = _module("dense", "classifier.dense") | _module("out_proj", "classifier.out_proj")
    held = {name: model.get(f"classification_heads.{head}.{part}") for part, name in wanted.items()}
    return {name: tensor for name, tensor in held.items() if isinstance(tensor, Tensor)}


def _leave_out(found: Found, arguments: Mapping[str, Any]) -> None:
    """Forget a head with another activation than Hugging Face's, whose is fixed."""
    for argument, fixed, head in (("activation_fn", "gelu", "lm_head"), ("pooler_activation_fn", "tanh", "classifier")):
        given = arguments.get(argument, fixed)
        names = [name for name in found if name.startswith(f"{head}.")]
        if given != fixed and names:
            warnings.warn(
                f"{argument} is {_shown(given)}, and Hugging Face's {head} has {fixed}: it is left out",
                stacklevel=4,
            )
            for name in names:
                del found[name]


def _own_names(found: Found, model_type: str) -> Found:
    """The same under the names of a family."""
    family = FAMILIES[model_type]
    result = {}
    for name, tensor in found.items():
        norm = name.removeprefix("LayerNorm")
        result[f"{family.final_norm}{norm}" if norm != name else family.own_name(name)] = tensor
    return result


# --- the configuration ----------------------------------------------------------------------------------------------

HEAD_COUNTS = {"roberta": 12, "roberta_base": 12, "roberta_prenorm": 12, "roberta_large": 16, "xlm": 16}
"""The heads of each arch, where the arguments do not say how many."""

ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu", "tanh": "tanh",
               "linear": "linear"}  # fmt: skip
"""fairseq's names for activations, and Hugging Face's."""

SIZES = {
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_layers": "num_hidden_layers",
    "max_positions": "max_position_embeddings",
}
"""What the arguments say and the weights show."""


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
        raise WeightsError(f"the weights lack what fairseq's RoBERTa has for {name}")
    shape = found[name].shape
    if len(shape) != 2:
        raise WeightsError(f"what fairseq's RoBERTa has for {name} has shape {_shown(shape)}; two axes are wanted")
    return shape[0], shape[1]


def _count_layers(found: Found) -> int:
    indices = {int(name.split(".")[2]) for name in found if name.startswith("encoder.layer.")}
    lacking = set(range(len(indices))) - indices
    if lacking:
        raise WeightsError(f"the weights have layers up to {max(indices)}, and none that is number {min(lacking)}")
    return len(indices)


def _check_sizes(sizes: Mapping[str, int], arguments: Mapping[str, Any]) -> None:
    for argument, name in SIZES.items():
        given = arguments.get(argument)
        shown = sizes[name] - 2 * (argument == "max_positions")  # positions begin behind that of the pads, which is 1
        if given is not None and given != shown:
            raise WeightsError(f"{argument} is {_shown(given)} in its arguments, but {shown} in its weights")


def _model_type(found: Found, arguments: Mapping[str, Any], old: bool) -> str:
    """By the norms. In the days of `emb_layer_norm`, until 2020, the arguments meant others, and all was post-LN."""
    first, last = (any(name.startswith(norm) for name in found) for norm in ("embeddings.LayerNorm.", "LayerNorm."))
    for argument, shown in (("layernorm_embedding", first), ("encoder_normalize_before", last)):
        given = arguments.get(argument)
        if given is not None and bool(given) != shown and not old:
            text = "have the norm that it gives" if shown else "lack the norm that it gives"
            raise WeightsError(f"{argument} is {_shown(given)} in its arguments, but its weights {text}")
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
            "its arguments do not say encoder_attention_heads, which no weight shows; known without are those of "
            f"the arch {', '.join(HEAD_COUNTS)}, and this is {_shown(arch)}"
        )
    return HEAD_COUNTS[known]


def _activation(arguments: Mapping[str, Any]) -> str:
    given = arguments.get("activation_fn", "gelu")
    if not isinstance(given, str) or given not in ACTIVATIONS:
        raise ConfigError(f"activation_fn is {_shown(given)}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[given]


def _of_head(found: Found, arguments: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """What the head says: a classifier goes before the language model, from which it was trained."""
    heads = {name.split(".")[0] for name in found}
    if "classifier" in heads:
        labels, _ = _shape(found, "classifier.out_proj.weight")
        problem = {"problem_type": "regression"} if arguments.get("regression_target") else {}
        architectures = [architecture + HEADS["sequence_classification"].ending]
        return {"architectures": architectures, "num_labels": labels, **problem}
    return {"architectures": [architecture + HEADS["masked_lm" if "lm_head" in heads else "encoder"].ending]}


# --- the vocabulary -------------------------------------------------------------------------------------------------

VOCABULARY = ("dict.txt", "encoder.json", "vocab.bpe")
"""fairseq's own list of tokens; GPT-2's numbers, which it lists; and GPT-2's merges."""

LARGEST_TEXT = 10_000_000
"""Bytes: ten times what GPT-2's have."""


def vocabulary(directory: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """What Hugging Face has in `vocab.json`, from tokens to ids, and the merges of its `merges.txt`: pairs of pieces.

    The special tokens come first, then `dict.txt`, whose lines are a number of GPT-2's and a count, and <mask> last.
    Raises TokenizerError.
    """
    listed, numbers, merged = (directory / name for name in VOCABULARY)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_listed(listed, _pieces(numbers)), "<mask>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if vocab[token] != i)
        raise TokenizerError(f"{listed} names {twice[:100]!r} twice")
    return vocab, _merges(merged)


def _merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for line in _lines(path):
        first, *rest = line.split(" ")
        if line and not line.startswith("#version"):
            if len(rest) != 1:
                raise TokenizerError(f"{path} has a line {line[:100]!r}: a merge is two pieces with a space between")
            merges.append((first, rest[0]))
    return merges


def _pieces(path: Path) -> dict[str, str]:
    """GPT-2's pieces, by their numbers as text."""
    try:
        encoder = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(encoder, dict) or not all(type(number) is int for number in encoder.values()):
        raise TokenizerError(f"{path} is an object from pieces to numbers, and this is none")
    return {str(number): piece for piece, number in encoder.items()}


def _listed(path: Path, pieces: Mapping[str, str]) -> Iterator[str]:
    """The tokens of `dict.txt`: pieces, and what is no number as it is, such as madeupword0000."""
    for line in _lines(path):
        if not line:
            continue
        match = re.fullmatch(r"(\S+) [0-9]+", line)
        if not match:
            raise TokenizerError(
                f"{path} has a line {line[:100]!r}: a token and a count are wanted, as in '13 850314647'"
            )
        token = match[1]
        if token.isdecimal() and token not in pieces:
            raise TokenizerError(
                f"{path} names {token[:100]}, which is no number of encoder.json: they do not belong together"
            )
        yield pieces.get(token, token)


def _lines(path: Path) -> list[str]:
    return _text(path).split("\n")


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            raise TokenizerError(f"{path} has {size} bytes; at most {LARGEST_TEXT} are read")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(
            f"{path} cannot be read: {error.strerror}; fairseq's vocabulary is in {', '.join(VOCABULARY)}"
        ) from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is no text in UTF-8: {error}") from error
