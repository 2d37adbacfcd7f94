"""From a path to the arrays of a checkpoint: which of its files, and in which format.

A file's kind is known by its content, for anything may be called `model.bin`. What a format implies beside its arrays,
such as the sizes among fairseq's arguments, stands in their `config`.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from ..config import FAMILIES, HEADS, Config
from ..errors import ConfigError, NotFoundError, WeightsError
from ..weights import BUFFERS, PREFIXES, Shape, canonical_names, shapes, untangle_lm_bias
from .arrays import Arrays, Renamed, as_stored
from .files import inside, read_json
from .formats import safetensors

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
"""What a directory may call its weights, the best first: of Hugging Face, KerasHub and fairseq."""

MOST_SHARDS = 100

INDEX = ".index.json"
"""What the name of an index of shards has behind the name that the whole would have."""

# --- one file -------------------------------------------------------------------------------------------------------


def read(path: Path) -> Arrays:
    """The arrays of a checkpoint: a directory, whole or in shards, or one file. Raises NotFoundError, WeightsError."""
    if path.suffix == ".json":
        raise WeightsError(f"{path} holds no weights: give its directory, or a weights file beside it")
    if path.is_file():
        return read_file(path)
    if not path.is_dir():
        raise NotFoundError(f"{path} is neither a directory nor a file with weights")
    for name in FILES:
        if (path / name).is_file():
            return read_file(inside(path, name, WeightsError))
        if (path / (name + INDEX)).is_file():
            return _read_shards(path / (name + INDEX))
    endings = (".safetensors", ".bin", ".h5", ".msgpack", ".pt")
    others = ", ".join(sorted(p.name for p in path.iterdir() if p.suffix in endings))
    hint = f"; it has {others}: give the path of the file you mean" if others else ""
    raise NotFoundError(f"{path} holds no weights: neither {', '.join(FILES[:-1])} nor {FILES[-1]}{hint}")


def read_file(path: Path) -> Arrays:
    """The arrays of one file, of whatever format its first bytes are. Raises WeightsError."""
    start = _start(path)
    if start[:4] == b"PK\x03\x04":
        return _read_pytorch(path)
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return _read_hdf5(path)
    # A safetensors file begins with the length of its header, whose first byte may be that of anything.
    if int.from_bytes(start, "little") <= safetensors.LARGEST_HEADER:
        return _read_safetensors(path)
    if start[0] == 0x80 and start[1] in PROTOCOLS:
        return _read_pytorch(path)
    if start[0] in MAPS:
        from .formats import flax

        return flax.File(path)
    if start == b"version ":  # of Git LFS, which the message knows
        return _read_safetensors(path)
    raise WeightsError(f"{path} is in no format that is read here: it begins with {start!r}, as no weights do")


PROTOCOLS = range(2, 6)
"""The second byte of a pickle, after 0x80."""

MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)
"""The first byte of a map in msgpack."""


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
    arrays = file.within(_state_dict(file.content))
    wrapper = next((x for x in WRAPPERS if all(name.startswith(x) for name in arrays)), "")
    return Renamed(arrays, {name.removeprefix(wrapper): (name, as_stored) for name in arrays}) if wrapper else arrays


STATES = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the weights, beside what else they save."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What stands before all names of a model that was saved with what was around it: of several devices, or compiled."""


def _state_dict(content: Any) -> Any:
    for name in STATES:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            return content[name]
    return content


def _read_hdf5(path: Path) -> Arrays:
    from .formats import hdf5, keras, tensorflow

    file = hdf5.File(path)
    if any(name.startswith("layers/") for name in file):
        return keras.Preset(path)  # of which this may be one file of two
    return tensorflow.File(file)


# --- several --------------------------------------------------------------------------------------------------------


class Shards(Arrays):
    """The arrays of several files: for each name the file that holds it."""

    def __init__(self, path: Path, files: Mapping[str, Arrays]) -> None:
        self._entries = files
        self.format = next((file.format for file in files.values()), "shards")
        self.path, self.size = path, sum({file.path: file.size for file in files.values()}.values())

    def __getitem__(self, name: str) -> numpy.ndarray:
        return self._entries[name][name]

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in its file."""
        return self._entries[name].stored(name)


def _read_shards(index: Path) -> Shards:
    weight_map = read_json(index, WeightsError).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise WeightsError(f"{index} has no weight_map from names to files")
    if len(set(weight_map.values())) > MOST_SHARDS:
        raise WeightsError(f"{index} names more than {MOST_SHARDS} shards")
    ending = Path(index.name.removesuffix(INDEX)).suffix
    files: dict[str, Arrays] = {}
    beside = {path.name for path in index.parent.iterdir()}
    for file in sorted(set(weight_map.values())):
        if Path(file).name != file or "\\" in file or not file.endswith(ending):
            raise WeightsError(f"{index} names {file[:200]!r}: a shard is a {ending} file beside it")
        if file not in beside:
            raise NotFoundError(f"{index} names {file[:200]!r}, which is not there: fetch the checkpoint again")
        files[file] = read_file(inside(index.parent, file, WeightsError))
    if ending in (".h5", ".msgpack"):  # whose names are others in the index
        return Shards(index, {name: file for file in files.values() for name in file})
    for name, file in weight_map.items():
        if name not in files[file]:
            raise WeightsError(f"{index} says that {file} holds {name}, which it does not")
    return Shards(index, {name: files[file] for name, file in weight_map.items()})


# --- the configuration ----------------------------------------------------------------------------------------------


def read_config(directory: Path) -> Config:
    """The Config of a directory's `config.json`. Raises ConfigError, NotFoundError."""
    return Config.from_dict(read_json(directory / "config.json", ConfigError))


def config_of(path: Path, arrays: Arrays) -> Config:
    """The Config of a checkpoint: what its format implies, or the `config.json` beside it; its names decide the family.

    Raises ConfigError, NotFoundError.
    """
    if arrays.config is not None:
        return Config.from_dict(arrays.config)
    return of_names(read_config(path.parent if path.is_file() else path), arrays)


def of_names(config: Config, names: Arrays) -> Config:
    """The configuration with the family whose norms the names have, where that is not its own."""
    held = {next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name) for name in names}
    norms = {kind: family.own_name("encoder.layer.0.output.LayerNorm.weight") for kind, family in FAMILIES.items()}
    kinds = [kind for kind, norm in norms.items() if norm in held]
    if not kinds or config.model_type in kinds:
        return config
    warnings.warn(
        f"model_type is {config.model_type!r}, but the weights have the names of {kinds[0]!r}, and are taken as such",
        stacklevel=4,
    )
    return config.replace(model_type=kinds[0])


# --- an overview ---


def inventory(file: Arrays, config: Config) -> tuple[dict[str, Shape], list[str]]:
    """The parameters that a file holds, and the names of what no model of this configuration uses.

    Parameters are given with their shapes, under canonical names and in the order of the data's way, whatever head they
    belong to; tied ones once. Raises WeightsError where two names are one weight.
    """
    names = canonical_names(file, config)
    untangle_lm_bias(names, file)
    if config.tie_word_embeddings:
        names.pop("lm_head.decoder.weight", None)
    known = [name for head in HEADS for name in shapes(config, head)]
    held = {name: file.stored(names[name])[1] for name in known if name in names}
    return held, [own for name, own in names.items() if name not in held and not BUFFERS.search(name)]
