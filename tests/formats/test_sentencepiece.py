"""Sentencepiece models: the ids of transformers and KerasHub, and a message for every invalid model."""

import base64
import json
import lzma
import os
import re
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import GOLDEN, ODD_PARTS, alone, raises

from minroberta import Config, TokenizerError
from minroberta.text.sentencepiece import MOST_MERGES, MOST_PIECES, MOST_PREFIXES, Limits, count_prefixes, merges
from minroberta.text.tokenizer import Tokenizer

FILES = GOLDEN / "checkpoints" / "sentencepiece"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
INPUTS = [*EXPECTED["texts"], *map(tuple, EXPECTED["pairs"])]
REAL = {
    "unigram": lzma.decompress((FILES / "unigram.model.xz").read_bytes()),
    "bpe": (FILES / "bpe.model").read_bytes(),
}
KINDS = [(name, model_type) for name in REAL for model_type in ("xlm-roberta", "camembert")]
kinds = pytest.mark.parametrize(("name", "model_type"), KINDS)


def read(directory: Path, data: bytes, model_type: str = "xlm-roberta") -> Tokenizer:
    (directory / "sentencepiece.bpe.model").write_bytes(data)
    tokenizer = Tokenizer.load(directory, Config.from_dict({"model_type": model_type}))
    assert tokenizer is not None
    return tokenizer


def ids(tokenizer: Tokenizer, inputs: Iterable[Any] = INPUTS) -> list[list[int]]:
    return tokenizer.rows(list(inputs))


# --- ids of other libraries -------------------------------------------------------------------------------------------


@kinds
def test_as_the_fast_tokenizer(name: str, model_type: str, tmp_path: Path) -> None:
    expected = EXPECTED[f"{name} {model_type} fast"]
    for given_, own, theirs in zip(INPUTS, ids(read(tmp_path, REAL[name], model_type)), expected, strict=True):
        assert own == theirs, given_


SLOW_DIFFERS = {
    "unigram xlm-roberta": {"  <mask>  ", "＜mask＞ ＜s＞ <MASK> <mask"},
    "unigram camembert": {"＜mask＞ ＜s＞ <MASK> <mask"},
    "bpe xlm-roberta": {"  <mask>  ", "<sep> one<sep>two <mode>", "▁Hello ▁ world▁"},
    "bpe camembert": {"<sep> one<sep>two <mode>", "▁Hello ▁ world▁"},
}
"""Where transformers' two tokenizers are not at one: specials in other letters or among blanks, and symbols."""


@kinds
def test_as_the_slow_tokenizer(name: str, model_type: str, tmp_path: Path) -> None:
    expected = EXPECTED[f"{name} {model_type} slow"]
    rows = zip(INPUTS, ids(read(tmp_path, REAL[name], model_type)), expected, strict=True)
    assert {text for text, own, theirs in rows if own != theirs} == SLOW_DIFFERS[f"{name} {model_type}"]


@pytest.mark.parametrize("name", REAL)
def test_as_keras_hub(name: str, tmp_path: Path) -> None:
    """KerasHub's tokenizer looks for no special tokens in a text, and adds none."""
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    (tmp_path / "assets" / "tokenizer" / "vocabulary.spm").write_bytes(REAL[name])
    (tmp_path / "tokenizer.json").write_text(
        '{"class_name": "XLMRobertaTokenizer"}'
    )  # KerasHub's settings, not a tokenizer
    tokenizer = Tokenizer.load(tmp_path, Config.from_dict({"model_type": "camembert"}))
    assert tokenizer is not None
    rows = zip(EXPECTED["texts"], ids(tokenizer, EXPECTED["texts"]), EXPECTED[f"{name} xlm-roberta keras"], strict=True)
    plain = [row for row in rows if not any(mark in row[0] for mark in "<＜▁")]
    assert len(plain) > 20
    for text, own, theirs in plain:
        assert own == [0, *theirs, 2], text


@pytest.mark.parametrize(
    ("model_type", "specials"),
    [
        ("xlm-roberta", {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 191}),
        ("roberta", {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 191}),
        ("camembert", {"<s>": 5, "<pad>": 1, "</s>": 6, "<unk>": 3, "<mask>": 194, "<unk>NOTUSED": 4}),
    ],
)
def test_special_tokens(model_type: str, specials: dict[str, int], tmp_path: Path) -> None:
    tokenizer = read(tmp_path, REAL["unigram"], model_type)
    assert {name: tokenizer.library.token_to_id(name) for name in specials} == specials
    assert tokenizer.mask_token_id == specials["<mask>"] == tokenizer.library.get_vocab_size() - 1
    assert tokenizer.unk_token_id == 3
    assert tokenizer.decode([specials["<s>"], specials["<mask>"]], skip_special_tokens=True) == ""


@kinds
def test_decode(name: str, model_type: str, tmp_path: Path) -> None:
    tokenizer = read(tmp_path, REAL[name], model_type)
    (row,) = ids(tokenizer, ["Hello world! Où est-il ?"])
    assert tokenizer.decode(row, skip_special_tokens=True) == "Hello world! Où est-il ?"


@kinds
def test_saved_and_read_again(name: str, model_type: str, tmp_path: Path) -> None:
    tokenizer = read(tmp_path, REAL[name], model_type)
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    again = Tokenizer.load(tmp_path / "saved", Config.from_dict({"model_type": model_type}))
    assert again is not None
    assert ids(again) == ids(tokenizer)


@kinds
def test_methods_of_a_tokenizer(name: str, model_type: str, tmp_path: Path) -> None:
    tokenizer = read(tmp_path, REAL[name], model_type)
    (long,) = tokenizer.rows([("Hello world! " * 9, "Hello")], 20)
    assert len(long) == 20
    assert long.rest
    windows = tokenizer.windows("Hello world! " * 9, stride=3, max_length=12)
    assert all(len(window.ids) <= 12 for window in windows)
    assert tokenizer(["Hello", ""])["input_ids"][1, 2:].tolist() == [1] * (len(ids(tokenizer, ["Hello"])[0]) - 2)


# --- models made by hand ----------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """A number as protobuf writes it."""
    head, low = divmod(value, 128)
    return bytes([low | 128]) + number(head) if head else bytes([low])


def field(index: int, value: int | float | bytes | str) -> bytes:
    """A field as protobuf writes it."""
    if isinstance(value, int):
        return number(index << 3) + number(value)
    if isinstance(value, float):
        return number(index << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return number(index << 3 | 2) + number(len(data)) + data


def piece(text: str | bytes, score: float = -1.0, kind: int = 1) -> bytes:
    return field(1, field(1, text) + field(2, score) + field(3, kind))


SPECIAL = piece("<unk>", 0.0, 2) + piece("<s>", 0.0, 3) + piece("</s>", 0.0, 3)
WORDS = SPECIAL + piece("▁") + piece("a") + piece("b") + piece("ab", -0.5)


def model(algorithm: int = 1, charsmap: bytes = b"", pieces: bytes = WORDS) -> bytes:
    return pieces + field(2, field(3, algorithm)) + field(3, field(2, charsmap))


@pytest.mark.parametrize("algorithm", [1, 2])
def test_a_model_made_by_hand(algorithm: int, tmp_path: Path) -> None:
    tokenizer = read(tmp_path, model(algorithm))
    assert ids(tokenizer, ["ab ba", "z", "a<mask>"]) == [[0, 4, 7, 4, 6, 5, 2], [0, 4, 3, 2], [0, 4, 5, 8, 2]]


def test_unigram_is_the_default(tmp_path: Path) -> None:
    """A piece's score is 0 by default, and its kind normal; unknown fields are ignored."""
    bare = field(1, field(1, "c")) + field(4, b"unknown") + b"\x69" + bytes(8) + field(200, 5)
    assert ids(read(tmp_path, WORDS + bare), ["c ab"]) == [[0, 4, 8, 4, 7, 2]]


def test_an_unknown_character_costs_more_than_the_worst_piece(tmp_path: Path) -> None:
    """In Camembert the worst piece is a special token that no text has, so two bad pieces cost less than an unknown."""
    words = model(pieces=SPECIAL + piece("▁") + piece("za", -50.0) + piece("b", -50.0) + piece("ab"))
    assert ids(read(tmp_path, words), ["zab"]) == [[0, 4, 3, 7, 2]]
    assert ids(read(tmp_path, words, "camembert"), ["zab"]) == [[5, 7, 8, 9, 6]]


def test_the_best_score_is_merged_first(tmp_path: Path) -> None:
    words = SPECIAL + b"".join(piece(text, 0.0) for text in "▁abc") + piece("ab", -2.0) + piece("bc", -1.0)
    assert ids(read(tmp_path, model(2, pieces=words)), ["abc"]) == [[0, 4, 5, 9, 2]]


def test_merges() -> None:
    """A piece's merges begin with its longest first part; pieces of equal score keep their order."""
    scores = {"a": 0.0, "b": 0.0, "aa": -3.0, "ab": -2.0, "aab": -1.0, "ba": -2.0}
    assert merges(scores) == [("aa", "b"), ("a", "ab"), ("a", "b"), ("b", "a"), ("a", "a")]


pieces = st.sets(st.text("ab▁é", min_size=1, max_size=5))


@given(pieces)
def test_prefixes_are_nodes(some: set[str]) -> None:
    texts = [text.encode() for text in some]
    assert count_prefixes(sorted(texts)) == len({text[: i + 1] for text in texts for i in range(len(text))})


def test_control_and_user_defined_symbols(tmp_path: Path) -> None:
    """Control symbols are special tokens; user-defined ones are not; both are found whole in a text."""
    words = WORDS + piece("<ctl>", 0.0, 3) + piece("<own>", 0.0, 4)
    tokenizer = read(tmp_path, model(pieces=words))
    (row,) = ids(tokenizer, ["a<ctl>b<own>a"])
    assert row == [0, 4, 5, 8, 4, 6, 9, 4, 5, 2]
    assert tokenizer.decode(row, skip_special_tokens=True) == "a b<own> a"


# --- hostile models ---------------------------------------------------------------------------------------------------


@contextmanager
def refused(*telling: str) -> Iterator[None]:
    """Expect, at once, a TokenizerError that names the file and says these things."""
    start = time.perf_counter()
    with raises(TokenizerError, ValueError, "sentencepiece.bpe.model", *telling):
        yield
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("data", [b"", b"\0", b"\n", b"hello, world", b"\xff" * 1000, b"PK\x03\x04" + bytes(100)])
def test_tiny_files(data: bytes, tmp_path: Path) -> None:
    with refused(f"({len(data)} bytes) is not a valid sentencepiece model, or is incomplete"):
        read(tmp_path, data)


def test_truncations(tmp_path: Path) -> None:
    """A truncated model is refused, except for a cut between two fields: pieces alone are a model."""
    whole = REAL["bpe"]
    for size in range(0, len(whole), 7):
        try:
            tokenizer = read(tmp_path, whole[:size])
        except TokenizerError as error:
            assert "is not a valid sentencepiece model, or is incomplete" in str(error)
        else:
            assert tokenizer.library.get_vocab_size() <= 322


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").touch()
    os.truncate(tmp_path / "sentencepiece.bpe.model", 2**40)  # sparse: it takes no space on the disk
    with refused("has more than 32000000 bytes, which is the limit"):
        Tokenizer.load(tmp_path, Config())


LIES = {
    "a length beyond the end": (b"\n\xff\xff\xff\x7f<unk>", "is invalid or truncated"),
    "a length of 64 bits": (b"\n" + b"\xff" * 9 + b"\x01", "is invalid or truncated"),
    "a number without end": (b"\x08" + b"\xff" * 100, "an integer has more than 64 bits"),
    "a group": (WORDS + b"\x0b", "is invalid or truncated"),
    "text of Latin-1": (model(pieces=WORDS + piece(b"\xe9")), "can't decode byte 0xe9"),
    "half a surrogate pair": (model(pieces=WORDS + piece(b"\xed\xa0\x80")), "can't decode byte 0xed"),
    "no piece": (field(2, field(3, 1)), "its first pieces must be <unk>, <s>, </s>"),
    "no unk": (model(pieces=piece("<s>") + piece("</s>") + piece("a")), "its first pieces must be <unk>, <s>, </s>"),
    "T5's order": (model(pieces=piece("<pad>") + piece("</s>") + piece("<unk>")), "its first pieces must be <unk>"),
    "an empty piece": (model(pieces=WORDS + piece("")), "it has a piece of 0 bytes; a piece must be 1 to 256"),
    "a piece of nothing": (model(pieces=WORDS + field(1, b"")), "it has a piece of 0 bytes"),
    "a long piece": (model(pieces=WORDS + piece("a" * 257)), "it has a piece of 257 bytes; a piece must be 1 to 256"),
    "a piece twice": (model(pieces=WORDS + piece("ab")), "it contains the piece 'ab' twice"),
    "a special token": (
        model(pieces=WORDS + piece("<mask>")),
        "one of its pieces has the name of a special token: <s>, <pad>, </s>, <unk> or",
    ),
    "NaN": (model(pieces=WORDS + piece("c", float("nan"))), "has the score nan"),
    "infinity": (model(pieces=WORDS + piece("c", float("-inf"))), "has the score -inf"),
    "half a score": (model(pieces=WORDS + field(1, field(1, "c") + b"\x15\0\0")), "is invalid or truncated"),
    "words": (model(3), "unsupported algorithm 3: only 1 (unigram) and 2 (BPE) are supported"),
    "a huge algorithm": (model(2**63), "unsupported algorithm 9223372036854775808"),
    "many symbols": (
        model(pieces=WORDS + b"".join(piece(f"<{i}>", 0.0, 3 + i % 2) for i in range(10_001))),
        "it has 10003 control and user-defined symbols; the limit is 10000",
    ),
}


@pytest.mark.parametrize(("data", "words"), LIES.values(), ids=LIES)
def test_invalid_models(data: bytes, words: str, tmp_path: Path) -> None:
    with refused(words):
        read(tmp_path, data)


ALONE = """
import sys
from pathlib import Path
from minroberta import Config, TokenizerError
from minroberta.text.tokenizer import Tokenizer
try:
    print(Tokenizer.load(Path(sys.argv[1]), Config()).library.get_vocab_size())
except TokenizerError as error:
    print(error)
"""


def read_alone(directory: Path, data: bytes) -> str:
    """The output of a new process that reads a model, within 500 MB of memory and 5 s of processor time."""
    (directory / "sentencepiece.bpe.model").write_bytes(data)
    return alone(ALONE, directory)


def distinct(count: int, length: int) -> list[bytes]:
    """`count` random words, no two of them the same."""
    random = np.random.default_rng(0).integers(ord("a"), ord("z") + 1, (count, length), np.uint8)
    return sorted({row.tobytes() for row in random})


def binary(longest: int) -> list[str]:
    """All words of two letters, up to a length: each has as many merges as gaps between letters."""
    return [format(i, f"0{length}b").replace("0", "o") for length in range(1, longest + 1) for i in range(2**length)]


SIGNS = [f"{chr(0x4E00 + i // 1000)}{chr(0x4E00 + i % 1000)}" for i in range(300_000)]

LARGE = {
    "prefixes": (1, distinct(30_000, 250), "its pieces have 74.* distinct prefixes; the limit for its size is 1200000"),
    "nearly as many": (1, distinct(200_000, 8), "^200005$"),
    "merges": (2, binary(15), "its pieces have more than 700000 merges"),
    "nearly as many merges": (2, binary(14), "^32771$"),
    "pieces": (1, SIGNS, "it has more than 300000 pieces"),
    "nearly as many pieces": (1, SIGNS[:-3], "^300002$"),
}


@pytest.mark.parametrize(
    ("algorithm", "words", "telling"),
    [pytest.param(*x, id=name, marks=[pytest.mark.slow] * (name != "prefixes")) for name, x in LARGE.items()],
)
def test_large_models(algorithm: int, words: list[bytes | str], telling: str, tmp_path: Path) -> None:
    pieces = SPECIAL + b"".join(field(1, field(1, word)) for word in words)
    assert re.search(telling, read_alone(tmp_path, model(algorithm, pieces=pieces)))


def test_albert_splits_a_comma_from_a_number(tmp_path: Path) -> None:
    pieces = piece("<unk>") + piece("[CLS]", 0.0, 4) + piece("[SEP]", 0.0, 4)
    pieces += b"".join(piece(text, -1.0) for text in ("▁1", ",", "▁1,", "▁a,"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "AlbertTokenizer"}')
    assert ids(read(tmp_path, model(pieces=pieces)), ["1, a,"]) == [[1, 3, 4, 6, 2]]


def test_limits_follow_the_size_of_the_file() -> None:
    """XLM-V's files have 901,629 pieces, in 17 MB as a sentencepiece model and in 26 MB as a `tokenizer.json`."""
    for size, large in ((17_371_743, 8_000_000), (25_633_290, 18_000_000)):
        assert Limits.of(size, large).pieces > 901_629
        assert Limits.of(size, large).prefixes * 300 <= 100 * size
        assert Limits.of(large - 1, large) == (MOST_PIECES, MOST_PREFIXES, MOST_MERGES)


# --- hostile tables of characters -------------------------------------------------------------------------------------


def charsmap(units: list[int], texts: bytes = b"") -> bytes:
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


LEAF, VALUE = 1 << 8, 1 << 31


def replacing(texts: bytes, value: int = 0) -> bytes:
    """A table that replaces `a` by the text at an offset: the root's children are at 256 xor their label."""
    units = [0] * 768
    units[0] = 256 << 10
    units[256 ^ ord("a")] = ord("a") | LEAF | ((512 ^ 256 ^ ord("a")) << 10)
    units[512] = VALUE | value
    return charsmap(units, texts)


def test_a_table_made_by_hand(tmp_path: Path) -> None:
    assert ids(read(tmp_path, model(charsmap=replacing(b"ab\0"))), ["a", "ba"]) == [[0, 4, 7, 2], [0, 4, 6, 7, 2]]
    assert ids(read(tmp_path, model(charsmap=replacing("éb\0".encode(), 2))), ["a"]) == [[0, 4, 6, 2]]
    assert ids(read(tmp_path, model(charsmap=replacing(b"ab\0", 3))), ["ab"]) == [[0, 4, 6, 2]]


TABLES = {
    "nothing": (b"\0\0\0", "has 3 bytes, but states that its trie has 0"),
    "no trie": (charsmap([]) + b"abc", "has 7 bytes, but states that its trie has 0"),
    "half a unit": (struct.pack("<I", 6) + bytes(100), "but states that its trie has 6"),
    "a trie longer than the table": (struct.pack("<I", 1000) + bytes(996), "but states that its trie has 1000"),
    "a huge trie": (struct.pack("<I", 2**32 - 4) + bytes(996), "but states that its trie has 4294967292"),
    "a root without children": (charsmap([0]), "its character map points outside its trie"),
    "a root far off": (charsmap([0x3FFFFF << 10] + [0] * 255), "its character map points outside its trie"),
    "a leaf as root": (charsmap([VALUE] + [0] * 255), "its character map points outside its trie"),
    "a child far off": (charsmap([0] * 97 + [97 | 1 << 20] + [0] * 158), "its character map points outside its trie"),
    "a text outside": (replacing(b"ab\0", 4), "its character map points outside its texts"),
    "a text far outside": (replacing(b"ab\0", 2**31 - 1), "its character map points outside its texts"),
    "half a character": (replacing("éb\0".encode(), 1), "its character map points outside its texts"),
    "no UTF-8": (replacing(b"\xff\0"), "Cannot parse precompiled_charsmap"),
    "a text of a book": (replacing(b"ab" * 129), "its character map has a replacement of more than 256 bytes"),
}


@pytest.mark.parametrize(("table", "words"), TABLES.values(), ids=TABLES)
def test_invalid_tables(table: bytes, words: str, tmp_path: Path) -> None:
    with refused(words):
        read(tmp_path, model(charsmap=table))


# --- any bytes --------------------------------------------------------------------------------------------------------

TEXT = "".join(EXPECTED["texts"]) + "".join(ODD_PARTS)


def survives(directory: Path, data: bytes) -> None:
    """Expect a tokenizer that works or an error; a panic of the library, not an Exception, fails the test."""
    try:
        tokenizer = read(directory, data)
    except TokenizerError as error:
        assert "sentencepiece.bpe.model" in str(error)
    else:
        assert len(ids(tokenizer, [TEXT])[0]) >= 2


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(tmp_path_factory.mktemp("any"), data)


@given(st.sampled_from([1, 2]), st.lists(st.tuples(st.text(), st.floats(width=32), st.integers(0, 7))), st.binary())
@example(1, [("\0", 0.0, 4), (" ", 0.0, 3)], b"")
def test_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, algorithm: int, some: list[tuple[str, float, int]], table: bytes
) -> None:
    words = WORDS + b"".join(piece(text, score, kind) for text, score, kind in some)
    survives(tmp_path_factory.mktemp("pieces"), model(algorithm, table, words))


changes = st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=8)


@given(st.sampled_from([*REAL]), changes)
def test_real_models_with_some_bytes_changed(
    tmp_path_factory: pytest.TempPathFactory, name: str, some: list[tuple[int, int]]
) -> None:
    data = bytearray(REAL[name])
    for place, byte in some:
        data[place % len(data)] = byte
    survives(tmp_path_factory.mktemp("changed"), bytes(data))


@given(changes)
def test_tables_with_some_bytes_changed(tmp_path_factory: pytest.TempPathFactory, some: list[tuple[int, int]]) -> None:
    table = bytearray(replacing("ab\0é\0".encode()))
    for place, byte in some:
        table[place % len(table)] = byte
    survives(tmp_path_factory.mktemp("table"), model(charsmap=bytes(table)))


@pytest.mark.parametrize("name", ["a leaf as root", "a child far off", "a text outside", "a text of a book"])
def test_invalid_tables_in_a_tokenizer_json(name: str, tmp_path: Path) -> None:
    """A tokenizer.json may hold such a table for a normaliser, also for one nested in another."""
    table, _ = TABLES[name]
    library = read(tmp_path, model(charsmap=replacing(b"ab\0"))).library
    settings = json.loads(library.to_str())
    settings["normalizer"]["normalizers"][0]["precompiled_charsmap"] = base64.b64encode(table).decode()
    settings["normalizer"] = {"type": "Sequence", "normalizers": [settings["normalizer"]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    with raises(TokenizerError, ValueError, "tokenizer.json is not a valid tokenizer"):
        Tokenizer.load(tmp_path, Config())
