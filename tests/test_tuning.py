"""Fine-tuning: files of examples, their rows, measures, LoRA, and runs that are interrupted and go on."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file
from support import raises, tiny

import minroberta
from minroberta import ConfigError, InputError, Model, NameUnknownError, NotFoundError, gradients
from minroberta.cli import main
from minroberta.cli import training as command
from minroberta.train import Moments, Part, train
from minroberta.tuning import Example, Lora, examples_of, fine_tune, read_examples, with_new_head
from minroberta.tuning.labels import label_fields, numbers_of, problem_of
from minroberta.tuning.loop import divided, order_of_epoch
from minroberta.tuning.measures import _entities, _of_answers, better, measure
from minroberta.tuning.records import read_records
from minroberta.tuning.rows import Labelled, batch_of, rows_of
from minroberta.weights import flat

CLASSES, TAGS, QUESTIONS, CHOICES = (
    "sequence_classification",
    "token_classification",
    "question_answering",
    "multiple_choice",
)

# --- files ----------------------------------------------------------------------------------------------------------


def written(directory: Path, name: str, content: str | bytes) -> Path:
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(directory: Path, name: str, content: Any, head: str, **columns: str) -> list[Example]:
    """The examples in a file with this content; what is not a str is written as JSON."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    return read_examples(written(directory, name, text), head, columns)[0]


FILES: dict[str, tuple[str, Any, Mapping[str, str]]] = {
    "commas": ("a.csv", "text,label\r\nA cat,good\r\nA dog,bad\r\n", {}),
    "a byte order mark": ("a.csv", "\ufeffText,Label\nA cat,good\nA dog,bad\n", {}),
    "other order, more columns": ("a.csv", "id,stars,review\n1,good,A cat\n2,bad,A dog\n", {}),
    "semicolons": ("a.csv", "text;label\nA cat;good\nA dog;bad", {}),
    "tabs": ("a.csv", 'text\tlabel\n"A cat"\tgood \nA dog\tbad', {}),
    "told": ("a.csv", "x,y\nA cat,good\nA dog,bad", {"text": "x", "label": "y"}),
    "no names": ("a.tsv", "good\tA cat\nbad\tA dog\ngood\tA cow", {}),
    "numbers of columns": ("a.tsv", "good\tx\tA cat\nbad\tx\tA dog", {"text": "3", "label": "1"}),
    "numbers, the first label being one": ("a.tsv", "1\tA cat\n2\tA dog", {"text": "2", "label": "1"}),
    "JSON lines": ("a.jsonl", '{"sentence": "A cat", "label": "good"}\n\n{"sentence": "A dog", "label": "bad"}\n', {}),
    "JSON": ("a.json", [{"text": "A cat", "label": "good"}, {"text": "A dog", "label": "bad"}], {}),
}


@pytest.mark.parametrize("name", FILES)
def test_texts_with_labels(tmp_path: Path, name: str) -> None:
    file, content, columns = FILES[name]
    examples = found(tmp_path, file, content, CLASSES, **columns)
    assert [text for text, _ in examples[:2]] == [("A cat",), ("A dog",)]
    assert [label for _, label in examples[:2]] == (["1", "2"] if "being one" in name else ["good", "bad"])


def test_quotes_hold_delimiters_and_lines_in_csv_alone(tmp_path: Path) -> None:
    ((texts, _),) = found(tmp_path, "a.csv", 'text,label\n"A ""cat"",\nor two",1\n', CLASSES)
    assert texts == ('A "cat",\nor two',)
    one, _ = found(tmp_path, "a.tsv", 'text\tlabel\n"A cat\t1\nB\t2', CLASSES)
    assert one.texts == ('"A cat',)


def test_pairs(tmp_path: Path) -> None:
    examples = found(tmp_path, "a.csv", "premise,hypothesis,label\nA,B,0\n", CLASSES)
    assert examples == [Example(("A", "B"), "0")]


SENTENCE = Example(("EU", "rejects", "#", "call"), ["B-ORG", "O", "O", "O"])
UNIVERSAL = (
    "# text = EU rejects # call\n1-2\tx" + "\t_" * 8 + "\n"
    + "".join(f"{i}\t{w}\t_\t{t}" + "\t_" * 6 + "\n" for i, (w, t) in enumerate(zip(*SENTENCE, strict=True), 1))
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "-DOCSTART- O\n\nEU B-ORG\nrejects O\n# O\ncall O\n\n"),
        ("a.bio", "EU\tNNP\tB-ORG\nrejects\tV\tO\n#\tS\tO\ncall\tN\tO\n\t\n"),
        ("a.conllu", UNIVERSAL),
        ("a.jsonl", json.dumps({"tokens": SENTENCE.texts, "ner_tags": SENTENCE.label})),
    ],
)
def test_words_with_tags(tmp_path: Path, name: str, content: str) -> None:
    assert found(tmp_path, name, content, TAGS) == [SENTENCE]


CONTEXT = "The war ended in 1945, and in 1946 all was quiet."
ANSWERED = [Example(("When did it end?", CONTEXT), [(17, 21)]), Example(("Why?", CONTEXT), [])]
ENDED = {"text": "1945", "answer_start": 17}


@pytest.mark.parametrize(
    "content",
    [
        {
            "version": "2.0",
            "data": [
                {
                    "title": "War",
                    "paragraphs": [
                        {
                            "context": CONTEXT,
                            "qas": [
                                {"question": "When did it end?", "answers": [ENDED], "is_impossible": False},
                                {"question": "Why?", "answers": [], "is_impossible": True},
                            ],
                        }
                    ],
                }
            ],
        },
        [
            {"question": "When did it end?", "context": CONTEXT, "answers": {"text": ["1945"], "answer_start": [17]}},
            {"question": "Why?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
        ],
        [
            {"question": "When did it end?", "context": CONTEXT, "answer": "1945"},
            {"question": "Why?", "context": CONTEXT, "answer": ""},
        ],
    ],
)
def test_questions(tmp_path: Path, content: Any) -> None:
    assert found(tmp_path, "a.json", content, QUESTIONS) == ANSWERED


@pytest.mark.parametrize(
    "content",
    [
        "prompt,choice1,choice2,label\nIt rained,she got wet,she burnt,0\n",
        "id,sent1,ending0,ending1,label\n7,It rained,she got wet,she burnt,A\n",
        "label,choice2,choice1,prompt\n0,she burnt,she got wet,It rained\n",
    ],
)
def test_choices(tmp_path: Path, content: str) -> None:
    assert found(tmp_path, "a.csv", content, CHOICES) == [Example(("It rained", "she got wet", "she burnt"), 0)]


def test_choices_in_columns_that_are_told(tmp_path: Path) -> None:
    row = "x\tIt rained\tshe got wet\tshe burnt\t0\n"
    told = {"prompt": "2", "choices": "3,4", "label": "5"}
    assert found(tmp_path, "a.tsv", row, CHOICES, **told) == [Example(("It rained", "she got wet", "she burnt"), 0)]
    columns = read_examples(written(tmp_path, "a.csv", "prompt,choice1,choice2,label\nA,b,c,1\n"), CHOICES)[1]
    assert columns == {"prompt": "prompt", "label": "label", "choices": "choice1,choice2"}


HEADER = "opinion,verdict\n" + "".join(f"A cat {i},{i % 2}\n" for i in range(6))


@pytest.mark.parametrize(
    ("name", "content", "head", "columns", "telling"),
    [
        ("a.xlsx", "", CLASSES, {}, "ends in .xlsx: give a file that ends in .csv, .tsv"),
        ("a.csv", b"text,label\n\xff,1", CLASSES, {}, "is not in UTF-8 (byte 12 is 0xff)"),
        ("a.csv", "", CLASSES, {}, "holds no examples"),
        ("a.csv", "text,label\nA,b,c\n", CLASSES, {}, "line 2 has 3 columns, but the first has 2: put a text that"),
        ("a.jsonl", '{"text": "a"}\n{"text"', CLASSES, {}, "line 2 is not JSON"),
        ("a.json", "3", CLASSES, {}, "must be a list of objects, or SQuAD's object with a list n"),
        ("a.json", "[" * 100_000, CLASSES, {}, "a.json"),
        ("a.csv", "a,b,c\n1,2,3\n", CLASSES, {}, "no column has a usual name for the text in the first line, a, b"),
        (
            "a.jsonl", '{"a": "x", "b": "y"}', CLASSES, {},
            "a usual name for the text and the label, among a, b: name it, as in --column text=a --column label=b",
        ),
        ("a.csv", "a,b\nA,b\n", CLASSES, {"label": "a"}, "for the text, among a, b: name it, as in --column text=b"),
        ("a.jsonl", '{"a": "x"}', CLASSES, {}, "for the text and the label, and there are too few columns, a: add one"),
        ("a.csv", HEADER, CLASSES, {}, "the first line seems to name the columns, opinion, verdict: s"),
        ("a.csv", "text,label,label\nA,b,c\n", CLASSES, {}, "two columns are named 'label': give each another name"),
        ("a.csv", "a,b\nA,b\n", CLASSES, {"text": "a", "label": "a"}, "the column 'a' is given two roles"),
        ("a.csv", "text,label\n ,1\n", CLASSES, {}, "a.csv: example 1: the text is empty"),
        ("a.csv", "text,label\nA,\n", CLASSES, {}, "example 1: the label is empty"),
        ("a.conll", "a O\nb B\n", CLASSES, {}, "no column has a usual name for the text"),
        ("a.conll", "a\nb\n", TAGS, {}, "no column has a usual name for the words"),
        ("a.jsonl", '{"words": ["a"], "tags": [null]}', TAGS, {}, "tags must be names or numbers, not [None]"),
        ("a.json", {"data": [{"paragraphs": ["x"]}]}, QUESTIONS, {}, "a paragraph must be an object, not str"),
        ("a.json", {"data": [{"paragraphs": None}]}, QUESTIONS, {}, "must be a list, not NoneType"),
        ("a.json", {"data": [{"context": "c", "qas": None}]}, QUESTIONS, {}, "must be a list, not NoneType"),
        (
            "a.json", [{"question": "q", "context": "cx", "answers": {"text": ["x"], "answer_start": 1}}], QUESTIONS,
            {}, "the answers must have a list of text and one of answer_start, of the same length",
        ),
        (
            "a.json", [{"question": "q", "context": "c", "answers": [{"text": "c", "answer_start": "b"}]}],
            QUESTIONS, {}, "the start of an answer must be the number of a",
        ),
        ("a.json", [{"question": "q", "context": "c", "answers": {"text": None}}], QUESTIONS, {}, "must be a text"),
        ("a.csv", "text,label\n" + "x" * 140_000 + ",1\n", CLASSES, {}, "field larger than field limit", ),
        ("a.jsonl", '{"text": "a", "label": null}', CLASSES, {}, "the label must be a name, a number or a list of"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"label": 1}', CLASSES, {}, "example 2: it has no 'text'"),
        ("a.conll", "a O\nb\n", TAGS, {}, "line 2 has 1 columns, but the line before has 2"),
        ("a.jsonl", '{"words": ["a"], "tags": []}', TAGS, {}, "words and tags must be two lists of the same length"),
        ("a.json", [{"question": "q", "context": "c", "answer": "x"}], QUESTIONS, {}, "does not have the answer 'x'"),
        (
            "a.json", [{"question": "q", "context": "cx", "answers": [{"text": "x", "answer_start": 0}]}], QUESTIONS,
            {}, "the context does not have the answer 'x' at character 0",
        ),
        ("a.csv", "prompt,choice1,label\nA,b,0\n", CHOICES, {}, "at least two choices are needed"),
        ("a.csv", "prompt,choice1,choice2,label\nA,b,c,2\n", CHOICES, {}, "from 0 to 1, or a letter from A, not '2'"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(
    tmp_path: Path, name: str, content: Any, head: str, columns: Mapping[str, str], telling: str
) -> None:
    with raises(InputError, ValueError, telling):
        found(tmp_path, name, content, head, **columns)


def test_names_that_are_unknown(tmp_path: Path) -> None:
    with raises(NotFoundError, FileNotFoundError, "there is no file"):
        read_records(tmp_path / "a.csv")
    records = [{"text": "a", "label": "b"}]
    with raises(NameUnknownError, KeyError, "unknown role 'txt' of a column for", "text, label, pair"):
        examples_of(records, CLASSES, {"txt": "text"})
    with raises(NameUnknownError, KeyError, "there is no column 'body' for text: give one of text, label"):
        examples_of(records, CLASSES, {"text": "body"})
    with raises(NameUnknownError, KeyError, "head 'encoder' has no loss to train with"):
        examples_of(records, "encoder")


# --- labels ---------------------------------------------------------------------------------------------------------


def labelled(*labels: Any) -> list[Example]:
    return [Example((f"text {index}",), label) for index, label in enumerate(labels)]


def test_what_labels_mean() -> None:
    assert problem_of(labelled("a", "b")) == "single_label_classification"
    assert problem_of(labelled(1, 2)) == problem_of(labelled("1", "2")) == "single_label_classification"
    assert problem_of(labelled(0.5, "2.0")) == problem_of(labelled(1, 0.00001)) == "regression"
    assert problem_of(labelled("0.5", "nan")) == problem_of(labelled(".", "1")) == "single_label_classification"
    with raises(InputError, ValueError, "the labels are lists of 0 and 1: give lists of names or numbers"):
        problem_of(labelled(["0", "1", "1"], ["1", "0", "0"]))
    assert problem_of(labelled(["a"], [])) == "multi_label_classification"


def test_labels_are_sorted_integers_as_numbers() -> None:
    assert label_fields(labelled("10", "9", "9"), CLASSES)["id2label"] == {0: "9", 1: "10"}
    assert label_fields(labelled("b", "10", "9"), CLASSES)["id2label"] == {0: "10", 1: "9", 2: "b"}
    assert label_fields(labelled("4,27", "4"), CLASSES, "multi_label_classification")["label2id"] == {"4": 0, "27": 1}
    with raises(InputError, ValueError, "all examples have the label a: give examples of two labels or more"):
        label_fields(labelled("a", "a"), CLASSES)
    with raises(InputError, ValueError, "all examples have the label none"):
        label_fields(labelled([], []), CLASSES)
    with raises(NameUnknownError, KeyError, "unknown problem_type 'x'"):
        label_fields(labelled("a", "b"), CLASSES, "x")


def test_numbers_of_labels() -> None:
    def numbers(*labels: Any, **fields: Any) -> list[Any]:
        return numbers_of(labelled(*labels), CLASSES, tiny(CLASSES, **fields).config)

    names = {"id2label": {0: "bad", 1: "good", 2: "so-so"}}
    assert numbers("good", "bad", **names) == [1, 0]
    assert numbers(["good", "bad"], [], **names) == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert numbers("0", 1, num_labels=2) == [0, 1]
    assert numbers("0.5", 2, num_labels=1) == [0.5, 2.0]
    assert numbers(["2"], ["0", "1"], num_labels=3) == [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    with raises(InputError, ValueError, "the label must be a number, not 'inf'"):
        numbers("inf", num_labels=1)
    with raises(InputError, ValueError, "the model has no label 'awful', but bad, good, so-so: give load("):
        numbers("awful", **names)
    with raises(InputError, ValueError, "the label must be a number, not 'awful', since problem_type is regression"):
        numbers("awful", num_labels=1)


# --- rows -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models() -> Callable[[str], Model]:
    loaded: dict[str, Model] = {}

    def model(head: str) -> Model:
        if head not in loaded:
            fields = {"hidden_dropout_prob": 0.1} if head == CLASSES else {}
            loaded[head] = minroberta.load(head=head, missing="init", config=fields)
        return loaded[head]

    return model


def test_a_tag_is_at_the_first_token_of_its_word(models: Callable[[str], Model]) -> None:
    model = models(TAGS)
    words = ("Unbelievably", ",", "Hrothgar's", "naïve", "🙂", "dog", "barks")
    tags = ["ADV", "PUNCT", "PROPN", "ADJ", "SYM", "NOUN", "VERB"]
    (row,) = rows_of(model, [Example(words, tags)])
    text = " ".join(words)
    starts = [text.index(word) for word in words]
    offsets = model.tokenizer.tokenize(text, return_offsets=True)["offset_mapping"][0]
    at = [position for position, label in enumerate(row.label) if label != -100]
    assert [model.config.id2label[row.label[i]] for i in at] == tags
    assert [text[offsets[i][0] : offsets[i][1]].lstrip()[0] for i in at] == [text[start] for start in starts]
    assert len(row.label) == len(row.rows[0]) > len(words) + 2


def test_an_answer_is_at_its_tokens(models: Callable[[str], Model]) -> None:
    model, long = models(QUESTIONS), "Nothing happened. " * 60 + CONTEXT + " Nothing happened." * 60
    start = long.index("1945")
    rows = rows_of(model, [Example(("When did it end?", long), [(start, start + 4)]), ANSWERED[1]], max_length=160)
    inside = [row for row in rows if row.label != (0, 0)]
    assert len(rows) > 5 and inside and rows[-1].label == (0, 0)
    for row in inside:
        first, last = row.label
        assert model.tokenizer.decode(list(row.rows[0][first : last + 1])).strip() == "1945"
    for row in rows:
        if row.label == (0, 0):
            assert "1945" not in model.tokenizer.decode(list(row.rows[0])) or row is rows[-1]


def test_batches(models: Callable[[str], Model]) -> None:
    choices = [Example(("It rained", "she got wet", "she burnt all of it"), 0), Example(("A", "b", "c"), 1)]
    model = models(CHOICES)
    batch = batch_of(model, rows_of(model, choices), 0)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 2, batch["input_ids"].shape[2])
    assert batch["labels"].tolist() == [0, 1] and math.isfinite(model(**batch)["loss"])
    with raises(InputError, ValueError, "examples have 1 to 2 choices: give the same number of choices in each"):
        rows_of(model, [*choices, Example(("A", "b"), 0)])
    text = [Example(("A cat sat on the mat and looked at the dog. " * 40,), None)]
    model = models("masked_lm")
    rows = rows_of(model, text, max_length=50)
    assert sum(row.length - 2 for row in rows) == len(model.tokenizer.rows([text[0].texts[0]])[0]) - 2
    one, same, other = (batch_of(model, rows, seed) for seed in (0, 0, 1))
    assert np.array_equal(one["input_ids"], same["input_ids"]) and not np.array_equal(one["labels"], other["labels"])
    assert 0.05 < (one["labels"] != -100).mean() < 0.25


def test_batches_are_padded_on_the_right() -> None:
    """As tasks do, in effect: a classifier reads the first position, where a row may not begin with padding."""
    for head, examples in ((TAGS, [Example(("A", "big", "dog"), ["DET", "ADJ", "NOUN"])]), (QUESTIONS, ANSWERED)):
        model = minroberta.load(head=head)
        other = Example(("dog",), ["NOUN"]) if head == TAGS else Example(("?", "1945"), [(0, 4)])
        rows = rows_of(model, [*examples, other])
        right = batch_of(model, rows, 0)
        model.tokenizer.settings.values["padding_side"] = "left"
        try:
            left = batch_of(model, rows, 0)
        finally:
            del model.tokenizer.settings.values["padding_side"]
        assert all(np.array_equal(left[name], right[name]) for name in right)
        assert left["attention_mask"][:, 0].all() and not left["attention_mask"].all()


def test_there_is_always_a_masked_token(models: Callable[[str], Model]) -> None:
    """Otherwise the loss is NaN. Special tokens are never masked."""
    model = models("masked_lm")
    rows = rows_of(model, [Example(("A cat.",), None)])
    for seed in range(40):
        batch = batch_of(model, rows, seed)
        assert (batch["labels"] != -100).any()
        assert not np.isin(batch["labels"], list(model.tokenizer.special_ids)).any()
        assert np.array_equal(batch["input_ids"][:, [0, -1]], [[0, 2]])


def test_half_an_answer_is_none(models: Callable[[str], Model]) -> None:
    """In a window that ends within the answer, it is as if there were none."""
    model, context = models(QUESTIONS), "one two three four five six seven eight nine ten " * 3
    start, end = context.index("three"), context.index("ten") + 3
    rows = rows_of(model, [Example(("?", context), [(start, end)])], max_length=14)
    whole = [row for row in rows if row.label != (0, 0)]
    for row in whole:
        text = model.tokenizer.decode(list(row.rows[0][row.label[0] : row.label[1] + 1])).strip()
        assert text == context[start:end]
    assert len(rows) > len(whole) and len(whole) < 2


def test_texts_that_are_too_long_are_cut_with_a_warning(models: Callable[[str], Model]) -> None:
    with pytest.warns(UserWarning, match="1 of 2 examples have more than 8 tokens: the rest is left out"):
        rows = rows_of(models(CLASSES), [Example(("a " * 50,), "positive"), Example(("b",), "negative")], max_length=8)
    assert rows[0].length == 8


# --- measures -------------------------------------------------------------------------------------------------------


def test_entities() -> None:
    tags = ["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-PER"]
    assert _entities(tags) == {("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5), ("PER", 5, 6)}


class Answering:
    """A model that gives these answers."""

    def __init__(self, *answers: str) -> None:
        self.given = [[{"answer": answer}] for answer in answers]

    def answer(
        self, questions: list[str], contexts: list[str], handle_impossible_answer: bool, max_seq_len: int
    ) -> Any:
        assert handle_impossible_answer is True and max_seq_len == 99
        return self.given


def test_answers_are_scored_as_for_squad() -> None:
    text = "the Eiffel Tower, in Paris"
    tower, paris = Example(("?", text), [(4, 16), (0, 16)]), Example(("?", text), [(21, 26)])
    examples: Any = [tower, tower, paris, Example(("?", text), []), Example(("?", text), [])]
    scores = _of_answers(Answering("The Eiffel Tower!", "Tower of Paris", "London", "", "x"), examples, 99)  # type: ignore[arg-type]
    assert scores["exact_match"] == pytest.approx(2 / 5)
    assert scores["f1"] == pytest.approx((1 + 2 / 5 + 0 + 1 + 0) / 5)


def test_which_is_better() -> None:
    assert better({"accuracy": 0.6, "loss": 2.0}, {"accuracy": 0.5, "loss": 1.0})
    assert better({"accuracy": 0.5, "loss": 0.9}, {"accuracy": 0.5, "loss": 1.0})
    assert not better({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": 1.0})
    assert better({"loss": 0.9, "accuracy": 0.1}, {"loss": 1.0, "accuracy": 0.5})
    assert better({"accuracy": 0.5, "loss": 9.0}, {"accuracy": 0.6, "loss": float("nan")})
    assert not better({"accuracy": float("nan"), "loss": 1.0}, {"accuracy": 0.1, "loss": 1.0})


def test_measures_of_texts(models: Callable[[str], Model]) -> None:
    model = models(CLASSES)
    examples = [Example((text,), label) for text, label in zip(REVIEWS, SENTIMENTS, strict=True)]
    scores = measure(model, rows_of(model, examples), examples)
    given = model.classify(list(REVIEWS))
    assert scores["accuracy"] == np.mean(
        [one[0]["label"] == label for one, label in zip(given, SENTIMENTS, strict=True)]
    )
    losses = [
        float(model(**model.tokenizer(text), labels=[model.config.label2id[label]])["loss"])
        for text, label in zip(REVIEWS, SENTIMENTS, strict=True)
    ]
    assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_measures_of_numbers_and_of_several_labels() -> None:
    fields = {"num_labels": 1, "problem_type": "regression"}
    model = minroberta.load(head=CLASSES, missing="init", config=fields)
    examples = [Example((text,), label) for text, label in zip(REVIEWS, np.linspace(0, 2, len(REVIEWS)), strict=True)]
    scores = measure(model, rows_of(model, examples), examples)
    given = [float(model(**model.tokenizer(text))["logits"][0, 0]) for text in REVIEWS]
    right = [example.label for example in examples]
    assert scores["pearson"] == pytest.approx(np.corrcoef(given, right)[0, 1], abs=1e-4)
    assert scores["squared_error"] == pytest.approx(np.mean(np.subtract(given, right) ** 2), rel=1e-4)
    model = minroberta.load(head=CLASSES, missing="init", config=label_fields(labelled(["a", "b"], ["c"]), CLASSES))
    examples = [Example((text,), ["a", "b"][: index % 3]) for index, text in enumerate(REVIEWS)]
    scores = measure(model, rows_of(model, examples), examples)
    guesses = [model(**model.tokenizer(text))["logits"][0] > 0 for text in REVIEWS]
    pairs = [
        (guess[i], name in example.label)
        for guess, example in zip(guesses, examples, strict=True)
        for i, name in enumerate("abc")
    ]
    both, either = sum(a and b for a, b in pairs), sum(int(a) + int(b) for a, b in pairs)
    assert scores["f1"] == pytest.approx(2 * both / either)


def test_measures_of_language_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over predicted tokens, in batches of different lengths; the last prediction of a text has no label."""
    monkeypatch.setattr("minroberta.tuning.measures.AT_ONCE", 4)
    model = minroberta.load(head="causal_lm", config={"is_decoder": True})
    examples = [Example((text,), None) for text in (*REVIEWS[:3], "A. " * 20, *REVIEWS[3:40])]
    scores = measure(model, rows_of(model, examples), examples)
    losses, right = [], []
    for (text,), _ in examples:
        ids = model.tokenizer(text)["input_ids"]
        logits = model(ids)["logits"][0, :-1].astype("f8")
        losses += list(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), ids[0, 1:]])
        right += list(logits.argmax(-1) == ids[0, 1:])
    assert next(iter(scores)) == "loss" and scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(np.mean(right)) and any(right)


def test_measures_of_entities(models: Callable[[str], Model]) -> None:
    """The F1 of whole entities is 2 · shared / (found + right), of all sentences together."""
    names = {0: "O", 1: "B-X", 2: "I-X"}
    model = small(TAGS, id2label=names)
    words = [text.rstrip(".").split() for text in REVIEWS]
    examples = [Example(tuple(some), ["B-X", "I-X", "O"][: len(some)]) for some in words]
    scores = measure(model, rows_of(model, examples), examples)
    shared = both = 0
    for example in examples:
        (row,) = rows_of(model, [example])
        at = [i for i, label in enumerate(row.label) if label != -100]
        guess = [names[i] for i in model(np.array([row.rows[0]]))["logits"][0][at].argmax(-1)]
        one, other = _entities(guess), _entities(example.label)
        shared, both = shared + len(one & other), both + len(one) + len(other)
    assert next(iter(scores)) == "f1" and scores["f1"] == pytest.approx(2 * shared / both)
    assert 0 < scores["accuracy"] < 1


# --- learning -------------------------------------------------------------------------------------------------------

GOOD, BAD = ("good", "great", "moving", "fine"), ("bad", "dull", "boring", "poor")
REVIEWS = [f"A {word} {thing}." for thing in ("film", "play", "book") for word in (*GOOD, *BAD)]
SENTIMENTS = ["positive" if word in GOOD else "negative" for _ in range(3) for word in (*GOOD, *BAD)]
EXAMPLES = [Example((text,), label) for text, label in zip(REVIEWS, SENTIMENTS, strict=True)]


def small(head: str = CLASSES, **fields: Any) -> Model:
    """A small model with random weights and the embedded model's tokenizer."""
    model = tiny(head, "float32", vocab_size=8000, max_position_embeddings=66, **fields)
    model.tokenizer = minroberta.load().tokenizer.of_model(model.config)
    return model


NAMED = label_fields(EXAMPLES, CLASSES)


def test_a_model_learns() -> None:
    """From random weights, what is good and what is bad."""
    model = small(**NAMED)
    rows = rows_of(model, EXAMPLES)
    assert measure(model, rows, EXAMPLES)["accuracy"] < 0.9
    *_, last = fine_tune(model, EXAMPLES, EXAMPLES, epochs=12, batch_size=8, learning_rate=5e-3, dropout=False)
    assert last.step.number == last.steps == 36
    assert last.scores is not None and last.scores["accuracy"] == 1.0
    after = last.model
    assert [one[0]["label"] for one in after.classify(REVIEWS)] == SENTIMENTS


def test_the_head_alone_learns() -> None:
    model = small(**NAMED)
    part = Part(model, lambda name: name.startswith("classifier"))
    *_, last = fine_tune(model, EXAMPLES, EXAMPLES, epochs=2, learning_rate=1e-2, part=part)
    before, after = flat(model.params), flat(last.model.params)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(part.weights)


def test_epochs_see_each_row_once_in_batches_of_similar_length() -> None:
    rows = [Labelled((tuple(range(n)),), index) for index, n in enumerate(np.random.RandomState(0).randint(1, 60, 999))]  # type: ignore[arg-type]
    one, same, other = (order_of_epoch(rows, 16, seed) for seed in ((0, 0), (0, 0), (0, 1)))
    assert sorted(row.label for batch in one for row in batch) == list(range(999)) and len(one) == 63
    assert one == same != other
    padded = sum(len(batch) * max(row.length for row in batch) for batch in one)
    assert padded < 1.1 * sum(row.length for row in rows)


def test_what_is_held_out() -> None:
    examples = [Example((f"question {i}", f"context {i // 3}"), []) for i in range(60)]
    first, second = divided(examples, QUESTIONS, 0.2, seed=0)
    assert len(first) == 48 and len(second) == 12
    assert not {example.texts[1] for example in first} & {example.texts[1] for example in second}
    assert divided(examples, QUESTIONS, 0.2, seed=1)[1] != second
    assert len(divided(examples, CLASSES, 0.2, seed=0)[1]) == 12
    with raises(InputError, ValueError, "a share of 0.01 of 20 texts leaves 60 examples to train on and 0 to measure"):
        divided(examples, QUESTIONS, 0.01, seed=0)


def test_a_new_head_is_new() -> None:
    """Also if the old one has as many labels: `load` would keep it."""
    model = minroberta.load(head=CLASSES)
    new = with_new_head(model)
    before, after = flat(model.params), flat(new.params)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {
        "classifier.dense.weight",
        "classifier.out_proj.weight",
        "classifier.dense.bias",
        "classifier.out_proj.bias",
    }
    assert after["classifier.dense.weight"].std() == pytest.approx(0.02, rel=0.05)
    assert not after["classifier.dense.bias"].any() and new.tokenizer is model.tokenizer
    assert not np.array_equal(
        flat(with_new_head(model, 1).params)["classifier.dense.weight"], after["classifier.dense.weight"]
    )


def test_the_optimizer_has_the_settings_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm-up of 6 % of the steps, and a decay of 0.1; the rate of a narrow model is larger."""
    model = small(**NAMED)
    seen = {}

    def spied(*arguments: Any, **options: Any) -> Iterator[Any]:
        seen.update(options)
        yield from train(*arguments, **options)

    monkeypatch.setattr("minroberta.tuning.loop.train", spied)
    next(fine_tune(model, EXAMPLES, EXAMPLES, epochs=50, batch_size=6))
    assert (seen["steps"], seen["warm_up"], seen["weight_decay"], seen["seed"]) == (200, 12, 0.1, 0)
    assert seen["learning_rate"] == pytest.approx(2e-5 * 768 / model.config.hidden_size)
    next(fine_tune(model, EXAMPLES, EXAMPLES, dropout=False))
    assert seen["seed"] is None


def test_training_that_diverges_ends_with_a_sentence() -> None:
    model = small(**NAMED)
    with np.errstate(all="ignore"), raises(InputError, ValueError, "the loss at step", "give a smaller learning_rate"):
        list(fine_tune(model, EXAMPLES, EXAMPLES, learning_rate=1e30, batch_size=8))


def test_a_causal_model_must_be_a_decoder() -> None:
    """Otherwise it sees what it should predict."""
    with raises(InputError, ValueError, "this causal_lm is not a decoder", "config={'is_decoder': True}"):
        next(fine_tune(small("causal_lm"), EXAMPLES, EXAMPLES))


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ({"learning_rate": "x"}, "learning_rate must be a positive number, not 'x'"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive number, not -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, not nan"),
        ({"max_length": 0}, "max_length must be an integer from 1 to"),
    ],
)
def test_options_that_cannot_be(options: Any, telling: str) -> None:
    with raises(InputError, ValueError, telling):
        next(fine_tune(small(**NAMED), EXAMPLES, EXAMPLES, **options))
    with raises(InputError, ValueError, "there are no examples to train on, or none to measure with"):
        next(fine_tune(small(**NAMED), EXAMPLES, []))


# --- LoRA -----------------------------------------------------------------------------------------------------------


def test_the_gradients_of_lora_are_those_of_its_product() -> None:
    """Against finite differences of the loss of the merged model, in float64."""
    model = tiny(CLASSES, num_labels=2)
    part = Lora(model, rank=2, alpha=6)
    random = np.random.RandomState(0)
    weights = {name: x + random.randn(*x.shape) * 0.1 for name, x in part.weights.items()}
    batch: dict[str, Any] = {"input_ids": [[0, 7, 9, 2], [0, 8, 12, 2]], "labels": [0, 1]}

    def loss(weights: Mapping[str, Any]) -> Any:
        merged = {**flat(model.params), **part.merged(dict(weights))}
        return gradients(Model(model.config, minroberta.weights.tree(merged), CLASSES), **batch)

    own_name = model.config.family.own_name
    names = {own_name(name): name for name in flat(model.params)}
    found = part.gradients(weights, {names[name]: g for name, g in loss(weights).items()})
    assert found.keys() == weights.keys()
    for name in (
        "encoder.layer.1.attention.self.query.lora_A.weight",
        "encoder.layer.0.attention.self.value.lora_B.weight",
    ):
        change = random.randn(*weights[name].shape)
        ahead, behind = (loss({**weights, name: weights[name] + h * change}).loss for h in (1e-5, -1e-5))
        assert (found[name] * change).sum() == pytest.approx((ahead - behind) / 2e-5, rel=1e-6, abs=1e-11)


def test_lora_begins_with_the_model_itself() -> None:
    model = small(**NAMED)
    part, before = Lora(model, rank=4), flat(model.params)
    assert all(np.array_equal(x, before[name]) for name, x in part.merged(part.weights).items())
    a = part.weights["encoder.layer.0.attention.self.query.lora_A.weight"]
    assert a.shape == (4, model.config.hidden_size) and abs(a).max() <= 1 / math.sqrt(model.config.hidden_size)
    with raises(InputError, ValueError, "rank must be an integer from 1 to"):
        Lora(model, rank=0)
    with raises(InputError, ValueError, "alpha must be a positive number, not 0"):
        Lora(model, alpha=0)
    with raises(InputError, ValueError, "no linear layer is named queries: give targets such as query, value"):
        Lora(model, targets=["queries"])


@pytest.mark.parametrize("head", [CLASSES, "masked_lm", CHOICES])
def test_a_trained_adapter_is_read_again(tmp_path: Path, head: str) -> None:
    """What is saved, merged into the base by `load`, is the model that was trained."""
    fields = {"id2label": {0: "no", 1: "yes", 2: "maybe"}} if head == CLASSES else {}
    base = small(head, **fields)
    base.save(tmp_path / "base")
    ids = np.array([[0, 7, 9, 2], [0, 8, 12, 2]])
    batch: dict[str, Any] = {"input_ids": ids, "labels": np.array([1, 2])}
    if head == "masked_lm":
        batch["labels"] = ids
    if head == CHOICES:
        batch = {"input_ids": ids[None], "labels": np.array([1])}
    part = Lora(base, rank=2, targets=("query", "intermediate.dense"))
    *_, (step, after) = train(base, [batch] * 3, steps=3, learning_rate=1e-2, part=part)
    part.save(tmp_path / "lora", step.weights, after, str(tmp_path / "base"))
    loaded = minroberta.load(tmp_path / "lora")
    assert loaded.head == head and loaded.config.id2label == base.config.id2label
    inputs = {name: x for name, x in batch.items() if name != "labels"}
    np.testing.assert_allclose(loaded(**inputs)["logits"], after(**inputs)["logits"], rtol=1e-4, atol=1e-5)
    assert abs(loaded(**inputs)["logits"] - base(**inputs)["logits"]).max() > 1e-3
    assert (tmp_path / "lora" / "tokenizer.json").is_file()
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert settings["r"] == 2 and settings["lora_alpha"] == 4
    assert settings["modules_to_save"] == {CLASSES: ["classifier"], CHOICES: ["classifier", "pooler"]}.get(head)


def test_labels_beside_an_adapter_must_be_labels(tmp_path: Path) -> None:
    base = small(**NAMED)
    base.save(tmp_path / "base")
    part = Lora(base)
    part.save(tmp_path / "lora", part.weights, base, str(tmp_path / "base"))
    path = tmp_path / "lora" / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "id2label": {"0": "x"}}))  # of another number of labels
    assert minroberta.load(tmp_path / "lora").config.id2label == base.config.id2label
    path.write_text(
        json.dumps({**fields, "id2label": {"0": "x", "1": "y"}, "problem_type": "multi_label_classification"})
    )
    config = minroberta.load(tmp_path / "lora").config
    assert config.id2label == {0: "x", 1: "y"} and config.problem_type == "multi_label_classification"
    path.write_text("{")
    with raises(ConfigError, ValueError, "config.json is not JSON"):
        minroberta.load(tmp_path / "lora")


# --- going on -------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_as_if_it_had_not_ended() -> None:
    """Bit for bit, with dropout, from any step."""
    model = small(**NAMED, hidden_dropout_prob=0.1)
    options: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2}
    whole = list(fine_tune(model, EXAMPLES, EXAMPLES, **options))
    for at in (2, 3):
        step, part = whole[at - 1].step, Part(model)
        part.weights = step.weights
        rest = list(fine_tune(model, EXAMPLES, EXAMPLES, **options, part=part, moments=step.moments))
        assert [one.step.number for one in rest] == [one.step.number for one in whole[at:]]
        assert [one.step.loss for one in rest] == [one.step.loss for one in whole[at:]]
        last, other = flat(rest[-1].model.params), flat(whole[-1].model.params)
        assert all(np.array_equal(last[name], other[name]) for name in last)
    assert isinstance(whole[-1].step.moments, Moments) and whole[-1].scores is not None and whole[0].scores is None


# --- the command ----------------------------------------------------------------------------------------------------


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["fine-tune", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    rows = "".join(f"{text},{label}\n" for text, label in zip(REVIEWS, SENTIMENTS, strict=True))
    yield written(tmp_path, "reviews.csv", f"text,label\n{rows}")


def test_the_command(tmp_path: Path, data: Path) -> None:
    small().save(tmp_path / "base")
    result = run(data, "--head", CLASSES, "--output", tmp_path / "out", "--model", tmp_path / "base", "--epochs", 2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["examples", "22"] and lines[1].split() == ["held", "out", "2"]
    assert "with a new head" in result.stdout and "positive 12, negative 12" in result.stdout
    assert minroberta.load(tmp_path / "out").config.id2label == {0: "negative", 1: "positive"}
    assert not (tmp_path / "out" / "training.safetensors").exists()
    again = run(data, "--head", CLASSES, "--output", tmp_path / "out", "--model", tmp_path / "base", "--epochs", 2)
    assert again.exit_code == 2 and "holds a model that is trained already: give another directory" in again.stderr


@pytest.mark.parametrize("what", ["lora", "head"])
def test_the_command_trains_a_part(tmp_path: Path, data: Path, what: str) -> None:
    small(**NAMED).save(tmp_path / "base")
    result = run(
        data, "--head", CLASSES, "--output", tmp_path / "out", "--model", tmp_path / "base", "--epochs", 1, "--rank", 2,
        "--train", what, "--held-out", data, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    after, usual = printed["after"], 2e-5 * 768 / small().config.hidden_size
    assert float(printed["learning rate"]) == pytest.approx(usual * {"lora": 25, "head": 50}[what], abs=1e-4)
    model = minroberta.load(tmp_path / "out", head=CLASSES)
    scores = measure(model, rows_of(model, EXAMPLES), EXAMPLES)
    assert scores["accuracy"] == after["accuracy"] and scores["loss"] == pytest.approx(after["loss"], rel=1e-4)


def test_ctrl_c_keeps_the_best_and_the_same_command_goes_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(**NAMED).save(tmp_path / "base")
    options = (
        data,
        "--head",
        CLASSES,
        "--model",
        tmp_path / "base",
        "--epochs",
        3,
        "--batch-size",
        4,
        "--held-out",
        data,
    )
    assert run(*options, "--output", tmp_path / "whole").exit_code == 0
    real = command.fine_tune

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for progress in real(*arguments, **options):
            yield progress
            if progress.step.number == 9:  # in the second epoch of six steps
                raise KeyboardInterrupt

    monkeypatch.setattr(command, "fine_tune", interrupted)
    result = run(*options, "--output", tmp_path / "out")
    assert result.exit_code == 130
    assert "measuring the model of step 9" in result.stderr and "the same command goes on" in result.stderr
    assert minroberta.load(tmp_path / "out", head=CLASSES).classify(["A good film."])
    monkeypatch.undo()
    other = run(*options, "--output", tmp_path / "out", "--seed", 1)
    assert other.exit_code == 2 and "holds a run with another seed, 0, not 1: give the same again" in other.stderr
    again = run(*options, "--output", tmp_path / "out")
    assert again.exit_code == 0 and "holds the first 9 steps of this run" in again.stderr
    records = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "out")]
    assert [steps for steps, _ in records[1]["history"]] == [0, 6, 9, 12, 18]
    assert records[0]["history"] == [one for one in records[1]["history"] if one[0] != 9]


def test_the_best_model_is_kept(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the last one, whose scores are worse here."""
    small(**NAMED).save(tmp_path / "base")
    real = command.fine_tune

    def worse_and_worse(*arguments: Any, **options: Any) -> Iterator[Any]:
        for progress in real(*arguments, **options):
            scores = {"accuracy": 1 / progress.step.number, "loss": 1.0} if progress.scores else None
            yield progress._replace(scores=scores)
            if progress.step.number == 6:
                first.append(flat(progress.model.params))

    first: list[Any] = []
    monkeypatch.setattr(command, "fine_tune", worse_and_worse)
    result = run(
        data, "--head", CLASSES, "--model", tmp_path / "base", "--batch-size", 4, "--held-out", data,
        "--output", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0 and json.loads(result.stdout)["step"] == 6
    kept = flat(minroberta.load(tmp_path / "out", head=CLASSES).params)
    assert all(np.array_equal(kept[name], first[0][name]) for name in kept)


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(**NAMED).save(tmp_path / "base")
    other = written(tmp_path, "held.csv", data.read_bytes())
    options = (data, "--head", CLASSES, "--model", tmp_path / "base", "--held-out", other, "--output", tmp_path / "out")
    real = command.fine_tune

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(real(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "fine_tune", interrupted)
    assert run(*options).exit_code == 130
    monkeypatch.undo()
    content = other.read_text()
    other.write_text(content.replace("A good film", "A good night"))
    result = run(*options)
    assert result.exit_code == 2 and f"holds a run with another checksum of {other}: give the same" in result.stderr
    other.write_text(content)
    file = tmp_path / "out" / "training.safetensors"
    arrays = load_file(file)
    metadata = {"history": json.dumps([[0, {"loss": 1.0}], [1, {"loss": 1.0}]])}
    other_shape = {**arrays, next(iter(arrays)): np.ones(3)}
    for wrong, kept in (({"history": "[]"}, arrays), ({}, arrays), (metadata, other_shape),
                        (metadata, dict(list(arrays.items())[1:]))):  # fmt: skip
        save_file(kept, file, wrong)
        result = run(*options)
        assert result.exit_code == 2 and "training.safetensors does not belong to this run" in result.stderr
    record = tmp_path / "out" / "training.json"
    record.write_text("{}")
    assert "training.json has no settings: give another directory" in run(*options).stderr


def test_an_interruption_before_the_first_measurement(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even within the saving of the first model: the same command begins again."""
    small(**NAMED).save(tmp_path / "base")
    options = (data, "--head", CLASSES, "--model", tmp_path / "base", "--epochs", 1, "--output", tmp_path / "out")

    real = command._save

    def interrupted(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_save", interrupted)
    assert run(*options).exit_code == 130
    monkeypatch.undo()
    assert run(*options).exit_code == 0


def test_the_command_makes_a_decoder(tmp_path: Path) -> None:
    """So that no token sees the one that it should predict."""
    path = written(tmp_path, "a.txt", "\n".join(REVIEWS))
    small("causal_lm").save(tmp_path / "base")
    result = run(path, "--head", "causal_lm", "--model", tmp_path / "base", "--epochs", 1, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert minroberta.load(tmp_path / "out").config.is_decoder is True
    assert minroberta.load(tmp_path / "out").generate("A good")[0]["generated_text"].startswith("A good")


def test_a_head_for_one_label_is_not_one_for_several(tmp_path: Path) -> None:
    """Although it knows the names: `classify` takes a softmax of its logits, not a sigmoid of each."""
    small(id2label={0: "bad", 1: "good"}).save(tmp_path / "base")
    lines = [json.dumps({"text": text, "label": ["bad", "good"][: i % 3]}) for i, text in enumerate(REVIEWS)]
    path = written(tmp_path, "a.jsonl", "\n".join(lines))
    result = run(path, "--head", CLASSES, "--model", tmp_path / "base", "--epochs", 1, "--output", tmp_path / "out")
    assert "with a new head" in result.stdout
    model = minroberta.load(tmp_path / "out", head=CLASSES)
    assert model.config.problem_type == "multi_label_classification"
    scores = [one["score"] for one in model.classify("A film.", top_k=None)]
    assert sum(scores) != pytest.approx(1, abs=1e-6)


def test_the_command_says_why_a_head_is_new(tmp_path: Path, data: Path) -> None:
    """And it is: the model's own head would answer as before under other names."""
    small(id2label={0: "bad", 1: "good"}).save(tmp_path / "base")
    result = run(
        data, "--head", CLASSES, "--model", tmp_path / "base", "--epochs", 1, "--output", tmp_path / "out",
        "--train", "lora", "--rank", 1, "--learning-rate", 1e-9,
    )  # fmt: skip
    assert (
        "with a new head (its own knows bad, good)" in result.stdout
        and "learning rate           1.0e-09" in result.stdout
    )
    base, new = (minroberta.load(tmp_path / name, head=CLASSES).params["classifier"] for name in ("base", "out"))
    assert abs(new["dense"]["weight"] - base["dense"]["weight"]).max() > 0.01


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (("--held-out", "2"), "--held-out takes a share between 0 and 1, or a file, not 2"),
        (("--held-out", "none.csv"), "there is no file none.csv"),
        (("--column", "text"), "--column takes a role and a column, such as text=body, not text"),
        (("--column", "text=body"), "there is no column 'body' for text"),
        (("--dtype", "float16"), "gradients are computed in float32 or float64, not float16"),
        (("--adapter", "x", "--model", "y", "--train", "lora"), "--train lora needs a base without --adapter"),
        (("--learning-rate", "0"), "Invalid value for '--learning-rate': 0.0 is not in the range x>0"),
    ],
)
def test_commands_that_cannot_be(tmp_path: Path, data: Path, options: tuple[str, ...], telling: str) -> None:
    result = run(data, "--head", CLASSES, "--output", tmp_path / "out", *options)
    assert result.exit_code == 2 and telling in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_not_of_a_run(tmp_path: Path, data: Path) -> None:
    result = run(data, "--head", CLASSES, "--output", tmp_path)
    assert result.exit_code == 2 and "exists, but is not an empty directory" in result.stderr


def test_a_language_models_head_is_not_trained_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "\n".join(REVIEWS))
    result = run(path, "--head", "masked_lm", "--output", tmp_path / "out", "--train", "head")
    assert result.exit_code == 2 and "--train head is for heads that are new to a task" in result.stderr


def test_a_bar_with_the_loss_on_a_terminal(tmp_path: Path, data: Path) -> None:
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    small(**NAMED).save(tmp_path / "base")
    options = ["--head", CLASSES, "--model", str(tmp_path / "base"), "--output", str(tmp_path / "out"), "--epochs", "1"]
    ours, theirs = pty.openpty()
    import_module("termios").tcsetwinsize(theirs, (24, 80))  # a new one has no columns
    line = [sys.executable, "-m", "minroberta", "fine-tune", str(data), *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(line, env=environment, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert "2/2" in shown and "loss 0." in shown


@pytest.mark.slow
def test_training_is_the_same_on_jax() -> None:
    """LoRA, and all weights, in float32."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    model = small(**NAMED)
    moved = minroberta.Model(model.config, jax.tree.map(jax.numpy.asarray, model.params), CLASSES)
    moved.tokenizer = model.tokenizer
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
    for part in (Part, Lora):
        one, two = (
            [progress.step.loss for progress in fine_tune(each, EXAMPLES, EXAMPLES, part=part(each), **options)]
            for each in (model, moved)
        )
        np.testing.assert_allclose(one, two, rtol=1e-4)
