"""How fast this machine is at a model, beside its own floor: the matrix products alone."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy

from ..backend import threads
from ..backend.arrays import computable
from ..loading import Model

SHAPES = ((1, 16), (1, 128), (1, 512), (8, 128))
"""Batch and length."""

SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What tells a matrix library to use something else than it would find best itself."""


def shapes(model: Model, rounds: int) -> Iterator[dict[str, Any]]:
    """Medians in milliseconds of a call and of its floor, in turns, and of their ratios: one dict a shape.

    The floor is x Wᵀ for all weights of all layers, by NumPy: what is left out are attention, biases, norms, GELU.
    """
    weights = list(products(model))
    for B, L in SHAPES:
        length = min(L, model.config.longest)
        ids = numpy.full((B, length), min(7, model.config.vocab_size - 1))
        x = {size: numpy.ones((B * length, size), numpy.float32) for size in {weight.shape[1] for weight in weights}}
        inputs = [x[weight.shape[1]] for weight in weights]
        calls, floors = [], []
        for _ in range(rounds + 1):
            calls.append(_seconds(model, ids))
            floors.append(_seconds(_multiply, inputs, weights))
        ratios = [call / floor for call, floor in zip(calls[1:], floors[1:], strict=True)]  # the first warms up
        yield {
            "batch": B,
            "length": length,
            "ms": round(1000 * statistics.median(calls[1:]), 1),
            "floor_ms": round(1000 * statistics.median(floors[1:]), 1),
            "ratio": round(statistics.median(ratios), 2),
        }


def products(model: Model) -> Iterator[numpy.ndarray]:
    """The weights of all layers that places are multiplied with, each (O, I), in the order of the data's way."""
    for layer in model.params["encoder"]["layer"]:
        attention = layer["attention"]
        parts = [attention["self"][name] for name in ("query", "key", "value")]
        for part in (*parts, attention["output"]["dense"], layer["intermediate"]["dense"], layer["output"]["dense"]):
            yield computable(part["weight"])


def _multiply(inputs: Sequence[numpy.ndarray], weights: Sequence[numpy.ndarray]) -> None:
    for x, weight in zip(inputs, weights, strict=True):
        x @ weight.T


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def machine() -> dict[str, Any]:
    """What computes here: processor, cores, matrix library, its kernel and threads, settings of the environment."""
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    facts = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "numpy": numpy.__version__,
        "library": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "threadpoolctl": threads.libraries() is not None,
    }
    own = threads.libraries()
    if own:
        facts["kernel"] = ", ".join(str(one.get("architecture", "not told")) for one in own)
        facts["threads"] = max(one["num_threads"] or 1 for one in own)
    return facts | {name: os.environ[name] for name in SETTINGS if name in os.environ}


def processor() -> str:
    """Its name, as far as the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def hindrances(facts: dict[str, Any]) -> Iterator[str]:
    """A sentence for each thing that keeps this machine from its best, as far as `machine` shows it."""
    if not facts["threadpoolctl"]:
        yield "threadpoolctl is missing, so that long calls share no work: pip install 'minroberta[threads]'"
    elif facts.get("threads", facts["cores"]) < facts["cores"]:
        yield f"the matrix library uses {facts['threads']} of {facts['cores']} cores"
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if name in facts:
            yield f"{name}={facts[name]} is set, so that OpenBLAS does not choose for this processor: unset it"
