"""Names of a model that was saved within another module: for several devices, for compilation, or by a trainer.

The arrays of every format pass through here, so that other modules see only the names of Hugging Face's classes.
"""

import re
import warnings

from ..errors import WeightsError
from ..weights import PREFIXES, first_ten
from .arrays import Arrays, Renamed, as_stored

WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Names of modules that wrap another one, anywhere in a weight's name. No module of a RoBERTa has such a name."""

ANCHOR = "embeddings.word_embeddings.weight"
"""A weight that every model has. The text before it in its name, less the base model's prefix, is before all names."""


HALF = re.compile(r"(^|\.)decoder\.([a-z0-9_]+\.)?encoder\.layer\.\d+\.crossattention\.")
"""A name in the decoder of an encoder-decoder."""


def unwrapped(arrays: Arrays) -> Arrays:
    """The arrays under the names that they have without wrappers.

    Wrappers are removed anywhere in a name, and then the prefix under which the model is found. Arrays outside the
    prefix are left out, with a warning. If no model or more than one is found, no prefix is removed. Raises
    WeightsError if two names are for the same weight.
    """
    plain = {name: WRAPPERS.sub("", name) for name in arrays}
    prefix = _prefix(set(plain.values()))
    inside = {name: inner for name, inner in plain.items() if inner.startswith(prefix)}
    outside = [name for name in plain if name not in inside]
    if outside:
        warnings.warn(
            f"ignored arrays whose names do not begin with {prefix}, as the model's do ({len(outside)}): "
            f"{first_ten(outside)}",
            stacklevel=5,
        )
    entries: dict[str, str] = {}
    for name, inner in inside.items():
        new = inner.removeprefix(prefix)
        if new in entries:
            raise WeightsError(f"{entries[new]} and {name} are two names for the same weight: remove one of them")
        entries[new] = name
    if all(new == name for new, name in entries.items()) and not outside:
        return arrays
    return Renamed(arrays, {new: (name, as_stored) for new, name in entries.items()})


def _prefix(names: set[str]) -> str:
    """The text before all names of the only model among them; "" if there are several models, or none.

    The halves of an encoder-decoder, which has cross-attention in its half `decoder.`, are one model.
    """
    found = {_without_base(name.removesuffix(ANCHOR)) for name in names if name.endswith(ANCHOR)}
    if any(HALF.search(name) for name in names):
        found = {re.sub(r"(^|(?<=\.))(encoder|decoder)\.$", "", stem) for stem in found}
    return found.pop() if len(found) == 1 else ""


def _without_base(stem: str) -> str:
    """A prefix without the base model's at its end: `model.roberta.` -> `model.`."""
    for base in PREFIXES:
        if stem == base or stem.endswith(f".{base}"):
            return stem.removesuffix(base)
    return stem
