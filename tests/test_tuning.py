"""Fine-tuning: files of examples, their rows, measures, LoRA, and runs that are interrupted and go on."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support import raises, tiny

import minroberta
from minroberta import ConfigError, InputError, Model, NameUnknownError, NotFoundError, gradients
from minroberta.cli import fine_tune as command
from minroberta.cli import main
from minroberta.train import Moments, Part, train
from minroberta.tuning import Example, Lora, examples_of, fine_tune, read_records
from minroberta.tuning.examples import known_names
from minroberta.tuning.labels import label_fields, numbers_of, problem_of
from minroberta.tuning.loop import divided, order_of_epoch
from minroberta.tuning.measures import _entities, _of_answers, better, measure
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
    records = read_records(written(directory, name, text), known_names(head, columns))
    return examples_of(records, head, columns)[0]


FILES: dict[str, tuple[str, Any, Mapping[str, str]]] = {
    "commas": ("a.csv", "text,label\r\nA cat,good\r\nA dog,bad\r\n", {}),
    "a byte order mark": ("a.csv", "\ufeffText,Label\nA cat,good\nA dog,bad\n", {}),
    "other order, more columns": ("a.csv", "id,stars,review\n1,good,A cat\n2,bad,A dog\n", {}),
    "semicolons": ("a.csv", "text;label\nA cat;good\nA dog;bad", {}),
    "told": ("a.csv", "x,y\nA cat,good\nA dog,bad", {"text": "x", "label": "y"}),
    "no names": ("a.tsv", "good\tA cat\nbad\tA dog\ngood\tA cow", {}),
    "numbers of columns": ("a.tsv", "good\tx\tA cat\nbad\tx\tA dog", {"text": "3", "label": "1"}),
    "JSON lines": ("a.jsonl", '{"sentence": "A cat", "label": "good"}\n\n{"sentence": "A dog", "label": "bad"}\n', {}),
    "JSON": ("a.json", [{"text": "A cat", "label": "good"}, {"text": "A dog", "label": "bad"}], {}),
}


@pytest.mark.parametrize("name", FILES)
def test_texts_with_labels(tmp_path: Path, name: str) -> None:
    file, content, columns = FILES[name]
    examples = found(tmp_path, file, content, CLASSES, **columns)
    assert examples[:2] == [Example(("A cat",), "good"), Example(("A dog",), "bad")]


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
    ],
)
def test_choices(tmp_path: Path, content: str) -> None:
    assert found(tmp_path, "a.csv", content, CHOICES) == [Example(("It rained", "she got wet", "she burnt"), 0)]


@pytest.mark.parametrize(
    ("name", "content", "head", "columns", "telling"),
    [
        ("a.xlsx", "", CLASSES, {}, "ends in .xlsx: give a file that ends in .csv, .tsv"),
        ("a.csv", b"text,label\n\xff,1", CLASSES, {}, "is not in UTF-8 (byte 12 is 0xff)"),
        ("a.csv", "", CLASSES, {}, "holds no examples"),
        ("a.csv", "text,label\nA,b,c\n", CLASSES, {}, "line 2 has 3 columns, but the first has 2: put a text that"),
        ("a.jsonl", '{"text": "a"}\n{"text"', CLASSES, {}, "line 2 is not JSON"),
        ("a.json", "3", CLASSES, {}, "must hold a list of objects, or SQuAD's object with data"),
        ("a.json", "[" * 100_000, CLASSES, {}, "a.json"),
        ("a.csv", "a,b,c\n1,2,3\n", CLASSES, {}, "no column is known to be the text, among 1, 2, 3: name it, such as"),
        ("a.csv", "text,label\n ,1\n", CLASSES, {}, "example 1: the text must be a text, not ' '"),
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
    assert problem_of(labelled(0.5, "2.0")) == "regression"
    assert problem_of(labelled(["a"], [])) == "multi_label_classification"


def test_labels_are_sorted_integers_as_numbers() -> None:
    assert label_fields(labelled("10", "9", "9"), CLASSES)["id2label"] == {0: "9", 1: "10"}
    assert label_fields(labelled("b", "10", "9"), CLASSES)["id2label"] == {0: "10", 1: "9", 2: "b"}
    assert label_fields(labelled("4,27", "4"), CLASSES, "multi_label_classification")["label2id"] == {"4": 0, "27": 1}
    with raises(InputError, ValueError, "all examples have the label 'a'"):
        label_fields(labelled("a", "a"), CLASSES)
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


def test_padding_on_the_left(models: Callable[[str], Model]) -> None:
    """Labels are where their tokens are."""
    for head, examples in ((TAGS, [Example(("A", "dog"), ["DET", "NOUN"])]), (QUESTIONS, ANSWERED[:1])):
        model = minroberta.load(head=head)
        short = (
            Example((*examples[0].texts[:1],), examples[0].label[:1])
            if head == TAGS
            else Example(("?", "1945"), [(0, 4)])
        )
        rows = rows_of(model, [*examples, short])
        right = batch_of(model, rows, 0)
        model.tokenizer.settings.values["padding_side"] = "left"
        try:
            left = batch_of(model, rows, 0)
        finally:
            del model.tokenizer.settings.values["padding_side"]
        assert left["attention_mask"][1, 0] == 0
        if head == TAGS:
            assert [row[row != -100].tolist() for row in left["labels"]] == [
                row[row != -100].tolist() for row in right["labels"]
            ]
            assert np.array_equal(
                left["input_ids"][left["labels"] != -100], right["input_ids"][right["labels"] != -100]
            )
        else:
            for side in ("start_positions", "end_positions"):
                ids = [batch["input_ids"][[0, 1], batch[side]].tolist() for batch in (left, right)]
                assert ids[0] == ids[1]


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

    def answer(self, questions: list[str], contexts: list[str], handle_impossible_answer: bool) -> Any:
        assert handle_impossible_answer is True
        return self.given


def test_answers_are_scored_as_for_squad() -> None:
    text = "the Eiffel Tower, in Paris"
    tower, paris = Example(("?", text), [(4, 16), (0, 16)]), Example(("?", text), [(21, 26)])
    examples: Any = [tower, tower, paris, Example(("?", text), []), Example(("?", text), [])]
    scores = _of_answers(Answering("The Eiffel Tower!", "Tower of Paris", "London", "", "x"), examples)  # type: ignore[arg-type]
    assert scores["exact_match"] == pytest.approx(2 / 5)
    assert scores["f1"] == pytest.approx((1 + 2 / 5 + 0 + 1 + 0) / 5)


def test_which_is_better() -> None:
    assert better({"accuracy": 0.6, "loss": 2.0}, {"accuracy": 0.5, "loss": 1.0})
    assert better({"accuracy": 0.5, "loss": 0.9}, {"accuracy": 0.5, "loss": 1.0})
    assert not better({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": 1.0})
    assert better({"accuracy": 0.1, "loss": 1.0}, {"accuracy": float("nan"), "loss": 1.0}) is False


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


@pytest.mark.parametrize(
    ("options", "telling"),
    [
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
    part.save(tmp_path / "lora", step.weights, base.config, head, str(tmp_path / "base"))
    loaded = minroberta.load(tmp_path / "lora")
    assert loaded.head == head and loaded.config.id2label == base.config.id2label
    inputs = {name: x for name, x in batch.items() if name != "labels"}
    np.testing.assert_allclose(loaded(**inputs)["logits"], after(**inputs)["logits"], rtol=1e-4, atol=1e-5)
    assert abs(loaded(**inputs)["logits"] - base(**inputs)["logits"]).max() > 1e-3
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert settings["r"] == 2 and settings["lora_alpha"] == 4
    assert settings["modules_to_save"] == {CLASSES: ["classifier"], CHOICES: ["classifier", "pooler"]}.get(head)


def test_labels_beside_an_adapter_must_be_labels(tmp_path: Path) -> None:
    base = small(**NAMED)
    base.save(tmp_path / "base")
    part = Lora(base)
    part.save(tmp_path / "lora", part.weights, base.config, CLASSES, str(tmp_path / "base"))
    path = tmp_path / "lora" / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "id2label": {"0": "x"}}))  # of another number of labels
    assert minroberta.load(tmp_path / "lora").config.id2label == base.config.id2label
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
    after = json.loads(result.stdout)["after"]
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
    result = run(*options, "--output", tmp_path / "out")
    assert result.exit_code == 0 and "holds the first 9 steps of this run" in result.stderr
    records = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "out")]
    assert [steps for steps, _ in records[1]["history"]] == [0, 6, 9, 12, 18]
    assert records[0]["history"][-1] == records[1]["history"][-1]
    one, two = (flat(minroberta.load(tmp_path / name, head=CLASSES).params) for name in ("whole", "out"))
    best = [max(steps for steps, scores in record["history"][1:] if scores == min(
        (scores for _, scores in record["history"][1:]), key=lambda scores: (-scores["accuracy"], scores["loss"])
    )) for record in records]  # fmt: skip
    assert best[0] != best[1] or all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (("--held-out", "2"), "--held-out takes a share between 0 and 1, or a file, not 2"),
        (("--held-out", "none.csv"), "there is no file none.csv"),
        (("--column", "text"), "--column takes a role and a column, such as text=body, not text"),
        (("--column", "text=body"), "there is no column 'body' for text"),
        (("--dtype", "float16"), "gradients are computed in float32 or float64, not float16"),
        (("--adapter", "x", "--model", "y", "--train", "lora"), "--train lora needs a base without --adapter"),
        (("--learning-rate", "0"), "learning_rate must be a positive number, not 0.0"),
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
