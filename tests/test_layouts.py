"""Tokenizers in the layouts of real repositories give what transformers' AutoTokenizer gives."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import GOLDEN, raises

import minroberta
from minroberta import Config, InputError, Model, TokenizerError
from minroberta.text.settings import MOST_ADDED
from minroberta.text.tokenizer import Tokenizer

FILES = GOLDEN / "tokenizers"
INPUTS = json.loads((FILES / "inputs.json").read_text(encoding="utf-8"))
NAMES = sorted(path.name for path in FILES.iterdir() if path.is_dir())
layouts = pytest.mark.parametrize("name", NAMES)


def read(directory: Path, **changes: Any) -> Tokenizer:
    fields = json.loads((directory / "config.json").read_text())
    tokenizer = Tokenizer.load(directory, Config.from_dict({"max_position_embeddings": 514, **fields, **changes}))
    assert tokenizer is not None
    return tokenizer


def expected(name: str) -> dict[str, Any]:
    return json.loads((FILES / name / "expected.json").read_text(encoding="utf-8"))


def ids(tokenizer: Tokenizer, text: Any, **options: Any) -> list[int]:
    return tokenizer(text, **options)["input_ids"][0].tolist()


def assert_same(tokenizer: Tokenizer, wanted: dict[str, Any]) -> None:
    for text, row in zip(INPUTS["texts"], wanted["ids"], strict=True):
        assert ids(tokenizer, text, truncation=False) == row, text
    for pair, row in zip(INPUTS["pairs"], wanted["pairs"], strict=True):
        assert ids(tokenizer, pair[0], pairs=pair[1], truncation=False) == row, pair


@layouts
def test_ids_are_transformers(name: str) -> None:
    assert_same(read(FILES / name), expected(name))


def assert_decoded(tokenizer: Tokenizer, wanted: dict[str, Any]) -> None:
    for text, *decoded in wanted["decoded"]:
        row = ids(tokenizer, text, truncation=False)
        found = [tokenizer.decode(row, clean_up_tokenization_spaces=clean) for clean in (None, False, True)]
        assert found == decoded
        assert tokenizer.decode([row], clean_up_tokenization_spaces=True) == decoded[-1:]


@layouts
def test_decoded_texts_are_transformers(name: str) -> None:
    assert_decoded(read(FILES / name), expected(name))


@layouts
def test_calls_are_transformers(name: str) -> None:
    wanted, tokenizer = expected(name), read(FILES / name)
    pad = tokenizer.library.token_to_id(tokenizer.roles["pad_token"])
    tokenizer = read(FILES / name, pad_token_id=pad)
    for call, arrays in wanted["calls"].items():
        texts, pairs, options = INPUTS["calls"][call]
        result = tokenizer(texts, pairs, **{"truncation": False, **options})
        for key, rows in arrays.items():
            assert result[key].tolist() == rows, (call, key)


@layouts
def test_token_types_are_transformers(name: str) -> None:
    wanted, tokenizer = expected(name), read(FILES / name)
    typed = read(FILES / name, type_vocab_size=2)
    assert sorted(typed("a", "b")) == sorted(wanted["input_names"])
    assert ("token_type_ids" in tokenizer("a", "b")) == (tokenizer.has_types)
    for pair, row in zip(INPUTS["pairs"], wanted["types"], strict=True):
        if "token_type_ids" in wanted["input_names"]:
            assert typed(*pair)["token_type_ids"][0].tolist() == row


@layouts
def test_offsets_and_words_are_transformers(name: str) -> None:
    wanted, tokenizer = expected(name), read(FILES / name)
    for index, text in enumerate(INPUTS["texts"][: 8 * ("offsets" in wanted)]):
        result = tokenizer(text, truncation=False, return_offsets=True, return_word_ids=True)
        assert result["offset_mapping"][0].tolist() == wanted["offsets"][index], text
        words = [None if word < 0 else word for word in result["word_ids"][0].tolist()]
        assert words == wanted["words"][index], text
    for words, row in zip(INPUTS["split"], wanted.get("split", [None] * 2), strict=True):
        if row is not None:
            assert ids(tokenizer, words, is_split_into_words=True) == row


BYTE_LEVEL = [name for name in NAMES if (FILES / name / "merges.txt").exists() or name in ("prefix", "roles-json")]
words = st.sampled_from(["born", " born", "you", " you are", "<mask>", " <mask>", "</s>", "[E1]", "[E1] ", "\n", "  a"])


@pytest.mark.parametrize("name", BYTE_LEVEL)
@given(st.lists(words, min_size=1, max_size=6).map("".join))
@example("<mask>born")
def test_no_letter_is_lost_after_an_added_token(name: str, text: str) -> None:
    """The library takes the first letter off `Ġborn` if it put the space there itself, after an added token."""
    tokenizer = read(FILES / name)
    options = {"truncation": False, "add_special_tokens": False, "return_offsets": True}
    results = [tokenizer(text, **options)]
    if getattr(tokenizer.library.pre_tokenizer, "add_prefix_space", False):
        results.append(tokenizer([[text]], is_split_into_words=True, **options))
    for result in results:
        for token, (start, end) in zip(result["input_ids"][0], result["offset_mapping"][0], strict=True):
            assert text[start:end].strip() == tokenizer.library.decode([token], False).strip()


def test_no_letter_is_lost_in_windows_and_pairs() -> None:
    tokenizer = read(FILES / "prefix")
    windows = tokenizer.windows("<mask>born" * 9, stride=2, max_length=8)
    assert len(windows) == 4
    assert {("<mask>born" * 9)[slice(*place)] for window in windows for place in window.offsets} == {
        "",
        "<mask>",
        "born",
    }
    found = tokenizer("a", "<mask>born", return_offsets=True)["offset_mapping"][0].tolist()
    assert found[4:] == [[0, 6], [6, 10], [0, 0]]
    tagger = model_of("prefix", "token_classification")
    assert {word["word"] for word in tagger.tag("</s>born")} == {"</s>", "born"}


@pytest.mark.parametrize("name", [name for name in NAMES if "more" in expected(name)])
def test_added_tokens_are_transformers(name: str, tmp_path: Path) -> None:
    (added, text), (counts, size, wanted) = INPUTS["added"], expected(name)["more"]
    tokenizer = read(FILES / name)
    assert [tokenizer.add_tokens(tokens, special=bool(special)) for special, tokens in enumerate(added)] == counts
    assert (len(tokenizer), ids(tokenizer, text, truncation=False)) == (size, wanted)
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_bytes((FILES / name / "config.json").read_bytes())
    assert (len(read(tmp_path)), ids(read(tmp_path), text, truncation=False)) == (size, wanted)


def test_a_model_with_added_tokens(tmp_path: Path) -> None:
    model = model_of("added-json", "masked_lm")
    assert model.tokenizer.add_tokens("[NEW]") == 1
    model = model.resize_token_embeddings(len(model.tokenizer))
    model.save(tmp_path)
    again = minroberta.load(tmp_path)
    tokens = again.tokenize("A [NEW]")
    assert tokens["input_ids"][0, -2] == again.config.vocab_size - 1
    assert np.array_equal(again(**tokens).logits, model(**tokens).logits)


@pytest.mark.parametrize(
    ("name", "tokens", "words"),
    [
        ("prefix", ["a", ""], "token 2 has 0 characters: give 1 to 1000"),
        ("prefix", "a" * 1001, "the token has 1001 characters"),
        ("prefix", [5], "the token is of type int: give a str"),
        ("prefix", map(str, range(MOST_ADDED)), f"too many added tokens: a tokenizer may have at most {MOST_ADDED}"),
        ("phobert", ["a"], "cannot be added to this PhobertTokenizer, which a tokenizer.json cannot hold: add them"),
        ("lacking", ["a"], "tokens cannot be added to this RobertaTokenizer"),
    ],
)  # fmt: skip
def test_tokens_that_cannot_be_added(name: str, tokens: Any, words: str) -> None:
    tokenizer = read(FILES / name)
    with raises(TokenizerError, ValueError, words):
        tokenizer.add_tokens(tokens)
    assert len(tokenizer) == len(read(FILES / name))


@layouts
def test_saved_and_read_again(name: str, tmp_path: Path) -> None:
    tokenizer = read(FILES / name)
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_bytes((FILES / name / "config.json").read_bytes())
    again = read(tmp_path)
    assert_same(again, expected(name))
    assert_decoded(again, expected(name))
    assert again.roles == tokenizer.roles
    assert again.library.get_vocab() == tokenizer.library.get_vocab()
    assert (again.settings.types, again.longest) == (tokenizer.settings.types, tokenizer.longest)


# --- models with these tokenizers -----------------------------------------------------------------------------------


def model_of(name: str, head: str, **changes: Any) -> Model:
    """A random model with one of the tokenizers."""
    tokenizer = read(FILES / name)
    fields = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    size = {"vocab_size": tokenizer.library.get_vocab_size(), "initializer_range": 0.5}
    model = minroberta.init({"model_type": "roberta", **fields, **size, **changes}, head)
    model.tokenizer = tokenizer.of_model(model.config)
    return model


@pytest.mark.parametrize("name", ["wordpiece-json", "wordpiece-roberta", "roles-vocabulary", "roles-json", "albert"])
def test_the_mask_is_the_tokenizers(name: str) -> None:
    model = model_of(name, "masked_lm")
    tokens = model.tokenize("He was [MASK] in")
    mask = model.tokenizer.library.token_to_id("[MASK]")
    best = model(**tokens).logits[0][tokens["input_ids"][0] == mask].argmax()
    assert model.fill_mask("He was [MASK] in")[0]["token"] == best
    with raises(InputError, ValueError, "has no [MASK]: write one where a token", "as in 'Hello [MASK]!'"):
        model.fill_mask("He was in")


def test_pairs_have_token_types_in_every_task() -> None:
    pair = ("Hello world!", "How are you?")
    critic = model_of("wordpiece-json", "sequence_classification", type_vocab_size=2)
    inputs = critic.tokenize(*pair)
    assert inputs["token_type_ids"].max() == 1
    logits = critic(**inputs).logits[0]
    scores = np.exp(logits) / np.exp(logits).sum()
    assert np.allclose([each["score"] for each in critic.classify(pair, top_k=None)], sorted(scores)[::-1], atol=1e-6)
    plain = critic(inputs["input_ids"], inputs["attention_mask"]).logits[0]
    assert not np.allclose(logits, plain, atol=1e-3)
    relative = critic.config.replace(position_embedding_type="relative_key")
    other = minroberta.init(relative, "sequence_classification")  # its rows are computed in a padded batch
    (output,) = other.on_rows(critic.tokenizer.rows([pair]))
    assert np.allclose(output["logits"], other(**inputs).logits, atol=1e-6)


def test_tasks_decode_as_the_settings_say() -> None:
    """Offsets stay those of the text as it was given."""
    filler, decoder = model_of("roles-json", "masked_lm"), model_of("roles-json", "causal_lm", is_decoder=True)
    text = "He was [MASK] , and n't born ."
    for found in filler.fill_mask(text):
        assert found["sequence"].startswith("He was") and found["sequence"].endswith(", andn't born.")
    (comma,) = (piece for piece in filler.predict_all(text) if piece["word"] == ",")
    assert (comma["start"], text[comma["start"]]) == (14, ",")
    assert decoder.generate("born .", max_new_tokens=1)[0]["generated_text"].startswith("born .")
    filler.tokenizer.settings = filler.tokenizer.settings._replace(values={})
    assert filler.fill_mask(text)[0]["sequence"].endswith(" , and n't born .")


def test_answers_have_token_types() -> None:
    reader = model_of("wordpiece-json", "question_answering", type_vocab_size=2)
    question, context = "How are you?", "Hello world today"
    (best,) = reader.answer(question, context, align_to_words=False)
    inputs = reader.tokenize(question, context, return_offsets=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    output, positions = reader(**inputs), np.flatnonzero(inputs["token_type_ids"][0])[:-1]
    starts, ends = (np.exp(x[0][[0, *positions]]) for x in (output.start_logits, output.end_logits))
    first = [offsets[i][0] for i in positions].index(best["start"])
    last = [offsets[i][1] for i in positions].index(best["end"])
    score = starts[1 + first] / starts.sum() * ends[1 + last] / ends.sum()
    assert np.isclose(best["score"], score, atol=1e-6)


def test_left_padding_gives_the_same_outputs() -> None:
    model = model_of("sides", "masked_lm", max_position_embeddings=40)
    texts = ["The fox", "you"]
    both, single = model.tokenize(texts), model.tokenize(texts[1])
    length = single["input_ids"].size
    assert both["attention_mask"][1].tolist() == [0] * (both["attention_mask"].shape[1] - length) + [1] * length
    assert np.allclose(model(**both).logits[1][-length:], model(**single).logits[0], atol=1e-5)
    assert model.tokenizer.longest == 12


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"padding": "bogus"}, "unknown padding 'bogus': give one of True, False, longest, max_length, do_not_pad"),
        ({"padding": 1}, "unknown padding 1"),
        ({"padding": None}, "unknown padding None"),
        (
            {"truncation": "longest"},
            "unknown truncation 'longest': give one of True, False, longest_first, only_first,",
        ),
        ({"truncation": ["only_first"]}, "unknown truncation ['only_first']"),
        ({"max_length": "8"}, "max_length must be an integer, not '8'"),
        ({"max_length": True}, "max_length must be an integer, not True"),
        ({"max_length": 8.0}, "max_length must be an integer, not 8.0"),
        ({"truncation": "only_second", "max_length": 3}, 'truncation="only_second" cannot bring it to 3'),
        ({"is_split_into_words": True}, "is_split_into_words needs a tokenizer that puts a space before each word"),
    ],
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    tokenizer = read(FILES / "added-json")
    text: Any = ["Hello"] if options.get("is_split_into_words") else "Hello you"
    with raises(TokenizerError, ValueError, words):
        tokenizer(text, **options)


def test_hugging_faces_names_of_nothing() -> None:
    tokenizer = read(FILES / "added-json")
    assert ids(tokenizer, "Hello you", padding="do_not_pad") == ids(tokenizer, "Hello you")
    assert len(ids(tokenizer, "z" * 600, truncation="do_not_truncate")) == 602
    with raises(TokenizerError, ValueError, "do not fit into one array"):
        tokenizer(["a", "Hello you"], padding="do_not_pad")


@pytest.mark.parametrize(
    ("words", "telling"),
    [
        ("Hello", "the text is of type str: with is_split_into_words, give a list of words"),
        ([5], "the text is of type int: with is_split_into_words"),
        ([["a", 5]], "word of the text 2 is of type int"),
        (5, "the text is of type int"),
    ],
)
def test_invalid_words(words: Any, telling: str) -> None:
    with raises(TokenizerError, ValueError, telling):
        read(FILES / "prefix")(words, is_split_into_words=True)


# --- settings that are wrong ----------------------------------------------------------------------------------------

WRONG: dict[str, list[tuple[Any, str]]] = {
    "tokenizer_config.json": [
        ({"tokenizer_class": 5}, "tokenizer_class must be the name of a class, not 5"),
        ({"tokenizer_class": "GPT2Tokenizer"}, "vocab.json and merges.txt, which are read for RobertaTokenizer"),
        ({"add_prefix_space": "yes"}, "add_prefix_space must be true or false, not 'yes'"),
        ({"padding_side": "up"}, 'padding_side must be "left" or "right", not \'up\''),
        ({"truncation_side": []}, 'truncation_side must be "left" or "right", not []'),
        ({"model_max_length": "512"}, "model_max_length must be a number of at least 1, not '512'"),
        ({"model_max_length": 0}, "model_max_length must be a number of at least 1, not 0"),
        ({"extra_ids": -1}, "extra_ids must be an integer from 0 to 10000, not -1"),
        ({"model_input_names": "ids"}, "model_input_names must be a list of names, not 'ids'"),
        ({"mask_token": 5}, "a token in mask_token must be a text of 1 to 1000 characters"),
        ({"mask_token": {"content": "<mask>", "lstrip": 1}}, "lstrip of a token in mask_token must be true or false"),
        ({"cls_token": ""}, "a token in cls_token must be a text of 1 to 1000 characters"),
        ({"cls_token": "a" * 1001}, "a token in cls_token must be a text of 1 to 1000 characters"),
        ({"additional_special_tokens": "<a>"}, "additional_special_tokens must be a list of tokens, not '<a>'"),
        ({"additional_special_tokens": [f"<{i}>" for i in range(MOST_ADDED + 1)]}, "added tokens; the limit is 10000"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder must map ids to tokens, not []"),
        ({"added_tokens_decoder": {"-1": {"content": "a"}}}, "added_tokens_decoder must map ids to tokens"),
        ({"added_tokens_decoder": {"5": "a"}}, "added_tokens_decoder must hold objects, not 'a'"),
        ([], "tokenizer_config.json must hold a JSON object, not a list"),
    ],
    "special_tokens_map.json": [
        ({"mask_token": ["<mask>"]}, "special_tokens_map.json: a token in mask_token must be a text"),
        ({"additional_special_tokens": [5]}, "a token in additional_special_tokens must be a text"),
    ],
    "added_tokens.json": [
        ({"<a>": "5"}, "added_tokens.json must map tokens to ids, but '<a>' has '5'"),
        ({"": 5}, "a token in added_tokens.json must be a text of 1 to 1000 characters"),
    ],
    "config.json": [({"tokenizer_class": []}, "config.json: tokenizer_class must be the name of a class, not []")],
}


def test_options_of_sentencepiece_are_named(tmp_path: Path) -> None:
    directory = shutil.copytree(FILES / "t5", tmp_path / "model")
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sp_model_kwargs": {"enable_sampling": True}}))
    with pytest.warns(UserWarning, match="sp_model_kwargs are ignored"):
        assert Tokenizer.load(directory, minroberta.load().config)


@pytest.mark.parametrize(("file", "content", "words"), [(file, *row) for file, rows in WRONG.items() for row in rows])
def test_wrong_settings(file: str, content: Any, words: str, tmp_path: Path) -> None:
    shutil.copytree(FILES / "no-merges", tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_text(json.dumps(content))
    with raises(TokenizerError, ValueError, words):
        Tokenizer.load(tmp_path, Config())


def test_a_listed_id_that_the_vocabulary_does_not_give(tmp_path: Path) -> None:
    shutil.copytree(FILES / "no-merges", tmp_path, dirs_exist_ok=True)
    (tmp_path / "added_tokens.json").write_text('{"[E1]": 900}')
    with pytest.warns(UserWarning, match=r"do not have the id .* such as '\[E1\]', listed as 900: its id is 301, as"):
        tokenizer = read(tmp_path)
    assert ids(tokenizer, "[E1]") == [0, 301, 2]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("vocab.txt", "Hello 5\nworld\n", "vocab.txt has the line 'world': a line must hold a token and a count"),
        ("bpe.codes", "a b\n", "a line must hold two tokens to merge, separated by a space, and a count"),
        ("tokenizer_config.json", '{"normalization": 1}', "normalization must be true or false, not 1"),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "BertJapaneseTokenizer"}',
            "but its class is BertJapaneseTokeni",
        ),
    ],
)
def test_invalid_codes(file: str, content: str, words: str, tmp_path: Path) -> None:
    shutil.copytree(FILES / "phobert", tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_text(content)
    with raises(TokenizerError, ValueError, words):
        Tokenizer.load(tmp_path, Config())


def test_entries_are_spelt_as_in_the_file() -> None:
    """With PhoBERT's codes, `la@@` is a part of a word, and `lazy` the end of one."""
    lines = (FILES / "phobert" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = read(FILES / "phobert")
    for token, entry in enumerate(["<s>", "<pad>", "</s>", "<unk>", *(line.split(" ")[0] for line in lines), "<mask>"]):
        assert tokenizer.entry(token) == entry
        assert tokenizer.id_of(entry) == token
    assert tokenizer.id_of("la") is None


@layouts
def test_no_tokens_are_the_empty_text(name: str) -> None:
    tokenizer = read(FILES / name)
    special = [tokenizer.id_of(tokenizer.roles[role]) for role in ("pad_token", "unk_token")]
    assert tokenizer.decode([]) == tokenizer.decode(special, skip_special_tokens=True) == ""


@pytest.mark.parametrize(
    ("ids", "text"),
    [([5], "he@@"), ([5, 14], "hello"), ([14, 5], "llo he@@"), ([0, 13, 20, 7, 2], "<s> l<mask> la</s>"), ([], "")],
)
def test_a_part_of_a_word_is_marked_at_the_end(ids: list[int], text: str) -> None:
    """As the slow tokenizer does: tokens joined by spaces, without `@@ `."""
    assert read(FILES / "phobert").decode(ids) == text


def test_tasks_name_tokens_as_the_file_does() -> None:
    with warnings.catch_warnings(action="error"):  # of targets that are not in the vocabulary
        found = model_of("phobert", "masked_lm").fill_mask("a <mask>", targets=["la@@", "lazy"])
    assert {filling["token"] for filling in found} == {6, 7}
    with pytest.warns(UserWarning, match="target 'la' is not in the vocabulary: 'l@@' is used instead"):
        model_of("phobert", "masked_lm").fill_mask("<mask>", targets=["la"])
    words = [entity["word"] for entity in model_of("phobert", "token_classification").tag("lazy hello d", "none")]
    assert words == ["lazy", "he@@", "llo", "d"]


@pytest.mark.parametrize("name", ["phobert", "lacking"])
def test_merges_that_the_vocabulary_lacks_are_unknown_tokens(name: str) -> None:
    """Their words are those of the text, as for any unknown token."""
    model, text = model_of(name, "token_classification"), "out of a lazy world"
    (row,) = model.tokenize(text)["input_ids"]
    entities = model.tag(text, "none")
    unknown = [entity for entity, token in zip(entities, row[1:-1], strict=True) if token == 3]
    assert unknown
    assert all(entity["word"] == text[entity["start"] : entity["end"]] for entity in unknown)


@pytest.mark.parametrize(
    ("name", "removed", "words"),
    [
        ("t5", "tokenizer_config.json", "a sentencepiece model, which RobertaTokenizer does not read: name the class"),
        ("vocab-txt", "config.json", "vocab.txt is read for BertTokenizer, DistilBertTokenizer, ElectraTokenizer, but"),
    ],
)
def test_files_without_their_class(name: str, removed: str, words: str, tmp_path: Path) -> None:
    shutil.copytree(FILES / name, tmp_path, dirs_exist_ok=True)
    (tmp_path / removed).unlink()
    with raises(TokenizerError, ValueError, words):
        Tokenizer.load(tmp_path, Config())


@pytest.mark.parametrize("name", ["additional", "vocab-txt", "phobert", "t5"])
def test_a_class_that_is_not_supported(name: str, tmp_path: Path) -> None:
    """Not the advice to name another class, with which the ids would be others."""
    shutil.copytree(FILES / name, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    advice = "tokenize with transformers, and call the model with the ids"
    with raises(TokenizerError, ValueError, "BertJapaneseTokenizer, which is not supported", advice):
        Tokenizer.load(tmp_path, Config())


# --- load -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model_of("roles-json", "masked_lm").save(tmp_path / "model")
    return tmp_path / "model"


def test_a_tokenizer_never_blocks_the_weights(saved: Path, tmp_path: Path) -> None:
    wanted = minroberta.load(saved)
    (saved / "tokenizer.json").write_text('{"model": {"type": "Unheard"}}')
    with pytest.warns(UserWarning, match=r"no tokenizer, because its files cannot be used: .*tokenizer\.json"):
        model = minroberta.load(saved)
    assert model.tokenizer is None
    assert np.array_equal(model([[0, 5, 2]]).logits, wanted([[0, 5, 2]]).logits)
    for call in (model.fill_mask, model.tokenize):
        with pytest.raises(TokenizerError, match=r"because its files cannot be used: .*tokenizer\.json is not a valid"):
            call("[MASK]")
    changed = model.resize_token_embeddings(400).prune_heads({0: [1]})
    with pytest.raises(TokenizerError, match=r"because its files cannot be used: .*tokenizer\.json is not a valid"):
        changed.tokenize("[MASK]")
    model.save(tmp_path / "again")
    assert not (tmp_path / "again" / "tokenizer.json").exists()


@pytest.mark.parametrize("kind", ["path", "str", "tokenizer"])
def test_the_tokenizer_of_another_directory(kind: str, saved: Path) -> None:
    source = FILES / "wordpiece-json"
    given: Any = {"path": source, "str": str(source), "tokenizer": read(source, max_position_embeddings=99)}[kind]
    (saved / "tokenizer.json").write_text("{broken")
    model = minroberta.load(saved, tokenizer=given)
    assert model.tokenizer is not None
    assert model.tokenizer.longest == 510
    assert model.tokenize("Hello world!")["input_ids"].tolist() == [expected("wordpiece-json")["ids"][0]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (5, "tokenizer must be a directory, a hub name or a Tokenizer, not int: give tokenizer=None for"),
        (FILES, "tokenizers has no tokenizer: name a directory or a model that has one"),
    ],
)
def test_a_tokenizer_that_is_none(given: Any, words: str, saved: Path) -> None:
    with raises(TokenizerError, ValueError, words):
        minroberta.load(saved, tokenizer=given)


@pytest.mark.parametrize("extra", [{"image_token": "<image>"}, ["<image>"]])
def test_extra_special_tokens(extra: Any, tmp_path: Path) -> None:
    """A dict in transformers 4.48.3, whose ids these are, and a list in version 5."""
    directory = tmp_path / "extra"
    shutil.copytree(FILES / "additional", directory)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra_special_tokens": extra}))
    assert ids(read(directory), "a <image> b") == [0, 68, 224, 304, 266, 2]
    path.write_text(json.dumps({"extra_special_tokens": "<image>"}))
    with pytest.raises(TokenizerError, match="extra_special_tokens must be a dict or a list of tokens, not '<image>'"):
        read(directory)
