"""Named values of a port: read from files, and translated to minroberta's names."""

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import to_host
from ..checkpoints.formats import safetensors
from ..config import Family
from ..errors import InputError, NameUnknownError, NotFoundError
from ..weights import PREFIXES

Values = Mapping[str, Any]
"""A mapping from names to arrays."""

Target = str | Sequence[str] | None
"""Our name for a port's value; or our name and the layout of the port's value, such as "b h l e"; or None."""

Names = str | Mapping[str, Target] | Callable[[str], Target]
"""Translation of port names to ours: one of `NAMES`, a function, or a dict whose keys may be regular expressions."""

# --- from files -----------------------------------------------------------------------------------------------------

LARGEST, LARGEST_RATIO = 2**30, 10
"""Limits on an archive's unpacked size, in bytes and as a multiple of the file's size: the larger one applies."""


def read(path: str | Path) -> dict[str, numpy.ndarray]:
    """The arrays of an `.npz` file, a safetensors file, or a directory of `.npy` files, by their names.

    A file `encoder.layer.0.npy` holds the value `encoder.layer.0`. Reading a file never runs code from it, and archives
    that would unpack to far more than their size are rejected.

    Raises NotFoundError; InputError for an `.npy` or `.npz` file that is not in NumPy's format; WeightsError for a
    damaged safetensors file, and for a file in another format.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise NotFoundError(f"the directory {path} holds no .npy file: write one for each value")
        return {file.stem: _array(file) for file in files}
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist: give an .npz or safetensors file, or a directory of .npy files")
    if path.suffix == ".npy":
        return {path.stem: _array(path)}
    if path.suffix == ".npz":
        return dict(_archive(path))
    return dict(safetensors.File(path).items())


def _array(path: Path) -> numpy.ndarray:
    """One array, memory-mapped."""
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    try:
        return numpy.lib.format.open_memmap(path, mode="r")  # refuses pickles and archives
    except Exception as error:  # NumPy raises errors of many kinds
        raise InputError(f"{path} is not a numeric array in the format that numpy.save writes: {error}") from error


def _archive(path: Path) -> Iterator[tuple[str, numpy.ndarray]]:
    """The arrays of an archive, read one by one."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(path, archive.infolist())
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    yield entry.filename.removesuffix(".npy"), numpy.lib.format.read_array(file, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise errors of many kinds
        raise InputError(
            f"{path} is not an archive of arrays in the format that numpy.savez writes: {error}"
        ) from error


def _check_archive(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Raise InputError for an archive that would unpack to far more than its size, or that NumPy did not write."""
    names = Counter(entry.filename for entry in entries)
    if names and names.most_common(1)[0][1] > 1:
        raise InputError(f"{path} holds {names.most_common(1)[0][0]} twice: write each array once")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise InputError(f"unsupported compression in {path}: write it with numpy.savez or savez_compressed")
    size, limit = sum(entry.file_size for entry in entries), max(LARGEST, LARGEST_RATIO * path.stat().st_size)
    if size > limit:
        raise InputError(
            f"{path} would unpack to {size:,} bytes; the limit for its file size is {limit:,}: split the archive"
        )


# --- names ----------------------------------------------------------------------------------------------------------


HUGGINGFACE = {
    r"embeddings\.dropout": "embeddings",
    r"(encoder\.layer\.\d+\.(?:cross)?attention\.self)\.(?:dropout|1)": r"\1.probs",
    r"(encoder\.layer\.\d+\..*output)\.dropout": r"\1.dense",
    r"(encoder\.layer\.\d+\.intermediate)\.intermediate_act_fn": r"\1",
    r"lm_head\.decoder": "lm_head",
    r"pooler\.activation": "pooler",
    r"classifier\.dropout#2": "classifier.tanh",
    r"hidden_states\.0": "embeddings",
    r"attentions\.(\d+)": r"encoder.layer.\1.attention.self.probs",
    r"cross_attentions\.(\d+)": r"encoder.layer.\1.crossattention.self.probs",
    r"|dropout|classifier\.dropout|encoder\.layer(\.\d+(\.(cross)?attention)?\.\d)?": None,
}
"""Our names for modules of transformers 4 and 5 that only pass on a value, and for outputs that repeat a value.

`encoder.layer` is a module of its Flax models.
"""

TENSORFLOW = {
    r"(.*)encoder\.layer_\._(\d+)\.attention\.self\.dropout(_\d+)?": r"\1encoder.layer.\2.attention.self.probs",
    r"(.*\.)?dropout(_\d+)?(#2)?": None,
    r"(.*)encoder\.layer_\._(\d+)(.*)": r"\1encoder.layer.\2\3",
    r"(.*\.)?pooler\.dense": None,  # tanh included, as in the pooler's output
    r"classifier\.dense": "classifier.tanh",
}
"""Layers of transformers' TensorFlow models, whose other names are ours. A dense layer includes its activation."""

KERAS_HUB = {
    r"embeddings\.token_embedding": "embeddings.word_embeddings",
    r"embeddings\.position_embedding": None,  # in a converted model these include the token type embeddings
    r"embeddings": "embeddings.sum",
    r"embeddings_layer_norm": "embeddings.LayerNorm",
    r"embeddings_dropout": "embeddings",
    r"transformer_layer_(\d+)\.self_attention_layer\.(query|key|value)": r"encoder.layer.\1.attention.self.\2",
    r"transformer_layer_(\d+)\.self_attention_layer\.softmax(_\d+)?": r"encoder.layer.\1.attention.self.probs",
    r"transformer_layer_(\d+)\.self_attention_layer\.attention_output": r"encoder.layer.\1.attention.output.dense",
    r"transformer_layer_(\d+)\.self_attention_layer_norm": r"encoder.layer.\1.attention.output.LayerNorm",
    r"transformer_layer_(\d+)\.feedforward_intermediate_dense": r"encoder.layer.\1.intermediate",  # activation included
    r"transformer_layer_(\d+)\.feedforward_output_dense": r"encoder.layer.\1.output.dense",
    r"transformer_layer_(\d+)\.feedforward_layer_norm": r"encoder.layer.\1.output.LayerNorm",
    r"transformer_layer_(\d+)": r"encoder.layer.\1",
    r"mlm_head\.intermediate_dense": "lm_head.gelu",
    r"mlm_head\.intermediate_layer_norm": "lm_head.layer_norm",
    r"\w+_backbone(_\d+)?": "encoder",
    r"mlm_head": "lm_head",
    r"pooled_dense": "classifier.tanh",
    r".*dropout(_\d+)?|.*\.self_attention_layer|.*#\d+|output": None,
}
"""Layers of KerasHub and keras-nlp models. Their `logits` have the same name in minroberta."""

FAIRSEQ = {
    r"embed_tokens": "embeddings.word_embeddings",
    r"embed_positions": "embeddings.position_embeddings",
    r"layernorm_embedding": "embeddings.LayerNorm",
    r"dropout_module": "embeddings",
    r"layers\.(\d+)\.self_attn": r"encoder.layer.\1.attention.output.dense",
    r"layers\.(\d+)\.self_attn_layer_norm": r"encoder.layer.\1.attention.output.LayerNorm",
    r"layers\.(\d+)\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"layers\.(\d+)\.activation_dropout_module": r"encoder.layer.\1.intermediate",
    r"layers\.(\d+)\.fc2": r"encoder.layer.\1.output.dense",
    r"layers\.(\d+)\.final_layer_norm": r"encoder.layer.\1.output.LayerNorm",
    r"layers\.(\d+)": r"encoder.layer.\1",
    r"layer_norm": "LayerNorm",
    r"lm_head": "lm_head",
    r"lm_head\.(dense|layer_norm)": r"lm_head.\1",
    r"classification_heads\.\w+\.dropout#2": "classifier.tanh",
    r"classification_heads\.\w+\.(dense|out_proj)": r"classifier.\1",
    r"classification_heads\.\w+": "classifier",
    r".*dropout(_module)?(#2)?|encoder|sentence_encoder|output": None,
}
"""Modules of fairseq's RobertaModel. Its attention is one call: no module outputs queries, keys or values."""


class Framework(NamedTuple):
    """The names and layouts of a framework's models.

    start: a pattern that matches the prefixes of names.
    names: a dict that maps patterns of the framework's names to our names for Roberta, or to None to leave a value out.
    arranged: a function that takes our name and the value, and returns the value in our layout.
    """

    start: str
    names: Mapping[str, str | None]
    arranged: Callable[[str, numpy.ndarray], numpy.ndarray]

    def table(self) -> "Table":
        """The translation of names, with their prefixes."""
        return {f"{self.start}(?:{theirs})": (ours, None) for theirs, ours in self.names.items()}


def _as_it_is(name: str, value: numpy.ndarray) -> numpy.ndarray:
    return value


def _heads_merged(name: str, value: numpy.ndarray) -> numpy.ndarray:
    """Merge the heads of queries, keys and values, from (B, L, H, E) to (B, L, D)."""
    split = name.endswith((".query", ".key", ".value")) and value.ndim == 4
    return value.reshape(*value.shape[:2], -1) if split else value


def _batch_first(name: str, value: numpy.ndarray) -> numpy.ndarray:
    """Transpose the values of the layers, and of the norm after them, from (L, B, ...) to (B, L, ...)."""
    return value.swapaxes(0, 1) if name == "LayerNorm" or name.startswith("encoder.layer.") else value


NAMES = {
    "huggingface": Framework("", {}, _as_it_is),  # its names are ours, or of `HUGGINGFACE`
    "tensorflow": Framework("", TENSORFLOW, _as_it_is),
    "keras_hub": Framework(r"(?:\w+_backbone(?:_\d+)?\.)?", KERAS_HUB, _heads_merged),
    "fairseq": Framework(r"(?:encoder\.(?:sentence_encoder\.)?)?", FAIRSEQ, _batch_first),
}
"""The frameworks whose names are known. Hugging Face is the default."""

REPEATED = Framework("", HUGGINGFACE, _as_it_is).table()


Table = Mapping[str, tuple[str | None, str | None]]
"""A translation of names: for each name or pattern, our name or None, and the layout or None."""


class Named(dict[str, numpy.ndarray]):
    """Values under minroberta's names. layouts: the layouts that `names` gives, by our names."""

    def __init__(self, both: Mapping[str, tuple[numpy.ndarray, str | None]]) -> None:
        super().__init__({name: array for name, (array, _) in both.items()})
        self.layouts = {name: layout for name, (_, layout) in both.items() if layout is not None}


def under_our_names(values: Values, names: Names | None, family: Family | None = None) -> Named:
    """The values under minroberta's names, and a framework's in its layout.

    names: see `Names`. A name that is mapped to None is left out; a name that a dict does not map is kept. A prefix
    that all names of embeddings and layers have is removed, and so is the base model's. Modules of Hugging Face that
    only pass a value on are renamed or left out.
    family: the family whose names to use instead of Roberta's.

    Raises InputError if a value is not an array of numbers, if two values get the same name, or if `names` is
    invalid; NameUnknownError for an unknown framework.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"invalid values of type {type(values).__name__}: give a mapping from names to arrays, such as `record` "
            "returns"
        )
    framework = _framework(names if isinstance(names, str) else "huggingface")
    targets = _targets(values, framework.table() if isinstance(names, str | None) else names)
    modules: dict[str, tuple[numpy.ndarray, str | None]] = {}
    passed_on: dict[str, tuple[numpy.ndarray, str | None]] = {}
    named = _without_wrapper(_named(targets))
    last = _last_state(named) if family and family.final_norm else None
    for given, foreign in named.items():
        plain = _without_base(given)
        name = None if plain == last else _of_module(plain)
        if name is None:
            continue
        ours, kind = _of_family(name, family), modules if name == plain else passed_on
        if kind is modules and ours in modules:
            raise InputError(f"{foreign} is a second value for {ours}: leave out one of them")
        kind[ours] = framework.arranged(name, numbers(foreign, values[foreign])), targets[foreign][1]
    return Named({**passed_on, **modules})


def _last_state(names: Iterable[str]) -> str | None:
    """The name of the last of the `hidden_states`: some versions return it before the final norm, others after it."""
    counts = [int(found[1]) for name in names if (found := re.fullmatch(r"hidden_states\.(\d+)", name))]
    return f"hidden_states.{max(counts)}" if counts else None


def _framework(name: str) -> Framework:
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise NameUnknownError(
            f"unknown value {name!r} for names: give one of {known}, or a dict that maps your names to minroberta's"
        )
    return NAMES[name]


def _targets(values: Values, names: Mapping[str, Any] | Callable[[str], Target]) -> Table:
    """Our name and the layout for each of the values."""
    if callable(names):
        return {foreign: _target(foreign, names(foreign)) for foreign in values}
    if not isinstance(names, Mapping):
        raise InputError(f"invalid `names` of type {type(names).__name__}: give a dict, a function, or a framework")
    table = {theirs: _target(theirs, given) for theirs, given in names.items()}
    return {foreign: _renamed(str(foreign), table) for foreign in values}


def _target(foreign: str, given: Any) -> tuple[str | None, str | None]:
    """Our name and the layout. Raises InputError if `names` gives something else."""
    name, layout = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
    if all(part is None or isinstance(part, str) for part in (name, layout)):
        return name, layout
    raise InputError(
        f"`names` maps {foreign} to {given!r}: give one of minroberta's names, None to leave it out, or a name and the "
        'layout of its axes, such as ("encoder.layer.0.attention.self.query", "b h l e")'
    )


def _named(targets: Table) -> dict[str, str]:
    """A dict that maps translated names to the user's. Raises InputError if two names have the same translation."""
    result: dict[str, str] = {}
    for foreign, (name, _) in targets.items():
        if name in result:
            raise InputError(f"`names` maps both {result[name]} and {foreign} to {name}: map one of them to None")
        if name is not None:
            result[name] = foreign
    return result


def _renamed(name: str, names: Table) -> tuple[str | None, str | None]:
    """The target of a name in a table whose keys are names or patterns; the name itself if no key matches."""
    if name in names:
        return names[name]
    for pattern, (ours, layout) in names.items():
        try:
            match = re.fullmatch(pattern, name)
            if match:
                return None if ours is None else match.expand(ours), layout
        except re.error as error:
            raise InputError(f"invalid pattern or replacement {pattern!r}: {ours!r} in `names`: {error}") from error
    return name, None


def _without_wrapper(named: Mapping[str, str]) -> dict[str, str]:
    """The names without the prefix of a module around the model, such as `0.auto_model.`, if all have the same."""
    found = {match[1] for name in named if (match := re.match(r"(.*?)(?:embeddings|encoder\.layer)\.", name))}
    prefix = found.pop() if len(found) == 1 else ""
    return {name.removeprefix(prefix): foreign for name, foreign in named.items()}


def _without_base(name: str) -> str:
    """The name without the base model's prefix; "" for an output of the whole base model."""
    for prefix in PREFIXES:
        if f"{name}.".startswith(prefix):
            rest = name[len(prefix) :]
            return "" if rest.isdecimal() else rest
    return name


def _of_module(name: str) -> str | None:
    """Our name for the output of a Hugging Face module; None if the output is left out."""
    later = re.fullmatch(r"hidden_states\.([1-9]\d*)", name)
    return f"encoder.layer.{int(later[1]) - 1}" if later else _renamed(name, REPEATED)[0]


def _of_family(name: str, family: Family | None) -> str:
    """Translate a name of Roberta to the family's own. `LayerNorm` becomes the name of the family's final norm."""
    if family is None:
        return name
    return family.final_norm if family.final_norm and name == "LayerNorm" else family.own_name(name)


def from_torch(tensor: Any) -> numpy.ndarray:
    """A tensor of torch as a NumPy array: bfloat16 as float32, nested tensors padded with 0."""
    tensor = tensor.detach().cpu()
    if getattr(tensor, "is_nested", False):  # rows of different lengths, as fused paths compute them
        tensor = tensor.to_padded_tensor(0.0)
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def numbers(name: str, value: Any) -> numpy.ndarray:
    """A value as a NumPy array of real numbers. Raises InputError if it cannot be converted."""
    try:
        array = from_torch(value) if hasattr(value, "detach") else to_host(value)
    except ValueError as error:
        raise InputError(f"{name} cannot be converted to an array: {error}") from error
    if array.dtype.name == "bfloat16":
        return array.astype(numpy.float32)
    if array.dtype.kind not in "biuf":
        raise InputError(f"unsupported dtype {array.dtype} of {name}: give an array of real numbers")
    return array
