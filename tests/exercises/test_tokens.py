"""The checks of notebook 2: right answers are right, and each likely mistake gets its sentence."""

import itertools
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minroberta.exercises import tokens
from minroberta.exercises.tokens import check, ids_of, merged, ranks, split, tokenizer


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


def by_rank(word: str) -> list[str]:
    pieces = list(word)
    while known := [pair for pair in itertools.pairwise(pieces) if pair in ranks()]:
        pieces = merged(pieces, min(known, key=ranks().get))
    return pieces


def one_at_a_time(word: str) -> list[str]:
    """Another right way: only the first of equal pairs is merged at each step."""
    pieces = list(word)
    while known := [(ranks()[pair], i) for i, pair in enumerate(itertools.pairwise(pieces)) if pair in ranks()]:
        i = min(known)[1]
        pieces[i : i + 2] = ["".join(pieces[i : i + 2])]
    return pieces


def pairs_of_the_start(word: str) -> list[str]:
    """The pairs are looked for once, before anything is merged."""
    pieces = list(word)
    for pair in sorted({pair for pair in itertools.pairwise(word) if pair in ranks()}, key=ranks().get):
        pieces = merged(pieces, pair)
    return pieces


@pytest.mark.parametrize("number", [1, 2, 3])
def test_silence_and_a_forgotten_return(number: int, capsys: pytest.CaptureFixture) -> None:
    assert said(number, None, capsys) == f"exercise {number} is not answered yet"
    assert said(number, lambda *given: None, capsys).startswith("not yet: your function returns None")
    assert said(number, [1], capsys) == "not yet: a function is asked for, not list"
    assert "is asked for, not str" in said(number, lambda *given: "".join(map(str, given)), capsys)


# --- exercise 1 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [by_rank, one_at_a_time, lambda word: tuple(by_rank(word))])
def test_merges_by_rank(answer: Callable, capsys: pytest.CaptureFixture) -> None:
    found = said(1, answer, capsys)
    assert found.startswith("right: 2,0")
    assert found.endswith(" words are split as the library splits them")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (list, "these are single letters"),
        (tokens.longest_match, "you take the longest token that fits"),
        (lambda word: split(word, lambda known: known[0]), "you merge the first known pair from the left"),
        (lambda word: split(word, lambda known: max(known, key=ranks().get)), "you merge the pair with the highest"),
        (lambda word: split(word, min), "you merge the first pair by the alphabet"),
        (lambda word: split(word, lambda known: min(known, key=ranks().get), 1), "you stop after one merge"),
        (pairs_of_the_start, "you merge only pairs of single letters"),
        (lambda word: by_rank(word)[:-1], "Ġnotebook gives ['Ġnot', 'eb'], which joined is Ġnoteb: letters were lost"),
        (lambda word: [ranks().get(pair, 0) for pair in itertools.pairwise(word)], "the tokens themselves are asked"),
        (
            lambda word: by_rank(word.replace("ss", "s")),
            "ĠMississippi gives [",
        ),
        (lambda word: split(word, lambda known: min(known, key=ranks().get), 4), "Ġnotebook gives"),
        (lambda word: by_rank(word[:3]) + by_rank(word[3:]), "Ġnotebook gives"),
        (lambda word: split(word, lambda known: known[-1]), "you merge the last known pair"),
        (lambda word: [word.index("zz")], "your function raises ValueError in line "),
        (lambda word: [*by_rank(word), ""][:-1] if len(word) < 9 else [by_rank(word)], "the tokens themselves are"),
    ],
)
def test_mistakes_of_merging(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(f"not yet: {sentence}")


def test_a_mistake_that_few_words_show_is_found(capsys: pytest.CaptureFixture) -> None:
    def late(word: str) -> list[str]:
        """All merges but the last of the list."""
        return split(word, lambda known: min(known, key=ranks().get)) if word[:5] != "Ġuniv" else list(word)

    assert said(1, late, capsys).startswith("not yet: Ġuniv")


# --- exercise 2 -----------------------------------------------------------------------------------------------------


def test_ids_of_a_text(capsys: pytest.CaptureFixture) -> None:
    for answer in (ids_of, lambda text: np.array(ids_of(text)), lambda text: iter(ids_of(text))):
        assert said(2, answer, capsys) == "right: the ids of 1,008 texts are the library's"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda text: [0, *ids_of(text), 2], "these ids have <s> and </s> around them"),
        (lambda text: ids_of(text.lower()), "the text was changed to small letters"),
        (lambda text: ids_of(f" {text}"), "a space was put before the text"),
        (lambda text: [token for word in text.split() for token in ids_of(word)], "spaces are lost"),
        (lambda text: [token for word in text.split() for token in ids_of(f" {word}")], "every word has a space on"),
        (tokens.misspelled, "é was taken for a letter of the alphabet"),
        (tokens.uncut, "tokens cross the cuts between words"),
        (lambda text: tokenizer().library.encode(text, add_special_tokens=False).tokens, "ids are asked for, not the"),
        (lambda text: [[token] for token in ids_of(text)], "a list of ids is asked for, not a list of lists"),
        (lambda text: ids_of(text.strip()), "spaces at the ends of a text are lost"),
        (lambda text: ids_of(" ".join(text.split())), "a space, a tab and a line end are three different"),
        (lambda text: ids_of(unicodedata.normalize("NFC", text)), "accents were joined with their letters"),
        (lambda text: ids_of(tokens.without_accents(text)), "accents were lost"),
        (lambda text: np.array([ids_of(text)]), "a list of ids is asked for, not a list of lists"),
        (lambda text: [np.array(ids_of(text))], "a list of ids is asked for, not a list of lists"),
        (lambda text: tokenizer().library.get_vocab()[text], "your function raises KeyError in line "),
        (lambda text: ids_of(text[:15]), "'The river flows.' gives"),
        (lambda text: ids_of(text.replace("  ", " ")), "a space, a tab and a line end"),
        (lambda text: ids_of(text)[::-1], "'The river flows.' gives"),
        (lambda text: [], "'The river flows.' gives [], where"),
    ],
)
def test_mistakes_of_encoding(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(f"not yet: {sentence}")


# --- exercise 3 -----------------------------------------------------------------------------------------------------


def shared(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    a, b = list(a), list(b)
    was_shorter = b if len(a) > len(b) else a
    while len(a) + len(b) > room:
        (was_shorter if len(a) == len(b) else max(a, b, key=len)).pop()
    return a, b


def pair_of(a: list[int], b: list[int], longest: int) -> list[int]:
    a, b = shared(a, b, longest - 4)
    return [0, *a, 2, 2, *b, 2]


def from_the_second_at_a_tie(a: list[int], b: list[int], longest: int) -> list[int]:
    a, b = list(a), list(b)
    while len(a) + len(b) > longest - 4:
        (a if len(a) > len(b) else b).pop()
    return [0, *a, 2, 2, *b, 2]


def one_end_between(a: list[int], b: list[int], longest: int) -> list[int]:
    a, b = shared(a, b, longest - 3)
    return [0, *a, 2, *b, 2]


def specials_not_counted(a: list[int], b: list[int], longest: int) -> list[int]:
    a, b = shared(a, b, longest)
    return [0, *a, 2, 2, *b, 2]


def only_second(a: list[int], b: list[int], longest: int) -> list[int]:
    return [0, *a, 2, 2, *b[: longest - 4 - len(a)], 2]


def halves(a: list[int], b: list[int], longest: int) -> list[int]:
    half = (longest - 4) // 2
    return [0, *a[:half], 2, 2, *b[:half], 2]


def from_the_beginning(a: list[int], b: list[int], longest: int) -> list[int]:
    n, m = map(len, shared(a, b, longest - 4))
    return [0, *a[len(a) - n :], 2, 2, *b[len(b) - m :], 2]


def test_a_pair(capsys: pytest.CaptureFixture) -> None:
    assert said(3, pair_of, capsys) == "right: 9 pairs are as the library makes them"
    assert said(3, lambda a, b, longest: iter(pair_of(a, b, longest)), capsys).startswith("right")
    assert said(3, lambda a, b, longest: np.array(pair_of(a, b, longest)), capsys).startswith("right")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (one_end_between, "with texts of 3 and 3 tokens and longest=12, </s>, id 2, stands at [4, 8]: two stand"),
        (lambda a, b, longest: [*a, 2, 2, *b, 2], "with texts of 3 and 3 tokens and longest=12, the row is"),
        (lambda a, b, longest: pair_of(a, b, longest)[:-1], "with texts of 3 and 3 tokens and longest=12, the row is"),
        (lambda a, b, longest: [0, *a, 2, 2, *b, 2], "with texts of 7 and 2 tokens and longest=10, the row has 13"),
        (
            lambda a, b, longest: [0, *a, 2, 2, *b, 2][:longest],
            "with texts of 7 and 2 tokens and longest=10, </s>, id 2, stands at [8, 9]",
        ),
        (specials_not_counted, "with texts of 7 and 2 tokens and longest=10, the row has 13 tokens: the four special"),
        (only_second, "with texts of 7 and 2 tokens and longest=10, "),
        (halves, "with texts of 7 and 2 tokens and longest=10, the row has only 9 tokens, where 10 fit"),
        (from_the_beginning, "with texts of 7 and 2 tokens and longest=10, tokens are taken from the beginning"),
        (lambda a, b, longest: pair_of(b, a, longest), "with texts of 3 and 3 tokens and longest=12, the texts are ex"),
        (lambda a, b, longest: [0, *a, 2, 0, *b, 2], "with texts of 3 and 3 tokens and longest=12, </s>, id 2, stands"),
        (lambda a, b, longest: np.array([pair_of(a, b, longest)]), "a list of ids is asked for, not a list of lists"),
        (lambda a, b, longest: [0, a, 2, 2, b, 2], "a list of ids is asked for, not a list of lists"),
        (lambda a, b, longest: "<s>" + a, "your function raises TypeError in line "),
        (lambda a, b, longest: pair_of(a, b, longest - 1), "with texts of 3 and 3 tokens and longest=10, the row has"),
        (lambda a, b, longest: [], "with texts of 3 and 3 tokens and longest=12, the row is []"),
    ],
)
def test_mistakes_of_pairs(answer: Callable, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(f"not yet: {sentence}")


@pytest.mark.parametrize("swapped", [False, True])
def test_a_tie(swapped: bool, capsys: pytest.CaptureFixture) -> None:
    """Taking always from the same text at a tie is wrong, whichever it is."""

    def answer(a: list[int], b: list[int], longest: int) -> list[int]:
        if not swapped:
            return from_the_second_at_a_tie(a, b, longest)
        _, *row = from_the_second_at_a_tie(b, a, longest)
        end = row.index(2)
        return [0, *row[end + 2 : -1], 2, 2, *row[:end], 2]

    assert "at a tie from the one that was shorter" in said(3, answer, capsys)
