"""minroberta in Pyodide, the Python of browsers, run by node: the same wheel, without tokenizers and safetensors.

The browser itself is tested in `test_lite.py`.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import in_browsers
import in_pyodide
import numpy as np
import pytest

pytestmark = pytest.mark.slow

RUN = """
const [folder, wheel, code, out] = process.argv.slice(1);
const { basename, join } = await import("node:path");
const { readFileSync, writeFileSync } = await import("node:fs");
const { pathToFileURL } = await import("node:url");
globalThis.fetch = (url) => { throw new Error(`it asked for ${url}`); };
const { loadPyodide } = await import(pathToFileURL(join(folder, "pyodide.mjs")));
const pyodide = await loadPyodide({ indexURL: folder });
await pyodide.loadPackage("micropip");
pyodide.FS.writeFile(`/tmp/${basename(wheel)}`, readFileSync(wheel));
pyodide.FS.writeFile("in_pyodide.py", readFileSync(code));
pyodide.globals.set("wheel", `emfs:/tmp/${basename(wheel)}`);
await pyodide.runPythonAsync(`
import micropip, json, os, sys, time
micropip.set_index_urls([])
await micropip.install(wheel)
start = time.perf_counter()
import minroberta
minroberta.load().fill_mask("The <mask>.")
first = time.perf_counter() - start
import in_pyodide
os.mkdir("/out")
in_pyodide.results("/out")
with open("/out/more.json", "w") as file:
    json.dump({"installed": sorted(micropip.list()), "platform": sys.platform, "first answer": first}, file)
`);
for (const name of ["facts.json", "values.npz", "more.json"]) {
    writeFileSync(join(out, name), pyodide.FS.readFile(`/out/${name}`));
}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Results of this Python, and of Pyodide."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    folder, here, there = in_browsers.pyodide(), tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    arguments = [folder, in_browsers.wheel(tmp_path_factory.mktemp("wheel")), in_pyodide.__file__, there]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", RUN, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr[-3000:]
    in_pyodide.results(str(here))
    return here, there


def test_another_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, folder = in_browsers.tool("pyodide"), tmp_path / "pyodide"

    def packed(*command: str) -> None:
        assert command[0] == "C:/npm.cmd"
        Path(command[-1], f"pyodide-{tool.PYODIDE}.tgz").write_bytes(b"another archive")

    monkeypatch.setattr(tool, "_run", packed)
    monkeypatch.setattr(tool.shutil, "which", lambda name: f"C:/{name}.cmd")
    with pytest.raises(tool.CannotGet, match=f"SHA-256 .* instead of {tool.SHA256}"):
        tool.fill(folder)
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    with pytest.raises(tool.CannotGet, match="npm is not installed"):
        tool.fill(folder)
    assert [*tmp_path.iterdir()] == []


def test_a_download_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = in_browsers.tool("pyodide")
    monkeypatch.setattr(tool, "LONGEST", 0.2)
    with pytest.raises(tool.CannotGet, match=r" took more than 0\.2 s"):
        tool._run(sys.executable, "-c", "import time; time.sleep(60)")


def facts(folder: Path, name: str = "facts.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_it_is_another_python(folders: tuple[Path, Path]) -> None:
    here, there = folders
    more = facts(there, "more.json")
    assert more["platform"] == "emscripten"
    assert {"minroberta", "numpy", "click", "tqdm"} <= set(more["installed"])
    assert not {"tokenizers", "safetensors", "huggingface-hub"} & set(more["installed"])
    assert (facts(here)["tokenizer"], facts(there)["tokenizer"]) == ("tokenizers", "minroberta.text.plain")


def test_answers(folders: tuple[Path, Path]) -> None:
    """float32: the last digits are those of the matrix library."""
    theirs, ours = (facts(folder)["answers"] for folder in folders)
    for name in ("token", "token_str", "sequence"):
        assert [answer[name] for answer in ours] == [answer[name] for answer in theirs]
    assert np.allclose([answer["score"] for answer in ours], [answer["score"] for answer in theirs], rtol=1e-4)


def test_tokens(folders: tuple[Path, Path]) -> None:
    theirs, ours = map(facts, folders)
    assert ours["ids"] == theirs["ids"] and ours["offsets"] == theirs["offsets"]


def test_every_value_in_float64(folders: tuple[Path, Path]) -> None:
    """Integers have 32 bits there, as NumPy's have by default on such a machine."""
    theirs, ours = (np.load(folder / "values.npz") for folder in folders)
    assert set(ours) == set(theirs) and len(ours.files) > 90
    for name in theirs:
        assert ours[name].dtype.kind == theirs[name].dtype.kind and ours[name].shape == theirs[name].shape, name
        assert np.abs(ours[name] - theirs[name]).max() <= 1e-12 * max(1, np.abs(theirs[name]).max()), name


def test_the_oracle(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        found = facts(folder)
        assert found["first_bad"] == "encoder.layer.0.intermediate"
        assert found["findings"] == ["gelu-tanh"]


def test_a_saved_model(folders: tuple[Path, Path]) -> None:
    assert [facts(folder)["of a saved model"] for folder in folders] == [" Nobel"] * 2


def test_the_times_of_docs_browser(folders: tuple[Path, Path]) -> None:
    """docs/browser.md names what is measured here. The bounds leave room for a slow, busy machine."""
    there = folders[1]
    assert facts(there, "more.json")["first answer"] < 120
    assert all(seconds < 120 for seconds in facts(there)["seconds"].values())


def test_the_size_of_docs_browser(tmp_path: Path) -> None:
    folder = in_browsers.pyodide()
    loaded = ("numpy", "micropip", "packaging", "click", "tqdm", "threadpoolctl")
    files = [folder / name for name in in_browsers.tool("pyodide").CORE]
    files += [path for name in loaded for path in folder.glob(f"{name}-*.whl")] + [in_browsers.wheel(tmp_path)]
    page = (in_browsers.ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
    stated = re.search(r"\| files \| (\d+) MB", page)
    assert stated and len(files) == 11
    assert abs(sum(path.stat().st_size for path in files) / 1e6 - int(stated[1])) < 1.5
