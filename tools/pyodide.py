"""Put Pyodide with NumPy and matplotlib into a folder: Python for a browser, from npm and PyPI alone.

    python tools/pyodide.py FOLDER

The npm package `pyodide` has the interpreter, and a lock file with the hash of each package that is built for it. The
PyPI package open-webui has NumPy and others that are compiled, and these must have the hashes of the lock file. Pure
packages that it lacks come from PyPI, in the version that the lock file names. PyPI's files have other hashes, which
the lock file in the folder gets. This needs npm. It is for tests, and for pages that shall load nothing from elsewhere:
`tools/lite.py` lets the browser take all of this from Pyodide's own servers by default.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYODIDE, CARRIER = "314.0.4", "open-webui==0.12.4"
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
PACKAGES = ("numpy", "matplotlib", "micropip", "ipython", "jedi", "click", "tqdm", "threadpoolctl")
"""What minroberta needs, and what Jupyter's kernel and its completion need."""


class CannotGet(Exception):
    """A registry cannot be reached, or does not have what is expected."""


def fill(folder: Path) -> None:
    """Write all files into a folder that does not exist yet. Raises CannotGet, and then there is no folder."""
    if shutil.which("npm") is None:
        raise CannotGet("npm is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        result = work / "pyodide"
        result.mkdir()
        _run("npm", "pack", f"pyodide@{PYODIDE}", "--silent", "--pack-destination", name)
        with tarfile.open(work / f"pyodide-{PYODIDE}.tgz") as archive:
            for file in (*CORE, "pyodide-lock.json"):
                (result / file).write_bytes(archive.extractfile(f"package/{file}").read())
        lock = json.loads((result / "pyodide-lock.json").read_text())
        _add_packages(lock["packages"], result, work)
        (result / "pyodide-lock.json").write_text(json.dumps(lock))
        if not folder.exists():  # another process may have been quicker
            result.rename(folder)


def cached() -> Path:
    """The folder in the user's cache, which is filled once. Raises CannotGet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "minroberta" / f"pyodide-{PYODIDE}"
    if not folder.exists():
        fill(folder)
    return folder


def _add_packages(entries: dict[str, Any], folder: Path, work: Path) -> None:
    _download(CARRIER, work)
    (carrier,) = work.glob("open_webui-*.whl")
    with zipfile.ZipFile(carrier) as archive:
        carried = {Path(name).name: name for name in archive.namelist() if name.endswith(".whl")}
        for entry in _needed(entries):
            file = entry["file_name"]
            if file in carried:
                content = archive.read(carried[file])
                if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                    raise CannotGet(f"{CARRIER} has another {file} than Pyodide {PYODIDE}'s lock file names")
            else:
                content = _pure(entry, work)
                entry["sha256"] = hashlib.sha256(content).hexdigest()
            (folder / file).write_bytes(content)


def _needed(entries: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of the packages and of all that they depend on."""
    names, seen = list(PACKAGES), set()
    while names:
        name = names.pop().replace("_", "-")
        if name not in seen:
            seen.add(name)
            names += entries[name]["depends"]
            yield entries[name]


def _pure(entry: dict[str, Any], work: Path) -> bytes:
    """A wheel of PyPI for any system."""
    if not entry["file_name"].endswith("-none-any.whl"):
        raise CannotGet(f"{CARRIER} lacks {entry['file_name']}, which is compiled")
    target = work / entry["name"]
    _download(f"{entry['name']}=={entry['version']}", target)
    (wheel,) = target.glob("*-none-any.whl")
    return wheel.read_bytes()


def _download(requirement: str, folder: Path) -> None:
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder))
    _run(sys.executable, "-m", "pip", "download", *options, requirement)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotGet(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("give a folder that does not exist yet: python tools/pyodide.py FOLDER")
    fill(Path(sys.argv[1]))
