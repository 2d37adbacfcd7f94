"""From a name to a model: `load`, `init`, and `Model`, a network with its tokenizer and its tasks."""

import dataclasses
import difflib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from . import weights
from .backend.arrays import Namespace
from .checkpoints import hub, read, save, surgery
from .config import PRESETS, Config, check_head, check_head_name
from .errors import ConfigError, InputError, NameUnknownError, SaveError
from .model import Network
from .text.answer import answer
from .text.choose import choose
from .text.classify import classify
from .text.encode import encode
from .text.fill_mask import fill_mask, predict_all
from .text.generate import generate
from .text.tag import tag
from .text.tokenizer import Tokenizer, of_model


class Model(Network):
    """A network with a tokenizer where there is one, every task as a method, `save`, and surgery."""

    tokenizer: Tokenizer | None

    tokenize = of_model(Tokenizer.tokenize)
    decode = of_model(Tokenizer.decode)
    fill_mask = fill_mask
    classify = classify
    tag = tag
    answer = answer
    choose = choose
    encode = encode
    generate = generate
    predict_all = predict_all
    resize_token_embeddings = surgery.resize_token_embeddings
    prune_heads = surgery.prune_heads

    def save(self, directory: str | Path) -> None:
        """Write configuration, weights and tokenizer to a directory that transformers opens with equal output.

        Raises SaveError.
        """
        try:
            save.write(Path(directory), self.params, self.config, self.head)
            if self.tokenizer is not None:
                self.tokenizer.save(Path(directory))
        except (OSError, TypeError) as error:  # a full disk, a file in the way; no path at all
            raise SaveError(f"the model cannot be written to {directory!r}: {error}") from error


def _check_choices(head: str | None, seed: int) -> None:
    if head is not None:
        check_head_name(head)
    if not isinstance(seed, int | numpy.integer) or seed < 0:
        raise InputError(f"invalid seed {seed!r}: give an integer of at least 0")


def _warn_of_direction(head: str, config: Config) -> None:
    if head == "causal_lm" and not config.is_decoder:
        warnings.warn(
            "head 'causal_lm' in a model that is no decoder sees both ways: "
            "set is_decoder in the configuration, as by load(..., config={'is_decoder': True}), to see back only",
            stacklevel=3,
        )
    if head == "masked_lm" and config.is_decoder:
        warnings.warn(
            "head 'masked_lm' in a decoder sees only back: "
            "unset is_decoder in the configuration, as by load(..., config={'is_decoder': False}), to see both ways",
            stacklevel=3,
        )


def load(
    name: str | Path = hub.EMBEDDED,
    *,
    head: str | None = None,
    dtype: Any = "float32",
    xp: Namespace = numpy,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    missing: str = "error",
    seed: int = 0,
    check: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Model:
    """The model of a name, its weights mapped from the file where dtype and library allow.

    name: a directory or a weights file, of Hugging Face's (safetensors, PyTorch, TensorFlow, Flax) or KerasHub's with
    its `config.json`, or of fairseq's alone; a hub name, also with `hf://` before it; one of the short names
    roberta-base, roberta-large, roberta-large-mnli, distilroberta-base, xlm-roberta-base, xlm-roberta-large,
    camembert-base, or of KerasHub's roberta_base_en, roberta_large_en, xlm_roberta_base_multi, xlm_roberta_large_multi;
    or minroberta/tiny, the small English model that comes with the package, which no name means as well.
    head: encoder, masked_lm, causal_lm, sequence_classification, multiple_choice, token_classification or
    question_answering; by default the one that the configuration's `architectures` names.
    dtype: float32, float64 (on JAX with jax_enable_x64), float16 (on NumPy for storage: it computes, and answers, in
    float32), bfloat16 where xp has it. xp: the module numpy, cupy or jax.numpy.
    revision: a branch, tag or commit of the hub's; local_files_only: do not ask the network; token: for private models.
    missing: "error", or "init" to draw what the file lacks of the head, or holds in another shape, from
    N(0, initializer_range²) with `seed`; the encoder's pooler is no head, and without one `pooler_output` is None.
    check: look for NaN and infinite weights, and for tied ones that differ; reads the whole file.
    config: fields that replace the checkpoint's own, such as {"num_labels": 5} or {"is_decoder": True}.

    Raises NotFoundError, DownloadError, ConfigError, WeightsError, TokenizerError, BackendError, NameUnknownError, and
    InputError for a seed that is none.
    """
    if missing not in ("error", "init"):
        raise NameUnknownError(f'missing is "error" or "init", not {missing!r}')
    _check_choices(head, seed)
    if not (config is None or (isinstance(config, Mapping) and all(isinstance(name, str) for name in config))):
        raise ConfigError(f"config is a dict of fields to replace, by their names, not {config!r}")
    path = hub.locate(name, revision=revision, local_files_only=local_files_only, token=token)
    directory = path.parent if path.is_file() else path
    file = read.read(path)
    settings = read.config_of(path, file)
    head = head or settings.replace(**(config or {})).head
    settings = settings.for_head(head).replace(**(config or {}))
    check_head(head, settings)
    _warn_of_direction(head, settings)
    arrays = weights.load_arrays(file, settings, head, missing=missing, seed=seed, check=check)
    return Model(settings, weights.tree(weights.move(arrays, dtype, xp)), head, Tokenizer.load(directory, settings))


def init(
    config_or_name: Config | Mapping[str, Any] | str | Path,
    head: str | None = None,
    *,
    seed: int = 0,
    dtype: Any = "float32",
    xp: Namespace = numpy,
) -> Model:
    """A randomly initialised model: N(0, initializer_range²), norms 1, biases and pads' rows 0.

    config_or_name: a Config, a dict of fields, a directory with a `config.json`, a hub name, or one of `load`'s short
    names, whose configurations are known here. head: as for `load`: by default what `architectures` names, which is
    masked_lm for `roberta-base`, and the bare encoder for a dict that names none. The same seed gives the same weights.

    Raises ConfigError, NotFoundError, BackendError, NameUnknownError, and InputError for a seed that is none.
    """
    _check_choices(head, seed)
    config = _as_config(config_or_name)
    head = head or config.head
    config = config.for_head(head)
    check_head(head, config)
    _warn_of_direction(head, config)
    arrays = {name: weights.draw(name, shape, config, seed) for name, shape in weights.shapes(config, head).items()}
    return Model(config, weights.tree(weights.move(arrays, dtype, xp)), head)


def _as_config(config: Config | Mapping[str, Any] | str | Path) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        _refuse_misspelt(config)
        return Config.from_dict(config)
    if not isinstance(config, str | Path):
        raise ConfigError(f"a configuration is a Config, a dict, a path or a name, not {type(config).__name__}")
    if config in PRESETS:
        return Config.from_dict(PRESETS[str(config)])
    return read.read_config(hub.locate(config, weights=False))


def _refuse_misspelt(values: Mapping[str, Any]) -> None:
    """A file may hold any field, but one that somebody types is meant. (`sep_token_id` is no `pad_token_id`.)"""
    known = [f.name for f in dataclasses.fields(Config)]
    for name in values.keys() - set(known):
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.9)
        if close and not (str(name).startswith("_") or str(name).endswith("_ids")):
            raise ConfigError(f"the configuration has no field {name!r}: perhaps {close[0]}")
