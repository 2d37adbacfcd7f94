"""Several devices of JAX: the parameters on each of them, and a share of every batch on each.

A model runs where its parameters are. If they lie on a mesh of devices that has an axis called "batch", the inputs of
compiled calls are divided along it. The parameters themselves may be divided along other axes of the mesh.
"""

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy

from ..errors import BackendError
from .arrays import Array, Namespace

BATCH = "batch"
"""The axis of a mesh along which batches are divided."""

Devices = int | Sequence[Any]
"""A number of devices, or a list of JAX's devices."""

T = TypeVar("T")


def mesh_of(devices: Devices, xp: Namespace) -> Any:
    """The devices as a mesh of JAX with one axis, "batch". Raises BackendError if they cannot be used."""
    name = getattr(xp, "__name__", repr(xp))
    if name != "jax.numpy":
        raise BackendError(f"only JAX shares batches among devices, not {name}: load with xp=jax.numpy")
    jax = sys.modules["jax"]
    return jax.sharding.Mesh(numpy.array(_chosen(devices, jax)), (BATCH,))


def _chosen(devices: Devices, jax: Any) -> list[Any]:
    there = jax.local_devices()
    if isinstance(devices, bool) or not isinstance(devices, int | numpy.integer):
        if not isinstance(devices, list | tuple) or not all(isinstance(one, jax.Device) for one in devices):
            raise BackendError(f"devices must be a number or a list of devices, such as jax.devices(), not {devices!r}")
        if not devices or len(set(devices)) < len(devices):
            raise BackendError(f"devices must be at least one device, and each only once, not {list(devices)}")
        return list(devices)
    if not 1 <= devices <= len(there):
        span = "1" if len(there) == 1 else f"from 1 to {len(there)}"
        raise BackendError(
            f"devices must be {span}, the number that JAX has here, not {devices}: jax.local_devices() lists them"
        )
    return there[:devices]


def on_each(params: T, mesh: Any) -> T:
    """A copy of the parameters on each device of the mesh."""
    jax = sys.modules["jax"]
    return jax.device_put(params, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def count(x: Array) -> int:
    """Number of devices among which a batch is shared by a model that has the parameter x."""
    mesh = getattr(getattr(x, "sharding", None), "mesh", None)
    return 1 if mesh is None else mesh.shape.get(BATCH, 1)


def shared(inputs: T, x: Array) -> T:
    """The inputs with the rows of each array divided among the devices, for a model that has the parameter x."""
    if count(x) == 1:
        return inputs
    jax = sys.modules["jax"]
    return jax.device_put(inputs, jax.sharding.NamedSharding(x.sharding.mesh, jax.sharding.PartitionSpec(BATCH)))
