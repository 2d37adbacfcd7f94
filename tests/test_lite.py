"""The notebooks in a browser: `tools/lite.py` builds the page, and chromium runs two of the notebooks on it.

Nothing is loaded from elsewhere: requests to other hosts would go to a proxy, which refuses and records them.
"""

import contextlib
import functools
import http.server
import json
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import in_browsers
import pytest
from browser import chromium

from minroberta.cli.notebooks import to_open_anywhere

pytestmark = pytest.mark.slow
constants = pytest.importorskip(
    "jupyterlite_pyodide_kernel.constants", reason='the page is built with its extra: pip install -e ".[lite]"'
)

LITE = in_browsers.tool("lite")
NOTEBOOKS = in_browsers.ROOT / "notebooks"
FIRST = NOTEBOOKS / "01_walkthrough.ipynb"
RUN = [FIRST, NOTEBOOKS / "06_backwards.ipynb"]
"""The notebooks that are run: the first, and one that makes new models and asks the oracle of their gradients."""
OF_THE_BROWSER = re.compile(rb"[\w.-]+\.(googleapis|google)\.com[:/]")
"""Requests of chromium itself, for updates of its parts."""


def settings(folder: Path) -> dict[str, Any]:
    """The settings of the page, and of its kernel."""
    found = json.loads((folder / "jupyter-lite.json").read_text(encoding="utf-8"))["jupyter-config-data"]
    return {**found, **found["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]}


def build(out: Path, *pyodide: Path) -> Path:
    """The page, built. Skips the test if PyPI cannot be reached."""
    try:
        LITE.build(out, *pyodide)
    except LITE.CannotGet as error:
        pytest.skip(f"the page cannot be built: {error}")
    return out


# --- what is built --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that takes Python from Pyodide's servers."""
    return build(tmp_path_factory.mktemp("default") / "out")


def test_by_default_python_comes_from_its_own_servers(default: Path) -> None:
    """The address is in the kernel's code. Its version is that of the local folder, with which the tests run."""
    assert "pyodideUrl" not in settings(default) and not (default / "static" / "pyodide").exists()
    code = "".join(path.read_text(encoding="utf-8") for path in default.glob("extensions/*/*/static/*.js"))
    version = in_browsers.tool("pyodide").PYODIDE
    assert f"https://cdn.jsdelivr.net/pyodide/v{version}/full/" in code
    assert version == constants.PYODIDE_VERSION


def test_nothing_comes_from_pypi(default: Path) -> None:
    assert settings(default)["disablePyPIFallback"] is True
    names = {path.name.split("-")[0] for path in (default / "pypi").glob("*.whl")}
    assert names == {"minroberta", "comm"}


def test_only_the_kernel_s_extension_is_there(default: Path) -> None:
    assert [found["name"] for found in settings(default)["federated_extensions"]] == [LITE.KERNEL]


def test_every_notebook_is_there_and_installs_first(default: Path) -> None:
    assert {path.name for path in (default / "files").glob("*.ipynb")} == {p.name for p in NOTEBOOKS.glob("*.ipynb")}
    ours, theirs = json.loads((default / "files" / FIRST.name).read_text("utf-8")), json.loads(to_open_anywhere(FIRST))
    assert 'piplite.install("minroberta")' in ours["cells"][0]["source"]
    assert ours["cells"][1:] == theirs["cells"]


def test_no_name_of_a_machine_is_there(default: Path) -> None:
    texts = [path for path in default.rglob("*") if path.suffix in (".json", ".html") and path.is_file()]
    assert texts and not [path for path in texts if str(default.parent) in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("name", "download"),
    [
        ("lite", lambda tool, folder: tool._download(folder)),
        ("pyodide", lambda tool, folder: tool._add_packages({}, folder, folder)),
    ],
)
def test_a_wheel_with_another_hash_is_refused(
    name: str, download: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "comm-0.2.3-py3-none-any.whl").write_bytes(b"another wheel")
    (tmp_path / "names.txt").write_text(f"comm==0.2.3 --hash=sha256:{'0' * 64}\n")
    for option, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "EXTRA_INDEX_URL": ""}.items():
        monkeypatch.setenv(f"PIP_{option}", value)
    tool = in_browsers.tool(name)
    monkeypatch.setattr(tool, "REQUIREMENTS", tmp_path / "names.txt")
    with pytest.raises(tool.CannotGet) as caught:
        download(tool, tmp_path / "wheels")
    assert f"Expected sha256 {'0' * 64}" in f"{caught.value}{capfd.readouterr().err}"
    assert not [*tmp_path.glob("wheels/*")]


# --- in chromium ----------------------------------------------------------------------------------------------------


class Files(http.server.SimpleHTTPRequestHandler):
    """A folder, with the types that browsers ask for."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Refusing(socketserver.StreamRequestHandler):
    """The proxy: record the first line of each request, and hang up."""

    timeout = 5  # seconds; a browser also opens connections without a request

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            if line := self.rfile.readline(500).strip():
                LINES.append(line)


LINES: list[bytes] = []
"""The requests that the proxy recorded."""


@contextlib.contextmanager
def serving(handler: Any) -> Iterator[int]:
    """The port of a server, while it runs."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


class Run(NamedTuple):
    """A notebook that ran on the page: its file and cells, the requests to other hosts, and times since the start."""

    file: Path
    cells: list[dict[str, Any]]
    elsewhere: list[bytes]
    seconds: dict[str, float]

    def outputs(self) -> list[dict[str, Any]]:
        return [output for cell in self.cells for output in cell["outputs"]]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that takes Python from its own folder, and lets the tests read the cells."""
    out = build(tmp_path_factory.mktemp("local") / "out", in_browsers.pyodide())
    page_settings = out / "jupyter-lite.json"
    changed = json.loads(page_settings.read_text(encoding="utf-8"))
    changed["jupyter-config-data"]["exposeAppInBrowser"] = True
    page_settings.write_text(json.dumps(changed), encoding="utf-8")
    return out


@pytest.fixture(scope="module", params=RUN, ids=lambda file: file.stem)
def run(request: pytest.FixtureRequest, local: Path) -> Run:
    """A notebook, all cells."""
    LINES.clear()
    with serving(Refusing) as port, chromium(f"--proxy-server=http://127.0.0.1:{port}") as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        with serving(functools.partial(Files, directory=str(local))) as port:
            url = f"http://127.0.0.1:{port}/lab/index.html?path={request.param.name}"
            cells, seconds = cells_of(page, url, local.parent / f"{request.param.stem}.png")
    return Run(request.param, cells, [*LINES], seconds)


def cells_of(page: Any, url: str, shot: Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Open the notebook, choose "Run All Cells", and wait until each cell has a number."""
    start, seconds = time.perf_counter(), {}
    page.goto(url)
    notebook = "window.jupyterapp?.shell.currentWidget?.content?.model"
    page.wait_for_function(f"{notebook}?.cells.length > 3", timeout=60_000)
    seconds["page"] = time.perf_counter() - start
    kernel = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
    page.wait_for_function(f"{kernel}?.status === 'idle'", timeout=120_000)
    seconds["kernel"] = time.perf_counter() - start
    page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    code = f"{notebook}.toJSON().cells.filter(cell => cell.cell_type === 'code')"
    failed = "cell.outputs.some(output => output.output_type === 'error')"
    page.wait_for_function(
        f"{code}.every(cell => cell.execution_count) || {code}.some(cell => {failed})", timeout=180_000
    )
    seconds["all cells"] = time.perf_counter() - start
    page.screenshot(path=shot)  # to look at
    return page.evaluate(code), seconds


def test_all_cells_run(run: Run) -> None:
    assert [output for output in run.outputs() if output["output_type"] == "error"] == []
    assert [output["text"] for output in run.outputs() if output.get("name") == "stderr"] == []
    assert [cell["execution_count"] for cell in run.cells] == list(range(1, len(run.cells) + 1))


def test_the_pictures_are_drawn(run: Run) -> None:
    """As many as are saved in the notebook."""
    saved = [cell for cell in json.loads(run.file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    expected = [output for cell in saved for output in cell["outputs"] if "image/png" in output.get("data", {})]
    pictures = [output["data"]["image/png"] for output in run.outputs() if "image/png" in output.get("data", {})]
    assert len(pictures) == len(expected) >= 1
    assert all(len(picture) > 5_000 for picture in pictures)


def test_what_is_printed_is_what_is_saved(run: Run) -> None:
    """Word for word. Digits are those of another matrix library."""
    saved = json.loads(run.file.read_text(encoding="utf-8"))["cells"]
    expected = [output for cell in saved for output in cell.get("outputs", [])]
    printed, wanted = (words(outputs) for outputs in (run.outputs(), expected))
    assert printed == wanted and len(wanted) > 50


def words(outputs: list[dict[str, Any]]) -> list[str]:
    texts = ["".join(output["text"]) for output in outputs if output.get("name") == "stdout"]
    return re.findall("[A-Za-z]{3,}", " ".join(texts))


def test_nothing_is_loaded_from_elsewhere(run: Run) -> None:
    assert [line for line in run.elsewhere if not OF_THE_BROWSER.search(line)] == []


def test_it_takes_no_longer_than_docs_browser_says(run: Run) -> None:
    """With room for a slow, busy machine."""
    assert run.seconds["all cells"] < 180
