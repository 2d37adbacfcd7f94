"""Inputs that show what depends on padding, masks and ids."""

import numpy

from ..loading import Model

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
