"""Inputs that show what depends on padding, masks and ids; and what a model makes of its inputs."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy

from .. import ops
from ..backend.arrays import Array, to_host
from ..cache import cached_length
from ..errors import InputError
from ..inputs import check_shapes
from ..loading import Model
from ..model import self_attention_mask
from .changes import Setting, counted

# --- inputs that show much ------------------------------------------------------------------------------------------

LENGTH = 12
"""Number of tokens of a row of `inputs`, if the model takes so many."""


def telling_inputs(model: Model, length: int = LENGTH) -> dict[str, numpy.ndarray]:
    """Inputs that show what depends on padding, masks and ids: three rows, or a row of three choices.

    The first row has no padding, but a token that the mask hides; the second is padded on the right, the third on the
    left. Every row begins with id 0, unless that is padding. If the model has several token types, they alternate.
    length: the number of tokens of a row, at most the model's longest. Some mistakes take a call of their own, which
    `audit` describes.

    Returns integers of shape (3, L), or (1, 3, L) for multiple choice, by the names of the model's inputs. With
    cross-attention there are also states to attend to, (3, 5, D), and their mask.
    """
    config = model.config
    L, pad = min(length, config.longest), config.pad_token_id
    ids = 2 + numpy.arange(3 * L).reshape(3, L) * 7 % max(1, config.vocab_size - 3)
    ids[ids == pad] = pad + 1
    mask = numpy.ones((3, L), int)
    mask[1, L - L // 3 :] = mask[2, : L // 4] = 0
    ids[mask == 0] = pad
    ids[0, 0] = ids[1, 0] = ids[2, L // 4] = 0 if pad else 2
    mask[0, L // 2] = 0
    result = {"input_ids": ids, "attention_mask": mask}
    if config.type_vocab_size > 1:
        result["token_type_ids"] = numpy.arange(3 * L).reshape(3, L) // 2 % 2
    if model.head == "multiple_choice":
        return {name: array[None] for name, array in result.items()}
    return result | (_memory(config.hidden_size) if config.add_cross_attention else {})


def _memory(D: int) -> dict[str, numpy.ndarray]:
    """States for cross-attention, the last of them masked."""
    states = numpy.random.default_rng(0).standard_normal((3, 5, D)).astype("float32")
    return {"encoder_hidden_states": states, "encoder_attention_mask": numpy.array([[1, 1, 1, 1, 0]] * 3)}


# --- what a model makes of its inputs -------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of a model, and what decides its values besides the weights.

    tokens: the positions and the types, (B, L). hidden: True for the keys that a query does not attend to, (B, L, S),
    in self-attention and in cross-attention. compared: True for the queries whose values are compared, (B, L).
    """

    setting: Setting
    tokens: list[numpy.ndarray]
    hidden: list[numpy.ndarray]
    compared: numpy.ndarray

    @classmethod
    def of(cls, model: Model, inputs: Mapping[str, Any]) -> "Call":
        """The call with these inputs. Raises InputError if the model does not accept them."""
        arrays = {name: x if name == "past_key_values" else to_host(x) for name, x in inputs.items()}
        check_shapes(model.config, model.head, arrays)
        right = counted(model, arrays)
        rows, mask = right.reshape(-1, right.shape[-1]), arrays.get("attention_mask")  # (B, C, L) -> (B·C, L)
        mask = None if mask is None else mask.reshape(len(rows), *mask.shape[right.ndim - 1 :])
        compared = numpy.ones(rows.shape, bool) if mask is None or mask.ndim == 3 else mask[:, -rows.shape[1] :] > 0
        compared[:, 0] |= model.head in OF_FIRST
        tokens = [arrays.get("position_ids", right), arrays.get("token_type_ids", 0 * right)]
        tokens = [numpy.broadcast_to(x, right.shape).reshape(rows.shape) for x in tokens]
        return cls(Setting(model, inputs), tokens, [*_hidden(model, arrays, mask, *rows.shape)], compared)

    def differs(self, setting: Setting) -> bool:
        """True if the setting's inputs make a difference to the values that are compared, or cannot be given."""
        try:
            other = Call.of(setting.model, setting.inputs)
        except InputError:
            return True
        pairs = zip(self.tokens + self.hidden, other.tokens + other.hidden, strict=True)
        return any((x != y)[self.compared].any() for x, y in pairs)


OF_FIRST = ("encoder", "sequence_classification", "multiple_choice")
"""The heads that read the first token, or have a pooler that does."""


def _hidden(model: Model, inputs: Mapping[str, Any], mask: Array | None, B: int, L: int) -> Iterator[numpy.ndarray]:
    """The keys that a query does not attend to, (B, L, S); then the same in cross-attention, if there is any."""
    past = cached_length(inputs.get("past_key_values"))
    added = self_attention_mask(numpy.zeros((B, L, 1)), mask, past, model.config)
    masks = [numpy.zeros((1, 1, 1, L + past)) if added is None else added]
    if "encoder_hidden_states" in inputs:
        every = numpy.ones(inputs["encoder_hidden_states"].shape[:2])
        masks.append(ops.additive_mask(inputs.get("encoder_attention_mask", every), every.dtype))
    yield from (numpy.broadcast_to(one < 0, (B, 1, L, one.shape[-1]))[:, 0] for one in masks)
