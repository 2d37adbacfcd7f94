"""BERTweet's normalisation gives the ids of transformers, and offsets in the tweet itself."""

import builtins
import json
import pickle
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import GOLDEN, slow_but

import minroberta
from minroberta import Config, Model
from minroberta.text.tokenizer import Tokenizer
from minroberta.text.tweets import Aligned, words

FILES = GOLDEN / "tweets"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
CONFIG = Config.from_dict({"model_type": "roberta", "max_position_embeddings": 514})


def read(directory: Path = FILES) -> Tokenizer:
    tokenizer = Tokenizer.load(directory, CONFIG)
    assert tokenizer is not None
    return tokenizer


def ids(tokenizer: Tokenizer, text: Any, **options: Any) -> list[int]:
    return tokenizer(text, truncation=False, **options)["input_ids"][0].tolist()


@pytest.fixture
def tokenizer() -> Tokenizer:
    pytest.importorskip("emoji", reason="the emoji package is not installed")
    return read()


@pytest.fixture
def without_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the emoji package were not installed."""
    found, version = builtins.__import__, metadata.version

    def lacking(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "emoji":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    def lacking_version(name: str) -> str:
        if name == "emoji":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(builtins, "__import__", lacking)
    monkeypatch.setattr(metadata, "version", lacking_version)


# --- ids ------------------------------------------------------------------------------------------------------------


def test_ids_are_transformers(tokenizer: Tokenizer) -> None:
    for text, row, _ in EXPECTED["tweets"]:
        assert ids(tokenizer, text) == row, text


def test_ids_without_the_emoji_package(without_emoji: None) -> None:
    with pytest.warns(UserWarning, match=r"emoji are not replaced by their .* pip install 'minroberta\[tweets\]'"):
        tokenizer = read()
    for text, row, plain in EXPECTED["tweets"]:
        assert ids(tokenizer, text) == (plain or row), text
    assert sum(plain is not None for _, _, plain in EXPECTED["tweets"]) > 100


def test_another_version_of_the_emoji_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.14.1")
    with pytest.warns(UserWarning, match=r"emoji 2\.14\.1 has other names than those on which BERTweet was trained"):
        read()


def test_words_and_pairs_are_transformers(tokenizer: Tokenizer) -> None:
    texts = [text for text, *_ in EXPECTED["tweets"]]
    pairs = [
        *zip(texts[:9], texts[9:18], strict=True),
        *json.loads((GOLDEN / "tokenizers" / "inputs.json").read_text())["pairs"],
    ]
    assert [ids(tokenizer, first, pairs=second) for first, second in pairs] == EXPECTED["pairs"]
    for row, wanted in zip([["don't", "@you", "&amp;"], ["😂"]], EXPECTED["words"], strict=True):
        assert ids(tokenizer, [row], is_split_into_words=True) == wanted


def test_the_setting_names_the_class(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").write_text('{"normalization": true}')
    assert ids(read(tmp_path), "@you") == ids(tokenizer, "@USER")


def test_without_the_setting_tweets_are_not_changed(tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    for fields in (
        {"tokenizer_class": "BertweetTokenizer"},
        {"tokenizer_class": "PhobertTokenizer", "normalization": True},
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(fields))
        assert ids(read(tmp_path), "@you") != ids(read(tmp_path), "@USER")


def test_saved_and_read_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again, copy = read(tmp_path), pickle.loads(pickle.dumps(tokenizer))
    for text, row, _ in EXPECTED["tweets"][:50]:
        assert ids(again, text) == ids(copy, text) == row
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["normalization"] is True


# --- offsets --------------------------------------------------------------------------------------------------------


def offsets(tokenizer: Tokenizer, text: Any, **options: Any) -> list[str]:
    """The part of the text that each token stands for."""
    found = tokenizer(text, return_offsets=True, truncation=False, **options)["offset_mapping"][0].tolist()
    return [text[start:end] for start, end in found[1:-1]]


@pytest.mark.parametrize(
    ("tweet", "normal", "sources"),
    [
        ("@you said", "@USER said", ["@you", "said"]),
        ("see http://t.co/x!", "see HTTPURL !", ["see", "http://t.co/x", "!"]),
        ("I don't know", "I do n't know", ["I", "do", "n't", "know"]),
        ("we cannot go", "we can not go", ["we", "cannot", "cannot", "go"]),
        ("so… &amp; so", "so ... & so", ["so", "…", "&amp;", "so"]),
        ("no!!!!!!", "no ! ! !", ["no", "!!!!!!", "!!!!!!", "!!!!!!"]),
        ("at 5 p.m. now", "at 5 p.m. now", ["at", "5", "p.m.", "now"]),
        ("555 123 4567", "555 123 4567", ["555", "123", "4567"]),
        ("It’s\n\tme", "It 's me", ["It", "’s", "me"]),
        ("", "", []),
    ],
)  # fmt: skip
def test_the_source_of_each_word(tweet: str, normal: str, sources: list[str]) -> None:
    found = words(Aligned.of(tweet))
    assert " ".join(word.text for word in found) == normal
    assert [tweet[slice(*word.span)] for word in found] == sources


@given(st.lists(st.text() | st.sampled_from([text for text, *_ in EXPECTED["tweets"]])).map("".join))
def test_sources_are_within_the_tweet_and_in_order(tweet: str) -> None:
    end = 0
    for word in words(Aligned.of(tweet)):
        assert len(word.text) == len(word.spans)
        assert 0 <= word.span[0] < word.span[1] <= len(tweet)
        assert word.span[1] >= end
        assert tweet[slice(*word.span)].strip()
        end = word.span[1]


def test_offsets_of_tokens(tokenizer: Tokenizer) -> None:
    assert offsets(tokenizer, "@you <mask>ab") == ["@you", "<mask>", "a", "b"]
    assert offsets(tokenizer, "&gt;😂") == ["&gt;", *["😂"] * len(":face_with_tears_of_joy:")]
    result = tokenizer(["a", "@you"], is_split_into_words=True, return_offsets=True, return_word_ids=True)
    assert result["word_ids"].tolist() == [[-1, 0, 1, -1]]
    assert result["offset_mapping"].tolist() == [[[0, 0], [0, 1], [0, 4], [0, 0]]]


def model_of(head: str, tokenizer: Tokenizer) -> Model:
    """A random model with this tokenizer."""
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    vocabulary = {"vocab_size": tokenizer.library.get_vocab_size(), "max_position_embeddings": 60}
    model = minroberta.init({"model_type": "roberta", **size, **vocabulary}, head)
    model.tokenizer = tokenizer.of_model(model.config)
    return model


@pytest.mark.parametrize("strategy", [None, "none", "simple", "first"])
def test_tags_are_of_the_tweet(strategy: Any, tokenizer: Tokenizer) -> None:
    tagger = model_of("token_classification", tokenizer)
    tweet = "@you cannot see http://t.co/x, &amp; " * 4
    found = tagger.tag(tweet, aggregation_strategy=strategy)
    assert all(tweet[entity["start"] : entity["end"]].strip() for entity in found)
    assert strategy == "none" or all(entity["word"] == tweet[entity["start"] : entity["end"]] for entity in found)
    assert strategy or {"@you", "http://t.co/x", "&amp;"} <= {entity["word"] for entity in found}


def test_answers_are_of_the_tweet(tokenizer: Tokenizer) -> None:
    reader = model_of("question_answering", tokenizer)
    tweet = "@you cannot see http://t.co/x, &amp; " * 4
    for found in reader.answer("who?", tweet, top_k=20):
        assert found["answer"] == tweet[found["start"] : found["end"]]
        assert found["answer"].replace(",", "").split()[0] in ("@you", "cannot", "see", "http://t.co/x", "&amp;")


@pytest.mark.parametrize("part", slow_but(["a.", "-.", "1-", "a+", "<a", "a@", "http:/", "((", "1 "], "a.", "<a"))
def test_no_tweet_takes_long(part: str) -> None:
    """A text of 20,000 characters took up to 17 s, and time grew with its square. Other processes do not count."""
    start = time.thread_time()
    assert words(Aligned.of(part * (20_000 // len(part))))
    assert time.thread_time() - start < 5
