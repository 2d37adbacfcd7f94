"""Calls that JAX compiles: inputs of any shape are padded to one of a few shapes, each of which is compiled once.

A length is padded to the next of 16, 24, 32, 48, 64, 96, 128, ... (powers of two, and one and a half of them), at most
to the longest sequence that the model takes; a batch to the next of 1, 2, 3, 4, 6, 8, 12, 16, .... A mask hides the
padding, and outputs are cut back, so that only rounding differs. Whatever padding could change, or cannot be padded, is
computed without compilation (`fits`). The sequences of a task share rows of 128 positions, or of as many as the longest
sequence needs. A processor computes large batches in parts (`parts_of`).

If the parameters are on several devices, each device computes a share of the batch (`backend.devices`). The size of a
share is one of the sizes above, and the batch is padded to fill all shares.
"""

import contextlib
import functools
import itertools
import logging
import math
import os
import platform
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from .backend.arrays import Array, namespace
from .backend.fused import allowing
from .backend.schedule import blocks
from .cache import Cache
from .config import HEADS, Config
from .inputs import Inputs
from .packed import spans
from .trace import is_recording

SHORTEST = 16
"""The smallest length that sequences are padded to."""

ROW = 128
"""Length of the rows that several sequences share, unless one of them is longer."""

TOKENS = 4096
"""Largest number of positions, with padding, on one device in one of the batches that `batches_of` makes."""

TOKENS_ON_CPU = 1024
"""The same on a processor, where it holds for calls too: larger products are slower."""

COMPILED = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
"""The inputs that can be padded."""

log = logging.getLogger(__name__)

# --- shapes ---------------------------------------------------------------------------------------------------------


def bucket(size: int) -> int:
    """The smallest number of at least `size` that is a power of two, or one and a half of one."""
    power = 1 << (size - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= size else power


def padded_length(length: int, config: Config) -> int:
    """The length that sequences are padded to."""
    longer = bucket(max(length, SHORTEST))
    return min(longer, config.longest) if length <= config.longest else longer


def padded_batch(size: int, count: int) -> int:
    """The size that a batch is padded to, so that each of `count` devices gets the same share."""
    return count * bucket(-(-size // count))


def rows_of(lengths: Sequence[int], config: Config) -> list[list[int]]:
    """Divide sequences among rows: the indices of those in each row (first fit, longest first).

    Rows have ROW positions, or as many as the longest sequence is padded to if that is longer.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    most = padded_length(max(*lengths, min(ROW, config.longest)), config)
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((row for row, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(most)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def batches_of(
    lengths: Sequence[int], config: Config, count: int = 1, tokens: int = TOKENS
) -> Iterator[tuple[list[list[int]], int]]:
    """Batches of rows that are padded to the same length: the indices of the sequences in each row, and that length.

    Each of `count` devices gets the largest power of two of rows that there are, and that have at most `tokens`
    positions in all. If there are fewer rows than devices, empty rows are added.
    """

    def length_of(row: Sequence[int]) -> int:
        return padded_length(sum(lengths[index] for index in row), config)

    for length, group in itertools.groupby(sorted(rows_of(lengths, config), key=length_of), length_of):
        some = list(group)
        while some:
            size = count * power_below(min(max(1, len(some) // count), max(1, tokens // length)))
            yield some[:size] + [[]] * (size - len(some)), length
            some = some[size:]


def tokens_at_once(x: Array) -> int:
    """Largest number of positions, with padding, on one device in a batch, for a model with the parameter x."""
    return TOKENS_ON_CPU if is_on_cpu(x) else TOKENS


def parts_of(shape: Sequence[int], config: Config, count: int, x: Array) -> list[slice]:
    """The parts of a batch, (B, L) or (B, C, L), that a processor computes one after the other.

    count: the number of devices; x: a parameter of the model.
    """
    each = math.prod(shape[1:-1]) * padded_length(shape[-1], config)
    size = count * power_below(max(1, TOKENS_ON_CPU // each)) if is_on_cpu(x) else shape[0]
    return blocks(slice(0, shape[0]), size)


def is_on_cpu(x: Array) -> bool:
    """True if an array of JAX is in a processor's memory."""
    return all(device.platform == "cpu" for device in x.devices())


def power_below(size: int) -> int:
    """The largest power of two of at most `size`."""
    return 1 << (size.bit_length() - 1)


def power_of_four(size: int) -> int:
    """The smallest power of four of at least `size`."""
    return 4 ** -(-(size - 1).bit_length() // 2)


# --- what is compiled -----------------------------------------------------------------------------------------------


def compiles(x: Array) -> bool:
    """Return whether calls of the model with the parameter x can be compiled.

    They are on JAX, unless values are recorded, a transformation such as `jax.grad` is tracing the parameters, or
    `jax.disable_jit` asks for one operation after the other.
    """
    if namespace(x).__name__ != "jax.numpy" or is_recording():
        return False
    return not (_is_traced(x) or sys.modules["jax"].config.jax_disable_jit)


def fits(config: Config, inputs: Mapping[str, Any]) -> bool:
    """Return whether padding can be added to the inputs, which are checked NumPy arrays, without changing the outputs.

    A query that no key is visible to has equal weights for all keys, of which padding would add some.
    """
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids")
    if inputs.keys() - COMPILED or ids is None or not ids.size or config.chunk_size_feed_forward:
        return False
    if mask is None:
        return True
    seen = mask[..., :1] if config.is_decoder else mask  # its first query sees only the first key
    return mask.ndim == ids.ndim and bool((seen == 1).any(-1).all())


# --- compiled calls -------------------------------------------------------------------------------------------------

Run = Callable[..., dict[str, Any]]


def call(
    run: Run, params: Any, config: Config, head: str, inputs: Mapping[str, Array], made: list[str], **asked: Any
) -> dict[str, Any]:
    """Call `model.run`, compiled for the shapes of the inputs and for what is asked of it.

    count: the number of devices among which the model shares batches; fused: whether attention may be computed by the
    kernel. If JAX has not compiled the call yet, a description of it is added to `made`.
    """
    keep_compilations()
    with _told_to(made):
        return _jitted(run)(params, config, head, inputs, **asked)


_made: ContextVar[list[str]] = ContextVar("made")


@contextlib.contextmanager
def _told_to(made: list[str]) -> Iterator[None]:
    """Add descriptions of what JAX compiles within the block to `made`."""
    token = _made.set(made)
    try:
        yield
    finally:
        _made.reset(token)


@functools.cache
def _jitted(run: Run) -> Run:
    """The compiled function; all models share it, and those of the same configuration their compilations."""

    def traced(
        params: Any,
        config: Config,
        head: str,
        inputs: Mapping[str, Array],
        wanted: Array | None = None,
        count: int = 1,
        fused: bool = False,
        **asked: Any,
    ) -> dict[str, Any]:
        shape = " × ".join(map(str, inputs["input_ids"].shape))
        extra = ["positions"] * (wanted is not None) + [name for name, value in asked.items() if value is True]
        _tell(", ".join([f"{head} of {shape}", *extra, *[f"{count} devices"] * (count > 1)]))
        with allowing(fused):
            outputs = run(params, config, head, Inputs(**inputs), wanted=wanted, **asked)
        return OrderedDict(outputs)  # JAX would sort the names of a dict

    static = ("count", "fused", "use_cache", "output_attentions", "output_hidden_states", "precision")
    return sys.modules["jax"].jit(traced, static_argnums=(1, 2), static_argnames=static)


def _tell(description: str) -> None:
    """Say what JAX is about to compile."""
    _made.get().append(description)
    log.debug("compiling %s", description)


def padded(config: Config, inputs: Mapping[str, Any], batch: int) -> dict[str, numpy.ndarray]:
    """The inputs with padding after the sequences, and after the tokens of each: (B, ..., L) -> (batch, ..., longer).

    A mask and token types are added, so that calls with and without them share a compilation.
    """
    ids = inputs["input_ids"]
    every = {"attention_mask": numpy.ones(ids.shape, int), "token_type_ids": numpy.zeros(ids.shape, int), **inputs}
    more = padded_length(ids.shape[-1], config) - ids.shape[-1]
    widths = [(0, batch - len(ids)), *[(0, 0)] * (ids.ndim - 2), (0, more)]
    filled = {"input_ids": config.pad_token_id}
    return {
        name: numpy.pad(numpy.broadcast_to(x, ids.shape), widths, constant_values=filled.get(name, 0))
        for name, x in every.items()
    }


def padded_positions(
    rows: Sequence[Sequence[Sequence[int]]], wanted: Sequence[Sequence[Sequence[int]]]
) -> numpy.ndarray:
    """The positions in each row, (B, W), that are wanted in its sequences. W is a power of four; padding is 0."""
    positions = [
        [span.start + position for span, some in zip(spans(map(len, row)), own, strict=True) for position in some]
        for row, own in zip(rows, wanted, strict=True)
    ]
    result = numpy.zeros((len(rows), power_of_four(max(1, *map(len, positions)))), int)
    for row, own in zip(result, positions, strict=True):
        row[: len(own)] = own
    return result


AXES = {
    "last_hidden_state": (1,),
    "start_logits": (1,),
    "end_logits": (1,),
    "hidden_states": (1,),
    "past_key_values": (2,),
    "attentions": (2, 3),
}
"""The axes of outputs that are as long as the sequences."""


def cut(outputs: Mapping[str, Any], head: str, shape: Sequence[int]) -> dict[str, Any]:
    """The outputs without those of padding; shape: that of the input ids before padding, (B, L) or (B, C, L)."""
    (batch, *choices), length = shape[:-1], shape[-1]
    axes = AXES if HEADS[head].reads_first else {**AXES, "logits": (1,)}

    def size_of(name: str) -> int:
        return batch if name == "logits" else batch * (choices[0] if choices else 1)

    return {name: _cut(value, size_of(name), length, axes.get(name, ())) for name, value in outputs.items()}


def _cut(value: Any, rows: int, length: int, axes: Sequence[int]) -> Any:
    if isinstance(value, Cache):
        return Cache([_cut(layer, rows, length, axes) for layer in value], _cut(value.tokens, rows, length, ()))
    if isinstance(value, tuple):
        return tuple(_cut(item, rows, length, axes) for item in value)
    if value is None or not value.ndim:
        return value
    index = tuple(slice({0: rows}.get(axis, length if axis in axes else None)) for axis in range(value.ndim))
    return _part(value, index)


def _part(x: Array, index: tuple[slice, ...]) -> Array:
    """x[index]. On a processor by NumPy, since JAX would compile a slice of each new shape, and its asarray a copy."""
    if all(part.stop is None or part.stop == size for part, size in zip(index, x.shape, strict=True)):
        return x
    return x[index] if _is_traced(x) or not is_on_cpu(x) else _put(numpy.asarray(x)[index])


def joined(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outputs of the parts of a batch as those of the whole."""
    if len(several) == 1:
        return dict(several[0])
    join = sys.modules["jax"].tree_util.tree_map
    return {name: join(_joined, *(outputs[name] for outputs in several)) for name in several[0]}


def _joined(*parts: Array) -> Array:
    """The parts one after the other. Like `_part`, by NumPy; only a processor computes in parts."""
    if any(map(_is_traced, parts)):
        return namespace(parts[0]).concatenate(parts)
    return _put(numpy.concatenate([numpy.asarray(part) for part in parts]))


def _is_traced(x: Array) -> bool:
    """Return whether x belongs to a function that JAX is tracing, and so has no value yet."""
    return isinstance(x, sys.modules["jax"].core.Tracer)


def _put(x: numpy.ndarray) -> Array:
    return sys.modules["jax"].device_put(x)


# --- token by token -------------------------------------------------------------------------------------------------


class Roomy(NamedTuple):
    """A cache with room for more tokens: only the first `length` of its positions are in use."""

    cache: Cache
    length: int


def can_step(config: Config) -> bool:
    """Return whether `step` works for a decoder; relative positions would count the room as tokens."""
    return config.position_embedding_type == "absolute" and not config.chunk_size_feed_forward


def step(
    run: Run,
    params: Any,
    config: Config,
    head: str,
    ids: Array,
    parents: Array,
    past: Roomy,
    made: list[str],
    **asked: Any,
) -> tuple[Array, Roomy]:
    """The logits after one more token in each row, (B, V), and the cache with that token.

    It is compiled once for each size of the cache, not for each length. ids: (B, 1); parents: (B,), the row of the
    cache that each row continues.
    """
    cache = _with_room(past, config)
    with _told_to(made):
        logits, cache = _jitted_step(run)(params, config, head, ids, parents, cache, past.length, **asked)
    return logits, Roomy(cache, past.length + 1)


def _with_room(past: Roomy, config: Config) -> Cache:
    size = past.cache[0][0].shape[2]
    if past.length < size:
        return past.cache
    more = padded_length(size + 1, config) - size
    pad = namespace(past.cache.tokens).pad
    layers = [tuple(pad(x, [(0, 0), (0, 0), (0, more), (0, 0)]) for x in layer) for layer in past.cache]
    return Cache(layers, past.cache.tokens)


@functools.cache
def _jitted_step(run: Run) -> Callable[..., tuple[Array, Cache]]:
    jax = sys.modules["jax"]

    def traced(
        params: Any, config: Config, head: str, ids: Array, parents: Array, cache: Cache, length: Array, **asked: Any
    ) -> tuple[Array, Cache]:
        xp, size = namespace(ids), cache[0][0].shape[2]
        _tell(f"{head} of {len(ids)} × 1, cache of {size}")
        before = Cache([tuple(x[parents] for x in layer) for layer in cache], cache.tokens[parents])
        places = xp.arange(size + 1)  # the new token is put after the room
        mask = xp.broadcast_to((places < length) | (places == size), (len(ids), size + 1)).astype(int)
        inputs = Inputs(ids, mask, past_key_values=before)
        outputs = run(params, config, head, inputs, use_cache=True, **asked)

        def put(old: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new[:, :, size:], length, axis=2)

        after = outputs["past_key_values"]
        layers = [tuple(map(put, old, new)) for old, new in zip(before, after, strict=True)]
        return outputs["logits"][:, -1], Cache(layers, after.tokens)

    return jax.jit(traced, static_argnums=(1, 2), static_argnames=("precision",))


# --- compilations that are kept -------------------------------------------------------------------------------------


@functools.cache
def keep_compilations() -> None:
    """Let JAX keep what it compiles in a folder for the next process, unless the user has given JAX a folder.

    JAX_COMPILATION_CACHE_DIR gives another folder, and JAX_ENABLE_COMPILATION_CACHE=0 none. What JAX compiles for a
    processor is for that processor, and home directories may be shared, so each machine has its own folder.
    """
    jax = sys.modules["jax"]
    if jax.config.jax_compilation_cache_dir is not None or not jax.config.jax_enable_compilation_cache:
        return
    folder = cache_folder(sys.modules["jaxlib"].__version__)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        log.debug("compilations are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # for the calls of small models
    from jax.experimental.compilation_cache import compilation_cache

    compilation_cache.reset_cache()  # JAX looks for a folder only once, at its first compilation


def cache_folder(version: str) -> Path:
    """The folder of this machine and version of jaxlib, below XDG_CACHE_HOME or ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "minroberta" / f"jaxlib-{version}-{platform.node()}"
