"""The engines that are compared, each in a separate process: `python engines.py NAME DIRECTORY THREADS`.

A line of JSON on standard input is a task, a line on standard output its result: {"batches": [[[ids] ...] ...],
"values": bool} gives {"seconds": for all batches, "peak": bytes of memory so far}, and with "values" the mean of the
last hidden states of each row, to compare. Rows of a batch are padded on the right if the engine needs that.
"""

import functools
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Sequence[int]]
Batches = Sequence[Rows]
Engine = Callable[[Path, int], Callable[[Batches], Any]]
"""Takes a directory and the number of threads, and gives what computes the states of each row of each batch."""

PAD = 1


def padded(rows: Rows) -> tuple[Any, Any]:
    """Ids and mask, (B, L) int64."""
    import numpy

    ids = numpy.full((len(rows), max(map(len, rows))), PAD, numpy.int64)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    return ids, (ids != PAD).astype(numpy.int64)


def by_batch(run: Callable[[Rows], Any]) -> Callable[[Batches], list[Any]]:
    """The states of each row, where an engine takes a batch at a time."""
    return lambda batches: [states for rows in batches for states in run(rows)]


# --- minroberta -----------------------------------------------------------------------------------------------------


def minroberta(directory: Path, threads: int, library: str = "numpy") -> Callable[[Batches], Any]:
    """Call the model once a batch, padding included; JAX uses as many threads as the process has processors."""
    import numpy

    import minroberta as package

    model = package.load(directory, head="encoder", xp=importlib.import_module(library))
    return by_batch(lambda rows: numpy.asarray(model(*padded(rows)).last_hidden_state))


def vectors(directory: Path, threads: int, library: str = "numpy") -> Callable[[Batches], Any]:
    """Compute all batches at once, as `encode` does."""
    import minroberta as package
    from minroberta.text.encode import read_vector
    from minroberta.text.running import run

    model = package.load(directory, head="encoder", xp=importlib.import_module(library))
    read = functools.partial(read_vector, poolings=("mean",))
    return lambda batches: run(model, [row for rows in batches for row in rows], read)


def floor(directory: Path, threads: int) -> Callable[[Batches], Any]:
    """Compute only the products with the weights, x Wᵀ by NumPy for the tokens of a batch, without padding."""
    import numpy

    import minroberta as package
    from minroberta.cli import bench

    model = package.load(directory, head="encoder")
    weights = list(bench.products(model))

    @functools.cache
    def inputs(tokens: int) -> dict[int, Any]:
        random = numpy.random.default_rng(0)
        return {size: random.normal(size=(tokens, size)).astype("f4") for size in {w.shape[1] for w in weights}}

    def run(batches: Batches) -> None:
        for rows in batches:
            x = inputs(sum(map(len, rows)))
            for weight in weights:
                x[weight.shape[1]] @ weight.T

    return run


# --- the others -----------------------------------------------------------------------------------------------------


def transformers(directory: Path, threads: int, attention: str, compiled: bool = False) -> Callable[[Batches], Any]:
    """Run PyTorch, with one of its attentions."""
    import torch
    from transformers import RobertaModel

    torch.set_num_threads(threads)
    model = RobertaModel.from_pretrained(directory, attn_implementation=attention, add_pooling_layer=False).eval()
    call = torch.compile(model, dynamic=False) if compiled else model

    def run(rows: Rows) -> Any:
        with torch.inference_mode():
            ids, mask = (torch.from_numpy(x) for x in padded(rows))
            return call(ids, attention_mask=mask).last_hidden_state.numpy()

    return by_batch(run)


def onnxruntime(directory: Path, threads: int) -> Callable[[Batches], Any]:
    """Run ONNX Runtime with its optimisations, all of which are on by default."""
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    session = library.InferenceSession(exported(directory), options, providers=["CPUExecutionProvider"])

    def run(rows: Rows) -> Any:
        ids, mask = padded(rows)
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return by_batch(run)


def openvino(directory: Path, threads: int) -> Callable[[Batches], Any]:
    """Run OpenVINO in float32, which is not its default on every processor."""
    import openvino as library

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = library.Core().compile_model(exported(directory), "CPU", settings)

    def run(rows: Rows) -> Any:
        ids, mask = padded(rows)
        return model({"input_ids": ids, "attention_mask": mask})[0]

    return by_batch(run)


def exported(directory: Path) -> str:
    """The model as ONNX, written once."""
    path = directory / "onnx" / "model.onnx"
    if not path.exists():
        import torch
        from transformers import RobertaModel

        path.parent.mkdir(exist_ok=True)
        model = RobertaModel.from_pretrained(directory, attn_implementation="eager", add_pooling_layer=False).eval()
        ids = torch.arange(40).reshape(2, 20) + 5
        axes = {name: {0: "B", 1: "L"} for name in ("input_ids", "attention_mask", "last_hidden_state")}
        torch.onnx.export(
            model, (ids, torch.ones_like(ids)), path, input_names=["input_ids", "attention_mask"],
            output_names=["last_hidden_state"], opset_version=17, dynamo=False, dynamic_axes=axes,
        )  # fmt: skip
    return str(path)


def ctranslate2(directory: Path, threads: int) -> Callable[[Batches], Any]:
    """Run CTranslate2 in float32; its converter needs the tokenizer's files beside the model."""
    import ctranslate2 as library
    import numpy

    path = directory / "ctranslate2"
    if not path.exists():
        library.converters.TransformersConverter(str(directory)).convert(str(path))
    encoder = library.Encoder(str(path), device="cpu", compute_type="float32", intra_threads=threads)
    return by_batch(lambda rows: numpy.asarray(encoder.forward_batch(list(map(list, rows))).last_hidden_state))


ENGINES: dict[str, Engine] = {
    "minroberta": minroberta,
    "minroberta, encode": vectors,
    "JAX": functools.partial(minroberta, library="jax.numpy"),
    "JAX, encode": functools.partial(vectors, library="jax.numpy"),
    "transformers eager": functools.partial(transformers, attention="eager"),
    "transformers SDPA": functools.partial(transformers, attention="sdpa"),
    "transformers compiled": functools.partial(transformers, attention="sdpa", compiled=True),
    "onnxruntime": onnxruntime,
    "OpenVINO": openvino,
    "ctranslate2": ctranslate2,
    "floor": floor,
}


def mean(states: Any, row: Sequence[int]) -> list[float]:
    """The mean state of a row, not counting padding; some engines give nothing else."""
    return (states if states.ndim == 1 else states[: len(row)].mean(0)).tolist()


def main() -> None:
    """Answer tasks until there are no more."""
    name, directory, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    run = ENGINES[name](directory, threads)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        begun = time.perf_counter()
        states = run(task["batches"])
        result: dict[str, Any] = {"seconds": time.perf_counter() - begun}
        result["peak"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if task["values"]:
            rows = [row for batch in task["batches"] for row in batch]
            result["values"] = [mean(own, row) for own, row in zip(states, rows, strict=True)]
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
