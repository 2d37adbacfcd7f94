"""Build the documentation site: `python tools/site.py OUT`. Needs the extra `docs`.

Sphinx writes the folders `docs`, `notebooks` and so on, and `tools/web.py` the live start page, OUT/index.html. A
JupyterLite in OUT/lite, if it was built before, is linked from each notebook.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = '<!doctype html><meta charset="utf-8"><title>minroberta</title>\
<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">minroberta</a>\n'
"""A start page that leads to the documents."""


def main(out: Path) -> None:
    """Build everything into a folder; a warning is an error."""
    with tempfile.TemporaryDirectory() as kept:  # nothing is kept for the next time, so that every page is new
        sphinx = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
        subprocess.run([*sphinx, "--conf-dir", ROOT / "docs", "--doctree-dir", kept, ROOT, out], check=True)
    live = ROOT / "tools" / "web.py"
    if live.exists():  # last, because it links to the pages that are there
        subprocess.run([sys.executable, live, out], check=True)
    else:
        (out / "index.html").write_text(START, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
