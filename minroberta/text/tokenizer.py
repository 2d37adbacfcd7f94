"""Text to ids and back, by the tokenizers library: byte-level BPE as RoBERTa has it, or the pieces of XLM-Roberta.

`<s> A </s>` for a text, `<s> A </s></s> B </s>` for a pair, and token types that are all 0 and so left out.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from ..backend.arrays import to_host
from ..checkpoints.files import inside, read_json
from ..config import Config
from ..errors import TokenizerError
from ..model import Network
from . import sentencepiece

if TYPE_CHECKING:
    import tokenizers

SETTINGS = "tokenizer_config.json"
LARGEST_FILE = 18_000_000
"""Bytes; XLM-Roberta's `tokenizer.json` has 9 or, with blanks, 17 million."""

PLAIN = 1_500_000
"""Bytes of a `tokenizer.json` that need no look beforehand: the library makes at most 300 times as many of them."""
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

Text = str | tuple[str, str]
"""One input: a text, or a pair of them."""


class Tokenizer:
    """A tokenizer of the tokenizers library (`.library`), with the padding id and longest input of a model."""

    def __init__(self, library: "tokenizers.Tokenizer", config: Config) -> None:
        self.library = library
        self.pad_token_id, self.longest = config.pad_token_id, config.longest
        self.mask_token_id = library.token_to_id("<mask>")
        self.unk_token_id = library.token_to_id("<unk>")
        self._config, self._lock = config, threading.Lock()  # the library keeps its truncation as a state

    def __reduce__(self) -> tuple[Any, ...]:  # for copies and pickles, which a lock would refuse
        return Tokenizer, (self.library, self._config)

    @classmethod
    def load(cls, directory: Path, config: Config) -> "Tokenizer | None":
        """The tokenizer whose files stand in a directory, or None where none do: the first that `SOURCES` names.

        Raises TokenizerError.
        """
        for names, read in SOURCES:
            if all((directory / name).is_file() for name in names):
                for name in names:
                    inside(directory, name, TokenizerError)
                return cls(read(directory, config), config)
        return None

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        padding: bool = True,
        truncation: bool = True,
        max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> dict[str, numpy.ndarray]:
        """`input_ids` and `attention_mask`, both (B, L) int64, padded on the right; one text is a batch of one.

        pairs: a second text for each. max_length: at most so many tokens, special ones included; by default what the
        model can read. With truncation, the longer text of a pair is cut first; without it, too many are an error
        when the model is called. Without padding all texts must come to one length.

        Raises TokenizerError.
        """
        inputs = _as_inputs(texts, pairs)
        limit = self.longest if max_length is None else max_length
        ids, _ = self.cut(inputs, limit if truncation else None, add_special_tokens)
        lengths = {len(row) for row in ids}
        if not padding and len(lengths) > 1:
            raise TokenizerError(f"texts of {min(lengths)} to {max(lengths)} tokens make no array: give padding=True")
        return self.pad(ids)

    def cut(
        self, inputs: Sequence[Text], limit: int | None = None, add_special_tokens: bool = True
    ) -> tuple[list[list[int]], list[list[int]]]:
        """The ids of each text or pair, at most `limit` of them, and those that were cut off.

        The longer text of a pair is cut first. By hand, since the library would also make what it cuts off into
        windows, of a pair every one of the first text with every one of the second. Raises TokenizerError.
        """
        for paired in {isinstance(text, tuple) for text in inputs}:
            least = self.library.num_special_tokens_to_add(paired) if add_special_tokens else 0
            if limit is not None and limit <= least:
                raise TokenizerError(f"{limit} tokens leave no room for text beside {least} special ones")
        with self._lock:
            self.library.no_truncation()
            with _sentences("the tokenizer fails at a text"):
                encodings = self.library.encode_batch(list(inputs), add_special_tokens=add_special_tokens)
        pairs = [_cut(encoding, limit) for encoding in encodings]
        return [kept for kept, _ in pairs], [rest for _, rest in pairs]

    def windows(
        self, text: str, pair: str | None = None, *, stride: int, max_length: int | None = None
    ) -> list["tokenizers.Encoding"]:
        """What the model reads one after the other of a long text: windows of at most `max_length` tokens.

        Two that follow each other share `stride` tokens. With a pair, the first text stands whole in every window and
        the second is cut; where the first leaves room for no more than `stride` tokens, half of them are shared.

        Raises TokenizerError.
        """
        inputs = _as_inputs(text, pair)
        limit = self.longest if max_length is None else max_length
        with self._lock:
            self.library.no_truncation()
            with _sentences("the tokenizer fails at a text"):
                first = 0 if pair is None else len(self.library.encode(text, add_special_tokens=False))
            room = limit - first - self.library.num_special_tokens_to_add(pair is not None)
            if room < 1:
                beside = f" and a first text of {first}, such as a question: shorten it" if first else ""
                raise TokenizerError(f"{limit} tokens leave no room for text beside the special ones{beside}")
            cut = "only_first" if pair is None else "only_second"
            self.library.enable_truncation(limit, stride=stride if stride < room else room // 2, strategy=cut)
            with _sentences("the tokenizer fails at a text"):
                (encoding,) = self.library.encode_batch(inputs)
            self.library.no_truncation()
        return [encoding, *encoding.overflowing]

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, numpy.ndarray]:
        """`input_ids` and `attention_mask` of rows of ids, (B, L) int64, with pads on the right."""
        lengths = [len(row) for row in ids]
        input_ids = numpy.full((len(ids), max(lengths, default=0)), self.pad_token_id, numpy.int64)  # (B, L)
        for row, values in zip(input_ids, ids, strict=True):
            row[: len(values)] = values
        attention_mask = numpy.arange(input_ids.shape[1])[None, :] < numpy.array(lengths, int)[:, None]
        return {"input_ids": input_ids, "attention_mask": attention_mask.astype(numpy.int64)}

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str | list[str]:
        """The text of one sequence of ids, (L,), or a list of the texts of several, (B, L)."""
        try:
            array = to_host(ids)
        except ValueError as error:
            raise TokenizerError("ids of several texts have one length: pad them, or decode one at a time") from error
        if array.size == 0:
            array = array.astype(int)
        if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
            raise TokenizerError(f"ids are whole numbers, (L,) or (B, L), not {array.dtype} of {array.ndim} dimensions")
        if array.size and not 0 <= array.min() <= array.max() < 2**32:
            raise TokenizerError(f"ids are from 0 up, not {array.min()} to {array.max()}")
        if array.size and self.library.id_to_token(int(array.max())) is None:
            count = self.library.get_vocab_size()
            raise TokenizerError(f"ids hold {array.max()}, which is none of this tokenizer's {count} tokens")
        if array.ndim == 1:
            return self.library.decode(array.tolist(), skip_special_tokens)
        return self.library.decode_batch(array.tolist(), skip_special_tokens)

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`, and `tokenizer_config.json` with what transformers would not take from it."""
        with self._lock:
            self.library.no_truncation()
            self.library.save(str(directory / "tokenizer.json"))
        settings = {
            "model_max_length": self.longest,
            "add_prefix_space": getattr(self.library.pre_tokenizer, "add_prefix_space", False),
        }
        (directory / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _cut(encoding: "tokenizers.Encoding", limit: int | None) -> tuple[list[int], list[int]]:
    """Of the ids of a text or pair at most `limit`, special ones included; and the rest."""
    ids = encoding.ids
    if limit is None or len(ids) <= limit:
        return ids, []
    sequences = encoding.sequence_ids  # 0 or 1; None for special tokens
    first, second = sequences.count(0), sequences.count(1)
    room = limit - sequences.count(None)
    shorter = min(first, second, room // 2)
    left = [room - shorter, shorter] if first > second else [shorter, room - shorter]
    kept: list[int] = []
    rest: list[int] = []
    for token, sequence in zip(ids, sequences, strict=True):
        if sequence is None:
            kept.append(token)
        else:
            left[sequence] -= 1
            (kept if left[sequence] >= 0 else rest).append(token)
    return kept, rest


def _as_inputs(texts: str | Sequence[str], pairs: str | Sequence[str] | None) -> list[Text]:
    firsts = as_texts(texts)
    if pairs is None:
        return list(firsts)
    seconds = as_texts(pairs)
    if len(firsts) != len(seconds):
        raise TokenizerError(f"{len(firsts)} texts and {len(seconds)} pairs: give one for each")
    return list(zip(firsts, seconds, strict=True))


def as_texts(texts: str | Iterable[str]) -> list[str]:
    """The texts of a batch, each looked at; one text is a batch of one. Raises TokenizerError."""
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping):
        raise TokenizerError(f"texts are a str or several, not {type(texts).__name__}")
    result = [texts] if isinstance(texts, str) else list(texts)
    for text in result:
        if not isinstance(text, str):
            raise TokenizerError(f"a text is a str, not {type(text).__name__}")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise TokenizerError("a text holds half a surrogate pair, which is no character: its bytes were not UTF-8")
    return result


# --- files ----------------------------------------------------------------------------------------------------------


def _from_json(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    import tokenizers

    path = directory / "tokenizer.json"
    _check_size(path)
    with _sentences(f"{path} is no tokenizer"):
        if path.stat().st_size > PLAIN:
            _check_counts(json.loads(path.read_text(encoding="utf-8")))
        library = tokenizers.Tokenizer.from_file(str(path))
        if library.normalizer is not None:
            _check_normalizer(json.loads(library.normalizer.__getstate__()))
    library.no_padding()
    return library


@contextlib.contextmanager
def _sentences(beginning: str) -> Iterator[None]:
    """Raise TokenizerError for whatever the library raises, which is plain Exception or a panic."""
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise TokenizerError(f"{beginning}: {error}") from error


def _check_counts(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for more than fits into memory: a process ends where the library finds none."""
    model = settings["model"]
    pieces = model.get("vocab", ())
    counts = {"pieces": pieces, "merges": model.get("merges", ()), "added tokens": settings.get("added_tokens", ())}
    most = (sentencepiece.MOST_PIECES, sentencepiece.MOST_MERGES, sentencepiece.MOST_SYMBOLS)
    for (name, found), count in zip(counts.items(), most, strict=True):
        if len(found or ()) > count:
            raise ValueError(f"it has {len(found)} {name}; at most {count} are read")
    if isinstance(pieces, list):  # of a unigram model, whose beginnings the library holds in a tree
        sentencepiece.check_beginnings(str(piece).encode() for piece, _ in pieces)


def _check_normalizer(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for a table of characters at which the library panics, in a normaliser or in one within."""
    for inner in settings.get("normalizers", ()):
        _check_normalizer(inner)
    sentencepiece.check_charsmap(base64.b64decode(settings.get("precompiled_charsmap", "")))


def _from_vocabulary(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    """RoBERTa's byte-level BPE from `vocab.json` and `merges.txt`, and one setting where there are any."""
    settings = read_json(directory / SETTINGS, TokenizerError) if (directory / SETTINGS).is_file() else {}
    prefix = settings.get("add_prefix_space") is True
    return _from_merges(directory / "vocab.json", directory / "merges.txt", prefix)


def _from_keras(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    return _from_merges(directory / ASSETS / "vocabulary.json", directory / ASSETS / "merges.txt")


def _from_fairseq(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    from ..checkpoints.formats import fairseq  # which brings all that reads its checkpoints

    vocabulary, merges = fairseq.vocabulary(directory)
    return _byte_level(vocabulary, merges, f"{directory / 'vocab.bpe'} and dict.txt")


def _from_keras_pieces(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    return sentencepiece.tokenizer(directory / ASSETS / "vocabulary.spm", sentencepiece.XLM_ROBERTA)


def _from_pieces(directory: Path, config: Config) -> "tokenizers.Tokenizer":
    layout = sentencepiece.LAYOUTS.get(config.model_type, sentencepiece.XLM_ROBERTA)
    return sentencepiece.tokenizer(directory / "sentencepiece.bpe.model", layout)


ASSETS = "assets/tokenizer"

SOURCES: tuple[tuple[tuple[str, ...], Callable[[Path, Config], "tokenizers.Tokenizer"]], ...] = (
    # Before `tokenizer.json`, since a KerasHub preset has a file of this name too, with Keras's own settings in it.
    ((f"{ASSETS}/vocabulary.json", f"{ASSETS}/merges.txt"), _from_keras),
    ((f"{ASSETS}/vocabulary.spm",), _from_keras_pieces),
    (("tokenizer.json",), _from_json),
    (("vocab.json", "merges.txt"), _from_vocabulary),
    (("dict.txt", "encoder.json", "vocab.bpe"), _from_fairseq),
    (("sentencepiece.bpe.model",), _from_pieces),
)
"""The files that make a tokenizer, and what makes it of them; of several the first is taken."""


def _from_merges(vocabulary: Path, merges: Path, prefix: bool = False) -> "tokenizers.Tokenizer":
    """The byte-level BPE of a JSON object from tokens to ids, and of lines with a pair of tokens each."""
    ids = read_json(vocabulary, TokenizerError, LARGEST_FILE)
    _check_size(merges)
    lacking = [name for name in SPECIAL if not isinstance(ids.get(name), int)]
    if lacking:
        raise TokenizerError(f"{vocabulary} has no {', '.join(lacking)}: RoBERTa's special tokens")
    try:
        lines = merges.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{merges} is no text in UTF-8: {error}") from error
    if len(lines) > sentencepiece.MOST_MERGES:
        raise TokenizerError(f"{merges} has {len(lines)} lines; at most {sentencepiece.MOST_MERGES} are read")
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    return _byte_level(ids, pairs, f"{merges} and {vocabulary.name}", prefix)


def _byte_level(ids: dict[str, int], merges: Any, files: str, prefix: bool = False) -> "tokenizers.Tokenizer":
    """RoBERTa's byte-level BPE: each token's id, and the pairs that are merged, the first first."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors

    try:
        library = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>"))
    except Exception as error:  # as above
        raise TokenizerError(f"{files} are no tokenizer: {error}") from error
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), trim_offsets=True, add_prefix_space=prefix
    )
    library.add_special_tokens([tokenizers.AddedToken(name, normalized=True) for name in SPECIAL[:-1]])
    mask = tokenizers.AddedToken("<mask>", lstrip=True, normalized=False)  # it takes the space on its left
    library.add_special_tokens([mask])
    return library


def _check_size(path: Path) -> None:
    if path.stat().st_size > LARGEST_FILE:
        raise TokenizerError(f"{path} has {path.stat().st_size} bytes; at most {LARGEST_FILE} are read")


def tokenizer_of(model: Network) -> Tokenizer:
    """The model's tokenizer. Raises TokenizerError where it has none."""
    if not isinstance(model.tokenizer, Tokenizer):
        raise TokenizerError(
            "this model has no tokenizer: its directory holds neither tokenizer.json nor vocab.json with "
            "merges.txt, nor another format's"
        )
    return model.tokenizer
