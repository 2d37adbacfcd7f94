"""Search for tokenizer files that end the process or take long: `python fuzz_tokenizers.py SECONDS [SEED]`.

The files of a small tokenizer are changed at random, as trees: parts are removed, doubled, exchanged, repeated many
times, or replaced by parts of other kinds, and texts and numbers by long, large or odd ones. Workers load the result
and use it on a text, each under limits of memory and time. A worker that ends, hangs or raises anything but a
`minroberta.Error` is reported with the seed, and `python fuzz_tokenizers.py 0 SEED` tries one seed again.
"""

import collections
import copy
import json
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import minroberta
from minroberta.config import Config
from minroberta.text import allowance
from minroberta.text.tokenizer import Tokenizer

MEMORY, SECONDS = 2**30, 10
"""Limits of a worker: address space beyond what it starts with, and the time for one file."""

LONGEST = 1_000_000
"""Maximum number of characters of a text, which several changes could otherwise make gigabytes long."""

STEPS: list[dict[str, Any]] = [
    {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+(?!\S)"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithNext", "invert": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "Strip", "content": " ", "start": 1, "stop": 1, "strip_left": True, "strip_right": True},
    {"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0], "trim_offsets": True, "add_prefix_space": False},
    {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    {"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="},
    {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    },
    *({"type": kind} for kinds in allowance.KINDS.values() for kind in kinds if kind != "Sequence"),
    *({"type": "Sequence", name: []} for name in allowance.SEQUENCES),
]
ODD: list[Any] = [
    None, True, 0, -1, 1, 2, 3.5, 10**6, 2**31, 2**32, 2**63, 2**70, 1e308, [], {}, [[]],
    "", "a", "\x00", "\ud800", "é" * 50, "a" * 5000, "<s>", "</s>", "[MASK]", "##", "▁", "A", "$A", "Regex", "String",
    "(a+)+$", r"\p{L}" * 20, "a{1000}", "[a&&b]", "(?<=a)b",
]  # fmt: skip


def changed(value: Any, chance: random.Random) -> Any:
    """The tree after one random change."""
    places = list(_places(value))
    parent, key = chance.choice(places)
    kind = chance.randrange(7)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = copy.deepcopy(chance.choice(ODD))
    elif kind == 2:
        parent[key] = copy.deepcopy(chance.choice(STEPS))
    elif kind == 3:
        other, name = chance.choice(places)
        parent[key] = copy.deepcopy(other.get(name) if isinstance(other, dict) else other[name % len(other)])
    elif kind == 4 and isinstance(parent, list):
        parent[key : key + 1] = [copy.deepcopy(parent[key]) for _ in range(chance.choice([2, 3, 40, 3000]))]
    elif kind == 5 and isinstance(parent, dict):
        parent[str(chance.choice(ODD))[:50]] = copy.deepcopy(parent[key])
    elif isinstance(parent[key], str):
        text = parent[key] or "a"
        parent[key] = text * min(chance.choice([2, 10, 1000, 100_000]), 1 + LONGEST // len(text))
    elif isinstance(parent[key], int | float):
        parent[key] = chance.choice([-parent[key], parent[key] * 2**16, parent[key] + 1])
    else:
        parent[key] = {"type": "Sequence", chance.choice(allowance.SEQUENCES): [copy.deepcopy(parent[key])] * 2}
    return value


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items)[:60]:
        yield value, key
        yield from _places(part)


def start() -> dict[str, Any]:
    """The files that are changed: a small byte-level tokenizer, its settings, and a configuration."""
    folder = Path(tempfile.mkdtemp())
    model = minroberta.load(head="token_classification")
    small = json.loads(model.tokenizer.library.to_str())
    kept = dict(list(small["model"]["vocab"].items())[:300])
    small["model"] |= {
        "vocab": kept,
        "merges": [pair for pair in small["model"]["merges"] if {*pair, "".join(pair)} <= {*kept}],
    }
    model.tokenizer.save(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    return {"tokenizer.json": small, "tokenizer_config.json": settings, "config.json": model.config.to_dict()}


def attempt(seed: int, files: dict[str, Any], folder: Path) -> str:
    """Change the files as the seed says, load them, and use what is loaded. Returns what became of it, in a word."""
    chance = random.Random(seed)
    files = copy.deepcopy(files)
    for _ in range(chance.choice([1, 1, 2, 3, 5, 10])):
        name = chance.choices(["tokenizer.json", "tokenizer_config.json", "config.json"], [8, 2, 2])[0]
        files[name] = changed(files[name], chance)
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    try:
        tokenizer = Tokenizer.load(folder, Config.from_dict(json.loads((folder / "config.json").read_text())))
        if tokenizer is None:
            return "none"
        ids = tokenizer.tokenize(["a b", "An odd text, with 3 words\n\n and emoji 👩 é." * 3])["input_ids"]
        tokenizer.windows("a b c d " * 200, stride=2)
        tokenizer.decode(ids)
        return "used"
    except minroberta.Error:
        return "refused"


def work(first: int, end: float, files: dict[str, Any], said: Any) -> None:
    """Attempts from a seed on, until the time is up. Each is announced, so that the seed of one that ends is known."""
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        seed = first
        while time.time() < end:
            said.send(seed)
            signal.alarm(SECONDS)
            try:
                said.send(attempt(seed, files, Path(folder)))
            except Exception as error:
                said.send(f"RAISED {type(error).__name__}: {error}"[:200])
            seed += 1


def main(seconds: float, count: int = 2) -> None:
    """Run workers side by side, and start another where one has ended."""
    files, end, counts = start(), time.time() + seconds, collections.Counter[str]()
    process = multiprocessing.get_context("fork")
    first = int(time.time()) * 1000
    running: list[list[Any]] = []

    def begin(seed: int) -> list[Any]:
        ours, theirs = process.Pipe()
        worker = process.Process(target=work, args=(seed, end, files, theirs))
        worker.start()
        theirs.close()
        return [worker, ours, seed]

    running = [begin(first + i * 10**9) for i in range(count)]
    while running:
        for one in list(running):
            worker, said, _ = one
            try:
                while said.poll(0.05):
                    word = said.recv()
                    if isinstance(word, int):
                        one[2] = word
                    else:
                        counts[word.split(":")[0]] += 1
                        if word.startswith("RAISED"):
                            print(one[2], word, flush=True)
            except EOFError:
                worker.join()
                running.remove(one)
                if worker.exitcode:
                    print(f"seed {one[2]} ended the process: {worker.exitcode}", flush=True)
                    counts[f"ENDED {worker.exitcode}"] += 1
                    running.append(begin(one[2] + 1))
    print(dict(counts), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(attempt(int(sys.argv[2]), start(), Path(tempfile.mkdtemp())))
    else:
        main(float(sys.argv[1]))
