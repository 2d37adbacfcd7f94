"""What many tests share: the golden cases as models of this package, and their stored values."""

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minroberta import Config, Model
from minroberta.formats.safetensors import File
from minroberta.weights import move, shapes, tree

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

from cases import CASES, Case, parameter  # noqa: E402

__all__ = ["CASE", "CASES", "Case", "config_of", "golden", "model_of", "parameter", "tiny", "weights_of"]

CASE = {case.name: case for case in CASES}

TINY = {
    "model_type": "roberta",
    "vocab_size": 53,
    "hidden_size": 30,
    "num_attention_heads": 5,
    "num_hidden_layers": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
}


def config_of(case: Case) -> Config:
    return Config.from_dict(case.config)


def weights_of(config: Config, head: str) -> dict[str, np.ndarray]:
    """The golden weights under canonical names, in float64."""
    return {name: parameter(config.family.own_name(name), shape) for name, shape in shapes(config, head).items()}


@functools.cache
def model_of(case: Case, dtype: str, xp: Any = np) -> Model:
    config = config_of(case)
    return Model(config, tree(move(weights_of(config, case.head), dtype, xp)), case.head)


def tiny(head: str = "encoder", dtype: str = "float64", **fields: Any) -> Model:
    """A small model with random weights, pads' rows and norms included."""
    config = Config.from_dict({**TINY, **fields})
    return Model(config, tree(move(weights_of(config, head), dtype, np)), head)


@functools.cache
def _file(group: str) -> File:
    return File(GOLDEN / f"{group}.safetensors")


@functools.cache
def _by_step(group: str) -> dict[tuple[str, str, int], dict[str, np.ndarray]]:
    result: dict[tuple[str, str, int], dict[str, np.ndarray]] = {}
    for key, value in _file(group).items():
        case, kind, step, name = key.split("|")
        result.setdefault((case, kind, int(step)), {})[name] = value
    return result


def golden(case: Case, kind: str, step: int) -> Mapping[str, np.ndarray]:
    """The stored values of a step: kind is float64, float32, or error (the reference's own rounding in float32)."""
    return _by_step(case.name.partition("/")[0]).get((case.name, kind, step), {})
