"""Several sequences in one row, (1, T), instead of a padded batch, (B, L), so that padding costs nothing.

The functions of `layers` are reused. A function in which positions are independent is computed for the whole row at
once, and in attention, each sequence attends only to itself.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from . import ops
from .attend import Segment, Segmented
from .backend.arrays import Array, namespace, widened
from .backend.schedule import each, sequence_shares
from .config import HEADS, Config
from .errors import InputError
from .layers import LayerInputs, cross_attention, encoder_layer, norm, residual, transform
from .trace import Node, tap


class Packing(NamedTuple):
    """The layout of several sequences in one row, (1, T).

    lengths: the length of each sequence. wanted: the positions in each sequence that the head reads, or None for all.
    At the other positions, the last layer computes only keys and values. The output has the states at the W wanted
    positions of all sequences, in order, (1, W, D).
    """

    lengths: Sequence[int]
    wanted: Sequence[Sequence[int]] | None = None

    def of_sequences(self, some: slice) -> "Packing":
        """The packing of a row with only a slice of the sequences."""
        return Packing(self.lengths[some], None if self.wanted is None else self.wanted[some])

    def positions(self, some: slice) -> slice:
        """The slice of the whole row that a slice of the sequences occupies."""
        return slice(sum(self.lengths[: some.start]), sum(self.lengths[: some.stop]))


def spans(lengths: Iterable[int]) -> list[slice]:
    """The slice of a row that each sequence occupies, given the lengths of the sequences."""
    return [slice(*ends) for ends in itertools.pairwise(itertools.accumulate(lengths, initial=0))]


# --- the encoder ----------------------------------------------------------------------------------------------------


def encoder(x: Array, p: Node, config: Config, packing: Packing) -> Array:
    """The last hidden state of a packed row: (1, T, D) -> (1, T, D), or (1, W, D) if only some positions are wanted."""
    shares = sequence_shares(x, packing.lengths)
    if len(shares) < 2:
        return _encoder(x, p, config, packing)

    def share(some: slice) -> Array:
        return _encoder(x[:, packing.positions(some)], p, config, packing.of_sequences(some))

    return namespace(x).concatenate(each(share, shares, x, x.size), axis=1)


def _encoder(x: Array, p: Node, config: Config, packing: Packing) -> Array:
    inputs = LayerInputs(Segmented(segments(packing.lengths, config, x)))
    *most, last = (p.layer[index] for index in range(config.num_hidden_layers))
    for layer in most:
        x = encoder_layer(x, layer, config, inputs)
    if packing.wanted is None:
        x = encoder_layer(x, last, config, inputs)
    else:
        x = _wanted(x, last, config, packing.lengths, packing.wanted)
    if "LayerNorm" in p:
        x = norm(x, p.LayerNorm, config)
    return tap(p.path, x)


def _wanted(x: Array, p: Node, config: Config, lengths: Sequence[int], wanted: Sequence[Sequence[int]]) -> Array:
    """The last layer, computed only for queries at the wanted positions. (1, T, D) -> (1, W, D)."""
    positions = [span.start + i for span, some in zip(spans(lengths), wanted, strict=True) for i in some]
    attend = Segmented(segments(lengths, config, x, wanted))
    memory = norm(x, p.attention.output.LayerNorm, config) if config.norm_first else x
    x = x[:, namespace(x).asarray(positions, dtype=int)]  # (1, T, D) -> (1, W, D)
    x = residual(x, lambda x: cross_attention(x, memory, p.attention, config, attend), p.attention.output, config)
    return transform(x, p, config)


def segments(
    lengths: Sequence[int], config: Config, x: Array, wanted: Sequence[Sequence[int]] | None = None
) -> list[Segment]:
    """A segment for each sequence, with queries at the wanted positions (all by default), causal in decoders."""
    xp, result = namespace(x), []
    wanted = [range(length) for length in lengths] if wanted is None else wanted
    for queries, keys, some in zip(spans(map(len, wanted)), spans(lengths), wanted, strict=True):
        if not some:  # a sequence of padding alone, or without wanted positions
            continue
        length, mask = keys.stop - keys.start, None
        if config.is_decoder:
            causal = ops.causal_mask(xp, length, length)[xp.asarray(some)]  # (queries, keys)
            mask = ops.additive_mask(causal[None], widened(x.dtype))
        result.append(Segment(queries, keys, mask))
    return result


# --- from a padded batch, and back ----------------------------------------------------------------------------------

OUTPUTS = ("last_hidden_state", "logits", "start_logits", "end_logits")
"""Outputs that can be computed for a packed row."""


def pack(inputs: Mapping[str, numpy.ndarray], config: Config, head: str) -> tuple[dict[str, Any], Packing]:
    """Pack the tokens of a batch, without its padding, into one row.

    inputs: arrays by name, (B, L) or (B, L, D), with an attention_mask. Raises InputError if they cannot be packed.
    """
    mask = inputs.get("attention_mask")
    others = inputs.keys() - {"input_ids", "inputs_embeds", "attention_mask", "token_type_ids", "position_ids"}
    if others or mask is None or mask.ndim != 2 or not numpy.isin(mask, (0, 1)).all():
        why = "needs a 2-D attention_mask of zeros and ones: give one"
        if others:
            why = f"does not take {', '.join(sorted(others))}: leave it out"
        raise InputError(f"skip_padding {why}, or set skip_padding=False")
    if config.position_embedding_type != "absolute":
        raise InputError("skip_padding needs absolute positions, but this model's are relative: set skip_padding=False")
    if HEADS[head].reads_first and not mask[:, 0].all():
        raise InputError(f"head {head!r} reads position 0, which is padding in some rows: set skip_padding=False")
    given = {name: numpy.broadcast_to(x, (*mask.shape, *x.shape[2:])) for name, x in inputs.items()}
    if "position_ids" not in given:
        ids = given.get("input_ids", numpy.full(mask.shape, config.pad_token_id + 1))
        given["position_ids"] = ops.create_position_ids_from_input_ids(ids, config.pad_token_id)
    del given["attention_mask"]
    if not mask.any():
        raise InputError("attention_mask is 0 everywhere, so skip_padding leaves no tokens: set skip_padding=False")
    tokens, lengths = mask.nonzero(), mask.sum(1).astype(int).tolist()
    row = {name: x[tokens][None] for name, x in given.items()}  # (B, L, ...) -> (1, T, ...)
    return row, Packing(lengths, [[0]] * len(lengths) if HEADS[head].reads_first else None)


class Typed(list[int]):
    """The ids of a sequence, with the token type of each, or None if all types are 0."""

    types: list[int] | None = None


def types_of(rows: Sequence[Sequence[int]]) -> list[list[int]] | None:
    """The token types of several sequences of ids, or None if all types are 0."""
    types = [row.types if isinstance(row, Typed) and row.types is not None else [0] * len(row) for row in rows]
    return types if any(map(any, types)) else None


def pack_ids(rows: Sequence[Sequence[int]], pad: int) -> dict[str, numpy.ndarray]:
    """Pack sequences of ids into one row, (1, T): `input_ids`, `position_ids`, and `token_type_ids` if not all 0."""
    positions = [ops.create_position_ids_from_input_ids(numpy.array([row]), pad) for row in rows]
    ids = numpy.array([[token for row in rows for token in row]])
    inputs = {"input_ids": ids, "position_ids": numpy.concatenate(positions, axis=1)}
    if (types := types_of(rows)) is not None:
        inputs["token_type_ids"] = numpy.array([[each for row in types for each in row]])
    return inputs


def pad_ids(rows: Sequence[Sequence[int]], pad: int) -> dict[str, numpy.ndarray]:
    """Pad sequences of ids to a batch, (B, L): `input_ids`, `attention_mask`, and `token_type_ids` if not all 0."""
    lengths = numpy.array([len(row) for row in rows])
    mask = (numpy.arange(lengths.max()) < lengths[:, None]).astype(int)
    ids = numpy.full(mask.shape, pad)
    ids[mask == 1] = [token for row in rows for token in row]
    inputs = {"input_ids": ids, "attention_mask": mask}
    if (types := types_of(rows)) is not None:
        inputs["token_type_ids"] = numpy.zeros_like(mask)
        inputs["token_type_ids"][mask == 1] = [each for row in types for each in row]
    return inputs


def pack_in_rows(rows: Sequence[Sequence[Sequence[int]]], length: int, config: Config) -> dict[str, numpy.ndarray]:
    """Pack several sequences of ids into each of B rows of a length.

    Returns `input_ids`, `token_type_ids` and `position_ids`, (B, L), and an attention mask, (B, L, L), by which
    sequences attend only to themselves, and padding to padding. If each row has one sequence, the mask is (B, L), and
    there are no `position_ids`.
    """
    segments = numpy.full((len(rows), length), -1)  # the number of a position's sequence, -1 for padding
    for row, several in zip(segments, rows, strict=True):
        numbers = numpy.repeat(range(len(several)), list(map(len, several)))
        row[: len(numbers)] = numbers
    flat = pack_ids([sequence for several in rows for sequence in several], config.pad_token_id)  # (1, T)
    result = {"input_ids": numpy.full_like(segments, config.pad_token_id), "token_type_ids": numpy.zeros_like(segments)}
    if segments.max() == 0:
        del flat["position_ids"]
        result["attention_mask"] = (segments == 0).astype(int)
    else:
        result["position_ids"] = numpy.full_like(segments, config.pad_token_id)
        together = segments[:, :, None] == segments[:, None, :]
        result["attention_mask"] = numpy.tril(together) if config.is_decoder else together
    for name, x in flat.items():
        result[name][segments >= 0] = x[0]
    return result


def unpack(x: Array, mask: numpy.ndarray) -> Array:
    """Convert a packed row's output to a batch, with zeros at padding positions. x: (1, T, ...), mask: (B, L)."""
    xp, tokens = namespace(x), mask.astype(bool)
    position = numpy.full(mask.shape, x.shape[1])
    position[tokens] = numpy.arange(x.shape[1])
    zero = xp.zeros((1, *x.shape[2:]), dtype=x.dtype)
    return xp.concatenate([x[0], zero])[xp.asarray(position)]  # (1, T, ...) -> (B, L, ...)


def without_padding(x: Array, mask: numpy.ndarray) -> Array:
    """JAX's output for a batch, with zeros at padding positions. x: (B, L, ...), mask: (B, L)."""
    seen = mask.astype(bool).reshape(*mask.shape, *[1] * (x.ndim - 2))
    return namespace(x).where(seen, x, 0)
