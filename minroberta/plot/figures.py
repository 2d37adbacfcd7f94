"""The pictures of `minroberta.plot`: each function takes a trace, or a report of the oracle, and returns a figure."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from ..backend.arrays import Array, to_host, widen
from ..errors import Error, InputError, check_integer
from ..trace import Trace
from . import values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from ..testing.result import Result
    from .canvas import Picture

SAFE = {
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "yellow": "#e69f00",
    "sky": "#56b4e9",
    "black": "#000000",
}
"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008)."""

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.prop_cycle": f"cycler('color', {list(SAFE.values())})",
    "figure.dpi": 80,
}
"""Settings for `plt.rcParams.update(plot.STYLE)`, for a notebook's other pictures."""

ROOM = 0.17
"""Inches that a name on an axis needs; without room for all, only every second, third, ... is written."""

MASKED = 1e30
"""Size from which a number is a mask's, not a score's."""


class PlotError(Error, ImportError):
    """A picture that needs matplotlib, which is not installed."""


def _picture(width: float, height: float) -> "Picture":
    """An empty figure of this size in inches. Raises PlotError."""
    try:
        from .canvas import Picture
    except ImportError as error:
        raise PlotError('pictures need matplotlib: pip install "minroberta[plot]"') from error
    return Picture(figsize=(width, height), layout="constrained")


# --- heat maps ------------------------------------------------------------------------------------------------------


def matrix(
    ax: "Axes",
    numbers: Array,
    title: str,
    rows: Sequence[Any] | None = None,
    columns: Sequence[Any] | None = None,
    *,
    labels: tuple[str, str] = ("", ""),
    low: float | None = None,
    high: float | None = None,
    unit: str | None = None,
) -> "AxesImage":
    """Draw a matrix as colours, one cell a number.

    If numbers are negative, zero is white, positive numbers are red and negative ones blue; otherwise zero is white and
    the largest number dark blue. Masked scores, and numbers that are not finite, are grey.

    numbers: a 2-D array of any library. rows, columns: a name for each; by default, its index. labels: of the vertical
    and the horizontal axis. low, high: the numbers at the ends of the colours. unit: the label of a colour bar; without
    one, there is no bar. Returns the image, for a colour bar that several share. Raises InputError for another shape.
    """
    array = to_host(widen(to_host(numbers)))
    if array.ndim != 2 or not array.size:
        raise InputError(f"matrix draws an array of rows and columns, not one of shape {array.shape}")
    hidden = ~(numpy.abs(array) < MASKED)
    shown = numpy.ma.array(numpy.where(hidden, 0, array), mask=hidden)
    largest = float(numpy.abs(shown).max()) if shown.count() else 1.0
    high = largest if high is None else high
    if low is None:
        low = -high if (shown < 0).any() else 0.0
    image = ax.imshow(shown, cmap="RdBu_r" if low < 0 else "Blues", vmin=low, vmax=high, aspect="auto")
    ax.set_facecolor("0.85")  # seen where a number is masked
    ax.set_title(title, loc="left")
    ax.set_ylabel(labels[0])
    ax.set_xlabel(labels[1])
    inches = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    down = range(array.shape[0]) if rows is None else rows
    along = range(array.shape[1]) if columns is None else columns
    ax.set_yticks(*_ticks(down, array.shape[0], inches.height, "rows"))
    ax.set_xticks(*_ticks(along, array.shape[1], inches.width, "columns"), **SLANTED)
    if unit is not None:
        ax.figure.colorbar(image, ax=ax, label=unit, aspect=30)
    return image


SLANTED: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
"""Options of the names below an axis."""


def _ticks(names: Sequence[Any], count: int, inches: float, axis: str) -> tuple[list[int], list[str]]:
    """The indices that an axis of this length has room to name, and their names. Raises InputError."""
    if len(names) != count:
        raise InputError(f"{len(names)} names were given for {count} {axis}: give one for each")
    named = list(range(0, count, math.ceil(count * ROOM / inches)))
    return named, [_plain(str(names[index])) for index in named]


def _plain(name: str) -> str:
    """A name in which `$` does not begin a formula."""
    return name.replace("$", r"\$")


def _side(count: int) -> float:
    """Length in inches of an axis with `count` names."""
    return min(max(2.0, 0.24 * count), 11.0)


# --- attention ------------------------------------------------------------------------------------------------------

READER, READ = "this token reads ...", "... from this one"


def attention(trace: Trace, layer: int, head: int, *, text: int = 0, across: bool = False) -> "Picture":
    """Attention of one head: a row for each token that reads, a column for each that is read.

    The numbers are those of `encoder.layer.N.attention.self.probs`, of which each row sums to 1.

    layer, head, text: indices from 0; `text` is that of the text in its batch. across: the head of cross-attention,
    which reads positions of the encoder's states. Raises InputError, NameUnknownError and PlotError.
    """
    values.check_trace(trace)
    probs = values.shares(trace, layer, text, across)  # (H, L, S)
    check_integer("head", head, 0, probs.shape[0] - 1)
    rows, columns = values.tokens(trace, text), values.keys(trace, probs.shape[2], text, across)
    picture = _picture(_side(len(columns)) + 2.2, _side(len(rows)) + 1.4)
    title = f"Layer {layer}, {'cross-attention ' * across}head {head}: who reads whom"
    matrix(picture.subplots(), probs[head], title, rows, columns, labels=(READER, READ), unit="share of attention")
    return picture


def heads(trace: Trace, layer: int, *, text: int = 0, across: bool = False) -> "Picture":
    """All attention heads of a layer beside one another, on one scale of colours. Arguments as for `attention`."""
    values.check_trace(trace)
    probs = values.shares(trace, layer, text, across)  # (H, L, S)
    rows, columns = values.tokens(trace, text), values.keys(trace, probs.shape[2], text, across)
    across_page = min(4, len(probs))
    down = math.ceil(len(probs) / across_page)
    side = min(max(2.0, 0.22 * len(rows)), 3.4)
    picture = _picture(across_page * side + 1.8, down * side + 1.4)
    axes = list(picture.subplots(down, across_page, sharex=True, sharey=True, squeeze=False).flat)
    for head, (ax, shares) in enumerate(zip(axes, probs, strict=False)):
        image = matrix(ax, shares, f"head {head}", rows, columns, low=0, high=float(probs.max()))
    for ax in axes[len(probs) :]:
        ax.set_visible(False)
    picture.colorbar(image, ax=picture.axes, label="share of attention", shrink=0.6, aspect=30)
    kind = "cross-attention heads" if across else "heads"
    picture.suptitle(f"Layer {layer}, all {len(probs)} {kind}: each row is a token, and shows what it reads")
    return picture


# --- the residual stream --------------------------------------------------------------------------------------------


def lens(trace: Trace, position: int | None = None, *, text: int = 0, top: int = 5) -> "Picture":
    """Guesses of the language modelling head from the residual stream at each stage: the logit lens.

    In a pre-LN model, each state goes through the final norm first. The last row is the model's answer.

    position: a token's; by default the first mask's, or a decoder's last token's. top: number of guesses in a row.
    Raises InputError if the model has no such head, NameUnknownError and PlotError.
    """
    values.check_trace(trace)
    names, states = values.tokens(trace, text), values.states(trace, text)
    position = values.position_of_guess(trace, text) if position is None else position
    check_integer("position", position, 0, len(names) - 1)
    check_integer("top", top, 1, trace.model.config.vocab_size)
    chances = numpy.concatenate([values.guesses(trace, x[position : position + 1]) for x in states.values()])
    best = numpy.argsort(-chances, kind="stable")[:, :top]  # (stages, V) -> (stages, top)
    numbers = numpy.take_along_axis(chances, best, -1)
    picture = _picture(1.6 * top + 2.6, 0.5 * len(states) + 1.2)
    ax = picture.subplots()
    title = f"What the head would guess for {_plain(names[position])} (token {position}) at each stage"
    matrix(ax, numbers, title, list(states), low=0, high=1, unit="probability")
    ax.set_xticks(range(top), [f"guess {number}" for number in range(1, top + 1)], rotation=0, ha="center")
    for row, column in numpy.ndindex(best.shape):
        name, chance = values.name_of(trace, int(best[row, column])), numbers[row, column]
        colour = "white" if chance > 0.55 else "black"
        ax.text(column, row, f"{_plain(name)}\n{chance:.1%}", ha="center", va="center", color=colour, fontsize=9)
    return picture


def norms(trace: Trace, *, text: int = 0) -> "Picture":
    """The size of the residual stream at each stage: the Euclidean norm of each token's vector, and their mean.

    The token whose vector is the largest anywhere is named. Raises InputError, NameUnknownError and PlotError.
    """
    values.check_trace(trace)
    names, stages = values.tokens(trace, text), list(values.states(trace, text))
    sizes = values.sizes(trace, text)  # (stages, L)
    stage, largest = numpy.unravel_index(sizes.argmax(), sizes.shape)
    picture = _picture(0.55 * len(stages) + 3.6, 3.8)
    ax = picture.subplots()
    ax.plot(sizes, color="0.65", linewidth=1)
    ax.plot([], [], color="0.65", linewidth=1, label="one token")
    label = f"the largest: {_plain(names[largest])} (token {largest})"
    ax.plot(sizes[:, largest], "s--", color=SAFE["orange"], linewidth=1.5, markersize=5, label=label)
    ax.plot(sizes.mean(1), "o-", color=SAFE["blue"], linewidth=2.5, label="mean of all tokens")
    ax.set_title("How large the residual stream is at each stage", loc="left")
    ax.set_xticks(range(len(stages)), stages, **SLANTED)
    ax.set_ylabel("length of a token's vector")
    ax.set_ylim(0, 1.05 * sizes[stage, largest])
    ax.legend()
    return picture


# --- the oracle -----------------------------------------------------------------------------------------------------


def error(report: "Result") -> "Picture":
    """The error by depth in the network that a report of `minroberta.testing.compare` found.

    It shows what `report.save_html` draws: each value's total error and that of its step alone, as multiples of the
    rounding error; the bound; wrong values; other layouts or shapes, at the top edge, and the first bad value's name.
    Infinite errors are at the top edge too. Raises InputError and PlotError.
    """
    from ..testing.result import Result  # a report comes with all of `testing`, which other pictures do not need
    from ..testing.sentences import plain, verdict_in_two

    if not isinstance(report, Result):
        raise InputError(f"error takes a Report, not {type(report).__name__}: make one with minroberta.testing.compare")
    picture = _picture(11, 4.2)
    ax = picture.subplots()
    _parts(ax, report)
    _errors(ax, report)
    title = verdict_in_two(report)[0]
    ax.set_title(_plain(plain(title[0].upper() + title[1:])), loc="left")
    ax.set_ylabel(f"error, in multiples of {report.precision} rounding")
    ax.set_xlabel("values in the order of computation, by part of the network")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return picture


FLOOR = 0.1
"""The error at the bottom edge, as a multiple of the rounding error; smaller errors are drawn there too."""


def _parts(ax: "Axes", report: "Result") -> None:
    """A shaded band behind every second part of the network, and the name of each part."""
    from ..testing.picture import parts_of

    parts = parts_of(report)
    for number, (_, start, stop) in enumerate(parts):
        if number % 2:
            ax.axvspan(start - 0.5, stop - 0.5, color="0.94", zorder=0)
    named, names = _ticks([part for part, *_ in parts], len(parts), 8.0, "parts")
    middles = [(start + stop - 1) / 2 for _, start, stop in parts]
    ax.set_xticks([middles[index] for index in named], names, **SLANTED)
    ax.set_xlim(-0.5, len(report.rows) - 0.5)


def _errors(ax: "Axes", report: "Result") -> None:
    """The errors of all values, on a logarithmic scale."""
    rows = list(enumerate(report.rows))
    finite = [m for row in report.rows for m in (row.multiple, row.alone or 0.0) if math.isfinite(m)]
    top = 10.0 ** math.ceil(math.log10(max([50.0, report.bound, *finite])) + 0.2)

    def draw(marks: str, label: str, points: list[tuple[int, float]], **how: Any) -> None:
        if points:
            heights = [min(max(height, FLOOR), top) for _, height in points]
            ax.plot([index for index, _ in points], heights, marks, label=label, clip_on=False, **how)

    ax.set_yscale("log")
    ax.set_ylim(FLOOR, top)
    ax.axhspan(FLOOR, report.bound, color=SAFE["green"], alpha=0.15, label=f"rounding, up to {report.bound:g} times")
    whole = [(index, row.multiple) for index, row in rows if row.verdict != "shape"]
    alone = [(index, row.alone) for index, row in rows if row.alone is not None and row.ok]
    wrong = [(index, row.error) for index, row in rows if row.verdict == "wrong"]
    other = [(index, top) for index, row in rows if row.verdict in ("layout", "shape")]
    draw("o-", "total error of a value", whole, color=SAFE["blue"], markersize=3, linewidth=1.2)
    draw(".", "error of its step alone", alone, color="0.45", markersize=4)
    draw("X", "wrong", wrong, color=SAFE["orange"], markersize=9)
    draw("D", "different layout or shape", other, color=SAFE["purple"], markersize=7)
    if report.bad:
        first = next(index for index, row in rows if not row.ok)
        ax.axvline(first, color=SAFE["orange"], linestyle=":", zorder=0)
