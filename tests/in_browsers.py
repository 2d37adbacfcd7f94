"""For the tests of Pyodide and JupyterLite: the folder with Pyodide, the wheel, and `tools/` as modules."""

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@cache
def tool(name: str) -> ModuleType:
    """A script of `tools/`."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pyodide() -> Path:
    """The folder with Pyodide. Skips the test if the registries do not have it."""
    try:
        return tool("pyodide").cached()
    except tool("pyodide").CannotGet as error:
        pytest.skip(f"Pyodide cannot be had: {error}")


def wheel(folder: Path) -> Path:
    """The wheel of the package, built into a folder."""
    pytest.importorskip("hatchling", reason='the wheel is built with the extra dev: pip install -e ".[dev]"')
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT, timeout=120)
    (built,) = folder.glob("*.whl")
    return built
