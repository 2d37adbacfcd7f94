"""Hugging Face's TensorFlow models: `tf_model.h5`, and safetensors files with the metadata `format: tf`.

A weight is named after its module in PyTorch, but with slashes instead of dots, with `layer_._0` instead of `layer.0`,
and with `:0` at the end.
"""

from collections.abc import Mapping
from pathlib import Path

from ...errors import WeightsError
from ..arrays import Arrays, Renamed, View, as_stored, transposed
from .hdf5 import File as HDF5File

ENDINGS: dict[str, tuple[str, View]] = {
    "kernel": ("weight", transposed),  # (I, O)
    "embeddings": ("weight", as_stored),
    "gamma": ("weight", as_stored),
    "beta": ("bias", as_stored),
}
"""Endings of names that differ from PyTorch's, mapped to PyTorch's ending and the view of the array."""


class File(Renamed):
    """The arrays of a `tf_model.h5` or one of its shards, with PyTorch's names, such as `….output.dense.weight`.

    If a file is not a shard, each name in it begins with the names of a layer and of the model's class. If a layer
    repeats another layer's weights, as `lm_head` repeats the embeddings, the copies are left out. Raises WeightsError
    if two names are for the same weight.
    """

    def __init__(self, source: HDF5File) -> None:
        names = {name: _below(name) for name in source if _is_own(name)}
        held = set(names.values())
        names |= {name: _below(name) if names else name for name in source if _below(name) not in held}
        super().__init__(source, _entries(source.path, names))


def from_safetensors(source: Arrays) -> Renamed:
    """Rename the arrays of a safetensors file from TensorFlow's names to PyTorch's. Raises WeightsError."""
    return Renamed(source, _entries(source.path, {name: name for name in source}))


def _is_own(name: str) -> bool:
    """Return whether a weight is stored under its own layer, as `roberta/tf_roberta_model/roberta/…` is."""
    return name.count("/") > 1 and _below(name).partition("/")[0] == name.partition("/")[0]


def _below(name: str) -> str:
    """A weight's name without the leading names of the layer and the class."""
    return name.split("/", 2)[-1]


def _entries(path: Path, names: Mapping[str, str]) -> dict[str, tuple[str, View]]:
    """A dict from PyTorch's name for each weight to the name in the file and the view of the array.

    names: a dict from each name in the file to the same name without the layer and the class.
    """
    result: dict[str, tuple[str, View]] = {}
    for stored, below in names.items():
        *parts, last = below.removesuffix(":0").replace("_._", "/").split("/")
        ending, view = ENDINGS.get(last, (last, as_stored))
        name = ".".join([*parts, ending])
        if name in result:
            raise WeightsError(f"{path}: {result[name][0]} and {stored} are two names for the same weight: remove one")
        result[name] = stored, view
    return result
