"""Text in, answers out: the pipelines of transformers 4.48.3 on the same weights, and properties of any text."""

import copy
import functools
import inspect
import io
import itertools
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, get_type_hints

import jax
import numpy as np
import pytest
import strict
import tokenizers
from generators.task_cases import (
    CASES,
    EMBEDDED,
    GROUPED,
    INFERENCE,
    MERGED,
    MODEL,
    ODD,
    PAIR,
    PLAIN,
    STORY,
    TEXTS,
    TaskCase,
    random_weight,
    without_floats,
)
from hypothesis import example, given
from hypothesis import strategies as st
from support import FLOAT32, FLOAT64, GOLDEN, ODD_PARTS, raises, slow_but

import minroberta
from minroberta import Config, InputError, Model, NameUnknownError, TokenizerError
from minroberta.config import HEADS
from minroberta.text.answer import Answer
from minroberta.text.fill_mask import Filling, Prediction
from minroberta.text.generate import Generated
from minroberta.text.running import Label, best, progress
from minroberta.text.tag import Entity
from minroberta.text.tokenizer import Tokenizer
from minroberta.weights import move, shapes, tree

LIBRARY, WORDPIECE, SENTENCEPIECE = (
    tokenizers.Tokenizer.from_file(str(GOLDEN / f"tasks_{name}.json"))
    for name in ("tokenizer", "wordpiece", "sentencepiece")
)
LIBRARIES = {"tasks_tokenizer": LIBRARY, "tasks_wordpiece": WORDPIECE, "tasks_sentencepiece": SENTENCEPIECE}
FOUND, FOUND_OF_EMBEDDED, FOUND_MERGED = (
    json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("tasks", "tiny_tasks", "merged_answers")
)
DECODER = {"is_decoder": True}
TOKENIZER = Tokenizer(LIBRARY, Config.from_dict(MODEL))


def tiny(head: str, dtype: str = "float32", xp: Any = np, **fields: Any) -> Model:
    """The model of the golden files, with these fields."""
    return _tiny(head, dtype, xp, json.dumps(fields))


@functools.cache
def _tiny(head: str, dtype: str, xp: Any, fields: str) -> Model:
    config = Config.from_dict({**MODEL, **json.loads(fields)})
    arrays = {name: random_weight(name, shape) for name, shape in shapes(config, head).items()}
    own = TOKENIZER if config.longest == TOKENIZER.longest else Tokenizer(copy.deepcopy(LIBRARY), config)
    return Model(config, tree(move(arrays, dtype, xp)), head, own)


CALLS: dict[str, tuple[str, tuple, dict[str, Any]]] = {
    "fill_mask": ("masked_lm", ("A <mask>",), {}),
    "classify": ("sequence_classification", ("A",), {}),
    "zero_shot": ("sequence_classification", ("A", ["b", "c"]), INFERENCE),
    "tag": ("token_classification", ("A",), PLAIN),
    "answer": ("question_answering", PAIR, {}),
    "choose": ("multiple_choice", ("A", ["b", "c"]), {}),
    "encode": ("encoder", ("A",), {}),
    "generate": ("causal_lm", ("A",), DECODER),
    "predict_all": ("masked_lm", ("A",), {}),
}

# --- the reference --------------------------------------------------------------------------------------------------


def model_of(case: TaskCase, dtype: str = "float32", xp: Any = np) -> Model:
    """The case's model with its tokenizer."""
    model, library = tiny(case.head, dtype, xp, **case.config), LIBRARIES[case.tokenizer]
    return model if library is LIBRARY else with_tokenizer(model, library)


def with_tokenizer(model: Model, library: tokenizers.Tokenizer) -> Model:
    return Model(model.config, model.params, model.head, Tokenizer(library, model.config))


def allowed_in_float32(task: str) -> float:
    """Eight times the reference's own rounding, and at least half a last digit.

    The rounding is the largest of all the task's cases: a single case with few numbers may be exact by luck.
    """
    own = max(FOUND[case.name]["error"] for case in CASES if case.task == task)
    return FLOAT32 * max(own, float(np.finfo(np.float32).eps) / 2)


def assert_golden(case: TaskCase, model: Model, expected: dict[str, Any], allowed: float) -> None:
    """The model's answer is the reference's, and its numbers are within `allowed`, relative to the largest."""
    result = getattr(model, case.task)(*case.arguments, **case.options)
    numbers: list[float] = []
    rest = without_floats(result.tolist() if isinstance(result, np.ndarray) else result, numbers)
    assert rest == expected["result"]
    exact = np.array(expected["numbers"])
    assert np.abs(numbers - exact).max(initial=0) <= allowed * np.abs(exact).max(initial=0)


QUIET = pytest.mark.filterwarnings("ignore:target '", "ignore:the text is longer")


@QUIET
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: TaskCase) -> None:
    assert_golden(case, model_of(case), FOUND[case.name], allowed_in_float32(case.task))


@QUIET
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_in_float64(case: TaskCase) -> None:
    """The pipelines for labels round even a float64 model's logits, which are up to 4 here, to float32."""
    rounded = case.task in ("classify", "zero_shot")
    allowed = 4 * float(np.finfo(np.float32).eps) if rounded else FLOAT64
    assert_golden(case, model_of(case, "float64"), FOUND[case.name], allowed)


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
@pytest.mark.parametrize("case", slow_but(EMBEDDED, EMBEDDED[0], EMBEDDED[3]), ids=lambda case: case.name)
def test_golden_of_the_embedded_model(case: TaskCase, dtype: str) -> None:
    """All cases share one body, so the reference's own rounding is the largest of all."""
    own = max(FOUND_OF_EMBEDDED[case.name]["error"] for case in EMBEDDED)
    exact = 4 * float(np.finfo(np.float32).eps) if case.task == "classify" else FLOAT64
    allowed = FLOAT32 * own if dtype == "float32" else exact
    assert_golden(case, minroberta.load(head=case.head, dtype=dtype), FOUND_OF_EMBEDDED[case.name], allowed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", MERGED, ids=lambda case: case.name)
def test_merged_answers_are_those_of_later_pipelines(case: TaskCase, dtype: str) -> None:
    allowed = allowed_in_float32("answer") if dtype == "float32" else FLOAT64
    assert_golden(case, model_of(case, dtype), FOUND_MERGED[case.name], allowed)


ON_JAX = ("fill_mask/several", "classify/pairs", "tag/groups", "answer/some", "encode/mean-True")


@pytest.mark.parametrize("name", slow_but(ON_JAX))
def test_golden_on_jax(name: str) -> None:
    (case,) = (case for case in CASES if case.name == name)
    assert_golden(case, model_of(case, xp=jax.numpy), FOUND[case.name], allowed_in_float32(case.task))


@pytest.mark.parametrize("task", CALLS)
def test_arrays_stay_in_their_library(task: str) -> None:
    """Answers are NumPy's, even from a library whose arrays refuse to be mixed with another's."""
    head, arguments, fields = CALLS[task]
    model = tiny(head, **fields)
    other = Model(model.config, _moved(model.params), head, model.tokenizer)
    assert_same(getattr(other, task)(*arguments), getattr(model, task)(*arguments))


def _moved(params: Any) -> Any:
    if isinstance(params, dict):
        return {name: _moved(value) for name, value in params.items()}
    return [_moved(value) for value in params] if isinstance(params, list) else strict.asarray(params)


def assert_same(first: Any, second: Any, within: float = 1e-5) -> None:
    """Equal up to rounding, which a batch's shape changes: dozens of steps of float32 numbers near 1."""
    one, other = [], []
    first, second = (x.tolist() if isinstance(x, np.ndarray) else x for x in (first, second))
    assert without_floats(first, one) == without_floats(second, other)
    assert np.abs(np.subtract(one, other)).max(initial=0) <= within


# --- any text -------------------------------------------------------------------------------------------------------

SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", " <mask>", "<mask> "]
any_text = st.lists(st.text() | st.sampled_from(ODD_PARTS + SPECIAL)).map("".join)
long_text = st.lists(st.text() | st.sampled_from([STORY, ODD, *ODD_PARTS, *SPECIAL]), max_size=12).map("".join)
no_blank = any_text.filter(str.strip)


@given(long_text)
@example(" ")
@example("a<mask>b  c\n")
def test_words_are_parts_of_the_text(text: str) -> None:
    """Words are in order, complete, and without white space around them."""
    words = tiny("token_classification", id2label={0: "A", 1: "B"}).tag(text)
    places = [place for word in words for place in range(word["start"], word["end"])]
    assert places == sorted(set(places))
    assert {place for place, character in enumerate(text) if not character.isspace()} <= set(places)
    for word in words:
        assert list(word) == ["entity", "score", "word", "start", "end"]
        assert word["word"] == text[word["start"] : word["end"]] == word["word"].strip() != ""
        assert 0.5 <= word["score"] <= 1


@given(long_text)
def test_groups_are_parts_of_the_text(text: str) -> None:
    groups = tiny("token_classification", **GROUPED).tag(text)
    for group in groups:
        assert list(group) == ["entity_group", "score", "word", "start", "end"]
        assert group["entity_group"] in ("PER", "LOC", "ORG", "MISC", "TRA")
        assert group["word"] == text[group["start"] : group["end"]] == group["word"].strip() != ""
    assert all(first["end"] <= second["start"] for first, second in itertools.pairwise(groups))


@pytest.mark.slow
@given(long_text, st.sampled_from([66, 64, 40]))
def test_pieces_are_parts_of_the_text(text: str, rows: int) -> None:
    """Each token is in the answer once, with its index and offset in the whole text, however many windows there are.

    Windows share a quarter of their tokens, an even number or, with 64 rows of positions, an odd one.
    """
    whole = LIBRARY.encode(text, add_special_tokens=False)
    tagged = tiny("token_classification", id2label={0: "A", 1: "B"}, max_position_embeddings=rows).tag(text, "none")
    assert [(piece["start"], piece["end"]) for piece in tagged] == whole.offsets
    assert [piece["index"] for piece in tagged] == list(range(1, len(whole.ids) + 1))
    assert [piece["word"] for piece in tagged] == [LIBRARY.id_to_token(token) for token in whole.ids]
    predicted = tiny("masked_lm").predict_all(text)
    assert [piece["word"] for piece in predicted] == [text[slice(*place)] for place in whole.offsets]
    assert all(0 <= piece["word_score"] <= piece["score"] <= 1 for piece in predicted)
    assert all(piece["token_str"] == LIBRARY.decode([piece["token"]], False) for piece in predicted)


@given(no_blank, long_text.filter(str.strip), st.integers(1, 30), st.integers(1, 20), st.booleans())
def test_answers_are_parts_of_the_context(question: str, context: str, top_k: int, longest: int, align: bool) -> None:
    model = tiny("question_answering")
    if len(LIBRARY.encode(question, add_special_tokens=False).ids) > 59:
        with raises(TokenizerError, ValueError, "64 tokens leave no room for text besides the special"):
            model.answer(question, context)
        return
    answers = model.answer(question, context, top_k=top_k, max_answer_len=longest, align_to_words=align)
    assert 1 <= len(answers) <= top_k
    for answer in answers:
        assert list(answer) == ["score", "start", "end", "answer"]
        assert 0 <= answer["start"] <= answer["end"] <= len(context)
        assert context[answer["start"] : answer["end"]] == answer["answer"]
        if not align:
            assert len(answer["answer"].encode()) <= longest * 24
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1


@given(any_text, any_text)
def test_masks_are_filled_in_any_text(before: str, after: str) -> None:
    text = f"{before[:10]}<mask>{after[:5]}"
    found = tiny("masked_lm").fill_mask(text, top_k=480)
    found = found if isinstance(found[0], list) else [found]
    assert len(found) == text.count("<mask>")
    for row in found:
        scores = [filling["score"] for filling in row]
        assert scores == sorted(scores, reverse=True)
        assert sorted(filling["token"] for filling in row) == list(range(480))
        assert abs(sum(scores) - 1) < 1e-4


@given(any_text.map(lambda text: text[:15]))
def test_a_prompt_is_continued_whatever_it_is(text: str) -> None:
    ((made,),) = tiny("causal_lm", **DECODER).generate([text], max_new_tokens=3)
    assert made["generated_text"].startswith(text)


@pytest.mark.slow
@given(st.lists(any_text, min_size=1, max_size=9), st.sampled_from(["mean", "cls", "max"]), st.randoms())
def test_a_list_is_its_texts(texts: list[str], pooling: str, random: Any) -> None:
    """The result for a text does not depend on the other texts, nor on their order."""
    shuffled = random.sample(texts, len(texts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are longer than the model
        for call in (
            functools.partial(tiny("encoder").encode, pooling=pooling),
            functools.partial(tiny("sequence_classification", num_labels=4).classify, top_k=None),
            tiny("token_classification", **PLAIN).tag,
            tiny("masked_lm").predict_all,
        ):
            alone = [call(text) for text in shuffled]
            for one, other in zip(alone, call(shuffled), strict=True):
                assert_near(one, other)


def assert_near(one: Any, other: Any) -> None:
    """Equal as in `assert_same`, or scores equal up to rounding where rounding decides a label or token."""
    if isinstance(one, np.ndarray):
        assert_same(one, other)
        return
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first["score"] == pytest.approx(second["score"], abs=1e-5)


# --- long texts -----------------------------------------------------------------------------------------------------


def test_a_piece_is_labelled_by_the_window_that_shows_most_around_it() -> None:
    model = tiny("token_classification", "float64", **PLAIN)
    ids = LIBRARY.encode(STORY, add_special_tokens=False).ids
    room, stride = 62, 16
    starts = range(0, len(ids) - stride, room - stride)
    windows = [model([[0, *ids[start : start + room], 2]]).logits[0, 1:-1] for start in starts]
    assert len(windows) > 3
    scores = []
    for place in range(len(ids)):
        holding = [number for number, start in enumerate(starts) if 0 <= place - start < room]
        nearest = {number: around(place, starts[number], len(ids)) for number in holding}
        best = max(holding, key=lambda number: (nearest[number], number))
        e = np.exp(windows[best][place - starts[best]])
        scores.append((e / e.sum()).max())
    kinds = Model(
        model.config.replace(id2label={i: "ABCD"[i] for i in range(4)}), model.params, model.head, model.tokenizer
    )
    tagged = kinds.tag(STORY, "none")
    assert np.abs(np.subtract([piece["score"] for piece in tagged], scores)).max() < FLOAT64


def around(place: int, start: int, count: int) -> float:
    """Distance to the nearer edge of the window, not counting an edge of the text."""
    before = place - start if start else np.inf
    after = start + 61 - place if start + 62 < count else np.inf
    return min(before, after)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda text: tiny("sequence_classification").classify(["a", (text, "b"), text]), "2 of 3 texts are longer"),
        (lambda text: tiny("encoder").encode([text, "a"]), "text 1 is longer than the 64 tokens that this"),
        (lambda text: tiny("multiple_choice").choose(text, ["a", "b"]), "2 of 2 texts are longer"),
        (lambda text: tiny("masked_lm").fill_mask(f"<mask> {text}"), "the text is longer"),
    ],
)  # fmt: skip
def test_a_cut_text_warns(call: Callable[[str], Any], said: str) -> None:
    with pytest.warns(UserWarning, match=said) as caught:
        call(STORY)
    assert caught[0].filename == __file__


def test_cut_texts_are_their_beginnings() -> None:
    model = tiny("encoder")
    beginning = STORY[: LIBRARY.encode(STORY, add_special_tokens=False).offsets[61][1]]
    with pytest.warns(UserWarning):
        assert_same(model.encode(STORY), model.encode(beginning))


def test_a_mask_that_is_cut_off() -> None:
    with raises(
        InputError, ValueError, "the text has a <mask> after the first 64 tokens, but this model reads only those"
    ):
        tiny("masked_lm").fill_mask(f"<mask> {STORY} <mask>")


def test_a_question_as_long_as_the_window() -> None:
    """If the question leaves little room, the windows share half of it."""
    (found,) = tiny("question_answering").answer("who " * 20, STORY)
    assert STORY[found["start"] : found["end"]] == found["answer"]
    with raises(
        TokenizerError,
        ValueError,
        "special tokens and a first text of 294 tokens: shorten it, or for a question give max_question_len",
    ):
        tiny("question_answering").answer(STORY, "a")


def seconds_of_every_task(unit: str, size: int) -> float:
    """The seconds of a processor that the tasks take for a text of this size."""
    text = (unit * size)[:size]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(tiny("masked_lm").fill_mask(f"<mask>{text}")) == 5
        assert len(tiny("sequence_classification").classify((text, text))) == 1
        assert tiny("encoder").encode(text).shape == (32,)
        assert len(tiny("multiple_choice").choose("a", [text, "b"])) == 2
    with raises(InputError, ValueError, "this model takes 64 in all: shorten the text, or request fewer"):
        tiny("causal_lm", **DECODER).generate(text)
    windows = text[: size // 33]  # for tasks that read all of a text
    assert tiny("token_classification", id2label={0: "A", 1: "B"}).tag(windows)[-1]["end"] == len(windows.rstrip())
    (found,) = tiny("question_answering").answer("who?", windows)
    assert found["answer"] == text[found["start"] : found["end"]]
    return time.process_time() - start


def test_a_very_long_text() -> None:
    """With the square of its length, it would take minutes."""
    assert seconds_of_every_task("ab c. ", 10**5) < 12  # ten times as long as it takes


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["ab c. ", "a", "\x00é"])
def test_a_text_four_times_as_long(unit: str) -> None:
    """It takes four times as long; with the square of the length, sixteen times. The better of two runs counts."""
    short, long = (min(seconds_of_every_task(unit, size) for _ in range(2)) for size in (10**5, 4 * 10**5))
    assert long < 7 * short


# --- one text and several -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["fill_mask", "classify", "tag", "generate", "predict_all"])
def test_a_str_gives_its_own_result(task: str) -> None:
    head, (text,), fields = CALLS[task]
    call = getattr(tiny(head, **fields), task)
    alone = call(text)
    assert isinstance(alone, list)
    assert all(isinstance(row, dict) for row in alone)
    assert call([text]) == [alone] == call(iter([text]))
    assert call([]) == []


def test_texts_with_one_mask_and_more() -> None:
    call = tiny("masked_lm").fill_mask
    texts = ["Anna <mask>", "<mask> moved <mask>", "<mask>", "to <mask><mask><mask>."]
    for one, text in zip(call(texts), texts, strict=True):
        assert_same(one, call(text))


def test_targets_that_are_not_tokens() -> None:
    """The first token stands for a text of several, and nothing for a text without any."""
    call = functools.partial(tiny("masked_lm").fill_mask, "Anna <mask>.")
    assert call(targets=["a"]) == call(targets="a")
    first = LIBRARY.encode("never mind", add_special_tokens=False).tokens[0]
    with pytest.warns(UserWarning) as caught:
        assert call(targets=["", "never mind"]) == call(targets=first)
    assert [str(warning.message) for warning in caught] == [
        "target '' is not in the vocabulary: it is left out",
        f"target 'never mind' is not in the vocabulary: {first!r} is used instead",
    ]
    assert caught[0].filename == __file__
    for nothing in ([], [""]):
        with warnings.catch_warnings(), raises(InputError, ValueError, "no targets: give at least one token"):
            warnings.simplefilter("ignore")
            call(targets=nothing)


def test_pairs_of_texts() -> None:
    call = tiny("sequence_classification").classify
    assert call(PAIR) == call([PAIR])[0] != call(PAIR[0])
    assert_near(call([PAIR, "A", PAIR])[1], call("A"))
    assert_near(call([PAIR, "A", PAIR])[2], call(PAIR))


def test_vectors_of_one_text_and_of_none() -> None:
    model = tiny("encoder")
    assert model.encode("A").shape == model.encode("").shape == (32,)
    assert model.encode([]).shape == (0, 32)
    assert model.encode(("A", "b")).shape == (2, 32)
    assert {model.encode(texts).dtype for texts in ("A", ["A"], [])} == {np.dtype("float32")}
    assert tiny("encoder", "float64").encode("A").dtype == np.dtype("float64")


def test_questions_take_one_context_or_one_each() -> None:
    call = tiny("question_answering").answer
    question, context = PAIR
    assert call([question], context) == [call(question, context)]
    both = call([question, "Who?"], context, top_k=2)
    assert_same(both[1], call("Who?", context, top_k=2))
    each = call([question, "Who?"], [context, STORY])
    assert_same(each[1], call("Who?", STORY))
    assert call([], context) == call([], []) == []
    with raises(InputError, ValueError, "equally many, not 2 and 1: give one context for each question"):
        call([question, question], [context])


def test_no_answer_is_a_choice_only_if_asked() -> None:
    call = functools.partial(tiny("question_answering").answer, *PAIR)
    possible, every = call(top_k=500), call(top_k=500, handle_impossible_answer=True)
    assert [answer for answer in every if answer["answer"]] == possible
    assert [(answer["start"], answer["end"]) for answer in every if not answer["answer"]] == [(0, 0)]
    place = [answer["answer"] for answer in every].index("")
    assert call(top_k=place, handle_impossible_answer=True) == possible[:place]


def test_a_question_that_is_cut() -> None:
    """It is read up to the end of its last token; a shorter one is whole."""
    model = tiny("question_answering")
    ends = [end for _, end in LIBRARY.encode(PAIR[0], add_special_tokens=False).offsets]
    with pytest.warns(UserWarning, match="question 1 is longer than max_question_len, 3 tokens: the rest") as caught:
        found = model.answer([PAIR[0], "A"], PAIR[1], max_question_len=3)
    assert caught[0].filename == __file__
    assert_same(found, model.answer([PAIR[0][: ends[2]], "A"], PAIR[1]))
    assert model.answer(*PAIR, max_question_len=len(ends)) == model.answer(*PAIR)


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_batches_do_not_change_vectors(batch_size: int | None) -> None:
    model = tiny("encoder")
    texts = [STORY[: 7 * i % 100] for i in range(30)]
    assert_same(model.encode(texts, batch_size=batch_size), np.stack([model.encode(text) for text in texts]))


def test_a_text_longer_than_a_batch() -> None:
    (one, other) = tiny("encoder", max_position_embeddings=1200).encode(["a " * 550, "a"])
    assert_same(other, tiny("encoder", max_position_embeddings=1200).encode("a"))
    assert one.shape == other.shape


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The number of tokens of each row, for each batch."""
    seen: list[list[int]] = []
    own = Model.on_rows

    def watched(self: Model, rows: Any, asked: Any = None) -> Any:
        seen.append([len(row) for row in rows])
        return own(self, rows, asked)

    monkeypatch.setattr(Model, "on_rows", watched)
    return seen


def test_choices_come_in_batches(batches: list[list[int]]) -> None:
    found = tiny("multiple_choice").choose("Anna", [f"Berg {number} " * (number % 9) for number in range(600)])
    assert len(found) == 600 and sum(choice["score"] for choice in found) == pytest.approx(1)
    assert all(sum(batch) <= 4096 for batch in batches) and len(batches) > 1


def test_batches_are_full(batches: list[list[int]]) -> None:
    tiny("encoder").encode(["a " * (i % 25) for i in range(800)])
    assert all(4096 - 64 < sum(batch) <= 4096 for batch in batches[:-1]) and len(batches) > 2
    batches.clear()
    tiny("encoder").encode(["a"] * 7, batch_size=3)
    assert batches == [[3, 3, 3], [3, 3, 3], [3]]


def test_the_logits_of_a_batch_are_bounded(batches: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("masked_lm")
    monkeypatch.setattr(minroberta.text.running, "LOGITS", 8 * model.config.vocab_size)
    model.fill_mask(["A <mask>."] * 20)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    batches.clear()
    model.predict_all(["A b c"] * 3)
    assert [len(batch) for batch in batches] == [1, 1, 1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("task", CALLS)
@pytest.mark.parametrize(
    ("stream", "count", "shown"), [(Terminal, 150, True), (Terminal, 5, False), (io.StringIO, 150, False)]
)
def test_a_bar_for_a_long_list_on_a_terminal(
    task: str,
    stream: type[io.StringIO],
    count: int,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    head, (*others, text), fields = CALLS[task]
    given = text * (count // 2 if task in ("choose", "zero_shot") else 1) if isinstance(text, list) else [text] * count
    if task == "answer":
        others = [others * count]
    shown_on = stream()
    monkeypatch.setattr(sys, "stderr", shown_on)
    options = {"max_new_tokens": 1} if task == "generate" else {}
    getattr(tiny(head, **fields), task)(*others, given, **options)
    assert ("150/150" in shown_on.getvalue()) == shown
    assert (shown_on.getvalue() == "") == (not shown)
    assert capsys.readouterr().out == ""


def test_a_list_of_unknown_length_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter appears after a second, so that a short list stays quiet."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(None, "texts") as advance:
        advance(1)
        assert stream.getvalue() == ""
        time.sleep(1.1)
        advance(41)
    assert "42 texts" in stream.getvalue()


# --- the types of answers -------------------------------------------------------------------------------------------

TYPES: dict[str, Any] = {
    "fill_mask": Filling,
    "classify": Label,
    "tag": Entity,
    "answer": Answer,
    "choose": Label,
    "generate": Generated,
    "predict_all": Prediction,
}


@pytest.mark.parametrize("task", TYPES)
def test_answers_have_the_keys_and_values_of_their_types(task: str) -> None:
    head, arguments, fields = CALLS[task]
    hints = get_type_hints(TYPES[task])
    for row in getattr(tiny(head, **fields), task)(*arguments):
        assert TYPES[task].__required_keys__ <= row.keys() <= hints.keys()
        assert all(type(value) is hints[name] for name, value in row.items())


def test_entities_have_the_keys_of_their_strategy() -> None:
    common = {"score", "word", "start", "end"}
    words, tokens = (tiny("token_classification", **PLAIN).tag(STORY, strategy) for strategy in (None, "none"))
    groups = [
        group
        for labels in (PLAIN, GROUPED)
        for strategy in ("simple", "first", "average", "max")
        for group in tiny("token_classification", **labels).tag(STORY, strategy)
    ]
    assert all(row.keys() == common | {"entity"} for row in words)
    assert all(row.keys() == common | {"entity", "index"} for row in tokens)
    assert all(row.keys() == common | {"entity_group"} for row in groups)
    assert words and tokens and groups


def test_the_methods_of_the_tokenizer() -> None:
    """The model's methods have the tokenizer's signatures and docstrings."""
    for own, its in ((Model.tokenize, Tokenizer.tokenize), (Model.decode, Tokenizer.decode)):
        assert own.__doc__ == its.__doc__
        assert inspect.signature(own) == inspect.signature(its)
    model = tiny("encoder")
    assert model.tokenize("A", max_length=3).keys() == model.tokenizer("A").keys()
    assert inspect.signature(model.tokenizer) == inspect.signature(model.tokenizer.tokenize)


def test_vectors_have_length_1_if_asked() -> None:
    model = tiny("encoder")
    vectors = model.encode(TEXTS, normalize=True)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    plain = model.encode(TEXTS)
    assert_same(plain / np.linalg.norm(plain, axis=1, keepdims=True), vectors)


@pytest.mark.parametrize(
    ("dtype", "xp"),
    [
        ("float16", np),
        ("float16", strict),
        pytest.param("float16", jax.numpy, marks=pytest.mark.slow),
        pytest.param("bfloat16", jax.numpy, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("task", ["fill_mask", "classify", "tag", "encode", "predict_all"])
def test_half_types(task: str, dtype: str, xp: Any) -> None:
    """Scores are computed in float32 for any weights: those of a softmax sum to 1."""
    head, arguments, fields = CALLS[task]
    result = getattr(tiny(head, dtype, xp, **fields), task)(*arguments)
    if task == "encode":
        assert result.dtype == np.dtype("float32")
        assert np.isfinite(result).all()
    else:
        assert all(type(row["score"]) is float for row in result)
    if task in ("classify", "fill_mask"):
        every = getattr(tiny(head, dtype, xp, **fields), task)(*arguments, top_k=480)
        assert abs(sum(row["score"] for row in every) - 1) < 1e-6


def test_threads_do_not_mix_up_their_windows() -> None:
    """The tokenizers library keeps its truncation as a state."""
    models = [tiny("token_classification", **PLAIN), tiny("question_answering"), tiny("encoder")]
    calls = [lambda: models[0].tag(STORY), lambda: models[1].answer("Who?", STORY), lambda: models[2].encode(ODD)]
    expected = [call() for call in calls]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(5):
            try:
                assert_same(calls[i](), expected[i])
            except AssertionError:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- labels ---------------------------------------------------------------------------------------------------------


def test_labels_without_a_name() -> None:
    """A configuration may name only some labels; the reference fails there."""
    call = tiny("sequence_classification", id2label={1: "one", 3: "three"}).classify
    assert {row["label"] for row in call("A", top_k=None)} == {"LABEL_0", "one"}


def test_a_word_has_its_first_pieces_label() -> None:
    """A word has the label of its first token that is not a space. Words labelled "O" are left out."""
    model, text = tiny("token_classification", **PLAIN), STORY[:150]
    shown = [piece for piece in model.tag(text, "none") if piece["start"] < piece["end"]]
    pieces = {piece["start"]: (piece["entity"], piece["score"]) for piece in shown}
    words = model.tag(text)
    assert 5 < len(words) < len(text.split())
    assert all((word["entity"], word["score"]) == pieces[word["start"]] for word in words)


def test_the_default_strategy_groups_only_labels_that_mark_groups() -> None:
    grouped, plain = tiny("token_classification", **GROUPED), tiny("token_classification", **PLAIN)
    assert grouped.tag(TEXTS) == grouped.tag(TEXTS, "first")
    assert all("entity" in word for words in plain.tag(TEXTS) for word in words)


def tagger(library: tokenizers.Tokenizer, entities: dict[str, str], names: tuple[str, ...]) -> Model:
    """A tagger that reads labels off the tokens: those of `entities`, and the first name for all others."""
    config = Config.from_dict({**MODEL, "num_hidden_layers": 1, "id2label": dict(enumerate(names))})
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(config, "token_classification").items()}
    for name in arrays:
        arrays[name] += name.endswith("LayerNorm.weight")
    rows = arrays["embeddings.word_embeddings.weight"]
    rows[:, 0] = 1
    for token, label in entities.items():
        rows[library.token_to_id(token), [0, names.index(label)]] = [0, 1]
    (head,) = (name for name in arrays if name.endswith("classifier.weight"))
    arrays[head][:] = np.eye(len(names), MODEL["hidden_size"])
    return Model(config, tree(arrays), "token_classification", Tokenizer(library, config))


@pytest.mark.parametrize("strategy", ["first", "average", "max", "simple"])
def test_a_lone_space_does_not_hide_an_entity(strategy: Any) -> None:
    """A sentencepiece model may split off the space before a word, which may have the label O at a text's start."""
    letters = dict.fromkeys("Hamburg", "LOC")
    model = tagger(SENTENCEPIECE, letters, ("O", "LOC"))
    assert SENTENCEPIECE.encode("Hamburg", add_special_tokens=False).tokens[0] == "\u2581"
    assert [(group["word"], group["start"]) for group in model.tag("Hamburg", strategy)] == [("Hamburg", 0)]
    assert [word["word"] for word in model.tag("Hamburg")] == ["Hamburg"]


BETWEEN = [
    ".",
    "!",
    ",",
    "; ",
    "\n",
    "\r\n",
    ".\n",
    "\t",
    "\u00a0",
    "\u2028",
    "\u2014",
    "\u2026",
    " (",
    "\u20ac",
    "\u3002",
    "'",
]


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
@pytest.mark.parametrize("between", BETWEEN)
def test_punctuation_and_lines_are_split_only_if_asked(between: str, strategy: Any) -> None:
    """The pipeline's words include the punctuation next to them, and end only at a space."""
    text = f"Hamburg{between}Oslo"
    model = tagger(LIBRARY, dict.fromkeys(LIBRARY.encode(between, add_special_tokens=False).tokens, "O"), ("LOC", "O"))
    if strategy == "first" and " " not in between:  # in the other strategies, the tokens between have a say
        assert [group["word"] for group in model.tag(text, strategy)] == [text]
    split = [group["word"] for group in model.tag(text, strategy, split_punctuation=True)]
    assert split == ["Hamburg", "Oslo"]


def test_the_word_of_an_unknown_token() -> None:
    model = with_tokenizer(tiny("token_classification", id2label={0: "A", 1: "B"}), WORDPIECE)
    text = "the \u6771 lamp"
    assert [word["word"] for word in model.tag(text, "none")][1:2] == ["\u6771"]


@pytest.mark.parametrize("name", ["align_to_words", "handle_impossible_answer", "merge_equal"])
def test_options_are_true_or_false(name: str) -> None:
    """The str "no" is true for Python."""
    with raises(InputError, ValueError, f"{name} must be True or False, not 'no'"):
        tiny("question_answering").answer("a", "b", **{name: "no"})


def test_a_target_that_the_model_lacks() -> None:
    model = tiny("masked_lm", vocab_size=400)
    with raises(
        InputError, ValueError, "target '<mask>' has the id", "but the model has 400 tokens: give it more with"
    ):
        model.fill_mask([], targets=["<mask>"])


def test_choices_sum_to_one() -> None:
    found = tiny("multiple_choice").choose("A", ["b", "", "b"])
    assert abs(sum(row["score"] for row in found) - 1) < 1e-6
    assert sorted(row["label"] for row in found) == ["", "b", "b"]
    assert tiny("multiple_choice").choose("A", ("b",)) == [{"label": "b", "score": 1.0}]


# --- generation -----------------------------------------------------------------------------------------------------


def made(**options: Any) -> str:
    return tiny("causal_lm", **DECODER).generate("Anna Berg", max_new_tokens=20, **options)[0]["generated_text"]


def test_sampling_from_one_token_is_greedy() -> None:
    assert made() == made(temperature=1.5, top_k=1, seed=3) == made(temperature=1e-300)


def test_the_same_seed_samples_the_same() -> None:
    assert made(temperature=1.0, seed=5) == made(temperature=1.0, seed=5)
    assert len({made(temperature=1.0, seed=seed) for seed in range(5)}) == 5


def test_samples_follow_temperature_and_top_k() -> None:
    """The frequency of a token over many seeds is softmax(logits / temperature) among the likeliest."""
    model = tiny("causal_lm", "float64", **DECODER)
    (ids,) = model.tokenizer("Anna", add_special_tokens=False)["input_ids"].tolist()
    logits = model([[0, *ids]]).logits[0, -1]
    likely = np.argsort(-logits)[:6]
    wanted = np.exp((logits[likely] - logits[likely[0]]) / 2.0)
    wanted /= wanted.sum()
    sampled = [
        model.generate("Anna", max_new_tokens=1, temperature=2.0, top_k=6, seed=seed)[0]["generated_text"]
        for seed in range(600)
    ]
    names = [LIBRARY.decode([*ids, int(token)]) for token in likely]
    assert set(sampled) <= set(names)
    for name in set(names):  # incomplete characters look alike
        share = sum(p for other, p in zip(names, wanted, strict=True) if other == name)
        assert abs(sampled.count(name) / 600 - share) < 4 * np.sqrt(share * (1 - share) / 600)  # four deviations


def test_generation_ends_after_the_end_token() -> None:
    model = tiny("causal_lm", **DECODER)
    ids = [0, *LIBRARY.encode("Anna", add_special_tokens=False).ids]
    for _ in range(6):
        ids.append(int(model([ids]).logits[0, -1].argmax()))
    new = ids[-6:]
    assert model.generate("Anna", max_new_tokens=6) == [{"generated_text": LIBRARY.decode(ids)}]
    ending = Model(model.config.replace(eos_token_id=new[3]), model.params, model.head, model.tokenizer)
    shown = ids[: len(ids) - 6 + new.index(new[3])]
    assert ending.generate("Anna", max_new_tokens=6) == [{"generated_text": LIBRARY.decode(shown)}]


def test_each_token_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, own = [], Model.__call__

    def watched(self: Model, ids: list, **options: Any) -> Any:
        lengths.append(len(ids[0]))
        return own(self, ids, **options)

    monkeypatch.setattr(Model, "__call__", watched)
    expected = tiny("causal_lm", **DECODER).generate("Anna Berg", max_new_tokens=4)
    lengths.clear()
    assert tiny("causal_lm", use_cache=False, **DECODER).generate("Anna Berg", max_new_tokens=4) == expected
    assert lengths == [1 + len(LIBRARY.encode("Anna Berg", add_special_tokens=False).ids), 1, 1, 1]


def test_as_many_tokens_as_the_model_has_positions() -> None:
    model = tiny("causal_lm", **DECODER)
    known = 1 + len(LIBRARY.encode("Anna", add_special_tokens=False).ids)
    model.generate("Anna", max_new_tokens=64 - known)
    with raises(InputError, ValueError, f"the text has {known} tokens and {65 - known} new ones", "takes 64 in all"):
        model.generate("Anna", max_new_tokens=65 - known)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "head"), [(task, head) for task in CALLS for head in HEADS if head != CALLS[task][0]])
def test_another_head(task: str, head: str) -> None:
    _, arguments, _ = CALLS[task]
    wanted = CALLS[task][0]
    with raises(InputError, ValueError, f"{task} needs head '{wanted}'", f"'{head}': load one that has it"):
        getattr(tiny(head, **DECODER), task)(*arguments)


@pytest.mark.parametrize("task", CALLS)
def test_no_tokenizer(task: str) -> None:
    head, arguments, fields = CALLS[task]
    model = tiny(head, **fields)
    with raises(TokenizerError, ValueError, "this model has no tokenizer"):
        getattr(Model(model.config, model.params, head), task)(*arguments)


@pytest.mark.parametrize("task", CALLS)
@pytest.mark.parametrize("text", ["\ud83d", "a\udc00"])
def test_half_a_surrogate_pair(task: str, text: str) -> None:
    head, arguments, fields = CALLS[task]
    for place in range(len(arguments)):
        given = [[text] if isinstance(x, list) else text if i == place else x for i, x in enumerate(arguments)]
        with raises(TokenizerError, ValueError, "half a surrogate pair"):
            getattr(tiny(head, **fields), task)(*given)


@pytest.mark.parametrize("task", CALLS)
@pytest.mark.parametrize("text", [5, None, [b"a"], [["a"]]])
def test_invalid_texts(task: str, text: Any) -> None:
    head, (_, *others), fields = CALLS[task]
    with pytest.raises(minroberta.Error):
        getattr(tiny(head, **fields), task)(text, *others)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tiny("masked_lm").fill_mask(""), "the text has no <mask>: write one"),
        (lambda: tiny("masked_lm").fill_mask("   "), "the text has no <mask>"),
        (lambda: tiny("masked_lm").fill_mask(["<mask>", "a"]), "text 2 has no <mask>"),
        (lambda: tiny("masked_lm").fill_mask("<mask>", top_k=0), "top_k must be an integer of at least 1, not 0"),
        (lambda: tiny("masked_lm").fill_mask("<mask>", top_k=True), "top_k must be an integer of at least 1, not True"),
        (lambda: tiny("sequence_classification").classify("a", top_k=1.5), "top_k must be an integer of at least 1"),
        (lambda: tiny("sequence_classification").classify(("a", "b", "c")), "must have two texts, not 3: give two"),
        (lambda: tiny("sequence_classification").classify([("a",)]), "must have two texts, not 1: give two"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", temperature=10**400), "invalid temperature 1000"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", temperature=True), "invalid temperature True"),
        (lambda: tiny("sequence_classification").zero_shot("a", "b"), "zero_shot needs a label whose name begins"),
        (lambda: tiny("sequence_classification", **INFERENCE).zero_shot("a", " ,"), "no labels: give at least one"),
        (lambda: tiny("sequence_classification", **INFERENCE).zero_shot("a", []), "no labels: give at least one"),
        (lambda: tiny("question_answering").answer("", "a"), "the question is empty: give some text"),
        (lambda: tiny("question_answering").answer(["a", "b"], ["a", ""]), "context 2 is empty: give some text"),
        (lambda: tiny("question_answering").answer("a", " \n"), "the context is empty: give some text"),
        (lambda: tiny("question_answering").answer("a", "b", top_k=0), "top_k must be an integer of at least 1, not 0"),
        (lambda: tiny("question_answering").answer("a", "b", max_answer_len=0), "max_answer_len must be an integer of"),
        (lambda: tiny("question_answering").answer("a", "b", max_seq_len=65), "max_seq_len must be an integer from"),
        (lambda: tiny("question_answering").answer("a", "b", doc_stride=65), "doc_stride must be an integer from"),
        (lambda: tiny("question_answering").answer("a", "b", max_question_len=0), "max_question_len must be an"),
        (lambda: tiny("multiple_choice").choose("a", []), "no choices: give at least one"),
        (lambda: tiny("multiple_choice").choose("a", "b"), "choose takes one prompt (a str) and several choices"),
        (lambda: tiny("multiple_choice").choose(["a"], ["b"]), "choose takes one prompt (a str) and several choices"),
        (lambda: tiny("encoder").encode("a", batch_size=0), "batch_size must be an integer of at least 1, not 0"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", 0), "max_new_tokens must be an integer of at least 1"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", top_k=-1), "top_k must be an integer of at least 0"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", seed=-1), "seed must be an integer of at least 0, not -1"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", temperature=-0.5), "invalid temperature -0.5"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", temperature=float("nan")), "invalid temperature nan"),
        (lambda: tiny("causal_lm", **DECODER).generate("a", temperature="hot"), "invalid temperature 'hot': give"),
        (lambda: tiny("causal_lm", is_decoder=True).generate("a", top_k=3), "top_k is for sampling: give a"),
        (lambda: tiny("causal_lm").generate("a"), "attends in both directions: set is_decoder to true in"),
        (lambda: tiny("causal_lm", bos_token_id=None, **DECODER).generate(""), "the text has no tokens"),
    ],
)  # fmt: skip
def test_refused(call: Callable[[], Any], said: str) -> None:
    with raises(InputError, ValueError, said):
        call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tiny("masked_lm").fill_mask(["<mask>", None]), "text 2 is of type NoneType: give a str"),
        (lambda: tiny("masked_lm").fill_mask("<mask>", targets=["a", 3]), "target 2 is of type int: give a str"),
        (lambda: tiny("masked_lm").predict_all(["a", "b", 3]), "text 3 is of type int: give a str"),
        (lambda: tiny("sequence_classification").classify(["a", ("b", None)]), "pair 2: text 2 is of type NoneType"),
        (lambda: tiny("sequence_classification").classify(["a", None]), "text 2 is of type NoneType: give a str"),
        (lambda: tiny("sequence_classification").classify(("a", b"")), "the pair: text 2 is of type bytes: give a str"),
        (lambda: tiny("sequence_classification", **INFERENCE).zero_shot("a", ["b", 5]), "label 2 is of type int: give"),
        (lambda: tiny("token_classification").tag(["a", "\ud83d"]), "text 2 contains half a surrogate pair"),
        (lambda: tiny("question_answering").answer(["a", None], "b"), "question 2 is of type NoneType: give a str"),
        (lambda: tiny("question_answering").answer(["a", "b"], ["c", 5]), "context 2 is of type int: give a str"),
        (lambda: tiny("question_answering").answer(["a", STORY], "b"), "question 2: 64 tokens leave no room"),
        (lambda: tiny("question_answering").answer("a", "b", max_seq_len=4), "the question: 4 tokens leave no room"),
        (lambda: tiny("multiple_choice").choose("a", ["b", None]), "choice 2 is of type NoneType: give a str"),
        (lambda: tiny("encoder").encode(["a", "b", None]), "text 3 is of type NoneType: give a str"),
        (lambda: tiny("causal_lm", **DECODER).generate(["a", None]), "text 2 is of type NoneType: give a str"),
        (lambda: tiny("causal_lm", **DECODER).generate(["a", STORY]), "text 2 has "),
        (lambda: tiny("encoder").tokenize(["a", "b"], ["c", None]), "second text 2 is of type NoneType: give a str"),
    ],
)  # fmt: skip
def test_a_message_names_the_text(call: Callable[[], Any], said: str) -> None:
    with pytest.raises((InputError, TokenizerError)) as caught:
        call()
    assert str(caught.value).startswith(said)


def test_labels_of_zero_shot() -> None:
    """Labels come in a list or with commas; the scores of several labels sum to 1 unless each is scored by itself."""
    call = functools.partial(tiny("sequence_classification", **INFERENCE).zero_shot, "Anna Berg moved.")
    found = call(["travel", "art"])
    assert list(found) == ["sequence", "labels", "scores"] and found["sequence"] == "Anna Berg moved."
    assert found == call(" travel ,art,") == call(iter(["travel", "art"]))
    assert sum(found["scores"]) == pytest.approx(1)
    for label, score in zip(
        *(call(["travel", "art"], multi_label=True)[key] for key in ("labels", "scores")), strict=True
    ):
        assert call(label)["scores"] == pytest.approx([score])


def test_zero_shot_of_several_texts() -> None:
    call = tiny("sequence_classification", **INFERENCE).zero_shot
    assert call([], "a") == []
    for text, found in zip(TEXTS, call(TEXTS, ["art", "travel"]), strict=True):
        assert_same(found, call(text, ["art", "travel"]))


def test_a_long_text_of_zero_shot_is_cut_and_its_labels_are_not() -> None:
    model = tiny("sequence_classification", **INFERENCE)
    with pytest.warns(UserWarning, match="text 2 is longer than the 64 tokens") as caught:
        model.zero_shot(["a", STORY], ["b", "Hamburg"])
    assert len(caught) == 1 and caught[0].filename == __file__
    with raises(InputError, ValueError, "hypothesis 2 leaves no room for text in the 64 tokens that this model reads"):
        model.zero_shot("a", ["b", STORY])


@pytest.mark.parametrize("template", ["", "no braces", "{", "{other}", "{1}", "{0.x}", "{:d}", 5, None])
def test_an_invalid_template(template: Any) -> None:
    said = "hypothesis_template must be a str with {} where the label goes, not " + repr(template)
    with raises(InputError, ValueError, said):
        tiny("sequence_classification", **INFERENCE).zero_shot("a", "b", template)


@pytest.mark.parametrize("pooling", ["sum", 3, ["mean"]])
def test_an_unknown_pooling(pooling: Any) -> None:
    with raises(NameUnknownError, KeyError, "unknown pooling", "give one of cls, max, mean, "):
        tiny("encoder").encode("a", pooling=pooling)


@pytest.mark.parametrize("strategy", [None, "none", "simple", "first", "average", "max"])
def test_labels_that_are_numbers(strategy: str | None) -> None:
    """They are labels as others are."""
    numbers, names = ({index: kind(index) for index in range(17)} for kind in (int, "N{}".format))
    found, named = (
        tiny("token_classification", id2label=labels).tag("The old man reads.", strategy) for labels in (numbers, names)
    )
    assert found and len(found) == len(named)
    for tag, other in zip(found, named, strict=True):
        key = "entity" if "entity" in tag else "entity_group"
        assert f"N{tag[key]}" == other[key]


@pytest.mark.parametrize("strategy", ["words", "", ["first"]])
def test_an_unknown_strategy(strategy: Any) -> None:
    allowed = "give one of none, simple, first, average, max"
    with raises(NameUnknownError, KeyError, f"unknown aggregation_strategy {strategy!r}", allowed):
        tiny("token_classification").tag("a", strategy)


def test_a_tokenizer_without_a_mask() -> None:
    model = tiny("masked_lm")
    library = tokenizers.Tokenizer.from_str(LIBRARY.to_str().replace("<mask>", "<hole>"))
    other = Model(model.config, model.params, model.head, Tokenizer(library, model.config))
    with raises(InputError, ValueError, "this model's tokenizer has no mask token"):
        other.fill_mask("<hole>")


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0, np.inf, -np.inf, np.nan]), max_size=9), st.integers(1, 10))
def test_the_best_scores_are_the_first_when_sorted(scores: list[float], top_k: int) -> None:
    """Equal scores keep their order; NaN comes last."""
    array = np.array(scores, np.float32)
    assert best(array, top_k).tolist() == np.argsort(-array, kind="stable")[:top_k].tolist()


def test_a_context_without_tokens() -> None:
    """The tokenizer may drop all of its characters."""
    library = tokenizers.Tokenizer.from_str(LIBRARY.to_str())
    library.normalizer = tokenizers.normalizers.Replace("\u200b", "")
    model = tiny("question_answering")
    dropping = Model(model.config, model.params, model.head, Tokenizer(library, model.config))
    with raises(InputError, ValueError, "context 2 has no tokens: give some text"):
        dropping.answer(["who", "who"], ["a", "\u200b"])


def test_bytes_are_not_texts() -> None:
    with raises(TokenizerError, ValueError, "the text is of type bytes", "give a str, or a list of str"):
        tiny("sequence_classification").classify(b"bytes")  # type: ignore[arg-type]
