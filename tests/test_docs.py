"""README and docs keep their word: examples run, links lead somewhere, figures are those of the code."""

import array
import ast
import doctest
import io
import re
import runpy
import shlex
import tokenize
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner
from generators.worked_examples import runnable
from pasted import SHOWN, alike, examples, said, written
from support import CASES

import minroberta
from minroberta.cli.app import main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path for place in ("", "attacks", "docs/**", "minroberta/**") for path in ROOT.glob(f"{place}/*.md".lstrip("/"))
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOME = "https://github.com/minroberta/minroberta"
OURS = re.compile(
    r"https://(?:github\.com/minroberta/minroberta/(?:blob|tree)|raw\.githubusercontent\.com/minroberta/minroberta)/main/([^)#\s\"'>]+)"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path) -> None:
    """Blocks that need a missing library, such as torch, are replaced by what they gave: see `worked_examples.py`."""
    pytest.importorskip("jax", reason="the examples differentiate with JAX")
    text = runnable(page.read_text(encoding="utf-8"))
    results = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0))
    assert results.failed == 0


@pytest.mark.parametrize(("page", "least"), [("README.md", 10), ("minroberta/tiny/MODEL_CARD.md", 6)])
def test_pasted_examples(page: str, least: int) -> None:
    """The page's examples run when they are pasted into `python`, and show what the page says."""
    pytest.importorskip("jax", reason="README differentiates with JAX")
    source = (ROOT / page).read_text(encoding="utf-8")
    assert ">>>" not in source
    shown = list(examples(source))
    assert len(shown) == len(SHOWN.findall(source)) >= least
    for text, value in shown:
        assert alike(text, value), f"{page} says {text}; it is {value}; `tests/pasted.py` says what to do"


def test_which_values_are_alike() -> None:
    answer = [{"score": 0.57, "start": 17, "answer": "1945"}]
    assert alike("[{'score': 0.6, 'start': 17, 'answer': '1945'}]", answer)
    for other in (
        "'score': 0.7, 'start': 17",
        "'score': 0.57, 'start': 16",
        "'start': 17, 'score': 0.57",
        "'score': 1",
    ):
        assert not alike(f"[{{{other}, 'answer': '1945'}}]", answer)
    assert not alike("[{'score': 0.57, 'start': 17, 'answer': '1946'}]", answer)
    assert alike("(1, 5)", (1, 5)) and not alike("[1, 5]", (1, 5))
    assert alike("array('i', [4])", array.array("i", [4])) and not alike("array('i', [5])", array.array("i", [4]))
    assert alike(said(written(answer)), answer)


@pytest.mark.parametrize(
    "block",
    [
        "for x in range(3):\n    y = x\nprint(y)",  # Python needs an empty line after the loop
        "(1,\n",
        "1 + 1",  # its value is not shown on the page
        "x = 1\n# -> 1",
        "1\n2\n# -> 2",
    ],
)
def test_an_example_that_does_not_paste(block: str) -> None:
    with pytest.raises((SyntaxError, AssertionError)):
        list(examples(f"```python\n{block}\n```\n"))


COMMANDS = re.findall(r"^minroberta (\S+) (.+)\n```\n\n```text\n((?:(?!```).+\n)+)", README, re.MULTILINE)
"""Each command of README that is followed by what it prints: its name, its arguments, and the output."""


@pytest.mark.parametrize(("task", "arguments", "shown"), COMMANDS, ids=[task for task, *_ in COMMANDS])
def test_commands_print_what_readme_shows(task: str, arguments: str, shown: str) -> None:
    """Words exactly, numbers to the tolerance of the other examples. A terminal cuts long lines where README has …."""
    result = CliRunner().invoke(main, [task, *shlex.split(arguments)])
    assert result.exit_code == 0
    for line, other in zip(result.stdout.splitlines(), shown.splitlines(), strict=True):
        words = other.partition("…")[0].split()[: -1 if "…" in other else None]
        for word, expected in zip(line.split(), words, strict="…" not in other):
            assert word == expected or alike(expected, float(word))


def test_the_first_block_ends_with_a_prediction() -> None:
    assert [task for task, *_ in COMMANDS] == ["fill-mask", "answer", "tag", "classify", "encode"]


def test_completion() -> None:
    """The shells of docs/command.md are those for which click has completion."""
    page = (ROOT / "docs/command.md").read_text(encoding="utf-8")
    shells = re.findall(r"_MINROBERTA_COMPLETE=(\w+)_source minroberta", page)
    assert shells == ["bash", "zsh", "fish"]
    for shell in shells:
        made = get_completion_class(shell)
        assert made
        found = made(main, {}, "minroberta", "_MINROBERTA_COMPLETE").get_completions([], "cl")
        assert [item.value for item in found] == ["classify"]


def test_the_picture_of_the_architecture() -> None:
    """Names in the picture are names of values."""
    svg = "{http://www.w3.org/2000/svg}"
    texts = [text.text or "" for text in ElementTree.parse(ROOT / "docs/architecture.svg").iter(f"{svg}text")]
    names = [text for text in texts if re.fullmatch(r"(attention|output|intermediate)(\.\w+)+", text)]
    trace = minroberta.trace(minroberta.load(), [[0, 2]])
    assert len(names) == 9
    for name in names:
        assert f"encoder.layer.0.{name}" in trace, name


@pytest.mark.slow
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
    """Links lead to files and headings that exist, also where a link has the project's web address."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)]+)", text):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target
    for name in OURS.findall(text):
        assert (ROOT / name).exists(), name


def anchors(text: str) -> list[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("path", [ROOT / "pyproject.toml", *ROOT.glob(".github/**/*.*")], ids=lambda path: path.name)
def test_addresses_of_the_project(path: Path) -> None:
    for name in OURS.findall(path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_readme_on_an_index_page() -> None:
    """Package indexes need absolute links, and a link into the repository must lead to a file."""
    pytest.importorskip("hatchling", reason="hatchling makes the page")
    text = runpy.run_path(str(ROOT / "hatch_build.py"))["absolute"](README, HOME)
    assert re.findall(r"\]\((?!https://|#)", text) == []
    assert len(OURS.findall(text)) == len(re.findall(r"\]\((?!https?:|#)", README)) > 10
    for name in OURS.findall(text):
        assert (ROOT / name).exists(), name
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures and all(picture.startswith("https://raw.githubusercontent.com/") for picture in pictures)


def test_messages_that_are_quoted() -> None:
    """Messages quoted in docs/formats.md are in the code; a number or … stands for anything."""
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8").partition("## What a hostile file gets")[2]
    quoted = [
        message for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) for message in re.findall(r'"([^"]+)"', row)
    ]
    sources = "\n".join(anything(message) for path in ROOT.glob("minroberta/**/*.py") for message in strings(path))
    assert len(quoted) >= 8
    for message in quoted:
        assert anything(message) in sources, message


def strings(path: Path) -> Iterator[str]:
    """The strings of a module, with … for each value filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def anything(message: str) -> str:
    return re.sub(r"[\d,_]*\d|…", "…", message)


def test_tests_that_are_named_exist() -> None:
    paths = [*(ROOT / "tests").rglob("test_*.py")]
    names, sources = {path.name for path in paths}, [path.read_text(encoding="utf-8") for path in paths]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"test_\w+\.py", text):
            assert name in names, name
        for name in re.findall(r"\b(test_\w+)\b(?!\.py)", text):
            assert any(f"def {name}(" in source for source in [text, *sources]), name


def test_figures() -> None:
    assert f"- {len(CASES)} tiny models" in README
    traced = sum(case.trace for case in CASES)
    assert ("of eight models" in README) == (traced == 8)
    stated = re.search(r"\n(`[^\n]*), the whole of the model, are about (\d+) lines without docstrings", README)
    assert stated
    lines = sum(code_lines(ROOT / "minroberta" / name) for name in re.findall(r"`(\w+\.py)`", stated[1]))
    assert abs(lines - int(stated[2])) <= 10
    assert f"## {minroberta.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f'version: "{minroberta.__version__}"' in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


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
    """Files name no path of a machine, and no folder beside the project."""
    for page in [*PAGES, *ROOT.glob("minroberta/**/*.py"), *ROOT.glob("examples/*.py")]:
        assert not re.search(r"/(home|root|work)/", page.read_text(encoding="utf-8")), page
