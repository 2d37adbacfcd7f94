"""README and docs keep their word: examples run, links lead somewhere, figures are those of the code."""

import ast
import doctest
import io
import re
import runpy
import shlex
import tokenize
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import CASES
from worked_examples import runnable

import minroberta
from minroberta.cli.app import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("minroberta/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path) -> None:
    """Where a library such as torch is not installed, with what its block gave: `worked_examples.py` says how."""
    pytest.importorskip("jax", reason="README differentiates with JAX")
    text = runnable(page.read_text(encoding="utf-8"))
    results = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0))
    assert results.failed == 0
    assert results.attempted or page != ROOT / "README.md"


def test_the_first_block_ends_with_a_prediction() -> None:
    command = re.findall(r"^minroberta (.+)$", README, re.MULTILINE)[0]
    result = CliRunner().invoke(main, shlex.split(command))
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + 5  # a header and five candidates


def test_the_example_of_a_first_pass(capsys: pytest.CaptureFixture[str]) -> None:
    script = re.findall(r"`python (examples/\w+\.py)`", README)[0]
    runpy.run_path(str(ROOT / script))
    printed = capsys.readouterr().out
    assert re.search(r"logits +float32 +\(1, 5, 50265\)", printed)
    count = re.search(r"(\d+) named values", printed)
    assert count
    assert f"the {count[1]} named values" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_tests_that_are_named_exist() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"test_\w+\.py", text):
            assert name in sources, name
        for name in re.findall(r"\b(test_\w+)\b(?!\.py)", text):
            assert any(f"def {name}(" in source for source in [text, *sources.values()]), name


def test_figures() -> None:
    assert f"- {len(CASES)} tiny models" in README
    traced = sum(case.trace for case in CASES)
    assert ("of eight models" in README) == (traced == 8)
    lines = sum(code_lines(ROOT / "minroberta" / name) for name in ("ops.py", "layers.py", "heads.py"))
    stated = re.search(r"are about (\d+) lines without docstrings", README.replace("\n", " "))
    assert stated
    assert abs(lines - int(stated[1])) <= 10
    assert f"## {minroberta.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def code_lines(path: Path) -> int:
    """Lines that hold code: neither blank, nor comment, nor docstring."""
    source = path.read_text(encoding="utf-8")
    strings = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    documentation = {line for string in strings for line in range(string.lineno, (string.end_lineno or 0) + 1)}
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len({token.start[0] for token in tokens if token.type not in empty} - documentation)


def test_nothing_points_outside() -> None:
    """No path of a machine, and no folder beside the project."""
    for page in [*PAGES, *ROOT.glob("minroberta/**/*.py"), *ROOT.glob("examples/*.py")]:
        assert not re.search(r"/(home|root|work)/", page.read_text(encoding="utf-8")), page
