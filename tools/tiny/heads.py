"""Train the heads of the embedded model together, on one body that still learns to predict masked tokens."""

import random as python_random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import tokenizers
import torch
from data import IGNORED, PAD, SENTIMENTS, TAGS, Tagged, pieces_of_words, questions, sentiments, tagged
from network import Tiny
from torch.nn import functional

LONGEST = {"sentences": 96, "words": 128, "answers": 256}
Example = tuple[list[int], Any]


def sentence_examples(data: Path, library: tokenizers.Tokenizer) -> list[Example]:
    """Ids of a review's sentence, and the number of its sentiment."""
    library.enable_truncation(LONGEST["sentences"])
    return [(library.encode(e.text).ids, SENTIMENTS.index(e.label)) for e in sentiments(data, held_out=False)]


def word_examples(data: Path, library: tokenizers.Tokenizer) -> list[Example]:
    """Ids of a sentence, and for each piece the number of the tag of the word that begins in it, else -100."""
    library.enable_truncation(LONGEST["words"])
    return [_word_example(sentence, library) for sentence in tagged(data, "train")]


def _word_example(sentence: Tagged, library: tokenizers.Tokenizer) -> Example:
    encoding = library.encode(sentence.text)
    labels = [IGNORED] * len(encoding.ids)
    for piece, tag in zip(pieces_of_words(sentence, encoding.offsets), sentence.tags, strict=True):
        if piece is not None:
            labels[piece] = TAGS.index(tag)
    return encoding.ids, labels


def answer_examples(data: Path, library: tokenizers.Tokenizer, seed: int) -> list[Example]:
    """Ids of a question and its context, cut to a window around the answer, and the positions of its ends."""
    library.no_truncation()
    draw = python_random.Random(seed)
    found = questions(data, "train")
    draw.shuffle(found)
    encodings = (library.encode(q.question, q.context) for q in found)
    examples = (
        _answer_example(q.start, q.start + len(q.answers[0]), e, draw) for q, e in zip(found, encodings, strict=True)
    )
    return [example for example in examples if example]


def _answer_example(start: int, end: int, encoding: tokenizers.Encoding, draw: python_random.Random) -> Example | None:
    inside = [
        place
        for place, (sequence, (a, b)) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True))
        if sequence == 1 and a < end and b > start
    ]
    ids, begin = encoding.ids, encoding.sequence_ids.index(1)
    excess = len(ids) - LONGEST["answers"]
    if excess > 0:
        least, most = max(0, inside[-1] + 2 - LONGEST["answers"]), min(excess, inside[0] - begin)
        if least > most:
            return None  # a question or answer too long for a window
        cut = draw.randint(least, most)
        ids = [*ids[:begin], *ids[begin + cut :]]
        ids = [*ids[: LONGEST["answers"] - 1], ids[-1]]
        inside = [place - cut for place in inside]
    return ids, (inside[0], inside[-1])


def batches(examples: Sequence[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Endless batches, in a new random order for each epoch."""
    epoch = 0
    while True:
        order = numpy.random.default_rng([seed, epoch]).permutation(len(examples))
        for first in range(0, len(order) - size + 1, size):
            yield [examples[i] for i in order[first : first + size]]
        epoch += 1


def padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Rows padded to one length, (B, L)."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])


def head_loss(model: Tiny, task: str, batch: list[Example], device: str) -> torch.Tensor:
    """The mean cross-entropy of a task's batch."""
    ids = padded([ids for ids, _ in batch], PAD).to(device)
    with torch.autocast(device, torch.bfloat16):
        hidden = model.roberta(ids)
        logits = {"sentences": model.sentences, "words": model.words, "answers": model.qa_outputs}[task](hidden).float()
    if task == "sentences":
        return functional.cross_entropy(logits, torch.tensor([label for _, label in batch], device=device))
    if task == "words":
        labels = padded([labels for _, labels in batch], IGNORED).to(device)
        return functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED)
    logits = logits.masked_fill((ids == PAD)[:, :, None], -1e4)  # (B, L, 2)
    places = torch.tensor([places for _, places in batch], device=device)  # (B, 2)
    return functional.cross_entropy(logits, places)
