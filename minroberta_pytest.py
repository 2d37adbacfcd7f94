"""Plugin for pytest: tiny RoBERTas as fixtures, and a page for each mismatch.

pytest imports this file in every session if minroberta is installed. So it stands outside the package, and imports the
package only within a fixture.
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
"""Every family with every head, repeated here because importing `minroberta.config` takes time."""

PRECISION = "roberta_precision"
BEFORE = pytest.StashKey[Any]()
"""Key under which a test keeps the precision that was expected before it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--roberta-report=DIR`."""
    text = "write an HTML page to DIR for each test that fails in minroberta's assert_matches"
    parser.getgroup("minroberta").addoption("--roberta-report", metavar="DIR", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the pages if they are asked for."""
    text = f"{PRECISION}(name): precision of assert_matches in this test: float64, float32, float16 or bfloat16"
    config.addinivalue_line("markers", text)
    directory = config.getoption("roberta_report")
    if directory:
        config.pluginmanager.register(Pages(_created(config.invocation_params.dir / directory)), "roberta_pages")


def _created(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"--roberta-report: cannot create the directory {directory}: {error}") from error
    return directory


# --- fixtures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def roberta_oracle() -> Any:
    """Tiny models of every family and head, and functions to test a candidate: `minroberta.testing.plugin.Oracle`."""
    from minroberta.testing.plugin import Oracle

    return Oracle()


@pytest.fixture(params=CASES)
def roberta_case(request: pytest.FixtureRequest, roberta_oracle: Any) -> Any:
    """The trace of a tiny model on a padded batch, for every family and head; it has `model` and `inputs`."""
    family, _, head = request.param.rpartition("-")
    model = roberta_oracle(family, head)
    return roberta_oracle.trace(model, **roberta_oracle.inputs(model))


# --- the marker -----------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set the precision of `assert_matches` for a marked test."""
    marker = item.get_closest_marker(PRECISION)
    if marker is None:
        return
    if len(marker.args) != 1 or marker.kwargs:
        pytest.fail(f'{PRECISION} takes one name, as in {PRECISION}("float16")', pytrace=False)
    from minroberta.testing.asserts import expected_precision

    item.stash[BEFORE] = expected_precision, expected_precision.set(marker.args[0])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Restore the precision from before the test."""
    if BEFORE in item.stash:
        expected, token = item.stash[BEFORE]
        expected.reset(token)
        del item.stash[BEFORE]


# --- pages ----------------------------------------------------------------------------------------------------------


class Pages:
    """Pages for the mismatches that fail tests, listed at the end of the session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.written: set[Path] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the page. The test's report carries its path, even from another process."""
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
        """A new file named after the test, which may fail several times if it has subtests."""
        name, count = safe(test), 1
        while (path := self.directory / f"{name}{'' if count == 1 else f'-{count}'}.html") in self.written:
            count += 1
        self.written.add(path)
        return path


def safe(test: str) -> str:
    """A test's id as a valid file name."""
    name = re.sub(r"[^\w.=\[\]-]+", "_", test, flags=re.ASCII)
    return name if len(name) <= 200 else f"{name[:190]}-{zlib.crc32(test.encode()):08x}"
