"""Text to ids and back, with the tokenizers library: RoBERTa's byte-level BPE, or XLM-Roberta's sentencepiece models.

A text becomes `<s> A </s>`, and a pair becomes `<s> A </s></s> B </s>`. All token types are 0, so they are left out.
"""

import functools
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy

from ..backend.arrays import to_host
from ..config import Config
from ..errors import TokenizerError
from ..model import Network
from . import sources
from .texts import Text, as_texts

if TYPE_CHECKING:
    import tokenizers

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Tokenizer:
    """A tokenizer of the tokenizers library (`.library`), with a model's padding id and maximum length."""

    def __init__(self, library: "tokenizers.Tokenizer", config: Config) -> None:
        self.library = library
        self.pad_token_id, self.longest = config.pad_token_id, config.longest
        self.mask_token_id = library.token_to_id("<mask>")
        self.unk_token_id = library.token_to_id(getattr(library.model, "unk_token", None) or "<unk>")
        self._config, self._lock = config, threading.Lock()  # truncation is state of the library's tokenizer

    def __reduce__(self) -> tuple[Any, ...]:  # for copies and pickles, which cannot hold a lock
        return Tokenizer, (self.library, self._config)

    @classmethod
    def load(cls, directory: Path, config: Config) -> "Tokenizer | None":
        """Load the tokenizer from its files in a directory; `sources.SOURCES` lists the possible files.

        Returns None if there are no such files. Raises TokenizerError.
        """
        library = sources.read(directory, config)
        return None if library is None else cls(library, config)

    def tokenize(
        self,
        texts: str | Iterable[str],
        pairs: str | Iterable[str] | None = None,
        *,
        padding: bool = True,
        truncation: bool = True,
        max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> dict[str, numpy.ndarray]:
        """`input_ids` and `attention_mask`, ready for the model: (B, L) int64, padded on the right.

        texts: a single text (treated as a batch of one), or several texts. pairs: a second text for each text.
        padding: if False, all texts must have the same number of tokens. max_length: maximum number of tokens, special
        tokens included; by default the model's maximum length. truncation: if True, texts beyond `max_length` are
        truncated (in a pair, the longer text first); if False, they are kept whole, but the model rejects a text that
        exceeds its maximum length. add_special_tokens: put `<s>` and `</s>` around the texts.

        Raises TokenizerError.
        """
        inputs = _as_inputs(texts, pairs)
        limit = self.longest if max_length is None else max_length
        ids, _ = self.cut(inputs, limit if truncation else None, add_special_tokens)
        lengths = {len(row) for row in ids}
        if not padding and len(lengths) > 1:
            raise TokenizerError(
                f"texts of {min(lengths)} to {max(lengths)} tokens do not fit into one array: give padding=True"
            )
        return self.pad(ids)

    __call__ = tokenize

    def cut(
        self,
        inputs: Sequence[Text],
        limit: int | None = None,
        add_special_tokens: bool = True,
        first_only: bool = False,
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Tokenize each text or pair. Returns at most `limit` ids for each, and the ids that were cut off.

        The longer text of a pair is cut first. first_only: only the first is cut; if it has too few tokens, the result
        is longer than `limit`. The library's truncation is not used, since it also builds windows of
        the rest: for a pair, each window of the first text is combined with each window of the second. Raises
        TokenizerError.
        """
        for paired in {isinstance(text, tuple) for text in inputs}:
            least = self.library.num_special_tokens_to_add(paired) if add_special_tokens else 0
            if limit is not None and limit <= least:
                raise TokenizerError(f"{limit} tokens leave no room for text besides {least} special tokens")
        with self._lock:
            self.library.no_truncation()
            with sources.library_errors("the tokenizer failed on a text"):
                encodings = self.library.encode_batch(list(inputs), add_special_tokens=add_special_tokens)
        pairs = [_cut(encoding, limit, first_only) for encoding in encodings]
        return [kept for kept, _ in pairs], [rest for _, rest in pairs]

    def windows(
        self, text: str, pair: str | None = None, *, stride: int, max_length: int | None = None
    ) -> list["tokenizers.Encoding"]:
        """Split a long text into windows of at most `max_length` tokens that overlap by `stride` tokens.

        With a pair, each window holds all of the first text and a part of the second. If there is room for
        `stride` or fewer tokens of the second text, the windows overlap by half of that room.

        Raises TokenizerError.
        """
        inputs = _as_inputs(text, pair)
        limit = self.longest if max_length is None else max_length
        with self._lock:
            self.library.no_truncation()
            with sources.library_errors("the tokenizer failed on a text"):
                first = 0 if pair is None else len(self.library.encode(text, add_special_tokens=False))
            room = limit - first - self.library.num_special_tokens_to_add(pair is not None)
            if room < 1:
                also = f" and a first text (or question) of {first} tokens: shorten that text" if first else ""
                raise TokenizerError(f"{limit} tokens leave no room for text besides the special tokens{also}")
            cut = "only_first" if pair is None else "only_second"
            self.library.enable_truncation(limit, stride=stride if stride < room else room // 2, strategy=cut)
            with sources.library_errors("the tokenizer failed on a text"):
                (encoding,) = self.library.encode_batch(inputs)
            self.library.no_truncation()
        return [encoding, *encoding.overflowing]

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, numpy.ndarray]:
        """`input_ids` and `attention_mask` from rows of ids: (B, L) int64, padded on the right."""
        lengths = [len(row) for row in ids]
        input_ids = numpy.full((len(ids), max(lengths, default=0)), self.pad_token_id, numpy.int64)  # (B, L)
        for row, values in zip(input_ids, ids, strict=True):
            row[: len(values)] = values
        attention_mask = numpy.arange(input_ids.shape[1])[None, :] < numpy.array(lengths, int)[:, None]
        return {"input_ids": input_ids, "attention_mask": attention_mask.astype(numpy.int64)}

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str | list[str]:
        """Turn ids into text: a str for one sequence, (L,), or a list of str for several, (B, L).

        Raises TokenizerError.
        """
        array = self._checked_ids(ids)
        if array.ndim == 1:
            return self.library.decode(array.tolist(), skip_special_tokens)
        return self.library.decode_batch(array.tolist(), skip_special_tokens)

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
        """Write `tokenizer.json`, and `tokenizer_config.json` with settings that transformers reads only from there."""
        with self._lock:
            self.library.no_truncation()
            self.library.save(str(directory / "tokenizer.json"))
        settings = {
            "model_max_length": self.longest,
            "add_prefix_space": getattr(self.library.pre_tokenizer, "add_prefix_space", False),
        }
        (directory / sources.SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _cut(encoding: "tokenizers.Encoding", limit: int | None, first_only: bool = False) -> tuple[list[int], list[int]]:
    """At most `limit` ids of a text or pair, special tokens included, and the rest."""
    ids = encoding.ids
    if limit is None or len(ids) <= limit:
        return ids, []
    sequences = encoding.sequence_ids  # 0 or 1; None for special tokens
    first, second = sequences.count(0), sequences.count(1)
    room = limit - sequences.count(None)
    shorter = min(first, second, room // 2)
    left = [room - shorter, shorter] if first > second else [shorter, room - shorter]
    if first_only:
        left = [room - second, second]
    kept: list[int] = []
    rest: list[int] = []
    for token, sequence in zip(ids, sequences, strict=True):
        if sequence is None:
            kept.append(token)
        else:
            left[sequence] -= 1
            (kept if left[sequence] >= 0 else rest).append(token)
    return kept, rest


def _as_inputs(texts: str | Iterable[str], pairs: str | Iterable[str] | None) -> list[Text]:
    firsts = as_texts(texts)
    if pairs is None:
        return list(firsts)
    seconds = as_texts(pairs, "second text")
    if len(firsts) != len(seconds):
        raise TokenizerError(f"{len(firsts)} texts, but {len(seconds)} second texts (`pairs`): give one for each text")
    return list(zip(firsts, seconds, strict=True))


# --- the tokenizer of a model ---------------------------------------------------------------------------------------


def tokenizer_of(model: Network) -> Tokenizer:
    """The model's tokenizer. Raises TokenizerError if it has none."""
    if not isinstance(model.tokenizer, Tokenizer):
        raise TokenizerError(
            "this model has no tokenizer: put tokenizer.json, or vocab.json and merges.txt, next to its weights"
        )
    return model.tokenizer


def of_model(
    method: Callable[Concatenate[Tokenizer, Arguments], Result],
) -> Callable[Concatenate[Network, Arguments], Result]:
    """Turn a tokenizer method into a model method with the same signature and docstring."""

    @functools.wraps(method)
    def call(self: Network, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return method(tokenizer_of(self), *args, **kwargs)

    return call
