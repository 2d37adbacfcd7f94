"""Search for tokenizer files that end the process or take long: `python fuzz_tokenizers.py SECONDS [SEED]`.

The small golden tokenizers, of every kind of file, are changed at random: JSON, the lines of a vocabulary or of merges,
and the fields of a sentencepiece model are trees, whose parts are removed, doubled, exchanged, repeated many times, or
replaced by parts of other kinds, and whose texts and numbers become long, large or odd. Workers load the result and
use it on a text, each under limits of memory and time; where the configuration was changed, they load a model with it,
too. A worker that ends, hangs or raises anything but a `minroberta.Error` is reported with the seed, and
`python fuzz_tokenizers.py 0 SEED` tries one seed again.
"""

import collections
import itertools
import json
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minroberta
from minroberta.config import Config
from minroberta.text import allowance, sentencepiece
from minroberta.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"

MEMORY, SECONDS = 2**30, 10
"""Limits of a worker: address space beyond what it starts with, and a processor's time for one set of files."""

LARGEST = 2_000_000
"""Number of characters from which a file only doubles by a change: several changes could make gigabytes."""

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
    places = list(_places(value)) if isinstance(value, list | dict) else []
    if not places:
        return chance.choice(ODD)
    parent, key = chance.choice(places)
    most = max(2, LARGEST // len(json.dumps(value)))
    kind = chance.randrange(7)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = _copy(chance.choice(ODD))
    elif kind == 2:
        parent[key] = _copy(chance.choice(STEPS))
    elif kind == 3:
        other, name = chance.choice(places)
        parent[key] = _copy(other.get(name) if isinstance(other, dict) else other[name % len(other)])
    elif kind == 4 and isinstance(parent, list):
        parent[key : key + 1] = [_copy(parent[key])] * min(chance.choice([2, 3, 40, 3000]), most)
    elif kind == 5 and isinstance(parent, dict):
        parent[str(chance.choice(ODD))[:50]] = _copy(parent[key])
    elif isinstance(parent[key], str):
        text = parent[key] or "a"
        parent[key] = chance.choice([
            text * min(chance.choice([2, 10, 1000, 1_000_000]), most),
            text[: chance.randrange(len(text))],
            text[:-1] + chr(ord(text[-1]) ^ 1 << chance.randrange(8)),
        ])  # fmt: skip
    elif isinstance(parent[key], int | float):
        parent[key] = chance.choice([-parent[key], parent[key] * 2**16, parent[key] + 1])
    else:
        parent[key] = {"type": "Sequence", chance.choice(allowance.SEQUENCES): [_copy(parent[key])] * 2}
    return value


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """The containers in a tree, each with some of its keys: the first ones, and the last."""
    left = [value]
    while left:
        part = left.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part))
        for key in keys if len(keys) <= MOST else [*itertools.islice(keys, MOST - 1), keys[-1]]:
            yield part, key
            if isinstance(part[key], dict | list):
                left.append(part[key])


MOST = 12
"""Number of entries of a vocabulary that are changed: more would leave too few changes to everything else."""

# --- files as trees -------------------------------------------------------------------------------------------------


def parsed(name: str, content: bytes) -> Any:
    """The tree of a file: JSON, lines, or fields of a protobuf message. Bytes are Latin-1 texts."""
    if name.endswith(".json"):
        return json.loads(content)
    if name.endswith(".model"):
        return _fields(content, depth=2)
    if name.endswith(".safetensors"):
        return content.decode("latin-1")
    return content.decode().split("\n")


def written(name: str, value: Any) -> bytes:
    """The inverse of `parsed`, for any tree."""
    if name.endswith(".json"):
        return json.dumps(value).encode()
    if name.endswith((".model", ".safetensors")):
        return _message(value)
    return "\n".join(map(str, value if isinstance(value, list) else [value])).encode(errors="surrogatepass")


def _fields(data: bytes, depth: int) -> list[Any]:
    return [
        [tag, _fields(value, depth - 1) if depth > 1 and tag in MESSAGES else _text(value)]
        for tag, value in sentencepiece._fields(data)
    ]


MESSAGES = (sentencepiece.PIECE, sentencepiece.TRAINER, sentencepiece.NORMALIZER)


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _message(value: Any) -> bytes:
    """Fields that are pairs of a tag and a value are written with the form that the tag says, if the value allows."""
    if isinstance(value, str):
        return value.encode("latin-1", errors="replace")
    if not isinstance(value, list):
        return json.dumps(value).encode()
    return b"".join(map(_field, value))


def _field(field: Any) -> bytes:
    if not (isinstance(field, list) and len(field) == 2 and type(field[0]) is int):
        return _message(field)
    tag, value = field
    if type(value) is int:
        return _varint(tag & ~7) + _varint(value)
    content = _message(value)
    return _varint(tag) + (_varint(len(content)) if tag & 7 == 2 else b"") + content


def _varint(number: int) -> bytes:
    number, data = number & 2**64 - 1, bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


# --- trying ---------------------------------------------------------------------------------------------------------

Files = dict[str, Any]


def start() -> list[Files]:
    """The files that are changed: those of the golden tokenizers, and of the embedded one, made small."""
    found = []
    for directory in sorted(path for path in (GOLDEN / "tokenizers").iterdir() if path.is_dir()):
        names = [path.name for path in directory.iterdir() if path.name != "expected.json"]
        found.append({name: parsed(name, (directory / name).read_bytes()) for name in names})
        if any(name.endswith(".model") for name in names):  # and what the library makes of it
            tokenizer = Tokenizer.load(directory, Config.from_dict(found[-1]["config.json"]))
            made = {"tokenizer.json": json.loads(tokenizer.library.to_str())} if tokenizer else {}
            found.append(made | {name: found[-1][name] for name in names if name.endswith(".json")})
    return [*found, _embedded(), _model()]


def _embedded() -> Files:
    tokenizer = minroberta.load(head="token_classification").tokenizer
    small = json.loads(tokenizer.library.to_str())
    kept = dict(list(small["model"]["vocab"].items())[:300])
    merges = [pair for pair in small["model"]["merges"] if {*pair, "".join(pair)} <= {*kept}]
    small["model"] |= {"vocab": kept, "merges": merges}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        settings = json.loads((Path(folder) / "tokenizer_config.json").read_bytes())
    return {"tokenizer.json": small, "tokenizer_config.json": settings, "config.json": {}}


def _model() -> Files:
    """A tiny checkpoint with the embedded model's tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        minroberta.load(GOLDEN / "checkpoints" / "pytorch-zip").save(folder)
        names = ("config.json", "model.safetensors")
        return _embedded() | {name: parsed(name, (Path(folder) / name).read_bytes()) for name in names}


def attempt(seed: int, kinds: list[str], folder: Path) -> str:
    """Change the files as the seed says, load them, and use what is loaded. Returns what became of it, in a word."""
    chance = random.Random(seed)
    files: Files = json.loads(chance.choice([*kinds, *kinds[-2:] * 5]))
    for _ in range(chance.choice([1, 1, 1, 1, 2, 3, 10])):
        name = chance.choice([name for name in files if isinstance(files[name], list | dict)] or ["config.json"])
        files[name] = changed(files[name], chance)
    for path in folder.iterdir():
        path.unlink()
    for name, value in files.items():
        (folder / name).write_bytes(written(name, value))
    try:
        if "model.safetensors" in files:
            minroberta.load(folder)([[0, 1, 2]])
        tokenizer = Tokenizer.load(folder, Config.from_dict(files["config.json"]))
        if tokenizer is None:
            return "none"
        ids = tokenizer.tokenize(["a b", "An odd text, with 3 words\n\n and emoji 👩 é." * 3])["input_ids"]
        tokenizer.windows("a b c d " * 200, stride=2)
        tokenizer.decode(ids)
        return "used"
    except minroberta.Error:
        return "refused"


def work(first: int, end: float, kinds: list[str], said: Any) -> None:
    """Attempts from a seed on, until the time is up. Each is announced, so that the seed of one that ends is known."""
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        seed = first
        while time.time() < end:
            said.send(seed)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(20 * SECONDS)
            try:
                said.send(attempt(seed, kinds, Path(folder)))
            except Exception as error:
                said.send(f"RAISED {type(error).__name__}: {error}"[:200])
            seed += 1


def main(seconds: float, count: int = 2) -> None:
    """Run workers side by side, and start another where one has ended."""
    kinds, end, counts = list(map(json.dumps, start())), time.time() + seconds, collections.Counter[str]()
    process = multiprocessing.get_context("fork")
    first = int(time.time()) * 1000
    running: list[list[Any]] = []

    def begin(seed: int) -> list[Any]:
        ours, theirs = process.Pipe()
        worker = process.Process(target=work, args=(seed, end, kinds, theirs))
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
        print(attempt(int(sys.argv[2]), list(map(json.dumps, start())), Path(tempfile.mkdtemp())))
    else:
        main(float(sys.argv[1]))
