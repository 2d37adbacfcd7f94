"""Tests of the oracle on engines that nobody here wrote: right ones are right, and shipped mistakes are named.

The values come from `golden/engines`, written by `generators/make_engines_*.py` in each engine's own environment.
"""

import functools
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from generators import engine_cases
from support import slow_but

from minroberta import Config, Model, trace
from minroberta.testing import compare, diagnose
from minroberta.weights import tree


@dataclass(frozen=True)
class Engine:
    """A candidate: what an engine gave for a setting, and the expected answers.

    mistakes: the names of the mistakes that this port makes, each with its alternatives; none for a right port.
    """

    engine: str
    name: str
    setting: str
    mistakes: tuple[tuple[str, ...], ...]
    names: Mapping[str, str | None] | None
    precision: str
    packed: bool
    values: Mapping[str, np.ndarray]

    @property
    def model(self) -> Model:
        """The reference, in float32."""
        return model_of(self.setting)

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """The inputs of the reference."""
        return engine_cases.inputs(self.setting)

    def given(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The arguments of `compare` and `diagnose` after the reference, but for the precision."""
        packed = {"packed": self.inputs["attention_mask"]} if self.packed else {}
        return {"candidate": dict(values), "names": self.names, **packed}


@functools.cache
def model_of(setting: str) -> Model:
    config = Config.from_dict(engine_cases.config(setting))
    return Model(config, tree(engine_cases.parameters(setting)), setting.split("/")[1])


def engines() -> list[Engine]:
    return [
        Engine(
            engine,
            name,
            told["setting"],
            tuple(tuple(mistake.split("|")) for mistake in told["mistakes"]),
            told["names"],
            told["precision"],
            told["packed"],
            values,
        )
        for engine, name, told, values in engine_cases.stored()
    ]


ENGINES = {candidate.name: candidate for candidate in engines()}
RIGHT = [name for name, candidate in ENGINES.items() if not candidate.mistakes]
WRONG = [name for name, candidate in ENGINES.items() if candidate.mistakes]

OUTPUTS = ("logits", "last_hidden_state", "pooler_output", "sentence_embedding")


def of_each_engine(names: list[str]) -> list[str]:
    """The first candidate of each engine."""
    return [*{ENGINES[name].engine: name for name in reversed(names)}.values()]


def outputs(candidate: Engine) -> dict[str, np.ndarray]:
    """The last values alone."""
    return {name: value for name, value in candidate.values.items() if name.split(".")[-1] in OUTPUTS}


def subset(candidate: Engine) -> dict[str, np.ndarray]:
    """A random part of the values, with the outputs; the same one in every run."""
    random = np.random.RandomState(zlib.crc32(candidate.name.encode()))
    kept = random.uniform(size=len(candidate.values)) < random.uniform(0.1, 0.9)
    last = outputs(candidate)
    return {name: x for (name, x), keep in zip(candidate.values.items(), kept, strict=True) if keep or name in last}


def named(candidate: Engine, values: Mapping[str, np.ndarray]) -> set[str]:
    return {finding.name for finding in diagnose(candidate.model, candidate.inputs, **candidate.given(values))}


# --- right ports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(RIGHT, *of_each_engine(RIGHT)))
def test_a_right_engine_is_right(name: str) -> None:
    candidate = ENGINES[name]
    reference = trace(candidate.model, **candidate.inputs)
    report = compare(reference, **candidate.given(candidate.values), precision=candidate.precision)
    assert report.ok, str(report)


IN_FLOAT32 = [name for name in RIGHT if ENGINES[name].precision == "float32"]


@pytest.mark.parametrize("name", slow_but(IN_FLOAT32[::3], *IN_FLOAT32[::60]))
def test_a_right_engine_has_no_mistake(name: str) -> None:
    """No name for all values, for the outputs alone, or for a subset."""
    candidate = ENGINES[name]
    for values in (candidate.values, outputs(candidate), subset(candidate)):
        assert named(candidate, values or candidate.values) == set()


HALF = [name for name in RIGHT if ENGINES[name].precision != "float32"]


@pytest.mark.parametrize("name", slow_but(HALF[::6]))
def test_another_precision_is_named(name: str) -> None:
    """Taken for a port in float32, one that computes in half precision may be told that, and nothing else."""
    candidate = ENGINES[name]
    for values in (candidate.values, outputs(candidate)):
        assert named(candidate, values or candidate.values) <= {candidate.precision}


# --- shipped mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(WRONG, WRONG[0], WRONG[-1]))
def test_a_shipped_mistake_is_named(name: str) -> None:
    """From all values the mistakes are named, and nothing else; `compare` finds one that nobody knows a name for."""
    candidate = ENGINES[name]
    found = named(candidate, candidate.values)
    if candidate.mistakes == ((engine_cases.UNKNOWN,),):
        assert found == set()
        assert not compare(trace(candidate.model, **candidate.inputs), **candidate.given(candidate.values)).ok
        return
    assert all(found & set(mistake) for mistake in candidate.mistakes), found
    assert found <= {name for mistake in candidate.mistakes for name in mistake}


@pytest.mark.parametrize("name", slow_but(WRONG[::4]))
def test_fewer_values_give_no_other_name(name: str) -> None:
    """From the outputs alone and from a subset a part of the mistakes may be named, and nothing else."""
    candidate = ENGINES[name]
    allowed = {name for mistake in candidate.mistakes for name in mistake}
    for values in (outputs(candidate), subset(candidate)):
        assert named(candidate, values or candidate.values) <= allowed


TABLES = ["llama.cpp/shifted/roberta/encoder/right", "llama.cpp/from-0/xlm-roberta/encoder/right"]


@pytest.mark.parametrize("name", slow_but(TABLES, TABLES[0]))
def test_a_table_of_float16_is_named_from_the_outputs(name: str) -> None:
    """The values that end in zero bits are not given, and another mistake may change the outputs too."""
    candidate = ENGINES[name]
    assert named(candidate, outputs(candidate)) == {name for mistake in candidate.mistakes for name in mistake}


def test_there_are_enough() -> None:
    assert len(RIGHT) >= 200
    assert len(Counter(ENGINES[name].engine.split()[0] for name in RIGHT)) >= 15
