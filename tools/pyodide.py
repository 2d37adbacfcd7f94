"""Put Pyodide with NumPy and matplotlib into a folder: Python for a browser, from npm and PyPI alone.

    python tools/pyodide.py FOLDER

The npm package `pyodide` has the interpreter, and a lock file with the hash of each package that is built for it. The
PyPI package open-webui has NumPy and others that are compiled, and these must have the hashes of the lock file. Pure
packages that it lacks come from PyPI, in the version that the lock file names. PyPI's files have other hashes, which
`tools/pyodide.txt` names, and which the lock file in the folder gets. This needs npm. It is for tests and for pages
that load nothing from elsewhere: by default, `tools/lite.py` lets the browser load all of this from Pyodide's servers.
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

PYODIDE = "314.0.4"
SHA256 = "85d930cbff5bcf8bf8f5fb62d5b73d9a1e73f706a8a64c3e527ec980f1d32bd4"
"""Version of Pyodide, and hash of its npm archive. The versions and hashes of PyPI's files are in `REQUIREMENTS`."""

REQUIREMENTS = Path(__file__).with_suffix(".txt")
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
PACKAGES = ("numpy", "matplotlib", "micropip", "ipython", "jedi", "click", "tqdm", "threadpoolctl")
"""Packages that minroberta, Jupyter's kernel and its completion need."""


class CannotGet(Exception):
    """A registry cannot be reached, or does not have what is expected."""


def fill(folder: Path) -> None:
    """Write all files into a folder that does not exist yet. Raises CannotGet, and then there is no folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        result = work / "pyodide"
        result.mkdir()
        with tarfile.open(_archive(work)) as archive:
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


def _archive(work: Path) -> Path:
    """The npm archive, with the right hash."""
    npm = shutil.which("npm")  # npm.cmd on Windows
    if npm is None:
        raise CannotGet("npm is not installed")
    _run(npm, "pack", f"pyodide@{PYODIDE}", "--silent", "--pack-destination", str(work))
    path = work / f"pyodide-{PYODIDE}.tgz"
    if (found := _sha256(path.read_bytes())) != SHA256:
        raise CannotGet(f"npm's {path.name} has the SHA-256 {found} instead of {SHA256}")
    return path


def _add_packages(entries: dict[str, Any], folder: Path, work: Path) -> None:
    """Write the wheels into the folder, and the hashes of PyPI's into the entries."""
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes")
    _run(sys.executable, "-m", "pip", "download", *options, "--dest", str(work), "-r", str(REQUIREMENTS))
    (carrier,) = work.glob("open_webui-*.whl")
    with zipfile.ZipFile(carrier) as archive:
        carried = {Path(name).name: name for name in archive.namelist() if name.endswith(".whl")}
        for entry in _needed(entries):
            file = entry["file_name"]
            if file in carried:
                content = archive.read(carried[file])
                if _sha256(content) != entry["sha256"]:
                    raise CannotGet(f"{carrier.name} has another {file} than Pyodide {PYODIDE}'s lock file names")
            elif (work / file).exists():
                content = (work / file).read_bytes()
                entry["sha256"] = _sha256(content)
            else:  # a mistake of this repository
                raise ValueError(f"{carrier.name} lacks {file}, so that {REQUIREMENTS.name} must name it")
            (folder / file).write_bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _needed(entries: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of the packages and of all that they depend on."""
    names, seen = list(PACKAGES), set()
    while names:
        name = names.pop().replace("_", "-")
        if name not in seen:
            seen.add(name)
            names += entries[name]["depends"]
            yield entries[name]


def _run(*command: str) -> None:
    """Run a command. Raises CannotGet if it fails or takes too long."""
    what = " ".join((Path(command[0]).name, *command[1:4]))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired as error:
        raise CannotGet(f"{what} took more than {LONGEST} s") from error
    if done.returncode:
        raise CannotGet(f"{what} failed: {done.stderr.strip()[-300:]}")


LONGEST = 300
"""Seconds after which a download is given up; 113 MB are downloaded."""


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("give a folder that does not exist yet: python tools/pyodide.py FOLDER")
    try:
        fill(Path(sys.argv[1]))
    except CannotGet as error:
        sys.exit(str(error))
