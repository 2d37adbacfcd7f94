"""Build the documentation site: `python tools/site.py OUT`. Needs the extra `docs`.

Sphinx writes the folders `docs`, `notebooks` and so on, and `tools/web.py` the live start page, OUT/index.html. A
JupyterLite in OUT/lite, if it was built before, is linked from each notebook.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(out: Path) -> None:
    """Build everything into a folder; a warning is an error."""
    with tempfile.TemporaryDirectory() as kept:  # nothing is kept for the next time, so that every page is new
        sphinx = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
        subprocess.run([*sphinx, "--conf-dir", ROOT / "docs", "--doctree-dir", kept, ROOT, out], check=True)
    # Last, because the start page links to the pages that are there.
    subprocess.run([sys.executable, ROOT / "tools" / "web.py", out], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the folder to write: python tools/site.py OUT")
    main(Path(sys.argv[1]))
