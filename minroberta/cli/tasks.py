"""The commands that run a task: fill-mask, classify, zero-shot, tag, answer, choose, encode, generate, predict-all."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import click

from ..text.embedding import POOLINGS
from .console import Output, print_json, printable
from .options import Source, takes_model, takes_texts
from .texts import Texts, answers, read_context, read_pairs, read_texts
from .vectors import writer


def _print_answers(output: Output, texts: Texts, task: Callable[[Any], Any]) -> None:
    for _, result in answers(texts, task):
        output.write(result)


@click.command()
@takes_texts
@click.option("--top-k", default=5, show_default=True, help="Number of tokens for each mask.")
@click.option("--target", "targets", multiple=True, metavar="TOKEN", help="List only this token; repeat for more.")
@takes_model()
def fill_mask(
    texts: Sequence[str],
    file: BinaryIO,
    model: Source,
    as_json: bool,
    top_k: int,
    targets: Sequence[str],
) -> None:
    """Predict the likeliest tokens for each <mask> in a text."""
    given = read_texts(texts, file)
    loaded, among = model.load("masked_lm"), targets or None
    loaded.fill_mask([], targets=among)  # warns of unknown targets; afterwards, no text does

    def task(some: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "target ")
            return loaded.fill_mask(some, top_k=top_k, targets=among)

    _print_answers(Output(as_json, "score", "token_str", "sequence", spaced=True), given, task)


@click.command()
@takes_texts
@click.option(
    "--pairs",
    is_flag=True,
    help="Label pairs of texts; each pair is two arguments, or one line with a tab between the texts.",
)
@click.option("--top-k", default=1, show_default=True, help="Number of labels, best first.")
@click.option("--all", "every", is_flag=True, help="Print all labels.")
@click.option(
    "--function-to-apply",
    type=click.Choice(["sigmoid", "softmax", "none"]),
    help="Function from logits to scores; by default, that in the model's files.",
)
@takes_model()
def classify(
    texts: Sequence[str],
    file: BinaryIO,
    model: Source,
    as_json: bool,
    pairs: bool,
    top_k: int,
    every: bool,
    function_to_apply: Any,
) -> None:
    """Label each text, or each pair of texts.

    With a LoRA adapter, and the tokenizer of another model:

    \b
      minroberta classify --model NAME --adapter NAME --tokenizer NAME "Wet."
    """
    given = (read_pairs if pairs else read_texts)(texts, file)
    loaded = model.load("sequence_classification")
    task = functools.partial(loaded.classify, top_k=None if every else top_k, function_to_apply=function_to_apply)
    output = Output(as_json, "score", "label", "text", "pair")
    for text, result in answers(given, task):
        output.write(result, **dict(zip(("text", "pair"), text if pairs else (text,), strict=False)))


@click.command()
@takes_texts
@click.option("--label", "labels", multiple=True, required=True, metavar="TEXT", help="A label; repeat for more.")
@click.option(
    "--hypothesis-template",
    default="This example is {}.",
    show_default=True,
    metavar="TEXT",
    help="Sentence that is true if a label fits; {} is the label.",
)
@click.option("--multi-label", is_flag=True, help="Score each label by itself, if several may fit.")
@takes_model(default=None)
def zero_shot(
    texts: Sequence[str],
    file: BinaryIO,
    model: Source,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank labels that you give, with a model trained on natural language inference."""
    given = read_texts(texts, file)
    task = functools.partial(model.load("sequence_classification").zero_shot, **options)
    output = Output(as_json, "score", "label", "text", spaced=True)
    for text, result in answers(given, task):
        if as_json:
            print_json(result)
            continue
        pairs = zip(result["labels"], result["scores"], strict=True)
        output.write([{"label": label, "score": score} for label, score in pairs], text=text)


@click.command()
@takes_texts
@click.option(
    "--aggregation-strategy",
    type=click.Choice(["none", "simple", "first", "average", "max"]),
    help="none: tokens; simple: groups of tokens; first, average, max: groups of words, labelled by each word's first "
    "token, the mean of its tokens, or its token with the largest score. By default, first if a label begins with B- "
    "or I-, otherwise single words.",
)
@click.option("--split-punctuation", is_flag=True, help="Also split words at punctuation, symbols and any white space.")
@takes_model()
def tag(
    texts: Sequence[str],
    file: BinaryIO,
    model: Source,
    as_json: bool,
    aggregation_strategy: Any,
    split_punctuation: bool,
) -> None:
    """Label each word, for example with its part of speech."""
    given = read_texts(texts, file)
    loaded = model.load("token_classification")
    task = functools.partial(loaded.tag, aggregation_strategy=aggregation_strategy, split_punctuation=split_punctuation)
    _print_answers(Output(as_json, "score", "entity", "entity_group", "word", spaced=True), given, task)


@click.command()
@click.argument("question")
@click.option("--context", metavar="TEXT", help="The text that contains the answer.")
@click.option("--context-file", type=click.File("rb"), metavar="FILE", help="Read the context from a UTF-8 file.")
@click.option("--top-k", default=1, show_default=True, help="Number of answers, best first.")
@click.option("--max-answer-len", default=15, show_default=True, help="Maximum number of tokens in an answer.")
@click.option("--handle-impossible-answer", is_flag=True, help='Allow "no answer", an empty text, as an answer.')
@click.option("--max-seq-len", type=int, help="Maximum number of tokens in a window.  [default: 384]")
@click.option("--doc-stride", type=int, help="Number of tokens that neighbouring windows share.  [default: 128]")
@click.option("--max-question-len", type=int, help="Maximum number of tokens in a question.")
@click.option("--merge-equal", is_flag=True, help="List equal answers once, with the sum of their scores.")
@takes_model()
def answer(
    question: str,
    context: str | None,
    context_file: BinaryIO | None,
    model: Source,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the words of a text that answer a question.

    The text is --context, the contents of --context-file, or all of standard input. The same answer may be listed
    several times, such as from two windows of a long text; --merge-equal lists it once.
    """
    text = read_context(context, context_file)
    loaded = model.load("question_answering")
    result = loaded.answer(question, text, **options)
    Output(as_json, "score", "start", "end", "answer").write(result)


@click.command()
@click.argument("prompt")
@click.argument("choices", nargs=-1, required=True, metavar="CHOICE...")
@takes_model(default=None)
def choose(prompt: str, choices: Sequence[str], model: Source, as_json: bool) -> None:
    """Rank texts by how well they follow a prompt."""
    loaded = model.load("multiple_choice")
    Output(as_json, "score", "label").write(loaded.choose(prompt, choices))


@click.command()
@takes_texts
@click.option("--prompt", metavar="TEXT", help="Put this text before each text.")
@click.option("--prompt-name", metavar="NAME", help="Put one of the model's prompts before each text.")
@click.option(
    "--pooling", type=click.Choice([*POOLINGS, "pooler"]), help="By default, that in the model's files, or else mean."
)
@click.option(
    "--normalize/--no-normalize",
    default=None,
    help="Scale vectors to length 1, or do not; by default, as in the model's files.",
)
@click.option("--truncate-dim", type=int, help="Number of elements to keep of each vector.")
@click.option("--max-seq-length", type=int, help="Maximum number of tokens of each text.")
@click.option("--batch-size", type=int, help="Number of texts in a batch.")
@click.option(
    "--output",
    metavar="FILE",
    help="Write the vectors to an .npy file, as one array (N, D), or to a .parquet file, with a row for each text; - "
    "is standard output, in .npy format.",
)
@takes_model()
def encode(
    texts: Sequence[str],
    file: BinaryIO,
    model: Source,
    as_json: bool,
    output: str | None,
    **options: Any,
) -> None:
    """Compute an embedding vector for each text, for comparing texts."""
    if output and as_json:
        raise click.UsageError("give --output or --json, not both")
    write = writer(output, options["batch_size"]) if output else None
    given = read_texts(texts, file)
    task: Any = functools.partial(model.load("encoder").encode, **options)
    if write:
        write(given, task)
        return
    table, listed = Output(False, "text", "vector"), [text for _, text in given.items]
    for text, vector in zip(listed, task(listed), strict=True):
        if as_json:
            print_json([float(str(x)) for x in vector])  # the fewest digits that identify a float32
        else:
            table.write([{"text": text, "vector": " ".join(f"{x:7.4f}" for x in vector)}])


@click.command()
@takes_texts
@click.option("--max-new-tokens", type=int, help="Maximum number of tokens to add; by default 20.")
@click.option("--min-new-tokens", type=int, help="Minimum number of tokens to add.")
@click.option("--temperature", type=float, help="0: take the likeliest token; above 0: sample.")
@click.option("--top-k", type=int, help="Sample from this number of likeliest tokens.")
@click.option("--top-p", type=float, help="Sample from the likeliest tokens that together have this probability.")
@click.option("--seed", default=0, show_default=True, help="Seed for sampling.")
@click.option("--num-beams", type=int, help="Number of sequences that beam search keeps.")
@click.option(
    "--early-stopping",
    type=click.Choice(["true", "false", "never"]),
    help="End of beam search. true: once --num-beams texts are finished; false: when no beam scores better now; never: "
    "when none can score better.",
)
@click.option("--length-penalty", type=float, help="Beam search: above 0 favours long texts, below 0 short ones.")
@click.option("--no-repeat-ngram-size", type=int, help="No sequence of this many tokens occurs twice.")
@click.option("--repetition-penalty", type=float, help="Above 1: tokens that have occurred are less likely.")
@takes_model(default=None)
def generate(
    texts: Sequence[str],
    file: BinaryIO,
    model: Source,
    as_json: bool,
    early_stopping: str | None,
    **options: Any,
) -> None:
    """Continue each text with a decoder, or generate a new text from it, such as a summary, with an encoder-decoder.

    Options that are not given are those in the model's files.
    """
    given = read_texts(texts, file)
    early: Any = {"true": True, "false": False}.get(early_stopping or "", early_stopping)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "head 'causal_lm'")  # if the model is not a decoder, the task refuses it
        loaded = model.load("causal_lm")

    def task(some: list[str]) -> Any:
        return loaded.generate(some, early_stopping=early, **options)

    for _, result in answers(given, task, at_once=1):
        if as_json:
            print_json(result)
        else:
            click.echo("\n".join(map(printable, result[0]["generated_text"].split("\n"))))


@click.command()
@takes_texts
@takes_model()
def predict_all(texts: Sequence[str], file: BinaryIO, model: Source, as_json: bool) -> None:
    """Show the model's prediction at each token of a text."""
    given = read_texts(texts, file)
    task = model.load("masked_lm").predict_all
    _print_answers(Output(as_json, "index", "word_score", "word", "score", "token_str", spaced=True), given, task)
