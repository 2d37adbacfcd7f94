"""Save every tokenizer of `golden/tokenizers`, and open what was saved with transformers 4.48.3.

    PYTHONPATH=.. python -m generators.check_tokenizers

needs what `make_tokenizers.py` and `make_tweets.py` need, and minroberta. AutoTokenizer has to give the same ids,
special tokens, number of tokens and maximum length.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import transformers

from generators import GOLDEN
from generators.make_tokenizers import ADDED, PAIRS, SLOW, TEXTS, WITH_ADDED
from minroberta import Config
from minroberta.text.settings import ROLES
from minroberta.text.tokenizer import Tokenizer


def check(source: Path, saved: Path) -> str:
    """Raise AssertionError if the saved tokenizer differs from its source; return its class."""
    config = Config.from_dict({"max_position_embeddings": 514, **json.loads((source / "config.json").read_text())})
    own = Tokenizer.load(source, config)
    assert own is not None
    own.save(saved)
    shutil.copy(source / "config.json", saved)
    wanted = json.loads((source / "expected.json").read_text(encoding="utf-8"))
    fast = source.name not in SLOW
    theirs = transformers.AutoTokenizer.from_pretrained(saved, use_fast=fast)
    assert [theirs(text)["input_ids"] for text in TEXTS] == wanted["ids"]
    assert [theirs.decode(theirs(text)["input_ids"]) for text, *_ in wanted["decoded"]] == [
        decoded for _, decoded, *_ in wanted["decoded"]
    ]
    assert theirs(PAIRS)["input_ids"] == wanted["pairs"]
    assert theirs(PAIRS, return_token_type_ids=True)["token_type_ids"] == wanted["types"]
    assert len(theirs) == (own.settings.lacking or own.library.get_vocab_size())
    assert theirs.model_input_names == wanted["input_names"]
    assert theirs.model_max_length == own.longest
    before = transformers.AutoTokenizer.from_pretrained(source, use_fast=fast)
    for role in ROLES:
        assert own.roles.get(role) == getattr(theirs, role), role
        assert getattr(before, role) in (None, getattr(theirs, role)), role
    assert len(before) == len(theirs)
    if fast:
        check_added(own, saved, wanted["more"])
    return type(theirs).__name__


def check_added(own: Tokenizer, saved: Path, wanted: list[Any]) -> None:
    """Raise AssertionError if tokens that were added are not saved."""
    for special, tokens in enumerate(ADDED):
        own.add_tokens(tokens, bool(special))
    own.save(saved)
    theirs = transformers.AutoTokenizer.from_pretrained(saved)
    assert [len(theirs), theirs(WITH_ADDED)["input_ids"]] == wanted[1:]


def check_tweets(saved: Path) -> None:
    """Raise AssertionError if the saved tokenizer of `golden/tweets` gives other ids than before."""
    source = GOLDEN / "tweets"
    own = Tokenizer.load(source, Config.from_dict({"model_type": "roberta", "max_position_embeddings": 130}))
    assert own is not None
    own.save(saved)
    shutil.copy(source / "config.json", saved)
    theirs = transformers.AutoTokenizer.from_pretrained(saved)
    for text, ids, _ in json.loads((source / "expected.json").read_text(encoding="utf-8"))["tweets"]:
        assert theirs(text)["input_ids"] == ids, text


def main() -> None:
    """Check every directory."""
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as saved:
        check_tweets(Path(saved))
    for source in sorted(path for path in (GOLDEN / "tokenizers").iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as saved:
            print(source.name, check(source, Path(saved)))


if __name__ == "__main__":
    main()
