"""Byte-level BPE vocabularies in other files than Hugging Face's: those of fairseq and GPT-2, and of KerasHub."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import TokenizerError
from .sentencepiece import MOST_MERGES

if TYPE_CHECKING:
    import tokenizers

    from ..checkpoints.save_keras import BytePairs

LARGEST_TEXT = 10_000_000
"""Bytes of a file: ten times as many as GPT-2's have."""

# --- fairseq's ------------------------------------------------------------------------------------------------------

VOCABULARY = ("dict.txt", "encoder.json", "vocab.bpe")
"""fairseq's list of tokens; GPT-2's numbers of its pieces, which that list uses; and GPT-2's merges."""


def fairseq_vocabulary(directory: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids by token, and merges, as Hugging Face has them in `vocab.json` and `merges.txt`.

    The special tokens come first, then `dict.txt`, whose lines are one of GPT-2's numbers and a count, and <mask> last.
    Raises TokenizerError.
    """
    listed, numbers, merged = (directory / name for name in VOCABULARY)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_listed(listed, _pieces(numbers)), "<mask>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if vocab[token] != i)
        raise TokenizerError(f"{listed} names {twice[:100]!r} twice")
    return vocab, read_merges(merged)


def _pieces(path: Path) -> dict[str, str]:
    """GPT-2's pieces, by their numbers as text."""
    try:
        encoder = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(encoder, dict) or not all(type(number) is int for number in encoder.values()):
        raise TokenizerError(f"{path} is not a JSON object from pieces to numbers")
    return {str(number): piece for piece, number in encoder.items()}


def _listed(path: Path, pieces: Mapping[str, str]) -> Iterator[str]:
    """The tokens of `dict.txt`: GPT-2's pieces by their numbers; other words, such as madeupword0000, as they are."""
    for line in _text(path).split("\n"):
        if not line:
            continue
        match = re.fullmatch(r"(\S+) [0-9]+", line)
        if not match:
            raise TokenizerError(
                f"{path} has a line {line[:100]!r}: a line is a token and a count, such as '13 850314647'"
            )
        token = match[1]
        if token.isdecimal() and token not in pieces:
            raise TokenizerError(
                f"{path} names {token[:100]}, a number that encoder.json lacks: the two files do not belong together"
            )
        yield pieces.get(token, token)


# --- merges ---------------------------------------------------------------------------------------------------------


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs of pieces in a `merges.txt` or `vocab.bpe`, in their order. Raises TokenizerError."""
    merges = []
    for line in _text(path).split("\n"):
        first, *rest = line.split(" ")
        if line and not line.startswith("#version"):
            if len(rest) != 1:
                raise TokenizerError(f"{path} has a line {line[:100]!r}: a merge is two pieces with a space between")
            merges.append((first, rest[0]))
    if len(merges) > MOST_MERGES:
        raise TokenizerError(f"{path} has {len(merges)} merges; at most {MOST_MERGES} are read")
    return merges


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            raise TokenizerError(f"{path} has {size} bytes; at most {LARGEST_TEXT} are read")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is not text in UTF-8: {error}") from error


# --- KerasHub's -----------------------------------------------------------------------------------------------------


def byte_pairs(library: "tokenizers.Tokenizer", config: Config) -> "BytePairs | None":
    """The tokenizer as `save_keras.write` takes it; None, with a warning, for one that KerasHub cannot express."""
    from ..checkpoints.save_keras import SPECIAL_TOKENS, BytePairs

    state = json.loads(library.to_str())
    splits = state["pre_tokenizer"] or {}
    vocabulary = dict(sorted(library.get_vocab().items(), key=lambda item: item[1]))
    kinds = state["model"].get("type"), splits.get("type"), state["normalizer"]
    is_complete = vocabulary.keys() >= set(SPECIAL_TOKENS)
    if config.model_type == "xlm-roberta" or kinds != ("BPE", "ByteLevel", None) or not is_complete:
        warnings.warn(
            "a preset of KerasHub's cannot hold this model's tokenizer, which is left out: only a byte-level BPE of "
            "RoBERTa with its special tokens can be written",
            stacklevel=3,
        )
        return None
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    return BytePairs(vocabulary, merges, splits["add_prefix_space"])
