"""Vocabularies in text files, and in file formats other than Hugging Face's: those of fairseq, GPT-2 and KerasHub."""

import io
import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints.files import read_inside
from ..config import Config
from ..errors import TokenizerError
from .sentencepiece import MOST_MERGES, MOST_PIECES
from .settings import LONGEST_TOKEN, Settings

if TYPE_CHECKING:
    import tokenizers

    from ..checkpoints.save_keras import BytePairs

LARGEST_TEXT = 10_000_000
"""Maximum size of a file in bytes: ten times the size of GPT-2's largest file."""

# --- fairseq's ------------------------------------------------------------------------------------------------------

VOCABULARY = ("dict.txt", "encoder.json", "vocab.bpe")
"""fairseq's files: its list of tokens, given as GPT-2's ids; GPT-2's tokens with their ids; and GPT-2's merges."""


def fairseq_vocabulary(directory: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The id of each token, and the merges, as in Hugging Face's `vocab.json` and `merges.txt`.

    The special tokens come first, except `<mask>`, which is last. Between them are the tokens of `dict.txt`, whose
    lines each hold one of GPT-2's ids and a count. Raises TokenizerError.
    """
    listed, encoder, merged = (directory / name for name in VOCABULARY)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_listed(listed, _tokens_by_id(encoder)), "<mask>"]
    check_tokens(tokens, listed)
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if vocab[token] != i)
        raise TokenizerError(f"{listed} lists {twice[:100]!r} twice")
    return vocab, read_merges(merged)


def _tokens_by_id(path: Path) -> dict[str, str]:
    """GPT-2's tokens by id; the ids are strings."""
    try:
        encoder = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(encoder, dict) or not all(type(index) is int for index in encoder.values()):
        raise TokenizerError(f"{path} is not a JSON object that maps tokens to integers")
    check_tokens(encoder, path)
    return {str(index): token for token, index in encoder.items()}


def _listed(path: Path, gpt2: Mapping[str, str]) -> Iterator[str]:
    """The tokens that `dict.txt` lists: those of GPT-2 by their ids, and others, such as madeupword0000, by name."""
    for line in _text(path).split("\n"):
        if not line:
            continue
        match = re.fullmatch(r"(\S+) [0-9]+", line)
        if not match:
            raise TokenizerError(
                f"{path} has the line {line[:100]!r}: a line must hold a token and a count, such as '13 850314647'"
            )
        token = match[1]
        if token.isdecimal() and token not in gpt2:
            raise TokenizerError(
                f"{path} lists id {token[:100]}, which encoder.json lacks: take both files from the same model"
            )
        yield gpt2.get(token, token)


# --- merges ---------------------------------------------------------------------------------------------------------


def read_merges(path: Path, counts: bool = False, root: Path | None = None) -> list[tuple[str, str]]:
    """The pairs of tokens in a `merges.txt` or `vocab.bpe`, in order. Raises TokenizerError.

    counts: a number follows each pair, as in PhoBERT's `bpe.codes`. root: as for `read_inside`.
    """
    merges = []
    for line in _text(path, root).split("\n"):
        first, *rest = line.split(" ")
        if line and not line.startswith("#version"):
            if len(rest) != 1 + counts:
                raise TokenizerError(
                    f"{path} has the line {line[:100]!r}: a line must hold two tokens to merge, separated by a space"
                    + ", and a count" * counts
                )
            merges.append((first, rest[0]))
    if len(merges) > MOST_MERGES:
        raise TokenizerError(f"{path} has {len(merges)} merges; the limit is {MOST_MERGES}")
    return merges


# --- lines ----------------------------------------------------------------------------------------------------------


def read_tokens(path: Path) -> list[str]:
    """The tokens of a `vocab.txt`, a line each, in the order of their ids. Raises TokenizerError."""
    text = _text(path)
    _check_count(text.count("\n"), path)
    tokens = text.removesuffix("\n").split("\n") if text else []
    check_tokens(tokens, path)
    return tokens


def check_tokens(tokens: Collection[str], path: Path) -> None:
    """Raise TokenizerError if a vocabulary in a text file has too many tokens, or one that is too long."""
    _check_count(len(tokens), path)
    if (longest := max(map(len, tokens), default=0)) > LONGEST_TOKEN:
        raise TokenizerError(f"{path} has a token of {longest} characters; the limit is {LONGEST_TOKEN}")


def _check_count(count: int, path: Path) -> None:
    """Raise TokenizerError for too many tokens: each takes some hundred bytes."""
    if count > MOST_PIECES:
        raise TokenizerError(f"{path} has {count} tokens; the limit is {MOST_PIECES}")


def words_with_counts(path: Path) -> dict[str, int]:
    """The ids of the tokens in PhoBERT's `vocab.txt`: four special tokens, then those of its lines, each with a count.

    Raises TokenizerError.
    """
    ids = {token: index for index, token in enumerate(("<s>", "<pad>", "</s>", "<unk>"))}
    for line in read_tokens(path):
        token, space, _ = line.strip().rpartition(" ")
        if not space:
            raise TokenizerError(f"{path} has the line {line[:100]!r}: a line must hold a token and a count")
        ids[with_end(token)] = len(ids)
    return ids


def with_end(token: str) -> str:
    """A token of PhoBERT's `vocab.txt`, as spelled in the tokenizers library.

    In the file, `@@` marks a token that does not end a word; in the library, `</w>` marks one that does.
    """
    inner = token.endswith("@@") and token != "@@"
    return token[:-2] if inner else token + "</w>"


def without_end(token: str) -> str:
    """The inverse of `with_end`."""
    return token.removesuffix("</w>") if token.endswith("</w>") else f"{token}@@"


def read_whole(path: Path, root: Path | None = None) -> bytes:
    """The content of a text file. Raises TokenizerError if it is too large, and the errors of `files.inside`."""
    return read_inside(path, TokenizerError, LARGEST_TEXT, root)


def _text(path: Path, root: Path | None = None) -> str:
    try:
        return io.StringIO(read_whole(path, root).decode(), newline=None).read()  # every kind of line ends with \n
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is not UTF-8 text: {error}") from error


# --- KerasHub's -----------------------------------------------------------------------------------------------------


def byte_pairs(library: "tokenizers.Tokenizer", config: Config, settings: Settings) -> "BytePairs | None":
    """The tokenizer in the form that `save_keras.write` takes.

    If a KerasHub preset cannot hold the tokenizer, the result is None, with a warning.
    """
    from ..checkpoints.save_keras import SPECIAL_TOKENS, BytePairs

    state = json.loads(library.to_str())
    splits = state["pre_tokenizer"] or {}
    vocabulary = dict(sorted(library.get_vocab().items(), key=lambda item: item[1]))
    kinds = state["model"].get("type"), splits.get("type"), state["normalizer"]
    is_complete = vocabulary.keys() >= set(SPECIAL_TOKENS)
    problem = None
    if config.model_type == "xlm-roberta" or kinds != ("BPE", "ByteLevel", None) or not is_complete:
        problem = "a KerasHub preset can hold only RoBERTa's byte-level BPE, with all its special tokens"
    elif settings.lacking is not None:
        problem = "some of its merges give tokens that its vocabulary lacks, which a KerasHub preset cannot hold"
    if problem:
        warnings.warn(f"this model's tokenizer is not written: {problem}", stacklevel=3)
        return None
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    return BytePairs(vocabulary, merges, splits["add_prefix_space"])
