"""`SOURCES`: the files that a tokenizer is read from, whichever framework wrote them."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..checkpoints.files import inside, read_inside, read_json
from ..config import Config
from ..errors import TokenizerError
from . import allowance, plain, sentencepiece, settings
from .settings import BYTE_LEVEL, WORDPIECE, Settings
from .vocabularies import (
    VOCABULARY,
    check_tokens,
    fairseq_vocabulary,
    read_merges,
    read_tokens,
    read_whole,
    words_with_counts,
)

if TYPE_CHECKING:
    import tokenizers

LARGEST_JSON = 64_000_000
"""Maximum size of a `tokenizer.json` in bytes. XLM-Roberta's is 9 MB, or 17 MB if indented; XLM-V's is 26 MB."""

LARGEST_VOCABULARY = 10_000_000
"""Maximum size of a `vocab.json` in bytes."""

Built = tuple["tokenizers.Tokenizer", Settings]
"""A tokenizer, and its settings."""


class Source(NamedTuple):
    """A kind of files: their names, the function that reads them, and the classes that they belong to."""

    names: tuple[str, ...]
    read: Callable[[Path, Settings], Built]
    classes: tuple[str, ...] = ()
    """Empty if the files are read for any class."""

    def serves(self, given: Settings) -> bool:
        """True unless the settings name a class that has other files."""
        return not (self.classes and given.is_named) or given.name in self.classes


def read(directory: Path, config: Config, trust: bool = False) -> Built | None:
    """Read the tokenizer and its settings from the first of `SOURCES` whose files are all in the directory.

    Sources that belong to other classes than the named one are used only if there is no other. Returns None if there is
    no source. trust: build whatever a `tokenizer.json` says, without the limits of `allowance`. Raises TokenizerError.
    """
    present = [source for source in SOURCES if all((directory / name).is_file() for name in source.names)]
    if not present:
        return None
    for name in (settings.SETTINGS, settings.SPECIAL, settings.ADDED):
        if (directory / name).is_file():
            inside(directory, name, TokenizerError)
    given = settings.read(directory, config)._replace(trusted=trust)
    source = next((source for source in present if source.serves(given)), present[0])
    for name in source.names:
        inside(directory, name, TokenizerError)
    library, given = source.read(directory, given)
    settings.warn_of_ids(library, given)
    library.encode_special_tokens = given.flag("split_special_tokens", False)
    return library, given


# --- the sources ----------------------------------------------------------------------------------------------------


def _from_json(directory: Path, given: Settings) -> Built:
    path = directory / "tokenizer.json"
    content = read_inside(path, TokenizerError, LARGEST_JSON)
    with library_errors(f"{path} is not a valid tokenizer"):
        if not given.trusted:
            allowance.check(allowance.read(content), len(content), given.contents)
        library = plain.library().Tokenizer.from_buffer(content)
        if not given.trusted:
            allowance.check_built(library)
        library.no_padding()
        _set_normalizer(library, given)
        settings.add_tokens(library, settings.with_tokens_of(library, given))
        _set_prefix(library, given)
    return library, given


def _set_normalizer(library: "tokenizers.Tokenizer", given: Settings) -> None:
    """Set the options of BERT's normalizer from the settings, for the classes of `WORDPIECE`, as transformers does."""
    state = json.loads(library.normalizer.__getstate__()) if library.normalizer is not None else {}
    if given.name in WORDPIECE and state.get("type") == "BertNormalizer":
        from tokenizers import normalizers

        library.normalizer = normalizers.BertNormalizer(state["clean_text"], *_options_of_bert(given))


def _options_of_bert(given: Settings) -> tuple[bool, bool | None, bool]:
    """`handle_chinese_chars`, `strip_accents` and `lowercase`."""
    chinese, lower = given.flag("tokenize_chinese_chars", True), given.flag("do_lower_case", True)
    return chinese, given.values.get("strip_accents"), lower


def _set_prefix(library: "tokenizers.Tokenizer", given: Settings) -> None:
    """Set `add_prefix_space` of byte-level BPE from the settings, not from `tokenizer.json`, as transformers does."""
    tokenizers, prefix = plain.library(), given.flag("add_prefix_space", False)
    splits = json.loads(library.pre_tokenizer.__getstate__()) if library.pre_tokenizer is not None else {}
    if splits.get("type") == "ByteLevel":
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
            prefix, trim_offsets=splits.get("trim_offsets", True), use_regex=splits.get("use_regex", True)
        )
    state = json.loads(library.post_processor.__getstate__()) if library.post_processor is not None else {}
    if given.name in BYTE_LEVEL and state.get("type") == "RobertaProcessing":
        trim = given.flag("trim_offsets", True)
        around = tokenizers.processors.RobertaProcessing
        library.post_processor = around(tuple(state["sep"]), tuple(state["cls"]), trim, prefix)


def _from_vocabulary(directory: Path, given: Settings) -> Built:
    """RoBERTa's byte-level BPE."""
    if given.is_named and given.name not in BYTE_LEVEL:
        raise TokenizerError(
            f"{directory} has vocab.json and merges.txt, which are read for {', '.join(BYTE_LEVEL)}, but its class is "
            f"{given.name}, {settings.ADVICE_ON_CLASS}"
        )
    given = given._replace(name=given.name if given.is_named else "RobertaTokenizer")
    files = directory / "vocab.json", directory / "merges.txt"
    return _with_files(directory, *_from_merges(*files, given, complete=False))


def _with_files(directory: Path, library: "tokenizers.Tokenizer", given: Settings) -> Built:
    """Add the tokenizer's files to the settings, if a `tokenizer.json` cannot hold the tokenizer."""
    names = ("vocab.json", "merges.txt") if given.lacking is not None else ()
    return library, given._replace(files={name: read_whole(directory / name) for name in names})


def _from_keras(directory: Path, given: Settings) -> Built:
    files = directory / ASSETS / "vocabulary.json", directory / ASSETS / "merges.txt"
    return _from_merges(*files, Settings(), root=directory)


def _from_fairseq(directory: Path, given: Settings) -> Built:
    vocabulary, merges = fairseq_vocabulary(directory)
    return _byte_level(vocabulary, merges, f"{directory / 'vocab.bpe'} and dict.txt", Settings())


def _from_keras_pieces(directory: Path, given: Settings) -> Built:
    path = directory / ASSETS / "vocabulary.spm"
    own = Settings("XLMRobertaTokenizer")
    return sentencepiece.tokenizer(path, own, sentencepiece.XLM_ROBERTA, directory), own


def _from_pieces(directory: Path, given: Settings) -> Built:
    name = next(name for name in PIECES if (directory / name).is_file())
    if not given.is_named and given.name not in sentencepiece.LAYOUTS and name == PIECES[0]:
        given = given._replace(name="XLMRobertaTokenizer")
    return sentencepiece.tokenizer(directory / name, given), given


def _from_codes(directory: Path, given: Settings) -> Built:
    """PhoBERT's and BERTweet's BPE, which marks the end of a word."""
    plain.check_library("a BPE that marks the ends of words")
    import tokenizers
    from tokenizers import Regex, decoders, models, pre_tokenizers, processors

    if given.is_named and given.name not in WITH_CODES:
        raise TokenizerError(
            f"{directory} has vocab.txt and bpe.codes, which are read for {' and '.join(WITH_CODES)}, but its class is "
            f"{given.name}, {settings.ADVICE_ON_CLASS}"
        )
    by_field = "BertweetTokenizer" if "normalization" in given.values else "PhobertTokenizer"
    given = given._replace(
        name=given.name if given.is_named else by_field,
        roles={"mask_token": "<mask>", **given.roles},
        files={name: read_whole(directory / name) for name in ("vocab.txt", "bpe.codes")},
    )
    if given.normalizes_tweets:
        from . import tweets

        tweets.warn_of_emoji()
    own, merges = words_with_counts(directory / "vocab.txt"), read_merges(directory / "bpe.codes", counts=True)
    ids, given = _with_lacking(settings.with_named_tokens(own, given), merges, directory / "bpe.codes", given, "<unk>")
    with library_errors(f"{directory / 'bpe.codes'} and vocab.txt are not a valid tokenizer"):
        library = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>", end_of_word_suffix="</w>"))
        library.pre_tokenizer = pre_tokenizers.Split(Regex(r"\S+\n?"), "removed", invert=True)
        settings.add_tokens(library, given)
        names = "|".join(f"^{re.escape(token.content)}" for token in library.get_added_tokens_decoder().values())
        spaces = decoders.Replace(Regex(rf"(?<={names})\z"), "</w>")  # added tokens end words, as others with a mark do
        marked = decoders.Replace(Regex(r"(?<!</w>)\z"), "@@ "), decoders.Replace("</w>", " ")
        # Not Strip, which panics if there are no tokens.
        last = decoders.Fuse(), decoders.Replace(Regex(r" \z"), ""), decoders.Replace("@@ ", "")
        library.decoder = decoders.Sequence([spaces, *marked, *last])
        library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), False, False)
    return library, given


def _from_words(directory: Path, given: Settings) -> Built:
    """BERT's WordPiece."""
    plain.check_library("WordPiece")
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    path = directory / "vocab.txt"
    if given.name not in WORDPIECE:
        named = f", {settings.ADVICE_ON_CLASS}"
        unnamed = ": name the right class as tokenizer_class in tokenizer_config.json"
        raise TokenizerError(
            f"{path} is read for {', '.join(WORDPIECE)}, but the tokenizer's class is {given.name}"
            + (named if given.is_named else unnamed)
        )
    given = given._replace(values={"clean_up_tokenization_spaces": True, **given.values})  # only without tokenizer.json
    ids = {token: index for index, token in enumerate(read_tokens(path))}
    with library_errors(f"{path} is not a valid vocabulary"):
        unknown = settings.content_of(given.roles.get("unk_token", "[UNK]"))
        library = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=unknown))
        library.normalizer = normalizers.BertNormalizer(True, *_options_of_bert(given))
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        library.decoder = decoders.WordPiece(prefix="##")
        settings.add_tokens(library, given)
        first, end = _ends(library, given, str(path))
        library.post_processor = processors.TemplateProcessing(
            single=f"{first}:0 $A:0 {end}:0",
            pair=f"{first}:0 $A:0 {end}:0 $B:1 {end}:1",
            special_tokens=[(token, library.token_to_id(token)) for token in {first, end}],
        )
    return library, given


def _ends(library: "tokenizers.Tokenizer", given: Settings, path: str) -> tuple[str, str]:
    """The tokens at the beginning and the end of a text. Raises TokenizerError if the vocabulary lacks them."""
    roles = settings.roles_of(library, given)
    lacking = [role for role in ("cls_token", "sep_token") if role not in roles]
    if lacking:
        raise TokenizerError(
            f"{path} lacks the special tokens {', '.join(lacking)}: name them in tokenizer_config.json or "
            "special_tokens_map.json"
        )
    for token in (roles["cls_token"], roles["sep_token"]):
        if re.search(r"[$:\s]", token):
            raise TokenizerError(
                f"{path}: a special token around a text must have no $, colon or space, not {token!r:.60}"
            )
    return roles["cls_token"], roles["sep_token"]


ASSETS = "assets/tokenizer"

WITH_CODES = ("PhobertTokenizer", "BertweetTokenizer")

PIECES = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "sentencepiece.model")
"""The names of sentencepiece models."""

SOURCES: tuple[Source, ...] = (
    # Before `tokenizer.json`, since a KerasHub preset also has a file of this name, which holds Keras's settings.
    Source((f"{ASSETS}/vocabulary.json", f"{ASSETS}/merges.txt"), _from_keras),
    Source((f"{ASSETS}/vocabulary.spm",), _from_keras_pieces),
    Source(("tokenizer.json",), _from_json),
    Source(("vocab.json", "merges.txt"), _from_vocabulary, BYTE_LEVEL),
    Source(VOCABULARY, _from_fairseq, BYTE_LEVEL),
    *(Source((name,), _from_pieces, tuple(sentencepiece.LAYOUTS)) for name in PIECES),
    Source(("vocab.txt", "bpe.codes"), _from_codes, WITH_CODES),
    Source(("vocab.txt",), _from_words, WORDPIECE),
)
"""The files of each kind of tokenizer, with the function that reads them, in order of preference."""

# --- byte-level BPE -------------------------------------------------------------------------------------------------


def _from_merges(
    vocabulary: Path, merges: Path, given: Settings, complete: bool = True, root: Path | None = None
) -> Built:
    """Build byte-level BPE from a JSON file (tokens mapped to ids) and a text file (a pair of tokens on each line).

    complete: True if the vocabulary must have all tokens that occur in merges. root: as for `read_inside`.
    """
    ids = read_json(vocabulary, TokenizerError, LARGEST_VOCABULARY, root)
    check_tokens(ids, vocabulary)
    if not all(type(index) is int for index in ids.values()):
        raise TokenizerError(f"{vocabulary} is not a JSON object that maps tokens to integers")
    with library_errors(f"{vocabulary} is not a valid vocabulary"):
        allowance.check_largest(max(ids.values(), default=0))
    pairs = read_merges(merges, root=root)
    if not complete:
        ids, given = _with_lacking(
            ids, pairs, merges, given, settings.content_of(given.roles.get("unk_token", "<unk>"))
        )
    return _byte_level(ids, pairs, f"{merges} and {vocabulary.name}", given)


def _byte_level(ids: dict[str, int], merges: list[tuple[str, str]], files: str, given: Settings) -> Built:
    """Build RoBERTa's byte-level BPE. ids: the id of each token. merges: pairs to merge, in order of priority."""
    tokenizers, prefix = plain.library(), given.flag("add_prefix_space", False)
    unknown = settings.content_of(given.roles.get("unk_token", "<unk>"))
    with library_errors(f"{files} are not a valid tokenizer"):
        library = tokenizers.Tokenizer(tokenizers.models.BPE(ids, merges, unk_token=unknown))
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        library.decoder = tokenizers.decoders.ByteLevel()
        settings.add_tokens(library, _with_flags(library, given))
        first, end = _ends(library, given, files)
        ids = library.get_vocab()
        sep, cls, trim = (end, ids[end]), (first, ids[first]), given.flag("trim_offsets", True)
        library.post_processor = tokenizers.processors.RobertaProcessing(sep, cls, trim, prefix)
    return library, given


def _with_lacking(
    ids: dict[str, int], merges: list[tuple[str, str]], merged: Path, given: Settings, unknown: str
) -> tuple[dict[str, int], Settings]:
    """Add the tokens that occur in merges but not in the vocabulary, with ids after all others.

    The tokenizers library cannot merge into a token without an id. After tokenization, these tokens become the unknown
    token, as in transformers' slow tokenizer.
    """
    lacking = [part for first, second in merges for part in (first, second, first + second) if part not in ids]
    if not lacking or unknown not in ids:
        return ids, given
    check_tokens({*ids, *lacking}, merged)
    ids = settings.with_named_tokens(ids, given)
    first = 1 + max(ids.values())
    for part in lacking:
        ids.setdefault(part, len(ids))
    if len(set(ids.values())) < len(ids) or max(ids.values()) >= len(ids):
        raise TokenizerError(
            "the tokenizer's merges give tokens that its vocabulary lacks, which is supported only if its ids are 0, "
            "1, 2 and so on: tokenize with transformers, and call the model with the ids"
        )
    return ids, given._replace(lacking=first)


def _with_flags(library: "tokenizers.Tokenizer", given: Settings) -> Settings:
    """Give special tokens that are named by content alone the flags that transformers' RobertaTokenizer gives them."""
    names = {role: token for role, token in settings.roles_of(library, given).items() if role not in given.roles}
    names |= {role: named for role, named in given.roles.items() if isinstance(named, str)}
    flagged = {role: settings.Token(token) for role, token in names.items()}
    if "mask_token" in names:  # includes a space before it
        flagged["mask_token"] = settings.Token(names["mask_token"], lstrip=True, normalized=False)
    return given._replace(roles={**given.roles, **flagged})


# --- checks ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def library_errors(beginning: str) -> Iterator[None]:
    """Turn any error in the tokenizers library, including a panic, into a TokenizerError."""
    try:
        yield
    except BaseException as error:
        is_of_library = isinstance(error, Exception) or type(error).__name__ == "PanicException"
        if isinstance(error, TokenizerError) or not is_of_library:
            raise
        raise TokenizerError(f"{beginning}: {error}") from error
