"""Whether two checkpoints are one model: field by field, weight by weight, and by what they make of a random input."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy

from .backend import to_host
from .model import Model
from .packing import NAMES
from .weights import flat

WITHOUT_MEANING = {
    "model_type", "architectures", "other", "initializer_range", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "classifier_dropout", "use_cache", "chunk_size_feed_forward", "bos_token_id", "eos_token_id",
}  # fmt: skip
"""Fields of a configuration that change no output."""

ROUNDING = 1e-4
"""Of the largest output: more than float32 loses in two orders of the same sums, and less than any mistake makes."""


class Difference(NamedTuple):
    """What differs: a field, a weight or an output; what the one has there, and what the other."""

    name: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.name}: {self.one} and {self.other}"


def differences(one: Model, other: Model) -> Iterator[Difference]:
    """What differs between two models of the same head, in the order of the data's way.

    First the fields of the configuration that mean something, then weights, to the bit; and where those are equal, what
    they make of two random sequences, of which one has pads at its end.
    """
    found = False
    for found_ in (_fields, _weights):
        for difference in found_(one, other):
            found = True
            yield difference
    if not found:
        yield from _outputs(one, other)


def _fields(one: Model, other: Model) -> Iterator[Difference]:
    for field in dataclasses.fields(one.config):
        own, its = getattr(one.config, field.name), getattr(other.config, field.name)
        if own != its and field.name not in WITHOUT_MEANING:
            yield Difference(field.name, repr(own), repr(its))


def _weights(one: Model, other: Model) -> Iterator[Difference]:
    first, second = flat(one.params), flat(other.params)
    for name in {**first, **second}:
        own, its = first.get(name), second.get(name)
        if own is None or its is None or own.shape != its.shape:
            yield Difference(name, _kind(own), _kind(its))
        elif not numpy.array_equal(own, its, equal_nan=True):
            yield _where(name, own, its)


def _outputs(one: Model, other: Model) -> Iterator[Difference]:
    config, random = one.config, numpy.random.default_rng(0)
    length = min(16, config.longest)
    ids = random.integers(0, config.vocab_size, (2, length))
    ids[ids == config.pad_token_id] = (config.pad_token_id + 1) % config.vocab_size
    mask = numpy.ones_like(ids)
    mask[1, (length + 1) // 2 :] = 0
    ids[mask == 0] = config.pad_token_id
    if one.head == "multiple_choice":
        ids, mask = ids[None], mask[None]  # (B, L) -> (1, C, L)
    first, second = one(ids, mask), other(ids, mask)
    for name in (name for name in NAMES if name in first):
        own, its = to_host(first[name]), to_host(second[name])
        if not abs(own - its).max() <= ROUNDING * abs(own).max():
            yield _where(name, own, its)


def _kind(array: Any) -> str:
    return "nothing" if array is None else f"shape {tuple(array.shape)}"


def _where(name: str, own: numpy.ndarray, its: numpy.ndarray) -> Difference:
    """Where two arrays differ most."""
    distance = numpy.nan_to_num(abs(own - its), nan=numpy.inf)
    place = numpy.unravel_index(distance.argmax(), own.shape)
    return Difference(f"{name}[{', '.join(map(str, place))}]", f"{own[place]:.9g}", f"{its[place]:.9g}")
