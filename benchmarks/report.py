"""Make a table and a plot of what `compare.py` measured: `python benchmarks/report.py FIGURES... --plot OUT.png`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

Figures = Mapping[str, Any]


def table(figures: Figures) -> str:
    """Median milliseconds, and in brackets the median ratio to the floor of the same round; as Markdown."""
    seconds = figures["seconds"]
    shapes = list(seconds)
    lines = ["| | " + " | ".join(shapes) + " |", "|---|" + "---:|" * len(shapes)]
    for name in next(iter(seconds.values())):
        lines.append(f"| {name} | " + " | ".join(_cell(seconds[shape], name) for shape in shapes) + " |")
    return "\n".join(lines)


def _cell(seconds: Mapping[str, Sequence[float]], name: str) -> str:
    if name not in seconds:
        return ""
    own = f"{1000 * statistics.median(seconds[name]):.0f}"
    return own if name == "floor" else f"{own} ({ratio(seconds, name):.2f})"


def ratio(seconds: Mapping[str, Sequence[float]], name: str, other: str = "floor") -> float:
    """The median of an engine's times over another's, round by round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def start_table(figures: Figures) -> str:
    """Seconds from the start of a process to its first answer, and its peak memory with 512 tokens; as Markdown."""
    lines = ["| | first answer, s | peak memory, MB |", "|---|---:|---:|"]
    for name, seconds in figures["cold"].items():
        peak = statistics.median(figures["peak"][name]) / 1e6
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {peak:.0f} |")
    return "\n".join(lines)


def plot(several: Sequence[Figures], path: Path) -> None:
    """Plot each engine's time as a multiple of the floor for each shape, and the cost of a token by length."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(11, 4.4), width_ratios=(3, 2), layout="constrained")
    figures = several[0]
    seconds = figures["seconds"]
    shapes = [shape for shape in seconds if shape not in ("1 × 64", "1 × 256")]
    names = [name for name in next(iter(seconds.values())) if name != "floor"]
    colours = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))
    for name in names:
        several = {"minroberta, encode"}  # it has no figure for one sequence
        own_shapes = [s for s in shapes if name in seconds[s] and not (name in several and s.startswith("1 ×"))]
        places = [(shapes.index(s), ratio(seconds[s], name)) for s in own_shapes]
        own = name.startswith("minroberta")
        axes[0].plot(*zip(*places, strict=True), "o" if own else "_", color=colours[name], label=name,
                     markersize=8 if own else 14, markeredgewidth=1 if own else 2.5)  # fmt: skip
    axes[0].axhline(1, color="grey", linewidth=1)
    axes[0].set_xticks(range(len(shapes)), [shape.replace(" sent", "\nsent") for shape in shapes])
    axes[0].set(ylabel="time / time of NumPy's matrix products", title="Batch × length; 1 is the floor")
    axes[0].set_ylim(0)
    axes[0].set_yticks([0, 0.5, 1, 1.5, 2])
    fig.legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncols=5, loc="outside lower center", columnspacing=1)
    lengths = [int(shape.split()[-1]) for shape in seconds if shape.startswith("1 × ")]
    for name in ("minroberta", "transformers SDPA", "onnxruntime", "floor"):
        costs = [1e6 * statistics.median(seconds[f"1 × {length}"][name]) / length for length in lengths]
        axes[1].plot(lengths, costs, "o-", color=colours.get(name, "grey"), label=name)
    axes[1].set_xscale("log", base=2)
    axes[1].set_xticks(lengths, lengths)
    axes[1].set(xlabel="tokens of one sequence", ylabel="microseconds a token", title="Cost against length", ylim=0)
    axes[1].legend(fontsize=8)
    fig.savefig(path, dpi=110)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plot", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture of the first.")
def main(files: Sequence[Path], path: Path | None) -> None:
    """Print the tables of each of FILES."""
    several = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for figures in several:
        click.echo(f"{figures['machine']}\n\n{table(figures)}\n\n{start_table(figures)}\n")
    if path:
        plot(several, path)


if __name__ == "__main__":
    main()
