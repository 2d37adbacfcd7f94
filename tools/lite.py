"""Build the notebooks as a page that runs them in the reader's browser, with JupyterLite.

    python tools/lite.py OUT [--pyodide FOLDER]

OUT is a new folder of static files, for any web server. `OUT/lab/index.html?path=01_walkthrough.ipynb` opens the first
notebook in JupyterLab, and `notebooks` in place of `lab` alone, as on a phone. minroberta is in OUT as a wheel. The
browser takes Python itself, NumPy and matplotlib from Pyodide's own servers. With `--pyodide FOLDER`, a folder that
`tools/pyodide.py` wrote, they are in OUT too, and the page loads nothing from elsewhere. Needs the extra `lite`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_path

from minroberta.cli.notebooks import to_open_anywhere

ROOT = Path(__file__).parents[1]
KERNEL = "@jupyterlite/pyodide-kernel-extension"
REQUIREMENTS = Path(__file__).with_suffix(".txt")
"""Wheels that the kernel needs beside Pyodide's packages, with versions and hashes."""

LONGEST = 300
"""Seconds after which a build or a download is given up."""

SETTINGS = {
    "jupyter-lite-schema-version": 0,
    "jupyter-config-data": {
        "appName": "minroberta in a browser",
        "litePluginSettings": {
            # A package that is not among the page's wheels or Pyodide's is an error, not a request to PyPI.
            f"{KERNEL}:kernel": {"disablePyPIFallback": True},
        },
    },
}

INSTALL = """# Only in the browser: install minroberta from this page's files into the Python that runs here.
import piplite

await piplite.install("minroberta")"""


class CannotGet(Exception):
    """PyPI cannot be reached, or has another file than `REQUIREMENTS` names."""


def build(out: Path, pyodide: Path | None = None) -> None:
    """Write the page. JupyterLite builds in a new folder: in an old one, it may keep settings of an earlier build.

    Raises CannotGet.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "jupyter-lite.json").write_text(json.dumps(SETTINGS))
        (work / "jupyter_lite_config.json").write_text(json.dumps({"LiteBuildConfig": _choices()}))
        (work / "notebooks").mkdir()
        for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
            (work / "notebooks" / notebook.name).write_text(_with_install(notebook), encoding="utf-8")
        _python("hatchling", "build", "-t", "wheel", "-d", str(work / "pypi"), folder=ROOT)
        _download(work / "pypi")
        if pyodide:
            shutil.copytree(pyodide, work / "static" / "pyodide")
        _python("jupyterlite_core", "build", folder=work)
        shutil.move(work / "_output", out)


def _download(folder: Path) -> None:
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder))
    try:
        _python("pip", "download", *options, "-r", str(REQUIREMENTS))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise CannotGet(f"pip cannot download what {REQUIREMENTS.name} names") from error


def _choices() -> dict[str, Any]:
    """JupyterLab with its kernel alone, whatever other extensions this Python has."""
    found = [Path(folder) / KERNEL for folder in jupyter_path("labextensions")]
    kernel = next(folder for folder in found if folder.is_dir())
    return {
        "apps": ["lab", "notebooks", "tree"],
        "contents": ["notebooks"],
        "federated_extensions": [str(kernel)],
        "ignore_sys_prefix": True,
        "no_sourcemaps": True,
    }


def _with_install(path: Path) -> str:
    """A notebook with a first cell that installs minroberta."""
    notebook: dict[str, Any] = json.loads(to_open_anywhere(path))
    cell = {"cell_type": "code", "id": "install", "metadata": {}, "source": INSTALL}
    notebook["cells"].insert(0, {**cell, "outputs": [], "execution_count": None})
    return json.dumps(notebook)


def _python(*arguments: str, folder: Path | None = None) -> None:
    subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=folder, timeout=LONGEST)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pyodide", type=Path)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: give a new folder")
    try:
        build(options.out, options.pyodide)
    except CannotGet as error:
        sys.exit(str(error))
