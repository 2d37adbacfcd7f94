"""Time the loss and all gradients of roberta-base beside PyTorch's: `python benchmarks/training.py`.

Every engine has a separate process, one at a time, with the same weights and inputs. All must agree about the loss.
The peak of memory is beside the weights. Needs torch and transformers.
"""

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy

import minroberta

CONFIG = {"model_type": "roberta", "type_vocab_size": 1, "vocab_size": 50265, "max_position_embeddings": 514}
CONFIG |= {"layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

AGREE = 1e-4
"""Largest difference between losses, which are about 11, in float32."""

Step = Callable[[], tuple[float, list[Any]]]
"""Computes the loss and all gradients."""


def batch() -> dict[str, numpy.ndarray]:
    """8 sequences of 128 tokens, of which 15% have a label."""
    random = numpy.random.default_rng(0)
    ids = random.integers(5, 50_000, (8, 128))
    return {"input_ids": ids, "labels": numpy.where(random.random(ids.shape) < 0.15, ids, -100)}


def ours(**_: Any) -> Step:
    """The backward pass of minroberta, on NumPy."""
    model, inputs = minroberta.init(CONFIG, "masked_lm"), batch()

    def step() -> tuple[float, list[Any]]:
        found = minroberta.gradients(model, **inputs)
        return float(found.loss), list(found.values())

    return step


def torch(attention: str, threads: int) -> Step:
    """PyTorch's autograd, with one of transformers' attentions."""
    import torch as library
    from transformers import RobertaConfig, RobertaForMaskedLM

    from minroberta.weights import flat

    library.set_num_threads(threads)
    config = RobertaConfig(**CONFIG, **DROPOUT, attn_implementation=attention)
    model = RobertaForMaskedLM(config).train()
    weights = {name: library.from_numpy(x) for name, x in flat(minroberta.init(CONFIG, "masked_lm").params).items()}
    weights = {name if "lm_head" in name else f"roberta.{name}": x for name, x in weights.items()}
    model.load_state_dict(weights, strict=False)
    inputs = {name: library.from_numpy(x) for name, x in batch().items()}

    def step() -> tuple[float, list[Any]]:
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        return loss.item(), [p.grad.numpy() for p in model.parameters()]

    return step


ENGINES = {"minroberta": (ours, ""), "torch, eager": (torch, "eager"), "torch, sdpa": (torch, "sdpa")}


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def measure(name: str, threads: int, rounds: int) -> dict[str, float]:
    """The least seconds of a step after the first, and the peak memory beside that of the weights."""
    build, attention = ENGINES[name]
    step = build(attention=attention, threads=threads)
    before, seconds, of_processors = resident(), [], []
    for _ in range(rounds + 1):
        start, on_cpu, gradients = time.perf_counter(), time.process_time(), None  # so that the last ones are freed
        loss, gradients = step()
        seconds.append(time.perf_counter() - start)
        of_processors.append(time.process_time() - on_cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    norm = math.sqrt(sum(float((g.astype("f8") ** 2).sum()) for g in gradients))
    times = {"seconds": min(seconds[1:]), "cpu": min(of_processors[1:])}
    return {**times, "memory": peak - before, "loss": loss, "norm": norm}


@click.command()
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Steps of each process, and turns of the processes.")
@click.option("--engine", "engines", multiple=True, type=click.Choice(list(ENGINES)), help="Only these.")
@click.option("--own", hidden=True, type=click.Choice(list(ENGINES)))
def main(threads: int, rounds: int, engines: tuple[str, ...], own: str | None) -> None:
    """Print the least time and memory of each engine."""
    if own:
        click.echo(json.dumps(measure(own, threads, rounds)))
        return
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in engines or ENGINES}
    for _ in range(rounds):
        for name, results in found.items():
            command = [sys.executable, __file__, "--own", name, "--threads", str(threads), "--rounds", str(rounds)]
            printed = subprocess.run(
                command, stdout=subprocess.PIPE, check=True, text=True, env={**os.environ, **limits}
            )
            results.append(json.loads(printed.stdout))
    losses = [results[0]["loss"] for results in found.values()]
    if max(losses) - min(losses) > AGREE:
        raise click.ClickException(f"the engines do not agree about the loss: {losses}")
    for name, results in found.items():
        best = {key: min(result[key] for result in results) for key in results[0]}
        click.echo(
            f"{name:<13} {best['seconds']:.2f} s, {best['cpu']:.2f} s of processors, {best['memory'] / 1e9:.2f} GB; "
            f"loss {best['loss']:.5f}, norm of the gradients {best['norm']:.4f}"
        )


if __name__ == "__main__":
    main()
