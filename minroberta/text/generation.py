"""A repository's settings for generation: `generation_config.json`, or else the same fields of `config.json`.

The names and defaults are those of transformers 4.48.3.
"""

import math
import numbers
import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy

from ..checkpoints.files import read_json, write_json
from ..config import Config
from ..errors import ConfigError, Error, check_integer

FILE = "generation_config.json"

EarlyStopping = bool | Literal["never"]

MOST_BEAMS = 100
"""Limit on the number of beams, each of which has its own logits and cache."""


@dataclass(frozen=True)
class Generation:
    """Settings by which `generate` chooses tokens, with the fields of `generation_config.json`.

    Lengths are numbers of tokens. `max_length` and `min_length` include the prompt, or the start token of an
    encoder-decoder; `max_new_tokens` and `min_new_tokens`, if given, replace them and do not include it.
    `do_sample`: sample each token from softmax(logits / `temperature`), restricted to the `top_k` likeliest tokens
    (0: all), and to the fewest likeliest tokens whose probabilities sum to at least `top_p`. Otherwise, take the
    likeliest token.
    `num_beams`: number of sequences that beam search keeps. A finished sequence has the score
    log p / length^`length_penalty`.
    `early_stopping`: True ends beam search once there are as many finished sequences as beams. False ends it when the
    best beam, at its present length, does not score better than the worst of these; "never", when it cannot at any
    length.
    `no_repeat_ngram_size`: no sequence of this many tokens occurs twice. `repetition_penalty`: divides the logits of
    tokens that have occurred, or multiplies them if they are negative.
    `forced_bos_token_id`, `forced_eos_token_id`: ids allowed at position 1, and at the last position if a sequence
    reaches its maximum length. `bos_token_id` and `eos_token_id` are the configuration's if they are None.
    """

    max_length: int = 20
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    forced_bos_token_id: tuple[int, ...] | None = None
    forced_eos_token_id: tuple[int, ...] | None = None
    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] | None = None

    def changed(self, values: Mapping[str, Any], error: type[Error], where: str = "") -> "Generation":
        """A copy with the values that are not None in place of its own. Raises `error` for an invalid value."""
        given = {name: value for name, value in values.items() if name in CHECKS and value is not None}
        return replace(self, **{name: CHECKS[name](f"{where}{name}", value, error) for name, value in given.items()})

    def write(self, directory: Path, config: Config) -> None:
        """Write `generation_config.json`, or remove an earlier model's if all fields have their defaults.

        If the file exists, transformers takes `bos_token_id` and `eos_token_id` from it alone. Raises OSError.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        if not values:
            (directory / FILE).unlink(missing_ok=True)
            return
        sampling = {"top_k": self.top_k} if self.do_sample else {}  # otherwise, it would be 50
        values = {**tokens_of(config), **values, **sampling}
        write_json(directory / FILE, {name: value for name, value in values.items() if value != ()}, indent=2)


Check = Callable[[str, Any, type[Error]], Any]


def _integer(least: int, most: int | None = None) -> Check:
    return lambda name, value, error: check_integer(name, value, least, most, error)


def _number(least: float, most: float, allowed: str) -> Check:
    def check(name: str, value: Any, error: type[Error]) -> float:
        try:
            number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
        except OverflowError:  # an integer of hundreds of digits
            number = math.inf
        if not least <= number <= most:
            raise error(f"{name} must be {allowed}, not {reprlib.repr(value)}")
        return number

    return check


def _one_of(*choices: Any) -> Check:
    def check(name: str, value: Any, error: type[Error]) -> Any:
        if not (isinstance(value, bool | str | numpy.bool) and value in choices):
            raise error(f"{name} must be {' or '.join(map(repr, choices))}, not {reprlib.repr(value)}")
        return value

    return check


def _ids(name: str, value: Any, error: type[Error]) -> tuple[int, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(check_integer(name, one, 0, None, error) for one in values)


def _first_id(name: str, value: Any, error: type[Error]) -> int | None:
    """An id, or the first of a list with an id for each sequence of a batch."""
    ids = _ids(name, value, error)
    return ids[0] if ids else None


POSITIVE = _number(1e-30, 1e30, "a finite number above 0")

CHECKS: dict[str, Check] = {
    "max_length": _integer(1),
    "max_new_tokens": _integer(1),
    "min_length": _integer(0),
    "min_new_tokens": _integer(0),
    "do_sample": _one_of(True, False),
    "temperature": _number(1e-300, 1e300, "a finite number above 0"),
    "top_k": _integer(0),
    "top_p": _number(0, 1, "a number from 0 to 1"),
    "num_beams": _integer(1, MOST_BEAMS),
    "length_penalty": _number(-30, 30, "a number from -30 to 30"),
    "early_stopping": _one_of(True, False, "never"),
    "no_repeat_ngram_size": _integer(0),
    "repetition_penalty": POSITIVE,
    "forced_bos_token_id": _ids,
    "forced_eos_token_id": _ids,
    "decoder_start_token_id": _first_id,
    "bos_token_id": _first_id,
    "eos_token_id": _ids,
}
"""The check of each field. It returns the value in the form that `Generation` holds."""

DEFAULTS = {**{f.name: f.default for f in fields(Generation)}, "top_k": 50}
"""The defaults of transformers. A field of an encoder-decoder with such a value is taken from its `decoder` instead."""

NOT_SUPPORTED = {
    "num_beam_groups": 1, "diversity_penalty": 0, "encoder_repetition_penalty": 1, "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None, "force_words_ids": None, "constraints": None, "sequence_bias": None, "typical_p": 1,
    "min_p": None, "epsilon_cutoff": 0, "eta_cutoff": 0, "penalty_alpha": None, "suppress_tokens": None,
    "begin_suppress_tokens": None, "exponential_decay_length_penalty": None, "guidance_scale": 1, "stop_strings": None,
    "watermarking_config": None, "dola_layers": None, "forced_decoder_ids": None, "renormalize_logits": False,
    "max_time": None, "token_healing": False, "num_return_sequences": 1,
}  # fmt: skip
"""Other fields that change the tokens in transformers, each with the value that has no effect there."""


def read_generation(
    directory: Path, config_fields: Mapping[str, Any], config: Config, root: Path | None = None
) -> Generation:
    """Read a repository's settings for generation, with a warning for those that are not supported.

    config_fields: the fields of its `config.json`, for use if there is no `generation_config.json`. config: the
    configuration of the decoder. root: the directory that the file must be in, by default the given one. Raises
    ConfigError.
    """
    if (directory / FILE).is_file():
        values, where = _of_file(directory / FILE, root), f"{directory / FILE}: "
    else:
        values, where = _of_config(config_fields, config), "config.json: "
    ignored = [name for name, value in NOT_SUPPORTED.items() if values.get(name) not in (None, value, [])]
    if ignored:
        warnings.warn(
            f"{where}generate does not support {', '.join(ignored)}, so its tokens may differ from transformers'",
            stacklevel=3,
        )
    return Generation().changed(values, ConfigError, where)


def _of_file(path: Path, root: Path | None) -> dict[str, Any]:
    """The settings in a `generation_config.json`, without those that have no effect.

    If the file has no `eos_token_id`, there is no end-of-sequence token. If it has no `top_k`, sampling is restricted
    to the 50 likeliest tokens.
    """
    given = read_json(path, ConfigError, root=root)
    values = {"eos_token_id": (), **{name: value for name, value in given.items() if value is not None}}
    if isinstance(values["eos_token_id"], int | list):
        ids = values["eos_token_id"] if isinstance(values["eos_token_id"], list) else [values["eos_token_id"]]
        values["eos_token_id"] = [token for token in ids if not (isinstance(token, int) and token < 0)]
    if values.get("do_sample") is True:
        return {**values, "top_k": given.get("top_k", DEFAULTS["top_k"]) or 0}
    return {name: value for name, value in values.items() if name not in OF_SAMPLING}


OF_SAMPLING = ("temperature", "top_k", "top_p")
"""Settings that have no effect without `do_sample`. Files without it often have invalid values for them."""


def _of_config(config_fields: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The settings in a `config.json`. Those of an encoder-decoder itself override those of its decoder."""
    decoder = config_fields.get("decoder")
    inner = decoder if isinstance(decoder, Mapping) else {}
    own = {name: value for name, value in config_fields.items() if value not in (None, DEFAULTS.get(name))}
    values = {**tokens_of(config), **inner, **own}
    if values.get("do_sample") is True:
        return {**values, "top_k": values.get("top_k") or DEFAULTS["top_k"]}
    return {name: value for name, value in values.items() if name not in OF_SAMPLING}


def tokens_of(config: Config) -> dict[str, Any]:
    """The configuration's ids of the first and the last token of a sequence."""
    return {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
