"""Text to ids and back, with the tokenizers library: byte-level BPE, WordPiece, or sentencepiece models.

With RoBERTa's tokenizer, a text becomes `<s> A </s>`, and a pair becomes `<s> A </s></s> B </s>`. Its token types are
all 0, so they are left out. With BERT's, a pair is `[CLS] A [SEP] B [SEP]`, and B has the token type 1.
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, Union

import numpy

from ..backend.arrays import to_host
from ..config import Config
from ..errors import TokenizerError
from ..model import Network
from ..packed import Typed
from . import encodings, sources
from .settings import (
    ADDED,
    BYTE_LEVEL,
    FLAGS,
    KINDS,
    LONGEST_TOKEN,
    MOST_ADDED,
    SETTINGS,
    SPECIAL,
    Settings,
    Token,
    roles_of,
)
from .texts import as_texts, as_words, which
from .vocabularies import with_end, without_end

if TYPE_CHECKING:
    import tokenizers

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


Encoding = Union["tokenizers.Encoding", encodings.Encoding, encodings.Window]

Padding = bool | Literal["longest", "max_length", "do_not_pad"]
Truncation = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]

PADDINGS = {True: "longest", False: "do_not_pad"}
TRUNCATIONS = {True: "longest_first", False: "do_not_truncate"}
"""Hugging Face's names for True and False."""


class Row(Typed):
    """The ids of a text or pair, with the token type of each. rest: the ids that were truncated.

    offsets, words: the start and end of each token in its text, and the index of its word, if requested.
    """

    rest: list[int]
    offsets: list[tuple[int, int]]
    words: list[int | None]


class Tokenizer:
    """A tokenizer of the tokenizers library (`.library`), with a model's padding id and maximum length.

    roles: the special tokens by Hugging Face's names of their roles, such as `mask_token`. settings: those in the
    tokenizer's files.
    """

    def __init__(self, library: "tokenizers.Tokenizer", config: Config, settings: Settings | None = None) -> None:
        self.library = library
        self.settings = settings = settings or Settings()
        self.pad_token_id = config.pad_token_id
        self.longest = min(config.longest, settings.max_length or config.longest)
        self.roles = roles_of(library, settings)
        self.mask_token = self.roles.get("mask_token")
        self.mask_token_id, self.unk_token_id = (
            library.token_to_id(self.roles[role]) if role in self.roles else None
            for role in ("mask_token", "unk_token")
        )
        self.has_types = settings.types and config.type_vocab_size > 1
        self._config = config
        library.no_truncation()  # after this nothing is written to the library, which other threads may be using

    @classmethod
    def load(cls, directory: Path, config: Config, trust: bool = False) -> "Tokenizer | None":
        """Load the tokenizer from its files in a directory; `sources.SOURCES` lists the possible files.

        trust: build whatever a `tokenizer.json` says, however much it costs. Returns None if there are no such files.
        Raises TokenizerError.
        """
        found = sources.read(directory, config, trust)
        return None if found is None else cls(found[0], config, found[1])

    def of_model(self, config: Config) -> "Tokenizer":
        """The same tokenizer for another model, with its padding id and maximum length."""
        return Tokenizer(self.library, config, self.settings)

    def __copy__(self) -> "Tokenizer":
        return self.of_model(self._config)

    def __len__(self) -> int:
        """Number of tokens, added ones included."""
        return self.settings.lacking or self.library.get_vocab_size()

    def add_tokens(self, tokens: str | Iterable[str], special: bool = False) -> int:
        """Add tokens that are never split. Returns the number of tokens that are new.

        New tokens get the ids after those of the vocabulary. Make room for them in the model with
        `model = model.resize_token_embeddings(len(model.tokenizer))`. The tokenizer is changed in place, and so for all
        models that share it. special: True for special tokens, which `skip_special_tokens` leaves out of a decoded
        text. Raises TokenizerError.
        """
        given = as_texts(tokens, "token")
        if self.settings.files:
            raise TokenizerError(
                f"tokens cannot be added to this {self.settings.name}, which a tokenizer.json cannot hold: add them "
                "with transformers, and load the saved tokenizer"
            )
        for index, token in enumerate(given):
            if not 0 < len(token) <= LONGEST_TOKEN:
                raise TokenizerError(
                    f"{which(index, given, 'token')} has {len(token)} characters: give 1 to {LONGEST_TOKEN}"
                )
        before = {token.content for token in self.library.get_added_tokens_decoder().values()}
        if len(before.union(given)) > MOST_ADDED:
            raise TokenizerError(f"too many added tokens: a tokenizer may have at most {MOST_ADDED}")
        return self.library.add_special_tokens(given) if special else self.library.add_tokens(given)

    def tokenize(
        self,
        texts: str | Iterable[Any],
        pairs: str | Iterable[Any] | None = None,
        *,
        padding: Padding = True,
        truncation: Truncation = True,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
        return_offsets: bool = False,
        return_word_ids: bool = False,
    ) -> dict[str, numpy.ndarray]:
        """`input_ids` and `attention_mask`, ready for the model: (B, L) int64.

        `token_type_ids` are a third array if the tokenizer's class has them and the model has more than one type.
        texts: a single text (treated as a batch of one), or several texts. pairs: a second text for each text.
        padding: True or "longest" pads to the longest text, "max_length" to `max_length`; if False or "do_not_pad", all
        texts must have the same number of tokens. Pad tokens are on the right, or where `tokenizer_config.json` says.
        max_length: maximum number of tokens, special tokens included; by default the model's maximum length, or the
        tokenizer's if that is less. truncation: True or "longest_first" truncates texts beyond `max_length` (in a pair,
        the longer text first), "only_first" and "only_second" only that text of a pair; if False or "do_not_truncate",
        texts are kept whole, but the model rejects a text that exceeds its maximum length. add_special_tokens: put
        special tokens such as `<s>` and `</s>` around the texts.
        is_split_into_words: each text is a list of words. return_offsets: add `offset_mapping`, (B, L, 2), the start
        and end of each token in its text, or in its word. return_word_ids: add `word_ids`, (B, L), the index of each
        token's word, or -1 for a special token. The model takes neither of these two.

        Raises TokenizerError.
        """
        pad = _choice("padding", padding, PADDINGS, ("longest", "max_length", "do_not_pad"))
        cut = _choice("truncation", truncation, TRUNCATIONS, (*STRATEGIES, "do_not_truncate"))
        if max_length is not None and (type(max_length) is bool or not isinstance(max_length, int | numpy.integer)):
            raise TokenizerError(f"max_length must be an integer, not {max_length!r:.100}")
        inputs = _as_inputs(texts, pairs, is_split_into_words)
        if is_split_into_words:
            self._check_prefix()
        limit = self.longest if max_length is None else int(max_length)
        most = None if cut == "do_not_truncate" else limit
        rows = self.rows(inputs, most, add_special_tokens, cut, is_split_into_words, return_offsets or return_word_ids)
        lengths = {len(row) for row in rows}
        if pad == "do_not_pad" and len(lengths) > 1:
            raise TokenizerError(
                f"texts of {min(lengths)} to {max(lengths)} tokens do not fit into one array: give padding=True"
            )
        return self.padded(rows, limit if pad == "max_length" else 0, return_offsets, return_word_ids)

    __call__ = tokenize

    def _check_prefix(self) -> None:
        splits = self.library.pre_tokenizer
        if getattr(splits, "add_prefix_space", True) is False:
            raise TokenizerError(
                "is_split_into_words needs a tokenizer that puts a space before each word: set add_prefix_space to "
                "true in tokenizer_config.json"
            )

    def rows(
        self,
        inputs: Sequence[Any],
        limit: int | None = None,
        add_special_tokens: bool = True,
        truncation: str = "longest_first",
        is_split_into_words: bool = False,
        places: bool = False,
    ) -> list[Row]:
        """Tokenize each text or pair, and truncate it to `limit` tokens. places: if True, with offsets and words.

        The library's truncation is not used, since it also builds windows of the rest: for a pair, each window of the
        first text is combined with each window of the second. Raises TokenizerError.
        """
        for paired in {isinstance(text, tuple) for text in inputs}:
            least = self.library.num_special_tokens_to_add(paired) if add_special_tokens else 0
            if limit is not None and limit <= least:
                raise TokenizerError(f"{limit} tokens leave no room for text besides {least} special tokens")
        with sources.library_errors("the tokenizer failed on a text"):
            found = self._encode(inputs, is_split_into_words, add_special_tokens)
        side = self.settings.values.get("truncation_side", "right")
        return [
            self.row(encoding, _kept(encoding, limit, truncation, side, which(index, found)), places)
            for index, encoding in enumerate(found)
        ]

    def _encode(
        self, inputs: Sequence[Any], is_split_into_words: bool = False, add_special_tokens: bool = True
    ) -> Sequence[Encoding]:
        if self.settings.normalizes_tweets:
            from . import tweets  # few models need it, and its imports take a while

            return tweets.encode(self.library, inputs, add_special_tokens=add_special_tokens)
        found = self.library.encode_batch(
            list(inputs), is_pretokenized=is_split_into_words, add_special_tokens=add_special_tokens
        )
        if encodings.loses_letters(self.library):
            return [encodings.with_letters(each, text) for each, text in zip(found, inputs, strict=True)]
        return found

    def row(self, encoding: Encoding, kept: Sequence[int] | None = None, places: bool = False) -> Row:
        """The tokens of a text, pair or window. kept: the positions to keep; by default all."""
        ids, types = self._known(encoding.ids), encoding.type_ids if self.has_types else None
        positions = range(len(ids)) if kept is None else kept
        row = Row(ids[i] for i in positions)
        row.types = None if types is None else [types[i] for i in positions]
        row.rest = [ids[i] for i in sorted(set(range(len(ids))).difference(positions))] if len(row) < len(ids) else []
        if places:
            offsets, words = encoding.offsets, encoding.word_ids
            row.offsets, row.words = [offsets[i] for i in positions], [words[i] for i in positions]
        return row

    def _known(self, ids: list[int]) -> list[int]:
        """The ids, with the unknown token in place of merged tokens that the vocabulary lacks."""
        first = self.settings.lacking
        if first is None or self.unk_token_id is None:
            return ids
        return [self.unk_token_id if token >= first else token for token in ids]

    def windows(
        self, text: str, pair: str | None = None, *, stride: int, max_length: int | None = None
    ) -> list[encodings.Window]:
        """Split a long text into windows of at most `max_length` tokens that overlap by `stride` tokens.

        With a pair, each window holds all of the first text and a part of the second. If there is room for
        `stride` or fewer tokens of the second text, the windows overlap by half of that room.

        Raises TokenizerError.
        """
        inputs = _as_inputs(text, pair)
        limit = self.longest if max_length is None else max_length
        with sources.library_errors("the tokenizer failed on a text"):
            (encoding,) = self._encode(inputs)
        positions = encodings.positions_of(encoding, 0 if pair is None else 1)
        room = limit - (len(encoding) - len(positions))
        if room < 1:
            first = len(encodings.positions_of(encoding, 0))
            also = f" and a first text of {first} tokens: shorten it, or for a question give max_question_len"
            message = f"{limit} tokens leave no room for text besides the special tokens"
            raise TokenizerError(message if pair is None else message + also)
        return encodings.windows(encoding, positions, room, stride if stride < room else room // 2)

    def padded(
        self, rows: Sequence[Row], least: int = 0, offsets: bool = False, words: bool = False, side: str | None = None
    ) -> dict[str, numpy.ndarray]:
        """The arrays of a batch, padded to at least `least` columns, by default on the side that the tokenizer pads."""
        length = max([least, *map(len, rows)]) if rows else 0

        def padded(values: Iterable[Sequence[Any]], fill: Any, shape: tuple[int, ...] = ()) -> numpy.ndarray:
            array = numpy.full((len(rows), length, *shape), fill, numpy.int64)
            for row, some in zip(array, values, strict=True):
                if len(some):
                    row[length - len(some) :] = some
                    if not left:
                        row[:] = numpy.roll(row, len(some) - length, axis=0)
            return array

        left = (side or self.settings.values.get("padding_side")) == "left"
        result = {"input_ids": padded(rows, self.pad_token_id)}
        if self.has_types:
            result["token_type_ids"] = padded((row.types or [] for row in rows), 0)
        result["attention_mask"] = padded(([1] * len(row) for row in rows), 0)
        if offsets:
            result["offset_mapping"] = padded((row.offsets for row in rows), 0, (2,))
        if words:
            known = ([-1 if word is None else word for word in row.words] for row in rows)
            result["word_ids"] = padded(known, -1)
        return result

    def entry(self, token: int) -> str:
        """The entry of the vocabulary that has this id, as the tokenizer's files spell it."""
        name = self.library.id_to_token(token) or ""
        return without_end(name) if self._has_ends and token not in self._added else name

    def id_of(self, entry: str) -> int | None:
        """The id of an entry of the vocabulary, as the tokenizer's files spell it; None if there is no such entry."""
        token = self.library.token_to_id(entry)
        return self.library.token_to_id(with_end(entry)) if self._has_ends and token not in self._added else token

    @property
    def _has_ends(self) -> bool:
        return "bpe.codes" in self.settings.files

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of special tokens, such as `<s>` and padding."""
        added = self.library.get_added_tokens_decoder().items()
        return frozenset({self.pad_token_id, *(index for index, token in added if token.special)})

    @functools.cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self.library.get_added_tokens_decoder())

    def decode(
        self, ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str | list[str]:
        """Turn ids into text: a str for one sequence, (L,), or a list of str for several, (B, L).

        clean_up_tokenization_spaces: if True, remove spaces before punctuation and English contractions; by default,
        the setting in `tokenizer_config.json`. Raises TokenizerError.
        """
        array, options = self._checked_ids(ids), (skip_special_tokens, clean_up_tokenization_spaces)
        if array.ndim == 1:
            return self.text_of(array.tolist(), *options)
        return [self.text_of(row, *options) for row in array.tolist()]

    def text_of(self, ids: Sequence[int], skip_special_tokens: bool = False, clean: bool | None = None) -> str:
        """`decode` for ids that need no checks."""
        with sources.library_errors("the tokenizer failed on ids"):
            text = self.library.decode(ids, skip_special_tokens)
        if self.settings.cleans if clean is None else clean:
            for spaced in SPACED:
                text = text.replace(spaced, spaced.strip(" "))
        return text

    def _checked_ids(self, ids: Any) -> numpy.ndarray:
        try:
            array = to_host(ids)
        except ValueError as error:
            raise TokenizerError(
                "the rows of ids must have the same length: pad them, or decode one row at a time"
            ) from error
        if array.size == 0:
            array = array.astype(int)
        if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
            raise TokenizerError(
                f"invalid ids of dtype {array.dtype} with {array.ndim} dimensions: give integers of shape "
                "(L,) or (B, L)"
            )
        if array.size and not 0 <= array.min() <= array.max() < 2**32:
            raise TokenizerError(
                f"invalid ids from {array.min()} to {array.max()}: token ids must be at least 0 and less than 2**32"
            )
        if array.size and self.library.id_to_token(int(array.max())) is None:
            count = self.library.get_vocab_size()
            raise TokenizerError(f"unknown id {array.max()}: this tokenizer has {count} tokens")
        return array

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`, and `tokenizer_config.json` with settings that transformers reads only from there.

        transformers' AutoTokenizer opens the same tokenizer: its class, special tokens and added tokens are kept.
        """
        for name in ("tokenizer.json", SPECIAL, ADDED):  # of an earlier tokenizer
            (directory / name).unlink(missing_ok=True)
        for name, content in self.settings.files.items():
            (directory / name).write_bytes(content)
        if not self.settings.files:
            text = self.library.to_str(pretty=True)  # the library's own writing takes only names that are UTF-8
            (directory / "tokenizer.json").write_bytes(text.encode())
        text = json.dumps(self._saved_settings(), indent=2, ensure_ascii=False)
        (directory / SETTINGS).write_text(text + "\n", encoding="utf-8")

    def _saved_settings(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.settings.values.items() if name in SAVED}
        prefix = getattr(self.library.pre_tokenizer, "add_prefix_space", None)  # of byte-level BPE
        if prefix is not None:
            kept["add_prefix_space"] = prefix
        added = {str(index): token for index, token in self.library.get_added_tokens_decoder().items()}
        decoder = {index: {name: getattr(token, name) for name in Token._fields} for index, token in added.items()}
        special = {token.content for token in added.values() if token.special} - set(self.roles.values())
        names = ["input_ids", *["token_type_ids"] * self.settings.types, "attention_mask"]
        return {
            **kept,
            "added_tokens_decoder": decoder,
            **self.roles,
            "clean_up_tokenization_spaces": self.settings.cleans,
            "additional_special_tokens": sorted(special, key=lambda token: self.library.token_to_id(token) or 0),
            "model_max_length": self.longest,
            "model_input_names": names,
            "tokenizer_class": self._saved_class(),
        }

    def _saved_class(self) -> str:
        """The tokenizer's class; or PreTrainedTokenizerFast, if transformers would add default tokens for the class."""
        is_byte_level = hasattr(self.library.pre_tokenizer, "add_prefix_space")
        fits = self.settings.name in KINDS and (
            self.settings.is_named or is_byte_level == (self.settings.name in BYTE_LEVEL)
        )
        return (
            self.settings.name
            if fits and self.settings.kind.roles.keys() <= self.roles.keys()
            else "PreTrainedTokenizerFast"
        )


SAVED = (*(name for name in FLAGS if name != "add_prefix_space"), "truncation_side", "padding_side", "extra_ids")
"""The fields of `tokenizer_config.json` that are saved as they were read."""

SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""Strings from whose ends `clean_up_tokenization_spaces` removes the spaces, in order."""

STRATEGIES = ("longest_first", "only_first", "only_second")


def _choice(name: str, value: Any, of_bool: Mapping[bool, str], choices: Sequence[str]) -> str:
    """The choice that a value means. Raises TokenizerError."""
    if isinstance(value, bool):
        return of_bool[value]
    if not isinstance(value, str) or value not in choices:
        raise TokenizerError(f"unknown {name} {value!r:.100}: give one of True, False, {', '.join(choices)}")
    return value


def _kept(encoding: Encoding, limit: int | None, strategy: str, side: str, name: str) -> Sequence[int] | None:
    """The positions of at most `limit` tokens of a text or pair, special tokens included; None for all."""
    if limit is None or len(encoding) <= limit:
        return None
    sequences = encoding.sequence_ids  # 0 or 1; None for special tokens
    counts = sequences.count(0), sequences.count(1)
    left = _shares(*counts, limit - sequences.count(None), strategy)
    if min(left) < 0 or (strategy != "longest_first" and left[STRATEGIES.index(strategy) - 1] == 0):
        part = "first" if strategy == "only_first" else "second"
        raise TokenizerError(
            f'{name} has {len(encoding)} tokens, and truncation="{strategy}" cannot bring it to {limit}, since its '
            f'{part} text has {counts[STRATEGIES.index(strategy) - 1]}: give a larger max_length, or "longest_first"'
        )
    order = range(len(sequences)) if side == "right" else range(len(sequences) - 1, -1, -1)
    kept = []
    for position in order:
        sequence = sequences[position]
        if sequence is not None:
            left[sequence] -= 1
        if sequence is None or left[sequence] >= 0:
            kept.append(position)
    return sorted(kept)


def _shares(first: int, second: int, room: int, strategy: str) -> list[int]:
    """Number of tokens that each text of a pair keeps."""
    if strategy == "only_first":
        return [room - second, second]
    if strategy == "only_second":
        return [first, room - first]
    shorter = min(first, second, room // 2)
    return [room - shorter, shorter] if first > second else [shorter, room - shorter]


def _as_inputs(texts: Any, pairs: Any, is_split_into_words: bool = False) -> list[Any]:
    check = as_words if is_split_into_words else as_texts
    firsts = check(texts, "text")
    if pairs is None:
        return list(firsts)
    seconds = check(pairs, "second text")
    if len(firsts) != len(seconds):
        raise TokenizerError(f"{len(firsts)} texts, but {len(seconds)} second texts (`pairs`): give one for each text")
    return list(zip(firsts, seconds, strict=True))


# --- the tokenizer of a model ---------------------------------------------------------------------------------------


NO_TOKENIZER = (
    "this model has no tokenizer: put tokenizer.json, or vocab.json and merges.txt, next to its weights, or name a "
    "directory or model that has one, as in load(name, tokenizer='roberta-base')"
)


def tokenizer_of(model: Network) -> Tokenizer:
    """The model's tokenizer. Raises TokenizerError if it has none, with the reason if its files cannot be used."""
    if not isinstance(model.tokenizer, Tokenizer):
        raise TokenizerError(getattr(model, "tokenizer_error", None) or NO_TOKENIZER)
    return model.tokenizer


def of_model(
    method: Callable[Concatenate[Tokenizer, Arguments], Result],
) -> Callable[Concatenate[Network, Arguments], Result]:
    """Turn a tokenizer method into a model method with the same signature and docstring."""

    @functools.wraps(method)
    def call(self: Network, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return method(tokenizer_of(self), *args, **kwargs)

    return call
