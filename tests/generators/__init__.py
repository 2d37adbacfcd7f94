"""Scripts that make the golden data, and the cases that they run.

The cases need only NumPy, since the tests import them as well as the scripts that run them through another library.
Scripts are run from the folder `tests`, as in `python -m generators.make`.
"""

from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
"""Where the data lies."""
