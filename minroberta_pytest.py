"""pytest's plugin: tiny RoBERTas as fixtures, and a page for each mismatch.

It stands outside the package, and imports it only within a fixture, since pytest imports this file in every session of
whoever has minroberta installed.
"""

import re
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

CASES = tuple(
    f"{family}-{head}"
    for family in ("roberta", "xlm-roberta", "camembert", "data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl")
    for head in (
        "encoder",
        "masked_lm",
        "causal_lm",
        "sequence_classification",
        "multiple_choice",
        "token_classification",
        "question_answering",
    )
)
"""Every family with every head; said again here, because `minroberta.config` would have to be imported."""

PRECISION = "roberta_precision"
BEFORE = pytest.StashKey[Any]()
"""Under which a test keeps what was expected before it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--roberta-report=DIR`."""
    text = "write an HTML page for each test that fails in minroberta's assert_matches"
    parser.getgroup("minroberta").addoption("--roberta-report", metavar="DIR", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker; write pages only where they are asked for."""
    text = f"{PRECISION}(name): what assert_matches allows for in this test: float64, float32, float16 or bfloat16"
    config.addinivalue_line("markers", text)
    directory = config.getoption("roberta_report")
    if directory:
        config.pluginmanager.register(Pages(_made(config.invocation_params.dir / directory)), "roberta_pages")


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"--roberta-report={directory} is no directory, nor can it be made: {error}") from error
    return directory


# --- fixtures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def roberta_oracle() -> Any:
    """Tiny models of every family and head, and what to hold a candidate against: see `minroberta.testing.plugin`."""
    from minroberta.testing.plugin import Oracle

    return Oracle()


@pytest.fixture(params=CASES)
def roberta_case(request: pytest.FixtureRequest, roberta_oracle: Any) -> Any:
    """The trace of a tiny model on a batch with pads, once for every family and head; it has `model` and `inputs`."""
    family, _, head = request.param.rpartition("-")
    model = roberta_oracle(family, head)
    return roberta_oracle.trace(model, **roberta_oracle.inputs(model))


# --- the marker -----------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """From here on a marked test's precision is what `assert_matches` takes."""
    marker = item.get_closest_marker(PRECISION)
    if marker is None:
        return
    if len(marker.args) != 1 or marker.kwargs:
        pytest.fail(f'{PRECISION} takes one name, as in {PRECISION}("float16")', pytrace=False)
    from minroberta.testing.asserts import expected_precision

    item.stash[BEFORE] = expected_precision, expected_precision.set(marker.args[0])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Up to here."""
    if BEFORE in item.stash:
        expected, token = item.stash[BEFORE]
        expected.reset(token)
        del item.stash[BEFORE]


# --- pages ----------------------------------------------------------------------------------------------------------


class Pages:
    """Writes a page for each mismatch that fails a test, and tells of it where the session ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.written: set[Path] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the page; its path goes with the test's report, from another process too."""
        result = yield
        explained = getattr(call.excinfo and call.excinfo.value, "explained", None)
        if explained is not None:
            path = self._free(item.nodeid)
            explained().save_html(path)
            result.user_properties.append(("roberta_report", str(path)))
        return result

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """List the pages."""
        reports = [report for some in terminalreporter.stats.values() for report in some]
        pages = [
            (report.nodeid, path)
            for report in reports
            for name, path in getattr(report, "user_properties", ())
            if name == "roberta_report"
        ]
        if pages:
            terminalreporter.section("minroberta's reports")
        for test, path in pages:
            terminalreporter.line(f"{test}: {path}")

    def _free(self, test: str) -> Path:
        """A file of this test's name; a test of several parts may fail several times."""
        name, count = safe(test), 1
        while (path := self.directory / f"{name}{'' if count == 1 else f'-{count}'}.html") in self.written:
            count += 1
        self.written.add(path)
        return path


def safe(test: str) -> str:
    """A test's id with nothing that a file system minds, and no longer than one allows."""
    name = re.sub(r"[^\w.=\[\]-]+", "_", test, flags=re.ASCII)
    return name if len(name) <= 200 else f"{name[:190]}-{zlib.crc32(test.encode()):08x}"
