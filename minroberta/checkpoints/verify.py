"""Comparison of two models: field by field, weight by weight, and by their outputs for a random input."""

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
"""Fields of a configuration that do not change the outputs."""

ROUNDING = 1e-4
"""Tolerance relative to the largest output: above float32 rounding errors, but below the effect of a mistake."""


class Difference(NamedTuple):
    """A configuration field or a weight that differs, with its value in each of the two models."""

    name: str
    one: str
    other: str


class Verdict(NamedTuple):
    """The result of a comparison: fields and weights that differ, and the largest difference between outputs.

    outputs: the largest difference, divided by the largest output; None if the models cannot be given the same input,
    because the shapes of their weights or their padding ids differ.
    """

    differences: list[Difference]
    outputs: float | None

    @property
    def equal(self) -> bool:
        """True if no field or weight differs, and the outputs are equal up to rounding."""
        return not self.differences and self.outputs is not None and self.outputs <= ROUNDING


def verify(one: Network, other: Network) -> Verdict:
    """Compare two models with the same head: configuration fields that affect the outputs, weights, and outputs.

    A field or weight differs unless it is exactly equal in both models. The outputs are compared for two random
    sequences, one of which has padding at the end.
    """
    fields, arrays = list(_fields(one, other)), list(_weights(one, other))
    first, second = flat(one.params), flat(other.params)
    same_shapes = {name: x.shape for name, x in first.items()} == {name: x.shape for name, x in second.items()}
    comparable = same_shapes and one.config.pad_token_id == other.config.pad_token_id
    return Verdict(fields + arrays, _distance(one, other) if comparable else None)


def _fields(one: Network, other: Network) -> Iterator[Difference]:
    for field in dataclasses.fields(one.config):
        first, second = getattr(one.config, field.name), getattr(other.config, field.name)
        if first != second and field.name not in WITHOUT_MEANING:
            yield Difference(field.name, repr(first), repr(second))


def _weights(one: Network, other: Network) -> Iterator[Difference]:
    first, second = flat(one.params), flat(other.params)
    for name in {**first, **second}:
        a, b = first.get(name), second.get(name)
        if a is None or b is None or a.shape != b.shape:
            yield Difference(name, _shape(a), _shape(b))
        elif not numpy.array_equal(a, b, equal_nan=True):
            yield _largest(name, a, b)


def _shape(array: Any) -> str:
    return "missing" if array is None else f"shape {tuple(array.shape)}"


def _largest(name: str, a: numpy.ndarray, b: numpy.ndarray) -> Difference:
    """The largest difference between two arrays, with its index."""
    distance = numpy.nan_to_num(abs(a - b), nan=numpy.inf)
    index = numpy.unravel_index(distance.argmax(), a.shape)
    return Difference(f"{name}[{', '.join(map(str, index))}]", f"{a[index]:.9g}", f"{b[index]:.9g}")


def _distance(one: Network, other: Network) -> float:
    """The largest difference between outputs, except at padding, divided by the largest output; NaN if any is NaN."""
    ids, mask = _sequences(one)
    several = one.head == "multiple_choice"
    outputs = [model(ids[None], mask[None]) if several else model(ids, mask) for model in (one, other)]  # (1, C, L)
    result = 0.0
    for name in (name for name in OUTPUTS if name in outputs[0]):
        a, b = (to_host(output[name]) for output in outputs)
        if a.shape[:2] == mask.shape:
            a, b = a[mask == 1], b[mask == 1]
        largest = abs(a).max()
        result = numpy.maximum(result, abs(a - b).max() / largest if largest else 0.0)
    return float(result)


def _sequences(model: Network) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Ids and mask of two random sequences, (2, L). The second half of the second sequence is padding."""
    config = model.config
    length = min(16, config.longest)
    ids = numpy.random.default_rng(0).integers(0, config.vocab_size, (2, length))
    ids[ids == config.pad_token_id] = (config.pad_token_id + 1) % config.vocab_size
    mask = numpy.ones_like(ids)
    mask[1, (length + 1) // 2 :] = 0
    ids[mask == 0] = config.pad_token_id
    return ids, mask
