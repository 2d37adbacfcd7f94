"""The command `minroberta`: texts from arguments, a file or standard input; a table, or lines of JSON."""

import contextlib
import fnmatch
import functools
import io
import json
import math
import os
import shutil
import stat
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import numpy

from .. import __version__, weights
from ..checkpoints import hub, read
from ..checkpoints.arrays import Arrays
from ..checkpoints.verify import ROUNDING
from ..checkpoints.verify import verify as verify_models
from ..config import HEADS, Config
from ..errors import Error
from ..loading import load
from ..text.tokenizer import Tokenizer
from ..trace import trace as run_traced

Command = TypeVar("Command", bound=Callable[..., Any])
Texts = Iterator[tuple[str, Any]]
"""Texts, or pairs of them, and what a message about one begins with."""

# --- the group ------------------------------------------------------------------------------------------------------


class Commands(click.Group):
    """Commands in the order of this file, which say what is wrong in one line and end with status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as they are listed in the help."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command. Output is UTF-8 whatever the locale; Ctrl-C ends with status 130."""
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
        except OSError as error:  # a disk that is full, or a place that may not be written to
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


@contextlib.contextmanager
def warnings_in_a_line(place: str = "") -> Iterator[None]:
    """Within the block, a warning is a line on standard error, without the name of a Python file."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say("warning", place + str(message))
        yield


def _fail(message: str) -> None:
    _say("error", message)
    sys.exit(2)


def _say(kind: str, message: str) -> None:
    click.echo(f"{kind}: {printable(' '.join(message.split()))}", err=True)


@click.group(cls=Commands, invoke_without_command=True)
@click.version_option(__version__, prog_name="minroberta", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """RoBERTa: text in, answers out.

    \b
      minroberta fill-mask "The capital of France is <mask>."
      minroberta classify "A film to remember." "Two lost hours."
      minroberta tag "Time flies like an arrow."
      minroberta answer "Where is the cup?" --context "The cup is on the table."
      minroberta choose --model NAME "It rained, so" "she got wet." "she burnt."
      minroberta encode --file lines.txt --output vectors.npy
      minroberta generate --model NAME "Once upon a time" --max-new-tokens 50
      minroberta predict-all "Time flies like an arrow."
      minroberta info
      minroberta bench
      minroberta trace "Time flies." --name "*.probs"
      minroberta convert pytorch_model.bin DIRECTORY
      minroberta verify pytorch_model.bin DIRECTORY
      minroberta golden make NAME -o golden.safetensors --ids "0 31 42 2"

    Where a command takes several texts they are arguments, or the lines of --file or of standard input; an empty line
    is a text as well. Answers are a table; on a terminal its long texts are shortened, to a pipe or file they are
    whole. Programs read --json.

    Of a text longer than the model, fill-mask, classify, choose and encode read the beginning, with a warning; tag,
    predict-all and answer read all, by windows; generate and trace refuse it.

    Without --model it is the small English model that comes with the package, which has a head for each command but
    choose and generate. NAME is a directory, a weights file, or a name on the Hugging Face hub.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


takes_head = click.option(
    "--head",
    metavar="HEAD",
    type=click.Choice(list(HEADS)),
    help="encoder, masked_lm, ...; by default the one that the model was saved with.",
)


def takes_model(default: str | None = hub.EMBEDDED) -> Callable[[Command], Command]:
    """--model, which must be given where there is no default, --dtype and --json."""

    def decorate(command: Command) -> Command:
        command = click.option("--json", "as_json", is_flag=True, help="Print lines of JSON.")(command)
        command = click.option(
            "--dtype",
            type=click.Choice(["float64", "float32", "float16"]),
            default="float32",
            show_default=True,
            help="What weights are held in; float16 computes in float32.",
        )(command)
        return click.option(
            "--model",
            metavar="NAME",
            default=default,
            required=default is None,
            show_default=default is not None,
            help="A directory, a weights file or a hub name.",
        )(command)

    return decorate


def takes_texts(command: Command) -> Command:
    """Texts as arguments, and --file."""
    help = "Read texts from a file in UTF-8, one a line; - is standard input."
    command = click.option("--file", type=click.File("rb"), metavar="FILE", help=help)(command)
    return click.argument("texts", nargs=-1, metavar="[TEXT]...")(command)


# --- texts ----------------------------------------------------------------------------------------------------------


def read_texts(texts: Sequence[str], file: BinaryIO | None) -> Texts:
    """The arguments, or the lines of a file, or of standard input where there is neither."""
    if texts and file:
        raise click.UsageError("texts come as arguments or from --file, not both")
    if texts:
        return ((f"text {number}: " if len(texts) > 1 else "", text) for number, text in enumerate(texts, 1))
    return _lines(file or _standard_input("no text: give one as an argument, by --file, or on standard input"))


def _standard_input(otherwise: str) -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError(otherwise)
    return sys.stdin.buffer


def _lines(file: BinaryIO) -> Texts:
    for number, line in enumerate(file, 1):
        place = f"line {number}: "
        yield place, _decode(line, place, start=number == 1).removesuffix("\n").removesuffix("\r")


def _decode(content: bytes, place: str = "", start: bool = True) -> str:
    """Text of bytes, without the mark that a file may start with."""
    try:
        return content.decode("utf-8-sig" if start else "utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} is {content[error.start]:#04x}"
        raise click.ClickException(f"{place}the text is not in UTF-8 ({byte}): convert it, as iconv does") from None


def read_pairs(texts: Sequence[str], file: BinaryIO | None) -> Texts:
    """Arguments two by two, or the two fields of each line."""
    if len(texts) % 2:
        raise click.UsageError(f"--pairs takes arguments two by two; here are {len(texts)}")
    given = read_texts(texts, file)
    if texts:
        return ((place, (text, next(given)[1])) for place, text in given)
    return ((place, _fields(place, line)) for place, line in given)


def _fields(place: str, line: str) -> tuple[str, ...]:
    fields = tuple(line.split("\t"))
    if len(fields) != 2:
        raise click.ClickException(f"{place}--pairs takes two texts with one tab between them; here are {len(fields)}")
    return fields


def read_context(text: str | None, file: BinaryIO | None) -> str:
    """The context of a question: an option, or all of a file or of standard input."""
    if text is not None and file:
        raise click.UsageError("the context comes by --context or by --context-file, not both")
    if text is not None:
        return text
    otherwise = "no context: give one by --context, by --context-file, or on standard input"
    return _decode((file or _standard_input(otherwise)).read())


# --- answers --------------------------------------------------------------------------------------------------------


class Output:
    """Results as they come: lines of JSON, or rows of a table in columns as wide as their widest cell so far.

    columns: keys of the results, of which those are shown that the first row has. apart: whether a blank line parts
    the results of one text from the next one's.
    """

    def __init__(self, as_json: bool, *columns: str, apart: bool = False) -> None:
        self.as_json, self.columns, self.apart = as_json, columns, apart
        self.widths: list[int] = []

    def write(self, result: Sequence[Any], **also: Any) -> None:
        """The result for one text; `also` are further cells of its rows in the table."""
        if self.as_json:
            click.echo(json.dumps(result, ensure_ascii=False))
            return
        several = result and isinstance(result[0], list)  # one list for each mask
        for rows in result if several else [result]:
            self._write_rows([{**row, **also} for row in rows])

    def _write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        table = []
        if not self.widths:
            self.columns = tuple(name for name in self.columns if name in rows[0])
            self.numbers = [isinstance(rows[0][name], int | float) for name in self.columns]
            self.widths = [0] * len(self.columns)
            table = [list(self.columns)]
        elif self.apart:
            click.echo()
        limit = terminal_width()
        table += [[cell(row[name]) for name in self.columns] for row in rows]
        table = [[shortened(text, limit // 3) for text in texts[:-1]] + texts[-1:] for texts in table]
        self.widths = [max(have, *map(width, texts)) for have, *texts in zip(self.widths, *table, strict=True)]
        rest = max(10, limit - sum(self.widths[:-1]) - 2 * len(self.widths[:-1]))
        for *texts, last in table:
            padded = map(pad, texts, self.widths, self.numbers)
            click.echo("  ".join([*padded, shortened(last, rest)]))


def terminal_width() -> int:
    """Columns of the terminal that standard output is; without end where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else sys.maxsize


def cell(value: Any) -> str:
    """How a value stands in a table: numbers with four digits behind the point, very small and large ones with two."""
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.1e}"
    return printable(str(value))


TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What turns the direction of a line."""


def printable(text: str) -> str:
    """A text without what would move the cursor, end the line or turn it: such characters as Python writes them."""
    if text.isprintable():
        return text
    return "".join(
        repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in TURNS else c for c in text
    )


def width(text: str) -> int:
    """Columns on a terminal: 2 for wide characters, 0 for those that combine with the one before."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shortened(text: str, limit: int) -> str:
    """The text in at most so many columns, with an ellipsis in place of what is left out."""
    if width(text) <= limit:
        return text
    used = 1
    for place, character in enumerate(text):
        used += width(character)
        if used > limit:
            return text[:place] + "…"
    return text


def pad(text: str, columns: int, to_the_right: bool) -> str:
    """The text with spaces on one side, as wide as its column."""
    gap = " " * (columns - width(text))
    return gap + text if to_the_right else text + gap


def answers(texts: Texts, task: Callable[[Any], Any], at_once: int = 1) -> Iterator[tuple[Any, Any]]:
    """Each text and what the task says about it, of so many texts at once.

    Where there is something to say about one of them they are asked one by one: an error or a warning names its text.
    """
    for some in _some(texts, at_once):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                results = iter(task([text for _, text in some]) if some else ())
        except (Error, UserWarning):
            results = (_answer_one(place, text, task) for place, text in some)
        yield from zip((text for _, text in some), results, strict=True)


def _some(texts: Texts, at_once: int) -> Iterator[list[tuple[str, Any]]]:
    """So many texts at once; and those before one that cannot be read, before it says so."""
    some: list[tuple[str, Any]] = []
    try:
        for text in texts:
            some.append(text)
            if len(some) == at_once:
                yield some
                some = []
    except click.ClickException:
        yield some
        raise
    yield some


def _answer_one(place: str, text: Any, task: Callable[[Any], Any]) -> Any:
    try:
        with warnings_in_a_line(place):
            return task(text)
    except Error as error:
        raise click.ClickException(place + str(error)) from error


def how_many(texts: Sequence[str], file: BinaryIO | None) -> int:
    """How many texts are asked about at once: one, where lines come as somebody or something writes them."""
    given = file or sys.stdin.buffer
    try:
        comes = not texts and not stat.S_ISREG(os.fstat(given.fileno()).st_mode)
    except OSError:  # no file of the system's
        comes = False
    return 1 if comes else 64


# --- the tasks ------------------------------------------------------------------------------------------------------


@main.command()
@takes_texts
@click.option("--top-k", default=5, show_default=True, help="How many tokens for each mask.")
@takes_model()
def fill_mask(texts: Sequence[str], file: BinaryIO, model: str, dtype: str, as_json: bool, top_k: int) -> None:
    """The likeliest tokens for each <mask> of a text."""
    given = read_texts(texts, file)
    loaded = load(model, head="masked_lm", dtype=dtype)
    output = Output(as_json, "score", "token_str", "sequence", apart=True)
    task = functools.partial(loaded.fill_mask, top_k=top_k)
    for _, result in answers(given, task, how_many(texts, file)):
        output.write(result)


@main.command()
@takes_texts
@click.option("--pairs", is_flag=True, help="Texts are pairs: two arguments, or a line with a tab between them.")
@click.option("--top-k", default=1, show_default=True, help="How many labels, best first.")
@click.option("--all", "every", is_flag=True, help="All labels.")
@takes_model()
def classify(
    texts: Sequence[str],
    file: BinaryIO,
    model: str,
    dtype: str,
    as_json: bool,
    pairs: bool,
    top_k: int,
    every: bool,
) -> None:
    """The label of each text, or pair of texts."""
    given = (read_pairs if pairs else read_texts)(texts, file)
    loaded = load(model, head="sequence_classification", dtype=dtype)
    output = Output(as_json, "score", "label", "text", "pair")
    task = functools.partial(loaded.classify, top_k=None if every else top_k)
    for text, result in answers(given, task, how_many(texts, file)):
        output.write(result, **dict(zip(("text", "pair"), text if pairs else (text,), strict=False)))


@main.command()
@takes_texts
@click.option(
    "--aggregation-strategy",
    type=click.Choice(["first", "none"]),
    default="first",
    show_default=True,
    help="Words by their first piece, or every piece.",
)
@takes_model()
def tag(
    texts: Sequence[str],
    file: BinaryIO,
    model: str,
    dtype: str,
    as_json: bool,
    aggregation_strategy: Any,
) -> None:
    """The label of each word, such as its part of speech."""
    given = read_texts(texts, file)
    loaded = load(model, head="token_classification", dtype=dtype)
    output = Output(as_json, "score", "entity", "entity_group", "word", apart=True)
    task = functools.partial(loaded.tag, aggregation_strategy=aggregation_strategy)
    for _, result in answers(given, task, how_many(texts, file)):
        output.write(result)


@main.command()
@click.argument("question")
@click.option("--context", metavar="TEXT", help="Where the answer stands.")
@click.option("--context-file", type=click.File("rb"), metavar="FILE", help="The same, from a file in UTF-8.")
@click.option("--top-k", default=1, show_default=True, help="How many answers, best first.")
@click.option("--max-answer-len", default=15, show_default=True, help="Tokens of the longest answer.")
@takes_model()
def answer(
    question: str,
    context: str | None,
    context_file: BinaryIO | None,
    model: str,
    dtype: str,
    as_json: bool,
    top_k: int,
    max_answer_len: int,
) -> None:
    """The words of a text that answer a question.

    The text is --context, --context-file, or all of standard input. One answer may stand in the list twice: from two
    windows of a long text, or from two spans within the same words.
    """
    text = read_context(context, context_file)
    loaded = load(model, head="question_answering", dtype=dtype)
    result = loaded.answer(question, text, top_k=top_k, max_answer_len=max_answer_len)
    Output(as_json, "score", "start", "end", "answer").write(result)


@main.command()
@click.argument("prompt")
@click.argument("choices", nargs=-1, required=True, metavar="CHOICE...")
@takes_model(default=None)
def choose(prompt: str, choices: Sequence[str], model: str, dtype: str, as_json: bool) -> None:
    """Which of several texts goes on from a prompt."""
    loaded = load(model, head="multiple_choice", dtype=dtype)
    Output(as_json, "score", "label").write(loaded.choose(prompt, list(choices)))


@main.command()
@takes_texts
@click.option("--pooling", type=click.Choice(["mean", "cls", "max"]), default="mean", show_default=True)
@click.option("--normalize/--no-normalize", default=True, show_default=True, help="Vectors of length 1.")
@click.option("--batch-size", type=int, help="Texts in a batch.")
@click.option("--output", metavar="FILE", help="Write the vectors as one .npy array, (N, D); - is standard output.")
@takes_model()
def encode(
    texts: Sequence[str],
    file: BinaryIO,
    model: str,
    dtype: str,
    as_json: bool,
    pooling: Any,
    normalize: bool,
    batch_size: int | None,
    output: str | None,
) -> None:
    """A vector for each text, to compare texts by."""
    if output and as_json:
        raise click.UsageError("vectors go to --output or out as --json, not both")
    given = [text for _, text in read_texts(texts, file)]
    loaded = load(model, head="encoder", dtype=dtype)
    opening = _open_new(output) if output else contextlib.nullcontext()
    with opening as opened:  # before the work, which may be long
        vectors = loaded.encode(given, pooling=pooling, normalize=normalize, batch_size=batch_size)
        if opened:
            numpy.save(opened, vectors)
            return
    table = Output(as_json, "text", "vector")
    for text, vector in zip(given, vectors, strict=True):
        if as_json:
            table.write([float(str(x)) for x in vector])  # the fewest digits that give a float32 back
        else:
            table.write([{"text": text, "vector": " ".join(f"{x:7.4f}" for x in vector)}])


@contextlib.contextmanager
def _open_new(name: str) -> Iterator[Any]:
    """A file to write: it takes the place of an old one when all is written, and none where that fails."""
    path = Path(name)
    if name == "-" or (path.exists() and not path.is_file()):  # a pipe or a device
        with click.open_file(name, "wb") as file:
            yield file
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
    finally:
        part.unlink(missing_ok=True)


@main.command()
@takes_texts
@click.option("--max-new-tokens", default=20, show_default=True, help="How many tokens at most.")
@click.option("--temperature", default=0.0, show_default=True, help="0 takes the likeliest token, 1 draws as it is.")
@click.option("--top-k", type=int, help="Draw from the likeliest so many alone.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@takes_model(default=None)
def generate(
    texts: Sequence[str],
    file: BinaryIO,
    model: str,
    dtype: str,
    as_json: bool,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    seed: int,
) -> None:
    """How each text goes on, by a model that is a decoder."""
    given = read_texts(texts, file)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "head 'causal_lm'")  # of a model that is no decoder: the task refuses it
        loaded = load(model, head="causal_lm", dtype=dtype)

    def task(text: str) -> Any:
        return loaded.generate(text, max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, seed=seed)

    for _, result in answers(given, task):
        if as_json:
            Output(as_json).write(result)
        else:
            click.echo("\n".join(map(printable, result[0]["generated_text"].split("\n"))))


@main.command()
@takes_texts
@takes_model()
def predict_all(texts: Sequence[str], file: BinaryIO, model: str, dtype: str, as_json: bool) -> None:
    """The model's own prediction at each token of a text."""
    given = read_texts(texts, file)
    loaded = load(model, head="masked_lm", dtype=dtype)
    output = Output(as_json, "index", "word_score", "word", "score", "token_str", apart=True)
    task = functools.partial(loaded.predict_all)
    for _, result in answers(given, task, how_many(texts, file)):
        output.write(result)


# --- a look inside --------------------------------------------------------------------------------------------------


@main.command()
@click.argument("name", default=hub.EMBEDDED)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def info(name: str, as_json: bool) -> None:
    """What a model is: sizes, heads, parameters.

    Parameters have the names that they have in `model.params`, whatever the file calls them.
    """
    path = hub.locate(name)
    directory = path.parent if path.is_file() else path
    file = read.read(path)
    config = read.config_of(path, file)
    held, unused = read.inventory(file, config)
    tokenizer = Tokenizer.load(directory, config)
    counts = {name: math.prod(shape) for name, shape in held.items()}
    parts = dict.fromkeys(name.split(".")[0] for name in held)
    facts = {
        "name": name,
        "file": str(file.path),
        "format": file.format,
        "family": config.model_type,
        "norms": "pre-LN: x + f(norm(x))" if config.norm_first else "post-LN: norm(x + f(x))",
        "num_hidden_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "longest_input": config.longest,
        "vocab_size": config.vocab_size,
        "tokenizer": _kind(tokenizer) if tokenizer else "none",
        "heads": weights.heads_in(held, config),
        "dtypes": sorted({file.stored(name)[0] for name in file}),
        "bytes": file.size,
        "unused": unused,
        "parameters": sum(counts.values()),
        **{f"parameters.{part}": sum(n for name, n in counts.items() if name.split(".")[0] == part) for part in parts},
    }
    if as_json:
        click.echo(json.dumps({**facts, "shapes": held}, ensure_ascii=False))
        return
    for name, value in facts.items():
        text = ", ".join(value) or "none" if isinstance(value, list) else value
        click.echo(printable(f"{name:<24}{text:,}" if isinstance(text, int) else f"{name:<24}{text}"))
    click.echo()
    for line in _branches(weights.tree(held)):
        click.echo(line)


def _kind(tokenizer: Tokenizer) -> str:
    library = tokenizer.library
    steps = [type(step).__name__ for step in (library.normalizer, library.pre_tokenizer, library.model) if step]
    return f"{' > '.join(steps)}, {library.get_vocab_size():,} tokens"


def _branches(node: Any, name: str = "", indent: str = "") -> Iterator[str]:
    """The lines of a tree of shapes: a module a line; layers that are alike stand together."""
    own = {child: shape for child, shape in node.items() if isinstance(shape, tuple)}
    below = {child: inner for child, inner in node.items() if child not in own}
    if name:
        yield (f"{indent}{name:<{42 - len(indent)}}" + "  ".join(f"{n} {s}" for n, s in own.items())).rstrip()
        indent += "  "
    for child, inner in below.items():
        if isinstance(inner, dict):
            yield from _branches(inner, child, indent)
        for first, last in _alike(inner) if isinstance(inner, list) else ():
            several = "" if first == last else f" … {child}.{last}"
            yield from _branches(inner[first], f"{child}.{first}{several}", indent)


def _alike(layers: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Runs of equal layers, the first and the last of each."""
    first = 0
    for index in range(1, len(layers) + 1):
        if index == len(layers) or layers[index] != layers[first]:
            yield first, index - 1
            first = index


@main.command()
@click.argument("name", default=hub.EMBEDDED)
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="Of which the median is told.")
@click.option("--json", "as_json", is_flag=True, help="Print lines of JSON.")
def bench(name: str, rounds: int, as_json: bool) -> None:
    """How fast this machine is, beside its own matrix products.

    The floor is the time of the products with the weights alone; what the rest takes comes on top of it.
    """
    from . import bench  # which nothing else needs

    model, facts = load(name, head="encoder"), bench.machine()
    hindrances = list(bench.hindrances(facts))
    if as_json:
        click.echo(json.dumps({**facts, "hindrances": hindrances}, ensure_ascii=False))
    else:
        for key, value in facts.items():
            click.echo(printable(f"{key:<24}{value}"))
        for line in hindrances:
            click.echo(printable(f"held back: {line}"))
        click.echo()
    output = Output(False, "batch", "length", "ms", "floor_ms", "ratio")
    for shape in bench.shapes(model, rounds):
        if as_json:
            click.echo(json.dumps(shape))
        else:
            output.write([shape])


@main.command()
@click.argument("text")
@click.option("--name", "pattern", metavar="PATTERN", default="*", help='Only these, as in "encoder.layer.0.*".')
@takes_head
@takes_model()
def trace(text: str, pattern: str, head: str | None, model: str, dtype: str, as_json: bool) -> None:
    """Every value on the way: name, shape, mean, spread.

    With --json a line for each value.
    """
    loaded = load(model, head=head, dtype=dtype)
    values = run_traced(loaded, **loaded.tokenize(text, truncation=False))  # type: ignore[arg-type]  # none is edit
    names = fnmatch.filter(values, pattern)
    if not names:
        raise click.UsageError(f"no value of this run has a name like {pattern!r}: see them all without --name")
    rows = [_summary(name, values[name]) for name in names]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        Output(False, "mean", "std", "shape", "name").write(rows)


def _summary(name: str, value: numpy.ndarray) -> dict[str, Any]:
    exact = value.astype(float)
    return {"name": name, "shape": value.shape, "mean": float(exact.mean()), "std": float(exact.std())}


# --- checkpoints ----------------------------------------------------------------------------------------------------


@main.command()
@click.argument("source")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--to", "kind", type=click.Choice(["hf", "keras"]), default="hf", help="Hugging Face's files, or KerasHub's."
)
@takes_head
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32", "float16"]),
    help="By default that of the source; bfloat16 becomes float32.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def convert(source: str, directory: Path, kind: str, head: str | None, dtype: str | None, as_json: bool) -> None:
    """Write a checkpoint of any format anew.

    To a DIRECTORY that is not there, or empty: config, weights and tokenizer as transformers loads them, or a preset of
    KerasHub's, which takes pip install ".[formats]". SOURCE is a directory, a file or a name on the hub. Of several
    heads one is written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise click.ClickException(f"{directory} is there already, and not empty: give another directory")
    path = hub.locate(source)
    arrays = read.read(path)
    model = load(path, head=head, dtype=dtype or _stored_dtype(arrays))
    _warn_of_other_heads(arrays, model.config, model.head)
    if kind == "hf":
        model.save(directory)
    else:
        from ..checkpoints.formats import keras

        keras.write(directory, model)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    facts = {"family": model.config.model_type, "head": model.head, "dtype": str(model.dtype), "bytes": size}
    if as_json:
        click.echo(json.dumps({"directory": str(directory), **facts}))
    else:
        click.echo(printable(f"{directory}: " + ", ".join(f"{name} {value}" for name, value in facts.items())))


@main.command()
@click.argument("one")
@click.argument("other")
@takes_head
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, with all differences.")
def verify(one: str, other: str, head: str | None, as_json: bool) -> None:
    """Say whether two checkpoints are one model.

    Weights are compared to the bit, in the wider of both dtypes; what both make of a random input, to rounding; their
    tokenizers are not. Prints the first difference. The status is 0 if there is none, 1 if there is, 2 after an error.
    """
    paths = [hub.locate(name) for name in (one, other)]
    dtype = str(numpy.result_type(*(_stored_dtype(read.read(path)) for path in paths)))
    first = load(paths[0], head=head, dtype=dtype)
    verdict = verify_models(first, load(paths[1], head=first.head, dtype=dtype))
    if as_json:
        found = [difference._asdict() for difference in verdict.differences]
        click.echo(json.dumps({"equal": verdict.equal, "differences": found, "outputs": verdict.outputs}))
    elif verdict.differences:
        (name, own, its), more = verdict.differences[0], len(verdict.differences) - 1
        several = f"; {more} more (--json lists them)" if more else ""
        click.echo(printable(f"differ: {name} is {own} in {one}, and {its} in {other}{several}"))
    else:
        click.echo(
            f"{'equal' if verdict.equal else 'differ in their outputs'}: {len(weights.flat(first.params))} weights"
        )
    if verdict.outputs is not None and not as_json:
        click.echo(f"outputs: {verdict.outputs:.1e} of the largest apart; rounding is below {ROUNDING:.0e}")
    sys.exit(0 if verdict.equal else 1)


def _stored_dtype(arrays: Arrays) -> str:
    """The dtype of a checkpoint's weights, as far as NumPy has it."""
    dtypes = (arrays.stored(name)[0] for name in arrays)
    return next((x for x in dtypes if x.startswith("float")), "float32")  # so too for bfloat16


def _warn_of_other_heads(arrays: Arrays, config: Config, head: str) -> None:
    held, _ = read.inventory(arrays, config)
    others = [name for name in weights.heads_in(held, config) if name != head]
    if others:
        warnings.warn(
            f"the source also holds {', '.join(others)}, which a directory of {head} does not: --head converts another",
            stacklevel=2,
        )


# --- golden files ---------------------------------------------------------------------------------------------------


class Golden(click.Group):
    """The commands of `minroberta.testing`, which is imported only for them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of use."""
        from .golden import commands

        return list(commands.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """One of them."""
        from .golden import commands

        return commands.get_command(ctx, name)


@main.group(cls=Golden, name="golden", invoke_without_command=True)
@click.pass_context
def golden_files(context: click.Context) -> None:
    """Files for ports: what a model makes, value by value. show and check also print --json."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
