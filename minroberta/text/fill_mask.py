"""`fill_mask` and `predict_all`: the tokens that a masked language model predicts."""

import functools
import warnings
from collections.abc import Iterable, Sequence
from typing import TypedDict, overload

import numpy

from ..errors import InputError, check_integer
from ..model import Network
from .running import Output, Row, best, probabilities, ready, run, warn_of_cut
from .texts import as_given, as_texts, which
from .tokenizer import Row as Tokenized
from .tokenizer import Tokenizer
from .windows import Piece, read_pieces


class Filling(TypedDict):
    """One way to fill a mask."""

    score: float
    token: int
    token_str: str
    sequence: str


Fillings = list[Filling] | list[list[Filling]]
"""The fillings of one mask, best first, or a list of such lists if the text has several masks."""

# --- fill_mask ------------------------------------------------------------------------------------------------------


@overload
def fill_mask(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, text: str, top_k: int = 5, targets: str | Iterable[str] | None = None
) -> Fillings: ...
@overload
def fill_mask(
    model: Network, text: Iterable[str], top_k: int = 5, targets: str | Iterable[str] | None = None
) -> list[Fillings]: ...
def fill_mask(
    model: Network, text: str | Iterable[str], top_k: int = 5, targets: str | Iterable[str] | None = None
) -> Fillings | list[Fillings]:
    """The likeliest tokens for each mask token: a list of {score, token, token_str, sequence}, best first.

    The mask token is `<mask>`, or another one, such as `[MASK]`, if the tokenizer's files say so.

    A text with several masks gives one such list for each mask. `sequence` is the whole text with the token filled in.
    If the text has other masks, they are left in place, and `sequence` includes the special tokens.

    targets: a token, or several: only these are listed, with their probabilities among all tokens. A target is an entry
    of the vocabulary, such as "ĠParis" for " Paris" in byte-level BPE. If it is not, its first token is used, with a
    warning.

    Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "fill_mask", "masked_lm")
    check_integer("top_k", top_k, 1)
    among = None if targets is None else _target_ids(tokenizer, as_texts(targets, "target"), model.config.vocab_size)
    texts = as_texts(text)
    rows = tokenizer.rows(texts, tokenizer.longest)
    _check_masks(tokenizer, rows)
    warn_of_cut(rows, tokenizer.longest)
    masks = [_masks(tokenizer, row) for row in rows]
    found = run(model, rows, functools.partial(_read_likeliest, top_k=top_k, among=among), masks)
    results = [_fillings(tokenizer, *each) for each in zip(rows, masks, found, strict=True)]
    return as_given(text, results)


def _target_ids(tokenizer: Tokenizer, targets: list[str], V: int) -> list[int]:
    """Ids of the targets, each once, in order. Warns of those that are not in the vocabulary. Raises InputError."""
    ids = set()
    for target in targets:
        token = tokenizer.id_of(target)
        if token is None:
            (row,) = tokenizer.rows([target], add_special_tokens=False)
            token = row[0] if row else None
            instead = "it is left out" if token is None else f"{tokenizer.entry(token)!r} is used instead"
            warnings.warn(f"target {target!r} is not in the vocabulary: {instead}", stacklevel=3)
        if token is not None and token >= V:
            raise InputError(
                f"target {target!r} has the id {token}, but the model has {V} tokens: give it more with "
                "resize_token_embeddings"
            )
        if token is not None:
            ids.add(token)
    if not ids:
        raise InputError("no targets: give at least one token")
    return sorted(ids)


def _check_masks(tokenizer: Tokenizer, rows: Sequence[Tokenized]) -> None:
    if tokenizer.mask_token_id is None:
        raise InputError("this model's tokenizer has no mask token: load a model that was trained with one")
    mask = tokenizer.mask_token
    for index, row in enumerate(rows):
        name = which(index, rows)
        if tokenizer.mask_token_id in row.rest:
            raise InputError(
                f"{name} has a {mask} after the first {tokenizer.longest} tokens, but this model reads only those: "
                "shorten the text"
            )
        if tokenizer.mask_token_id not in row:
            raise InputError(f"{name} has no {mask}: write one where a token is to be predicted, as in 'Hello {mask}!'")


def _masks(tokenizer: Tokenizer, row: Row) -> list[int]:
    return [position for position, token in enumerate(row) if token == tokenizer.mask_token_id]


def _read_likeliest(output: Output, _: Row, top_k: int, among: list[int] | None) -> list[list[tuple[int, float]]]:
    """The likeliest tokens for each mask, with their probabilities. among: ids of the tokens to compare, or None."""
    scores = probabilities(output["logits"])  # (masks, V)
    ids = numpy.arange(scores.shape[-1]) if among is None else numpy.array(among)
    return [[(int(ids[i]), float(row[ids[i]])) for i in best(row[ids], top_k)] for row in scores]


def _fillings(
    tokenizer: Tokenizer, ids: list[int], masks: list[int], likeliest: list[list[tuple[int, float]]]
) -> Fillings:
    def filling(mask: int, token: int, score: float) -> Filling:
        filled = [token if position == mask else other for position, other in enumerate(ids)]
        filled = [token for token in filled if token != tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": tokenizer.text_of([token]),
            "sequence": tokenizer.text_of(filled, skip_special_tokens=len(masks) == 1),
        }

    of_masks = [[filling(mask, *each) for each in found] for mask, found in zip(masks, likeliest, strict=True)]
    return of_masks[0] if len(of_masks) == 1 else of_masks


# --- predict_all ----------------------------------------------------------------------------------------------------


class Prediction(TypedDict):
    """The prediction at one token of a text."""

    index: int
    word: str
    start: int
    end: int
    token: int
    token_str: str
    score: float
    word_score: float


@overload
def predict_all(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, text: str
) -> list[Prediction]: ...
@overload
def predict_all(model: Network, text: Iterable[str]) -> list[list[Prediction]]: ...
def predict_all(model: Network, text: str | Iterable[str]) -> list[Prediction] | list[list[Prediction]]:
    """The model's prediction at each token of an unmasked text: a list of dicts, one for each token.

    Each is {index, word, start, end, token, token_str, score, word_score}. `word` is text[start:end], and `word_score`
    is the probability that the model gives to this token. `token`, `token_str` and `score` are the id, the text and the
    probability of the likeliest token at the same position. A long text is read in overlapping windows, as in `tag`.
    Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "predict_all", "masked_lm")
    pieces = read_pieces(model, tokenizer, text, _read_predictions)
    results = [[_prediction(tokenizer, one, piece) for piece in found] for one, found in pieces]
    return as_given(text, results)


def _read_predictions(output: Output, row: Row) -> list[tuple[int, float, float]]:
    """For each position: the likeliest token, its probability, and the probability of the text's token."""
    p = probabilities(output["logits"])  # (L, V)
    columns = (p.argmax(-1), p.max(-1), p[numpy.arange(len(row)), row])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _prediction(tokenizer: Tokenizer, text: str, piece: Piece[tuple[int, float, float]]) -> Prediction:
    token, score, word_score = piece.value
    return {
        "index": piece.number,
        "word": text[piece.start : piece.end],
        "start": piece.start,
        "end": piece.end,
        "token": token,
        "token_str": tokenizer.text_of([token]),
        "score": score,
        "word_score": word_score,
    }
