"""Write the golden files of the tasks: answers of the pipelines of Hugging Face transformers 4.48.3.

    python -m generators.make_tasks

needs torch and exactly that version of transformers, with its "eager" attention; the tests need neither. It writes

- `tasks_tokenizer.json`: a byte-level BPE with RoBERTa's special tokens, trained on the texts of the cases;
- `tasks_wordpiece.json`, `tasks_sentencepiece.json`: a WordPiece with BERT's special tokens, and a unigram model with a
  token for the space, without some letters of the cases;
- `tasks.json`: for each case of `task_cases.py` the pipeline's answer with a model in float64, and the greatest
  distance of a model in float32 from it, relative to the case's largest number. Both must agree in all but numbers.

Tasks without a pipeline are computed by hand: sentence vectors from the last hidden states under the attention mask,
choices by RobertaForMultipleChoice, and generation by calling the model again on all tokens so far, so that the model
numbers the positions; `generate` counts them from 0.

Models are built in memory, because `from_pretrained` of this version sets `lm_head.bias` to zero.
"""

import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from generators import GOLDEN
from generators.make import HEAD_CLASSES, VERSION, without_prefix
from generators.task_cases import CASES, MODEL, ODD, STORY, TEXTS, TaskCase, random_weight, without_floats

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def train_tokenizer() -> Tokenizer:
    """A tokenizer with RoBERTa's special tokens at their ids, and bytes and merges between them."""
    library = Tokenizer(models.BPE(unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=MODEL["vocab_size"] - 1, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator([STORY, ODD, *TEXTS], trainer)
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    library.add_special_tokens([AddedToken(name, normalized=True) for name in SPECIAL])
    library.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    assert library.get_vocab_size() == MODEL["vocab_size"]
    return library


def wordpiece() -> Tokenizer:
    """Letters, and the beginnings of every second word of the story; ## marks what continues a word."""
    letters = sorted(set(STORY.lower()) - set(" '();"))
    words = sorted({word[:4] for word in STORY.lower().split()[::2]} - set(letters))
    pieces = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", *letters, *("##" + letter for letter in letters), *words]
    library = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    library.add_special_tokens(pieces[:5])
    library.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 0))
    return library


def sentencepiece() -> Tokenizer:
    """Letters, the beginnings of every second word of the story, and a token for the space before the others."""
    words = sorted(set(STORY.split()))[::2]
    pieces = ["\u2581", *sorted(set(STORY) - set(" '();")), *sorted({"\u2581" + word[:4] for word in words})]
    scores = [(name, 0.0) for name in SPECIAL] + [(piece, -9.0 + len(piece)) for piece in pieces]
    library = Tokenizer(models.Unigram(scores, unk_id=3))
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    library.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    library.add_special_tokens(SPECIAL)
    return library


def build(case: TaskCase, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """The case's model with its random weights, ready for inference."""
    config = transformers.RobertaConfig(**{**MODEL, **case.config}, attn_implementation="eager")
    model = getattr(transformers, "Roberta" + HEAD_CLASSES[case.head])(config).to(dtype).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(random_weight(without_prefix(name, model), tuple(weight.shape))))
    return model


# --- answers of transformers -----------------------------------------------------------------------------------------

Model, Tokens = transformers.PreTrainedModel, transformers.PreTrainedTokenizerFast


def fill_mask(model: Model, tokens: Tokens, text: str, **options: Any) -> list:
    return transformers.pipeline("fill-mask", model, tokenizer=tokens)(text, **options)


def classify(model: Model, tokens: Tokens, texts: list, top_k: int | None = 1) -> list:
    given = [text if isinstance(text, str) else dict(zip(("text", "text_pair"), text, strict=True)) for text in texts]
    return transformers.pipeline("text-classification", model, tokenizer=tokens)(given, top_k=top_k)


def zero_shot(model: Model, tokens: Tokens, texts: list[str], labels: list[str], **options: Any) -> list:
    pipeline = transformers.pipeline("zero-shot-classification", model, tokenizer=tokens)
    return pipeline(texts, candidate_labels=labels, **options)


def tag(model: Model, tokens: Tokens, texts: list[str], aggregation_strategy: str = "first") -> list:
    pipeline = transformers.pipeline("token-classification", model, tokenizer=tokens)
    found = [pipeline(text, aggregation_strategy=aggregation_strategy) for text in texts]
    return found if aggregation_strategy == "none" else [trimmed(*both) for both in zip(texts, found, strict=True)]


def trimmed(text: str, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups without blanks around them, leaving out groups of blanks.

    Their words are taken from the text, since the pipeline's join pieces with a space or with part of a character.
    """
    for group in groups:
        while group["start"] < group["end"] and text[group["start"]].isspace():
            group["start"] += 1
        while group["start"] < group["end"] and text[group["end"] - 1].isspace():
            group["end"] -= 1
        group["word"] = text[group["start"] : group["end"]]
    return [group for group in groups if group["word"]]


def answer(model: Model, tokens: Tokens, question: str, context: str, **options: Any) -> list:
    pipeline = transformers.pipeline("question-answering", model, tokenizer=tokens)
    result = pipeline(question=question, context=context, **options)
    return [result] if isinstance(result, dict) else result


def choose(model: Model, tokens: Tokens, prompt: str, choices: list[str]) -> list:
    inputs = tokens([prompt] * len(choices), choices, padding=True, return_tensors="pt")
    scores = model(**{name: values[None] for name, values in inputs.items()}).logits.softmax(-1)[0]
    return [{"label": choices[i], "score": scores[i]} for i in scores.argsort(descending=True).tolist()]


def encode(model: Model, tokens: Tokens, texts: list[str], pooling: str, normalize: bool) -> list:
    inputs = tokens(texts, padding=True, return_tensors="pt")
    x, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]  # (B, L, D), (B, L, 1)
    vectors = {
        "mean": (x * mask).sum(1) / mask.sum(1),
        "cls": x[:, 0],
        "max": x.masked_fill(mask == 0, -torch.inf).max(1).values,
    }[pooling]
    return (torch.nn.functional.normalize(vectors) if normalize else vectors).tolist()


def generate(model: Model, tokens: Tokens, prompt: str, max_new_tokens: int) -> list:
    ids = [0, *tokens(prompt, add_special_tokens=False)["input_ids"]]
    known = len(tokens.decode(ids, skip_special_tokens=True))
    for _ in range(max_new_tokens):
        positions = torch.arange(2, 2 + len(ids))[None]
        ids.append(int(model(torch.tensor([ids]), position_ids=positions, use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == 2:
            break
    return [{"generated_text": prompt + tokens.decode(ids, skip_special_tokens=True)[known:]}]


def predict_all(model: Model, tokens: Tokens, texts: list[str]) -> list:
    return [predict_one(model, tokens, text) for text in texts]


def predict_one(model: Model, tokens: Tokens, text: str) -> list[dict[str, Any]]:
    inputs = tokens(text, return_offsets_mapping=True, return_tensors="pt")
    (offsets,), (ids,) = inputs.pop("offset_mapping").tolist(), inputs["input_ids"].tolist()
    scores = model(**inputs).logits[0].softmax(-1)  # (L, V)
    return [
        {
            "index": place,
            "word": text[slice(*offsets[place])],
            "start": offsets[place][0],
            "end": offsets[place][1],
            "token": (best := int(scores[place].argmax())),
            "token_str": tokens.decode([best]),
            "score": scores[place, best],
            "word_score": scores[place, ids[place]],
        }
        for place in range(1, len(ids) - 1)
    ]


TASKS: dict[str, Callable] = {
    function.__name__: function
    for function in (fill_mask, classify, zero_shot, tag, answer, choose, encode, generate, predict_all)
}

# --- the files -------------------------------------------------------------------------------------------------------


Build = Callable[[TaskCase, torch.dtype], Model]


def tokens_of(name: str) -> Tokens:
    """The tokenizer of this file, as transformers opens it."""
    file, longest = str(GOLDEN / f"{name}.json"), MODEL["max_position_embeddings"] - 2
    if name == "tasks_tokenizer":
        return transformers.RobertaTokenizerFast(tokenizer_file=file, model_max_length=longest)
    names = ("cls_token", "pad_token", "sep_token", "unk_token")
    values = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"] if name == "tasks_wordpiece" else SPECIAL
    special = dict(zip(names, values, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_file=file, model_max_length=longest, **special)


def run(case: TaskCase, tokens: Tokens, build: Build) -> dict[str, Any]:
    """The answer in float64, and the distance of float32 from it."""
    found = []
    for dtype in (torch.float64, torch.float32):
        numbers: list[float] = []
        with torch.no_grad():
            answer = TASKS[case.task](build(case, dtype), tokens, *case.arguments, **case.options)
            found.append((without_floats(answer, numbers), numbers))
    (rest, exact), (again, rounded) = found
    assert rest == again, f"{case.name} is decided by rounding"
    distance = max((abs(a - b) for a, b in zip(exact, rounded, strict=True)), default=0.0)
    return {"result": rest, "numbers": exact, "error": distance / max(map(abs, exact), default=1.0)}


def write(name: str, cases: list[TaskCase], tokens: Tokens | None, build: Build) -> None:
    """Write a line of JSON for each case. tokens: the tokenizer of all, or None for each case's own."""
    own = {case.tokenizer: tokens or tokens_of(case.tokenizer) for case in cases}
    found = {case.name: run(case, own[case.tokenizer], build) for case in cases}
    versions = {library.__name__: library.__version__ for library in (transformers, torch)}
    lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items()]
    text = ",\n".join([f'"versions": {json.dumps(versions)}', *lines])
    (GOLDEN / name).write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def main() -> None:
    """Rewrite all files; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")  # about words that are split only at spaces
    train_tokenizer().save(str(GOLDEN / "tasks_tokenizer.json"), pretty=False)
    wordpiece().save(str(GOLDEN / "tasks_wordpiece.json"), pretty=False)
    sentencepiece().save(str(GOLDEN / "tasks_sentencepiece.json"), pretty=False)
    write("tasks.json", CASES, None, build)


if __name__ == "__main__":
    main()
