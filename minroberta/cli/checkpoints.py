"""The commands for checkpoints: info, convert, verify."""

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy

from .. import weights
from ..checkpoints import hub, read
from ..checkpoints.adapters import read_merged
from ..checkpoints.arrays import Arrays
from ..checkpoints.modules import Repository, describe
from ..checkpoints.verify import ROUNDING, Verdict
from ..checkpoints.verify import verify as compare
from ..config import Config
from ..errors import TokenizerError
from ..text.embedding import read_embedding
from ..text.tokenizer import Tokenizer
from .console import print_facts, print_json, printable
from .options import Source, takes_head

# --- info -----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("name", default=hub.EMBEDDED)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def info(name: str, as_json: bool) -> None:
    """Describe a model: sizes, heads, parameters.

    Parameters are named as in `model.params`, whatever the file calls them.
    """
    repository = describe(hub.locate(name))
    file = read_merged(repository)
    config = read.config_of(repository.model, file, repository.root)
    held, unused = read.inventory(file, config)
    tokenizer = _tokenizer(repository.model_directory, config)
    facts = {
        "name": name,
        "file": str(file.path),
        "format": file.format,
        **_of_config(config),
        "tokenizer": tokenizer,
        "heads": weights.heads_in(held, config),
        **_of_labels(config),
        **_of_embedding(repository, config),
        "dtypes": sorted({file.stored(name)[0] for name in file}),
        "bytes": file.size,
        "unused": unused,
        **_counts(held),
    }
    if as_json:
        print_json({**facts, "shapes": held})
        return
    print_facts(facts)
    click.echo()
    for line in _branches(weights.tree(held)):
        click.echo(line)


def _of_config(config: Config) -> dict[str, Any]:
    return {
        "family": config.model_type,
        "norms": "pre-LN: x + f(norm(x))" if config.norm_first else "post-LN: norm(x + f(x))",
        "num_hidden_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "longest_input": config.longest,
        "vocab_size": config.vocab_size,
    }


def _of_labels(config: Config) -> dict[str, Any]:
    """The names of the labels, if they are not LABEL_0 and so on."""
    names = [str(name) for name in config.id2label.values()]
    return {} if all(name.startswith("LABEL_") for name in names) else {"labels": names}


def _of_embedding(repository: Repository, config: Config) -> dict[str, Any]:
    """The settings of `encode` for a sentence-transformers repository; none for other repositories."""
    if not repository.is_embedding:
        return {}
    embedding = read_embedding(repository, config)
    return {
        "pooling": list(embedding.poolings),
        "modules": [type(step).__name__ for step in embedding.steps],
        "max_seq_length": embedding.max_seq_length,
        "prompts": list(embedding.prompts),
    }


def _counts(held: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """Number of parameters, in total and in each part of the model."""
    counts: dict[str, int] = {}
    for name, shape in held.items():
        part = f"parameters.{name.split('.')[0]}"
        counts[part] = counts.get(part, 0) + math.prod(shape)
    return {"parameters": sum(counts.values()), **counts}


def _tokenizer(directory: Path, config: Config) -> str:
    """The kind of the tokenizer in a directory, or "none", with the reason if it cannot be built."""
    try:
        tokenizer = Tokenizer.load(directory, config)
    except TokenizerError as error:
        return f"none: {error}"
    return _kind(tokenizer) if tokenizer else "none"


def _kind(tokenizer: Tokenizer) -> str:
    library = tokenizer.library
    steps = [type(step).__name__ for step in (library.normalizer, library.pre_tokenizer, library.model) if step]
    return f"{' > '.join(steps)}, {library.get_vocab_size():,} tokens"


def _branches(node: Any, name: str = "", indent: str = "") -> Iterator[str]:
    """The lines of a tree of shapes, one for each module; identical layers are listed once."""
    shapes = {child: shape for child, shape in node.items() if isinstance(shape, tuple)}
    below = {child: inner for child, inner in node.items() if child not in shapes}
    if name:
        yield (f"{indent}{name:<{42 - len(indent)}}" + "  ".join(f"{n} {s}" for n, s in shapes.items())).rstrip()
        indent += "  "
    for child, inner in below.items():
        if isinstance(inner, dict):
            yield from _branches(inner, child, indent)
        for first, last in _equal_runs(inner) if isinstance(inner, list) else ():
            several = "" if first == last else f" … {child}.{last}"
            yield from _branches(inner[first], f"{child}.{first}{several}", indent)


def _equal_runs(layers: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of identical layers."""
    first = 0
    for index in range(1, len(layers) + 1):
        if index == len(layers) or layers[index] != layers[first]:
            yield first, index - 1
            first = index


# --- convert --------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("source")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--to", "kind", type=click.Choice(["hf", "keras"]), default="hf", help="Write files for Hugging Face or KerasHub."
)
@takes_head
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32", "float16"]),
    help="Dtype of the weights; by default that of the source, or float32 for bfloat16.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def convert(source: str, directory: Path, kind: str, head: str | None, dtype: str | None, as_json: bool) -> None:
    """Convert a checkpoint from any supported format.

    SOURCE is a directory, a file or a name on the hub. DIRECTORY must be new or empty. The config, weights and
    tokenizer are written there in the format that transformers loads, or as a KerasHub preset, which requires
    pip install "minroberta[formats]". If the source has several heads, only one is written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise click.ClickException(f"{directory} exists, but is not an empty directory: give a new or empty directory")
    path = hub.locate(source)
    arrays = read_merged(describe(path))
    model = Source(path, dtype or _stored_dtype(arrays)).load(head)
    _warn_of_other_heads(arrays, model.config, model.head)
    if kind == "hf":
        model.save(directory)
    else:
        from ..checkpoints import save_keras
        from ..text.vocabularies import byte_pairs

        own = model.tokenizer
        bpe = None if own is None else byte_pairs(own.library, model.config, own.settings)
        save_keras.write(directory, model.params, model.config, model.head, bpe)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    facts = {"family": model.config.model_type, "head": model.head, "dtype": str(model.dtype), "bytes": size}
    if as_json:
        print_json({"directory": str(directory), **facts})
    else:
        click.echo(printable(f"{directory}: " + ", ".join(f"{name} {value}" for name, value in facts.items())))


def _stored_dtype(arrays: Arrays) -> str:
    """The dtype of a checkpoint's weights, or float32 if NumPy lacks that dtype."""
    dtypes = (arrays.stored(name)[0] for name in arrays)
    return next((x for x in dtypes if x.startswith("float")), "float32")  # not bfloat16


def _warn_of_other_heads(arrays: Arrays, config: Config, head: str) -> None:
    held, _ = read.inventory(arrays, config)
    others = [name for name in weights.heads_in(held, config) if name != head]
    if others:
        warnings.warn(
            f"the source also holds {', '.join(others)}, but only {head} is converted: use --head to convert another "
            "head",
            stacklevel=2,
        )


# --- verify ---------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("one")
@click.argument("other")
@takes_head
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, with all differences.")
def verify(one: str, other: str, head: str | None, as_json: bool) -> None:
    """Check that two checkpoints are the same model.

    The weights must be bit-identical in the wider of the two dtypes, and the outputs for a random input must agree up
    to rounding; tokenizers are not compared. The first difference is printed. The exit status is 0 if the models are
    the same, 1 if they differ, and 2 after an error.
    """
    paths = [hub.locate(name) for name in (one, other)]
    dtype = str(numpy.result_type(*(_stored_dtype(read_merged(describe(path))) for path in paths)))
    first = Source(paths[0], dtype).load(head)
    verdict = compare(first, Source(paths[1], dtype).load(first.head))
    if as_json:
        found = [difference._asdict() for difference in verdict.differences]
        print_json({"equal": verdict.equal, "differences": found, "outputs": verdict.outputs})
    else:
        click.echo(printable(_verdict(verdict, one, other, len(weights.flat(first.params)))))
        if verdict.outputs is not None:
            click.echo(
                f"outputs: largest difference {verdict.outputs:.1e}, relative to the largest output; "
                f"rounding is below {ROUNDING:.0e}"
            )
    sys.exit(0 if verdict.equal else 1)


def _verdict(verdict: Verdict, one: str, other: str, count: int) -> str:
    if not verdict.differences:
        return f"{'equal' if verdict.equal else 'differ in their outputs'}: {count} weights"
    (name, here, there), more = verdict.differences[0], len(verdict.differences) - 1
    several = f"; {more} more (--json lists them)" if more else ""
    return f"differ: {name} is {here} in {one}, but {there} in {other}{several}"
