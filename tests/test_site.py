"""The documentation site: it builds without a warning, no link of it leads nowhere, and no page needs another host."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import click
import pytest

import minroberta
from minroberta import testing
from minroberta.cli.app import main

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
NEEDS = 'the site is tested where its extra is: pip install -e ".[docs]"'


# --- pages ----------------------------------------------------------------------------------------------------------


def test_the_list_of_documents() -> None:
    """docs/README.md has a row for each page beside it, and for nothing else."""
    rows = re.findall(
        r"^\| \[[^]]+\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted({page.name for page in DOCS} - {"README.md", "index.md"})


def test_the_extras_of_the_package_are_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    explained = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+)", page, re.MULTILINE)[1:]))
    assert sorted(explained) == sorted(extras)


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_commands_exist_and_have_these_options(page: Path) -> None:
    """Lines of shell blocks that begin with `minroberta` are not run: they may need a network, or an hour."""
    for line in command_lines(page.read_text(encoding="utf-8")):
        context, arguments = click.Context(main), shlex.split(line, comments=True)[1:]
        while isinstance(context.command, click.Group):
            command = context.command.get_command(context, arguments.pop(0))
            assert command, line
            context = click.Context(command, context)
        known = {option for parameter in context.command.get_params(context) for option in parameter.opts}
        assert {word for word in arguments if re.match(r"--?[a-z]", word)} <= known, line


def command_lines(text: str) -> Iterator[str]:
    for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"minroberta [a-z]", line):
                yield re.split(r" [|>;&] ?", line)[0]


def test_command_lines_are_found() -> None:
    text = "```bash\nminroberta tag \\\n  --json > out  # x\nls\n```\n```text\nminroberta no\n```\n"
    assert list(command_lines(text)) == ["minroberta tag    --json"]
    assert sum(len(list(command_lines(page.read_text(encoding="utf-8")))) for page in DOCS) > 30


# --- docstrings and formulas ----------------------------------------------------------------------------------------


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension of docs/conf.py."""
    pytest.importorskip("sphinx", reason=NEEDS)
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import rendering

    return rendering


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x * y of `load` and `x`, a_ | b.", r"x \* y of :py:obj:`load <minroberta.load>` and ``x``, a\_ \| b."),
        ("ids: (B, L), x: one. A word: not a name.", "\n``ids``: (B, L), ``x``: one. A word: not a name."),
        ("x, and 1.\n- `a`\n  b\n- c", "x, and 1.\n\n- ``a``\n  b\n\n- c"),
        ("    load(x)  # *", "::\n\n        load(x)  # *"),
        ("one    this `x`\nother  that", "::\n\n    one    this `x`\n    other  that"),
    ],
)
def test_docstrings_become_rest(rendering: ModuleType, text: str, shown: str) -> None:
    assert rendering.rest(text, {"x", "ids"}) == shown


def test_formulas_become_mathml(rendering: ModuleType) -> None:
    from docutils import nodes

    assert "<msqrt>" in rendering.mathml(nodes.math("", r"\frac{q k^\top}{\sqrt{E}}"), as_block=True)
    assert rendering.mathml(nodes.math("", r"a < \nonsense"), as_block=False) == r"<code>a &lt; \nonsense</code>"


def test_arrays_have_no_type(rendering: ModuleType) -> None:
    given = "(x: ~typing.Any, eps: float, mask: ~typing.Any | None = None)"
    assert rendering.signature(None, "", "", None, None, given, "~typing.Any") == (
        "(x, eps: float, mask: ~typing.Any | None = None)",
        None,
    )


# --- the site -------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The links of a page, the files that it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loads, self.anchors = list[str](), list[str](), set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "prefetch", "modulepreload"):
            self.loads.append(values["href"])
        elif "src" in values:
            self.loads.append(values["src"])


@pytest.mark.parametrize("name", ["site", "web"])
def test_a_folder_must_be_given(name: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / f"{name}.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"give the folder to write: python tools/{name}.py OUT\n")


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    """One build, in which everything is looked at: it takes half a minute."""
    for needed in ("sphinx", "furo", "myst_nb", "sphinx_copybutton"):
        pytest.importorskip(needed, reason=NEEDS)
    site = tmp_path / "site"
    lite = site / "lite" / "lab" / "index.html"  # in place of a JupyterLite
    lite.parent.mkdir(parents=True)
    lite.write_text("<h1>JupyterLite</h1>", encoding="utf-8")
    built = subprocess.run(
        [sys.executable, ROOT / "tools" / "site.py", site],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
    assert_sources_are_pages(site)
    assert_links_lead_somewhere(site, pages)
    assert_nothing_is_loaded_from_elsewhere(site, pages)
    assert_public_names_are_explained(site, pages)
    assert "../lite/lab/index.html?path=01_walkthrough.ipynb" in pages[site / "notebooks/01_walkthrough.html"].links
    assert max(path.stat().st_size for path in pages) < 4e6


def assert_sources_are_pages(site: Path) -> None:
    """Every Markdown page that a reader may open on GitHub, and every notebook."""
    folders = ("*.md", "docs/**/*.md", "notebooks/*.ipynb", "attacks/*.md", "examples/**/*.md", "minroberta/**/*.md")
    sources = [path.relative_to(ROOT) for folder in folders for path in ROOT.glob(folder)]
    assert len(sources) > 50
    assert [source for source in sources if not (site / source).with_suffix(".html").exists()] == []


def assert_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Each link within the site leads to a file and to an anchor, and all pages can be reached from the start page."""
    reached, waiting = set[Path](), [site / "index.html"]
    while waiting:
        page = waiting.pop()
        if page in reached or page not in pages:
            continue
        reached.add(page)
        for link in pages[page].links + pages[page].loads:
            if urlsplit(link).scheme:
                continue
            address, anchor = urldefrag(urljoin(page.as_uri(), link))
            path = Path(unquote(urlsplit(address).path))
            assert path.is_file(), f"{page.relative_to(site)} links to {link}"
            assert not anchor or path not in pages or anchor in pages[path].anchors, f"{page.relative_to(site)}: {link}"
            waiting.append(path)
    apart = {site / "search.html", site / "_modules/index.html"}  # a form leads to the first, and nothing to the second
    assert set(pages) - reached <= apart


def assert_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Fonts, styles, scripts and pictures come from the site."""
    for path, page in pages.items():
        assert not [load for load in page.loads if re.match(r"(https?:)?//", load)], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path


def assert_public_names_are_explained(site: Path, pages: dict[Path, Page]) -> None:
    anchors = set[str]().union(*(page.anchors for path, page in pages.items() if path.parent == site / "docs" / "api"))
    public = {f"minroberta.{name}" for name in minroberta.__all__}
    public |= {f"minroberta.testing.{name}" for name in testing.__all__}
    assert {
        name
        for name in public
        if not {name, name.replace("minroberta.", "minroberta.errors.", 1), f"module-{name}"} & anchors
    } == set()
