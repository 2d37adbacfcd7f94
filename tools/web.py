"""Assemble the live start page in a folder to serve: `python tools/web.py OUT`, then `python -m http.server -d OUT`.

The folder gets the files of web/, the embedded model, a golden file of one sentence, and in index.html what the page
shows before the weights have arrived.
"""

import base64
import json
import re
import shutil
import sys
from pathlib import Path

import numpy

import minroberta
from minroberta.heads import lm_head
from minroberta.testing import golden
from minroberta.text.running import best, probabilities

ROOT = Path(__file__).parents[1]
TINY = ROOT / "minroberta" / "tiny"
FILES = ("config.json", "tokenizer.json", "model.safetensors")
TEXT = "She was the first woman to win the <mask> Prize."
"""The sentence that the page begins with, which is the golden file's too."""

GUESSES = 3
"""Number of guesses for each layer, as in web/app.js."""

HOME = re.compile(r"https://github\.com/minroberta/minroberta/blob/main/([^\"]+)\.(?:md|ipynb)")
"""A link to a document in the repository: its path, without the extension."""


def build(out: Path) -> None:
    """Write the page to a folder, which may hold the pages of the documents already."""
    shutil.copytree(ROOT / "web", out, dirs_exist_ok=True)
    (out / "tiny").mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(TINY / name, out / "tiny" / name)
    model = minroberta.load(TINY)
    golden.save(out / "golden.safetensors", model, {"input_ids": model.tokenize([TEXT])["input_ids"]})
    (out / "index.html").write_text(index(out, prepared(model)), encoding="utf-8")


def index(out: Path, view: dict[str, object]) -> str:
    """The text of index.html with a view, and with links to the pages of the documents that are in the folder."""
    page = (ROOT / "web" / "index.html").read_text(encoding="utf-8")
    page = HOME.sub(lambda link: f"{link[1]}.html" if (out / f"{link[1]}.html").exists() else link[0], page)
    text = json.dumps(view).replace("<", "\\u003c")  # nothing in it may look like a tag
    return page.replace('id="prepared">null<', f'id="prepared">{text}<')


def prepared(model: minroberta.Model) -> dict[str, object]:
    """The view of the first sentence, as web/app.js describes it; attention in bytes, 255 for a probability of 1."""
    tokenizer, count = model.tokenizer, model.config.num_hidden_layers
    ids = model.tokenize([TEXT])["input_ids"]
    position = ids[0].tolist().index(tokenizer.mask_token_id)
    trace = minroberta.trace(model, ids)
    states = [trace[name][:, position] for name in ("embeddings", *(f"encoder.layer.{i}" for i in range(count)))]
    logits = lm_head(numpy.concatenate(states)[None], model.p, model.config)[0]  # (1, N, D) -> (N, V)
    attention = [trace[f"encoder.layer.{i}.attention.self.probs"] for i in range(count)]
    return {
        "text": TEXT,
        "bytes": (TINY / "model.safetensors").stat().st_size,
        "tokens": [tokenizer.text_of([id]) for id in ids[0].tolist()],
        "position": position,
        "guesses": [
            [[tokenizer.text_of([int(id)]), float(row[id])] for id in best(row, GUESSES)]
            for row in probabilities(logits)
        ],
        "attention": [base64.b64encode((255 * p).round().astype("u1").tobytes()).decode() for p in attention],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the folder to write: python tools/web.py OUT")
    build(Path(sys.argv[1]))
