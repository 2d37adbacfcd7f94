"""Tests of what a `tokenizer.json` may ask for: published kinds pass, costly ones are refused before they are built."""

import base64
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from support import GOLDEN, alone, raises, tiny

import minroberta
from minroberta import TokenizerError
from minroberta.text import allowance, sentencepiece, sources, vocabularies
from minroberta.text.tokenizer import Tokenizer

IDS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}
TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
PLAIN: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": IDS, "unk_token": "<unk>"},
}


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(part: str, *steps: dict[str, Any]) -> dict[str, Any]:
    names = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}
    return {"type": "Sequence", names[part]: list(steps)}


def template(count: int) -> dict[str, Any]:
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [text] * count, "pair": [text], "special_tokens": {}}


AFFIX = "continuing_subword_prefix"
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
DOUBLED = replace("a", "aa")
ADDED = {"id": 4, "content": "a" * 900, **TOKEN}

LARGE_MAP = base64.b64encode((2**21).to_bytes(4, "little") + bytes(2**21 + 1)).decode()
LONG_MAP = base64.b64encode(bytes([4, 0, 0, 0]) + bytes(4) + b"a" * 9_000).decode()

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "four replacements": (
        {"normalizer": sequence("normalizer", *[replace("a", "a" * 6)] * 4), "added_tokens": [ADDED]},
        "its normalizer can make 1296 characters of one; the limit is 40",
    ),
    "many doublings": ({"normalizer": sequence("normalizer", *[DOUBLED] * 40)}, "its normalizer has 41 steps"),
    "prefixes": (
        {"normalizer": sequence("normalizer", *[{"type": "Prepend", "prepend": "a" * 150}] * 2)},
        "its normalizer can make 22801 characters of one",
    ),
    "doublings of decoded text": (
        {"decoder": sequence("decoder", *[DOUBLED] * 10)},
        "its decoder can make 1024 characters of one",
    ),
    "a long normalized token": (
        {"added_tokens": [ADDED] * 200, "normalizer": replace("a", "a" * 30)},
        "its normalizer may make 5400000 bytes of its added tokens; the limit is 5000000",
    ),
    "many long tokens": (
        {"added_tokens": [ADDED] * 600},
        "its added tokens have 540000 bytes; the limit is 500000",
    ),
    "sequences in sequences": (
        {"pre_tokenizer": sequence("pre_tokenizer", *[sequence("pre_tokenizer", {"type": "Digits"})] * 20)},
        "its pre_tokenizer has 41 steps; the limit is 30",
    ),
    "a long pattern": ({"pre_tokenizer": split(r"\p{L}" * 40_000)}, "has 200000 characters; the limit is 200"),
    "an intersection of classes": ({"pre_tokenizer": split("[a&&b]")}, "has a form that may take too long"),
    "a repeated group": ({"pre_tokenizer": split("(a+)+$")}, "its pattern '(a+)+$' has a form that may take too long"),
    "a repeated condition": ({"pre_tokenizer": split("a+(?=.*b)")}, "has a form that may take too long"),
    "a back-reference": ({"normalizer": replace(r"(a)\1", "a", "Regex")}, "has a form that may take too long"),
    "many repetitions": ({"pre_tokenizer": split("a+a+a+a+b")}, "has repetitions after each other"),
    "two repetitions before a letter": ({"pre_tokenizer": split(r"[^x]*[^x]*x|c")}, "has repetitions after each other"),
    "counts after each other": (
        {"pre_tokenizer": split("(?:a{0,99}|b)(?:a{0,99}|b)c")},
        "has repetitions after each other",
    ),
    "many repetitions in alternatives": ({"pre_tokenizer": split("a*b|" * 11 + "c")}, "has repetitions after each"),
    "a repeated count": ({"pre_tokenizer": split("a{1,99}+b|b")}, "has a form that may take too long"),
    "a call of a group": ({"pre_tokenizer": split(r"(a*)\g<1>\g<1>b")}, "has a form that may take too long"),
    "bytes of bytes": (
        {"normalizer": sequence("normalizer", *[{"type": "ByteLevel"}] * 2)},
        "its normalizer has the step ByteLevel twice",
    ),
    "spaces around spaces": (
        {"pre_tokenizer": sequence("pre_tokenizer", split("."), METASPACE, split("."), METASPACE)},
        "its pre_tokenizer has the step Metaspace twice",
    ),
    "ligatures of ligatures": (
        {"normalizer": sequence("normalizer", *[{"type": "NFKD"}, replace("ل", "ﷺ")] * 9)},
        "its normalizer has the step NFKD twice",
    ),
    "a replacement of nothing by much": (
        {"normalizer": replace("", "ab")},
        "pattern of Replace in its normalizer is empty",
    ),
    "a delimiter that is everywhere": (
        {"decoder": {"type": "CTC", "pad_token": "p", "word_delimiter_token": "", "cleanup": True}},
        "word_delimiter_token of CTC in its decoder is empty, so that it is found everywhere",
    ),
    "a suffix that is everywhere": (
        {"decoder": {"type": "BPEDecoder", "suffix": ""}},
        "suffix of BPEDecoder in its decoder is empty",
    ),
    "a long piece": (
        {"model": {**PLAIN["model"], "vocab": {**IDS, "b" * 7000: 5}}},
        "it has a piece of about 1166 characters; the limit is 1000",
    ),
    "a large id": ({"model": {**PLAIN["model"], "vocab": {**IDS, "b": 2**32 - 2}}}, "it has an id of 10000000 or more"),
    "ids by chance": (
        {"model": {"type": "BPE", "vocab": IDS, "merges": [], "dropout": 0.5}},
        "its model has a dropout of 0.5, by which ids are random",
    ),
    "many special tokens": (
        {"post_processor": {**template(1), "single": [{"SpecialToken": {"id": "a", "type_id": 0}}] * 2, "pair": [
            {"SpecialToken": {"id": "a", "type_id": 0}}] * 2,
            "special_tokens": {"a": {"id": "a", "ids": [4] * 60, "tokens": ["a"] * 60}}}},
        "it puts 120 special tokens around a text; the limit is 100",
    ),
    "a long template": ({"post_processor": template(30_000)}, "has 30000 items; the limit is 100"),
    "a long template as text": (
        {"post_processor": {**template(1), "single": "$A " * 30_000}},
        "single of TemplateProcessing in its post_processor has 90000 characters; the limit is 200",
    ),
    "an added token of megabytes": (
        {"added_tokens": [{**ADDED, "content": "a" * 2_000_000}]},
        "it has an added token of 2000000 characters; the limit is 1000",
    ),
    "many added tokens": ({"added_tokens": [ADDED] * 10_001}, "it has 10001 added tokens; the limit is 10000"),
    "padding to a billion": (
        {"padding": {"strategy": {"Fixed": 10**9}, "pad_id": 1}},
        "its padding has the number 1000000000; the limit is 1000000",
    ),
    "a long affix": (
        {"model": {**PLAIN["model"], "type": "WordPiece", "continuing_subword_prefix": "#" * 10**6}},
        "its continuing_subword_prefix has 1000000 characters; the limit is 200",
    ),
    "a prefix that merges lack": (
        {"model": {"type": "BPE", "vocab": {**IDS, "é": 5, "aé": 6}, "merges": [["a", "é"]]} | {AFFIX: "e"}},
        "it has merges and the continuing_subword_prefix 'e': the library may fail on these",
    ),
    "long words": (
        {"model": {**PLAIN["model"], "type": "WordPiece", "max_input_chars_per_word": 10**9}},
        "its max_input_chars_per_word is 1000000000; the limit is 1000",
    ),
    "an unknown step": ({"normalizer": {"type": "Evil"}}, "it has the unknown normalizer 'Evil': the known ones are"),
    "a step without a kind": ({"decoder": {"suffix": "</w>"}}, "it has the unknown decoder None"),
    "a step of another part": ({"decoder": {"type": "NFC"}}, "it has the unknown decoder 'NFC'"),
    "steps that are no list": ({"normalizer": {"type": "Sequence", "normalizers": 3}}, "does not hold a list of steps"),
    "a replacement of nothing": ({"normalizer": {"type": "Replace"}}, "one of its fields is missing, or of the wrong"),
    "no model": ({"model": None}, "it has no model"),
    "a deep trie": (
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a" * 600_000, 0]]}},
        "it has a piece of 600000 bytes; the limit is 256",
    ),
    "a large character map": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": LARGE_MAP}},
        "its character map has 2097157 bytes; the limit is 2000000",
    ),
    "a long replacement of a character": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": LONG_MAP}},
        "its character map",
    ),
}  # fmt: skip


def written(folder: Path, values: Any, **settings: Any) -> Path:
    text = values if isinstance(values, str) else json.dumps({**PLAIN, **values})
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), "utf-8")
    return folder


def build(folder: Path, trust: bool = False) -> Tokenizer:
    built = Tokenizer.load(folder, tiny().config, trust)
    assert built
    return built


@pytest.mark.parametrize("name", HOSTILE)
def test_a_costly_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    values, sentence = HOSTILE[name]
    with raises(TokenizerError, ValueError, "tokenizer.json is not a valid tokenizer: ", sentence):
        build(written(tmp_path, values))


LOADED = """
import sys
from pathlib import Path
from minroberta import TokenizerError
from minroberta.config import Config
from minroberta.text.tokenizer import Tokenizer

config = Config.from_dict({"model_type": "roberta"})
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        Tokenizer.load(folder, config)
    except TokenizerError as error:
        assert len(str(error)) < 1000
        print(folder.name)
"""
"""A program that prints which of the tokenizers in a folder are refused."""


def test_together_they_take_neither_time_nor_memory(tmp_path: Path) -> None:
    for name, (values, _) in HOSTILE.items():
        (tmp_path / name).mkdir()
        written(tmp_path / name, values)
    assert alone(LOADED, tmp_path).splitlines() == sorted(HOSTILE)


# --- strict JSON ----------------------------------------------------------------------------------------------------

TEXT = json.dumps(PLAIN)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TEXT[:-1] + ', "model": {}}', "it has the key 'model' twice"),
        (TEXT.replace('"unk_token"', '"unk_token": "a", "unk_token"'), "it has the key 'unk_token' twice"),
        (TEXT.replace('"type": "Whitespace"', '"type": "Digits", "type": "Whitespace"'), "it has the key 'type' twice"),
        (TEXT.replace('"1.0"', "NaN"), "it has NaN, which JSON does not"),
        ("[]", "it holds a list, not a JSON object"),
        ("[" * 100_000, "recursion"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_two_readers_may_read_differently(text: str, sentence: str, tmp_path: Path) -> None:
    with raises(TokenizerError, ValueError, "tokenizer.json is not a valid tokenizer", sentence):
        build(written(tmp_path, text))


@pytest.mark.parametrize(
    "values",
    [
        PLAIN,
        {"model": {"merges": [['\\"', "]"], ["{", "\\"]], "vocab": {'"': 0, "\\": 1, "{": 2, "]}": 3}, "type": "BPE"}},
        {"model": {"vocab": [["a]", -1.5], ['[\\"', 0]], "unk_id": 0}, "decoder": {"type": "vocab"}},
        {"vocab": {"a": {"b": 1}}, "merges": [], "model": {"vocab": {}, "merges": []}},
        {"model": {"x": '"vocab": ', "y": {"vocab": [1]}, "vocab": {}}, "added_tokens": [{"vocab": "{"}]},
    ],
)
@pytest.mark.parametrize("style", [{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_a_vocabulary_is_passed_over(values: dict[str, Any], style: dict[str, Any]) -> None:
    """But for a vocabulary that is an object and for merges, which are empty, a file is what it says."""
    expected = {**values, "model": dict(values["model"])}
    for name, kind in {"vocab": dict, "merges": list}.items():
        if isinstance(expected["model"].get(name), kind):
            expected["model"][name] = kind()
    assert allowance.read(json.dumps(values, **style).encode()) == expected


def test_a_key_twice_among_many_is_found_at_once() -> None:
    many = ", ".join(f'"{index:06}": 0' for index in range(200_000))
    begun = time.process_time()
    with pytest.raises(ValueError, match="it has the key '199999' twice"):
        allowance.read(f'{{{many}, "199999": 1}}'.encode())
    assert time.process_time() - begun < 5


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (written(tmp_path, {}) / "tokenizer.json").write_bytes(TEXT.replace("1.0", "é").encode("latin-1"))
    with raises(TokenizerError, ValueError, "tokenizer.json is not a valid tokenizer", "utf-8"):
        build(tmp_path)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST_JSON", len(TEXT) - 1)
    with raises(TokenizerError, ValueError, f"has more than {len(TEXT) - 1} bytes, which is the limit"):
        build(written(tmp_path, TEXT))


# --- what passes ----------------------------------------------------------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    "pattern",
    [
        GPT2,
        LLAMA3,
        " {2,}",
        r"\s+",
        r"\S+\n?",
        r"(?<!</w>)\z",
        r"[\p{Han}\p{Hiragana}]",
        r"(\s|\p{P})",
        "[-!\"&']",
        "^a$",
    ],
)
def test_patterns_of_published_tokenizers(pattern: str, tmp_path: Path) -> None:
    allowance.check_pattern(pattern)
    assert build(written(tmp_path, {"pre_tokenizer": split(pattern)}))


@pytest.mark.parametrize(
    "pattern", [None, 3, "[\\p{L}" * 40 + "!", "\\p{L" * 40, "(?:(a))", "a{100000}", "(?<n>a)\\k<n>"]
)
def test_other_patterns_are_refused_at_once(pattern: Any) -> None:
    with pytest.raises(ValueError, match=r"its pattern .* has a form that may take too long"):
        allowance.check_pattern(pattern)


STEPS: dict[str, dict[str, Any]] = {
    "XLM-Roberta": {
        "normalizer": sequence("normalizer", {"type": "NFKC"}, replace(" {2,}", " ", "Regex")),
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    },
    "Albert": {
        "normalizer": sequence(
            "normalizer",
            replace("``", '"'),
            replace("''", '"'),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
        ),
    },
    "Bert": {
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": True}
        | {"handle_chinese_chars": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
    },
    "Llama": {
        "normalizer": sequence("normalizer", {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")),
        "decoder": sequence(
            "decoder",
            replace("▁", " "),
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ),
        "truncation": {"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 8}
        | {"pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_published_tokenizers(name: str, tmp_path: Path) -> None:
    assert build(written(tmp_path, STEPS[name])).library.encode("a a").ids


def test_a_trusted_tokenizer_is_built(tmp_path: Path) -> None:
    """A repeated group is refused, although it is harmless on short texts."""
    model = tiny("encoder", "float32", vocab_size=50)
    model.save(tmp_path)
    written(tmp_path, {"pre_tokenizer": split("(a+)+$")})
    with pytest.warns(UserWarning, match="has a form that may take too long.*trust_tokenizer=True"):
        assert minroberta.load(tmp_path, head="encoder").tokenizer is None
    assert minroberta.load(tmp_path, head="encoder", trust_tokenizer=True).tokenizer.library.encode("a").ids == [4]
    found = minroberta.load(tmp_path, head="encoder", tokenizer=tmp_path, trust_tokenizer=True)
    assert found.tokenizer.library.encode("a").ids == [4]


def test_a_decoder_that_fails_is_an_error(tmp_path: Path) -> None:
    tokenizer = build(written(tmp_path, {"decoder": {"type": "Strip", "content": "a", "start": 3, "stop": 3}}))
    with raises(TokenizerError, ValueError, "the tokenizer failed on ids"):
        tokenizer.decode([4])


def test_lists_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python needs a hundred bytes for each of two."""
    monkeypatch.setattr(allowance, "PLAIN", 50)
    monkeypatch.setattr(sentencepiece, "MOST_PIECES", 20)
    monkeypatch.setattr(sentencepiece, "MOST_MERGES", 30)
    with pytest.raises(ValueError, match="it has 51 lists and objects; the limit is 50"):
        allowance.read(b'{"x": [' + b"[]," * 48 + b"[]]}")
    assert allowance.read(b'{"x": [' + b"[]," * 47 + b"[]]}")


# --- tokens of other files ------------------------------------------------------------------------------------------

LOAD = """
import sys
from pathlib import Path
from minroberta import TokenizerError
from minroberta.config import Config
from minroberta.text.tokenizer import Tokenizer
try:
    tokenizer = Tokenizer.load(Path(sys.argv[1]), Config.from_dict({"model_type": "roberta"}))
    print(len(tokenizer), tokenizer("a")["input_ids"].tolist())
except TokenizerError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"])
def test_thousands_of_tokens_in_settings(name: str, tmp_path: Path) -> None:
    """They are added at once: the library builds its search again at each call."""
    many: Any = [f"<{index}>" for index in range(9990)]
    if name == "added_tokens_decoder":
        many = {str(5 + index): {**TOKEN, "content": token} for index, token in enumerate(many)}
    written(tmp_path, {"added_tokens": []})
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", name: many}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert alone(LOAD, tmp_path) == "9995 [[4]]"


def test_thousands_of_extra_ids(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "tokenizers" / "t5-extra" / "spiece.model", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 9990}')
    assert "[[" in alone(LOAD, tmp_path)


def test_long_tokens_in_settings(tmp_path: Path) -> None:
    """Together, and as a normalizer would lengthen them."""
    written(tmp_path, {"normalizer": replace("a", "a" * 30)})
    for count, sentence in (
        (600, "its added tokens have 540000 bytes; the limit is"),
        (300, "of its added tokens; the"),
    ):
        tokens = [f"{index:03}" + "a" * 897 for index in range(count)]
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": tokens}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        with raises(TokenizerError, ValueError, sentence):
            build(tmp_path)


def test_an_integer_that_no_float_holds(tmp_path: Path) -> None:
    written(tmp_path, {})
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1' + "0" * 400 + "}")
    assert build(tmp_path).longest == tiny().config.longest


# --- vocabularies in text files -------------------------------------------------------------------------------------

MANY = {str(index): index for index in range(9)}
TEXTS: dict[str, dict[str, str]] = {
    "vocab.json": {"vocab.json": json.dumps(MANY), "merges.txt": ""},
    "encoder.json": {"encoder.json": json.dumps(MANY), "vocab.bpe": "", "dict.txt": ""},
    "dict.txt": {"encoder.json": "{}", "vocab.bpe": "", "dict.txt": "".join(f"a{i} 1\n" for i in range(4))},
    "vocab.txt": {"vocab.txt": "".join(f"a{i} 1\n" for i in range(9)), "bpe.codes": ""},
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_vocabulary_with_too_many_tokens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token takes some hundred bytes, so that a file of 10 MB could take a gigabyte."""
    monkeypatch.setattr(vocabularies, "MOST_PIECES", 8)
    for other, text in TEXTS[name].items():
        (tmp_path / other).write_text(text, encoding="utf-8")
    if name == "vocab.txt":
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PhobertTokenizer"}', encoding="utf-8")
    with raises(TokenizerError, ValueError, f"{name} has 9 tokens; the limit is 8"):
        build(tmp_path)


@pytest.mark.parametrize("name", TEXTS)
def test_a_token_of_megabytes(name: str, tmp_path: Path) -> None:
    """A few ids of it would be decoded to gigabytes."""
    for other, text in TEXTS[name].items():
        changed = {"vocab.json": json.dumps({"a" * 2000: 0}), "dict.txt": "a" * 2000 + " 1"}.get(
            other, "a" * 2000 + " 1"
        )
        (tmp_path / other).write_text(changed if other == name else text, encoding="utf-8")
    if name == "encoder.json":
        (tmp_path / name).write_text(json.dumps({"a" * 2000: 0}))
    if name == "vocab.txt":
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PhobertTokenizer"}', encoding="utf-8")
    with raises(TokenizerError, ValueError, f"{name} has a token of 200", "the limit is 1000"):
        build(tmp_path)


def test_a_large_id_in_a_vocabulary(tmp_path: Path) -> None:
    """And long numbers within tokens, which are none."""
    (tmp_path / "merges.txt").touch()
    (tmp_path / "vocab.json").write_text(json.dumps({**IDS, "b": 2**32 - 2}))
    with raises(TokenizerError, ValueError, "vocab.json is not a valid vocabulary: it has an id of 10000000 or more"):
        build(tmp_path)
    numbers = {**IDS, "1234567890": 5, '"1234567890': 1234567}
    assert build(written(tmp_path, {"model": {**PLAIN["model"], "vocab": numbers}}))


@pytest.mark.parametrize("token", ["$A", "$", "[CLS]:1", "[C LS]"])
def test_a_special_token_that_a_template_reads_otherwise(token: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\n[SEP]\na\n" + token)
    settings = {"tokenizer_class": "BertTokenizer", "cls_token": token, "sep_token": "[SEP]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with raises(TokenizerError, ValueError, "a special token around a text must have no $, colon or space"):
        build(tmp_path)


def test_merges_that_make_too_many_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabularies, "MOST_PIECES", 8)
    (tmp_path / "vocab.json").write_text(json.dumps(IDS))
    (tmp_path / "merges.txt").write_text("b c\nd e\n")
    with raises(TokenizerError, ValueError, "merges.txt has 11 tokens; the limit is 8"):
        build(tmp_path)
