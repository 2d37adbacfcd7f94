"""fairseq's and KerasHub's vocabularies, and errors for invalid ones."""

import json
import shutil
from pathlib import Path

import pytest
from support import CHECKPOINTS, raises

import minroberta
from minroberta import NotFoundError, TokenizerError
from minroberta.text.vocabularies import LARGEST_TEXT, VOCABULARY, fairseq_vocabulary

PIECES = {"!": 0, ".": 13, "t": 83, "Ġ": 220, "Ġt": 256, "<|endoftext|>": 50256}
LINES = ["13 850314647", "256 800385005", "220 3", "83 2", "0 1", "50256 0", "madeupword0000 0", "madeupword0001 0"]
MERGES = ["#version: 0.2", "Ġ t", ""]


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    (tmp_path / "encoder.json").write_text(json.dumps(PIECES))
    (tmp_path / "dict.txt").write_text("\n".join([*LINES, ""]), encoding="utf-8")
    (tmp_path / "vocab.bpe").write_text("\n".join(MERGES), encoding="utf-8")
    return tmp_path


def test_a_vocabulary(gpt2: Path) -> None:
    vocab, merges = fairseq_vocabulary(gpt2)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*special, ".", "Ġt", "Ġ", "t", "!", "<|endoftext|>", "madeupword0000", "madeupword0001", "<mask>"]
    assert list(vocab.items()) == [(token, i) for i, token in enumerate(tokens)]
    assert merges == [("Ġ", "t")]


def test_lines_that_end_as_on_windows(gpt2: Path) -> None:
    wanted = fairseq_vocabulary(gpt2)
    for name in ("dict.txt", "vocab.bpe"):
        (gpt2 / name).write_bytes((gpt2 / name).read_bytes().replace(b"\n", b"\r\n"))
    assert fairseq_vocabulary(gpt2) == wanted


@pytest.mark.parametrize(
    "line", ["13", "13 x", " 13 4", "13 -4", "13 4 #fairseq:overwrite", "a b 4", "\x00", "13\u00a04"]
)
def test_an_invalid_line(gpt2: Path, line: str) -> None:
    (gpt2 / "dict.txt").write_text(line + "\n", encoding="utf-8")
    with raises(
        TokenizerError, ValueError, "dict.txt has the line", repr(line), "a line must hold a token and a count"
    ):
        fairseq_vocabulary(gpt2)


@pytest.mark.parametrize("line", ["13 5", "<s> 5", "<mask> 1"])
def test_a_token_twice(gpt2: Path, line: str) -> None:
    (gpt2 / "dict.txt").write_text("\n".join(["13 5", line, line]), encoding="utf-8")
    with raises(TokenizerError, ValueError, "dict.txt lists", "twice"):
        fairseq_vocabulary(gpt2)


def test_a_number_that_gpt2_does_not_have(gpt2: Path) -> None:
    (gpt2 / "dict.txt").write_text("99999 5\n")
    with raises(TokenizerError, ValueError, "dict.txt lists id 99999, which encoder.json lacks"):
        fairseq_vocabulary(gpt2)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "b"}', '{"a": 1.5}', '{"a": true}', "[" * 100_000, "9" * 5000])
def test_an_invalid_encoder(gpt2: Path, text: str) -> None:
    (gpt2 / "encoder.json").write_text(text)
    with raises(TokenizerError, ValueError, "encoder.json is"):
        fairseq_vocabulary(gpt2)


@pytest.mark.parametrize("line", ["Ġt", "Ġ t h", "a" * 100_000])
def test_an_invalid_merge(gpt2: Path, line: str) -> None:
    (gpt2 / "vocab.bpe").write_text(line, encoding="utf-8")
    with raises(TokenizerError, ValueError, "vocab.bpe has the line", line[:100], "two tokens"):
        fairseq_vocabulary(gpt2)


@pytest.mark.parametrize("name", VOCABULARY)
def test_files_of_a_vocabulary(gpt2: Path, name: str) -> None:
    (gpt2 / name).write_bytes(b"\xff\xfe 4")
    with raises(TokenizerError, ValueError, f"{name} is not UTF-8 text"):
        fairseq_vocabulary(gpt2)
    (gpt2 / name).write_bytes(b" " * (LARGEST_TEXT + 1))
    with raises(TokenizerError, ValueError, f"{name} has more than {LARGEST_TEXT} bytes, which is the limit"):
        fairseq_vocabulary(gpt2)
    (gpt2 / name).unlink()
    with raises(NotFoundError, FileNotFoundError, f"{gpt2} has no file {name}"):
        fairseq_vocabulary(gpt2)


def test_a_vocabulary_next_to_a_checkpoint(gpt2: Path) -> None:
    shutil.copy(CHECKPOINTS / "fairseq" / "model.pt", gpt2 / "model.pt")
    model = minroberta.load(gpt2)
    assert model.tokenizer is not None
    assert model.tokenizer("! t.")["input_ids"].tolist() == [[0, 8, 5, 4, 2]]
