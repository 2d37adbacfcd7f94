"""The description of a repository that sentence-transformers writes next to a model's own files.

`modules.json` lists the modules in the order in which they are computed. The first is the model itself, whose files are
in the repository's directory, or in older repositories in a folder such as `0_Transformer`.
`config_sentence_transformers.json` has settings for all of them together.
"""

import re
import reprlib
import textwrap
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from .files import directory_of, folder_inside, read_any_json, read_json

LIST = "modules.json"
SETTINGS = "config_sentence_transformers.json"
MODEL_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""The names of the model's settings in the versions of sentence-transformers. The first that exists is read."""

OUTPUTS = {
    "feature-extraction": ("last_hidden_state", "token_embeddings"),
    "sequence-classification": ("logits", "scores"),
}
"""For each task of a model: the output that is taken, and its name for the modules that follow."""

ARGUMENTS = ("model_args", "model_kwargs", "config_args", "config_kwargs", "tokenizer_args", "processor_kwargs")
"""Settings with arguments for transformers' `from_pretrained`."""

HARMLESS = (
    "add_pooling_layer", "attn_implementation", "device_map", "dtype", "low_cpu_mem_usage", "padding_side",
    "torch_dtype", "trust_remote_code", "use_fast", "use_safetensors",
)  # fmt: skip
"""Arguments among these that change the result by no more than rounding."""

MODELS = ("Transformer", "RoBERTa", "XLMRoBERTa", "CamemBERT")
"""The classes of the first module: the model itself."""

NAMES = ("module_input_name", "module_output_name")
WITH_CONFIG = {
    "Pooling": (
        "embedding_dimension", "word_embedding_dimension", "pooling_mode", "pooling_mode_cls_token",
        "pooling_mode_max_tokens", "pooling_mode_mean_tokens", "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken", "include_prompt",
    ),
    "Dense": ("in_features", "out_features", "bias", "activation_function", "use_residual", *NAMES),
    "LayerNorm": ("dimension",),
    "Normalize": NAMES,
}  # fmt: skip
WITH_WEIGHTS = ("Dense", "LayerNorm")
"""The classes of modules whose `config.json` is read, with its known settings; and those that have weights."""

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


class Repository(NamedTuple):
    """A model's files, and the description next to them.

    directory: the repository. model: the directory that holds the model's configuration, weights and tokenizer, or its
    weights file. modules: the list of `modules.json`, empty if there is none. settings: the fields of
    `config_sentence_transformers.json`.
    """

    directory: Path
    model: Path
    modules: list[Module]
    settings: Mapping[str, Any]

    @property
    def is_embedding(self) -> bool:
        """True if its modules turn texts into vectors.

        A cross-encoder of version 6 has a `modules.json` too. It lists only the model, or
        `config_sentence_transformers.json` says that it is a cross-encoder.
        """
        alone = len(self.modules) < 2 and all(module.kind in MODELS for module in self.modules)
        return not alone and not self.is_cross_encoder

    @property
    def is_cross_encoder(self) -> bool:
        """True if it was saved as a cross-encoder by version 6."""
        return self.settings.get("model_type") == "CrossEncoder"

    @property
    def root(self) -> Path | None:
        """The directory that the model's files must be in, or None for a weights file, which the user named."""
        return None if self.model.is_file() else self.directory

    @property
    def model_directory(self) -> Path:
        """The directory of the model's own files."""
        return directory_of(self.model)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a configuration that version 6 stores here: the activation of a cross-encoder.

        It becomes `activation_fn` in the field `sentence_transformers`, as in versions 4 and 5.
        """
        activation = self.settings.get("activation_fn")
        return {} if activation is None else {"sentence_transformers": {"activation_fn": activation}}


def describe(path: Path) -> Repository:
    """Read a repository's description. path: its directory, or a weights file in it.

    Raises ConfigError, NotFoundError.
    """
    directory = directory_of(path)
    modules = read_list(directory)
    folder = model_folder(modules) if path.is_dir() else ""
    model = folder_inside(directory, folder, ConfigError) if folder else path
    return Repository(directory, model, modules, read_optional(directory / SETTINGS))


def model_settings(repository: Repository, task: str) -> dict[str, Any]:
    """Read the settings of the model from the first of `MODEL_SETTINGS` that exists.

    task: one of `OUTPUTS`. Raises ConfigError for a setting that changes the result and is not supported.
    """
    output, name = OUTPUTS[task]
    only: dict[str, Any] = {
        "transformer_task": task,
        "modality_config": {"text": {"method": "forward", "method_output_name": output}},
        "module_output_name": name,
        **dict.fromkeys(("tokenizer_name_or_path", "query_length", "document_length", "query_expansion")),
        **{key: {} for key in ("processing_kwargs", *ARGUMENTS)},
    }
    if task == "sequence-classification":
        only |= {"max_seq_length": None, "do_lower_case": False}
    for file in MODEL_SETTINGS:
        path = repository.model_directory / file
        if settings := read_optional(path, repository.directory):
            for key, value in only.items():
                _check_setting(path, key, settings.get(key), value)
            warn_of_unknown(path, settings, (*only, "max_seq_length", "do_lower_case", "unpad_inputs"))
            return settings
    return {}


def warn_of_unknown(path: Path, settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Warn of unknown settings in a file, which later versions of the library may have added, unless they are off."""
    unknown = sorted(name for name, value in settings.items() if name not in known and value)
    if unknown:
        warnings.warn(
            f"{path} has unknown settings, which have no effect: "
            f"{textwrap.shorten(', '.join(unknown), 200, placeholder=' …')}",
            stacklevel=5,
        )


def _check_setting(path: Path, key: str, given: Any, only: Any) -> None:
    if key in ARGUMENTS and isinstance(given, dict):
        given = {name: value for name, value in given.items() if name not in HARMLESS}
    if given and given != only:
        raise ConfigError(
            f"{path} has {key} {reprlib.repr(given)}, which is not supported" + (f": only {only!r} is" if only else "")
        )


def read_optional(path: Path, root: Path | None = None) -> dict[str, Any]:
    """A file's JSON object, or an empty one if there is no such file. Raises ConfigError."""
    return read_json(path, ConfigError, root=root) if path.is_file() else {}
