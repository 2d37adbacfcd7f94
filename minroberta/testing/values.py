"""Named values of a port: read from files, recorded from a live model, and brought under minroberta's names."""

import contextlib
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import to_host
from ..checkpoints.formats import safetensors
from ..config import Family
from ..errors import BackendError, InputError, NameUnknownError, NotFoundError
from ..weights import PREFIXES

Values = Mapping[str, Any]
"""Arrays by name."""

Names = str | Mapping[str, str | None] | Callable[[str], str | None]
"""How foreign names become ours: one of `NAMES`; a dict, whose keys may be patterns of `re`; a function."""

# --- from files -----------------------------------------------------------------------------------------------------

LARGEST = 2**30
"""Bytes that any archive may unpack to; a larger one's arrays may take so many times as much as the file:"""
LARGEST_RATIO = 10


def read(path: str | Path) -> dict[str, numpy.ndarray]:
    """The arrays of an `.npz` file, a safetensors file, or a directory of `.npy` files, by their names.

    A file `encoder.layer.0.npy` holds the value `encoder.layer.0`. No file can run code, or unpack to much more than it
    is.

    Raises NotFoundError, InputError for a file that holds something else, WeightsError for a damaged safetensors file.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise NotFoundError(f"the directory {path} holds no .npy file")
        return {file.stem: _array(file) for file in files}
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    if path.suffix == ".npy":
        return {path.stem: _array(path)}
    if path.suffix == ".npz":
        return dict(_archive(path))
    return dict(safetensors.File(path).items())


def _array(path: Path) -> numpy.ndarray:
    """One array, mapped from its file."""
    if not path.is_file():
        raise InputError(f"{path} is no file")
    try:
        return numpy.lib.format.open_memmap(path, mode="r")  # knows no pickles, and no archives
    except Exception as error:  # NumPy's own, of many kinds
        raise InputError(f"{path} holds no array of numbers, as numpy.save writes it: {error}") from error


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
    except Exception as error:  # zipfile's, zlib's and NumPy's own, of many kinds
        raise InputError(f"{path} holds no arrays of numbers, as numpy.savez writes them: {error}") from error


def _check_archive(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what would take more memory than its entries say, or say more than a file of its size should."""
    names = Counter(entry.filename for entry in entries)
    if names and names.most_common(1)[0][1] > 1:
        raise InputError(f"{path} holds {names.most_common(1)[0][0]} twice: an archive holds each array once")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise InputError(f"{path} is compressed as NumPy never does: write it with numpy.savez or savez_compressed")
    size, limit = sum(entry.file_size for entry in entries), max(LARGEST, LARGEST_RATIO * path.stat().st_size)
    if size > limit:
        raise InputError(f"{path} would unpack to {size:,} bytes, where a file like it may hold {limit:,}: split it")


# --- from a live model ----------------------------------------------------------------------------------------------


def record(model: Any, /, *arguments: Any, **inputs: Any) -> dict[str, numpy.ndarray]:
    """The output of every module of a live torch module, or every layer of a Keras model, by its name.

        compare(trace(reference, **inputs), record(port, **inputs))

    The model is called with the arguments and inputs, arrays of NumPy's becoming torch's, as for inference: without
    dropout and gradients. A module that is called again gives `name#2`, and of an output that is several the first
    stands under the module's name, the others under `name.1` and so on. The fields of the whole's output have their own
    names, such as `logits` or `hidden_states.0`; an output without fields is called `output`.

    Raises BackendError for what is neither, or where its library has not been imported.
    """
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.layers.Layer):  # with torch below Keras, it is a module as well
        recording = Recording(lambda x: keras.ops.convert_to_numpy(x) if keras.ops.is_tensor(x) else None)
        with _watched_layers(model, recording):
            recording.finish(model(*arguments, **inputs))
    elif torch is not None and isinstance(model, torch.nn.Module):
        device = next((x.device for x in model.parameters()), None)
        tensors = {name: _to_torch(torch, x, device) for name, x in inputs.items()}
        recording = Recording(lambda x: _from_torch(x) if isinstance(x, torch.Tensor) else None)
        with torch.no_grad(), _inferring(model), _watched_modules(model, recording):
            recording.finish(model(*(_to_torch(torch, x, device) for x in arguments), **tensors))
    else:
        raise BackendError(f"record takes a torch module or a Keras model, not {type(model).__name__}")
    return recording.values


class Recording:
    """What modules gave, by name, in the order in which they were done.

    to_numpy: the array of a tensor, or None for what is none.
    """

    def __init__(self, to_numpy: Callable[[Any], numpy.ndarray | None]) -> None:
        self.values: dict[str, numpy.ndarray] = {}
        self._to_numpy, self._calls = to_numpy, Counter[str]()

    def keep(self, name: str, output: Any) -> None:
        """The output of a module."""
        self._calls[name] += 1
        if self._calls[name] > 1:
            name = f"{name}#{self._calls[name]}"
        for ending, tensor in _tensors(output):
            self._keep(name + ending, tensor)

    def finish(self, output: Any) -> None:
        """The output of the whole."""
        if not isinstance(output, Mapping):
            self.keep("output", output)
            return
        for name, value in output.items():
            several = isinstance(value, tuple)
            for place, tensor in enumerate(value if several else [value]):
                self._keep(f"{name}.{place}" if several else name, tensor)

    def _keep(self, name: str, tensor: Any) -> None:
        array = self._to_numpy(tensor)
        if array is not None:
            self.values[name] = array.copy()  # what follows may write into it


def _tensors(output: Any) -> Iterator[tuple[str, Any]]:
    """The first tensor of an output, and with an ending those beside it; what lies deeper other modules gave."""
    if not isinstance(output, tuple | list | Mapping):
        yield "", output
        return
    first, *others = [*(output.values() if isinstance(output, Mapping) else output)] or [None]
    yield next(_tensors(first))
    yield from ((f".{place}", other) for place, other in enumerate(others, 1))


def _to_torch(torch: Any, value: Any, device: Any) -> Any:
    return torch.as_tensor(value, device=device) if isinstance(value, numpy.ndarray) else value


def _from_torch(tensor: Any) -> numpy.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


@contextlib.contextmanager
def _inferring(module: Any) -> Iterator[None]:
    """Without dropout, and afterwards as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


COMPILED = "_orig_mod"
"""What torch.compile calls the module that it wraps."""


@contextlib.contextmanager
def _watched_modules(module: Any, recording: Recording) -> Iterator[None]:
    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda _, __, output: recording.keep(name, output)

    hooks = [
        part.register_forward_hook(keep(name.replace(f"{COMPILED}.", "")))
        for name, part in module.named_modules()
        if name and not name.endswith(COMPILED)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _watched_layers(model: Any, recording: Recording) -> Iterator[None]:
    """Keras has no hooks: while this lasts, each layer has a `call` of its own that tells."""

    def telling(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def call_and_tell(*arguments: Any, **inputs: Any) -> Any:
            output = call(*arguments, **inputs)
            recording.keep(name, output)
            return output

        return call_and_tell

    layers = {id(layer): (name, layer) for name, layer in reversed(list(_layers(model)))}  # by the first of its names
    for name, layer in layers.values():
        vars(layer)["call"] = telling(name, layer.call)
    try:
        yield
    finally:
        for _, layer in layers.values():
            del vars(layer)["call"]


def _layers(layer: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The layers within a layer, at any depth, under their names."""
    for part in layer._flatten_layers(include_self=False, recursive=False):
        yield place + part.name, part
        yield from _layers(part, f"{place}{part.name}.")


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
    r"|dropout|classifier\.dropout|encoder\.layer\.\d+(\.(cross)?attention)?\.\d": None,
}
"""Modules of Hugging Face's, versions 4 and 5, that only pass a value on, and outputs that are values of modules."""

KERAS_HUB = {
    r"embeddings\.token_embedding": "embeddings.word_embeddings",
    r"embeddings\.position_embedding": None,  # a converted model's have token types in them, which KerasHub has not
    r"embeddings": "embeddings.sum",
    r"embeddings_layer_norm": "embeddings.LayerNorm",
    r"embeddings_dropout": "embeddings",
    r"transformer_layer_(\d+)\.self_attention_layer\.(query|key|value)": r"encoder.layer.\1.attention.self.\2",
    r"transformer_layer_(\d+)\.self_attention_layer\.softmax(_\d+)?": r"encoder.layer.\1.attention.self.probs",
    r"transformer_layer_(\d+)\.self_attention_layer\.attention_output": r"encoder.layer.\1.attention.output.dense",
    r"transformer_layer_(\d+)\.self_attention_layer_norm": r"encoder.layer.\1.attention.output.LayerNorm",
    r"transformer_layer_(\d+)\.feedforward_intermediate_dense": r"encoder.layer.\1.intermediate",  # with its activation
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
"""Layers of the models of KerasHub and keras-nlp, whose `logits` are called so here too."""

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
"""Modules of fairseq's RobertaModel, whose attention is one call: its queries, keys and values pass no module."""


class Framework(NamedTuple):
    """How a framework's own model calls its values, and how they lie.

    start: a pattern of what may stand before the names; names: patterns of theirs, and Roberta's names with us, or None
    for what only passes a value on; arranged: of one of our names and its value, the value in our layout.
    """

    start: str
    names: Mapping[str, str | None]
    arranged: Callable[[str, numpy.ndarray], numpy.ndarray]

    def table(self) -> dict[str, str | None]:
        """Its names from their start."""
        return {f"{self.start}(?:{theirs})": ours for theirs, ours in self.names.items()}


def _as_it_is(name: str, value: numpy.ndarray) -> numpy.ndarray:
    return value


def _heads_merged(name: str, value: numpy.ndarray) -> numpy.ndarray:
    """Queries, keys and values from (B, L, H, E) to (B, L, D)."""
    split = name.endswith((".query", ".key", ".value")) and value.ndim == 4
    return value.reshape(*value.shape[:2], -1) if split else value


def _batch_first(name: str, value: numpy.ndarray) -> numpy.ndarray:
    """What the layers and the norm after them give, from (L, B, ...) to (B, L, ...)."""
    return value.swapaxes(0, 1) if name == "LayerNorm" or name.startswith("encoder.layer.") else value


NAMES = {
    "huggingface": Framework("", {}, _as_it_is),  # whose names are ours
    "keras_hub": Framework(r"(?:\w+_backbone(?:_\d+)?\.)?", KERAS_HUB, _heads_merged),
    "fairseq": Framework(r"(?:encoder\.(?:sentence_encoder\.)?)?", FAIRSEQ, _batch_first),
}
"""The frameworks whose names are known. Hugging Face's need not be asked for."""


def under_our_names(values: Values, names: Names | None, family: Family | None = None) -> dict[str, numpy.ndarray]:
    """The values under minroberta's names, and in its layout.

    names: see `Names`; what it maps to None is left out, and what a dict does not know keeps its name. Then the base
    model's prefix goes, and so do Hugging Face's modules that only pass a value on. family: the one whose names to take
    in place of Roberta's.

    Raises InputError for what is no array of numbers, and for two values of one name; NameUnknownError for a framework
    that is not known.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"values are a mapping from names to arrays, as record gives, not {type(values).__name__}")
    framework = _framework(names if isinstance(names, str) else "huggingface")
    table = framework.table() if isinstance(names, str | None) else names
    modules: dict[str, numpy.ndarray] = {}
    passed_on: dict[str, numpy.ndarray] = {}
    named = _named(values, table)
    last = _last_state(named) if family and family.final_norm else None
    for given, foreign in named.items():
        plain = _without_base(given)
        name = None if plain == last else _of_module(plain)
        if name is None:
            continue
        ours, kind = _of_family(name, family), modules if name == plain else passed_on
        if kind is modules and ours in modules:
            raise InputError(f"{foreign} is {ours}, which there is already: leave one of the two out")
        kind[ours] = framework.arranged(name, numbers(foreign, values[foreign]))
    return {**passed_on, **modules}


def _last_state(names: Iterable[str]) -> str | None:
    """The last of the `hidden_states`, which some versions give before a last norm, and others behind it."""
    counts = [int(found[1]) for name in names if (found := re.fullmatch(r"hidden_states\.(\d+)", name))]
    return f"hidden_states.{max(counts)}" if counts else None


def _framework(name: str) -> Framework:
    if name not in NAMES:
        raise NameUnknownError(f"names is one of {', '.join(NAMES)}, or a dict from your names to ours, not {name!r}")
    return NAMES[name]


def _named(values: Values, names: Mapping[str, str | None] | Callable[[str], str | None]) -> dict[str, str]:
    """What the user's names make of each name, and that name. Raises InputError where two would be one."""
    result: dict[str, str] = {}
    for foreign in values:
        name = names(foreign) if callable(names) else _renamed(str(foreign), names)
        if name in result:
            raise InputError(f"names makes {name} of {result[name]} and of {foreign}: map one of the two to None")
        if name is not None:
            result[name] = foreign
    return result


def _renamed(name: str, names: Mapping[str, str | None]) -> str | None:
    """The name by a table, whose keys are names or patterns; without an entry as it is."""
    if name in names:
        return names[name]
    for pattern, ours in names.items():
        try:
            match = re.fullmatch(pattern, name)
            if match:
                return None if ours is None else match.expand(ours)
        except re.error as error:
            raise InputError(f"names has {pattern!r}: {ours!r}, which is no pattern of re: {error}") from error
    return name


def _without_base(name: str) -> str:
    """Without the base model's prefix; "" for what the base model gives as a whole."""
    for prefix in PREFIXES:
        if f"{name}.".startswith(prefix):
            rest = name[len(prefix) :]
            return "" if rest.isdecimal() else rest
    return name


def _of_module(name: str) -> str | None:
    """The module of Hugging Face's whose value this is; None for what we do not name."""
    later = re.fullmatch(r"hidden_states\.([1-9]\d*)", name)
    return f"encoder.layer.{int(later[1]) - 1}" if later else _renamed(name, HUGGINGFACE)


def _of_family(name: str, family: Family | None) -> str:
    """A family's own name for Roberta's, its last norm included."""
    if family is None:
        return name
    return family.final_norm if family.final_norm and name == "LayerNorm" else family.own_name(name)


def numbers(name: str, value: Any) -> numpy.ndarray:
    """A value as an array of numbers that NumPy knows."""
    try:
        array = _from_torch(value) if hasattr(value, "detach") else to_host(value)
    except ValueError as error:
        raise InputError(f"{name} is no array: {error}") from error
    if array.dtype.name == "bfloat16":
        return array.astype(numpy.float32)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype}, where values are arrays of real numbers")
    return array
