"""The figure that all pictures are drawn on: matplotlib's, which a notebook shows without pyplot."""

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib Figure, with its PNG for notebooks: they would show one made without pyplot as words."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
