"""The mistakes that given inputs, values or weights cannot show, so that a port with them seems right."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backend.arrays import to_host
from ..inputs import given
from ..loading import Model
from ..weights import flat
from .calls import OF_FIRST, Call, telling_inputs
from .changes import WEIGHTS
from .mistakes import Mistake, catalogue


@dataclass(frozen=True)
class Audit:
    """Names of the mistakes that a call cannot show, whatever the port gives.

    inputs: those that other inputs would show. apart: those that take a call of their own, with what it needs. values:
    those that other values would show. weights: those that other weights would show.
    """

    inputs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    apart: Mapping[str, str] = field(default_factory=dict)

    @property
    def of_inputs(self) -> str:
        """A sentence about the mistakes that `testing.inputs` would show, or ""."""
        names = ", ".join(self.inputs)
        return f"these inputs cannot tell: {names}; minroberta.testing.inputs(model) can" if names else ""

    def __str__(self) -> str:
        apart = ", ".join(f"{name} ({need})" for name, need in self.apart.items())
        found = [
            self.of_inputs,
            f"these take a call of their own: {apart}" if apart else "",
            f"these values cannot tell: {', '.join(self.values)}" if self.values else "",
            f"these weights cannot tell: {', '.join(self.weights)}, because they are 0" if self.weights else "",
            "not examined: effects as small as rounding, as of an eps, equal layers or rows, one token's scores",
        ]
        return "; ".join(filter(None, found))


def audit(model: Model, inputs: Mapping[str, Any], values: Iterable[str] | None = None) -> Audit:
    """Find the mistakes of the catalogue that have no effect on this call.

        print(audit(model, {"input_ids": ids}))

    A mistake that changes the inputs, such as an ignored mask or positions that count padding, has no effect if it
    leaves the positions, the types, and the keys that each query attends to as they are. Others need a hidden key, or
    more than one token. Such a mistake is listed if `testing.inputs(model)` would show it. A missing bias has no effect
    if the bias is 0, as in new models. values: names of the values that the port gives, by default all: the bias of the
    keys, for example, changes no output.

    The model is not run, so effects are not compared with rounding. Raises InputError as `diagnose` does.
    """
    best, here = Call.of(model, telling_inputs(model)), Call.of(model, given(**inputs))
    shown, shown_here = _shown(best), _shown(here)
    better = tuple(name for name in shown if name not in shown_here)
    apart = {name: need for name, need in _apart(model) if name not in {*shown, *shown_here}}
    unseen = () if values is None else tuple(_unseen(here, [*values]))
    return Audit(better, tuple(_without_effect(model)), unseen, apart)


def _several(call: Call) -> bool:
    """True if there are several keys to attend to."""
    return any(hidden.shape[-1] > 1 for hidden in call.hidden)


def _a_hidden_key(call: Call) -> bool:
    return any(hidden[call.compared].any() for hidden in call.hidden)


def _no_key(call: Call) -> bool:
    return _several(call) and any(hidden[call.compared].all(-1).any() for hidden in call.hidden)


def _no_key_in_a_row(call: Call) -> bool:
    """The query need not be compared: in the next layer, its NaN reaches the others of its row."""
    rows = call.compared.any(1, keepdims=True) if call.setting.model.config.num_hidden_layers > 1 else call.compared
    return any((hidden.all(-1) & rows).any() for hidden in call.hidden)


NEEDS: Mapping[str, Callable[[Call], bool]] = {
    "mask-after-softmax": _a_hidden_key,
    "mask-multiplied": _a_hidden_key,
    "mask-1e4": _no_key,
    "mask-inf": _no_key_in_a_row,
    "softmax-over-queries": _several,
    "heads-unswapped": _several,
    "distance-sign": lambda call: _several(call) and call.setting.model.config.position_embedding_type != "absolute",
    "last-token": lambda call: _several(call) and call.setting.model.head in OF_FIRST,
}
"""Conditions without which a mistake has no effect on any value."""


def _shown(call: Call) -> list[str]:
    """Names of the mistakes that have an effect on the call, of those that change the inputs or need something."""
    return [one.name for one in catalogue(call.setting.model) if NEEDS.get(one.name, _of_inputs(one))(call)]


def _of_inputs(mistake: Mistake) -> Callable[[Call], bool]:
    """The condition that a mistake makes a difference to the inputs."""

    def differs(call: Call) -> bool:
        settings = [way.applied(call.setting) for way in mistake.ways if way.inputs]
        return any(setting is not None and call.differs(setting) for setting in settings)

    return differs


def _apart(model: Model) -> Iterator[tuple[str, str]]:
    """Names of the mistakes that `inputs` may not show, with what they need."""
    yield from (("mask-1e4", "a query without keys"), ("mask-inf", "a query without keys"))
    if model.config.position_embedding_type == "absolute":
        yield from [("cache-position-off-by-one", "a cache")] * model.config.is_decoder
        yield from [("positions-in-bfloat16", "more than 256 tokens")] * (model.config.longest > 256)


def _unseen(call: Call, values: Iterable[str]) -> Iterator[str]:
    """Names of the mistakes that change none of these values, although they change scores."""
    if not any(value.endswith((".scores", ".key")) for value in values):
        yield from ["bias-missing-key"] * (call.setting.model.config.position_embedding_type != "relative_key_query")
    if not any(value.endswith(".scores") for value in values):
        yield from ["mask-added-raw"] * (not _a_hidden_key(call))


def _without_effect(model: Model) -> Iterator[str]:
    """Names of the mistakes that leave out parameters that are 0."""
    yield from (f"bias-missing-{part}" for part, pattern in WEIGHTS.items() if _is_zero(model, rf"({pattern})\.bias"))
    yield from ("lm-bias-missing", "lm-bias-doubled") if _is_zero(model, r"lm_head\.bias") else ()
    if _is_zero(model, r"embeddings\.token_type_embeddings\.weight"):
        yield from ("token-types-missing", "token-types-row-1")[: model.config.type_vocab_size]


def _is_zero(model: Model, pattern: str) -> bool:
    """True if there are parameters with such names, and all of them are 0."""
    found = [array for name, array in flat(model.params).items() if re.fullmatch(pattern, name)]
    return bool(found) and not any(to_host(array).any() for array in found)
