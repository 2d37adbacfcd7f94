"""Several sequences in one row, (1, T), where a batch (B, L) would have pads: what pads would cost is not computed.

All that happens to a place alone happens to the whole row at once, and each sequence attends to itself.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from . import ops
from .backend.arrays import Array, namespace, widened
from .config import Config
from .errors import InputError


class Packing(NamedTuple):
    """Sequences one behind the other in one row, (1, T), where a batch would have pads.

    lengths: of each. asked: for each the places that the head reads, or None for all. Of the others the last layer
    makes keys and values, and no more; those asked for, W in all, come out as rows of their own, (W, 1, D).
    """

    lengths: Sequence[int]
    asked: Sequence[Sequence[int]] | None = None

    def of_sequences(self, some: slice) -> "Packing":
        """How some of the sequences are packed, in a row of their own."""
        return Packing(self.lengths[some], None if self.asked is None else self.asked[some])

    def tokens(self, some: slice) -> slice:
        """Where those stand."""
        return slice(sum(self.lengths[: some.start]), sum(self.lengths[: some.stop]))


class Segment(NamedTuple):
    """Queries of a packed row, and the keys that they attend to under a mask (1, 1, queries, keys)."""

    queries: slice
    keys: slice
    mask: Array | None


def spans(lengths: Iterable[int]) -> list[slice]:
    """Where sequences of these lengths stand, one behind the other."""
    return [slice(*ends) for ends in itertools.pairwise(itertools.accumulate(lengths, initial=0))]


def segments(
    packing: Packing, config: Config, x: Array, places: Sequence[Sequence[int]] | None = None
) -> list[Segment]:
    """A segment for each sequence, its queries at these places of it, or all. A decoder's keys go up to the query."""
    xp, result = namespace(x), []
    places = [range(length) for length in packing.lengths] if places is None else places
    for queries, keys, own in zip(spans(map(len, places)), spans(packing.lengths), places, strict=True):
        length, mask = keys.stop - keys.start, None
        if not own:  # a sequence of pads alone, or one of which nothing is asked
            continue
        if config.is_decoder:
            causal = ops.causal_mask(xp, length, length)[xp.asarray(own)]  # (queries, keys)
            mask = ops.additive_mask(causal[None], widened(x.dtype))
        result.append(Segment(queries, keys, mask))
    return result


# --- from a batch with pads, and back -------------------------------------------------------------------------------


PER_PLACE = ("masked_lm", "causal_lm", "token_classification", "question_answering", "encoder")
"""Heads that say something about each place; the others read the first."""


NAMES = ("last_hidden_state", "logits", "start_logits", "end_logits")
"""Outputs that a packed row has."""


def pack(inputs: Mapping[str, numpy.ndarray], config: Config, head: str) -> tuple[dict[str, Any], Packing]:
    """The inputs of `forward` without pads, and how they are packed. inputs: arrays of a batch, (B, L) and (B, L, D).

    Raises InputError for what has no such form.
    """
    mask = inputs.get("attention_mask")
    others = inputs.keys() - {"input_ids", "inputs_embeds", "attention_mask", "token_type_ids", "position_ids"}
    if others or mask is None or mask.ndim != 2 or not numpy.isin(mask, (0, 1)).all():
        wanted = "a 2-D attention_mask of 0 and 1" if not others else f"no {', '.join(sorted(others))}"
        raise InputError(f"skip_padding takes {wanted}: call without it")
    if config.position_embedding_type != "absolute":
        raise InputError("skip_padding is for absolute positions, and this model's are relative: call without it")
    if head not in PER_PLACE and not mask[:, 0].all():
        raise InputError(f"head {head!r} reads place 0, and some rows have a pad there: call without skip_padding")
    given = {name: numpy.broadcast_to(x, (*mask.shape, *x.shape[2:])) for name, x in inputs.items()}
    if "position_ids" not in given:
        ids = given.get("input_ids", numpy.full(mask.shape, config.pad_token_id + 1))
        given["position_ids"] = ops.create_position_ids_from_input_ids(ids, config.pad_token_id)
    del given["attention_mask"]
    tokens = mask.nonzero()
    lengths = mask.sum(1).astype(int).tolist()
    asked = None if head in PER_PLACE else [[0]] * len(lengths)
    return {name: x[tokens][None] for name, x in given.items()}, Packing(lengths, asked)


def unpack(x: Array, mask: numpy.ndarray) -> Array:
    """What a packed row says at the places of a batch, and 0 at its pads. x: (1, T, ...), mask: (B, L)."""
    xp, tokens = namespace(x), mask.astype(bool)
    place = numpy.full(mask.shape, x.shape[1])
    place[tokens] = numpy.arange(x.shape[1])
    zero = xp.zeros((1, *x.shape[2:]), dtype=x.dtype)
    return xp.concatenate([x[0], zero])[xp.asarray(place)]  # (1, T, ...) -> (B, L, ...)
