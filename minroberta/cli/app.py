"""`main`, the group of all commands, and its handling of errors."""

import io
import sys
from typing import Any

import click

from .. import __version__
from ..errors import Error
from . import checkpoints, explain, fine_tune, look, notebooks, tasks
from .console import say, warnings_in_a_line


class Commands(click.Group):
    """A group that lists its commands in the order in which they were added.

    It reports an error on one line, and exits with status 2.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which they were added."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command. Output is UTF-8 in any locale. After Ctrl-C, the exit status is 130."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        try:
            with warnings_in_a_line():
                return super().main(*args, **{**extra, "standalone_mode": False})
        except click.Abort:
            sys.exit(130)
        except click.ClickException as error:
            _fail(error.format_message())
        except Error as error:
            _fail(str(error))
        except OSError as error:  # a full disk, or no permission to write
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


def _fail(message: str) -> None:
    say("error", message)
    sys.exit(2)


COMPLETION = """\b
Shell completion: add this line to ~/.bashrc
(for zsh: to ~/.zshrc, with zsh_source instead of bash_source):
eval "$(_MINROBERTA_COMPLETE=bash_source minroberta)"
"""


@click.group(cls=Commands, invoke_without_command=True, epilog=COMPLETION)
@click.version_option(__version__, prog_name="minroberta", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """RoBERTa: text in, answers out.

    \b
      minroberta fill-mask "The Amazon River flows into the Atlantic <mask>."
      minroberta classify "Beautifully acted and deeply moving." "The plot is dull."
      minroberta zero-shot --model NAME "It rained." --label weather --label art
      minroberta tag "The old man reads the paper."
      minroberta answer "Who built it?" --context "It was built by Anna."
      minroberta choose --model NAME "It rained, so" "she got wet." "she burnt."
      minroberta encode --file lines.txt --output vectors.npy
      minroberta generate --model NAME "Once upon a time" --max-new-tokens 50
      minroberta predict-all "The old man reads the paper."
      minroberta fine-tune reviews.csv --head sequence_classification --output DIR
      minroberta info
      minroberta bench
      minroberta trace "Time flies." --name "*.probs"
      minroberta explain NAME "Time <mask>." -o page.html
      minroberta convert pytorch_model.bin DIRECTORY
      minroberta verify pytorch_model.bin DIRECTORY
      minroberta golden make NAME -o golden.safetensors --ids "0 31 42 2"
      minroberta notebooks DIR

    A command that takes several texts reads them from its arguments, or one per line from --file or standard input; an
    empty line counts as a text. Results are printed as a table; long texts are shortened on a terminal, but not in a
    pipe or file. --json prints JSON lines for programs.

    If a text is longer than the model's maximum length, fill-mask, classify, zero-shot, choose and encode read only its
    beginning, with a warning; tag, predict-all and answer read all of it, in overlapping windows; trace rejects it.
    generate rejects it with a decoder, and reads its beginning with an encoder-decoder.

    The default model is the small English model that comes with the package; it has a head for every command except
    zero-shot, choose and generate. NAME is a directory, a weights file, or a name on the Hugging Face hub. --adapter
    merges a LoRA adapter into the model, and --tokenizer replaces its tokenizer.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


class Golden(click.Group):
    """The commands that use `minroberta.testing`, which is imported only for them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of use."""
        from .golden import commands

        return list(commands.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command with this name, or None."""
        from .golden import commands

        return commands.get_command(ctx, name)


@click.group(cls=Golden, name="golden", invoke_without_command=True)
@click.pass_context
def golden_files(context: click.Context) -> None:
    """Golden files: the values that a model computes, for testing ports.

    show and check also take --json.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    tasks.fill_mask,
    tasks.classify,
    tasks.zero_shot,
    tasks.tag,
    tasks.answer,
    tasks.choose,
    tasks.encode,
    tasks.generate,
    tasks.predict_all,
    fine_tune.command,
    checkpoints.info,
    look.bench,
    look.trace,
    explain.explain,
    checkpoints.convert,
    checkpoints.verify,
    golden_files,
    notebooks.notebooks,
):
    main.add_command(command)
