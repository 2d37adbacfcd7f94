"""The speed of a model on this machine, compared with a floor: the time of its matrix products alone."""

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
"""Batch size and length of each measurement."""

SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that override the choices of a matrix library."""


def shapes(model: Model, rounds: int) -> Iterator[dict[str, Any]]:
    """Median times of calls and of the floor, in milliseconds, and the median of their ratios: a dict for each shape.

    Calls and floor are timed alternately. The floor is the computation of x Wᵀ for all weight matrices of all layers,
    in NumPy, without attention, biases, norms or GELU.
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
        ratios = [call / floor for call, floor in zip(calls[1:], floors[1:], strict=True)]  # the first is a warm-up
        yield {
            "batch": B,
            "length": length,
            "ms": round(1000 * statistics.median(calls[1:]), 1),
            "floor_ms": round(1000 * statistics.median(floors[1:]), 1),
            "ratio": round(statistics.median(ratios), 2),
        }


def products(model: Model) -> Iterator[numpy.ndarray]:
    """The weight matrices by which all layers multiply the hidden states, each (O, I), in order of use."""
    for layer in model.params["encoder"]["layer"]:
        attention = layer["attention"]
        projections = [attention["self"][name] for name in ("query", "key", "value")]
        dense = (attention["output"]["dense"], layer["intermediate"]["dense"], layer["output"]["dense"])
        for linear in (*projections, *dense):
            yield computable(linear["weight"])


def _multiply(inputs: Sequence[numpy.ndarray], weights: Sequence[numpy.ndarray]) -> None:
    for x, weight in zip(inputs, weights, strict=True):
        x @ weight.T


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def machine() -> dict[str, Any]:
    """Facts about this machine: processor, cores, NumPy, matrix library, and environment variables that affect it."""
    blas, libraries = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"], threads.libraries()
    facts = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "numpy": numpy.__version__,
        "library": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }
    if libraries:
        facts["kernel"] = ", ".join(str(library.get("architecture", "unknown")) for library in libraries)
        facts["threads"] = max(library["num_threads"] or 1 for library in libraries)
    return facts | {name: os.environ[name] for name in SETTINGS if name in os.environ}


def processor() -> str:
    """Name of the processor, as the system reports it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def hindrances(facts: dict[str, Any]) -> Iterator[str]:
    """A sentence for each fact of `machine` that slows the matrix library down."""
    if facts.get("threads", facts["cores"]) < facts["cores"]:
        yield f"the matrix library uses {facts['threads']} of {facts['cores']} cores"
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if name in facts:
            yield f"{name}={facts[name]} is set and overrides what OpenBLAS chooses for this processor: unset it"
