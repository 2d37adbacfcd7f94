"""Reading a checkpoint by its path: choosing the file, recognising its format, and finding the configuration.

A file's format is recognised by its content, since any file may be called `model.bin`. Some formats, such as fairseq's,
also imply a configuration, which is the `config` attribute of the `Arrays` object.
"""

import math
import re
import reprlib
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import FAMILIES, HEADS, Config, family_of, merge
from ..errors import ConfigError, NotFoundError, WeightsError
from ..weights import BUFFERS, Shape, canonical_names, shapes, untangle_lm_bias, without_prefix
from . import unsupported
from .arrays import Arrays, Gathered
from .files import check_is_inside, directory_of, inside, read_json, start_inside
from .formats import safetensors
from .wrapped import unwrapped

# --- choosing the file ----------------------------------------------------------------------------------------------

FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.weights.h5",
    "model.pt",
    "checkpoint_best.pt",
    "checkpoint_last.pt",
    "checkpoint.pt",
)
"""The usual names of weights files (Hugging Face, KerasHub, fairseq). The first that exists in a directory is read."""

INDEX = ".index.json"
"""The ending of an index of shards, as in `model.safetensors.index.json`."""

VARIANT = re.compile(
    r"(model|pytorch_model)\.(?P<of_file>[A-Za-z]\w*)\.(safetensors|bin)"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.(?P<of_index>[A-Za-z]\w*)\.json"
)
"""A weights file, or an index of shards, that transformers saved with `variant=`, such as `model.fp16.safetensors`."""

SHARD = re.compile(r".+-\d{5}-of-\d{5}\.(safetensors|bin|h5|msgpack)")
"""A part of a checkpoint, which cannot be loaded alone."""


def read(path: Path, root: Path | None = None) -> Arrays:
    """Read the arrays of a checkpoint, from a weights file or from a directory with a weights file or shards.

    root: the directory that the files must be in. By default, it is `path`; if that is a file, which the user named, it
    may be anywhere. Raises NotFoundError, WeightsError.
    """
    return unwrapped(read_raw(path, root))


def read_raw(path: Path, root: Path | None = None) -> Arrays:
    """Read the arrays of a checkpoint as `read` does, but keep the names that they have in the file."""
    arrays = _read_path(path, root)
    _check_size(arrays)
    unsupported.check_names(arrays)
    return arrays


def has_weights(directory: Path) -> bool:
    """True if a directory has a weights file, or an index of shards, of a usual name."""
    return any((directory / name).is_file() for file in FILES for name in (file, file + INDEX))


def _read_path(path: Path, root: Path | None) -> Arrays:
    if path.is_file() and path.name.endswith(".json") and ".index." in path.name:
        return _read_shards(path, root or path.parent)
    if path.suffix == ".json":
        raise WeightsError(f"{path} holds no weights: give its directory, or a weights file next to it")
    if path.is_file():
        return read_file(path) if root is None else _read_inside(path, root)
    if not path.is_dir():
        raise NotFoundError(f"{path} is neither a directory nor a weights file: check the path")
    for name in FILES:
        if (path / name).is_file():
            return _read_inside(path / name, root or path)
        if (path / (name + INDEX)).is_file():
            return _read_shards(path / (name + INDEX), root or path)
    return _read_another(path, root or path)


def _read_another(path: Path, root: Path) -> Arrays:
    """Read the variant in a directory that has none of `FILES`. Raises NotFoundError."""
    names = sorted(child.name for child in path.iterdir() if child.is_file())
    if variant := only_variant(names):
        warnings.warn(f"{path} has no weights other than the variant {variant}, which is read", stacklevel=4)
        return _read_path(path / variant, root)
    start = f"{path} holds no weights: it has none of {', '.join(FILES)}"
    advice = _advice(path, names)
    raise NotFoundError(f"{start}. {advice}" if advice else start)


def _advice(path: Path, names: list[str]) -> str | None:
    """Advice that says what a directory holds instead of weights with a usual name; None if nothing is found."""
    variants, shards = variants_in(names), [name for name in names if SHARD.fullmatch(name)]
    if shards and not variants:
        index = next(file for file in FILES if file.endswith(Path(shards[0]).suffix)) + INDEX
        return (
            f"It has shards, such as {shards[0]}, but no index that lists them, such as {index}: download that as well"
        )
    others = variants or [name for name in names if _is_readable(path, name)]
    if others:
        return f"It has {', '.join(others)}: give the path of one of these files"
    return unsupported.description(path) or _advice_on_folders(path)


def _advice_on_folders(path: Path) -> str | None:
    """Advice to give a folder with weights, such as a checkpoint of a training run or a snapshot in the hub's cache."""
    children = (child for pattern in ("*", "snapshots/*") for child in path.glob(pattern))
    folders = sorted(child.relative_to(path).as_posix() for child in children if child.is_dir() and has_weights(child))
    if not folders:
        return None
    listed = textwrap.shorten(", ".join(folders), 200, placeholder=" …")
    return f"There are weights in its folders {listed}: give the path of one of these folders"


def variants_in(names: Iterable[str]) -> list[str]:
    """The names of variants among the names of a directory's files; of a variant in shards, the name of its index."""
    return sorted(name for name in names if VARIANT.fullmatch(name))


def only_variant(names: Iterable[str]) -> str | None:
    """The name of the only variant among the names of a directory's files, or None if there is not exactly one.

    If the variant is there in both formats, the name is that of the safetensors file.
    """
    found = variants_in(names)
    kinds = {match["of_file"] or match["of_index"] for match in map(VARIANT.fullmatch, found) if match}
    return found[0] if len(kinds) == 1 else None


def shards_of(variant: str) -> str:
    """The pattern of the shards of a variant, such as `model.fp16-*-of-*.safetensors`; its name if it is one file."""
    name, is_index, kind = variant.removesuffix(".json").partition(".index.")
    return f"{Path(name).stem}.{kind}-*-of-*{Path(name).suffix}" if is_index else variant


def _is_readable(directory: Path, name: str) -> bool:
    """True if a file's name is that of weights, and its first bytes are those of a supported format."""
    ending = Path(name).suffix
    others = {".msgpack": bytes(MAPS), ".h5": b"\x89", ".bin": b"P\x80", ".pt": b"P\x80", ".ckpt": b"P\x80"}
    if ending not in (".safetensors", *others) or unsupported.is_not_a_model(name):
        return False
    start = start_inside(directory, name)[:8]
    if ending == ".safetensors":
        return len(start) == 8 and int.from_bytes(start, "little") <= safetensors.LARGEST_HEADER
    return len(start) > 0 and start[0] in others[ending]


LARGEST_RATIO = 8
"""Largest allowed ratio of the size of all arrays, as float32, to the size of their file.

A file of int8 arrays has the ratio 4.
"""


def _check_size(arrays: Arrays) -> None:
    """Raise WeightsError if the arrays are much larger than the file: then many of them share the same bytes."""
    count = sum(math.prod(arrays.stored(name)[1]) for name in arrays)
    if 4 * count > LARGEST_RATIO * arrays.size + 2**20:
        raise WeightsError(
            f"{arrays.path} has only {arrays.size} bytes for {reprlib.repr(count)} elements, so "
            "its arrays share the same bytes, which is not allowed: save each array separately"
        )


def _read_inside(path: Path, root: Path) -> Arrays:
    """The arrays of a file in a directory. Raises the errors of `inside` for the file that was opened."""
    inside(root, str(path.relative_to(root)), WeightsError)
    arrays = read_file(path)
    for file in arrays.maps:  # a KerasHub preset may have two
        check_is_inside(file.descriptor, root, str(file.path.relative_to(root)), WeightsError)
    return arrays


# --- recognising the format -----------------------------------------------------------------------------------------


def read_file(path: Path) -> Arrays:
    """Read the arrays of one file, in the format that its first bytes indicate. Raises WeightsError."""
    start = _start(path)
    if not start:
        raise WeightsError(f"{path} is empty: download or save it again")
    if start[:4] == b"PK\x03\x04":
        return _read_pytorch(path)
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return _read_hdf5(path)
    # A safetensors file begins with the length of its header, whose first byte may have any value.
    if int.from_bytes(start, "little") <= safetensors.LARGEST_HEADER:
        return _read_safetensors(path)
    if start[0] == 0x80 and start[1] in PROTOCOLS:
        return _read_pytorch(path)
    if start[0] in MAPS:
        from .formats import flax

        return flax.File(path)
    if start == b"version ":  # a Git LFS pointer, which the message of safetensors explains
        return _read_safetensors(path)
    formats = "safetensors, PyTorch, HDF5, Flax"
    advice = ", as a web page does: download the file itself" if start[:1] == b"<" else ""
    raise WeightsError(f"{path} is not in a supported format ({formats}): it begins with {start!r}{advice}")


PROTOCOLS = range(2, 6)
"""The possible values of the second byte of a pickle, its protocol. The first byte is 0x80."""

MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)
"""The possible values of the first byte of a MessagePack map."""


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


def _read_safetensors(path: Path) -> Arrays:
    file = safetensors.File(path)
    if file.metadata.get("format") != "tf":
        return file
    from .formats import tensorflow

    return tensorflow.from_safetensors(file)


def _read_pytorch(path: Path) -> Arrays:
    from .formats import fairseq, pytorch

    file = pytorch.File(path)
    if fairseq.is_fairseq(file.content):
        return fairseq.Checkpoint(file)
    return file.within(_state_dict(file.content))


STATES = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts save the weights, in a dict with the rest of the training state."""


def _state_dict(content: Any) -> Any:
    for name in STATES:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            return content[name]
    return content


def _read_hdf5(path: Path) -> Arrays:
    from .formats import hdf5, keras, tensorflow

    file = hdf5.File(path)
    if any(name.startswith("layers/") for name in file):
        return keras.Preset(path)  # this may be one of the preset's two files
    return tensorflow.File(file)


# --- shards ---------------------------------------------------------------------------------------------------------

MOST_SHARDS = 100


def _read_shards(index: Path, root: Path) -> Gathered:
    weight_map = read_json(index, WeightsError, root=root).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise WeightsError(f"{index} must have a weight_map from weight names to file names")
    names = sorted(set(weight_map.values()))
    if len(names) > MOST_SHARDS:
        raise WeightsError(f"{index} names more than {MOST_SHARDS} shards, which is the limit")
    ending = Path(index.name.partition(".index.")[0]).suffix
    files: dict[str, Arrays] = {}
    present = {path.name for path in index.parent.iterdir()}
    _check_distinct(index, [index.parent / file for file in names if file in present])
    for file in names:
        if Path(file).name != file or "\\" in file or not file.endswith(ending):
            raise WeightsError(f"{index} names {file[:200]!r}: a shard must be a {ending} file next to the index")
        if file not in present:
            raise NotFoundError(f"{index} names {file[:200]!r}, which is missing: download the checkpoint again")
        files[file] = _read_inside(index.parent / file, root)
        if sum(part.work for arrays in files.values() for part in arrays.maps) > 1:
            raise WeightsError(f"{index} names shards whose headers are together larger than that of one file may be")
    if ending in (".h5", ".msgpack"):  # the index has the framework's names
        return Gathered(index, files.values(), {name: (file, name) for file in files.values() for name in file})
    for name, file in weight_map.items():
        if name not in files[file]:
            raise WeightsError(f"{index} says that {file} holds {name}, but it does not")
    return Gathered(index, files.values(), {name: (files[file], name) for name, file in weight_map.items()})


def _check_distinct(index: Path, shards: Iterable[Path]) -> None:
    """Raise WeightsError if two shards are links to one file, which would be read again and again."""
    found: dict[tuple[int, int], Path] = {}
    for path in filter(Path.is_file, shards):
        status = path.stat()
        other = found.setdefault((status.st_dev, status.st_ino), path)
        if other is not path:
            raise WeightsError(f"{index} names {other.name[:100]!r} and {path.name[:100]!r}, which are the same file")


# --- the configuration ----------------------------------------------------------------------------------------------


def config_of(path: Path, arrays: Arrays, root: Path | None = None) -> Config:
    """The Config of a checkpoint, made from `fields_of`. Raises ConfigError, NotFoundError."""
    return Config.from_dict(fields_of(path, arrays, root))


def fields_of(path: Path, arrays: Arrays, root: Path | None = None) -> dict[str, Any]:
    """The fields of a checkpoint's configuration, as implied by its format or read from its `config.json`.

    root: the directory that the file must be in, by default that of the checkpoint. If the `model_type` does not fit
    the names of the weights, it is replaced. Raises ConfigError, NotFoundError.
    """
    if arrays.config is not None:
        return _with_changes(dict(arrays.config), arrays.changes)
    directory = arrays.directories[-1] if arrays.directories else directory_of(path)
    root = arrays.root if arrays.directories else root
    fields = _with_family(read_json(directory / "config.json", ConfigError, root=root), arrays)
    return _with_changes(fields, arrays.changes)


def _with_changes(fields: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with an adapter's changes. With a new number of labels, the labels of the base's tasks are dropped."""
    if "num_labels" in changes:
        fields = {name: value for name, value in fields.items() if name != "task_specific_params"}
    result = merge(fields, changes)
    family = FAMILIES.get(str(fields.get("model_type")))
    if family and "architectures" in changes:
        result["architectures"] = [family.architecture + ending for ending in changes["architectures"]]
    return result


def _with_family(fields: dict[str, Any], names: Arrays) -> dict[str, Any]:
    """The fields, with a known `model_type` replaced if the norms are named as in a different family."""
    held = {without_prefix(name) for name in names}
    norms = {kind: family.own_name("encoder.layer.0.output.LayerNorm.weight") for kind, family in FAMILIES.items()}
    kinds = [kind for kind, norm in norms.items() if norm in held]
    given = fields.get("model_type") or family_of(fields.get("architectures"))
    if not kinds or given in kinds or given not in list(FAMILIES):
        return fields
    warnings.warn(
        f"model_type is {given!r}, but the weights are named as in {kinds[0]!r}, which is used instead",
        stacklevel=4,
    )
    return merge(fields, {"model_type": kinds[0]})


# --- the inventory --------------------------------------------------------------------------------------------------


def inventory(file: Arrays, config: Config) -> tuple[dict[str, Shape], list[str]]:
    """The shapes of a file's parameters, and the names of arrays that no model with this configuration uses.

    The shapes are in a dict by canonical name, in the order of the forward pass, and include the parameters of every
    head. Tied parameters occur only once. Raises WeightsError if two names are for the same weight.
    """
    names = canonical_names(file, config)
    untangle_lm_bias(names, file)
    if config.tie_word_embeddings:
        names.pop("lm_head.decoder.weight", None)
    known = [name for head in HEADS for name in shapes(config, head)]
    held = {name: file.stored(names[name])[1] for name in known if name in names}
    return held, [stored for name, stored in names.items() if name not in held and not BUFFERS.search(name)]
