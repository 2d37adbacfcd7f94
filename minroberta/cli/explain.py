"""The command explain: one run as a page for a browser."""

from pathlib import Path

import click

from .console import print_json, printable
from .options import Source, takes_head


@click.command()
@click.argument("name")
@click.argument("text")
@click.argument("pair", required=False)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The page."
)
@takes_head
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def explain(name: str, text: str, pair: str | None, output: Path, head: str | None, as_json: bool) -> None:
    """Write a page that shows one run: who reads whom in every attention head,
    the head's guesses by layer, the size of the residual stream, the answer.

    NAME is a directory, a weights file, a name on the Hugging Face hub, or
    minroberta/tiny. PAIR is a second text, such as a question's context.

    The page is one file, which a browser opens without a network.
    """
    from ..plot.page import facts, page  # with `testing`, whose import takes a while

    if not text.strip():
        raise click.UsageError("the text is empty: give one with a word")
    model = Source(name).load(head)
    if model.head == "question_answering" and pair is None:
        raise click.UsageError("a question is answered from a context: give it as a second text, after the question")
    found = facts(model, text if pair is None else (text, pair))
    written = page(found, name).encode()
    output.write_bytes(written)
    if as_json:
        print_json(
            {"output": str(output), "bytes": len(written), "tokens": found["tokens"], "answers": found["answers"]}
        )
    else:
        click.echo(printable(f"{output}: {len(found['tokens'])} tokens, {len(written):,} bytes"))
