"""Settings of JAX, made before anything imports it (a quick compiler with a cache, as the models are tiny), of the
threads of OpenBLAS, and of Hypothesis: few examples by default, and many with `--hypothesis-profile=thorough`."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

FLAGS = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
QUICK = ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
"""These halve the time again. A jaxlib that does not know a flag ends the process: 0.4.35 does not, 0.7 does."""


def flags() -> str:
    """The XLA flags that this jaxlib knows."""
    try:
        major, minor = map(int, version("jaxlib").split(".")[:2])
    except PackageNotFoundError:
        return ""
    return " ".join(FLAGS + QUICK if (major, minor) >= (0, 7) else FLAGS)


os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", flags())
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=ALLOWED)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=300)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """One thread of BLAS in each of several processes: two would wait for those of the others, up to 30 times as long.

    The processes of pytest-xdist start later, with this environment. `test_threads.py` sets other numbers of threads.
    """
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
