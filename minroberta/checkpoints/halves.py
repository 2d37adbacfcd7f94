"""Encoder-decoders: two models of this family in one checkpoint, as transformers' EncoderDecoderModel saves them.

The decoder attends to the encoder's last hidden state (Rothe et al. 2020). In `config.json`, the fields `encoder` and
`decoder` hold the two configurations. The names of the weights begin with `encoder.` and `decoder.`.
"""

import reprlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import FAMILIES, Config
from ..errors import ConfigError, NameUnknownError
from ..model import Network
from ..weights import canonical_names, first_ten, shapes
from .arrays import Arrays, Renamed, as_stored
from .save import own_arrays, own_fields, write_files

KIND = "encoder-decoder"
"""The `model_type` of an encoder-decoder."""

PARTS = ("encoder", "decoder")


def configs(fields: Mapping[str, Any]) -> tuple[Config, Config]:
    """The configurations of the encoder and the decoder, from the fields of a `config.json`. Raises ConfigError."""
    encoder, decoder = (_config(fields.get(part), part) for part in PARTS)
    if not (decoder.is_decoder and decoder.add_cross_attention):
        raise ConfigError(
            "the decoder of an encoder-decoder must attend to the encoder: set is_decoder and add_cross_attention to "
            "true in the field decoder of config.json"
        )
    if encoder.hidden_size != decoder.hidden_size:
        raise ConfigError(
            f"the encoder's hidden_size is {encoder.hidden_size}, and the decoder's {decoder.hidden_size}: "
            "encoder-decoders with a projection between them (enc_to_dec_proj) are not supported"
        )
    return encoder, decoder


def _config(fields: Any, part: str) -> Config:
    if not isinstance(fields, Mapping):
        raise ConfigError(
            f"config.json of an encoder-decoder must have an object {part}, the configuration of that half"
        )
    if fields.get("model_type") not in list(FAMILIES):
        raise ConfigError(
            f"the {part} of this encoder-decoder is a {reprlib.repr(fields.get('model_type'))}, but both halves must "
            f"be RoBERTas, with one of the model_types {', '.join(FAMILIES)}: load it with transformers"
        )
    return Config.from_dict(fields)


def check_head(head: str | None) -> None:
    """Raise NameUnknownError if an encoder-decoder does not have this head."""
    if head not in (None, "encoder", "causal_lm"):
        raise NameUnknownError(
            f"an encoder-decoder does not have the head {head!r}: give 'causal_lm' for the whole model, or 'encoder' "
            "for its encoder alone"
        )


def split(arrays: Arrays, encoder: Config, decoder: Config, tied: bool) -> tuple[Arrays, Arrays]:
    """The arrays of both halves, under canonical names. Raises WeightsError.

    tied: the value of `tie_encoder_decoder`. If True, weights that both halves have are read from the decoder, or from
    the encoder if the file has them only there.
    """
    first, second = (
        {name: f"{part}.{stored}" for name, stored in canonical_names(_inside(arrays, part), config).items()}
        for part, config in zip(PARTS, (encoder, decoder), strict=True)
    )
    outside = [name for name in arrays if not name.startswith(tuple(f"{part}." for part in PARTS))]
    if outside:
        warnings.warn(f"ignored arrays of neither half ({len(outside)}): {first_ten(outside)}", stacklevel=4)
    if tied:
        shared = shapes(encoder, "encoder").keys() & shapes(decoder, "causal_lm").keys()
        both = {name: stored for name, stored in {**first, **second}.items() if name in shared}
        first, second = {**first, **both}, {**second, **both}
    as_they_are = ({name: (stored, as_stored) for name, stored in half.items()} for half in (first, second))
    return tuple(Renamed(arrays, entries) for entries in as_they_are)  # type: ignore[return-value]


def _inside(arrays: Arrays, part: str) -> list[str]:
    """The names of a half, without `encoder.` or `decoder.`."""
    return [name.removeprefix(f"{part}.") for name in arrays if name.startswith(f"{part}.")]


def write(directory: Path, encoder: Network, decoder: Network, start: int | None) -> None:
    """Write `config.json` and `model.safetensors` for transformers, with the weights of both halves. Raises OSError.

    The halves are no longer tied, since either may have been changed. start: the `decoder_start_token_id`.
    """
    fields: dict[str, Any] = {
        "model_type": KIND, "architectures": ["EncoderDecoderModel"], "is_encoder_decoder": True,
        "tie_encoder_decoder": False, "decoder_start_token_id": start, "vocab_size": decoder.config.vocab_size,
        "pad_token_id": decoder.config.pad_token_id,
    }  # fmt: skip
    arrays: dict[str, Any] = {}
    for part, half in zip(PARTS, (encoder, decoder), strict=True):
        fields[part] = own_fields(half.config, half.head)
        arrays |= {f"{part}.{name}": x for name, x in own_arrays(half.params, half.config, half.head).items()}
    write_files(directory, arrays, {**fields, "torch_dtype": next(iter(arrays.values())).dtype.name})
