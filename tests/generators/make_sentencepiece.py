"""Write tiny sentencepiece models, and the ids that transformers 4.48.3 and KerasHub give for texts with them.

    python -m generators.make_sentencepiece [DIRECTORY]

needs sentencepiece, transformers 4.48.3 and keras-hub 0.32.0 with tensorflow-text. It writes, by default to
`checkpoints/sentencepiece`,

- `unigram.model.xz`: a unigram model with the normalisation that XLM-Roberta and Camembert have, and `bpe.model`: a
  byte-pair one without normalisation, and with user-defined symbols;
- `expected.json`: texts, pairs, and the ids of each under `{model} {model_type} {fast, slow or keras}`. KerasHub adds
  no special tokens and takes no pairs.
"""

import io
import json
import lzma
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras_hub
import sentencepiece
import transformers

from generators import GOLDEN

VERSIONS = {"transformers": "4.48.3", "keras_hub": "0.32.0"}

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "Hello world! How are you today? I am fine, thank you.",
    "He was born in 1950, and she was born in 1984.",
    "Le renard brun saute par-dessus le chien paresseux.",
    "Où est-il né, l'été dernier ? À Besançon, peut-être.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "¿Dónde está la biblioteca? ¡Mañana será otro día!",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "素早い茶色の狐がのろまな犬を飛び越える。",
    "敏捷的棕色狐狸跳过了懒狗。",
    "السلام عليكم، كيف حالك اليوم؟",
    "सभी मनुष्यों को गौरव और अधिकार",
]

TEXTS = [
    "Hello world!",
    "The quick brown fox jumps over the lazy dog.",
    "Où est-il né, l'été dernier ?",
    "Быстрая лиса и собака",
    "素早い茶色の狐",
    "السلام عليكم",
    "सभी मनुष्यों",
    "",
    " ",
    "   ",
    " Hello",
    "Hello ",
    "Hello  world",
    "  Hello   world  ",
    "Hello\tworld\nhow\r\nare you",
    "Hello\u00a0world\u3000you\u200bare",
    "ﬁne ﬂags № ½ ℌ ＦＵＬＬ ｗｉｄｔｈ ㍿ ﷺ",
    "e\u0301te\u0301 été A\u030angstro\u0308m",
    "He was born in <mask> 1950.",
    "He was born in<mask>1950.",
    "<mask>",
    "<mask> <mask><mask>",
    "  <mask>  ",
    "a</s>b<s>c<pad>d<unk>e",
    "<s>NOTUSED </s>NOTUSED <unk>NOTUSED",
    "＜mask＞ ＜s＞ <MASK> <mask",
    "<sep> one<sep>two <mode>",
    "👩‍👩‍👧 🇫🇷 smile 😀😀",
    "żółć ßẞ ĳ Ω≈ç√∫",
    "▁Hello ▁ world▁",
    "\x00\x01\x1b[0m \x7f",
    "\ufeffHello \u202eworld\ufffd",
    "1234567890 3.14159 1,000,000",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "don't can't I'll we're",
    "日本語とEnglishとрусский",
]

PAIRS = [
    ("Hello world!", "How are you?"),
    ("Où est-il ?", " À Besançon"),
    ("", "Hello"),
    ("Hello", ""),
    ("", ""),
    ("born in <mask>", "<mask> 1950"),
]

FAMILIES = {
    "xlm-roberta": (transformers.XLMRobertaTokenizerFast, transformers.XLMRobertaTokenizer),
    "camembert": (transformers.CamembertTokenizerFast, transformers.CamembertTokenizer),
}


def train(**options: Any) -> bytes:
    """A sentencepiece model of the corpus."""
    result = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3), model_writer=result, num_threads=1, minloglevel=2, **options
    )
    return result.getvalue()


def train_all() -> dict[str, bytes]:
    own = {"user_defined_symbols": ["<sep>"], "control_symbols": ["<mode>"]}
    return {
        "unigram": train(model_type="unigram", vocab_size=190, normalization_rule_name="nmt_nfkc"),
        "bpe": train(model_type="bpe", vocab_size=320, normalization_rule_name="identity", **own),
    }


def expected(name: str, model: bytes, path: Path) -> dict[str, list[list[int]]]:
    """The ids of each tokenizer for the texts, and then for the pairs."""
    result = {}
    for model_type, classes in FAMILIES.items():
        for kind, cls in zip(("fast", "slow"), classes, strict=True):
            tokenizer = cls(vocab_file=str(path))
            # As a batch, since a single pair with an empty second text is read as one text.
            result[f"{name} {model_type} {kind}"] = tokenizer(TEXTS)["input_ids"] + tokenizer(PAIRS)["input_ids"]
    keras = keras_hub.models.XLMRobertaTokenizer(proto=model)
    result[f"{name} xlm-roberta keras"] = [keras(text).tolist() for text in TEXTS]
    return result


def main() -> None:
    """Rewrite all files; a second run gives the same bytes."""
    versions = {library.__name__: library.__version__ for library in (transformers, keras_hub, sentencepiece)}
    if any(versions[name] != version for name, version in VERSIONS.items()):
        raise SystemExit(f"the golden files need {VERSIONS}, these are {versions}")
    transformers.logging.set_verbosity_error()
    default = GOLDEN / "checkpoints" / "sentencepiece"
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    directory.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[list[int]]] = {}
    for name, model in train_all().items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(model)
            file.flush()
            rows |= expected(name, model, Path(file.name))
        if name == "unigram":
            (directory / f"{name}.model.xz").write_bytes(lzma.compress(model, preset=9))
        else:
            (directory / f"{name}.model").write_bytes(model)
    head = {"versions": versions, "texts": TEXTS, "pairs": PAIRS}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in {**head, **rows}.items()]
    text = ",\n".join(lines)
    (directory / "expected.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
