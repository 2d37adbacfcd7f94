"""`SOURCES`: the files that a tokenizer is read from, whichever framework wrote them."""

import base64
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoints.files import inside, read_json
from ..config import Config
from ..errors import TokenizerError
from . import sentencepiece
from .vocabularies import VOCABULARY, fairseq_vocabulary, read_merges

if TYPE_CHECKING:
    import tokenizers

SETTINGS = "tokenizer_config.json"

LARGEST_FILE = 18_000_000
"""Maximum size of a file in bytes. XLM-Roberta's `tokenizer.json` is 9 MB, or 17 MB if indented."""

PLAIN = 1_500_000
"""Maximum size in bytes of a `tokenizer.json` that need not be checked.

Loading it takes at most 300 times its size in memory.
"""

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def read(directory: Path, config: Config) -> "tokenizers.Tokenizer | None":
    """Read the tokenizer from the first of `SOURCES` whose files are all in the directory.

    Returns None if there is no such source. Raises TokenizerError.
    """
    for names, read_source in SOURCES:
        if all((directory / name).is_file() for name in names):
            for name in names:
                inside(directory, name, TokenizerError)
            return read_source(directory, config)
    return None


# --- the sources ----------------------------------------------------------------------------------------------------


def _from_json(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    import tokenizers

    path = directory / "tokenizer.json"
    if path.stat().st_size > LARGEST_FILE:
        raise TokenizerError(f"{path} has {path.stat().st_size} bytes; the limit is {LARGEST_FILE}")
    with library_errors(f"{path} is not a valid tokenizer"):
        if path.stat().st_size > PLAIN:
            _check_counts(json.loads(path.read_text(encoding="utf-8")))
        library = tokenizers.Tokenizer.from_file(str(path))
        if library.normalizer is not None:
            _check_normalizer(json.loads(library.normalizer.__getstate__()))
    library.no_padding()
    return library


def _from_vocabulary(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    """RoBERTa's byte-level BPE. `add_prefix_space` is the only setting in `tokenizer_config.json` that changes ids."""
    settings = read_json(directory / SETTINGS, TokenizerError) if (directory / SETTINGS).is_file() else {}
    prefix = settings.get("add_prefix_space") is True
    return _from_merges(directory / "vocab.json", directory / "merges.txt", prefix)


def _from_keras(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    return _from_merges(directory / ASSETS / "vocabulary.json", directory / ASSETS / "merges.txt")


def _from_fairseq(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    vocabulary, merges = fairseq_vocabulary(directory)
    return _byte_level(vocabulary, merges, f"{directory / 'vocab.bpe'} and dict.txt")


def _from_keras_pieces(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    return sentencepiece.tokenizer(directory / ASSETS / "vocabulary.spm", sentencepiece.XLM_ROBERTA)


def _from_pieces(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    layout = sentencepiece.LAYOUTS.get(config.model_type, sentencepiece.XLM_ROBERTA)
    return sentencepiece.tokenizer(directory / "sentencepiece.bpe.model", layout)


ASSETS = "assets/tokenizer"

SOURCES: tuple[tuple[tuple[str, ...], Callable[[Path, Config], "tokenizers.Tokenizer"]], ...] = (
    # Before `tokenizer.json`, since a KerasHub preset also has a file of this name, which holds Keras's settings.
    ((f"{ASSETS}/vocabulary.json", f"{ASSETS}/merges.txt"), _from_keras),
    ((f"{ASSETS}/vocabulary.spm",), _from_keras_pieces),
    (("tokenizer.json",), _from_json),
    (("vocab.json", "merges.txt"), _from_vocabulary),
    (VOCABULARY, _from_fairseq),
    (("sentencepiece.bpe.model",), _from_pieces),
)
"""The files of each kind of tokenizer, with the function that reads them."""

# --- byte-level BPE -------------------------------------------------------------------------------------------------


def _from_merges(vocabulary: Path, merges: Path, prefix: bool = False) -> "tokenizers.Tokenizer":
    """Build byte-level BPE from a JSON file (tokens mapped to ids) and a text file (a pair of tokens on each line)."""
    ids = read_json(vocabulary, TokenizerError, LARGEST_FILE)
    missing = [name for name in SPECIAL if not isinstance(ids.get(name), int)]
    if missing:
        raise TokenizerError(f"{vocabulary} lacks {', '.join(missing)}: it must have all of RoBERTa's special tokens")
    return _byte_level(ids, read_merges(merges), f"{merges} and {vocabulary.name}", prefix)


def _byte_level(
    ids: dict[str, int], merges: list[tuple[str, str]], files: str, prefix: bool = False
) -> "tokenizers.Tokenizer":
    """Build RoBERTa's byte-level BPE. ids: the id of each token. merges: pairs to merge, in order of priority."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors

    with library_errors(f"{files} are not a valid tokenizer"):
        library = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), trim_offsets=True, add_prefix_space=prefix
    )
    library.add_special_tokens([tokenizers.AddedToken(name, normalized=True) for name in SPECIAL[:-1]])
    mask = tokenizers.AddedToken("<mask>", lstrip=True, normalized=False)  # includes a space before it
    library.add_special_tokens([mask])
    return library


# --- checks ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def library_errors(beginning: str) -> Iterator[None]:
    """Turn any error in the tokenizers library, including a panic, into a TokenizerError."""
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise TokenizerError(f"{beginning}: {error}") from error


def _check_counts(settings: Mapping[str, Any]) -> None:
    """Raise ValueError if the tokenizer may need too much memory: the library aborts the process if memory runs out."""
    model = settings["model"]
    pieces = model.get("vocab", ())
    counts = {"pieces": pieces, "merges": model.get("merges", ()), "added tokens": settings.get("added_tokens", ())}
    most = (sentencepiece.MOST_PIECES, sentencepiece.MOST_MERGES, sentencepiece.MOST_SYMBOLS)
    for (name, found), count in zip(counts.items(), most, strict=True):
        if len(found or ()) > count:
            raise ValueError(f"it has {len(found)} {name}; the limit is {count}")
    if isinstance(pieces, list):  # a unigram model, whose pieces the library holds in a trie
        sentencepiece.check_prefixes(str(piece).encode() for piece, _ in pieces)


def _check_normalizer(settings: Mapping[str, Any]) -> None:
    """Raise ValueError if a normalizer, or one nested in it, has a character map that makes the library panic."""
    for inner in settings.get("normalizers", ()):
        _check_normalizer(inner)
    sentencepiece.check_charsmap(base64.b64decode(settings.get("precompiled_charsmap", "")))
