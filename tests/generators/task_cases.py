"""Models and texts on which the tasks are compared with the reference; weights come from frozen random streams.

Shared by `make_tasks.py`, which needs transformers, and by the tests, which need minroberta. It imports neither.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from generators.cases import parameter

STORY = (
    "The old lighthouse at Port Ellen was built by William Steel in 1832, and for ninety years somebody climbed its "
    "stairs every evening to light the lamp. Anna Berg, the last keeper, kept a diary: she wrote about storms, ships, "
    "birds and the price of bread. In 1922 a machine took her place. She moved to Glasgow, opened a small café in King "
    "Street, and never spoke of the sea again. Her diary was found a hundred years later, in a box under the floor, by "
    "two children from Oslo who had come to see the whales. Today it lies in the museum next to the harbour, where "
    "everybody can read it; most people only want to see the page about the great storm of 1879, when three ships from "
    "Hamburg reached the harbour on one night and Mr. Steel's lamp went out twice."
)
ODD = "Zoë’s  naïve façade 👩‍👩‍👧 cost 5 € —\tor 東京 100\u00a0¥…"
TEXTS = [
    "Anna Berg moved to Glasgow.",
    "In 1922, a machine (from Hamburg) took her place - didn't it?",
    ODD,
    "",
]

UNKNOWN = ["a<unk>b Anna<unk><unk> of<unk>Oslo", "<unk>", "Berg <unk> 1922<unk>"]

WORDS = [STORY[:30], "Glasgow\nis café—Oslo's; 東京 in (Hamburg).", "Hamburg"]

MODEL = {
    "model_type": "roberta",
    "vocab_size": 480,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
INFERENCE, ENTAILS_FIRST = (  # the pipeline looks at label2id
    {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    for names in (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), ("entailment", "neutral", "contradiction"))
)
PLAIN = {"id2label": {0: "NOUN", 1: "VERB", 2: "O", 3: "X-TRA"}}
TYPES = {"id2label": {0: "PER", 1: "O", 2: "LOC", 3: "ORG"}}
KINDS = ["X-TRA", "B-ORG", "I-PER", "B-PER", "O", "I-LOC", "MISC", "B-LOC", "I-ORG"]
GROUPED = {"id2label": dict(enumerate(KINDS))}


def random_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float64 weight of this name: as in the other golden files, but four times as large in the table of tokens.

    In the layers, and in what is added at every position, it is a quarter, so that outputs depend on the tokens.
    """
    weight = parameter(name, shape)
    if name == "embeddings.word_embeddings.weight":
        return 4 * weight
    common = name.startswith(("encoder.layer", "embeddings.token_type", "embeddings.LayerNorm"))
    return weight / 4 if common and not name.endswith("LayerNorm.weight") else weight


def without_floats(value: Any, numbers: list[float]) -> Any:
    """A result without its floats of any library, which go into the list; a list of floats leaves its length."""
    if isinstance(value, dict):
        return {name: without_floats(item, numbers) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], float):
        numbers.extend(value)
        return len(value)
    if isinstance(value, list):
        return [without_floats(item, numbers) for item in value]
    if isinstance(value, str | int):
        return value
    numbers.append(float(value))
    return "a number"


@dataclass(frozen=True)
class TaskCase:
    """One call of a task: `{task}/{what it shows}`, changes to the model's configuration, and the arguments."""

    name: str
    head: str
    arguments: tuple
    options: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "tasks_tokenizer"  # name of its file

    @property
    def task(self) -> str:
        return self.name.partition("/")[0]


PAIR = ("Who kept a diary?", "Anna Berg, the last keeper, kept a diary.")
PAIRS = [PAIR, ("", "Oslo"), ("Zoë", ODD)]

CASES = [
    TaskCase("fill_mask/one", "masked_lm", ("Anna Berg moved to <mask>.",)),
    TaskCase("fill_mask/more", "masked_lm", ("Anna Berg moved to <mask>.",), {"top_k": 12}),
    TaskCase("fill_mask/several", "masked_lm", ("<mask> Berg opened <mask><mask> café.",), {"top_k": 3}),
    TaskCase("fill_mask/odd", "masked_lm", (f"{ODD} <mask>",)),
    TaskCase("fill_mask/pads", "masked_lm", ("Anna <pad><mask></s> <mask>",)),
    TaskCase("fill_mask/alone", "masked_lm", ("<mask>",)),
    TaskCase(
        "fill_mask/targets", "masked_lm", ("Anna Berg moved to <mask>.",),
        {"targets": ["\u0120the", "and", "</s>", "Glasgow", "never mind", "and"]},
    ),
    TaskCase("fill_mask/target", "masked_lm", ("<mask> Berg <mask> café.",), {"targets": "\u0120the", "top_k": 3}),
    TaskCase(
        "fill_mask/best-targets", "masked_lm", ("<mask> Berg <mask>",),
        {"targets": ["a", "b", "c", "d", "e"], "top_k": 2},
    ),
    TaskCase("classify/softmax", "sequence_classification", (TEXTS,), {"top_k": None}, {"num_labels": 4}),
    TaskCase("classify/best", "sequence_classification", (TEXTS,), {}, {"num_labels": 4}),
    TaskCase(
        "classify/several", "sequence_classification", (TEXTS,), {"top_k": 2},
        {"num_labels": 4, "problem_type": "multi_label_classification"},
    ),
    TaskCase(
        "classify/numbers", "sequence_classification", (TEXTS,), {"top_k": None},
        {"num_labels": 2, "problem_type": "regression"},
    ),
    TaskCase(
        "classify/number", "sequence_classification", (TEXTS,), {},
        {"num_labels": 1, "problem_type": "regression"},
    ),
    TaskCase("classify/one", "sequence_classification", (TEXTS,), {}, {"num_labels": 1}),
    TaskCase("classify/pairs", "sequence_classification", (PAIRS,), {"top_k": None}, {"num_labels": 3}),
    *(
        TaskCase(f"zero_shot/{name}", "sequence_classification", (texts, labels), options, config)
        for name, texts, labels, options, config in (
            ("some", TEXTS[:3], ["art", "travel", "the sea"], {}, INFERENCE),
            ("first", TEXTS[:2], ["art", "travel", "the sea"], {}, ENTAILS_FIRST),
            ("several", TEXTS[:2], ["art", "travel", "the sea"], {"multi_label": True}, INFERENCE),
            ("several-first", TEXTS[:2], ["art", "travel", "the sea"], {"multi_label": True}, ENTAILS_FIRST),
            ("one", TEXTS[:2], ["art"], {}, INFERENCE),
            ("template", TEXTS[:2], "travel, the sea,", {"hypothesis_template": "About {}"}, INFERENCE),
            ("long-label", [STORY[:100]], ["art", STORY[100:180]], {}, INFERENCE),
            ("long", [STORY], ["art", "the great storm of 1879"], {}, INFERENCE),
        )
    ),
    TaskCase("tag/pieces", "token_classification", (TEXTS,), {"aggregation_strategy": "none"}, PLAIN),
    TaskCase("tag/pieces-grouped", "token_classification", (TEXTS,), {"aggregation_strategy": "none"}, GROUPED),
    TaskCase("tag/unknown", "token_classification", (UNKNOWN,), {"aggregation_strategy": "none"}, PLAIN),
    TaskCase("tag/unknown-groups", "token_classification", (UNKNOWN,), {}, GROUPED),
    TaskCase("tag/groups", "token_classification", ([*TEXTS, STORY[:150]],), {}, GROUPED),
    *(
        TaskCase(
            f"tag/{strategy}-{labels}-{kind}", "token_classification", (WORDS,), {"aggregation_strategy": strategy},
            config, f"tasks_{kind}",
        )
        for strategy in ("none", "simple", "first", "average", "max")
        for labels, config in (("grouped", GROUPED), ("plain", TYPES))
        for kind in ("tokenizer", "wordpiece", "sentencepiece")
        if (strategy, kind) != ("none", "tokenizer")
    ),
    TaskCase("answer/short", "question_answering", PAIR),
    TaskCase("answer/some", "question_answering", PAIR, {"top_k": 5}),
    TaskCase("answer/pieces", "question_answering", PAIR, {"top_k": 5, "align_to_words": False}),
    TaskCase("answer/near", "question_answering", PAIR, {"top_k": 40, "max_answer_len": 2}),
    TaskCase("answer/windows", "question_answering", (PAIR[0], STORY)),
    TaskCase("answer/windows-some", "question_answering", (PAIR[0], STORY), {"top_k": 7}),
    TaskCase("answer/odd", "question_answering", ("¿Quién?", ODD), {"top_k": 4}),
    TaskCase("answer/odd-pieces", "question_answering", ("¿Quién?", ODD), {"top_k": 4, "align_to_words": False}),
    *(
        TaskCase(
            f"answer/{name}", "question_answering", (PAIR[0], context),
            {"handle_impossible_answer": True, "top_k": top_k, **options},
        )
        for name, context, top_k, options in (
            ("impossible", PAIR[1], 1, {}),
            ("impossible-some", PAIR[1], 9, {"max_answer_len": 1}),
            ("impossible-windows", STORY[:120], 38, {"max_answer_len": 1, "max_seq_len": 40, "doc_stride": 3}),
            ("lengths", STORY, 9, {"max_seq_len": 40, "doc_stride": 7}),
            ("stride", STORY, 9, {"doc_stride": 0}),
            ("narrow", STORY, 9, {"max_seq_len": 24, "doc_stride": 3}),
        )
    ),
    TaskCase("choose/three", "multiple_choice", ("Anna Berg", ["moved to Glasgow.", "", "kept a diary, they say."])),
    TaskCase("choose/odd", "multiple_choice", (ODD, [ODD, "Oslo"])),
    *(
        TaskCase(f"encode/{pooling}-{normalize}", "encoder", (TEXTS,), {"pooling": pooling, "normalize": normalize})
        for pooling in ("mean", "cls", "max")
        for normalize in (True, False)
    ),
    *(
        TaskCase(f"generate/{name}", "causal_lm", (prompt,), {"max_new_tokens": 16}, {"is_decoder": True})
        for name, prompt in (("words", "Anna Berg moved to"), ("odd", ODD), ("nothing", ""))
    ),
    TaskCase("predict_all/texts", "masked_lm", (TEXTS,)),
]  # fmt: skip

TWICE = "Anna Berg met Mr. Steel. ANNA kept a diary, and Steel kept the lamp; anna berg moved to Glasgow, Anna said."

MERGED = [
    TaskCase(f"answer/merged-{name}", "question_answering", (PAIR[0], context), {"merge_equal": True, **options})
    for name, context, options in (
        ("one", TWICE, {}),
        ("some", TWICE, {"top_k": 5}),
        ("pieces", TWICE, {"top_k": 9, "align_to_words": False}),
        ("near", TWICE, {"top_k": 12, "max_answer_len": 2}),
        ("windows", STORY, {"top_k": 9, "max_seq_len": 40, "doc_stride": 20}),
        ("windows-pieces", STORY, {"top_k": 20, "max_seq_len": 40, "doc_stride": 20, "align_to_words": False}),
        ("impossible", TWICE, {"top_k": 9, "max_answer_len": 1, "handle_impossible_answer": True}),
    )
]
"""Answers of a later version of the pipeline, which lists equal answers once."""

PEOPLE = "Marie Curie was born in Warsaw in 1867; she moved to Paris, where she discovered radium and polonium."
FILMS = ["A warm, funny and moving film.", "The plot is dull, and so are the jokes.", "It runs for two hours."]

EMBEDDED = [
    TaskCase("fill_mask/one", "masked_lm", ("He was born in <mask> 1950.",)),
    TaskCase("fill_mask/several", "masked_lm", ("The <mask> of France <mask> Paris.",), {"top_k": 3}),
    TaskCase("classify/films", "sequence_classification", (FILMS,), {"top_k": None}),
    TaskCase("tag/pieces", "token_classification", ([PEOPLE, *FILMS],), {"aggregation_strategy": "none"}),
    TaskCase("answer/people", "question_answering", ("Where was Marie Curie born?", PEOPLE)),
    TaskCase("answer/windows", "question_answering", ("Who kept a diary?", f"{STORY} {STORY} {STORY}"), {"top_k": 3}),
    TaskCase("encode/mean", "encoder", ([PEOPLE, *FILMS],), {"pooling": "mean", "normalize": True}),
    TaskCase("predict_all/films", "masked_lm", (FILMS,)),
]
