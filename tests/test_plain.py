"""Byte-level BPE in plain Python: the same ids, offsets, texts and files as the tokenizers library."""

import copy
import functools
import json
import lzma
import operator
import pickle
import re
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from support import ODD_PARTS

import minroberta
from minroberta import Config, TokenizerError
from minroberta.text import plain
from minroberta.text.sources import library_errors
from minroberta.text.tokenizer import Tokenizer

HERE = Path(__file__).parent
ROOT = HERE.parent
LAYOUTS = HERE / "golden" / "tokenizers"
CONFIG = Config.from_dict({"model_type": "roberta", "max_position_embeddings": 514})

FILES = {
    "tiny": (Path(minroberta.__file__).parent / "tiny" / "tokenizer.json").read_bytes(),
    "roberta-base": lzma.decompress((HERE / "data" / "roberta-base" / "tokenizer.json.xz").read_bytes()),
}
PAIRS = {
    name: (tokenizers.Tokenizer.from_buffer(content), plain.Tokenizer.from_buffer(content))
    for name, content in FILES.items()
}
"""Each file, read by the library and by the plain module."""

PARTS = [
    *ODD_PARTS,
    *" \n\t'",
    "<mask>",
    "<s>",
    "</s>",
    "'s",
    "'re",
    " a",
    "The",
    "12",
    "½",
    "Ⅷ",
    "²",
    "?!",
    "_",
    "日本",
    "é",
]
PARTS += [*"\x1c\x85\u1680\u2028\u3000\u180e\u200d", "antidisestablishmentarianism", "aaaaaaaa", "'ſ", "ﬁ"]
known = st.characters(exclude_categories=["Cs", "Cn"])  # a later Unicode, which knows more, may be the library's
texts = st.lists(st.sampled_from(PARTS) | known, max_size=15).map("".join)


def seen(encoding: Any) -> list[Any]:
    """All that minroberta reads of an encoding."""
    names = ("ids", "tokens", "offsets", "word_ids", "sequence_ids", "type_ids")
    return [getattr(encoding, name) for name in names] + [len(encoding)]


def assert_same(pair: tuple[Any, Any], given: Any, **options: Any) -> None:
    theirs, ours = (tokenizer.encode_batch([given], **options)[0] for tokenizer in pair)
    assert seen(ours) == seen(theirs)
    for skip in (False, True):
        assert pair[1].decode(ours.ids, skip) == pair[0].decode(theirs.ids, skip)


# --- texts ----------------------------------------------------------------------------------------------------------


def real_texts() -> list[str]:
    """Thousands of lines of prose, tables and code of this repository, and texts of several scripts."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "minroberta" / "text").rglob("*.py")]
    lines = [line for page in sorted(pages) for line in page.read_text(encoding="utf-8").splitlines()]
    inputs = json.loads((LAYOUTS / "inputs.json").read_text(encoding="utf-8"))
    return list(dict.fromkeys(lines + inputs["texts"]))


@pytest.mark.parametrize("name", ["tiny", pytest.param("roberta-base", marks=pytest.mark.slow)])
def test_thousands_of_real_texts(name: str) -> None:
    lines = real_texts()
    assert len(lines) > 5_000
    theirs, ours = (tokenizer.encode_batch(lines) for tokenizer in PAIRS[name])
    for line, one, other in zip(lines, theirs, ours, strict=True):
        assert seen(other) == seen(one), line


@pytest.mark.parametrize("name", PAIRS)
@given(first=texts, second=texts, add=st.booleans(), prefix=st.booleans(), trim=st.booleans(), keep=st.booleans())
@example("\u2003 <mask> \u2003<mask>", " <mask>", True, True, True, False)
@example("a<mask>b ", "  c", True, True, True, True)
def test_any_text(name: str, first: str, second: str, add: bool, prefix: bool, trim: bool, keep: bool) -> None:
    pair = PAIRS[name]
    for module, tokenizer in zip((tokenizers, plain), pair, strict=True):
        tokenizer.pre_tokenizer = module.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        tokenizer.post_processor = module.processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim, prefix)
        tokenizer.encode_special_tokens = keep
    assert_same(pair, first, add_special_tokens=add)
    assert_same(pair, (first, second), add_special_tokens=add)
    assert_same(pair, [first, second], add_special_tokens=add, is_pretokenized=True)
    assert_same(pair, ([first], [second, first]), add_special_tokens=add, is_pretokenized=True)
    assert pair[1].encode(first, second).ids == pair[0].encode(first, second).ids
    assert pair[1].pre_tokenizer.pre_tokenize_str(first) == pair[0].pre_tokenizer.pre_tokenize_str(first)


def kinds(tokenizer: Any, characters: list[str]) -> list[list[Any]]:
    """Spans into which each of some characters is split beside a letter, a digit, a sign and white space."""
    return [[span for _, span in tokenizer.pre_tokenize_str(f"a{c}1{c}!{c}{c} x")] for c in characters]


def test_every_character_is_of_the_library_s_kind() -> None:
    """Each version of Unicode adds letters: only in those that one of the two does not know yet, they may differ."""
    ours, theirs = plain.ByteLevel(False), tokenizers.pre_tokenizers.ByteLevel(False)
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    some = [c for c in assigned if not ("㐀" < c < "鿀" or "가" < c < "힀" or "\U00017000" < c < "\U0003134a")]
    assert len(some) > 25_000
    differ = [c for c, one, other in zip(some, kinds(ours, some), kinds(theirs, some), strict=True) if one != other]
    new_to_the_library = kinds(theirs, differ) == kinds(ours, ["\uffff"] * len(differ))
    assert not differ or new_to_the_library, differ


def test_white_space_is_unicode_s() -> None:
    """Python's, but for the four separators of ASCII."""
    python = {chr(code) for code in range(0x110000) if chr(code).isspace()}
    assert python - set(plain.SPACES) == set("\x1c\x1d\x1e\x1f")
    assert set(plain.SPACES) < python


def test_a_very_long_word_takes_no_time() -> None:
    """With n the length of a word, n log n steps, not n²."""
    start = time.perf_counter()
    assert_same(PAIRS["tiny"], "ab" * 50_000)
    assert time.perf_counter() - start < 20


# --- merges ---------------------------------------------------------------------------------------------------------


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Merges in any order, such as no training gives: what a pair becomes may have an earlier merge than the pair."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c"]
    for _ in range(draw(st.integers(0, 8))):
        tokens.append(draw(st.sampled_from(tokens[4:])) + draw(st.sampled_from(tokens[4:])))
    ids = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    possible = [(a, b) for a in tokens[4:] for b in tokens[4:] if a + b in ids]
    return ids, draw(st.lists(st.sampled_from(possible), max_size=12)) if possible else []


@given(vocabularies(), st.text("abcd ", max_size=20), st.sampled_from(["<unk>", None]))
def test_any_merges(vocabulary: tuple[dict[str, int], list[tuple[str, str]]], text: str, unknown: str | None) -> None:
    """The lowest rank first, the leftmost of several. A letter that the vocabulary lacks becomes the unknown token."""
    ids, merges = vocabulary
    found = []
    for module in (tokenizers, plain):
        tokenizer = module.Tokenizer(module.models.BPE(ids, merges, unk_token=unknown))
        tokenizer.pre_tokenizer = module.pre_tokenizers.ByteLevel(add_prefix_space=False)
        found.append(tokenizer.encode_batch([text])[0].ids)
    assert found[1] == found[0]


def test_the_unknown_token_must_be_there() -> None:
    model = plain.BPE({"a": 0}, [], unk_token="<unk>")
    assert model.encode("aa") == [(0, 1), (0, 1)]
    with pytest.raises(ValueError, match="'<unk>'"):
        model.encode("b")


def test_merges_need_their_tokens() -> None:
    with pytest.raises(ValueError, match="its vocabulary lacks 'ab'"):
        plain.BPE({"a": 0, "b": 1}, [("a", "b")])


def test_words_that_are_known_by_heart_are_few() -> None:
    model = plain.BPE({letter: index for index, letter in enumerate("0123456789")}, [])
    for number in range(plain.MOST_KNOWN + 5):
        assert [index for index, _ in model.encode(str(number))] == [int(digit) for digit in str(number)]
    assert 0 < len(model._known) <= 5


# --- added tokens ---------------------------------------------------------------------------------------------------

contents = st.sampled_from(["<mask>", "<s>", "xy", "yz", "xyz", " x", "é a", "Ġthe", "the", "new", "word "])
flags = st.fixed_dictionaries({name: st.booleans() for name in ("lstrip", "rstrip", "normalized", "special")})
added = st.lists(st.tuples(contents, flags), max_size=4)


def small() -> bytes:
    """The tokenizer of the embedded model with its first 100 merges, which is quick to read."""
    state = json.loads(FILES["tiny"])
    merges = state["model"]["merges"][:100]
    tokens = [token for token in state["model"]["vocab"] if len(token) == 1] + ["".join(pair) for pair in merges]
    state["model"] |= {"merges": merges, "vocab": {token: index + 4 for index, token in enumerate(tokens)}}
    return json.dumps(state).encode()


SMALL = small()
EARLY = {"special": True, "normalized": False}


@given(
    st.lists(added, max_size=3), st.lists(st.sampled_from(PARTS) | contents, max_size=12).map("".join), st.booleans()
)
@example([[("xy", {}), ("xyz", {})]], "xyz xy", False)
@example([[("xy", {"rstrip": True}), ("yz", {"lstrip": True})]], "xy  yz  xy", False)
@example([[("xy", EARLY | {"normalized": True}), ("yz", EARLY)], [("xy", EARLY)]], "xyz", False)
@example([[("xy", {"lstrip": True})], [("xy", {"normalized": False})]], "x xy  xyz", False)
def test_any_added_tokens(batches: list[list[tuple[str, dict[str, bool]]]], text: str, keep: bool) -> None:
    """One after the other, some of them again with other flags."""
    pair = tuple(module.Tokenizer.from_buffer(SMALL) for module in (tokenizers, plain))
    for batch in batches:
        counts = [
            tokenizer.add_tokens([module.AddedToken(content, **options) for content, options in batch])
            for module, tokenizer in zip((tokenizers, plain), pair, strict=True)
        ]
        assert counts[0] == counts[1]
    for tokenizer in pair:
        tokenizer.encode_special_tokens = keep
    assert_same(pair, text)
    assert_same(pair, (text, text))
    assert pair[0].to_str() == pair[1].to_str()


@pytest.mark.parametrize("method", ["add_tokens", "add_special_tokens"])
def test_added_by_content(method: str) -> None:
    theirs, ours = (module.Tokenizer.from_buffer(FILES["tiny"]) for module in (tokenizers, plain))
    for words in (["<one>", "the", "<one>"], ["<two>", "<one>"]):
        assert getattr(ours, method)(words) == getattr(theirs, method)(words)
    assert ours.get_vocab() == theirs.get_vocab() and ours.get_vocab_size() == theirs.get_vocab_size() == 8002
    for index, token in theirs.get_added_tokens_decoder().items():
        found = ours.get_added_tokens_decoder()[index]
        assert all(getattr(found, name) == getattr(token, name) for name in plain.FLAGS)
    assert [ours.token_to_id(token) for token in ("<two>", "Ġthe", "qqqq")] == [8001, theirs.token_to_id("Ġthe"), None]
    assert [ours.id_to_token(index) for index in (8001, 300, 9999)] == ["<two>", theirs.id_to_token(300), None]


# --- back to text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
@given(ids=st.lists(st.integers(0, 8100), max_size=12), skip=st.booleans())
def test_any_ids(name: str, ids: list[int], skip: bool) -> None:
    """Bytes that are not UTF-8, special tokens and ids that no token has included."""
    theirs, ours = PAIRS[name]
    assert ours.decode(ids, skip) == theirs.decode(ids, skip)


def test_a_token_of_other_letters_is_text() -> None:
    theirs, ours = (module.Tokenizer.from_buffer(FILES["tiny"]) for module in (tokenizers, plain))
    ids = [ours.encode("日本").ids[1], 8000, 8001]
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens(["日本 é", "é"])  # the second is also the letter of a byte
    assert ours.decode(ids) == theirs.decode(ids)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pretty", [False, True])
def test_the_file_is_the_library_s(pretty: bool) -> None:
    theirs, ours = (module.Tokenizer.from_buffer(FILES["tiny"]) for module in (tokenizers, plain))
    assert ours.to_str(pretty=pretty) == theirs.to_str(pretty=pretty)
    again = plain.Tokenizer.from_buffer(ours.to_str().encode())
    assert again.to_str() == ours.to_str()


@pytest.mark.parametrize(
    "change", [copy.deepcopy, lambda ours: pickle.loads(pickle.dumps(ours))], ids=["copy", "pickle"]
)
def test_a_copy(change: Any) -> None:
    ours = plain.Tokenizer.from_buffer(FILES["tiny"])
    other = change(ours)
    assert other.encode("Hello <mask>!").ids == ours.encode("Hello <mask>!").ids
    other.add_tokens(["Hello"])
    assert ours.encode("Hello").ids != other.encode("Hello").ids


OTHERS: dict[str, tuple[list[str], Any, str]] = {
    "WordPiece": (["model", "type"], "WordPiece", "its model has WordPiece"),
    "dropout": (["model", "dropout"], 0.1, "its model has dropout"),
    "suffix": (["model", "end_of_word_suffix"], "</w>", "its model has end_of_word_suffix"),
    "fallback": (["model", "byte_fallback"], True, "its model has byte_fallback"),
    "normalizer": (["normalizer"], {"type": "NFC"}, "its steps are NFC, ByteLevel, ByteLevel, RobertaProcessing"),
    "words": (["pre_tokenizer"], {"type": "Whitespace"}, "its steps are None, Whitespace"),
    "no regex": (["pre_tokenizer", "use_regex"], False, "its steps are"),
    "template": (["post_processor", "type"], "TemplateProcessing", "TemplateProcessing"),
    "single word": (["added_tokens", "0", "single_word"], True, "its added token '<s>' is a single_word"),
}  # fmt: skip


def keys(names: list[str]) -> list[str | int]:
    return [int(name) if name.isdecimal() else name for name in names]


def changed(content: bytes, names: list[str], value: Any) -> bytes:
    """A file with another value, or without the field if this is `...`."""
    state = json.loads(content)
    *above, last = keys(names)
    node = functools.reduce(operator.getitem, above, state)
    node[last] = value
    if value is ...:
        del node[last]
    return json.dumps(state).encode()


@pytest.mark.parametrize(("names", "value", "telling"), OTHERS.values(), ids=list(OTHERS))
def test_another_kind_needs_the_library(names: list[str], value: Any, telling: str) -> None:
    with pytest.raises(ValueError, match=re.escape(telling)) as caught:
        plain.Tokenizer.from_buffer(changed(FILES["tiny"], names, value))
    assert plain.NEEDS_LIBRARY in str(caught.value)


FIELDS = [
    ["version"], ["added_tokens"], ["normalizer"], ["pre_tokenizer"], ["decoder"], ["post_processor"], ["model"],
    *(["added_tokens", "0", field] for field in ("id", *plain.FLAGS)),
    *([step, field] for step in ("pre_tokenizer", "decoder") for field in plain.BYTE_LEVEL),
    *(["post_processor", field] for field in plain.AROUND),
    *(["model", field] for field in ("vocab", "merges", "unk_token", *plain.OTHERS)),
    ["model", "vocab", "a"], ["model", "merges", "0"], ["model", "merges", "99"],
]  # fmt: skip
VALUES = [
    ..., None, True, False, 0, 1, -5, 1.5, -0.0, 2**31, 2**32 - 1, 2**32, "", "a", "1", "a b", "1.0", {}, {"a": 1},
    [], [1], ["a"], [None], ["a", 1], ["a", -1], ["a", 1.5], ["a", True], ["a", "1"], ["a", 2**32], [1, "a"], [1, 2],
    ["a", 1, 2], ["a", "b", "c"], ["a", None], [["a", "b"]], [["a"]], [{}], "#version: 0.2", ["#version: 0.2"],
]  # fmt: skip
LEGACY = changed(SMALL, ["model", "merges"], [" ".join(pair) for pair in json.loads(SMALL)["model"]["merges"]])


@pytest.mark.parametrize("content", [SMALL, LEGACY], ids=["pairs", "texts"])
@pytest.mark.parametrize("names", FIELDS, ids=".".join)
@pytest.mark.filterwarnings("ignore")
def test_a_value_is_rejected_if_the_library_rejects_it(names: list[str], content: bytes) -> None:
    """And if both accept it, as the value that is there, they read the same."""
    there = functools.reduce(operator.getitem, keys(names), json.loads(content))
    for value in [there, *VALUES]:
        file = changed(content, names, value)
        try:
            with library_errors(""):  # a panic is no ValueError
                theirs = tokenizers.Tokenizer.from_buffer(file)
        except TokenizerError:
            with pytest.raises(ValueError, match=r"^(its \w|Expecting)"):
                plain.Tokenizer.from_buffer(file)
            continue
        try:
            ours = plain.Tokenizer.from_buffer(file)
        except ValueError as error:
            assert value is not there and (plain.NEEDS_LIBRARY in str(error) or is_odd(names, value)), (value, error)
        else:
            assert_same((theirs, ours), ("The <mask> apple ", "a"))


def is_odd(names: list[str], value: Any) -> bool:
    """True for what the library reads as something else: a list as an object, and a post-processor without flags."""
    return (len(names) == 1 and isinstance(value, list)) or names in (
        ["post_processor", "add_prefix_space"],
        ["post_processor", "trim_offsets"],
    )


# --- the choice -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, the library cannot be imported."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)


def test_the_library_is_taken_if_it_is_there() -> None:
    assert plain.library() is tokenizers


@pytest.mark.usefixtures("hidden")
def test_otherwise_the_plain_module() -> None:
    assert plain.library() is plain


def is_byte_level(path: Path) -> bool:
    if (path / "merges.txt").is_file():
        return True
    return (path / "tokenizer.json").is_file() and "ByteLevel" in (path / "tokenizer.json").read_text(encoding="utf-8")


BYTE_LEVEL = [path for path in sorted(LAYOUTS.iterdir()) if is_byte_level(path)]


def outputs(tokenizer: Tokenizer, inputs: dict[str, Any]) -> list[Any]:
    arrays = [tokenizer(text, return_offsets=True, return_word_ids=True) for text in inputs["texts"]]
    arrays += [tokenizer(*pair, max_length=7, return_offsets=True) for pair in inputs["pairs"] if any(pair)]
    decoded = [tokenizer.decode(found["input_ids"][0]) for found in arrays]
    return [{name: array.tolist() for name, array in found.items()} for found in arrays] + decoded


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", BYTE_LEVEL, ids=lambda path: path.name)
def test_layouts_of_real_repositories(path: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Settings, special tokens and added tokens of each, and the same files written."""
    inputs = json.loads((LAYOUTS / "inputs.json").read_text(encoding="utf-8"))
    theirs = Tokenizer.load(path, CONFIG)
    assert theirs is not None and isinstance(theirs.library, tokenizers.Tokenizer)
    expected = outputs(theirs, inputs)
    request.getfixturevalue("hidden")
    ours = Tokenizer.load(path, CONFIG)
    assert ours is not None and isinstance(ours.library, plain.Tokenizer)
    assert outputs(ours, inputs) == expected
    for name, tokenizer in (("theirs", theirs), ("ours", ours)):
        (tmp_path / name).mkdir()
        tokenizer.save(tmp_path / name)
    for file in (tmp_path / "theirs").iterdir():
        written = (tmp_path / "ours" / file.name).read_text(encoding="utf-8").replace('fix": ""', 'fix": null')
        assert written == file.read_text(encoding="utf-8").replace('fix": ""', 'fix": null')


def test_there_are_layouts_of_both_kinds() -> None:
    assert len(BYTE_LEVEL) >= 8
    assert any((path / "merges.txt").is_file() for path in BYTE_LEVEL)


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("name", ["albert", "phobert", "vocab-txt", "wordpiece-json", "t5", "camembert-symbols"])
def test_other_layouts_need_the_library(name: str) -> None:
    with pytest.raises(TokenizerError, match="which needs the library tokenizers"):
        Tokenizer.load(LAYOUTS / name, CONFIG)


# --- the package without the libraries ------------------------------------------------------------------------------

HIDE = """
import sys
for name in ("tokenizers", "safetensors", "safetensors.numpy", "huggingface_hub"):
    sys.modules[name] = None
"""

TASKS = """
import json
import minroberta

reader, tagger, critic, encoder = (
    minroberta.load(head=head)
    for head in ("question_answering", "token_classification", "sequence_classification", "encoder")
)
model = minroberta.load()
print(json.dumps([
    model.fill_mask(["She was the first woman to win the <mask> Prize.", "Où est <mask>?"], top_k=3),
    model.predict_all("The river flows into the Atlantic <mask>."),
    reader.answer("Who wrote Hamlet?", "Hamlet is a tragedy by William Shakespeare, written around 1600. " * 30),
    tagger.tag("She quickly opened the red door."),
    critic.classify(["Beautifully acted and deeply moving.", ("Too long", "and too boring.")]),
    encoder.encode(["The cat sleeps.", "A dog barks."]).tolist(),
    model.decode(model.tokenize("Hello, world!")["input_ids"]),
]))
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.slow
def test_every_task_gives_the_same_answers() -> None:
    assert json.loads(run(HIDE + TASKS)) == json.loads(run(TASKS))


def test_a_model_is_saved_and_loaded(tmp_path: Path) -> None:
    folder = str(tmp_path / "saved")
    run(
        HIDE + f"import minroberta\nminroberta.load().save({folder!r})\nminroberta.load({folder!r}).fill_mask('<mask>')"
    )
    saved, model = minroberta.load(folder), minroberta.load()
    assert saved.fill_mask("A <mask>.") == model.fill_mask("A <mask>.")
    assert np.array_equal(
        saved.params["embeddings"]["LayerNorm"]["weight"], model.params["embeddings"]["LayerNorm"]["weight"]
    )


def test_a_download_says_what_it_needs() -> None:
    code = "import minroberta\ntry: minroberta.load('roberta-base')\nexcept minroberta.NotFoundError as e: print(e)"
    assert "downloads need huggingface_hub, which is not installed" in run(HIDE + code)


@pytest.mark.slow
def test_the_first_notebook_runs_without_them() -> None:
    pytest.importorskip("matplotlib", reason='notebooks are tested where their extra is: pip install -e ".[notebooks]"')
    source = ROOT / "notebooks" / "01_walkthrough.py"
    start = "import matplotlib\nmatplotlib.use('Agg')\nimport runpy\n"
    run(HIDE + start + f"runpy.run_path({str(source)!r})\n")


def test_the_markers_name_the_libraries_that_are_hidden_here() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    marked = re.findall(r'"(\w+)[^"]*; sys_platform != \'emscripten\'"', text)
    assert sorted(marked) == ["huggingface_hub", "safetensors", "tokenizers"]
