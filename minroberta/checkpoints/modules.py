"""The modules of a sentence-transformers repository: which there are, and in which folders their files are.

`modules.json` lists the modules in the order in which they are computed. The first is the model itself, whose files are
in the repository's directory, or in older repositories in a folder such as `0_Transformer`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError
from .files import folder_inside, read_any_json

LIST = "modules.json"
SETTINGS = "config_sentence_transformers.json"
MODEL_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""The names of the model's settings in the versions of sentence-transformers. The first that exists is read."""

MODELS = ("Transformer", "RoBERTa", "XLMRoBERTa", "CamemBERT")
"""The classes of the first module: the model itself."""

WITH_CONFIG = ("Pooling", "Dense", "LayerNorm")
WITH_WEIGHTS = ("Dense", "LayerNorm")
"""The classes of modules whose folders have a `config.json` and weights that are read."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")

MOST_MODULES = 20


class Module(NamedTuple):
    """A module of the list.

    kind: the name of its class, such as Pooling. path: its folder, or "" for the repository itself.
    """

    kind: str
    path: str


def read_list(directory: Path) -> list[Module]:
    """Read the modules from `modules.json`, or return an empty list if there is no such file. Raises ConfigError."""
    path = directory / LIST
    if not path.is_file():
        return []
    entries = read_any_json(path, ConfigError)
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_MODULES:
        raise ConfigError(f"{path} must hold a list of 1 to {MOST_MODULES} modules")
    return [_module(entry, path) for entry in entries]


def _module(entry: object, file: Path) -> Module:
    type_, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(type_, str) or not isinstance(path, str):
        raise ConfigError(f"{file} must have a type and a path, both strings, for each module")
    if not re.fullmatch(r"([\w-][\w. -]*)?", path):
        raise ConfigError(f"{file} has the path {path[:200]!r}: a path must be the name of a folder next to {LIST}")
    ours = type_.startswith("sentence_transformers.")
    return Module(type_.rpartition(".")[2] if ours else type_, path)


def model_folder(modules: list[Module]) -> str:
    """The folder of the model itself, or "" for the repository's directory."""
    return modules[0].path if modules and modules[0].kind in MODELS else ""


def model_directory(directory: Path) -> Path:
    """The directory that holds the model's configuration, weights and tokenizer. Raises ConfigError, NotFoundError."""
    folder = model_folder(read_list(directory))
    return folder_inside(directory, folder, ConfigError) if folder else directory
