"""An extension of Sphinx: links into the repository, docstrings in plain text, formulas without scripts, commands."""

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import minroberta
from minroberta import testing
from minroberta.cli.app import main

ROOT = Path(__file__).parents[1]
HOME = "https://github.com/minroberta/minroberta"
LOG = logging.getLogger(__name__)


# --- links ----------------------------------------------------------------------------------------------------------


def resolve_links(app: Sphinx, doctree: nodes.document) -> None:
    """Lead a link to a file that is not a page to the repository on GitHub, and one to a folder to its README."""
    folder = (ROOT / app.env.docname).parent
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        if node.get("reftype") != "myst" or node.get("refdomain"):
            continue
        path = (folder / node["reftarget"]).resolve()
        page = app.env.path2doc(str(path / "README.md"))
        if path.is_dir() and page in app.env.found_docs:
            node["refdomain"], node["reftarget"], node["reftargetid"] = "doc", page, None
        elif path.exists():
            kind = "tree" if path.is_dir() else "blob"
            address = f"{HOME}/{kind}/main/{path.relative_to(ROOT).as_posix()}"
            node.replace_self(nodes.reference("", "", *node.children, refuri=address))


def end_code(app: Sphinx, doctree: nodes.document) -> None:
    """Remove the empty line that ends an example, which doctest needs."""
    for node in doctree.findall(nodes.literal_block):
        node.rawsource = node.astext().rstrip()
        node.children = [nodes.Text(node.rawsource)]


def list_folder(app: Sphinx, doctree: nodes.document) -> None:
    """Make the links of a README to pages beside it the table of contents of its folder."""
    folder, _, name = app.env.docname.rpartition("/")
    if name != "README" or folder in ("", "docs"):  # these two are pages of their own in the table of contents
        return
    links = [node["reftarget"] for node in doctree.findall(addnodes.pending_xref) if node["refdomain"] == "doc"]
    beside = [page for page in dict.fromkeys(links) if page.rpartition("/")[0] == folder]
    if beside:
        shown = {"glob": False, "hidden": True, "maxdepth": -1, "titlesonly": True}
        entries = [(None, page) for page in beside]
        doctree[0] += addnodes.toctree(parent=app.env.docname, includefiles=beside, entries=entries, **shown)


# --- docstrings -----------------------------------------------------------------------------------------------------

PUBLIC = {
    **{name: f"minroberta.{name}" for name in minroberta.__all__},
    **{name: f"minroberta.testing.{name}" for name in testing.__all__ if name not in ("golden", "inputs", "read")},
}
"""The full names of what a docstring may name in backticks, and which is then a link; three are words of other uses."""


def docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Replace a docstring in plain text by reST that looks like it."""
    text = "\n".join(lines).strip("\n")
    lines[:] = "\n\n".join(rest(block, names(obj)) for block in re.split(r"\n\s*\n", text)).split("\n")


NAMES = r"(?:\w+(?:, | and ))*\w+(?=: )"
"""The names that an explanation begins with: "ids: ...", "weight, bias: ..."."""


def words(text: str) -> set[str]:
    """The single names."""
    return set(re.findall(r"\w+", text))


def names(obj: Any) -> set[str]:
    """The names of an object's parameters and annotated fields, which its docstring explains as "name: text"."""
    try:
        parameters = set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        parameters = set()
    return parameters | set(getattr(obj, "__annotations__", ()))


def rest(block: str, explained: set[str]) -> str:
    """A paragraph, a list, or a block of code or of columns, as reST."""
    rows = block.split("\n")
    if all(row.startswith("    ") for row in rows) or all(re.search(r"\S {2,}\S|^ {4}", row) for row in rows):
        return "::\n\n" + "\n".join(f"    {row}" for row in rows)
    return "\n".join(items(rows, explained))


def items(rows: list[str], explained: set[str]) -> Iterator[str]:
    """The lines of a paragraph; an item of a list, or the explanation of a parameter, begins a paragraph of its own."""
    indent = ""
    for row in rows:
        text = row.strip()
        explains = re.match(NAMES, text)
        if text.startswith("- "):
            yield f"\n- {inline(text[2:], explained)}"
            indent = "  "
        elif explains and words(explains[0]) & explained:
            yield f"\n{inline(text, explained)}"
            indent = ""
        else:
            yield indent + inline(text, explained)


def inline(text: str, explained: set[str]) -> str:
    """A line of text: words in backticks are code or links, names of parameters before a colon are code."""
    parts = re.split(r"`([^`]+)`", text)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = f":py:obj:`{part} <{PUBLIC[part]}>`" if part in PUBLIC else f"``{part}``"
        else:
            pieces = re.split(rf"((?:^|(?<=[.;,] )){NAMES})", part)  # every second is what stands before a colon
            parts[number] = "".join(
                f"``{piece}``" if odd % 2 and words(piece) & explained else re.sub(r"([\\*_|])", r"\\\1", piece)
                for odd, piece in enumerate(pieces)
            )
    return "".join(parts)


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, given: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave out annotations that say nothing: an array may be of any library, so that its type is `Any`."""
    return given and re.sub(r": (~typing\.)?Any\b(?! \|)", "", given), None if returned == "~typing.Any" else returned


# --- formulas -------------------------------------------------------------------------------------------------------


def inline_formula(self: Any, node: nodes.math) -> None:
    """A formula as MathML, which browsers show without a script."""
    self.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def formula(self: Any, node: nodes.math_block) -> None:
    """A formula in a line of its own."""
    self.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml(node: nodes.Element, as_block: bool) -> str:
    """The LaTeX of a node as MathML; as it is, with a warning, if docutils does not know a command."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        LOG.warning("this formula cannot be converted to MathML: %s", error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"


# --- commands -------------------------------------------------------------------------------------------------------


class Commands(SphinxDirective):
    """A section for each command of `minroberta`, with its help."""

    def run(self) -> list[nodes.Node]:
        """The sections, in the order of `minroberta --help`."""
        return [command_section(context) for context in commands_of(click.Context(main, info_name="minroberta"))]


def commands_of(group: click.Context) -> Iterator[click.Context]:
    """A context for each command of a group, and of the groups in it."""
    assert isinstance(group.command, click.Group)
    for name in group.command.list_commands(group):
        command = group.command.get_command(group, name)
        assert command
        context = click.Context(command, group, name, max_content_width=96, terminal_width=96)
        yield context
        if isinstance(command, click.Group):
            yield from commands_of(context)


def command_section(context: click.Context) -> nodes.section:
    """The help of a command, under its name."""
    name = context.command_path.partition(" ")[2]
    anchor = f"minroberta-{name.replace(' ', '-')}"
    shown = context.get_help()
    return nodes.section(
        "", nodes.title(text=name), nodes.literal_block(shown, shown, language="text"), ids=[anchor], names=[anchor]
    )


# --- last changes to a page -----------------------------------------------------------------------------------------


def offers(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Put links below two kinds of titles: to the live page, and to the file of a notebook and to JupyterLite."""
    links = []
    if page == "docs/index":
        links = ['<a href="../index.html">Type a sentence of your own, and see every layer guess</a>']
    elif doctree is not None and page.startswith("notebooks/"):
        name = f"{Path(page).name}.ipynb"
        links = [f'<a href="{HOME}/blob/main/notebooks/{name}">{name} on GitHub</a>']
        if (Path(app.outdir) / "lite" / "lab" / "index.html").exists():
            links.insert(0, f'<a href="../lite/lab/index.html?path={name}">Run it here, in JupyterLite</a>')
    if links:
        offer = f'</h1>\n<p class="offers">{" · ".join(links)}</p>'
        context["body"] = context["body"].replace("</h1>", offer, 1)


def no_way_back(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Remove the links from the code to its documentation: they are wrong for names that `minroberta` reexports."""
    if page.startswith("_modules/"):
        context["body"] = re.sub(r'<a class="viewcode-back".*?</a>', "", context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all of this."""
    app.connect("doctree-read", resolve_links, priority=400)  # before files that are linked are copied as downloads
    app.connect("doctree-read", list_folder, priority=450)
    app.connect("doctree-read", end_code)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("html-page-context", offers)
    app.connect("html-page-context", no_way_back)
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
