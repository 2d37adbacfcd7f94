"""Text for the embedded model: Wikipedia cut into full sentences, and the labelled examples of three tasks.

Every reader takes the data folder by path and knows these files in it: `wikipedia/articles-*.jsonl.xz`,
`sentence_polarity/train.tsv`, `ud_english_ewt/{train,dev}.conllu.xz`, `squad/{train,dev}-v1.1.json.xz`.
"""

import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

START, PAD, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
IGNORED = -100
SENTIMENTS = ("negative", "positive")
TAGS = ("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ",
        "SYM", "VERB", "X")  # fmt: skip

# --- Wikipedia ------------------------------------------------------------------------------------------------------


def is_held_out(text: str, one_in: int) -> bool:
    """True if a text is held out of training, which is one text in `one_in`, chosen by a checksum."""
    return zlib.crc32(text.encode()) % one_in == 0


def articles(data: Path, held_out: bool) -> Iterator[str]:
    """The Wikipedia articles, or the 2 % of them that are never trained on. Line breaks are spaces."""
    for path in sorted((data / "wikipedia").glob("articles-*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for article in map(json.loads, lines):
                if is_held_out(f"article {article['id']}", 50) == held_out:
                    yield " ".join(article["text"].split())


def sentences(text: str) -> list[str]:
    """The text cut after each full stop, question or exclamation mark before a capital, quote or bracket."""
    return re.split(r"(?<=[.!?])(?<!\b[A-Z]\.) (?=[A-Z\"'(])", text)


def train_tokenizer(data: Path, size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE of `size` tokens from every fourth article, with RoBERTa's special tokens at their ids."""
    library = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator((text for i, text in enumerate(articles(data, False)) if i % 4 == 0), trainer)
    library.post_processor = processors.RobertaProcessing(
        ("</s>", END), ("<s>", START), trim_offsets=True, add_prefix_space=False
    )
    library.add_special_tokens([tokenizers.AddedToken(name, normalized=True) for name in SPECIAL])
    library.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True, normalized=False)])
    return library


def pack(library: tokenizers.Tokenizer, texts: Iterable[str], length: int) -> numpy.ndarray:
    """Articles as rows of full sentences: `<s> sentences </s>`, padded; `</s>` stands between two articles of a row.

    A row ends where the next sentence does not fit (Liu et al. 2019, section 4.2, FULL-SENTENCES); a sentence that
    fits no row is cut. Returns (N, length) uint16.
    """
    rows: list[list[list[str]]] = []  # rows of articles of sentences
    used = length
    for text in texts:
        parts = sentences(text)
        counts = [len(e.ids) for e in library.encode_batch_fast([f" {s}" for s in parts], add_special_tokens=False)]
        begins = True  # the article in this row
        for part, count in zip(parts, counts, strict=True):
            if used + count + begins > length:
                rows.append([])
                used, begins = 1, True
            if begins:
                rows[-1].append([])
            rows[-1][-1].append(part)
            used, begins = used + count + begins, False
    return _encode_rows(library, rows, length)


def _encode_rows(library: tokenizers.Tokenizer, rows: list[list[list[str]]], length: int) -> numpy.ndarray:
    result = numpy.full((len(rows), length), PAD, numpy.uint16)
    flat = [" ".join(parts) for row in rows for parts in row]
    encoded = iter(library.encode_batch_fast(flat, add_special_tokens=False))
    for out, row in zip(result, rows, strict=True):
        ids = [START]
        for _ in row:
            ids += [*next(encoded).ids, END]
        ids[length - 1 :] = ids[length - 1 :] and [END]
        out[: len(ids)] = ids
    return result


# --- the three tasks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentiment:
    """A sentence of a film review, and True if it praises the film."""

    text: str
    label: str


@dataclass(frozen=True)
class Tagged:
    """A sentence, its words as (start, end) in it, and the part of speech of each."""

    text: str
    spans: Sequence[tuple[int, int]]
    tags: Sequence[str]


@dataclass(frozen=True)
class Question:
    """A question, its article, the text that answers it, where the first answer starts, and all answers that count."""

    article: str
    question: str
    context: str
    start: int
    answers: Sequence[str]


def sentiments(data: Path, held_out: bool) -> list[Sentiment]:
    """Sentence polarity; a tenth is held out."""
    lines = (data / "sentence_polarity/train.tsv").read_text(encoding="utf-8").splitlines()
    examples = [Sentiment(text, label) for label, text in (line.split("\t", 1) for line in lines)]
    return [e for e in examples if is_held_out(e.text, 10) == held_out]


def tagged(data: Path, split: str) -> list[Tagged]:
    """Sentences of UD English EWT with the UPOS tag of each word."""
    with lzma.open(data / f"ud_english_ewt/{split}.conllu.xz", "rt", encoding="utf-8") as file:
        blocks = file.read().strip().split("\n\n")
    return [_tagged(block.splitlines()) for block in blocks]


def _tagged(lines: list[str]) -> Tagged:
    text = next(line.removeprefix("# text = ") for line in lines if line.startswith("# text = "))
    columns = [line.split("\t") for line in lines if not line.startswith("#")]
    words = [(c[1], c[3]) for c in columns if c[0].isdigit()]  # a range such as 1-2 is a contraction of two words
    spans, end = [], 0
    for word, _ in words:
        start = text.index(word, end)
        end = start + len(word)
        spans.append((start, end))
    return Tagged(text, spans, [tag for _, tag in words])


def questions(data: Path, split: str) -> list[Question]:
    """SQuAD 1.1; for training, the questions whose answer occurs once."""
    with lzma.open(data / f"squad/{split}-v1.1.json.xz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    return [
        Question(
            article["title"],
            q["question"],
            p["context"],
            q["answers"][0]["answer_start"],
            [a["text"] for a in q["answers"]],
        )
        for article in articles
        for p in article["paragraphs"]
        for q in p["qas"]
        if q["answers"] and (split == "dev" or q["answers"][0]["occurrences"] == 1)
    ]


def pieces_of_words(sentence: Tagged, offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """For each word the piece that holds its first character, or None: its tag is predicted there.

    If two words share a piece, as in "don't", it belongs to the first.
    """
    holder: dict[int, int] = {}
    for piece, (start, end) in enumerate(offsets):
        for place in range(start, end):
            holder.setdefault(place, piece)  # the first piece of a character that has several
    pieces = [holder.get(start) for start, _ in sentence.spans]
    return [None if piece in pieces[:word] else piece for word, piece in enumerate(pieces)]
