"""Helpers that many tests share: the golden cases as models of this package, and their stored values."""

import functools
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import GOLDEN
from generators.cases import CASES, Case, make_case, parameter
from hypothesis import strategies as st

from minroberta import Config, Error, Model
from minroberta.backend.arrays import to_host
from minroberta.checkpoints.arrays import Mapped
from minroberta.checkpoints.formats.safetensors import File
from minroberta.config import FAMILIES
from minroberta.testing import plugin
from minroberta.weights import move, shapes, tree

CHECKPOINTS = GOLDEN / "checkpoints"
CASE = {case.name: case for case in CASES}

TINY = {"model_type": "roberta", **plugin.TINY}


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
    """A small model with random weights, the rows of padding and the norms included."""
    config = Config.from_dict({**TINY, **fields})
    return Model(config, tree(move(weights_of(config, head), dtype, np)), head)


def place(array: np.ndarray) -> tuple[str, int, str, tuple[int, ...]] | None:
    """The file, byte, dtype and shape by which another process finds an array; None for one that is not mapped."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, Mapped) or not array.flags.c_contiguous:
        return None
    start = np.frombuffer(base, np.uint8).ctypes.data
    return str(base.path.absolute()), array.ctypes.data - start, array.dtype.str, array.shape


def owner(array: np.ndarray) -> Any:
    """The object that the bytes of an array belong to."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


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


# --- a case for each feature ----------------------------------------------------------------------------------------


def features(case: Case) -> set[Any]:
    """Features of a case that another may lack.

    The family, the head, the group with its order of norms; each field of the configuration that is not the tiny
    model's; of each input its axes, its kind of number, and whether it comes with a cache; a query that sees nothing.
    """
    group, order = case.name.split("/")[0], FAMILIES[case.model_type]
    found = {case.model_type, case.head, (group, order.norm_first, order.embedding_norm)}
    usual = make_case("", case.model_type, case.head).config
    found |= {(name, str(value)) for name, value in case.config.items() if usual.get(name) != value}
    for step, inputs in enumerate(case.steps):
        cached = step > 0 or "past_key_values" in inputs
        found |= {(name, _kind(value), cached) for name, value in inputs.items()}
        hidden = [name for name, value in inputs.items() if name.endswith("mask") and not np.any(value, axis=-1).all()]
        found |= {(name, "hides all from a query") for name in hidden}
    return found - {("num_hidden_layers", str(layers)) for layers in range(4)}


def _kind(value: Any) -> Any:
    """The form of an input: a flag's value, or an array's axes and kind of number."""
    return (value.ndim, value.dtype.kind) if isinstance(value, np.ndarray) else str(type(value) is tuple or value)


@functools.cache
def one_a_feature(cases: tuple[Case, ...], of: Callable[[Case], set[Any]] = features) -> tuple[Case, ...]:
    """A few cases that have every feature of all, chosen greedily: next the one with most new ones, or fewest steps."""
    missing, chosen = set().union(*map(of, cases)), []
    while missing:
        chosen.append(max(cases, key=lambda case: (len(of(case) & missing), -len(case.steps))))
        missing -= of(chosen[-1])
    return tuple(chosen)


# --- comparison -----------------------------------------------------------------------------------------------------

FLOAT64 = 1e-11
"""The bound in float64 (absolute; the golden values are of the order of 1 to 100): thousands of roundings."""

FLOAT32 = 8
"""The bound in float32, as a multiple of the reference's own rounding error there, which is the distance between its
float32 and its float64 run. Both ours and theirs are the maximum over a few hundred numbers, so that neither is worth
more than a factor of a few: the largest multiple seen is 4.3, on NumPy with OpenBLAS."""


def flatten(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of an output, with indices in tuples added to the name as in the golden files."""
    if isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from flatten(f"{name}.{place}", item)
    elif value is not None:
        yield name, to_host(value)


def bound(case: Case, dtype: str, step: int, name: str) -> float:
    """The distance that a value of this dtype may have from the reference's float64 one."""
    exact = golden(case, "float64", step)[name]
    if dtype == "float64":  # the reference's causal loss is float32 even then: half its last digit
        return FLOAT64 if exact.dtype == np.float64 else float(np.spacing(exact))
    own = own_error(case, step, name)
    if name == "loss":  # one number may be right by luck; it moves no more than twice as far as the logits do
        own = max(
            own, *(2 * own_error(case, step, other) for other in golden(case, "float64", step) if "logits" in other)
        )
    least = np.spacing(np.float32(np.abs(exact).max(initial=0))) / 2  # luck aside, none is nearer
    return FLOAT32 * max(own, float(least))


def own_error(case: Case, step: int, name: str) -> float:
    """The distance between the reference's float32 and float64 runs."""
    errors = golden(case, "error", step)
    if name in errors:
        return float(errors[name])
    exact, rounded = (golden(case, dtype, step)[name] for dtype in ("float64", "float32"))
    return float(np.abs(rounded - exact).max(initial=0))


def assert_golden(case: Case, dtype: str, step: int, name: str, value: np.ndarray) -> None:
    """The value is the reference's, in shape, dtype and numbers."""
    exact = golden(case, "float64", step)[name]
    where = f"{case.name}, step {step}, {name}"
    assert value.shape == exact.shape, where
    assert value.dtype == dtype, where
    if np.isnan(exact).any():
        assert np.array_equal(np.isnan(value), np.isnan(exact)), where
        return
    distance, allowed = np.abs(value - exact).max(initial=0), bound(case, dtype, step, name)
    assert distance <= allowed, f"{where}: {distance:.2e} from the reference, {allowed:.2e} allowed"


def check(case: Case, dtype: str, call: Callable[..., Mapping[str, Any]]) -> None:
    """Run the case's steps by `call(**inputs)`, each with the cache of the one before, and compare every output."""
    past: dict[str, Any] = {}
    for step, inputs in enumerate(case.steps):
        outputs = call(**{**inputs, **past})
        values = dict(pair for name, value in outputs.items() for pair in flatten(name, value))
        names = {name for name in golden(case, "float64", step) if not name.startswith("module:")}
        assert names <= set(values), case.name
        further = {name for name in values if step == len(case.steps) - 1 or not name.startswith("past_key_values")}
        assert further <= names, case.name  # the golden files keep only the cache of the last step
        for name in names:
            assert_golden(case, dtype, step, name, values[name])
        cache = outputs.get("past_key_values")
        past = {} if cache is None else {"past_key_values": cache}


# --- errors ---------------------------------------------------------------------------------------------------------


@contextmanager
def raises(kind: type[Error], builtin: type[Exception], *telling: str) -> Iterator[pytest.ExceptionInfo[Error]]:
    """Expect exactly this error, which is also the built-in one, and says all these things in one short sentence."""
    with pytest.raises(kind) as caught:
        yield caught
    assert type(caught.value) is kind
    assert isinstance(caught.value, builtin)
    text = str(caught.value)
    for part in telling:
        assert part in text
    assert len(text) < 700


def slow_but(names: Iterable[Any], *quick: Any) -> list[Any]:
    """The names as parameters of a test, all but the quick ones marked `slow`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


ODD_PARTS = [
    "\x00",
    "\x1b[0m",
    "\t\r\n",
    "\u00a0",
    "\u200b",
    "\u202e",
    "\ufeff",
    "\U0010ffff",
    "e\u0301",
    "👩‍👩‍👧",
    "🇫🇷",
    "'ll",
    "  ",
]
"""Bits of text that tokenizers and terminals trip over."""


def mutations(*kinds: str, most: int, size: int) -> st.SearchStrategy[list[tuple[str, int, bytes]]]:
    """One to four changes for `mutated`: of these kinds, at offsets up to `most`, with up to `size` bytes."""
    one = st.tuples(st.sampled_from(kinds), st.integers(0, most), st.binary(max_size=size))
    return st.lists(one, min_size=1, max_size=4)


def mutated(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """The bytes of a file after some changes."""
    for kind, place, new in changes:
        place %= len(data) + 1
        before, after = data[:place], data[place + len(new) :]
        match kind:
            case "flip":
                data = before + bytes(b ^ 1 << place % 8 for b in data[place : place + 1]) + data[place + 1 :]
            case "cut":
                data = before
            case "insert":
                data = before + new + data[place:]
            case "delete":
                data = before + after
            case "set":
                data = before + new + after
            case "fill":
                data = before + b"\xff" * len(new) + after
            case "digit":
                data = before + b"%d" % (len(new) * 2) + data[place + 1 :]
    return data


COST = """
import re, time
from pathlib import Path
status = Path("/proc/self/status")  # which knows of this program alone, where getrusage knows of its parent too
print(re.findall(r"VmHWM:\\s*([0-9]+)", status.read_text())[0], time.process_time())
"""
"""The end of a program: it prints the most memory that it had, in KiB, and the seconds of a processor that it took."""


def alone(program: str, *arguments: Any) -> str:
    """The output of a program run in a new process, within 500 MB of memory and 5 s of processor time.

    Only Linux says how much memory a process had; elsewhere the test is skipped.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc/self/status, which says how much memory a process had")
    command = [sys.executable, "-c", program + COST, *map(str, arguments)]
    *said, cost = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout.splitlines()
    kilobytes, seconds = map(float, cost.split())
    assert kilobytes < 500_000
    assert seconds < 5
    return "\n".join(said)
