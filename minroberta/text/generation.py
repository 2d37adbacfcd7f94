"""What a repository says about generation: `generation_config.json`, or such fields of `config.json`.

The names and defaults are those of transformers 4.48.3.
"""

import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..checkpoints.files import read_json, write_json
from ..config import Config
from ..errors import ConfigError, Error, check_integer

FILE = "generation_config.json"

EarlyStopping = bool | Literal["never"]

MOST_BEAMS = 100
"""Limit on the number of beams, each of which has its own logits and cache."""


@dataclass(frozen=True)
class Generation:
    """How `generate` chooses tokens; each field is one of `generation_config.json`, and None stands for its default.

    Lengths are numbers of tokens: `max_length` and `min_length` count the prompt, or the start token of an
    encoder-decoder, too. `do_sample`: sample tokens from softmax(logits / `temperature`), among the `top_k` likeliest
    and the likeliest that have the probability `top_p` together; otherwise, take the likeliest. `num_beams`: the
    number of sequences that beam search keeps. A finished sequence has the score log p / length^`length_penalty`.
    `early_stopping`: True stops with as many finished sequences as beams; False stops when no beam scores better at its
    present length, and "never" when none can ever score better. `no_repeat_ngram_size`: no sequence of this many tokens
    occurs twice. `repetition_penalty` divides the logits of earlier tokens, or multiplies them if they are negative.
    `forced_bos_token_id`, `forced_eos_token_id`: the first token after the start token, and the last of `max_length`.
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = None
    min_new_tokens: int | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    num_beams: int | None = None
    length_penalty: float | None = None
    early_stopping: EarlyStopping | None = None
    no_repeat_ngram_size: int | None = None
    repetition_penalty: float | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] | None = None

    @classmethod
    def checked(cls, values: Mapping[str, Any], error: type[Error], where: str = "") -> "Generation":
        """Make it from the fields that are given and not None. Raises `error` for an invalid value."""
        given = {name: value for name, value in values.items() if name in CHECKS and value is not None}
        return cls(**{name: CHECKS[name](f"{where}{name}", value, error) for name, value in given.items()})

    def changed(self, values: Mapping[str, Any], error: type[Error]) -> "Generation":
        """A copy with the values that are not None in place of its own. Raises `error` for an invalid value."""
        new = Generation.checked(values, error)
        return replace(self, **{name: getattr(new, name) for name, value in values.items() if value is not None})

    def write(self, directory: Path) -> None:
        """Write `generation_config.json`; or remove an earlier model's, if no field is given. Raises OSError."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in values.items() if value is not None}
        if given:
            write_json(directory / FILE, given, indent=2)
        else:
            (directory / FILE).unlink(missing_ok=True)


Check = Callable[[str, Any, type[Error]], Any]


def _integer(least: int, most: int | None = None) -> Check:
    return lambda name, value, error: check_integer(name, value, least, most, error)


def _number(least: float, most: float, allowed: str) -> Check:
    def check(name: str, value: Any, error: type[Error]) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise error(f"{name} must be {allowed}, not {reprlib.repr(value)}")
        return float(value)

    return check


def _one_of(*choices: Any) -> Check:
    def check(name: str, value: Any, error: type[Error]) -> Any:
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
            raise error(f"{name} must be {' or '.join(map(repr, choices))}, not {reprlib.repr(value)}")
        return value

    return check


def _ids(name: str, value: Any, error: type[Error]) -> tuple[int, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(check_integer(name, one, 0, None, error) for one in values)


def _first_id(name: str, value: Any, error: type[Error]) -> int | None:
    """An id; or the first of a list, which transformers means for one sequence each."""
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
    "forced_bos_token_id": _first_id,
    "forced_eos_token_id": _first_id,
    "decoder_start_token_id": _first_id,
    "bos_token_id": _first_id,
    "eos_token_id": _ids,
}
"""The check of each field, which returns the value as it is used."""

NOT_SUPPORTED = {
    "num_beam_groups": 1, "diversity_penalty": 0, "encoder_repetition_penalty": 1, "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None, "force_words_ids": None, "constraints": None, "sequence_bias": None, "typical_p": 1,
    "min_p": None, "epsilon_cutoff": 0, "eta_cutoff": 0, "penalty_alpha": None, "suppress_tokens": None,
    "begin_suppress_tokens": None, "exponential_decay_length_penalty": None, "guidance_scale": 1, "stop_strings": None,
    "watermarking_config": None, "dola_layers": None, "forced_decoder_ids": None,
}  # fmt: skip
"""Other fields that change the tokens in transformers, with the values that have no effect there."""


DEFAULTS = {
    "max_length": 20, "min_length": 0, "do_sample": False, "temperature": 1, "top_k": 50, "top_p": 1, "num_beams": 1,
    "length_penalty": 1, "early_stopping": False, "no_repeat_ngram_size": 0, "repetition_penalty": 1,
}  # fmt: skip
"""The defaults of transformers, which for an encoder-decoder's own fields count as not given."""


def read_generation(directory: Path, fields: Mapping[str, Any], config: Config) -> Generation:
    """Read a repository's settings for generation, with a warning for those that are not supported.

    fields: those of its `config.json`, which are used if there is no `generation_config.json`. config: the
    configuration of the decoder. Raises ConfigError.
    """
    if (directory / FILE).is_file():
        read = read_json(directory / FILE, ConfigError)
        values = {"eos_token_id": (), **{name: value for name, value in read.items() if value is not None}}
        where = f"{directory / FILE}: "
    else:
        values, where = _of_config(fields, config), "config.json: "
    if values.get("do_sample") is True and values.get("top_k") is None:
        values["top_k"] = DEFAULTS["top_k"]
    ignored = [name for name, value in NOT_SUPPORTED.items() if values.get(name) not in (None, value, [])]
    if ignored:
        warnings.warn(
            f"{where}generate does not support {', '.join(ignored)}, so its tokens may differ from transformers'",
            stacklevel=3,
        )
    return Generation.checked(values, ConfigError, where)


def _of_config(fields: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The settings in a `config.json`: an encoder-decoder's own, and then its decoder's."""
    ids = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    decoder = fields.get("decoder")
    inner = decoder if isinstance(decoder, Mapping) else {}
    own = {name: value for name, value in fields.items() if value not in (None, DEFAULTS.get(name))}
    return {**ids, **inner, **own}
