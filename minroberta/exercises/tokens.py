"""The exercises of notebook 2: byte-pair encoding by rank, from text to ids, and a pair that fits."""

import functools
import itertools
import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ..loading import load
from ..text.tokenizer import Tokenizer
from .checks import Checks, NotYet, result_of

ODD_WORDS = " notebook banana Mississippi aaaaaaa café 日本 🌊🌊🌊 afternoon whatever"
"""Words in which each likely mistake of exercise 1 shows."""

ODD_TEXTS = (
    "The river flows.",
    "a café",
    "In  1969",
    "two\n\nlines \t here",
    "We'retired, they'lling",
    " 日本 ½ x² Ångström",
    "DON'T shout 🌊 ",
    "a cafe\u0301",  # é as two characters, which stay two
)
"""Texts in which each likely mistake of exercise 2 shows."""

PAIRS = ((3, 3, 12), (3, 3, 10), (7, 2, 10), (2, 7, 10), (9, 8, 12), (12, 5, 14), (9, 8, 13), (8, 9, 13), (9, 9, 13))
"""Numbers of tokens of two texts, and of the row that they are to fit into."""


@functools.cache
def tokenizer() -> Tokenizer:
    """The tokenizer of the embedded model."""
    found = load().tokenizer
    assert found is not None
    return found


@functools.cache
def ranks() -> dict[tuple[str, str], int]:
    """The rank of each merge."""
    merges = json.loads(tokenizer().library.to_str())["model"]["merges"]
    return {(left, right): rank for rank, (left, right) in enumerate(merges)}


def ids_of(text: str) -> list[int]:
    """The ids of a text, without special tokens."""
    return tokenizer().library.encode(text, add_special_tokens=False).ids


def by_word(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each word of a text, spelled in visible characters, with its tokens."""
    tokens = iter(tokenizer().library.encode(text, add_special_tokens=False).tokens)
    for word, _ in tokenizer().library.pre_tokenizer.pre_tokenize_str(text):
        pieces = [next(tokens)]
        while len("".join(pieces)) < len(word):
            pieces.append(next(tokens))
        yield word, pieces


# --- exercise 1: merges ---------------------------------------------------------------------------------------------


def merging(answer: Any) -> str:
    """A function from a word to its tokens, compared on more than 2,000 words."""
    words = dict(by_word(ODD_WORDS + invented_words()))
    for word, right in words.items():
        found = pieces_from(answer, word)
        if found != right:
            for sentence, wrong in MERGING_MISTAKES.items():
                if all(pieces_from(answer, odd) == wrong(odd) for odd, _ in by_word(ODD_WORDS)):
                    raise NotYet(sentence)
            raise NotYet(f"{word} gives {found}, where {right} is right")
    return f"{len(words):,} words are split as the library splits them"


def invented_words() -> str:
    """2,000 words, each made from two or three tokens of letters, with spaces between."""
    draw = random.Random(0)
    entries = [entry.lstrip("Ġ") for entry in tokenizer().library.get_vocab()]
    entries = sorted({entry for entry in entries if entry.isascii() and entry.isalpha()})
    return "".join(f" {''.join(draw.sample(entries, draw.choice((2, 3))))}" for _ in range(2000))


def pieces_from(answer: Any, word: str) -> list[str]:
    """The tokens that the reader's function gives for a word."""
    found = result_of(answer, word)
    if isinstance(found, str) or not hasattr(found, "__iter__"):
        raise NotYet(f"a list of tokens is asked for, not {type(found).__name__}")
    found = list(found)
    if not all(isinstance(piece, str) for piece in found):
        raise NotYet("the tokens themselves are asked for, as strings, not their ids or pairs")
    if "".join(found) != word:
        raise NotYet(f"{word} gives {found}, which joined is {''.join(found)}: letters were lost, doubled or changed")
    return found


def split(word: str, choose: Callable[[list[tuple[str, str]]], tuple[str, str]], most: int = 1000) -> list[str]:
    """Split a word by at most so many merges, of which `choose` takes the next from the possible pairs."""
    pieces = list(word)
    for _ in range(most):
        known = [pair for pair in itertools.pairwise(pieces) if pair in ranks()]
        if not known:
            break
        pieces = merged(pieces, choose(known))
    return pieces


def merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces, with this pair merged wherever it stands."""
    result: list[str] = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def longest_match(word: str) -> list[str]:
    """Split a word by taking the longest token that it begins with, again and again."""
    if not word:
        return []
    vocabulary = tokenizer().library.get_vocab()
    width = next(width for width in range(len(word), 0, -1) if word[:width] in vocabulary)
    return [word[:width], *longest_match(word[width:])]


def split_once(word: str) -> list[str]:
    """Merge, by rank, the pairs that stand in the word at the start, and no pair that comes of a merge."""
    pieces = list(word)
    for pair in sorted(set(itertools.pairwise(pieces)) & ranks().keys(), key=ranks().__getitem__):
        pieces = merged(pieces, pair)
    return pieces


MERGING_MISTAKES: dict[str, Callable[[str], list[str]]] = {
    "these are single letters: nothing was merged": list,
    "you take the longest token that fits, as WordPiece does: merge pairs of neighbours, by rank": longest_match,
    "you merge the first known pair from the left: merge the one with the lowest rank": lambda word: split(
        word, lambda known: known[0]
    ),
    "you merge the pair with the highest rank first: the lowest comes first": lambda word: split(
        word, lambda known: max(known, key=ranks().__getitem__)
    ),
    "you merge the first pair by the alphabet: rank is what counts, as in min(known, key=rank.get)": lambda word: split(
        word, min
    ),
    "you merge only pairs of single letters: a merge makes new pairs, so look again after each": split_once,
    "you merge the last known pair: merge the one with the lowest rank": lambda word: split(
        word, lambda known: known[-1]
    ),
    "you stop after one merge: look again with the new pieces, until no pair is in the list": lambda word: split(
        word, lambda known: min(known, key=ranks().__getitem__), most=1
    ),
}
"""Likely mistakes: the sentence to say, and the split that the mistake gives."""


# --- exercise 2: from text to ids -----------------------------------------------------------------------------------


def encoding(answer: Any) -> str:
    """A function from a text to its ids, compared on a thousand texts."""
    texts = [*ODD_TEXTS, *invented_texts()]
    for text in texts:
        found, right = ids_from(answer, text), ids_of(text)
        if found != right:
            for sentence, wrong in ENCODING_MISTAKES.items():
                if all(ids_from(answer, odd) == wrong(odd) for odd in {*ODD_TEXTS[:3], text}):
                    raise NotYet(sentence)
            raise NotYet(f"{text!r} gives {found}, where {right} is right")
    return f"the ids of {len(texts):,} texts are the library's"


def invented_texts() -> list[str]:
    """A thousand texts of twelve random tokens each."""
    draw, vocabulary = random.Random(1), tokenizer().library.get_vocab()
    usual = sorted(set(vocabulary.values()) - tokenizer().special_ids)
    return [tokenizer().text_of(draw.sample(usual, 12)) for _ in range(1000)]


def ids_from(answer: Any, *given: Any) -> list[int]:
    """The ids that the reader's function gives for a text, or for a pair."""
    found = result_of(answer, *given)
    if isinstance(found, str) or not hasattr(found, "__iter__"):
        raise NotYet(f"a list of ids is asked for, not {type(found).__name__}")
    found = found.tolist() if isinstance(found, numpy.ndarray) else list(found)
    if any(isinstance(token, list | tuple | numpy.ndarray) and numpy.ndim(token) for token in found):
        raise NotYet("a list of ids is asked for, not a list of lists: join them")
    if any(isinstance(token, str) for token in found):
        raise NotYet("ids are asked for, not the tokens themselves: look them up in the vocabulary")
    return found


def uncut(text: str) -> list[int]:
    """The ids of a text that is merged as one long word."""
    word = "".join(word for word, _ in tokenizer().library.pre_tokenizer.pre_tokenize_str(text))
    return looked_up(split(word, lambda known: min(known, key=ranks().__getitem__)))


def without_accents(text: str) -> str:
    """The text without its accents, as BERT's uncased tokenizer has it."""
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if unicodedata.category(letter) != "Mn")


def misspelled(text: str) -> list[int]:
    """The ids of a text whose characters are taken for letters of the alphabet."""
    word = "".join("Ġ" if letter == " " else letter for letter in text)
    return looked_up(split(word, lambda known: min(known, key=ranks().__getitem__)))


def looked_up(pieces: list[str]) -> list[int]:
    """The id of each token, or -1."""
    vocabulary = tokenizer().library.get_vocab()
    return [vocabulary.get(piece, -1) for piece in pieces]


ENCODING_MISTAKES: dict[str, Callable[[str], list[int]]] = {
    "these ids have <s> and </s> around them: here they are asked for without": lambda text: [0, *ids_of(text), 2],
    "the text was changed to small letters: RoBERTa keeps the case": lambda text: ids_of(text.lower()),
    "a space was put before the text: RoBERTa does not do this": lambda text: ids_of(f" {text}"),
    "spaces at the ends of a text are lost: they belong to it": lambda text: ids_of(text.strip()),
    "a space, a tab and a line end are three different characters, and two spaces are not one: keep all": lambda text: (
        ids_of(" ".join(text.split()))
    ),
    "accents were joined with their letters: RoBERTa does not change characters": lambda text: ids_of(
        unicodedata.normalize("NFC", text)
    ),
    "accents were lost: RoBERTa does not change characters": lambda text: ids_of(without_accents(text)),
    "spaces are lost: each belongs to the word on its right, as `cut` gives them": lambda text: [
        token for word in text.split() for token in ids_of(word)
    ],
    "every word has a space on its left: the first of a text has none": lambda text: [
        token for word in text.split() for token in ids_of(f" {word}")
    ],
    "é was taken for a letter of the alphabet: its two bytes are the letters, as `spell` gives them": misspelled,
    "tokens cross the cuts between words: cut the text first, and merge within each word": uncut,
}
"""Likely mistakes: the sentence to say, and the ids that the mistake gives."""


# --- exercise 3: pairs ----------------------------------------------------------------------------------------------


def pairing(answer: Any) -> str:
    """A function that puts two texts into a row, compared with the library for texts of several lengths."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "in", "on"]
    for n, m, longest in PAIRS:
        first, second = " ".join(words[:n]), " ".join(words[::-1][:m])
        right = tokenizer().tokenize(first, second, max_length=longest)["input_ids"][0].tolist()
        judge_pair(answer, ids_of(first), ids_of(second), longest, right)
    return f"{len(PAIRS)} pairs are as the library makes them"


def judge_pair(answer: Any, a: list[int], b: list[int], longest: int, right: list[int]) -> None:
    """Raise NotYet if the reader's row of a pair is not right."""
    found = ids_from(answer, a, b, longest)
    if found == right:
        return
    given = f"with texts of {len(a)} and {len(b)} tokens and longest={longest}, "
    if not found or found[0] != 0 or found[-1] != 2:
        raise NotYet(f"{given}the row is {found}: it begins with <s>, id 0, and ends with </s>, id 2")
    ends = [index for index, token in enumerate(found) if token == 2]
    if len(ends) != 3 or ends[1] != ends[0] + 1:
        raise NotYet(f"{given}</s>, id 2, stands at {ends}: two stand between the texts, and one at the end")
    if len(found) > longest:
        raise NotYet(f"{given}the row has {len(found)} tokens: the four special tokens count as well")
    if len(found) < len(right):
        raise NotYet(f"{given}the row has only {len(found)} tokens, where {len(right)} fit")
    kept = found[1 : ends[0]], found[ends[1] + 1 : -1]
    if kept == (b[: len(kept[0])], a[: len(kept[1])]):
        raise NotYet(f"{given}the texts are exchanged: the first comes first")
    numbers, rights = [len(text) for text in kept], [right.index(2) - 1, len(right) - right.index(2) - 3]
    if numbers != rights:
        raise NotYet(
            f"{given}{numbers} are kept, where {rights} is right: take from the longer text, and "
            "at a tie from the one that was shorter, or from the first"
        )
    if kept == (a[len(a) - numbers[0] :], b[len(b) - numbers[1] :]):
        raise NotYet(f"{given}tokens are taken from the beginning of a text: take them from its end")
    raise NotYet(f"{given}the row is {found}, where {right} is right")


check = Checks(merging, encoding, pairing)
"""Judge the answer to an exercise of notebook 2."""
