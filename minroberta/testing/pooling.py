"""The vector of each text that `encode` makes of the last hidden states, as a value that can be compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..backend.arrays import Array, to_host
from ..loading import Model
from ..text.embedding import Embedding
from ..text.encode import finish, read_vector

NAME = "sentence_embedding"
"""The value's name: the one that sentence-transformers gives it."""


class Pooled(Model):
    """A model whose outputs include `sentence_embedding`, (B, W), by the model's own settings.

    Masked positions are left out. Without settings, a vector is the mean of the states, and is not normalised.
    """

    @classmethod
    def of(cls, model: Model) -> "Pooled":
        """The same model with one more output."""
        result = cls(model.config, model.params, model.head, model.tokenizer)
        result.embedding = model.embedding
        return result

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        """The outputs of the model by name, with one more."""
        output = super().__call__(*arguments, **inputs)
        states = output["last_hidden_state"]
        x, own = pooled(states, mask_of(inputs, states), settings(self).poolings), settings(self)
        return {**output, NAME: finish(x, own, None, own.truncate_dim)}


def settings(model: Model) -> Embedding:
    """The settings by which a model's repository turns states into vectors."""
    return model.embedding or Embedding()


def pooled(states: Array, mask: Array, poolings: Sequence[str]) -> numpy.ndarray:
    """The poolings of the states that are not masked, one after the other: (B, L, D), (B, L) -> (B, W)."""
    rows = [{"last_hidden_state": to_host(x)[kept]} for x, kept in zip(states, mask, strict=True)]
    return numpy.stack([read_vector(row, [], poolings) for row in rows])


def mask_of(inputs: Mapping[str, Any], states: Array) -> numpy.ndarray:
    """The attention mask as booleans (B, L), True everywhere if none is given for each position."""
    mask = inputs.get("attention_mask")
    if mask is None or numpy.shape(mask) != states.shape[:2]:
        return numpy.ones(states.shape[:2], bool)
    return to_host(mask) > 0
