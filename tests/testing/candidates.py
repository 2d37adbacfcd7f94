"""Candidates for `compare` and `diagnose`: ports with known mistakes, with unknown ones, and without any.

None of them was computed by minroberta: they are Hugging Face's models, from `mistakes.safetensors`, or `port.py`'s.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import port
from generators import GOLDEN
from generators.mistake_cases import MISTAKES, PAIRS, PORTED, SETTINGS, STRANGERS, Planted, Setting, batch
from generators.mistake_cases import RIGHT as RIGHT_MODELS

from minroberta import Config, Model, load
from minroberta.checkpoints.formats.safetensors import File
from minroberta.weights import PREFIXES, flat, shapes, tree

Values = dict[str, np.ndarray]

TRAINED = "trained"
"""minroberta/tiny, on two sentences: longer sums than those of the tiny models, and trained weights."""
TRAINED_INPUTS = batch([(1, 6)])


@dataclass(frozen=True)
class Candidate:
    """A port's values, and the expected answers.

    setting: the model and its inputs, of `mistake_cases.SETTINGS`, or TRAINED. names: for each mistake the names that
    it may be given; none for a right port or an unknown mistake. first_bad: for an unknown mistake the first value
    whose step is wrong.
    """

    name: str
    setting: str
    load: Callable[[], Values]
    names: tuple[tuple[str, ...], ...] = ()
    first_bad: str | None = None

    @property
    def model(self) -> Model:
        """The reference, in float32."""
        return model_of(self.setting)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs of the reference."""
        return TRAINED_INPUTS if self.setting == TRAINED else setting_of(self.setting).inputs

    @property
    def values(self) -> Values:
        """The port's values, under Hugging Face's names."""
        return self.load()


def setting_of(name: str) -> Setting:
    return SETTINGS[name] if name in SETTINGS else PORTED[name]


@functools.cache
def model_of(setting: str) -> Model:
    if setting == TRAINED:
        return load()
    case = setting_of(setting).case
    config = Config.from_dict(case.config)
    held = shapes(config, case.head) | (shapes(config, "encoder") if setting_of(setting).pooled else {})
    named = {name: (config.family.own_name(name), shape) for name, shape in held.items()}
    arrays = {name: setting_of(setting).weight(*theirs).astype(np.float32) for name, theirs in named.items()}
    return Model(config, tree(arrays), case.head)


# --- Hugging Face's -------------------------------------------------------------------------------------------------


@functools.cache
def stored(file: str = "mistakes") -> dict[str, Values]:
    """The contents of a file, by candidate."""
    result: dict[str, Values] = {}
    for key, value in File(GOLDEN / f"{file}.safetensors").items():
        candidate, _, name = key.rpartition("|")
        result.setdefault(candidate, {})[name] = value
    return result


def without_prefix(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)


def from_file(name: str, setting: str, kept: str = ".*") -> Values:
    """The right model's values, replaced by the candidate's where it has them; an empty one removes a value."""
    own, right = stored().get(name, {}), stored()[setting]
    both = {**right, **own}
    return {name: x for name, x in both.items() if x.size and re.fullmatch(kept, without_prefix(name))}


def planted(cases: list[Planted]) -> list[Candidate]:
    return [
        Candidate(
            case.name,
            case.setting,
            functools.partial(from_file, case.name, case.setting, case.kept),
            case.names,
            case.first_bad,
        )
        for case in cases
    ]


# --- the port's -----------------------------------------------------------------------------------------------------


def from_port(kind: type[port.Port], setting: str, order: str | None = None) -> Values:
    """The values of a port that sums in this order."""
    total = None if order is None else port.SUMS[order]
    if setting == TRAINED:
        model = model_of(setting)
        weights = flat(model.params)
        return kind(model.config.to_dict(), model.head, lambda name, _: weights[name], total)(**TRAINED_INPUTS)
    case = setting_of(setting).case
    inputs = {name: value for name, value in setting_of(setting).inputs.items() if name != "use_cache"}
    return kind(case.config, case.head, setting_of(setting).weight, total)(**inputs)


def ported_mistakes() -> Iterator[Candidate]:
    for kind, setting, names in port.MISTAKES:
        load = functools.partial(from_port, kind, setting)
        yield Candidate(f"port/{setting}/{kind.__name__}", setting, load, (names,))


def ported_strangers() -> Iterator[Candidate]:
    for kind, setting, first_bad in port.STRANGERS:
        load = functools.partial(from_port, kind, setting)
        yield Candidate(f"port/{setting}/{kind.__name__}", setting, load, first_bad=first_bad)


def right() -> Iterator[Candidate]:
    """Right ports, which only round differently: Hugging Face's, its models on other engines, then `port.py`'s."""
    for setting in SETTINGS:
        yield Candidate(f"eager/{setting}", setting, functools.partial(from_file, "", setting))
    yield from planted(RIGHT_MODELS)
    for name, values in stored("right").items():
        yield Candidate(name, name.partition("/")[2], functools.partial(dict, values))
    for setting, order in itertools.product(SUMMED, [None, *port.SUMS]):
        load = functools.partial(from_port, port.Port, setting, order)
        yield Candidate(f"port/{setting}/{order or 'library'}", setting, load)
    for name, kind in port.RIGHT.items():
        for setting in IN_ANOTHER_WAY:
            yield Candidate(f"port/{setting}/{name}", setting, functools.partial(from_port, kind, setting))


SUMMED = (TRAINED, "pre", "xl", "decoder", "relative")
"""The settings that the port is run in with every order of sums."""
IN_ANOTHER_WAY = ("encoder", "blind", "decoder-left")

# --- all ------------------------------------------------------------------------------------------------------------

CATALOGUE = [*planted(MISTAKES), *ported_mistakes()]
"""One mistake each, which is in the catalogue."""
TWO = planted(PAIRS)
"""Two mistakes of the catalogue at once."""
UNKNOWN = [*planted(STRANGERS), *ported_strangers()]
"""Mistakes that are not in the catalogue: `diagnose` finds none, and `compare` the first bad value."""
RIGHT = list(right())
"""No mistake: rounding alone."""
