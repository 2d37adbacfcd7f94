"""Text to ids and back, with the real files of roberta-base: tokenizer.json, and vocab.json with merges.txt alone."""

import copy
import json
import lzma
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import ODD_PARTS, tiny

from minroberta import Config, Model, TokenizerError
from minroberta.text.tokenizer import Tokenizer

DATA = Path(__file__).parent / "data" / "roberta-base"
FILES = {"json": ["tokenizer.json"], "vocabulary": ["vocab.json", "merges.txt"]}
CONFIG = Config.from_dict({"model_type": "roberta", "max_position_embeddings": 514})
START, PAD, END, MASK = 0, 1, 2, 50264


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """Two tokenizers, by the files that they were read from."""
    return {kind: read(unpacked(tmp_path_factory.mktemp(kind), *files)) for kind, files in FILES.items()}


@pytest.fixture(scope="session", params=FILES)
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers[request.param]


def unpacked(directory: Path, *files: str) -> Path:
    for file in files:
        (directory / file).write_bytes(lzma.decompress((DATA / f"{file}.xz").read_bytes()))
    return directory


def read(directory: Path) -> Tokenizer:
    tokenizer = Tokenizer.load(directory, CONFIG)
    assert tokenizer is not None
    return tokenizer


def ids(tokenizer: Tokenizer, *arguments: Any, **options: Any) -> list[list[int]]:
    return tokenizer(*arguments, **options)["input_ids"].tolist()


# --- published ids --------------------------------------------------------------------------------------------------

PUBLISHED = [
    # facebookresearch/fairseq@3d262bb: examples/roberta/README.md
    ("Hello world!", None, True, [0, 31414, 232, 328, 2]),
    # huggingface/transformers: test_tokenization_roberta.py
    ("A, <mask> AllenNLP sentence.", None, True, [0, 250, 6, 50264, 3823, 487, 21992, 3645, 4, 2]),
    # keras-team/keras-hub: roberta_tokenizer_test.py
    ("The quick brown fox.", None, False, [133, 2119, 6219, 23602, 4]),
    # explosion/spacy-curated-transformers: test_bbpe_encoder.py (two)
    ("I saw a girl with a telescope.", None, True, [0, 100, 794, 10, 1816, 19, 10, 27608, 4, 2]),
    ("Today we will eat poké bowl.", None, True, [0, 5625, 52, 40, 3529, 181, 48344, 5749, 4, 2]),
    # elixir-nx/bumblebee (two)
    ("Test sentence with <mask>.", None, True, [0, 34603, 3645, 19, 50264, 4, 2]),
    ("Question?", "Answer", True, [0, 45641, 116, 2, 2, 33683, 2]),
    # huggingface/transformers: roberta_dict_integration_testing; its text ends in " 418", which its ids leave out
    ("Hello world! cécé herlolip", None, True, [0, 31414, 232, 328, 740, 1140, 12695, 69, 46078, 1588, 2]),
]


@pytest.mark.parametrize(("text", "pair", "special", "expected"), PUBLISHED)
def test_published(text: str, pair: str | None, special: bool, expected: list[int], tokenizer: Tokenizer) -> None:
    encoded = tokenizer(text, pair, add_special_tokens=special)
    assert encoded["input_ids"].tolist() == [expected]
    assert encoded["attention_mask"].tolist() == [[1] * len(expected)]


# --- properties -----------------------------------------------------------------------------------------------------

SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", " <mask>", "<mask> ", "<mask", "</s>\n"]
ordinary = st.lists(st.text() | st.sampled_from(ODD_PARTS)).map("".join)
any_text = st.lists(st.text() | st.sampled_from(ODD_PARTS + SPECIAL)).map("".join)


@given(any_text)
@example("".join(SPECIAL))
@example("a <mask> <mask><mask>  <mask>b")
def test_both_sources_agree(tokenizers: dict[str, Tokenizer], text: str) -> None:
    first, second = (ids(tokenizer, text) for tokenizer in tokenizers.values())
    assert first == second
    assert tokenizers["json"].decode(first) == tokenizers["vocabulary"].decode(second)


@given(st.lists(st.tuples(any_text, any_text), max_size=4), st.integers(5, 20))
def test_both_sources_agree_on_pairs(tokenizers: dict[str, Tokenizer], pairs: list, length: int) -> None:
    texts, others = [text for text, _ in pairs], [other for _, other in pairs]
    first, second = (tokenizer(texts, others, max_length=length) for tokenizer in tokenizers.values())
    assert all(np.array_equal(first[name], second[name]) for name in first)


@given(ordinary.filter(lambda text: not any(special.strip() in text for special in SPECIAL)))
def test_decode_inverts_tokenize(tokenizers: dict[str, Tokenizer], text: str) -> None:
    for tokenizer in tokenizers.values():
        bare = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
        assert tokenizer.decode(bare[0]) == text
        whole = tokenizer(text, truncation=False)["input_ids"]
        assert tokenizer.decode(whole, skip_special_tokens=True) == [text]
        assert tokenizer.decode(whole[0]) == f"<s>{text}</s>"


@given(st.lists(any_text, min_size=1, max_size=5))
def test_a_batch_is_its_texts_padded_on_the_right(tokenizers: dict[str, Tokenizer], texts: list[str]) -> None:
    tokenizer = tokenizers["json"]
    encoded = tokenizer(texts)
    for text, row, mask in zip(texts, *encoded.values(), strict=True):
        (alone,) = ids(tokenizer, text)
        pads = len(row) - len(alone)
        assert row.tolist() == alone + [PAD] * pads
        assert mask.tolist() == [1] * len(alone) + [0] * pads


# --- arguments ------------------------------------------------------------------------------------------------------


def test_arrays_are_ready_for_the_model(tokenizer: Tokenizer) -> None:
    encoded = tokenizer(["Hello world!", "Hello"])
    assert list(encoded) == ["input_ids", "attention_mask"]
    assert {array.dtype for array in encoded.values()} == {np.dtype("int64")}
    assert encoded["input_ids"].tolist() == [[0, 31414, 232, 328, 2], [0, 31414, 2, PAD, PAD]]
    assert encoded["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_padding_is_the_configurations(tokenizer: Tokenizer) -> None:
    other = Tokenizer(tokenizer.library, Config.from_dict({"model_type": "roberta", "pad_token_id": 7}))
    assert ids(other, ["Hello", ""]) == [[0, 31414, 2], [0, 2, 7]]


def test_one_text_is_a_batch_of_one(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "Hello") == ids(tokenizer, ["Hello"]) == ids(tokenizer, ("Hello",)) == [[0, 31414, 2]]
    assert ids(tokenizer, "Hello", "Hello") == ids(tokenizer, ["Hello"], ["Hello"]) == [[0, 31414, 2, 2, 31414, 2]]


def test_strings_of_numpy_are_texts(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, np.array(["Hello", ""])) == [[0, 31414, 2], [0, 2, PAD]]


def test_an_iterator_is_a_batch(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, iter(["Hello"]), (text for text in ["Hello"])) == [[0, 31414, 2, 2, 31414, 2]]


def test_empty_texts_and_batches(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "") == [[START, END]]
    assert ids(tokenizer, "", "") == [[START, END, END, END]]
    assert tokenizer("", add_special_tokens=False)["input_ids"].shape == (1, 0)
    assert tokenizer([])["input_ids"].shape == tokenizer([], [])["attention_mask"].shape == (0, 0)


def test_mask_takes_the_space_before_it(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "A <mask>.") == ids(tokenizer, "A<mask>.") == [[START, 250, MASK, 4, END]]


def test_special_tokens_within_a_text(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "A</s><s>A<pad><unk>") == [[START, 250, END, START, 250, PAD, 3, END]]


def test_without_special_tokens(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "Hello", add_special_tokens=False) == [[31414]]
    assert ids(tokenizer, "Hello", "Hello", add_special_tokens=False) == [[31414, 31414]]


# --- truncation -----------------------------------------------------------------------------------------------------

LONG = " a" * 600


def test_a_text_is_cut_to_the_models_length(tokenizer: Tokenizer) -> None:
    (row,) = ids(tokenizer, LONG)
    assert len(row) == CONFIG.longest == 512
    assert (row[0], row[-1]) == (START, END)


def test_max_length_counts_special_tokens(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, LONG, max_length=3) == [[START, 10, END]]
    assert ids(tokenizer, LONG, max_length=3, add_special_tokens=False) == [[10, 10, 10]]
    assert len(ids(tokenizer, LONG, max_length=700)[0]) == 602


def test_the_longer_text_of_a_pair_is_cut_first(tokenizer: Tokenizer) -> None:
    long, short = " a" * 20, " b b b"
    assert ids(tokenizer, long, short, max_length=14) == [[START] + [10] * 7 + [END, END] + [741] * 3 + [END]]
    assert ids(tokenizer, short, long, max_length=14) == [[START] + [741] * 3 + [END, END] + [10] * 7 + [END]]
    assert ids(tokenizer, long, long, max_length=14) == [[START] + [10] * 5 + [END, END] + [10] * 5 + [END]]


def test_without_truncation(tokenizer: Tokenizer) -> None:
    tokenizer("a", max_length=4)  # is not remembered
    assert len(ids(tokenizer, LONG, truncation=False)[0]) == 602
    assert len(ids(tokenizer, LONG, truncation=False, max_length=4)[0]) == 602


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("a",), {"max_length": 2}),
        (("a",), {"max_length": 0}),
        (("a",), {"max_length": -1}),
        (("a", "b"), {"max_length": 4}),
        (("a",), {"max_length": 0, "add_special_tokens": False}),
    ],
)
def test_max_length_leaves_room_for_text(arguments: tuple, options: dict[str, Any], tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=f"{options['max_length']} tokens leave no room"):
        tokenizer(*arguments, **options)


def test_threads_do_not_mix_up_their_lengths(tokenizers: dict[str, Tokenizer]) -> None:
    def lengths(length: int) -> set[int]:
        return {tokenizers["json"](LONG, max_length=length)["input_ids"].shape[1] for _ in range(40)}

    wanted = [5, 9, 50, 400]
    with ThreadPoolExecutor(len(wanted)) as pool:
        assert list(pool.map(lengths, wanted)) == [{length} for length in wanted]


@given(st.lists(any_text | st.tuples(any_text, any_text), max_size=4), st.integers(5, 30))
def test_cut_as_the_library_cuts(tokenizers: dict[str, Tokenizer], texts: list, limit: int) -> None:
    """Kept and cut ids together are all ids."""
    tokenizer = tokenizers["json"]
    kept, whole = tokenizer.rows(texts, limit), tokenizer.rows(texts)
    assert not any(row.rest for row in whole)
    assert [sorted(row + row.rest) for row in kept] == [sorted(row) for row in whole]
    tokenizer.library.enable_truncation(limit)
    expected = [encoding.ids for encoding in tokenizer.library.encode_batch(texts)]
    tokenizer.library.no_truncation()
    assert kept == expected


@pytest.mark.slow
def test_a_pair_of_very_long_texts(tokenizer: Tokenizer) -> None:
    """The library would make a window of each piece of one with each piece of the other: millions."""
    (row,) = ids(tokenizer, " a" * 200_000, " b" * 200_000)
    assert row == [START] + [10] * 254 + [END, END] + [741] * 254 + [END]


@given(any_text, st.integers(8, 30), st.integers(0, 5))
def test_windows_share_their_tokens(tokenizers: dict[str, Tokenizer], text: str, length: int, stride: int) -> None:
    tokenizer = tokenizers["json"]
    first, *others = tokenizer.windows(text, stride=stride, max_length=length)
    read = first.ids[1:-1]
    for window in others:
        assert (window.ids[0], window.ids[-1]) == (START, END)
        assert len(window.ids) <= length
        assert window.ids[1:-1][:stride] == read[len(read) - stride :]
        read += window.ids[1:-1][stride:]
    assert [START, *read, END] == tokenizer.library.encode(text).ids  # unchanged, without truncation


def test_windows_of_a_pair(tokenizer: Tokenizer) -> None:
    windows = tokenizer.windows(" b", " a" * 9, stride=2, max_length=10)
    assert [window.ids for window in windows] == [[START, 741, END, END, *[10] * 5, END]] * 2 + [
        [START, 741, END, END, 10, 10, 10, END]
    ]
    assert [window.offsets[4] for window in windows] == [(1, 2), (7, 8), (13, 14)]


def test_windows_share_half_where_there_is_little_room(tokenizer: Tokenizer) -> None:
    windows = tokenizer.windows(" b" * 4, " a" * 6, stride=8, max_length=12)
    assert [window.offsets[7] for window in windows] == [(1, 2), (5, 6)]
    with pytest.raises(TokenizerError, match=r"besides the special tokens and a first text of 8 tokens"):
        tokenizer.windows(" b" * 8, "a", stride=1, max_length=12)
    with pytest.raises(TokenizerError, match="2 tokens leave no room"):
        tokenizer.windows("a", stride=0, max_length=2)


def test_threads_do_not_mix_up_their_windows(tokenizers: dict[str, Tokenizer]) -> None:
    def counts(length: int) -> set[int]:
        return {len(tokenizers["json"].windows(LONG, stride=1, max_length=length)) for _ in range(40)}

    wanted = {5: 300, 9: 100, 50: 13, 400: 2}
    with ThreadPoolExecutor(len(wanted)) as pool:
        assert list(pool.map(counts, wanted)) == [{count} for count in wanted.values()]


def test_models_that_share_a_tokenizer_do_not_cut_each_other_s_texts(tokenizers: dict[str, Tokenizer]) -> None:
    first = tokenizers["json"]
    others = [first.of_model(Config(max_position_embeddings=40)), copy.copy(first)]
    length = len(first.rows([LONG])[0])

    def cut(tokenizer: Tokenizer) -> set[int]:
        return {len(tokenizer.windows(LONG, stride=1, max_length=5)) for _ in range(100)}

    def whole(_: int) -> set[int]:
        return {len(first.rows([LONG])[0]) for _ in range(100)}

    with ThreadPoolExecutor(4) as pool:
        windows, rows = pool.map(cut, others), pool.map(whole, range(2))
        assert [*windows, *rows] == [{300}, {300}, {length}, {length}]


# --- decoding -------------------------------------------------------------------------------------------------------


def test_decode_one_and_several(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([0, 31414, 232, 2]) == "<s>Hello world</s>"
    assert tokenizer.decode([[0, 31414, 2], [0, 232, 2]], skip_special_tokens=True) == ["Hello", " world"]
    assert tokenizer.decode(np.array([31414], np.uint16)) == "Hello"


def test_decode_an_unknown_id(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="unknown id 60000: this tokenizer has 50265 tokens"):
        tokenizer.decode([31414, 60000])


def test_decode_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode([[], []]) == ["", ""]
    assert tokenizer.decode(np.zeros((0, 0), int)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1.0, 2.0], "dtype float64 .*: give integers"),
        ("Hello", "give integers of shape"),
        (5, "with 0 dimensions"),
        (np.zeros((1, 1, 1), int), "with 3 dimensions"),
        ([5, -1], "invalid ids from -1 to 5: token ids must be at least 0 and less than 2"),
        ([2**32], "ids from 4294967296"),
        ([[1, 2], [3]], "same length"),
    ],
)
def test_decode_refuses(given: Any, words: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=words):
        tokenizer.decode(given)


# --- invalid texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None,), "the text is of type NoneType: give a str, or a list of str"),
        ((5,), "the text is of type int"),
        ((b"bytes",), "the text is of type bytes"),
        (({"text": "a", "text_pair": "b"},), "the text is of type dict"),
        ((["a", b"bytes"],), "text 2 is of type bytes: give a str"),
        ((["a", None],), "text 2 is of type NoneType: give a str"),
        (([["a", "b"]],), "the text is of type list: give a str"),
        (("a", 5), "the second text is of type int: give a str, or"),
        (("a", [5]), "the second text is of type int: give a str"),
        (("\ud83d",), "half a surrogate pair"),
        (("a", "b\udc00"), "half a surrogate pair"),
        ((["a", "b"], "c"), "2 texts, but 1 second texts .`pairs`.: give one for each text"),
        (("a", []), "1 texts, but 0 second texts .`pairs`.: give one for each text"),
    ],
)
def test_invalid_texts(arguments: tuple, words: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=words):
        tokenizer(*arguments)


def test_unequal_lengths_without_padding(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, ["Hello", "A"], padding=False) == [[0, 31414, 2], [0, 250, 2]]
    with pytest.raises(TokenizerError, match="texts of 2 to 3 tokens do not fit into one array: give padding=True"):
        tokenizer(["Hello", ""], padding=False)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_saved_and_read_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer("a", max_length=4)  # is not saved
    tokenizer.save(tmp_path)
    again = read(tmp_path)
    assert json.loads(again.library.to_str()) == json.loads(tokenizer.library.to_str())
    assert json.loads(again.library.to_str())["truncation"] is None
    assert ids(again, [text for text, *_ in PUBLISHED]) == ids(tokenizer, [text for text, *_ in PUBLISHED])
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 512


def test_a_prefix_space_is_a_setting(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """Some tokenizers read every text as if it began with a space; saving keeps that."""
    directory = unpacked(tmp_path, *FILES["vocabulary"])
    (directory / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
    prefixed, expected = read(directory), ids(tokenizers["vocabulary"], " Hello world!")
    assert ids(prefixed, "Hello world!") == expected != ids(tokenizers["vocabulary"], "Hello world!")
    (tmp_path / "saved").mkdir()
    prefixed.save(tmp_path / "saved")
    assert ids(read(tmp_path / "saved"), "Hello world!") == expected
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["add_prefix_space"] is True


def test_padding_set_in_the_file_is_not_used(tmp_path: Path) -> None:
    unpacked(tmp_path, "tokenizer.json")
    values = json.loads((tmp_path / "tokenizer.json").read_text())
    values["padding"] = {
        "strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": None,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    values["truncation"] = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    assert ids(read(tmp_path), "Hello world!") == [PUBLISHED[0][3]]
    assert ids(read(tmp_path), "Hello world!", truncation=False) == [PUBLISHED[0][3]]


def test_a_model_has_its_tokenizer(tokenizer: Tokenizer) -> None:
    bare = tiny()
    model = Model(bare.config, bare.params, bare.head, tokenizer)
    encoded = model.tokenize(["Hello", ""], max_length=3)
    assert encoded["input_ids"].tolist() == [[0, 31414, 2], [0, 2, PAD]]
    assert model.decode(encoded["input_ids"][0], skip_special_tokens=True) == "Hello"


@pytest.mark.parametrize("files", [[], ["vocab.json"], ["merges.txt"]])
def test_a_model_without_tokenizer_files(files: list[str], tmp_path: Path) -> None:
    assert Tokenizer.load(unpacked(tmp_path, *files), CONFIG) is None


@pytest.mark.parametrize("call", [lambda model: model.tokenize("a"), lambda model: model.decode([1])])
def test_a_model_without_tokenizer_says_what_is_missing(call: Callable[[Model], Any]) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer: .*tokenizer\.json.*vocab\.json.*merges\.txt"):
        call(tiny())


WORDS = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "ab"])}


def write_vocabulary(directory: Path, vocabulary: Any = WORDS, merges: str = "#version: 0.2\na b\n") -> Path:
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text(merges, encoding="utf-8")
    return directory


@pytest.mark.parametrize("merges", ["#version: 0.2\na b\n", "a b\n", "#version: 0.2\r\na b\r\n", "a b\n\n"])
def test_a_small_vocabulary(merges: str, tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "merges.txt").write_bytes(merges.encode())
    assert ids(read(tmp_path), "abba<mask>z") == [[0, 7, 6, 5, 4, 3, 2]]


@pytest.mark.parametrize(
    ("vocabulary", "merges", "words"),
    [
        ({"a": 0}, "", "vocab.json lacks the special tokens cls_token, sep_token: name them in"),
        ({**WORDS, "<s>": "0"}, "a b\n", "vocab.json is not a JSON object that maps tokens to integers"),
        ({**WORDS, "a": 2.5}, "a b\n", "maps tokens to integers"),
        ([*WORDS], "a b\n", "must hold a JSON object, not a list"),
        (WORDS, "a b\nab\n", "merges.txt has the line 'ab': a line must hold two tokens"),
        (WORDS, "a b c\n", "merges.txt has the line 'a b c': a line must hold two tokens"),
    ],
)
def test_broken_vocabularies(vocabulary: Any, merges: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=words):
        Tokenizer.load(write_vocabulary(tmp_path, vocabulary, merges), CONFIG)


def test_merges_whose_result_the_vocabulary_lacks(tmp_path: Path) -> None:
    tokenizer = read(write_vocabulary(tmp_path, WORDS, "b a\nab ba\na b\n"))
    assert ids(tokenizer, "ba") == [[0, 3, 2]]
    assert ids(tokenizer, "ab<mask>") == [[0, 7, 4, 2]]
    with pytest.raises(TokenizerError, match="only if its ids are 0, 1, 2 and so on"):
        read(write_vocabulary(tmp_path, {**WORDS, "c": 900}, "b a\n"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", b"{not JSON"),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b'"\xff"'),
        ("tokenizer.json", b"[" * 100_000),
        ("vocab.json", b"{not JSON"),
        ("vocab.json", b""),
        ("vocab.json", b'{"\xff": 1}'),
        ("merges.txt", b"\xff \xfe\n"),
    ],
)
def test_broken_files(file: str, content: bytes, tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TokenizerError, match=file):
        Tokenizer.load(tmp_path, CONFIG)


# --- other formats --------------------------------------------------------------------------------------------------

PIECES = Path(__file__).parent / "golden" / "checkpoints" / "sentencepiece" / "bpe.model"


def write_keras(directory: Path, vocabulary: Any, merges: list[str]) -> None:
    """The assets of a KerasHub preset, and its settings in a file with the name of Hugging Face's tokenizer."""
    assets = directory / "assets" / "tokenizer"
    assets.mkdir(parents=True)
    (assets / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (assets / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
    (directory / "tokenizer.json").write_text('{"class_name": "RobertaTokenizer"}')


def write_fairseq(directory: Path, vocabulary: dict[str, int], merges: list[str]) -> None:
    """fairseq's three files: `dict.txt` lists the tokens by GPT-2's numbers, here in reverse."""
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])[4:-1]
    own = {token: len(tokens) - i for i, token in enumerate(tokens) if not token.startswith("madeupword")}
    lines = [f"{own.get(token, token)} {len(tokens) - i}\n" for i, token in enumerate(tokens)]
    (directory / "dict.txt").write_text("".join(lines), encoding="utf-8")
    (directory / "encoder.json").write_text(json.dumps(own), encoding="utf-8")
    (directory / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


@pytest.mark.parametrize("write", [write_keras, write_fairseq])
def test_the_real_vocabulary_in_other_files(write: Any, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    source = unpacked(tmp_path, *FILES["vocabulary"])
    vocabulary = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    merges = (source / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", vocabulary, merges)
    other = read(tmp_path / "other")
    assert other.library.get_vocab() == tokenizers["vocabulary"].library.get_vocab()
    assert other.library.to_str() == tokenizers["vocabulary"].library.to_str()
    for text, pair, special, expected in PUBLISHED:
        assert ids(other, text, pair, add_special_tokens=special) == [expected]


def small(*more: str) -> dict[str, int]:
    names = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "ab", *more, "<mask>"]
    return {token: i for i, token in enumerate(names)}


def test_which_files_are_taken(tmp_path: Path) -> None:
    """One of several kinds of files is read; a KerasHub preset's `tokenizer.json` is not a tokenizer."""
    write_keras(tmp_path, small(), ["a b"])
    (tmp_path / "assets" / "tokenizer" / "vocabulary.spm").write_bytes(PIECES.read_bytes())
    write_vocabulary(tmp_path, small("c", "d"))
    write_fairseq(tmp_path, small("c", "d", "e"), ["a b"])
    (tmp_path / "sentencepiece.bpe.model").write_bytes(PIECES.read_bytes())
    camembert = Config.from_dict({"model_type": "camembert"})

    def size(*removed: str) -> int:
        for name in removed:
            (tmp_path / name).unlink()
        tokenizer = Tokenizer.load(tmp_path, camembert)
        assert tokenizer is not None
        return tokenizer.library.get_vocab_size()

    assert size() == len(small())
    assert size("assets/tokenizer/vocabulary.json") == 322  # XLM-Roberta's ids, as KerasHub has no Camembert
    tiny_one = tokenizer_of(tmp_path / "own", small("c"))
    (tmp_path / "tokenizer.json").write_text(tiny_one)
    assert size("assets/tokenizer/vocabulary.spm") == len(small("c"))
    assert size("tokenizer.json") == len(small("c", "d"))
    assert size("merges.txt") == len(small("c", "d", "e"))
    assert size("vocab.bpe") == 325  # Camembert's
    (tmp_path / "sentencepiece.bpe.model").unlink()
    assert Tokenizer.load(tmp_path, camembert) is None


def tokenizer_of(directory: Path, vocabulary: dict[str, int]) -> str:
    """The `tokenizer.json` of a small vocabulary."""
    directory.mkdir()
    return read(write_vocabulary(directory, vocabulary)).library.to_str()


@pytest.mark.parametrize(
    ("vocabulary", "merges", "words"),
    [
        ({"a": 0}, [], "vocabulary.json lacks the special tokens cls_token, sep_token"),
        ([], [], "vocabulary.json must hold a JSON object, not a list"),
        (small(), ["a"], "merges.txt has the line 'a': a line must hold two tokens"),
        (small(), ["b a"], "merges.txt and vocabulary.json are not a valid tokenizer"),
    ],
)
def test_broken_assets(vocabulary: Any, merges: list[str], words: str, tmp_path: Path) -> None:
    write_keras(tmp_path, vocabulary, merges)
    with pytest.raises(TokenizerError, match=words):
        Tokenizer.load(tmp_path, CONFIG)


@pytest.mark.parametrize("merges", ["b a", "a x"])
def test_broken_merges_of_fairseq(merges: str, tmp_path: Path) -> None:
    write_fairseq(tmp_path, small(), [merges])
    with pytest.raises(TokenizerError, match=r"vocab.bpe and dict.txt are not a valid tokenizer"):
        Tokenizer.load(tmp_path, CONFIG)
