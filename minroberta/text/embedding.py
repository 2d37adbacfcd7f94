"""`Embedding`: how a text becomes a vector, as a sentence-transformers repository describes it.

The description is in several files: `modules.json`, the settings of each module, and
`config_sentence_transformers.json` with the prompts. Without `modules.json`, it is the one that sentence-transformers
assumes: the mean of the last hidden states, not normalised.
"""

import reprlib
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy

from .. import activations, ops
from ..backend.arrays import Array, cast, is_float, namespace
from ..checkpoints import modules, read
from ..checkpoints.files import folder_inside, inside, is_file, read_json, write_json
from ..checkpoints.formats import safetensors
from ..checkpoints.modules import Repository
from ..checkpoints.unsupported import advice_on_module
from ..config import Config
from ..errors import ConfigError, Error, InputError, NameUnknownError, WeightsError, check_integer

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""The names of sentence-transformers' poolings, in the order in which several are concatenated."""

SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The older form of the poolings in a `1_Pooling/config.json`: a boolean for each."""

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Identity": activations.identity,
    "Tanh": activations.tanh,
    "Sigmoid": activations.sigmoid,
    "ReLU": activations.relu,
    "GELU": activations.gelu,
    "SiLU": activations.silu,
    "Mish": activations.mish,
}
"""The formulas of torch's activation classes, by the last part of the class's name."""


def activation(name: Any, of: str) -> Callable[[Array], Array]:
    """The formula of a class such as `torch.nn.modules.activation.Tanh`. of: the name of the setting, for the message.

    Raises ConfigError for an unknown class.
    """
    short = name.rpartition(".")[2] if isinstance(name, str) and name.startswith("torch.nn.") else ""
    if short not in ACTIVATIONS:
        raise ConfigError(
            f"unknown {of} {reprlib.repr(name)}: give a class of torch.nn, one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[short]


# --- the modules after pooling --------------------------------------------------------------------------------------


class Dense(NamedTuple):
    """activation(x Wᵀ + b), and the residual x or x Rᵀ added to it if there is one.

    weight: (O, I), bias: (O,) or None; activation_function: the name of torch's class. residual: R, (O, I); or True for
    x itself, where O = I.
    """

    weight: numpy.ndarray
    bias: numpy.ndarray | None
    activation_function: str
    residual: numpy.ndarray | bool = False

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        """(N, I) -> (N, O)."""
        bias = 0 if self.bias is None else cast(self.bias, x.dtype)
        function = activation(self.activation_function, "activation_function")
        y = function(ops.linear(x, cast(self.weight, x.dtype), bias))  # (N, I) -> (N, O)
        if isinstance(self.residual, bool):
            return y + x if self.residual else y
        return y + ops.linear(x, cast(self.residual, x.dtype), 0)  # (N, I) -> (N, O)

    def width(self, of: int) -> int | None:
        """The size of the result for vectors of size `of`; None if it takes vectors of another size."""
        return self.weight.shape[0] if self.weight.shape[1] == of else None


class LayerNorm(NamedTuple):
    """The layer norm of a vector. weight, bias: (W,)."""

    weight: numpy.ndarray
    bias: numpy.ndarray

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        """(N, W) -> (N, W)."""
        weight, bias = cast(self.weight, x.dtype), cast(self.bias, x.dtype)
        return ops.layer_norm(x, weight=weight, bias=bias, eps=1e-5)  # torch's default: no file has another

    def width(self, of: int) -> int | None:
        """The size of the result for vectors of size `of`; None if it takes vectors of another size."""
        return of if self.weight.shape == (of,) else None


class Normalize(NamedTuple):
    """x / |x|."""

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        """(N, W) -> (N, W)."""
        return unit(x)

    def width(self, of: int) -> int | None:
        """The size of the result: the same."""
        return of


Step = Dense | LayerNorm | Normalize
"""A module that is computed after pooling."""


def unit(x: Array) -> Array:
    """x / |x| over the last axis, or 0 if x is 0."""
    xp = namespace(x)
    return x / xp.maximum(xp.sqrt((x * x).sum(-1, keepdims=True)), 1e-12)


# --- the description ------------------------------------------------------------------------------------------------


class Embedding(NamedTuple):
    """Settings by which `encode` turns a text into a vector, unless its arguments replace them.

    declared: True if there is a `modules.json`. poolings: the names of poolings, whose results are concatenated.
    steps: the modules that follow. max_seq_length: maximum number of tokens in a text, or None for the tokenizer's
    limit; the model's limit holds in any case. do_lower_case: True if texts are converted to lower case.
    include_prompt: False if pooling leaves out the prompt's tokens. prompts: the prompts by name; default_prompt_name:
    the name of the prompt that is used if no other is given. similarity_fn_name: the function by which vectors are
    compared. truncate_dim: number of elements that are kept of each vector, or None for all.
    """

    declared: bool = False
    poolings: tuple[str, ...] = ("mean",)
    steps: tuple[Step, ...] = ()
    max_seq_length: int | None = None
    do_lower_case: bool = False
    include_prompt: bool = True
    prompts: Mapping[str, str] = {}
    default_prompt_name: str | None = None
    similarity_fn_name: Similarity = "cosine"
    truncate_dim: int | None = None

    def prompt(self, prompt: str | None, prompt_name: str | None) -> str:
        """The text that is put before each text. Raises InputError, NameUnknownError."""
        if prompt is not None and prompt_name is not None:
            raise InputError("give prompt or prompt_name, not both")
        if prompt is not None:
            if not isinstance(prompt, str):
                raise InputError(f"prompt must be a str, not {reprlib.repr(prompt)}")
            return prompt
        name = self.default_prompt_name if prompt_name is None else prompt_name
        if name is None:
            return ""
        if not isinstance(name, str) or name not in self.prompts:
            known = f"give one of {_shortened(self.prompts)}" if self.prompts else "this model has none: give prompt="
            raise NameUnknownError(f"unknown prompt_name {reprlib.repr(name)}: {known}")
        return self.prompts[name]

    def prepare(self, text: str) -> str:
        """The text without spaces around it, in lower case if `do_lower_case` says so."""
        return text.strip().lower() if self.do_lower_case else text.strip()

    def width(self, poolings: tuple[str, ...], hidden_size: int, error: type[Error] = InputError) -> int:
        """The size of the vectors. Raises `error` if a step does not take vectors of the size that it gets."""
        size = len(poolings) * hidden_size
        for step in self.steps:
            found = step.width(size)
            if found is None:
                raise error(
                    f"the module {type(step).__name__} does not take vectors of size {size}, which it would get after "
                    f"{' and '.join(poolings)} pooling: use the pooling that the model was trained with"
                )
            size = found
        return size


# --- reading --------------------------------------------------------------------------------------------------------


def read_embedding(repository: Repository, config: Config) -> Embedding:
    """Read the description from the files of a repository. Raises ConfigError, NotFoundError, WeightsError."""
    if not repository.is_embedding:
        return Embedding()
    directory, listed = repository.directory, repository.modules
    settings = modules.model_settings(repository, "feature-extraction")
    poolings, include_prompt = _read_pooling(directory, listed[1])
    of_model = Embedding(
        declared=True,
        poolings=poolings,
        steps=tuple(_READERS[module.kind](directory, module) for module in listed[2:] if module.kind != "Dropout"),
        max_seq_length=_limit(settings),
        do_lower_case=settings.get("do_lower_case") is True,
        include_prompt=include_prompt,
    )
    of_model.width(poolings, config.hidden_size, ConfigError)
    return of_model._replace(**_prompts(repository.settings))


def check_modules(repository: Repository, head: str | None) -> None:
    """Raise ConfigError if a model with this head would leave out modules or settings of its repository."""
    if repository.is_embedding and head == "encoder":
        _check_order(repository.modules)
    if repository.is_cross_encoder and head in (None, "sequence_classification"):
        _check_cross_encoder(repository)


def _check_cross_encoder(repository: Repository) -> None:
    """Raise ConfigError unless the model is the only module, with supported settings. Warn of a default prompt."""
    _check_served(repository.modules, ())
    modules.model_settings(repository, "sequence-classification")
    of_library = _prompts({**repository.settings, "similarity_fn_name": None})
    if prompt := of_library["prompts"].get(of_library["default_prompt_name"]):
        warnings.warn(
            f"this cross-encoder was trained with the prompt {reprlib.repr(prompt)} before the first text of a pair, "
            "which classify does not add: put it there",
            stacklevel=4,
        )


def _check_served(listed: Sequence[modules.Module], served: Sequence[str]) -> None:
    """Raise ConfigError for an unsupported module. served: the classes that are supported after the model."""
    for index, (kind, _) in enumerate(listed):
        if kind not in (served if index else modules.MODELS):
            if advice := advice_on_module(kind):
                raise ConfigError(f"unsupported module {kind!r} in {modules.LIST}: {advice}")
            raise ConfigError(
                f"unknown module {kind[:200]!r} in {modules.LIST}: the supported modules are "
                f"{', '.join(('Transformer', *served))}; to use the model alone, copy its files into a directory "
                f"without {modules.LIST}"
            )


def _check_order(listed: list[modules.Module]) -> None:
    """Raise ConfigError unless the modules are the model, Pooling, and then supported ones."""
    _check_served(listed, ("Pooling", *_READERS, "Dropout"))
    first, *others = (module.kind for module in listed)
    if others[:1] != ["Pooling"] or others.count("Pooling") > 1:
        raise ConfigError(
            f"{modules.LIST} lists {', '.join([first, *others])}: it must list Transformer, then Pooling, then others"
        )


def _limit(settings: Mapping[str, Any]) -> int | None:
    """Maximum number of tokens in a text, or None if the settings have none."""
    limit = settings.get("max_seq_length")
    return None if limit is None else check_integer("max_seq_length", limit, 1, error=ConfigError)


def _read_pooling(directory: Path, module: modules.Module) -> tuple[tuple[str, ...], bool]:
    """The names of the poolings, and `include_prompt`."""
    settings = _settings(directory, module)
    given = settings.get("pooling_mode")
    if given is None:
        given = [mode for switch, mode in SWITCHES.items() if settings.get(switch, mode == "mean") is True]
    elif isinstance(given, str):
        given = [given.lower()]
    if not isinstance(given, list) or not given or len(given) > len(POOLINGS):
        raise ConfigError(f"pooling_mode must be a name or a list of names, not {reprlib.repr(given)}")
    for mode in given:
        if mode not in POOLINGS:
            raise ConfigError(f"unknown pooling_mode {reprlib.repr(mode)}: give one of {', '.join(POOLINGS)}")
    return tuple(given), settings.get("include_prompt", True) is not False


def _read_dense(directory: Path, module: modules.Module) -> Dense:
    settings = _settings(directory, module)
    _check_names(settings, module)
    name = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation(name, f"activation_function of {module.path}")
    names = ("linear.weight", "linear.bias") if settings.get("bias", True) else ("linear.weight",)
    weight, *bias = _weights(directory, module, names)
    if weight.ndim != 2 or any(x.shape != weight.shape[:1] for x in bias):
        raise WeightsError(f"the weights of {module.path} must have the shapes (O, I) and (O,)")
    dense = Dense(weight, bias[0] if bias else None, name)
    return _with_residual(dense, directory, module) if settings.get("use_residual") else dense


def _with_residual(dense: Dense, directory: Path, module: modules.Module) -> Dense:
    """The Dense with its residual: its input, or if the sizes differ, its input times another matrix."""
    if dense.weight.shape[0] == dense.weight.shape[1]:
        return dense._replace(residual=True)
    (residual,) = _weights(directory, module, ("residual.weight",))
    if residual.shape != dense.weight.shape:
        raise WeightsError(
            f"residual.weight of {module.path} must have the shape of linear.weight, {dense.weight.shape}, not "
            f"{residual.shape}"
        )
    return dense._replace(residual=residual)


def _check_names(settings: Mapping[str, Any], module: modules.Module) -> None:
    """Raise ConfigError if a module reads or writes anything but the pooled vector."""
    for setting in modules.NAMES:
        if settings.get(setting) not in (None, "sentence_embedding"):
            raise ConfigError(
                f"{module.path} has {setting} {reprlib.repr(settings[setting])}, which is not supported: "
                "only sentence_embedding is"
            )


def _read_layer_norm(directory: Path, module: modules.Module) -> LayerNorm:
    _settings(directory, module)
    weight, bias = _weights(directory, module, ("norm.weight", "norm.bias"))
    if weight.ndim != 1 or bias.shape != weight.shape:
        raise WeightsError(f"the weights of {module.path} must have one axis each, of the same size")
    return LayerNorm(weight, bias)


def _read_normalize(directory: Path, module: modules.Module) -> Normalize:
    if is_file(directory / module.path / "config.json"):  # earlier versions do not write it
        _check_names(_settings(directory, module), module)
    return Normalize()


_READERS: dict[str, Callable[[Path, modules.Module], Step]] = {
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
}
"""The functions that read the modules after pooling."""


LONGEST_PROMPT = 10_000
"""Maximum number of characters in a prompt, which is put before every text."""


def _prompts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an Embedding that are in `config_sentence_transformers.json`."""
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ConfigError(f"prompts must be an object from names to texts, not {reprlib.repr(prompts)}")
    if (longest := max((len(text or "") for text in prompts.values()), default=0)) > LONGEST_PROMPT:
        raise ConfigError(f"prompts has a text of {longest} characters; the limit is {LONGEST_PROMPT}")
    if default is not None and default not in list(prompts):
        raise ConfigError(
            f"default_prompt_name is {reprlib.repr(default)}, but the prompts are {_shortened(prompts)}: "
            "give the name of one of the prompts"
        )
    similarity = settings.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise ConfigError(
            f"unknown similarity_fn_name {reprlib.repr(similarity)}: give one of {', '.join(SIMILARITIES)}"
        )
    texts = {name: text or "" for name, text in prompts.items()}
    size = settings.get("truncate_dim")
    size = None if size is None else check_integer("truncate_dim", size, 1, error=ConfigError)
    return {"prompts": texts, "default_prompt_name": default, "similarity_fn_name": similarity, "truncate_dim": size}


def _shortened(names: Iterable[str]) -> str:
    """The names in one line, or the first of them if there are many."""
    return textwrap.shorten(", ".join(names) or "none", 200, placeholder=" …")


def _settings(directory: Path, module: modules.Module) -> dict[str, Any]:
    """The settings of a module, from the `config.json` in its folder."""
    path = folder_inside(directory, module.path, ConfigError) / "config.json"
    settings = read_json(path, ConfigError, root=directory)
    modules.warn_of_unknown(path, settings, modules.WITH_CONFIG[module.kind])
    return settings


def _weights(directory: Path, module: modules.Module, names: tuple[str, ...]) -> list[numpy.ndarray]:
    """Arrays of floats, by their names, from the weights file in a module's folder."""
    folder = folder_inside(directory, module.path, ConfigError)
    file = next((name for name in modules.WEIGHTS if (folder / name).is_file()), modules.WEIGHTS[0])
    arrays = read.read(inside(directory, f"{module.path}/{file}", WeightsError), directory)
    for name in names:
        if name not in arrays:
            raise WeightsError(f"{folder / file} lacks {name}: download or save it again")
        if not is_float(arrays[name].dtype):
            raise WeightsError(f"{folder / file}: {name} must hold floats, not {arrays[name].dtype}")
    return [arrays[name] for name in names]


# --- writing --------------------------------------------------------------------------------------------------------


def write_embedding(directory: Path, embedding: Embedding | None, config: Config) -> None:
    """Write the files that describe an embedding, so that sentence-transformers opens the directory.

    Without a description, or if it is the one that sentence-transformers assumes, nothing is written, and the
    files of an earlier model are removed. Raises OSError.
    """
    if embedding is None or not embedding.declared:
        for name in (modules.LIST, modules.SETTINGS):
            (directory / name).unlink(missing_ok=True)
        return
    kinds = ["Transformer", "Pooling", *(type(step).__name__ for step in embedding.steps)]
    paths = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds) if index)]
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    for path, step in zip(paths[1:], (None, *embedding.steps), strict=True):
        (directory / path).mkdir(exist_ok=True)
        if step is None:
            write_json(directory / path / "config.json", _pooling_settings(embedding, config.hidden_size), indent=2)
        else:
            _write_step(directory / path, step)
    settings = {"max_seq_length": embedding.max_seq_length, "do_lower_case": embedding.do_lower_case}
    write_json(directory / modules.MODEL_SETTINGS[0], settings, indent=2)
    names = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    fields = {name: getattr(embedding, name) for name in names}
    write_json(directory / modules.SETTINGS, {"model_type": "SentenceTransformer", **fields}, indent=2)
    write_json(directory / modules.LIST, listed, indent=2)


def _pooling_settings(embedding: Embedding, size: int) -> dict[str, Any]:
    """The settings of Pooling, in the older form, which every version reads, if it can express the order."""
    modes, last = embedding.poolings, {"include_prompt": embedding.include_prompt}
    if list(modes) == [mode for mode in POOLINGS if mode in modes]:
        switches = {switch: mode in modes for switch, mode in SWITCHES.items()}
        return {"word_embedding_dimension": size, **switches, **last}
    return {"embedding_dimension": size, "pooling_mode": list(modes), **last}


def _write_step(folder: Path, step: Step) -> None:
    if isinstance(step, Dense):
        (size, of), bias = step.weight.shape, step.bias
        settings = {"in_features": of, "out_features": size, "bias": bias is not None}
        residual = {} if step.residual is False else {"use_residual": True}  # earlier versions refuse the key
        last = {"activation_function": step.activation_function, **residual}
        write_json(folder / "config.json", {**settings, **last}, indent=2)
        optional = {"linear.bias": bias, "residual.weight": None if isinstance(step.residual, bool) else step.residual}
        arrays = {"linear.weight": step.weight} | {name: x for name, x in optional.items() if x is not None}
        safetensors.write(folder / modules.WEIGHTS[0], arrays, {"format": "pt"})
    if isinstance(step, LayerNorm):
        write_json(folder / "config.json", {"dimension": len(step.weight)}, indent=2)
        arrays = {"norm.weight": step.weight, "norm.bias": step.bias}
        safetensors.write(folder / modules.WEIGHTS[0], arrays, {"format": "pt"})
