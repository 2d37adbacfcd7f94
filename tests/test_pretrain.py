"""`examples/pretrain.py`: the rows that it makes of a text, and the model that it trains and saves."""

import importlib.util
import itertools
import random
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

import minroberta
from minroberta.cli import main as command

SCRIPT = Path(__file__).parents[1] / "examples/pretrain.py"
SENTENCES = """\
The river flows into the sea.
The farmer sells corn at the market.
The baker lights the oven before dawn.
A captain steers her ship through the storm.
In winter, snow covers the mountain.
My sister reads a letter from Canada.
""".splitlines()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with rows so short that a step takes a few hundredths of a second."""
    spec = importlib.util.spec_from_file_location("pretrain", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LENGTH", 16)
    return module


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """3500 lines, each one of the sentences, and empty ones."""
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(random.Random(0).choices(SENTENCES, k=3500)), encoding="utf-8")
    return path


def run(script: ModuleType, *arguments: object) -> str:
    done = CliRunner().invoke(script.main, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_it_learns_more_than_frequencies(script: ModuleType, text: Path, tmp_path: Path) -> None:
    """In these sentences, the words around a token tell which one it is. The saved model has the printed loss."""
    printed = run(script, text, tmp_path / "model", "--steps", 100)
    before, of_frequencies, after = map(float, re.findall(r"(\d+\.\d+) (?:before|from|after) ", printed))
    assert after < of_frequencies - 1 < before - 2, printed
    assert "causal_lm: step 40 of 40, " in printed and "masked_lm: step 60 of 60, " in printed

    model = minroberta.load(tmp_path / "model")
    rows = script.packed(model.tokenizer.library, text.read_text(encoding="utf-8").split("\n\n")[-70:])
    losses = [model(**batch).loss for batch in script.held_out_batches(rows, model)]
    assert np.mean(losses) == pytest.approx(after, abs=0.001)
    line = ["fill-mask", "--model", str(tmp_path / "model"), "The river flows into the<mask>."]
    answer = CliRunner().invoke(command, line, catch_exceptions=False)
    assert answer.output.count("The river flows into the") == 5, answer.output


def test_it_takes_about_the_time_that_it_is_given(
    script: ModuleType, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on by a second each time that it is read, as it is after each step."""
    seconds = itertools.count()
    monkeypatch.setattr(script.time, "perf_counter", lambda: float(next(seconds)))
    printed = run(script, text, tmp_path, "--minutes", 0.5)
    assert "causal_lm: step 12 of 12, " in printed and "masked_lm: step 18 of 18, " in printed


def test_the_tokenizer_is_one_of_roberta(script: ModuleType) -> None:
    library = script.trained_tokenizer(SENTENCES * 2)
    encoded = library.encode("The river<mask>.")
    assert encoded.tokens == ["<s>", "The", "Ġriver", "<mask>", ".", "</s>"]
    assert [library.token_to_id(token) for token in script.SPECIAL] == [0, 1, 2, 3]
    assert library.token_to_id("<mask>") == library.get_vocab_size() - 1
    assert library.decode(library.encode("Größe 🙂").ids) == "Größe 🙂"


def test_rows_hold_the_text_without_gaps(script: ModuleType) -> None:
    library, lines = script.trained_tokenizer(SENTENCES), SENTENCES * 3
    rows = script.packed(library, lines)
    assert rows.shape[1] == 16 and (rows[:, 0] == 0).all()
    expected = [token for line in lines for token in library.encode(line).ids[1:]]
    assert len(expected) - 15 < rows[:, 1:].size <= len(expected)
    assert rows[:, 1:].reshape(-1).tolist() == expected[: rows[:, 1:].size]


def test_other_tokens_are_masked_each_time(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch has each row once. The next has another order and other masks. Held-out labels are at masks alone."""
    monkeypatch.setattr(script, "BATCH", 4)
    rows = np.arange(4, 4 + 8 * 16).reshape(8, 16)
    model = script.initial(script.trained_tokenizer(SENTENCES))
    mask, found, places = model.tokenizer.mask_token_id, [], []
    for batch in itertools.islice(script.batches(rows, model, 0), 4):
        ids, labels = batch["input_ids"], batch["labels"]
        found.append(np.where(labels >= 0, labels, ids))
        places.append(labels >= 0)
    for epoch in (np.concatenate(found[:2]), np.concatenate(found[2:])):
        assert np.array_equal(epoch[epoch[:, 0].argsort()], rows)
    assert not np.array_equal(found[0], found[2]) and not np.array_equal(places[0], places[2])
    held_out = script.held_out_batches(rows, model)
    assert len(held_out) == 2
    for batch in held_out:
        assert np.array_equal(batch["labels"] >= 0, batch["input_ids"] == mask) and mask in batch["input_ids"]


def test_the_loss_of_frequencies(script: ModuleType) -> None:
    """Of tokens that are there 1, 3 and 0 times, and one more each, among 1996; special tokens are never predicted."""
    rows, held_out = np.array([[0, 4, 5, 5, 5, 2]]), [{"labels": np.array([[-100, 4, 5, 9]])}]
    expected = -np.log(np.array([2, 4, 1]) / (1996 + 4)).mean()
    assert script.loss_of_frequencies(rows, held_out) == pytest.approx(expected, rel=1e-12)


def test_heads_of_the_first_layer_look_at_neighbours(script: ModuleType) -> None:
    """On average over random tokens and positions, each head attends to another neighbour more than to other tokens."""
    model = script.initial(script.trained_tokenizer(SENTENCES))
    ids = np.random.RandomState(0).randint(4, model.config.vocab_size, (200, 16))
    probs = minroberta.trace(model, ids)["encoder.layer.0.attention.self.probs"].mean(0)  # (H, L, S)
    shifts = [-4, -3, -2, -1, 1, 2, 3, 4]
    by_shift = [[np.mean([own[place, place + shift] for place in range(4, 12)]) for shift in shifts] for own in probs]
    assert [shifts[best] for best in np.argmax(by_shift, axis=1)] == [-2, -1, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join(SENTENCES).encode(), "give more text"),
        (b"", "give more text"),
        (b"caf\xe9", "is not UTF-8 text (byte 3): convert it"),
    ],
)
def test_a_text_that_cannot_be_used(script: ModuleType, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    done = CliRunner().invoke(script.main, [str(tmp_path / "text.txt"), str(tmp_path / "model")])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
