"""Write tiny tokenizers in the layouts of real repositories, and what transformers 4.48.3 makes of texts with them.

    python -m generators.make_tokenizers [DIRECTORY]

needs transformers 4.48.3, tokenizers 0.21.4, sentencepiece 0.2.3 and protobuf. It writes, by default to
`golden/tokenizers`, a directory for each layout: its files and, in `expected.json`, the results of
`AutoTokenizer.from_pretrained(directory, use_fast=True)`, or of the slow tokenizer for the layouts of `SLOW`.
"""

import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import transformers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from generators import GOLDEN

VERSIONS = {"transformers": "4.48.3", "tokenizers": "0.21.4", "sentencepiece": "0.2.3"}

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "Hello world! How are you today? I am fine, thank you.",
    "Où est-il né, l'été dernier ? À Besançon, peut-être.",
    "He was born in 1950, and she was born in 1984.",
    "대한민국의 수도는 서울이다.",
    "日本語の漢字",
]

TEXTS = [
    "Hello world!",
    "hello WORLD",
    "  Two  spaces and\ta tab\n",
    "Où est l'ÉTÉ dernier ?",
    "日本語の漢字 서울이다",
    "",
    " ",
    "He was <mask> in 1950.",
    "He was<mask>in <mask>",
    "He was [MASK] in [MASK]1984.",
    "<s>a</s>[CLS]b[SEP]<pad>[PAD]<unk>[UNK]",
    "<encoder-only> def max(a, b):",
    "[E1]Paris[/E1] is @USER 's, [E1] ",
    "1,000, 1950, ``quoted'' ▁ <_>",
    "<extra_id_0> and <extra_id_99>",
    "the quick_brown fox@@ over",
]

DECODED = [*TEXTS[:4], "He was n't born , they 've said ; she 's ' fine ' . I 'm not ! we 're you ? \" 's"]

PAIRS = [("Hello world!", "How are you?"), ("", "dog"), ("The lazy dog", ""), ("A [MASK]", "<mask> b")]

WORDS = [["Hello", "world", "today"], ["fine,", "thank", "you"]]

ADDED = [["[NEW]", "born", "two words", "<mask>"], ["[SPECIAL]", "[NEW]"]]
"""Tokens that are added, and special ones."""

WITH_ADDED = "He was[NEW]born [SPECIAL] two wordsborn<mask>Born"

LONG = ["He was born in 1950, and she was born in 1984.", "Hello world! How are you today?"]
SHORT = ["a", "dog"]

CALLS: dict[str, tuple[list[str], list[str] | None, dict[str, Any]]] = {
    "padding": (LONG, SHORT, {"padding": True}),
    "one": (LONG, None, {"padding": True, "max_length": 11, "truncation": True}),
    "max_length": (SHORT, LONG, {"padding": "max_length", "max_length": 14, "truncation": True}),
    "only_first": (LONG, SHORT, {"padding": True, "max_length": 14, "truncation": "only_first"}),
    "only_second": (SHORT, LONG, {"padding": "longest", "max_length": 14, "truncation": "only_second"}),
    "own_length": (LONG, SHORT, {"padding": True, "truncation": True}),
    "room": (SHORT, None, {"padding": "max_length", "max_length": 20}),
}
"""Calls: texts, second texts, and options."""

ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]
BERT = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
ROLES_OF_BERT = {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}

# --- vocabularies ---------------------------------------------------------------------------------------------------


def byte_level(first: list[str], last: list[str], prefix: bool = False) -> tokenizers.Tokenizer:
    """Byte-level BPE of the corpus."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=first, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(CORPUS * 2, trainer)
    state = json.loads(library.to_str())
    vocabulary = state["model"]["vocab"]
    for token in last:
        vocabulary[token] = len(vocabulary)
    merges = [tuple(merge) for merge in state["model"]["merges"]]
    library = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    library.decoder = decoders.ByteLevel()
    start, end = ("<s>", "</s>") if "<s>" in vocabulary else ("[CLS]", "[SEP]")
    library.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (start, vocabulary[start]), add_prefix_space=prefix
    )
    return library


def word_piece(lower: bool = False) -> tokenizers.Tokenizer:
    """WordPiece of the corpus, with BERT's special tokens in klue's order."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=lower)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    words = sorted({word for text in CORPUS for word in text.replace(",", " ").split()})
    letters = sorted({letter for word in words for letter in word + word.lower()})
    tokens = [*BERT, *letters, *(f"##{letter}" for letter in letters), "the", "quick", "##llo", "world", "born", "ete"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    library.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    library.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 0), ("[SEP]", 2)],
    )
    return library


def pieces(model_type: str = "unigram", vocab_size: int = 150, **options: Any) -> bytes:
    """A sentencepiece model of the corpus."""
    result = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=result,
        model_type=model_type,
        vocab_size=vocab_size,
        num_threads=1,
        minloglevel=2,
        hard_vocab_limit=False,
        normalization_rule_name="identity",  # a table of characters takes 240 kB
        **options,
    )
    return result.getvalue()


# --- files ----------------------------------------------------------------------------------------------------------


def write(directory: Path, **files: Any) -> None:
    """Write files by name, with `__` for a dot: JSON, text or bytes."""
    for name, content in files.items():
        path = directory / name.replace("__", ".")
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def vocabulary_files(library: tokenizers.Tokenizer) -> dict[str, Any]:
    model = json.loads(library.to_str())["model"]
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"]), ""]
    return {"vocab__json": model["vocab"], "merges__txt": "\n".join(lines)}


def json_file(library: tokenizers.Tokenizer, special: list[str], lstrip: str = "") -> dict[str, Any]:
    library.add_special_tokens([AddedToken(token, lstrip=token == lstrip, normalized=False) for token in special])
    return {"tokenizer__json": library.to_str()}


def flags(content: str, **given: bool) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, **given}


def words_of(library: tokenizers.Tokenizer) -> str:
    vocabulary = library.get_vocab()
    return "".join(f"{token}\n" for token in sorted(vocabulary, key=lambda token: vocabulary[token]))


MODEL = {"model_type": "roberta", "type_vocab_size": 1}
TYPED = {"model_type": "roberta", "type_vocab_size": 2}
IN_ROBERTA = byte_level(ROBERTA, ["<mask>"])

LAYOUTS: dict[str, Callable[[], dict[str, Any]]] = {
    # klue/roberta-base
    "wordpiece-json": lambda: {
        **json_file(word_piece(), BERT),
        "special_tokens_map__json": ROLES_OF_BERT,
        "tokenizer_config__json": {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        "config__json": TYPED,
    },
    # the settings lower-case, the file does not
    "wordpiece-json-lower": lambda: {
        **json_file(word_piece(), BERT),
        "tokenizer_config__json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        "config__json": MODEL,
    },
    # almanach/camembertv2-base
    "wordpiece-roberta": lambda: {
        **json_file(word_piece(), BERT),
        "special_tokens_map__json": {role: flags(token) for role, token in ROLES_OF_BERT.items()},
        "tokenizer_config__json": {"tokenizer_class": "RobertaTokenizer", "model_max_length": 1e30},
        "config__json": MODEL,
    },
    # DeepChem/ChemBERTa-77M-MLM
    "roles-vocabulary": lambda: {
        **vocabulary_files(byte_level(BERT, [])),
        "special_tokens_map__json": ROLES_OF_BERT,
        "config__json": MODEL,
    },
    "roles-json": lambda: {
        **json_file(byte_level(BERT, []), BERT, "[MASK]"),
        "special_tokens_map__json": ROLES_OF_BERT,
        "tokenizer_config__json": {
            "tokenizer_class": "RobertaTokenizer",
            "clean_up_tokenization_spaces": True,
            **ROLES_OF_BERT,
        },
        "config__json": MODEL,
    },
    # microsoft/unixcoder-base
    "additional": lambda: {
        **vocabulary_files(byte_level(ROBERTA, ["<mask>", "<encoder-only>"])),
        "special_tokens_map__json": {
            "mask_token": flags("<mask>", lstrip=True, normalized=True),
            "additional_special_tokens": ["<encoder-only>", "@USER"],
        },
        "tokenizer_config__json": {"tokenizer_class": "RobertaTokenizer", "additional_special_tokens": ["[E1]"]},
        "config__json": MODEL,
    },
    # with flags in one file, and without them in the other
    "additional-twice": lambda: {
        **vocabulary_files(IN_ROBERTA),
        "special_tokens_map__json": {"additional_special_tokens": ["[E1]", flags("@USER", lstrip=True)]},
        "tokenizer_config__json": {
            "additional_special_tokens": [{**flags("[E1]", lstrip=True, rstrip=True), "__type": "AddedToken"}, "@USER"]
        },
        "config__json": MODEL,
    },
    # saved by a slow tokenizer, before and after transformers 4.34
    "added-json": lambda: {
        **vocabulary_files(IN_ROBERTA),
        "added_tokens__json": {"[/E1]": 302, "[E1]": 301, "@USER": 303},
        "special_tokens_map__json": {"additional_special_tokens": ["[E1]"]},
        "config__json": MODEL,
    },
    "added-decoder": lambda: {
        **vocabulary_files(IN_ROBERTA),
        "tokenizer_config__json": {
            "tokenizer_class": "RobertaTokenizer",
            "mask_token": "<mask>",
            "additional_special_tokens": ["[E1]"],
            "added_tokens_decoder": {
                "300": flags("<mask>", lstrip=True, special=True),
                "301": flags("[E1]", rstrip=True, special=True),
                "302": flags("@USER", normalized=True, special=False),
            },
        },
        "config__json": MODEL,
    },
    # the mask stands only among the added tokens
    "added-mask": lambda: {
        **vocabulary_files(byte_level(ROBERTA, [])),
        "added_tokens__json": {"<mask>": 300},
        "special_tokens_map__json": {"mask_token": "<mask>"},
        "config__json": MODEL,
    },
    "added-pieces": lambda: {
        "sentencepiece__bpe__model": pieces(),
        "added_tokens__json": {"[E1]": 92, "@USER": 93},
        "tokenizer_config__json": {
            "tokenizer_class": "XLMRobertaTokenizer",
            "mask_token": {"__type": "AddedToken", **flags("<mask>", lstrip=True)},
        },
        "config__json": {"model_type": "xlm-roberta"},
    },
    # airesearch/wangchanberta-base-att-spm-uncased
    "camembert-symbols": lambda: {
        "sentencepiece__bpe__model": pieces(user_defined_symbols=["<_>"]),
        "tokenizer_config__json": {
            "tokenizer_class": "CamembertTokenizer",
            "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED", "<_>"],
        },
        "config__json": {"model_type": "camembert"},
    },
    "mask-without-lstrip": lambda: {
        **vocabulary_files(IN_ROBERTA),
        "special_tokens_map__json": {"mask_token": flags("<mask>")},
        "config__json": MODEL,
    },
    "mask-of-an-old-json": lambda: {
        **json_file(byte_level(ROBERTA, ["<mask>"]), [*ROBERTA, "<mask>"]),
        "config__json": MODEL,
    },
    # a mask token that was renamed after loading
    "mask-renamed": lambda: {
        **json_file(byte_level(ROBERTA, ["<mask>"]), [*ROBERTA, "<mask>"], "<mask>"),
        "tokenizer_config__json": {
            "tokenizer_class": "RobertaTokenizer",
            "added_tokens_decoder": {"300": flags("<mask>", lstrip=True, special=True)},
            "mask_token": "[MASK]",
        },
        "config__json": MODEL,
    },
    "prefix": lambda: {
        **json_file(byte_level(ROBERTA, ["<mask>"]), [*ROBERTA, "<mask>"], "<mask>"),
        "tokenizer_config__json": {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True},
        "config__json": MODEL,
    },
    "sides": lambda: {
        **vocabulary_files(IN_ROBERTA),
        "tokenizer_config__json": {
            "tokenizer_class": "RobertaTokenizer",
            "truncation_side": "left",
            "padding_side": "left",
            "model_max_length": 12,
        },
        "config__json": MODEL,
    },
    "no-merges": lambda: {**vocabulary_files(IN_ROBERTA), "merges__txt": "#version: 0.2\n", "config__json": MODEL},
    # seyonec/SMILES_tokenized_PubChem_shard00_160k
    "vocab-txt": lambda: {
        "vocab__txt": words_of(word_piece()),
        "config__json": {**TYPED, "tokenizer_class": "BertTokenizer"},
    },
    "vocab-txt-cased": lambda: {
        "vocab__txt": words_of(word_piece()),
        "tokenizer_config__json": {
            "tokenizer_class": "BertTokenizer",
            "clean_up_tokenization_spaces": False,
            "do_lower_case": False,
            "strip_accents": True,
            "tokenize_chinese_chars": False,
        },
        "config__json": MODEL,
    },
    # rinna/japanese-roberta-base
    "t5": lambda: {
        "spiece__model": pieces(control_symbols=["[CLS]", "[SEP]", "[MASK]"], pad_id=3, pad_piece="[PAD]"),
        "tokenizer_config__json": {
            "tokenizer_class": "T5Tokenizer",
            "extra_ids": 0,
            "additional_special_tokens": [],
            "pad_token": "[PAD]",
            "mask_token": "[MASK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
        },
        "config__json": MODEL,
    },
    "t5-extra": lambda: {
        "spiece__model": pieces("bpe", 250, pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
        "tokenizer_config__json": {"tokenizer_class": "T5Tokenizer", "legacy": False},
        "config__json": MODEL,
    },
    # nlp-waseda/roberta-base-japanese
    "albert": lambda: {
        "spiece__model": pieces(user_defined_symbols=["[CLS]", "[SEP]", "[MASK]"], pad_id=3, pad_piece="<pad>"),
        "tokenizer_config__json": {"tokenizer_class": "AlbertTokenizer", "do_lower_case": False, "keep_accents": True},
        "config__json": TYPED,
    },
    "albert-lower": lambda: {
        "spiece__model": pieces(user_defined_symbols=["[CLS]", "[SEP]", "[MASK]"], pad_id=3, pad_piece="<pad>"),
        "tokenizer_config__json": {"tokenizer_class": "AlbertTokenizer", "clean_up_tokenization_spaces": True},
        "config__json": MODEL,
    },
}

# vinai/phobert-base: PhoBERT and BERTweet have no fast tokenizer, and it cannot hold merges without a token
CODES = [
    "o u 9",
    "t h 8",
    "r e</w> 7",
    "l a 6",
    "l l 6",
    "la z 5",
    "laz y</w> 5",
    "h e 4",
    "w o 3",
    "ll o</w> 3",
    "wo r 2",
]
COUNTED = [
    "Hello",
    "he@@",
    "lazy",
    "la@@",
    "w@@",
    "a@@",
    "wor@@",
    "ld",
    "d",
    "l@@",
    "llo",
    "x",
    "fox@@",
    "t@@",
    "th@@",
    ",",
]
CODED: dict[str, Any] = {
    "bpe__codes": "".join(f"{line}\n" for line in CODES),
    "vocab__txt": "".join(f"{token} {100 - index}\n" for index, token in enumerate(COUNTED)),
}
LAYOUTS |= {
    "phobert": lambda: {**CODED, "config__json": {**MODEL, "tokenizer_class": "PhobertTokenizer"}},
    "bertweet": lambda: {
        **CODED,
        "added_tokens__json": {"<mask>": 20, "@USER": 21},
        "tokenizer_config__json": {"tokenizer_class": "BertweetTokenizer", "mask_token": "<mask>"},
        "config__json": MODEL,
    },
    "lacking": lambda: {
        **vocabulary_files(IN_ROBERTA),
        "merges__txt": "#version: 0.2\nw o\nwo r\nĠ l\nĠl a\nĠla z\nh e\n",
        "config__json": MODEL,
    },
}
SLOW = ("phobert", "bertweet", "lacking")

# --- results --------------------------------------------------------------------------------------------------------


def expected(directory: Path, fast: bool) -> dict[str, Any]:
    """The results of transformers for all texts and calls."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, use_fast=fast)
    one = {"add_special_tokens": True}
    result = {
        "ids": [tokenizer(text, **one)["input_ids"] for text in TEXTS],
        "pairs": tokenizer(PAIRS)["input_ids"],
        "types": tokenizer(PAIRS, return_token_type_ids=True)["token_type_ids"],
        "input_names": tokenizer.model_input_names,
        "decoded": [
            [text, *(tokenizer.decode(ids, clean_up_tokenization_spaces=clean) for clean in (None, False, True))]
            for text, ids in zip(DECODED, tokenizer(DECODED)["input_ids"], strict=True)
        ],
        "calls": {},
    }
    for name, (texts, pairs, options) in CALLS.items():
        if tokenizer.pad_token is not None and (name != "own_length" or tokenizer.model_max_length < 1000):
            encoded = tokenizer(texts, pairs, **options)
            result["calls"][name] = {key: encoded[key] for key in ("input_ids", "attention_mask")}
    if tokenizer.is_fast:
        encoded = tokenizer(TEXTS[:8], return_offsets_mapping=True)
        result["offsets"] = encoded["offset_mapping"]
        result["words"] = [encoded.word_ids(index) for index in range(8)]
        if getattr(tokenizer, "add_prefix_space", True) or "Roberta" not in type(tokenizer).__name__:
            result["split"] = tokenizer(WORDS, is_split_into_words=True)["input_ids"]
        more = [tokenizer.add_tokens(tokens, special_tokens=special) for special, tokens in enumerate(ADDED)]
        result["more"] = [more, len(tokenizer), tokenizer(WITH_ADDED)["input_ids"]]
    return result


def main() -> None:
    """Rewrite all files; a second run gives the same bytes."""
    versions = {library.__name__: library.__version__ for library in (transformers, tokenizers, sentencepiece)}
    if versions != VERSIONS:
        raise SystemExit(f"the golden files need {VERSIONS}, these are {versions}")
    transformers.logging.set_verbosity_error()
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "tokenizers"
    shutil.rmtree(root, ignore_errors=True)
    for name, files in LAYOUTS.items():
        directory = root / name
        directory.mkdir(parents=True)
        write(directory, **files())
        with tempfile.TemporaryDirectory(prefix="roberta") as copy:
            shutil.copytree(directory, copy, dirs_exist_ok=True)
            results = expected(Path(copy), name not in SLOW)
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in results.items()]
        text = ",\n".join(lines)
        (directory / "expected.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")
    inputs = {"texts": TEXTS, "pairs": PAIRS, "split": WORDS, "calls": CALLS, "added": [ADDED, WITH_ADDED]}
    write(root, inputs__json=inputs)


if __name__ == "__main__":
    main()
