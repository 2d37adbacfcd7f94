"""Whether two checkpoints are one model: field by field, weight by weight, and by what they make of a random input."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import to_host
from ..model import Network
from ..packed import OUTPUTS
from ..weights import flat

WITHOUT_MEANING = {
    "model_type", "architectures", "other", "initializer_range", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "classifier_dropout", "use_cache", "chunk_size_feed_forward", "bos_token_id", "eos_token_id",
}  # fmt: skip
"""Fields of a configuration that change no output."""

ROUNDING = 1e-4
"""Of the largest output: more than float32 loses in two orders of the same sums, and less than any mistake makes."""


class Difference(NamedTuple):
    """What differs: a field or a weight; what the one has there, and what the other."""

    name: str
    one: str
    other: str


class Verdict(NamedTuple):
    """What differs, in the order of the data's way; and how far the outputs do, as a part of the largest.

    Where fields or shapes differ there may be no common input, and the outputs' difference is None.
    """

    differences: list[Difference]
    outputs: float | None

    @property
    def equal(self) -> bool:
        """Whether the two are one model."""
        return not self.differences and self.outputs is not None and self.outputs <= ROUNDING


def verify(one: Network, other: Network) -> Verdict:
    """Compare two models of the same head: what means something in their configurations, and their weights, to the bit.

    Their outputs are compared for two random sequences, one of them with pads at its end.
    """
    fields, arrays = list(_fields(one, other)), list(_weights(one, other))
    first, second = flat(one.params), flat(other.params)
    same_shapes = {name: x.shape for name, x in first.items()} == {name: x.shape for name, x in second.items()}
    comparable = same_shapes and one.config.pad_token_id == other.config.pad_token_id
    return Verdict(fields + arrays, _distance(one, other) if comparable else None)


def _fields(one: Network, other: Network) -> Iterator[Difference]:
    for field in dataclasses.fields(one.config):
        own, its = getattr(one.config, field.name), getattr(other.config, field.name)
        if own != its and field.name not in WITHOUT_MEANING:
            yield Difference(field.name, repr(own), repr(its))


def _weights(one: Network, other: Network) -> Iterator[Difference]:
    first, second = flat(one.params), flat(other.params)
    for name in {**first, **second}:
        own, its = first.get(name), second.get(name)
        if own is None or its is None or own.shape != its.shape:
            yield Difference(name, _shape(own), _shape(its))
        elif not numpy.array_equal(own, its, equal_nan=True):
            yield _where(name, own, its)


def _shape(array: Any) -> str:
    return "nothing" if array is None else f"shape {tuple(array.shape)}"


def _where(name: str, own: numpy.ndarray, its: numpy.ndarray) -> Difference:
    """Where two arrays differ most."""
    distance = numpy.nan_to_num(abs(own - its), nan=numpy.inf)
    place = numpy.unravel_index(distance.argmax(), own.shape)
    return Difference(f"{name}[{', '.join(map(str, place))}]", f"{own[place]:.9g}", f"{its[place]:.9g}")


def _distance(one: Network, other: Network) -> float:
    """The largest difference between the outputs at tokens, as a part of the largest output; NaN where there is one."""
    ids, mask = _sequences(one)
    several = one.head == "multiple_choice"
    made = [model(ids[None], mask[None]) if several else model(ids, mask) for model in (one, other)]  # (1, C, L)
    result = 0.0
    for name in (name for name in OUTPUTS if name in made[0]):
        own, its = (to_host(output[name]) for output in made)
        if own.shape[:2] == mask.shape:
            own, its = own[mask == 1], its[mask == 1]
        largest = abs(own).max()
        result = numpy.maximum(result, abs(own - its).max() / largest if largest else 0.0)
    return float(result)


def _sequences(model: Network) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Ids and mask of two random sequences, (2, L), the second with pads from its middle on."""
    config = model.config
    length = min(16, config.longest)
    ids = numpy.random.default_rng(0).integers(0, config.vocab_size, (2, length))
    ids[ids == config.pad_token_id] = (config.pad_token_id + 1) % config.vocab_size
    mask = numpy.ones_like(ids)
    mask[1, (length + 1) // 2 :] = 0
    ids[mask == 0] = config.pad_token_id
    return ids, mask
