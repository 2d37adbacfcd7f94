"""The way from a hub name to a model: the real huggingface_hub client against a small hub on loopback.

The client reads its environment when it is imported, so that each load runs in a new process, which prints one
JSON object. Works with huggingface_hub 0.36 and 2.x alike, whichever is installed.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import embedding_cases
from support import CHECKPOINTS, GOLDEN, TINY, slow_but

import minroberta
from minroberta.checkpoints.formats import safetensors
from minroberta.checkpoints.hub import OTHER_TOKENIZERS, TOKENIZER
from minroberta.text import settings, sources
from minroberta.text.tokenizer import Tokenizer

NAME = "someone/tiny"
COMMIT = hashlib.sha1(b"a commit").hexdigest()
IDS = [[0, 7, 8, 2]]
WANTED = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
UNWANTED = (
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
    "README.md", ".gitattributes", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot",
    "dict.txt", "onnx/model.onnx", "onnx/config.json", "onnx/model.safetensors", "training_args.bin",
)  # fmt: skip

# --- the hub --------------------------------------------------------------------------------------------------------


@dataclass
class Hub:
    """The server's repositories, and the requests that it received."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: tuple[str, ...] = ("main", COMMIT)
    token: str | None = None  # if given, repositories are hidden from requests without it
    refusal: tuple[int, dict[str, str]] | None = None  # a status and headers for whatever is asked
    cut: str | None = None  # how weights arrive: "closed" half way, then not at all; or a "short" half, as if whole
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def served(self) -> set[str]:
        """The files of which a GET asked for the content."""
        parts = [path.partition("/resolve/")[2] for method, path, _ in self.log if method == "GET"]
        return {part.partition("/")[2] for part in parts if part}

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content for a path, as huggingface.co gives them."""
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:/(revision|tree|resolve)/([^/]+)(?:/(.+))?)?", path)
        name, kind, revision, file = match.groups() if match else ("", None, None, None)
        if self.refusal:
            return *self.refusal, b"{}"
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.token and given and given != self.token:
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}"
        if name not in self.repositories or given != (self.token or given):
            if given:
                return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
            return 401, {"X-Error-Message": "Invalid username or password."}, b"{}"
        files = self.repositories[name]
        if revision not in (None, *self.revisions):
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b"{}"
        if kind == "resolve":
            if file not in files:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
            return 200, {"ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"', "X-Repo-Commit": COMMIT}, files[file]
        tree = [{"type": "file", "path": f, "size": len(c), "oid": _blob(c)} for f, c in files.items()]
        siblings = [{"rfilename": f} for f in files]
        info = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "private": False, "siblings": siblings}
        return 200, {"Content-Type": "application/json"}, json.dumps(tree if kind == "tree" else info).encode()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD as the hub does, ranges included."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        path, headers = self.path.partition("?")[0], {key.lower(): value for key, value in self.headers.items()}
        self.hub.log.append((self.command, path, headers))
        status, fields, content = self.hub.answer(path, headers)
        start = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if status == 200 and start and self.command == "GET":
            whole, content = len(content), content[int(start[1]) :]
            status, fields = 206, {**fields, "Content-Range": f"bytes {start[1]}-{whole - 1}/{whole}"}
        length = len(content)
        if self.hub.cut and self.command == "GET" and path.endswith(".safetensors"):
            content = content[: length // 2 if status == 200 else 0]
            length = len(content) if self.hub.cut == "short" else length
            self.close_connection = True
        self.send_response(status)
        for key, value in {**fields, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    server.handle_error = lambda *_: None  # a client may close the connection
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub({NAME: model_files()})
    with serving(hub):
        yield hub


# --- what it serves -------------------------------------------------------------------------------------------------


@functools.cache
def model_files() -> dict[str, bytes]:
    """A repository with a tiny model, its tokenizer, and other files that are common on hubs."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdefgh", "ab", "Ġab"]
        (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        (directory / "merges.txt").write_text("#version: 0.2\na b\nĠ ab\n", encoding="utf-8")
        model = minroberta.init(TINY, head="masked_lm")
        model.tokenizer = Tokenizer.load(directory, model.config)
        model.save(directory)
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert set(files) == WANTED | {"vocab.json", "merges.txt"}
    return {**files, **dict.fromkeys(UNWANTED, b"not wanted")}


def expected() -> np.ndarray:
    return minroberta.init(TINY, head="masked_lm")(IDS).logits


def sharded() -> dict[str, bytes]:
    """The same repository with its weights in two files."""
    files = dict(model_files())
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "weights.safetensors"
        path.write_bytes(files.pop("model.safetensors"))
        arrays, shards = dict(safetensors.File(path)), {}
        for i in (1, 2):
            shards[f"model-{i:05}-of-00002.safetensors"] = dict(list(arrays.items())[i - 1 :: 2])
        for shard, held in shards.items():
            safetensors.write(path, held, {"format": "pt"})
            files[shard] = path.read_bytes()
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    return {**files, "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": weight_map}).encode()}


# --- a load in a new process ----------------------------------------------------------------------------------------

LOAD = f"""
import json, sys, time
import minroberta
time.sleep = lambda seconds: None  # the client pauses before it tries again
function, name, options = json.loads(sys.argv[1])
try:
    model = getattr(minroberta, function)(name, **options)
except minroberta.Error as error:
    result = {{"error": type(error).__name__, "message": str(error)}}
else:
    output = model({IDS})
    logits = output.get("logits")
    result = {{"logits": logits if logits is None else logits.tolist(), "tokenizer": model.tokenizer is not None}}
print(json.dumps(result))
"""


def run(script: str, *arguments: str, cwd: Path, **environment: str) -> str:
    """The output of a script in a new process, with only these settings of huggingface_hub."""
    strip = ("HF_", "HUGGING", "TRANSFORMERS_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(strip) and not k.lower().endswith("_proxy")}
    place = {"PYTHONPATH": str(Path(minroberta.__file__).parents[1]), "HF_HOME": str(cwd / "home")}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=cwd, env={**kept, **place, **environment}, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def load(
    hub: Hub, cwd: Path, name: str = NAME, function: str = "load", offline: bool = False, **options: Any
) -> dict[str, Any]:
    """The JSON object that a process prints after `minroberta.load(name, **options)`; it must print nothing else."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    settings |= {"HF_HUB_ETAG_TIMEOUT": "5", "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_OFFLINE": "1" if offline else "0"}
    return json.loads(run(LOAD, json.dumps([function, name, options]), cwd=cwd, **settings))


def assert_loaded(result: dict[str, Any]) -> None:
    assert "error" not in result, result
    assert np.allclose(result["logits"], expected(), rtol=1e-5, atol=1e-6)
    assert result["tokenizer"]


def assert_error(result: dict[str, Any], kind: str, *words: str) -> None:
    """The result is an error of this kind, whose message is one line with these words."""
    assert result.get("error") == kind, result
    assert "\n" not in result["message"]
    assert len(result["message"]) < 500
    for word in words:
        assert word in result["message"]


# --- what works -----------------------------------------------------------------------------------------------------


def test_the_first_load_fetches_only_files_that_are_read(hub: Hub, tmp_path: Path) -> None:
    assert_loaded(load(hub, tmp_path))
    assert hub.served() == WANTED


@pytest.mark.slow
def test_the_second_load_needs_no_hub(tmp_path: Path) -> None:
    hub = Hub({NAME: model_files()})
    with serving(hub):
        assert_loaded(load(hub, tmp_path))
    assert_loaded(load(hub, tmp_path))


@pytest.mark.slow
def test_the_second_load_fetches_no_file_again(hub: Hub, tmp_path: Path) -> None:
    load(hub, tmp_path)
    hub.log.clear()
    assert_loaded(load(hub, tmp_path))
    assert hub.served() == set()


@pytest.mark.parametrize("name", slow_but(["roles-vocabulary", "added-json", "added-pieces", "t5", "vocab-txt"]))
def test_the_files_of_other_tokenizers(name: str, hub: Hub, tmp_path: Path) -> None:
    """Without tokenizer.json, the first other kind of files is fetched, with all the settings and nothing else."""
    files = {name: content for name, content in model_files().items() if name in ("config.json", "model.safetensors")}
    layout = {path.name: path.read_bytes() for path in (GOLDEN / "tokenizers" / name).iterdir()}
    own = {name: content for name, content in layout.items() if name not in ("config.json", "expected.json")}
    config = {**json.loads(layout["config.json"]), **json.loads(files["config.json"])}
    hub.repositories[NAME] = {**files, **own, "README.md": b"", "config.json": json.dumps(config).encode()}
    result = load(hub, tmp_path)
    assert "error" not in result, result
    assert result["tokenizer"]
    assert hub.served() == {*files, *own}


def test_every_file_of_a_tokenizer_is_fetched() -> None:
    names = [source.names for source in sources.SOURCES if not source.names[0].startswith(sources.ASSETS)]
    assert [TOKENIZER[:1], *OTHER_TOKENIZERS] == names
    assert set(TOKENIZER[1:]) == {settings.SETTINGS, settings.SPECIAL, settings.ADDED}


OFFLINE = pytest.mark.parametrize(
    "options",
    [
        pytest.param({"local_files_only": True}, id="local_files_only"),
        pytest.param({"offline": True}, id="HF_HUB_OFFLINE", marks=pytest.mark.slow),
    ],
)


@OFFLINE
def test_offline_from_the_cache(options: dict[str, bool], hub: Hub, tmp_path: Path) -> None:
    load(hub, tmp_path)
    hub.log.clear()
    assert_loaded(load(hub, tmp_path, **options))
    assert hub.log == []


@pytest.mark.slow
def test_shards(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[NAME] = sharded()
    assert_loaded(load(hub, tmp_path))
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert hub.served() == WANTED - {"model.safetensors"} | {"model.safetensors.index.json"} | shards


@pytest.mark.slow
def test_a_revision(hub: Hub, tmp_path: Path) -> None:
    hub.revisions = ("v1", COMMIT)
    assert_loaded(load(hub, tmp_path, revision="v1"))
    assert_loaded(load(hub, tmp_path, revision="v1", local_files_only=True))
    assert_loaded(load(hub, tmp_path, revision=COMMIT))


@pytest.mark.slow
def test_a_private_repository_with_its_token(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    assert_loaded(load(hub, tmp_path, token="hf_secret"))
    assert {headers["authorization"] for _, _, headers in hub.log} == {"Bearer hf_secret"}


@pytest.mark.slow
def test_no_token_is_sent_unless_given(hub: Hub, tmp_path: Path) -> None:
    load(hub, tmp_path)
    assert not any("authorization" in headers for _, _, headers in hub.log)


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        pytest.param("roberta-base", "FacebookAI/roberta-base", marks=pytest.mark.slow),
        pytest.param("distilroberta-base", "distilbert/distilroberta-base", marks=pytest.mark.slow),
        pytest.param("camembert-base", "almanach/camembert-base", marks=pytest.mark.slow),
    ],
)
def test_a_short_name_is_a_repository_of_the_hub(name: str, repository: str, hub: Hub, tmp_path: Path) -> None:
    hub.repositories = {repository: model_files()}
    assert_loaded(load(hub, tmp_path, name))
    assert all(repository in path for _, path, _ in hub.log)


@pytest.mark.slow
def test_a_path_comes_before_a_hub_name(hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / NAME
    directory.mkdir(parents=True)
    for name in WANTED:
        (directory / name).write_bytes(model_files()[name])
    assert_loaded(load(hub, tmp_path))
    assert hub.log == []


@pytest.mark.slow
def test_init_fetches_the_configuration_without_the_weights(hub: Hub, tmp_path: Path) -> None:
    result = load(hub, tmp_path, function="init")
    assert np.allclose(result["logits"], expected(), rtol=1e-5, atol=1e-6)
    assert "config.json" in hub.served()
    assert not any("safetensors" in file for file in hub.served())


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@OFFLINE
def test_offline_with_an_empty_cache(options: dict[str, bool], hub: Hub, tmp_path: Path) -> None:
    assert_error(load(hub, tmp_path, **options), "DownloadError", NAME, "cache", "go online")
    assert hub.log == []


@pytest.mark.slow
def test_an_unreachable_hub_and_an_empty_cache(tmp_path: Path) -> None:
    hub = Hub()
    with serving(hub):
        pass
    assert_error(load(hub, tmp_path), "DownloadError", NAME, "cache", "go online")


@pytest.mark.parametrize("token", slow_but([None, "hf_any"], None), ids=["401", "404"])
def test_an_unknown_repository(token: str | None, hub: Hub, tmp_path: Path) -> None:
    result = load(hub, tmp_path, "someone/robbertta", token=token)
    assert_error(result, "NotFoundError", "someone/robbertta", "no model of that name", "check the name", "token=")


@pytest.mark.slow
def test_a_private_repository_without_its_token(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    assert_error(load(hub, tmp_path), "NotFoundError", NAME, "that you may access", "token=")


@pytest.mark.slow
def test_a_wrong_token(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    result = load(hub, tmp_path, token="hf_wrong")
    assert_error(result, "DownloadError", NAME, "token")
    assert "hf_wrong" not in result["message"]


@pytest.mark.slow
def test_a_token_that_was_never_stored(hub: Hub, tmp_path: Path) -> None:
    assert_error(load(hub, tmp_path, token=True), "DownloadError", "token=True")


@pytest.mark.slow
def test_an_unknown_revision(hub: Hub, tmp_path: Path) -> None:
    assert_error(load(hub, tmp_path, revision="v9"), "NotFoundError", NAME, "revision", "v9")


def test_a_gated_repository(hub: Hub, tmp_path: Path) -> None:
    hub.refusal = (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."})
    assert_error(load(hub, tmp_path), "DownloadError", NAME, "gated", "request access")


@pytest.mark.parametrize("status", [500, pytest.param(503, marks=pytest.mark.slow)])
def test_a_hub_that_fails(status: int, hub: Hub, tmp_path: Path) -> None:
    hub.refusal = (status, {})
    assert_error(load(hub, tmp_path), "DownloadError", NAME, str(status))


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["closed", "short"])
def test_a_file_cut_off_half_way(cut: str, hub: Hub, tmp_path: Path) -> None:
    hub.cut = cut
    result = load(hub, tmp_path)
    assert_error(result, "DownloadError", NAME, "could not be downloaded", "Try again")
    assert "force_download" not in result["message"]  # the client's advice, not an argument of `load`
    half = load(hub, tmp_path, local_files_only=True)
    assert_error(half, half["error"], NAME, "online")
    assert half["error"] in ("DownloadError", "NotFoundError")  # only 2.x notices that something is missing
    hub.cut = None
    assert_loaded(load(hub, tmp_path))


@pytest.mark.slow
def test_a_repository_without_weights(hub: Hub, tmp_path: Path) -> None:
    files = model_files()
    hub.repositories[NAME] = {name: files[name] for name in WANTED - {"model.safetensors"}}
    assert_error(load(hub, tmp_path), "NotFoundError", f"no weights were found for {NAME}", "flax_model.msgpack")


def test_only_the_best_format_is_fetched(hub: Hub, tmp_path: Path) -> None:
    """Without safetensors PyTorch's file is fetched, and no weights of another format."""
    files = model_files()
    bare = {name: x for name, x in files.items() if not name.endswith("safetensors")}
    content = (CHECKPOINTS / "pytorch-zip" / "pytorch_model.bin").read_bytes()
    hub.repositories[NAME] = {**bare, "pytorch_model.bin": content}
    assert_error(load(hub, tmp_path), "WeightsError", "the configuration requires")  # that of another model
    assert hub.served() == WANTED - {"model.safetensors"} | {"pytorch_model.bin"}


@pytest.mark.slow
def test_a_name_with_its_hub(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[NAME] = model_files()
    assert_loaded(load(hub, tmp_path, f"hf://{NAME}"))
    assert hub.served() == WANTED
    hub.log.clear()
    page = load(hub, tmp_path, "https://huggingface.co/FacebookAI/roberta-base/tree/main")
    assert_error(page, "NotFoundError", "is a web address: give the name on the hub, such as 'FacebookAI/roberta-base'")
    kaggle = load(hub, tmp_path, "kaggle://keras/roberta/keras/roberta_base_en")
    assert_error(kaggle, "NotFoundError", "Kaggle is not supported", "hf://keras/roberta_base_en")
    assert not hub.log


EMBEDDING = ["dense, no bias", "old layout", "version 6", "reranker, file of version 6"]


@pytest.mark.parametrize("name", slow_but(EMBEDDING, "old layout"))
def test_a_repository_of_sentence_transformers(name: str, hub: Hub, tmp_path: Path) -> None:
    """Files of its modules are fetched as well, but not those of modules that need none."""
    (case,) = (case for case in embedding_cases.CASES if case.name == name)
    embedding_cases.write(case, tmp_path)
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    hub.repositories[NAME] = {**files, **dict.fromkeys(["README.md", "onnx/config.json", "x/1.json"], b"not wanted")}
    result = load(hub, tmp_path)
    assert "error" not in result, result
    assert hub.served() == {path for path in files if "Dropout" not in path}


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["nowhere", "a" * 300])
def test_a_repository_of_a_folder_that_is_not_there(folder: str, hub: Hub, tmp_path: Path) -> None:
    listed = [{"type": "sentence_transformers.models.Transformer", "path": folder}]
    hub.repositories[NAME] = {"modules.json": json.dumps(listed).encode()}
    result = load(hub, tmp_path)
    assert result.get("error") == "NotFoundError", result
    assert f"{folder} has none of" in result["message"]


@pytest.mark.slow
def test_a_repository_of_a_module_that_is_not_supported(hub: Hub, tmp_path: Path) -> None:
    router = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.router.Router"}
    names = ["query_0_Transformer/model.safetensors", "router_config.json"]
    hub.repositories[NAME] = {**dict.fromkeys(names, b"not wanted"), "modules.json": json.dumps([router]).encode()}
    assert_error(load(hub, tmp_path), "NotFoundError", "Its module Router is not supported: it sends queries and doc")
    assert hub.served() == {"modules.json"}


@pytest.mark.slow
def test_a_preset_of_kerashub(hub: Hub, tmp_path: Path) -> None:
    """A preset is fetched by its name, with the weights of its head and its tokenizer's assets."""
    source = CHECKPOINTS / "keras_masked_lm"
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    hub.repositories["keras/roberta_base_en"] = {**files, "README.md": b"not wanted"}
    result = load(hub, tmp_path, "roberta_base_en")
    assert "error" not in result, result
    assert np.allclose(result["logits"], minroberta.load(source)(IDS).logits, atol=1e-6)
    assert result["tokenizer"]
    assert hub.served() == files.keys() - {"expected.safetensors", "preprocessor.json"}


@pytest.mark.slow
def test_a_repository_of_another_program(hub: Hub, tmp_path: Path) -> None:
    """The names of its files are asked for, and none of them is fetched."""
    files = {name: model_files()[name] for name in WANTED - {"model.safetensors"}}
    hub.repositories[NAME] = {**files, "onnx/model.onnx": b"not wanted"}
    assert_error(
        load(hub, tmp_path), "NotFoundError", "no weights were found", "onnx/model.onnx is an ONNX model: give"
    )
    assert hub.served() == files.keys()


@pytest.mark.slow
def test_a_variant(hub: Hub, tmp_path: Path) -> None:
    files = {name: model_files()[name] for name in WANTED}
    files["model.fp16.safetensors"] = files.pop("model.safetensors")
    hub.repositories[NAME] = {**files, "README.md": b"not wanted"}
    for _ in range(2):
        assert_loaded(load(hub, tmp_path))
        assert hub.served() == files.keys()


@pytest.mark.slow
def test_a_variant_in_shards(hub: Hub, tmp_path: Path) -> None:
    """The index and the shards are fetched, but not the same variant in another format."""
    index, shard = "model.safetensors.index", "model-{}-of-00002.safetensors"
    names = {f"{index}.json": f"{index}.fp16.json"}
    names |= {shard.format(number): shard.format(number).replace("-", ".fp16-", 1) for number in ("00001", "00002")}
    files = {names.get(name, name): x for name, x in sharded().items() if name in {*WANTED, *names}}
    files[f"{index}.fp16.json"] = files[f"{index}.fp16.json"].replace(b"model-", b"model.fp16-")
    hub.repositories[NAME] = {**files, "README.md": b"not wanted", "pytorch_model.fp16.bin": b"not wanted"}
    for _ in range(2):
        assert_loaded(load(hub, tmp_path))
        assert hub.served() == files.keys()


def adapter_files() -> dict[str, bytes]:
    """A LoRA adapter for the model of `model_files`, which adds 0."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "adapter_model.safetensors"
        module = "base_model.model.roberta.encoder.layer.0.attention.self.query"
        size = TINY["hidden_size"]
        shapes = {"A": (2, size), "B": (size, 2)}
        arrays = {f"{module}.lora_{which}.weight": np.zeros(shape, "f4") for which, shape in shapes.items()}
        safetensors.write(path, arrays, {"format": "pt"})
        settings = {"peft_type": "LORA", "base_model_name_or_path": NAME, "r": 2, "lora_alpha": 2}
        return {path.name: path.read_bytes(), "adapter_config.json": json.dumps(settings).encode()}


@pytest.mark.slow
def test_an_adapter_and_its_base(hub: Hub, tmp_path: Path) -> None:
    """Both are fetched, and of both only what is read."""
    files = adapter_files()
    hub.repositories["someone/adapter"] = {**files, "README.md": b"not wanted", "optimizer.pt": b"not wanted"}
    assert_loaded(load(hub, tmp_path, "someone/adapter"))
    assert hub.served() == WANTED | files.keys()


@pytest.mark.slow
def test_an_adapter_by_its_name(hub: Hub, tmp_path: Path) -> None:
    files = adapter_files()
    hub.repositories["someone/adapter"] = {
        **files,
        "model.safetensors": b"not wanted",
        "adapter_model.bin": b"not wanted",
    }
    assert_loaded(load(hub, tmp_path, NAME, adapter="someone/adapter"))
    assert hub.served() == WANTED | files.keys()


NO_NAMES = ["a/b/c", "./nowhere", "../nowhere", "~/nowhere", "/no/where", "a\\b", "nowhere.safetensors"]


@pytest.mark.parametrize("name", slow_but(NO_NAMES, "a/b/c", "nowhere.safetensors"))
def test_a_path_that_does_not_exist(name: str, hub: Hub, tmp_path: Path) -> None:
    assert_error(load(hub, tmp_path, name), "NotFoundError", f"no directory or file {name}")
    assert hub.log == []


@pytest.mark.parametrize("name", slow_but(["a b", "a--b", "a" * 100, "a" * 300], "a b"))
def test_a_name_that_is_neither_path_nor_hub_name(name: str, hub: Hub, tmp_path: Path) -> None:
    assert_error(load(hub, tmp_path, name), "NotFoundError", name)
    assert hub.log == []


# --- what is imported -----------------------------------------------------------------------------------------------


def test_what_a_local_directory_does_not_need(tmp_path: Path) -> None:
    """Each takes longer to import than a small model takes to load, or more memory than its weights."""
    for name in WANTED:
        (tmp_path / name).write_bytes(model_files()[name])
    script = (
        "import minroberta, sys; minroberta.load('.').tokenize('ab'); "
        "print({'huggingface_hub', 'minroberta.text.tweets', 'numpy.random'} & set(sys.modules))"
    )
    assert run(script, cwd=tmp_path) == "set()\n"
