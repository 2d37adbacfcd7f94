"""Write a tiny tokenizer of BERTweet's class that normalises tweets, and what transformers 4.48.3 makes of tweets.

    python -m generators.make_tweets [DIRECTORY]

needs transformers 4.48.3 and emoji 0.6.0. It writes, by default to `golden/tweets`, the tokenizer's files, and in
`expected.json` for each tweet of `tweet_cases.py` its ids, with and without the emoji package. The vocabulary has each
character with and without the mark of an inner one, so that other words have other ids.
"""

import json
import shutil
import sys
from pathlib import Path

import emoji
import transformers

from generators import GOLDEN
from generators.make_tokenizers import MODEL, PAIRS, write
from generators.tweet_cases import tweets

VERSIONS = {"transformers": "4.48.3", "emoji": "0.6.0"}

COUNT = 600

CODES = ["U S 9", "US E 8", "@ USE 7", "@USE R</w> 6", "H T 5", "HT T 4", "n ' 3", "n' t</w> 2"]


def vocabulary(texts: list[str]) -> str:
    """Whole words that the merges give, and characters, with counts."""
    known = emoji.demojize("".join([*texts, "HTTPURL@USER"]))
    characters = sorted(character for character in set(known) if character.strip())
    tokens = ["@USER", "n't", "HTT@@", *(token for each in characters for token in (each, f"{each}@@"))]
    return "".join(f"{token} {len(tokens) - index}\n" for index, token in enumerate(tokens))


def main() -> None:
    """Rewrite all files; a second run gives the same bytes."""
    versions = {"transformers": transformers.__version__, "emoji": emoji.__version__}
    if versions != VERSIONS:
        raise SystemExit(f"the golden files need {VERSIONS}, these are {versions}")
    transformers.logging.set_verbosity_error()
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "tweets"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    texts = tweets(COUNT)
    write(
        root,
        vocab__txt=vocabulary(texts),
        bpe__codes="".join(f"{line}\n" for line in CODES),
        tokenizer_config__json={
            "tokenizer_class": "BertweetTokenizer", "normalization": True, "model_max_length": 128
        },
        config__json=MODEL,
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(root)
    ids = [tokenizer(text)["input_ids"] for text in texts]
    words = tokenizer([["don't", "@you", "&amp;"], ["😂"]], is_split_into_words=True)["input_ids"]
    pairs = tokenizer(list(zip(texts[:9], texts[9:18], strict=True)) + PAIRS)["input_ids"]
    tokenizer.demojizer = None
    plain = [tokenizer(text)["input_ids"] for text in texts]
    rows = [[text, row, None if row == other else other] for text, row, other in zip(texts, ids, plain, strict=True)]
    lines = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    others = f'"words": {json.dumps(words)},\n"pairs": {json.dumps(pairs)}'
    (root / "expected.json").write_text(f'{{\n{others},\n"tweets": [\n{lines}\n]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
