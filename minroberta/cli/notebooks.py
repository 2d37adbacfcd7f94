"""The command notebooks: copy them out of the package."""

from pathlib import Path

import click

from .. import __file__ as own
from .console import print_json, printable

PLACES = (Path(own).parent / "notebooks", Path(own).parents[1] / "notebooks")
"""Folders of the notebooks: in an installed package, and in a clone."""

HOME = "https://github.com/minroberta/minroberta/blob/main/"
"""Address of the project's files, to which notebooks link."""


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def notebooks(directory: Path, as_json: bool) -> None:
    """Copy the notebooks to a directory, from which Jupyter opens them.

    \b
      pip install "minroberta[notebooks]"
      minroberta notebooks walkthrough
      jupyter lab walkthrough

    A notebook that is there already is not replaced.
    """
    found = sorted(path for place in PLACES for path in place.glob("*.ipynb"))
    if not found:
        raise click.ClickException("this installation has no notebooks: install minroberta again")
    directory.mkdir(parents=True, exist_ok=True)
    kept = [path.name for path in found if (directory / path.name).exists()]
    for path in found:
        if path.name not in kept:
            (directory / path.name).write_text(to_open_anywhere(path), encoding="utf-8", newline="\n")
    if as_json:
        print_json({"directory": str(directory), "notebooks": [path.name for path in found], "kept": kept})
        return
    for path in found:
        click.echo(printable(f"{directory / path.name}{', which was there already' if path.name in kept else ''}"))


def to_open_anywhere(notebook: Path) -> str:
    """The text of a notebook; links to files of the project lead to its home, as these are not beside a copy."""
    return notebook.read_text(encoding="utf-8").replace("](../", f"]({HOME}")
