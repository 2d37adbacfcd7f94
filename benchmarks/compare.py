"""Time minroberta beside the engines that run the same model, in turns: `python benchmarks/compare.py DIRECTORY OUT`.

DIRECTORY holds a RoBERTa with its tokenizer; the figures are written to OUT as JSON, of which `report.py` makes a table
and a plot. Every engine has a separate process and the same number of threads. All must agree before they are timed.
Then the engines run each shape in turns, with a pause between them, since the threads of some go on spinning for a
while.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy
from engines import ENGINES

import minroberta
from minroberta.cli import bench

SHAPES = {f"{B} × {L}": (B, L) for B, L in ((1, 16), (1, 64), (1, 128), (1, 256), (1, 512), (8, 128), (32, 128))}
AGREE = 1e-5
"""How far the mean states may differ, in float32."""

PAUSE = 0.3  # seconds
PACKAGES = (
    "minroberta",
    "jax",
    "numpy",
    "torch",
    "transformers",
    "onnxruntime",
    "openvino",
    "ctranslate2",
    "threadpoolctl",
)


class Process:
    """An engine in a process."""

    def __init__(self, name: str, directory: Path, threads: int) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.name, self.begun = name, time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("engines.py")), name, str(directory), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **limits},
        )  # fmt: skip
        self.read()

    def read(self) -> dict[str, Any]:
        """The next line that is ours; libraries write to standard output too."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise click.ClickException(f"{self.name} ended: run engines.py {self.name!r} by hand to see why")

    def run(self, batches: Sequence[Any], values: bool = False) -> dict[str, Any]:
        """The result of a task."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"batches": batches, "values": values}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def inputs(texts: Path | None, directory: Path) -> dict[str, list[list[list[int]]]]:
    """Batches of rows of ids, by name."""
    random = numpy.random.default_rng(0)
    named = {
        name: [[[0, *random.integers(5, 50_000, L - 2).tolist(), 2] for _ in range(B)]]
        for name, (B, L) in SHAPES.items()
    }
    if texts:
        tokenizer = minroberta.load(directory, head="encoder").tokenizer
        assert tokenizer is not None
        lines = [line for line in texts.read_text(encoding="utf-8").splitlines() if line.strip()]
        rows = sorted((tokenizer(line, max_length=128)["input_ids"][0].tolist() for line in lines[:512]), key=len)
        named[f"{len(rows)} sentences"] = [rows[start : start + 16] for start in range(0, len(rows), 16)]
    return named


def cold(name: str, directory: Path, threads: int, batches: Sequence[Any]) -> tuple[float, int]:
    """Seconds from the start of a process to its first answer, and its peak memory in bytes."""
    process = Process(name, directory, threads)
    result = process.run(batches)
    seconds = time.perf_counter() - process.begun
    process.close()
    return seconds, result["peak"]


def agree(processes: Sequence[Process], batches: Sequence[Any]) -> None:
    """Stop if an engine's outputs differ from the first's."""
    truth = None
    for process in processes:
        if process.name == "floor":
            continue
        found = numpy.array(process.run(batches, values=True)["values"])
        truth = found if truth is None else truth
        difference = float(numpy.abs(found - truth).max())
        click.echo(f"{process.name:<22} differs by {difference:.1e}", err=True)
        if difference > AGREE:
            raise click.ClickException(f"{process.name} does not agree with {processes[0].name}")


def timed(processes: Sequence[Process], batches: Sequence[Any], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, the engines in turns; the first round, in which some compile, does not count."""
    seconds: dict[str, list[float]] = {process.name: [] for process in processes}
    for _ in range(rounds + 1):
        for process in processes:
            time.sleep(PAUSE)
            seconds[process.name].append(process.run(batches)["seconds"])
    return {name: values[1:] for name, values in seconds.items()}


def machine(threads: int) -> str:
    """The processor, the threads and the versions."""
    installed = {package.metadata["Name"] for package in metadata.distributions()}
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in PACKAGES if package in installed)
    return f"{bench.processor()}, {threads} threads; Python {platform.python_version()}, {versions}"


def write(out: Path, figures: dict[str, Any]) -> None:
    """Write the figures so far, so that an error does not lose those measured before it."""
    out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--texts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Sentences, one a line.")
@click.option("--threads", default=4, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--engine", "engines", multiple=True, type=click.Choice(list(ENGINES)), help="Only these and the floor.")
def main(directory: Path, out: Path, texts: Path | None, threads: int, rounds: int, engines: tuple[str, ...]) -> None:
    """Time the engines on the model in DIRECTORY."""
    names = [name for name in ENGINES if not engines or name in engines or name == "floor"]
    given = inputs(texts, directory)
    processes = [Process(name, directory, threads) for name in names]
    for batches in (given["8 × 128"], *([list(given.values())[-1][-2:]] if texts else [])):  # the latter with padding
        agree(processes, batches)
    figures: dict[str, Any] = {"machine": machine(threads), "seconds": {}, "cold": {}, "peak": {}}
    for shape, batches in given.items():
        own = [process for process in processes if process.name != "transformers compiled" or "sentences" not in shape]
        figures["seconds"][shape] = timed(own, batches, rounds)
        best = {name: min(values) for name, values in figures["seconds"][shape].items()}
        click.echo(f"{shape}: " + ", ".join(f"{name} {1000 * value:.0f}" for name, value in best.items()), err=True)
        write(out, figures)
    for process in processes:
        process.close()
    single = [name for name in names if name not in ("floor", "minroberta, encode")]
    for kind, shape in (("cold", "1 × 16"), ("peak", "1 × 512")):
        for _ in range(rounds):
            for name in single:
                seconds, peak = cold(name, directory, threads, given[shape])
                figures[kind].setdefault(name, []).append(seconds if kind == "cold" else peak)
    write(out, figures)


if __name__ == "__main__":
    main()
