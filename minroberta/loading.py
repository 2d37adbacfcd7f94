"""Loading and initialising models: `load`, `init`, and `Model`, a network with a tokenizer and methods for tasks."""

import dataclasses
import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from . import weights
from .backend.arrays import Namespace
from .backend.devices import Devices, mesh_of, on_each
from .backend.precision import check_precision
from .checkpoints import adapters, halves, hub, read, save, surgery, unsupported
from .checkpoints.arrays import Arrays, Watched, files_of
from .checkpoints.files import read_json
from .checkpoints.modules import describe
from .compiled import is_on_cpu
from .config import PRESETS, Config, check_head, check_head_name, head_of, labels_of_task, merge
from .errors import (
    ConfigError,
    DownloadError,
    NameUnknownError,
    NotFoundError,
    SaveError,
    TokenizerError,
    check_integer,
)
from .model import Network
from .text.answer import answer
from .text.choose import choose
from .text.classify import classify
from .text.embedding import Embedding, check_modules, read_embedding, write_embedding
from .text.encode import encode, similarity
from .text.fill_mask import fill_mask, predict_all
from .text.generate import generate
from .text.generation import Generation, read_generation
from .text.tag import tag
from .text.tokenizer import Tokenizer, of_model
from .text.zero_shot import zero_shot


class Model(Network):
    """A network with an optional tokenizer, and with methods to run tasks, change the model's size, and save it."""

    tokenizer: Tokenizer | None
    embedding: Embedding | None = None
    tokenizer_error: str | None = None
    """The reason why the model has no tokenizer, if its files cannot be used."""

    tokenize = of_model(Tokenizer.tokenize)
    decode = of_model(Tokenizer.decode)
    fill_mask = fill_mask
    classify = classify
    zero_shot = zero_shot
    tag = tag
    answer = answer
    choose = choose
    encode = encode
    generate = generate
    predict_all = predict_all
    resize_token_embeddings = surgery.resize_token_embeddings
    prune_heads = surgery.prune_heads

    def similarity(self, a: Any, b: Any) -> numpy.ndarray:
        """Call `similarity` with the repository's `similarity_fn_name`: (N, W), (M, W) -> (N, M)."""
        return similarity(a, b, (self.embedding or Embedding()).similarity_fn_name)

    def save(self, directory: str | Path) -> None:
        """Save the configuration, weights and tokenizer to a directory, so that transformers can load the model.

        If the model comes from a sentence-transformers repository, the files that describe its vectors are written too.
        The loaded model has equal outputs. If the model has no tokenizer, one that is in the directory stays. Raises
        SaveError.
        """
        try:
            generation = self.generation or Generation()
            if self.encoder is None:
                save.write(Path(directory), self.params, self.config, self.head)
            else:
                halves.write(Path(directory), self.encoder, self, generation.decoder_start_token_id)
            generation.write(Path(directory), self.config)
            if self.tokenizer is not None:
                self.tokenizer.save(Path(directory))
            write_embedding(Path(directory), self.embedding if self.head == "encoder" else None, self.config)
        except (OSError, TypeError) as error:  # such as a full disk; or `directory` is not a path
            raise SaveError(f"the model cannot be written to {directory!r}: {error}") from error


# --- loading and initialising ---------------------------------------------------------------------------------------


def load(
    name: str | Path = hub.EMBEDDED,
    *,
    head: str | None = None,
    dtype: Any = "float32",
    xp: Namespace = numpy,
    devices: Devices | None = None,
    precision: str = "highest",
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    missing: str = "error",
    seed: int = 0,
    check: bool = False,
    config: Mapping[str, Any] | None = None,
    adapter: str | Path | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    trust_tokenizer: bool = False,
    copy: bool = False,
) -> Model:
    """Load a model by name. The weights are memory-mapped if the dtype and the array library allow it.

    name: a path, a hub name, or a short name. A path leads to a directory or a weights file. Files in the formats of
    Hugging Face (safetensors, PyTorch, TensorFlow, Flax) and KerasHub need a `config.json` in the same directory;
    fairseq checkpoints need no other file. A hub name may start with `hf://`. The short names are roberta-base,
    roberta-large, roberta-large-mnli, distilroberta-base, xlm-roberta-base, xlm-roberta-large and camembert-base, and
    KerasHub's roberta_base_en, roberta_large_en, xlm_roberta_base_multi and xlm_roberta_large_multi. The default,
    minroberta/tiny, is a small English model that comes with the package.
    head: encoder, masked_lm, causal_lm, sequence_classification, multiple_choice, token_classification or
    question_answering; by default the one that the configuration's `architectures` names. For a sentence-transformers
    repository, the default is encoder, and its `modules.json` says how `encode` turns a text into a vector.
    dtype: float32, float64 (JAX needs jax_enable_x64), float16 (on NumPy for storage only: the model computes and
    returns float32), or bfloat16 (needs JAX). xp: the array library: numpy, cupy or jax.numpy.
    devices: on JAX, a number of devices, or a list such as `jax.devices()[:4]`, among which each batch is shared; each
    device gets all weights. Calls that are not compiled, and `generate`, are computed by each device as a whole.
    precision: of float32 matrix products: "highest" is float32's own on every device; on JAX on a GPU, "high" is three
    TF32 products for each, which are as accurate, and "default" what JAX is set to, which is one. NumPy always computes
    the highest; so does CuPy, unless CUPY_TF32 is 1, which needs "default".
    revision: a branch, tag or commit on the hub; local_files_only: do not use the network; token: an access token, for
    private models.
    missing: "error", or "init" to initialise weights of the head that are missing or have the wrong shape, with the
    random values that the function `init` gives for `seed`. The bare encoder's pooler is optional: without a pooler,
    `pooler_output` is None.
    check: raise WeightsError for NaN or infinite weights, or tied weights that differ. This reads the whole file.
    config: fields that override those of the checkpoint, such as {"num_labels": 5} or {"is_decoder": True}.
    adapter: the path or hub name of a LoRA adapter of peft, which is merged into the weights. If `name` is itself an
    adapter, its base is found by the name in its `adapter_config.json`.
    tokenizer: a directory or a hub name, or another model's tokenizer, to use instead of the checkpoint's tokenizer. If
    it is None and the checkpoint's cannot be built, there is a warning, and methods that take text raise
    TokenizerError.
    trust_tokenizer: build whatever a `tokenizer.json` says. By default, one is refused whose steps are of an unknown
    kind, or could take far more time or memory than its size explains: see docs/formats.md.
    copy: read the weights into memory instead of mapping them, for files that others may change. If a mapped file is
    overwritten, the next call raises WeightsError; if it is made shorter during a call, the system ends the process.

    Raises NotFoundError, DownloadError, ConfigError, WeightsError, BackendError, NameUnknownError, InputError for an
    invalid seed, and TokenizerError if the tokenizer that `tokenizer` names cannot be built.
    """
    if missing not in ("error", "init"):
        raise NameUnknownError(f'missing must be "error" or "init", not {missing!r}')
    _check_choices(head, seed, precision)
    mesh = None if devices is None else mesh_of(devices, xp)
    if not (config is None or (isinstance(config, Mapping) and all(isinstance(name, str) for name in config))):
        raise ConfigError(f"config must be a dict from field names to values, not {config!r}")
    repository = describe(hub.locate(name, revision=revision, local_files_only=local_files_only, token=token))
    file = adapters.read_merged(repository, adapter, local_files_only=local_files_only, token=token)
    if head is None and repository.is_embedding and "architectures" not in file.changes:
        head = "encoder"
    check_modules(repository, head)
    fields = read.fields_of(repository.model, file, repository.root) | repository.fields

    def model_of(arrays: Arrays, config: Config, head: str) -> Model:
        loaded = weights.load_arrays(arrays, config, head, missing=missing, seed=seed, check=check)
        loaded = {name: numpy.array(array) for name, array in loaded.items()} if copy else loaded
        return _model_of(loaded, config, head, dtype, xp, mesh, precision)

    if fields.get("model_type") == halves.KIND:
        model = _of_halves(file, fields, head, config or {}, model_of)
    else:
        model = model_of(file, *_settled(fields, head, config or {}))
    unsupported.warn_of_setfit(repository.directory)
    reader = model.encoder or model
    directories = file.directories or (repository.model_directory,)
    if tokenizer is None:
        model.tokenizer, model.tokenizer_error = _tokenizer_beside(directories, reader.config, trust_tokenizer)
    else:
        places = {"local_files_only": local_files_only, "token": token}
        model.tokenizer = _tokenizer_named(tokenizer, reader.config, trust_tokenizer, **places)
    reader.tokenizer = model.tokenizer
    if model.head == "encoder":
        model.embedding = read_embedding(repository, model.config)
    if model.head == "causal_lm":
        fields = fields if model.encoder else model.config.to_dict()
        root = file.root if file.directories else repository.root
        model.generation = read_generation(directories[-1], fields, model.config, root)
    return model


def _of_halves(
    file: Arrays,
    fields: Mapping[str, Any],
    head: str | None,
    changes: Mapping[str, Any],
    model_of: Callable[[Arrays, Config, str], Model],
) -> Model:
    """The decoder of an encoder-decoder, with its encoder; or for head `encoder`, the encoder alone."""
    halves.check_head(head)
    if changes or file.changes:
        raise ConfigError(
            "config= and adapter= are not supported for encoder-decoders, which have two configurations: change "
            "config.json, or merge the adapter with peft"
        )
    encoder, decoder = halves.configs(fields)
    own = halves.split(file, encoder, decoder, fields.get("tie_encoder_decoder") is True)
    first = model_of(own[0], encoder, "encoder")
    if head == "encoder":
        return first
    model = model_of(own[1], decoder, "causal_lm")
    model.encoder = first
    return model


def _tokenizer_beside(directories: Sequence[Path], config: Config, trust: bool) -> tuple[Tokenizer | None, str | None]:
    """The tokenizer in the first directory that has one; or None, a warning, and the reason if it cannot be built."""
    try:
        places = (Tokenizer.load(directory, config, trust) for directory in directories)
        return next((found for found in places if found), None), None
    except TokenizerError as error:
        reason = f"this model has no tokenizer, because its files cannot be used: {error}"
        warnings.warn(f"{reason}. Give another tokenizer, as in load(..., tokenizer=NAME)", stacklevel=3)
        return None, reason


def _tokenizer_named(name: str | Path | Tokenizer, config: Config, trust: bool, **places: Any) -> Tokenizer:
    """The tokenizer of another directory or hub name, for a model of this configuration. Raises TokenizerError."""
    if isinstance(name, Tokenizer):
        return name.of_model(config)
    if not isinstance(name, str | Path):
        raise TokenizerError(
            f"tokenizer must be a directory, a hub name or a Tokenizer, not {type(name).__name__}: give "
            "tokenizer=None for the checkpoint's own"
        )
    try:
        repository = describe(hub.locate(name, weights=False, **places))
    except (NotFoundError, DownloadError) as error:
        raise type(error)(f"{error}. This name was given as tokenizer=") from None
    found = Tokenizer.load(repository.model_directory, config, trust)
    if found is None:
        raise TokenizerError(f"{name} has no tokenizer: name a directory or a model that has one")
    return found


def init(
    config_or_name: Config | Mapping[str, Any] | str | Path,
    head: str | None = None,
    *,
    seed: int = 0,
    dtype: Any = "float32",
    xp: Namespace = numpy,
    devices: Devices | None = None,
    precision: str = "highest",
) -> Model:
    """Initialise a model with random weights from N(0, initializer_range²).

    The weights of norms are 1, and biases and the embeddings of padding are 0. The same seed gives the same weights.

    config_or_name: a Config, a dict of fields, a directory with a `config.json`, a hub name, or one of `load`'s short
    names; Hugging Face's short names need no download. head: by default the one that `architectures` names (masked_lm
    for `roberta-base`), or the bare encoder if there are no `architectures`. devices, precision: as for `load`.

    Raises ConfigError, NotFoundError, BackendError, NameUnknownError, and InputError for an invalid seed.
    """
    _check_choices(head, seed, precision)
    mesh = None if devices is None else mesh_of(devices, xp)
    config, head = _settled(_fields(config_or_name), head, {})
    arrays = weights.random_weights(weights.shapes(config, head), config, seed)
    return _model_of(arrays, config, head, dtype, xp, mesh, precision)


def _model_of(
    arrays: Mapping[str, Any], config: Config, head: str, dtype: Any, xp: Namespace, mesh: Any, precision: str
) -> Model:
    moved = weights.move(arrays, dtype, xp)
    params = weights.tree(moved)
    model = Model.of_checked(config, params if mesh is None else on_each(params, mesh), head, precision)
    model.files = _files_behind(moved, arrays)
    return model


def _files_behind(moved: Mapping[str, Any], arrays: Mapping[str, Any]) -> Watched:
    """The files that parameters are read from: NumPy's arrays are mapped, and JAX on a CPU may use their memory."""
    first = next(iter(moved.values()))
    if isinstance(first, numpy.ndarray):
        return files_of(moved.values())
    return files_of(arrays.values() if hasattr(first, "devices") and is_on_cpu(first) else ())


def _check_choices(head: str | None, seed: int, precision: str) -> None:
    check_precision(precision)
    if head is not None:
        check_head_name(head)
    check_integer("seed", seed, 0)


# --- the configuration ----------------------------------------------------------------------------------------------


def _settled(fields: Mapping[str, Any], head: str | None, changes: Mapping[str, Any]) -> tuple[Config, str]:
    """Make a Config from `fields` and `changes`, and choose the head: by default, the one that `architectures` names.

    Labels in `task_specific_params` for the head's task override the other labels in `fields`; `changes` override both.
    """
    head = head or head_of(merge(fields, changes).get("architectures"))
    config = Config.from_dict(merge(merge(fields, labels_of_task(fields, head)), changes))
    check_head(head, config)
    _warn_of_surprises(head, config)
    return config, head


def _warn_of_surprises(head: str, config: Config) -> None:
    if config.other.get("auto_map"):
        warnings.warn(
            "this repository has code of its own (auto_map in config.json), which is not run: the model is computed as "
            f"a {config.model_type}, so compare its outputs with those of that code",
            stacklevel=4,
        )
    if config.position_embedding_type is None:
        warnings.warn(
            "position_embedding_type is null, so that the positions of tokens have no effect, as in transformers: if "
            "they should, set it, for example with load(..., config={'position_embedding_type': 'absolute'})",
            stacklevel=4,
        )
    if head == "causal_lm" and not config.is_decoder:
        warnings.warn(
            "head 'causal_lm' attends in both directions, because this model is not a decoder: "
            "for causal attention, set is_decoder, for example with load(..., config={'is_decoder': True})",
            stacklevel=4,
        )
    if head == "masked_lm" and config.is_decoder:
        warnings.warn(
            "head 'masked_lm' attends to earlier tokens only, because this model is a decoder: "
            "for bidirectional attention, unset is_decoder, for example with load(..., config={'is_decoder': False})",
            stacklevel=4,
        )


def _fields(config: Config | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """The fields of a configuration that is given as a Config, a dict, a path or a name."""
    if isinstance(config, Config):
        return config.to_dict()
    if isinstance(config, Mapping):
        _refuse_misspelt(config)
        return dict(config)
    if not isinstance(config, str | Path):
        raise ConfigError(f"a configuration must be a Config, a dict, a path or a name, not {type(config).__name__}")
    if config in PRESETS:
        return dict(PRESETS[str(config)])
    repository = describe(hub.locate(config, weights=False))
    return read_json(repository.model_directory / "config.json", ConfigError, root=repository.root)


def _refuse_misspelt(values: Mapping[str, Any]) -> None:
    """Raise ConfigError if the name of an unknown field looks like a misspelling of a known field's name.

    A file may have any field, but a dict is usually typed by hand. The cutoff is high enough that `sep_token_id` does
    not count as a misspelt `pad_token_id`.
    """
    known = [f.name for f in dataclasses.fields(Config)]
    for name in values.keys() - set(known):
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.9)
        if close and not (str(name).startswith("_") or str(name).endswith("_ids")):
            raise ConfigError(f"unknown configuration field {name!r}: did you mean {close[0]}?")
