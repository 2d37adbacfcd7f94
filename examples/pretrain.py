"""Train a tokenizer and a small RoBERTa on a text file by masked language modelling, on a CPU, with NumPy alone.

    python examples/pretrain.py TEXT DIRECTORY
    minroberta fill-mask --model DIRECTORY "The film was directed<mask> John Smith."

TEXT has a paragraph on each line, 5 MB or more in all. Its last fiftieth is held out. The model has learned more than
the frequencies of tokens when its held-out loss, in nats per masked token, is below that of guessing by them.

Only 15 % of the tokens are masked, too few to learn more than frequencies from random weights in ten minutes. So in the
first part of the time, the same weights learn to predict the next token at every position (docs/decisions/7-tiny.md).
"""

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import numpy
import threadpoolctl
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

import minroberta
from minroberta.text.tokenizer import Tokenizer
from minroberta.train import masked, train, with_params

LENGTH, BATCH, VOCABULARY = 64, 32, 2000  # tokens of a row, rows of a step, tokens in all
SIZES = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "num_hidden_layers": 2}
SPREAD = 0.05  # of random weights
FIRST, RATES = 0.4, (3e-3, 2e-3)  # share of the time in which the next token is predicted; learning rates of both parts
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # with the ids 0 to 3, as in RoBERTa; <mask> comes last
START, END = 0, 2

Batch = dict[str, numpy.ndarray]


# --- the text -------------------------------------------------------------------------------------------------------


def trained_tokenizer(lines: list[str]) -> tokenizers.Tokenizer:
    """A byte-level BPE that puts `<s>` and `</s>` around a text, as RoBERTa's does."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.RobertaProcessing(("</s>", END), ("<s>", START), add_prefix_space=False)
    own = {"special_tokens": SPECIAL, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "show_progress": False}
    library.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=VOCABULARY - 1, **own))
    library.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    return library


def packed(library: tokenizers.Tokenizer, lines: list[str]) -> numpy.ndarray:
    """Rows without padding: `<s>`, then paragraphs, each with `</s>` at its end, from one row into the next. (N, L).

    In the paper, rows are cut between sentences, and `</s>` stands between documents (section 4.2, FULL-SENTENCES).
    """
    paragraphs = library.encode_batch(lines, add_special_tokens=False)
    ids = numpy.array([token for paragraph in paragraphs for token in (*paragraph.ids, END)])
    rows = ids[: len(ids) // (LENGTH - 1) * (LENGTH - 1)].reshape(-1, LENGTH - 1)
    return numpy.insert(rows, 0, START, axis=1)  # (N, L - 1) -> (N, L)


def batches(rows: numpy.ndarray, model: minroberta.Model, seed: int) -> Iterator[Batch]:
    """Rows in random order, again and again, with other tokens masked each time; for a causal LM, as they are."""
    for epoch in itertools.count():
        order = numpy.random.default_rng([seed, epoch]).permutation(len(rows))
        for first in range(0, len(rows) - BATCH + 1, BATCH):
            ids = labels = rows[order[first : first + BATCH]]
            if model.head == "masked_lm":
                mask, special = model.tokenizer.mask_token_id, range(len(SPECIAL))
                ids, labels = masked(ids, model.config, mask, special, [seed, epoch, first])
            yield {"input_ids": ids, "labels": labels}


def held_out_batches(rows: numpy.ndarray, model: minroberta.Model) -> list[Batch]:
    """Up to 32 batches whose masks stay the same. Chosen tokens that stay in the text do not count: a copy is easy."""
    found = itertools.islice(batches(rows, model, 1), min(32, len(rows) // BATCH))
    mask = model.tokenizer.mask_token_id
    return [{**batch, "labels": numpy.where(batch["input_ids"] == mask, batch["labels"], -100)} for batch in found]


def loss_of_frequencies(rows: numpy.ndarray, held_out: Iterable[Batch]) -> float:
    """The loss of the guess that a token is as likely as it is frequent in the rows: the mean of -log(n / Σ n)."""
    counts = numpy.bincount(rows.ravel(), minlength=VOCABULARY) + 1  # + 1: every token may occur
    counts[: len(SPECIAL)] = 0
    labels = numpy.concatenate([batch["labels"][batch["labels"] >= 0] for batch in held_out])
    return float(-numpy.log(counts[labels] / counts.sum()).mean())


# --- the model ------------------------------------------------------------------------------------------------------


def initial(library: tokenizers.Tokenizer) -> minroberta.Model:
    """A model with random weights, but for positions, and for attention in the first layer.

    Positions start as sinusoids, in which a shift is a rotation (Vaswani et al. 2017, section 3.5). Each head of the
    first layer starts by looking at one neighbour, beside the token itself: its queries are rotated by that shift.
    """
    fields = {"model_type": "roberta", "vocab_size": library.get_vocab_size(), "max_position_embeddings": LENGTH + 2}
    config = {**fields, **SIZES, "type_vocab_size": 1, "initializer_range": SPREAD}
    model = minroberta.init(config, head="masked_lm")
    model.tokenizer = Tokenizer(library, model.config)
    width, size = model.config.hidden_size, model.config.head_size
    rates = 10_000.0 ** -(numpy.arange(0, width, 2) / width)
    waves = numpy.exp(1j * numpy.arange(LENGTH + 2)[:, None] * rates).view(float)  # (P, D / 2) -> (P, D)
    model.params["embeddings"]["position_embeddings"]["weight"][:] = SPREAD * math.sqrt(2) * waves
    attention = model.params["encoder"]["layer"][0]["attention"]["self"]
    for head, shift in enumerate((-2, -1, 1, 2)):
        own, angle = slice(head * size, (head + 1) * size), shift * rates[: size // 2]
        parts = (numpy.cos(angle), numpy.eye(2)), (numpy.sin(angle), [[0, -1], [1, 0]])
        attention["query"]["weight"][own, :size] = 1.5 * sum(numpy.kron(numpy.diag(x), turn) for x, turn in parts)
        attention["key"]["weight"][own, :size] = 1.5 * numpy.eye(size)
    return model


def steps_in(seconds: float, model: minroberta.Model, source: Iterable[Batch]) -> int:
    """The number of steps for which there is time, judged from a fiftieth of it."""
    begun, trial = time.perf_counter(), train(model, source, steps=10**9, learning_rate=0.0)
    times = ((step.number, time.perf_counter() - begun) for step, _ in trial)
    number, spent = next(pair for pair in times if pair[1] > seconds / 50)
    return math.ceil(number * seconds / spent)


def after(model: minroberta.Model, rows: numpy.ndarray, seconds: float, steps: int, rate: float) -> minroberta.Model:
    """The model after training on the rows, for a time or, if it is not 0, a number of steps; shown in ten lines."""
    steps = steps or steps_in(seconds, model, batches(rows, model, 2))
    source, losses, begun = batches(rows, model, 0), list[float](), time.perf_counter()
    for step, latest in train(model, source, steps=steps, learning_rate=rate, warm_up=steps // 10):
        model = latest
        losses.append(step.loss)
        if step.number % math.ceil(steps / 10) == 0 or step.number == steps:
            minutes = (time.perf_counter() - begun) / 60
            click.echo(f"{model.head}: step {step.number} of {steps}, {minutes:.2f} min, loss {numpy.mean(losses):.3f}")
            losses.clear()
    return model


@click.command()
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
              help="Train for about this time.")  # fmt: skip
@click.option("--steps", type=click.IntRange(5), help="Train for this number of steps, so that a run can be repeated.")
@threadpoolctl.threadpool_limits.wrap(limits=1)  # in products as small as these, threads of BLAS wait for each other
def main(text: Path, directory: Path, minutes: float, steps: int | None) -> None:
    """Train a tokenizer and a small RoBERTa on TEXT, and save them to DIRECTORY."""
    directory.mkdir(parents=True, exist_ok=True)  # now, because an error in ten minutes would be late
    try:
        lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{text} is not UTF-8 text (byte {error.start}): convert it, as iconv does") from None
    own, other = lines[: -len(lines) // 50], lines[-len(lines) // 50 :]
    library = trained_tokenizer(own)
    rows, other_rows = packed(library, own), packed(library, other)
    if min(len(rows), len(other_rows)) < BATCH:
        least = f"its last fiftieth has {other_rows.size} tokens, and {BATCH * LENGTH} are held out"
        raise click.UsageError(f"{text} is too short ({least}): give more text")

    model = initial(library)
    held_out = held_out_batches(other_rows, model)

    def mean_loss() -> float:
        return float(numpy.mean([model(**batch).loss for batch in held_out]))

    click.echo(f"{rows.size:,} tokens of text; loss on held-out text: {mean_loss():.3f} before training, "
               f"{loss_of_frequencies(rows, held_out):.3f} from the frequencies of tokens")  # fmt: skip
    first = round(FIRST * (steps or 0))
    decoder = minroberta.init({**model.config.to_dict(), "is_decoder": True}, head="causal_lm")
    decoder = after(with_params(decoder, model.params), rows, FIRST * minutes * 60, first, RATES[0])
    model = with_params(model, decoder.params)
    model = after(model, rows, (1 - FIRST) * minutes * 60, (steps or 0) - first, RATES[1])
    click.echo(f"loss on held-out text: {mean_loss():.3f} after training")
    model.save(directory)


if __name__ == "__main__":
    main()
