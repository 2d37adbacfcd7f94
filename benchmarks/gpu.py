"""Time minroberta beside PyTorch on a GPU, after a check that all agree: `python benchmarks/gpu.py OUT`.

The model has the size of roberta-base and random weights. Each engine runs alone, in a process of its own. Its first
answer is compared with NumPy in float64; then each shape is timed: medians of synchronised calls with ids on the host,
without a mask. The figures are written to OUT as JSON, and tables are printed.

Needs torch, transformers, jax and cupy for the GPU; an engine whose library is not installed is left out. The tests of
the GPU are another command:

    JAX_PLATFORMS=cuda python -m pytest -m "slow or not slow" tests/test_backend.py tests/test_precision.py \\
        tests/test_compiled.py tests/test_golden_jax.py
"""

import functools
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy

import minroberta
from minroberta import Config, ops
from minroberta.activations import gelu
from minroberta.backend.arrays import to_host
from minroberta.backend.precision import precise
from minroberta.model import table

Call = Callable[[numpy.ndarray], Any]
"""Takes ids, (B, L), and gives the last hidden states on the device, where they are complete."""

SHAPES = {f"{B} × {L}": (B, L) for B, L in ((1, 128), (8, 128), (64, 128), (64, 512))}
CHECKED = (2, 40)
ROUNDS = 30
PACKAGES = ("minroberta", "numpy", "jax", "cupy-cuda13x", "cupy-cuda12x", "torch", "transformers")
AGREE = {"float32": 1e-4, "TF32": 1e-2, "float16": 0.05, "bfloat16": 0.3}
"""Largest difference of an engine's states from those in float64. Most states are between -3 and 3."""


def config() -> Config:
    """The configuration of roberta-base."""
    return Config.from_dict({"model_type": "roberta", "vocab_size": 50265, "type_vocab_size": 1})


def ids_of(shape: tuple[int, int]) -> numpy.ndarray:
    """Random ids."""
    return numpy.random.default_rng(0).integers(5, 50_000, shape)


# --- the engines ----------------------------------------------------------------------------------------------------


def torch_engine(directory: Path, dtype: str, compiled: bool = False) -> Call:
    """Run transformers' model with PyTorch's fused attention; float32 products are IEEE, which is PyTorch's default."""
    import torch
    from transformers import RobertaModel

    model = RobertaModel.from_pretrained(directory, attn_implementation="sdpa", add_pooling_layer=False).eval()
    model = model.to("cuda", getattr(torch, dtype))
    run = torch.compile(model, dynamic=False) if compiled else model

    def call(ids: numpy.ndarray) -> Any:
        with torch.inference_mode():
            states = run(torch.from_numpy(ids).cuda()).last_hidden_state
        torch.cuda.synchronize()
        return states

    return call


def jax_engine(directory: Path, dtype: str, precision: str = "highest") -> Call:
    """Call a model on JAX. A precision that `load` does not know is JAX's own name of an algorithm."""
    import jax

    known = precision in ("highest", "high", "default")
    model = minroberta.load(
        directory, head="encoder", xp=jax.numpy, dtype=dtype, precision=precision if known else "default"
    )

    def call(ids: numpy.ndarray) -> Any:
        with jax.default_matmul_precision(None if known else precision):
            return jax.block_until_ready(model(ids).last_hidden_state)

    return call


def cupy_engine(directory: Path, dtype: str) -> Call:
    """Call a model on CuPy."""
    import cupy

    model = minroberta.load(directory, head="encoder", xp=cupy, dtype=dtype)

    def call(ids: numpy.ndarray) -> Any:
        states = model(ids).last_hidden_state
        cupy.cuda.get_current_stream().synchronize()
        return states

    return call


def products(directory: Path, dtype: str) -> Call:
    """Compute only the products with the weights, compiled by JAX; every layer multiplies the same numbers."""
    import jax

    model = minroberta.load(directory, head="encoder", xp=jax.numpy, dtype=dtype)

    @jax.jit
    def multiply(params: Any, x: Any, wide: Any) -> Any:
        total = 0
        for layer in params["encoder"]["layer"]:
            own = layer["attention"]
            for part in (*(own["self"][name] for name in ("query", "key", "value")), own["output"]["dense"]):
                total += (x @ part["weight"].T)[..., :1]
            total += (x @ layer["intermediate"]["dense"]["weight"].T)[..., :1]
            total += (wide @ layer["output"]["dense"]["weight"].T)[..., :1]
        return total

    @functools.cache
    def inputs(shape: tuple[int, int]) -> tuple[Any, Any]:
        x = jax.numpy.ones((*shape, model.config.hidden_size), model.dtype)
        return x, jax.numpy.ones((*shape, model.config.intermediate_size), model.dtype)

    def call(ids: numpy.ndarray) -> Any:
        with precise(table(model.params), model.precision):
            return jax.block_until_ready(multiply(model.params, *inputs(ids.shape)))

    return call


ENGINES: dict[str, tuple[Callable[..., Call], dict[str, Any]]] = {
    "torch SDPA, bf16": (torch_engine, {"dtype": "bfloat16"}),
    "torch compiled, bf16": (torch_engine, {"dtype": "bfloat16", "compiled": True}),
    "JAX, bf16": (jax_engine, {"dtype": "bfloat16"}),
    "products, bf16": (products, {"dtype": "bfloat16"}),
    "torch SDPA, f32": (torch_engine, {"dtype": "float32"}),
    "torch compiled, f32": (torch_engine, {"dtype": "float32", "compiled": True}),
    "JAX, f32": (jax_engine, {"dtype": "float32"}),
    "JAX, f32, high": (jax_engine, {"dtype": "float32", "precision": "high"}),
    "JAX, f32, bf16 × 3": (jax_engine, {"dtype": "float32", "precision": "BF16_BF16_F32_X3"}),
    "JAX, f32, default": (jax_engine, {"dtype": "float32", "precision": "default"}),
    "products, f32": (products, {"dtype": "float32"}),
    "CuPy, f32": (cupy_engine, {"dtype": "float32"}),
    "torch SDPA, f16": (torch_engine, {"dtype": "float16"}),
    "CuPy, f16": (cupy_engine, {"dtype": "float16"}),
}

# --- the parts of a call --------------------------------------------------------------------------------------------


def parts(library: str, dtype: str) -> dict[str, float]:
    """Milliseconds of a call of 64 × 512 that attention, GELU and the norms take, each alone."""
    xp = importlib.import_module(library)
    c, (B, L) = config(), SHAPES["64 × 512"]
    x, wide = (xp.ones((B, L, size), dtype=dtype) for size in (c.hidden_size, c.intermediate_size))
    q = xp.ones((B, c.num_attention_heads, L, c.head_size), dtype=dtype)
    weight, layers = xp.ones(c.hidden_size, dtype=dtype), c.num_hidden_layers
    functions: dict[str, tuple[int, Call]] = {
        "attention": (layers, lambda q: ops.attend(q, q, q)),
        "GELU": (layers, gelu),
        "norms": (2 * layers + 1, lambda x: ops.layer_norm(x, weight=weight, bias=weight, eps=1e-5)),
    }
    given = {"attention": q, "GELU": wide, "norms": x}
    return {name: count * _milliseconds(_waiting(xp, f), given[name]) for name, (count, f) in functions.items()}


def _waiting(xp: Any, function: Call) -> Call:
    """The function, compiled if the library compiles, followed by a wait for the device."""
    if xp.__name__ == "jax.numpy":
        import jax

        made = jax.jit(function)
        return lambda x: jax.block_until_ready(made(x))

    def call(x: Any) -> Any:
        result = function(x)
        xp.cuda.get_current_stream().synchronize()
        return result

    return call


PARTS = {
    f"{name}, {short}": {"library": library, "dtype": dtype}
    for name, library, short, dtype in (
        ("JAX", "jax.numpy", "bf16", "bfloat16"),
        ("JAX", "jax.numpy", "f32", "float32"),
        ("CuPy", "cupy", "f32", "float32"),
        ("CuPy", "cupy", "f16", "float16"),
    )
}

# --- measuring ------------------------------------------------------------------------------------------------------


def _milliseconds(call: Call, x: Any) -> float:
    """The median time of a call; the first three, in which some compile, do not count."""
    seconds = []
    for _ in range(ROUNDS + 3):
        begun = time.perf_counter()
        call(x)
        seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds[3:])


def answer(**result: Any) -> None:
    """Print a line of JSON for the process that compares."""
    print(json.dumps(result), flush=True)


def engine(name: str, directory: Path, *only_first: str) -> None:
    """Answer with the states that are compared, then with the time of each shape."""
    make, arguments = ENGINES[name]
    call = make(directory, **arguments)
    states = call(ids_of(CHECKED))
    host = states.float().cpu() if hasattr(states, "cpu") else to_host(states)
    answer(values=numpy.asarray(host, "f8").tolist())
    for shape, size in () if only_first else SHAPES.items():
        answer(shape=shape, ms=_milliseconds(call, ids_of(size)))


def lines(*arguments: str) -> Iterator[dict[str, Any]]:
    """The lines that a process of this file answers with; none if its library is not installed.

    What JAX compiles is kept in the directory of the model, so that the first process of each engine compiles.
    """
    settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XDG_CACHE_HOME": arguments[2]}
    settings["JAX_TRACEBACK_FILTERING"] = "off"  # so that the last line is the error
    command, line = [sys.executable, __file__, *arguments], ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | settings
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    if process.returncode:
        click.echo(f"{' '.join(arguments[:2])} is left out: {line.strip()}", err=True)


def measured(name: str, directory: Path, truth: numpy.ndarray) -> dict[str, Any]:
    """An engine's difference from the truth, the seconds of two processes to their first answers, and milliseconds."""
    result: dict[str, Any] = {"ms": {}, "first": []}
    for only_first in ([], ["first"]):
        if only_first and not result["ms"]:  # its library is not installed
            break
        begun = time.perf_counter()
        for line in lines("--engine", name, str(directory), *only_first):
            if "values" in line:
                result["first"].append(time.perf_counter() - begun)
                if not name.startswith("products"):
                    result["difference"] = agreed(name, numpy.array(line["values"]), truth)
            else:
                result["ms"][line["shape"]] = line["ms"]
    return result


def agreed(name: str, states: numpy.ndarray, truth: numpy.ndarray) -> float:
    """The largest difference of an engine's states from the truth. Stop if it is too large."""
    difference = float(numpy.abs(states - truth).max())
    if not difference <= AGREE["TF32" if "default" in name else ENGINES[name][1]["dtype"]]:
        raise click.ClickException(f"{name} differs from float64 by {difference:.1e}")
    return difference


def as_table(figures: Mapping[str, Any]) -> str:
    """Milliseconds of each engine and shape, its difference, and seconds to the first answer, twice; as Markdown."""
    rows = [
        "| | " + " | ".join(SHAPES) + " | difference | first answer | again |",
        "|---|" + "---:|" * (len(SHAPES) + 3),
    ]
    for name, own in figures["engines"].items():
        cells = [f"{own['ms'][shape]:.2f}" for shape in SHAPES]
        difference = f"{own['difference']:.0e}" if "difference" in own else ""
        rows.append(f"| {name} | {' | '.join([*cells, difference, *(f'{s:.1f} s' for s in own['first'])])} |")
    return "\n".join(rows)


def machine() -> str:
    """The card, its driver, and the versions."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(f"no NVIDIA GPU was found: {error}") from None
    installed = {package.metadata["Name"] for package in metadata.distributions()}
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in PACKAGES if package in installed)
    return f"{card}; Python {platform.python_version()}, {versions}"


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(ENGINES)), help="Only these engines.")
def main(out: Path, only: tuple[str, ...]) -> None:
    """Compare the engines and time them, on one GPU."""
    figures: dict[str, Any] = {"machine": machine(), "engines": {}, "parts": {}}
    click.echo(figures["machine"])
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model = minroberta.init(config(), seed=0)
        model.save(directory)
        truth = minroberta.load(directory, head="encoder", dtype="float64")(ids_of(CHECKED)).last_hidden_state
        for engine_name in only or ENGINES:
            if (own := measured(engine_name, directory, truth))["ms"]:
                figures["engines"][engine_name] = own
                click.echo(f"{engine_name}: {own}")
                out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for part in PARTS:
            for line in lines("--parts", part, str(directory)):
                figures["parts"][part] = line
                click.echo(f"{part}, of 64 × 512: {line}")
    out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    click.echo(as_table(figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        engine(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    elif sys.argv[1:2] == ["--parts"]:
        answer(**parts(**PARTS[sys.argv[2]]))
    else:
        main()
