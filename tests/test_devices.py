"""A model on several devices of JAX. The tests of `eight_devices.py` run in a process of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TINY, raises
from test_golden_jax import SLOW, jax, jnp

from minroberta import BackendError, init, load

ROOT = Path(__file__).parents[1]


def on_eight_devices(*arguments: Any) -> str:
    """The output of Python in a process where JAX makes eight devices of the processor."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@SLOW
@pytest.mark.parametrize(("marked", "least"), [("not slow", 12), ("slow", 25)])
def test_on_eight_devices(marked: str, least: int) -> None:
    path = Path(__file__).with_name("eight_devices.py")
    printed = on_eight_devices("-m", "pytest", "-p", "no:cacheprovider", "-m", marked, path)
    (passed,) = re.findall(r"^(\d+) passed", printed, re.MULTILINE)
    assert int(passed) >= least


def test_the_example_of_divided_weights() -> None:
    printed = on_eight_devices(ROOT / "examples/sharded.py")
    assert printed.startswith("8 devices; ")
    whole, part, error = map(float, re.findall(r"[\d.]+(?= MB)|(?<=NumPy: ).+", printed))
    assert whole / 8 <= part < 1.2 * whole / 8
    assert error < 1e-5


@pytest.mark.parametrize("xp", [np, "jax"])
def test_other_libraries_have_one_device(xp: Any) -> None:
    with raises(BackendError, TypeError, "only JAX shares batches among devices, not", "load with xp=jax.numpy"):
        load(xp=xp, devices=1)


@pytest.mark.parametrize("count", [0, -1, 3])
def test_too_few_or_too_many_devices(count: int) -> None:
    there = len(jax.local_devices())
    count, span = there + 1 if count == 3 else count, "1" if there == 1 else f"from 1 to {there}"
    for make in (lambda: load(xp=jnp, devices=count), lambda: init(TINY, xp=jnp, devices=count)):
        with raises(
            BackendError, TypeError, f"devices must be {span}, the number that JAX has here, not {count}: jax.local"
        ):
            make()


@pytest.mark.parametrize("devices", ["all", True, 2.0, ["cpu:0"], {0: 1}])
def test_what_is_not_a_list_of_devices(devices: Any) -> None:
    with raises(BackendError, TypeError, "devices must be a number or a list of devices, such as jax.devices(), not"):
        init(TINY, xp=jnp, devices=devices)


def test_a_device_counts_once() -> None:
    for devices in ([], jax.devices()[:1] * 2):
        with raises(BackendError, TypeError, "devices must be at least one device, and each only once"):
            init(TINY, xp=jnp, devices=devices)


def test_one_device() -> None:
    model = init(TINY, xp=jnp, devices=jax.devices()[:1])
    ids = [[5, 6, 7]]
    np.testing.assert_array_equal(model(ids).last_hidden_state, init(TINY, xp=jnp)(ids).last_hidden_state)
    assert (model.device_count, init(TINY, xp=jnp).device_count, init(TINY).device_count) == (1, 1, 1)
