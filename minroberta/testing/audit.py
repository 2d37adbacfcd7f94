"""The mistakes that given inputs or weights cannot show, so that a port with them seems right."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from ..backend.arrays import to_host
from ..inputs import given
from ..loading import Model
from ..weights import flat
from .changes import WEIGHTS, Change, Setting, counted
from .mistakes import catalogue

LENGTH = 12
"""Number of tokens of a row of `inputs`, if the model takes so many."""


@dataclass(frozen=True)
class Audit:
    """Names of the mistakes that a call cannot show, whatever the port gives.

    inputs: those that other inputs would show. weights: those that other weights would show.
    """

    inputs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    def __str__(self) -> str:
        found = []
        if self.inputs:
            found.append(f"these inputs cannot tell: {', '.join(self.inputs)}; minroberta.testing.inputs(model) can")
        if self.weights:
            found.append(f"these weights cannot tell: {', '.join(self.weights)}, because the biases are 0")
        return "; ".join(found) or "of the mistakes examined, these inputs can tell every one"


def audit(model: Model, inputs: Mapping[str, Any]) -> Audit:
    """Find the mistakes of the catalogue that have no effect on this call.

        print(audit(model, {"input_ids": ids}))

    A mistake that changes the inputs, such as an ignored mask or positions that count padding, has no effect if it
    leaves these inputs as they are: a text without padding does not show whether the mask is applied. Such a mistake is
    listed if `testing.inputs(model)` would show it. A missing bias has no effect if the bias is 0, as in new models.
    The model is not run. Mistakes of other kinds are not examined. Raises InputError as `diagnose` does.
    """
    best, here = _shown(model, telling_inputs(model)), _shown(model, inputs)
    return Audit(tuple(name for name in best if name not in here), tuple(_without_bias(model)))


def _shown(model: Model, inputs: Mapping[str, Any]) -> list[str]:
    """Names of the mistakes that change these inputs."""
    setting = Setting(model, given(**inputs))
    mistakes = [(one.name, one.ways) for one in catalogue(model) if all(way.inputs for way in one.ways)]
    return [name for name, ways in mistakes if any(_changes(setting, way) for way in ways)]


def _changes(setting: Setting, way: Change) -> bool:
    """True if a change of the inputs has an effect on a compared value."""
    changed = way.inputs(setting.model, setting.inputs) if way.inputs else {}
    return any(not _same(setting, name, value) for name, value in changed.items())


def _same(setting: Setting, name: str, value: Any) -> bool:
    """True if an input has this value where it has an effect: the positions and types of padding have none."""
    before = _effective(setting, name, setting.inputs.get(name))
    after = _effective(setting, name, value)
    if before is None or after is None or before.shape != after.shape:
        return before is after
    mask = setting.inputs.get("attention_mask")
    counts = mask is not None and numpy.shape(mask) == before.shape and name in ("position_ids", "token_type_ids")
    return bool((before == after)[to_host(mask) > 0 if counts else ...].all())


def _effective(setting: Setting, name: str, value: Any) -> numpy.ndarray | None:
    """An input, with the value that the model uses if it is not given; None for a mask that hides nothing."""
    if name.endswith("attention_mask"):
        return None if value is None or (to_host(value) > 0).all() else to_host(value)
    if value is not None:
        return to_host(value)
    right = counted(setting.model, setting.inputs)
    return right if name == "position_ids" else numpy.zeros_like(right)


def _without_bias(model: Model) -> Iterable[str]:
    """Names of the mistakes that leave out a bias that is 0."""
    held = {name: array for name, array in flat(model.params).items() if name.endswith(".bias")}
    for part, pattern in WEIGHTS.items():
        biases = [array for name, array in held.items() if re.fullmatch(rf"({pattern})\.bias", name)]
        if biases and not any(to_host(array).any() for array in biases):
            yield f"bias-missing-{part}"
    if "lm_head.bias" in held and not to_host(held["lm_head.bias"]).any():
        yield from ("lm-bias-missing", "lm-bias-doubled")


def telling_inputs(model: Model, length: int = LENGTH) -> dict[str, numpy.ndarray]:
    """Inputs that show what depends on padding, masks and ids: three rows, or a row of three choices.

    The first row has no padding, but a token that the mask hides; the second is padded on the right, the third on the
    left. Every row begins with id 0. If the model has several token types, they alternate. length: the number of tokens
    of a row, at most the model's longest. Give more than 256 to see positions that are counted in bfloat16. Two things
    take a call of their own: `mask-1e4` and `mask-inf` show only on a query that the mask hides from all keys, with a
    mask (B, L, S), and `cache-position-off-by-one` only after a cache.

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
    ids[0, 0] = ids[1, 0] = ids[2, L // 4] = 0
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
