"""Pictures of a run, as matplotlib figures: who reads whom, what the head would guess early, how large values are.

    from minroberta import plot

    trace = minroberta.trace(model, **model.tokenize("The river flows into the <mask> Ocean."))
    plot.attention(trace, layer=2, head=0)          # in a notebook, the last line of a cell shows its figure
    plot.lens(trace).savefig("lens.png")

This needs matplotlib: `pip install "minroberta[plot]"`. It is imported by the first function that draws. Nothing goes
through pyplot's current figure; colours and fonts that are not said here are those of `matplotlib.rcParams`.
"""

from .figures import STYLE, PlotError, attention, error, heads, lens, matrix, norms

__all__ = ["STYLE", "PlotError", "attention", "error", "heads", "lens", "matrix", "norms"]
