"""Figures that others published for real checkpoints, reproduced by this package.

Off by default, because it downloads roughly 13 GB, and 14 GB more for XLM-RoBERTa-XL. With a network:

    python -m pytest -m network tests/test_published.py

A checkpoint of which the hub has no weights is skipped, and the reason says so (`-rs` lists them). The figures come
from other projects' tests and documents, named by `source`, with the tolerances stated there.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest

import minroberta
from minroberta import Model, NotFoundError

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("default")]  # a client or a checkpoint may warn

TRANSFORMERS = "huggingface/transformers: tests/models/*/test_modeling_*.py"  # 1d2fe0d, 00ce4e9, 00ee70b, 05c4f97
BUMBLEBEE = "elixir-nx/bumblebee: test/bumblebee/text/*roberta_test.exs"  # cf4dff6, d0774e8
KERAS_HUB = "keras-team/keras-hub: roberta_backbone_test.py"  # 71453d0
TORCHTEXT = "pytorch/text: torchtext_unittest/asset/*.output.pt"  # a5e6106; made with fairseq
TEI = "huggingface/text-embeddings-inference: test_bert__emotions_batch.snap"  # 0d124dc


@functools.lru_cache(maxsize=1)  # rows of one model are adjacent
def model_of(name: str, head: str, dtype: str = "float32") -> Model:
    try:
        # the published causal models are decoders, whatever the checkpoint says
        model = minroberta.load(name, head=head, dtype=dtype, config={"is_decoder": head == "causal_lm"})
    except NotFoundError as error:
        if "no weights" in str(error):
            pytest.skip(f"the hub has no weights of {name}")
        raise
    return model


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


# --- activations ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """A slice of an output. inputs: arguments of the model, or text for its tokenizer."""

    name: str
    head: str
    inputs: Any
    output: str
    index: Any
    expected: Any
    atol: float
    rtol: float
    source: str

    @property
    def dtype(self) -> str:
        """float64 where the tolerance leaves room for one float32 rounding only, the publisher's."""
        return "float64" if self.source == TORCHTEXT else "float32"


HELLO = {"input_ids": [[0, 31414, 232, 328, 740, 1140, 12695, 69, 46078, 1588, 2]]}
DOG = {"input_ids": [[0, 581, 10269, 83, 99942, 136, 60742, 23, 70, 80583, 18276, 2]]}
XLM = {"input_ids": [[0, 581, 10323, 111, 9942, 83, 250001, 6, 5, 2]]}
HENSON = {"input_ids": [[0, 12375, 21, 2488, 289, 13919, 116, 2, 2, 24021, 289, 13919, 21, 10, 2579, 29771, 2]]}
CUTE = {"input_ids": [[0, 31414, 6, 127, 2335, 16, 11962, 2]]}
CUTER = {"input_ids": [[0, 31414, 6, 127, 2335, 16, 11962, 37, 11639, 1168, 2]]}
FOX = {"input_ids": [[0, 133, 2119, 2]]}
BUSINESS = {"input_ids": [[30581, 3923, 34892, 16, 10, 138, 716, 11, 2201, 8, 188, 469]]}
CHOICES = {"input_ids": [[[0, 38576, 103, 4437, 2, 2, 725, 895, 2], [0, 38576, 103, 4437, 2, 2, 487, 895, 2]]]}
MODEL = {"input_ids": [[0, 46496, 4349, 1542, 7192, 37070, 2]]}  # "Roberta base Model Comparison"
XLMR = "XLMR base Model Comparison"
LIKE = ["I like you.", "I am not having a great day.", "I like you."]
TINY = {"input_ids": [[10, 20, 30, 40, 50, 60, 70, 80, 0, 0]], "attention_mask": [[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]]}
TINY_PAIR = {**TINY, "token_type_ids": [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0]]}
TINY_CHOICES = {name: [value] for name, value in TINY_PAIR.items()}  # a choice axis of 1
GREETING = [
    -6.5485673, -6.3020196, -4.86717, -3.9600184, -4.632993, -6.2817054, -6.069636, -5.7742705, -6.925953,
    -6.190939, -5.6739373, -6.1698227, -7.5134573, -6.8658743, -7.1864815, -7.128115, -8.2107115, -7.017146,
    -7.132131, -8.533407, -6.229486, -8.742311, -5.7792006, -8.65723, -8.258308, -6.648321, -7.406026, 3.0464942,
]  # fmt: skip
DAY = [
    -5.816747, -6.611947, -5.2771983, -2.6306484, -4.6419153, -5.5797825, -5.7971735, -6.030578, -5.872076,
    0.45378062, -3.0235896, -5.3944383, -5.18668, -6.264913, -6.196284, -6.9793677, -5.567489, -5.5210495,
    -5.889915, -4.8699794, -5.625993, -7.6109934, -4.388194, -6.0390115, -4.934693, -0.6715966, -6.3993735,
    -2.4499245,
]  # fmt: skip

ROWS = [
    Row(
        "FacebookAI/roberta-base", "masked_lm", HELLO, "logits", np.s_[:, :3, :3],
        [[[33.8802, -4.3103, 22.7761], [4.6539, -2.8098, 13.6253], [1.8228, -3.6898, 8.86]]],
        0.0001, 0.0001, TRANSFORMERS,
    ),
    Row(
        "FacebookAI/roberta-base", "encoder", HELLO, "last_hidden_state", np.s_[:, :3, :3],
        [[[-0.0231, 0.0782, 0.0074], [-0.1854, 0.054, -0.0175], [0.0548, 0.0799, 0.1687]]],
        0.0001, 0.0001, TRANSFORMERS,
    ),
    Row(
        "FacebookAI/roberta-base", "causal_lm", CUTE, "logits", np.s_[:, 1:4, 1:4],
        [[[-3.3435, 32.1472, -3.5083], [-3.5373, 21.8191, -3.5197], [-4.2189, 22.5419, -3.9859]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "FacebookAI/roberta-base", "encoder", FOX, "last_hidden_state", np.s_[0, 0, :5],
        [-0.051, 0.1, -0.01, -0.097, 0.059],
        0.01, 0.01, KERAS_HUB,
    ),
    Row(
        "FacebookAI/roberta-base", "encoder", MODEL, "last_hidden_state", np.s_[0, :3, :3],
        [[-0.0170567, 0.090787217, -0.018850533], [0.029159095, 0.079805166, -0.036427084],
         [0.096873976, 0.019008283, -0.032303169]],
        1e-5, 1.3e-6, TORCHTEXT,
    ),
    Row(
        "FacebookAI/roberta-large", "encoder", MODEL, "last_hidden_state", np.s_[0, :3, :3],
        [[-0.032545701, -0.015341273, -0.0094221085], [-0.017746998, 0.1983334, -0.21101795],
         [-0.18278812, 0.030428259, -0.14784388]],
        1e-5, 1.3e-6, TORCHTEXT,
    ),
    Row(
        "distilbert/distilroberta-base", "encoder", MODEL, "last_hidden_state", np.s_[0, :3, :3],
        [[0.0054827705, 0.088755138, -0.014951002], [0.014151808, 0.12597939, -0.014936239],
         [0.12511738, 0.029622179, 0.0049870014]],
        1e-5, 1.3e-6, TORCHTEXT,
    ),
    Row(
        "FacebookAI/roberta-large-mnli", "sequence_classification", HELLO, "logits", np.s_[:],
        [[-0.9469, 0.3913, 0.5118]],
        0.0001, 0.0001, TRANSFORMERS,
    ),
    Row(
        "FacebookAI/xlm-roberta-base", "encoder", DOG, "last_hidden_state", np.s_[:, :, -1],
        [[-0.0101, 0.1218, -0.0803, 0.0801, 0.1327, 0.0776, -0.1215, 0.2383, 0.3338, 0.3106, 0.03, 0.0252]],
        0.001, 1e-5, TRANSFORMERS,
    ),
    Row(
        "FacebookAI/xlm-roberta-base", "encoder", XLM, "last_hidden_state", np.s_[:, :3, :3],
        [[[0.4921, 0.305, 0.1307], [-0.0038, -0.0187, -0.0312], [0.0248, -0.03, 0.0382]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "FacebookAI/xlm-roberta-base", "masked_lm", XLM, "logits", np.s_[:, :3, :3],
        [[[64.3345, 0.1994, 38.5827], [28.9445, -1.5083, 73.202], [21.0732, -1.0673, 52.7042]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "FacebookAI/xlm-roberta-base", "encoder", XLMR, "last_hidden_state", np.s_[0, :3, :3],
        [[0.072866753, 0.12457552, 0.056511752], [-0.035827562, 0.038413066, 0.0040679593],
         [-0.037588131, 0.029335443, 0.03315334]],
        1e-5, 1.3e-6, TORCHTEXT,
    ),
    Row(
        "FacebookAI/xlm-roberta-large", "encoder", DOG, "last_hidden_state", np.s_[:, :, -1],
        [[-0.0699, -0.0318, 0.0705, -0.1241, 0.0999, -0.052, 0.1004, -0.1838, -0.4704, 0.1437, 0.0821, 0.0126]],
        0.001, 1e-5, TRANSFORMERS,
    ),
    Row(
        "FacebookAI/xlm-roberta-large", "encoder", XLMR, "last_hidden_state", np.s_[0, :3, :3],
        [[-0.039867323, 0.034669898, 0.049055628], [-0.16340913, 0.074251279, -0.21598409],
         [-0.48386183, 0.22774684, 0.0013375022]],
        1e-5, 1.3e-6, TORCHTEXT,
    ),
    Row(
        "facebook/xlm-roberta-xl", "encoder", DOG, "last_hidden_state", np.s_[:, :, -1],
        [[0.011, 0.0605, 0.0354, 0.0689, 0.0066, 0.0691, 0.0302, 0.0412, 0.086, 0.0036, 0.0405, 0.017]],
        0.001, 0.001, TRANSFORMERS,
    ),
    Row(
        "andreasmadsen/efficient_mlm_m0.40", "masked_lm", HELLO, "logits", np.s_[:, :3, :3],
        [[[40.488, 18.0199, -5.2367], [-1.8877, -4.0885, 10.7085], [-2.2613, -5.611, 7.2665]]],
        0.0001, 1e-5, TRANSFORMERS,
    ),
    Row(
        "andreasmadsen/efficient_mlm_m0.40", "encoder", HELLO, "last_hidden_state", np.s_[:, :3, :3],
        [[[0.0208, -0.0356, 0.0237], [-0.1569, -0.0411, -0.2626], [0.1879, 0.0125, -0.0089]]],
        0.0001, 1e-5, TRANSFORMERS,
    ),
    Row(
        "cardiffnlp/twitter-roberta-base-emotion", "sequence_classification", CUTER, "logits", np.s_[:],
        [[-1.3661, 3.0174, -0.9609, -0.4145]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "SamLowe/roberta-base-go_emotions", "sequence_classification", LIKE, "logits", np.s_[:],
        [GREETING, DAY, GREETING],
        0.005, 1e-5, TEI,
    ),
    Row(
        "Jean-Baptiste/roberta-large-ner-english", "token_classification", BUSINESS, "logits", np.s_[:, :3, :2],
        [[[4.1969, -2.5614], [-1.4174, -0.6959], [-1.3807, 0.1313]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "deepset/roberta-base-squad2", "question_answering", HENSON, "start_logits", np.s_[:, :3],
        [[0.5901, -8.349, -8.8031]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "deepset/roberta-base-squad2", "question_answering", HENSON, "end_logits", np.s_[:, :3],
        [[1.1207, -7.5968, -7.6151]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "LIAMF-USP/aristo-roberta", "multiple_choice", CHOICES, "logits", np.s_[:],
        [[-13.9123, -13.4582]],
        0.001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaModel", "encoder", TINY, "last_hidden_state", np.s_[:, 1:4, 1:4],
        [[[-0.3633, 0.8947, 1.8965], [0.5881, 1.973, 1.4211], [0.8067, 1.6098, 0.0291]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForMaskedLM", "masked_lm", TINY, "logits", np.s_[:, 1:4, 1:4],
        [[[0.0, -0.0796, 0.1734], [0.0, -0.0754, 0.0755], [0.0, 0.0299, 0.1902]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForCausalLM", "causal_lm", TINY, "logits", np.s_[:, 1:4, 1:4],
        [[[0.0, 0.0661, -0.0063], [0.0, 0.1107, -0.1137], [0.0, 0.1044, 0.0803]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForSequenceClassification", "sequence_classification",
        TINY, "logits", np.s_[:],
        [[-0.0032, 0.0017]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForTokenClassification", "token_classification",
        TINY, "logits", np.s_[:, 1:4],
        [[[-0.0276, 0.0128], [-0.1321, 0.096], [0.168, 0.0699]]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForQuestionAnswering", "question_answering",
        TINY_PAIR, "start_logits", np.s_[:, 1:4],
        [[-0.1215, -0.1325, -0.1389]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForQuestionAnswering", "question_answering",
        TINY_PAIR, "end_logits", np.s_[:, 1:4],
        [[-0.2795, -0.0051, -0.1547]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
    Row(
        "hf-internal-testing/tiny-random-RobertaForMultipleChoice", "multiple_choice", TINY_CHOICES, "logits", np.s_[:],
        [[-0.0257]],
        0.0001, 0.0001, BUMBLEBEE,
    ),
]  # fmt: skip


def value_of(model: Model, row: Row) -> np.ndarray:
    texts = isinstance(row.inputs, str | list)
    return model(**(model.tokenize(row.inputs) if texts else row.inputs))[row.output][row.index]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{row.head}-{row.output}")
def test_activations(row: Row) -> None:
    value = value_of(model_of(row.name, row.head, row.dtype), row)
    np.testing.assert_allclose(value, np.array(row.expected), rtol=row.rtol, atol=row.atol, err_msg=row.source)


# --- filled masks ---------------------------------------------------------------------------------------------------


def mask_probabilities(model: Model, text: str) -> np.ndarray:
    """The probability of each token at the text's only mask, (V,)."""
    inputs = model.tokenize(text)
    (place,) = np.flatnonzero(inputs["input_ids"][0] == model.tokenize("<mask>", add_special_tokens=False)["input_ids"])
    return softmax(model(**inputs).logits[0, place].astype(np.float64))


ROBERTA_EXPORT = "huggingface/transformers@1d2fe0d: tests/models/roberta/test_modeling_roberta.py::test_export"
FILL_MASK = "huggingface/transformers@1001bb0: tests/pipelines/test_pipelines_fill_mask.py, rounded to 3 decimals"
FAIRSEQ = "facebookresearch/fairseq@3d262bb: examples/roberta/README.md, without a tolerance"
THREE_DECIMALS = 0.0005 + 1e-6

FILLED = [
    (
        "FacebookAI/roberta-base", "The goal of life is <mask>.",
        [" happiness", " love", " peace", " freedom", " simplicity"], None, 0, ROBERTA_EXPORT,
    ),
    (
        "distilbert/distilroberta-base", "My name is <mask>",
        [" John", " Chris"], [0.008, 0.007], THREE_DECIMALS, FILL_MASK,
    ),
    (
        "distilbert/distilroberta-base", "The largest city in France is <mask>",
        [" Paris", " Lyon"], [0.251, 0.214], THREE_DECIMALS, FILL_MASK,
    ),
    (
        "FacebookAI/roberta-large", "The first Star wars movie came out in <mask>",
        [" 1977", " 1978", " 1979"], [0.95047081, 0.00998686, 0.00957479], 1e-3, FAIRSEQ,
    ),
    (
        "FacebookAI/roberta-large", "Vikram samvat calender is official in <mask>",
        [" India", " Delhi", " Gujarat"], [0.21878819, 0.08547238, 0.07556216], 1e-3, FAIRSEQ,
    ),
    (
        "FacebookAI/roberta-large", "<mask> is the common currency of the European Union",
        ["Euro", "euro", "€"], [0.94564939, 0.02574818, 0.01118308], 1e-3, FAIRSEQ,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "tokens", "scores", "atol", "source"), FILLED, ids=[f[1] for f in FILLED])
def test_the_likeliest_tokens(
    name: str, text: str, tokens: list[str], scores: list[float] | None, atol: float, source: str
) -> None:
    model = model_of(name, "masked_lm")
    probabilities = mask_probabilities(model, text)
    best = np.argsort(-probabilities)[: len(tokens)]
    assert [model.decode([token]) for token in best] == tokens, source
    if scores is not None:
        np.testing.assert_allclose(probabilities[best], scores, rtol=0, atol=atol, err_msg=source)


@pytest.mark.parametrize(
    ("token", "token_id", "score"),
    [
        (" John", 610, 0.008), (" Chris", 1573, 0.007), (" Patrick", 3499, 0.005), (" Clara", 13606, 0.0),
        (" Te", 2941, 0.0),
    ],
)  # fmt: skip
def test_given_tokens(token: str, token_id: int, score: float) -> None:
    model = model_of("distilbert/distilroberta-base", "masked_lm")
    assert model.decode([token_id]) == token
    probability = mask_probabilities(model, "My name is <mask>")[token_id]
    np.testing.assert_allclose(probability, score, rtol=0, atol=THREE_DECIMALS, err_msg=FILL_MASK)


# --- tasks computed by hand -----------------------------------------------------------------------------------------


def test_zero_shot_classification() -> None:
    """huggingface/transformers@1001bb0: tests/pipelines/test_pipelines_zero_shot.py, rounded to 3 decimals."""
    model = model_of("FacebookAI/roberta-large-mnli", "sequence_classification")
    published = {"politics": 0.976, "public health": 0.015, "science": 0.009}
    hypotheses = [f"This example is {label}." for label in published]
    logits = model(**model.tokenize(["Who are you voting for in 2020?"] * 3, hypotheses)).logits
    scores = softmax(logits[:, model.config.label2id["ENTAILMENT"]])
    np.testing.assert_allclose(scores, [*published.values()], rtol=0, atol=THREE_DECIMALS)


def test_inference_between_sentences() -> None:
    """facebookresearch/fairseq@3d262bb: examples/roberta/README.md."""
    model = model_of("FacebookAI/roberta-large-mnli", "sequence_classification")
    pairs = {
        "Roberta is not very optimized.": "Roberta is a heavily optimized version of BERT.",
        "Roberta is based on BERT.": "Roberta is a heavily optimized version of BERT.",
        "I like to run.": "potatoes are awesome.",
        "Mars is very close.": "Mars is very far from earth.",
    }
    logits = model(**model.tokenize([*pairs.values()], [*pairs])).logits
    assert logits.argmax(axis=-1).tolist() == [0, 2, 1, 0]


def best_answer(model: Model, question: str, context: str) -> tuple[float, str, int, int]:
    """Score, text and characters of the likeliest span, as transformers' pipeline finds it."""
    encoding = model.tokenizer.library.encode(question, context)
    out = model([encoding.ids])
    in_context = np.array([part == 1 for part in encoding.sequence_ids])
    readable = in_context | (np.arange(len(in_context)) == 0)  # <s> counts too: it means "no answer"
    start, end = (
        softmax(np.where(readable, logits[0], -1e4)) * in_context for logits in (out.start_logits, out.end_logits)
    )
    scores = np.triu(start[:, None] * end[None, :])  # (L, L)
    first, last = np.unravel_index(scores.argmax(), scores.shape)
    begin, stop = encoding.offsets[first][0], encoding.offsets[last][1]
    return float(scores.max()), context[begin:stop], begin, stop


def test_an_answer() -> None:
    """elixir-nx/bumblebee@cf4dff6: test/bumblebee/text/question_answering_test.exs."""
    model = model_of("deepset/roberta-base-squad2", "question_answering")
    score, *span = best_answer(model, "What's my name?", "My name is Sarah and I live in London.")
    assert span == ["Sarah", 11, 16]
    np.testing.assert_allclose(score, 0.8105, rtol=1e-4, atol=1e-4)


def test_another_answer() -> None:
    """guillaume-be/rust-bert@6db859e: tests/roberta.rs; its answer begins with the space before it."""
    model = model_of("deepset/roberta-base-squad2", "question_answering")
    score, text, _, stop = best_answer(model, "Where does Amy live ?", "Amy lives in Amsterdam")
    assert (text.strip(), stop) == ("Amsterdam", 22)
    np.testing.assert_allclose(score, 0.9997, rtol=0, atol=1e-4)


# --- the samples of transformers' documentation, losses rounded to 2 decimals ---------------------------------------

TWO_DECIMALS = 0.005 + 1e-6


@pytest.mark.parametrize(
    ("name", "loss"), [("FacebookAI/roberta-base", 0.1), ("andreasmadsen/efficient_mlm_m0.40", 0.69)]
)
def test_the_capital_of_france(name: str, loss: float) -> None:
    model = model_of(name, "masked_lm")
    inputs = model.tokenize("The capital of France is <mask>.")
    labels = model.tokenize("The capital of France is Paris.")["input_ids"]
    labels = np.where(inputs["input_ids"] == 50264, labels, -100)
    out = model(**inputs, labels=labels)
    assert model.decode(out.logits[0].argmax(axis=-1)[labels[0] != -100]) == " Paris"
    np.testing.assert_allclose(out.loss, loss, rtol=0, atol=TWO_DECIMALS)


def test_an_emotion() -> None:
    model = model_of("cardiffnlp/twitter-roberta-base-emotion", "sequence_classification")
    out = model(**model.tokenize("Hello, my dog is cute"), labels=[1])
    assert model.config.id2label[int(out.logits.argmax())] == "optimism"
    np.testing.assert_allclose(out.loss, 0.08, rtol=0, atol=TWO_DECIMALS)


def test_a_nice_puppet() -> None:
    model = model_of("deepset/roberta-base-squad2", "question_answering")
    out = model(**HENSON, start_positions=[14], end_positions=[15])
    span = slice(int(out.start_logits.argmax()), int(out.end_logits.argmax()) + 1)
    assert model.decode(HENSON["input_ids"][0][span]) == " puppet"
    np.testing.assert_allclose(out.loss, 0.86, rtol=0, atol=TWO_DECIMALS)


# --- the same weights, published twice ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("roberta_base_en", "FacebookAI/roberta-base"),
        ("hf://keras/roberta_large_en", "FacebookAI/roberta-large"),
        ("xlm_roberta_base_multi", "FacebookAI/xlm-roberta-base"),
        ("xlm_roberta_large_multi", "FacebookAI/xlm-roberta-large"),
    ],
)
def test_a_preset_of_kerashub(preset: str, name: str) -> None:
    """The preset gives the same numbers, and its tokenizer the same tokens."""
    text = "Die Brücke ist lang, und sie war teuer."
    own, its = (model_of(x, "encoder") for x in (preset, name))
    assert own.tokenize(text)["input_ids"].tolist() == its.tokenize(text)["input_ids"].tolist()
    ours, theirs = (x(**its.tokenize(text)).last_hidden_state for x in (own, its))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
