"""Write the vectors and scores that sentence-transformers gives for the repositories of `embedding_cases.py`.

    python -m generators.make_sentence_transformers

is run twice, in two environments with torch 2.13.0: one has sentence-transformers 3.4.1, transformers 4.48.3,
sentencepiece 0.2.3 and protobuf, the other sentence-transformers 6.2.0 and transformers 5.24.0. Each run writes the
cases of its version into `embeddings.json`, and leaves the others. The older version also writes
`embeddings_dense.bin`, the weights of a Dense in PyTorch's format.
"""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
import transformers

from generators import GOLDEN
from generators.embedding_cases import CASES, NEW, OLD, PAIRS, TEXTS, Case, of_module, write

VERSIONS = {OLD: "4.48.3", NEW: "5.24.0"}
FILE, DENSE = GOLDEN / "embeddings.json", GOLDEN / "embeddings_dense.bin"

LIBRARY_NAMES = {"normalize": "normalize_embeddings"}


def run(case: Case, directory: Path) -> list[Any]:
    """The vectors of the texts, or the scores of the pairs."""
    write(case, directory)
    return rounded(run_library(case, directory))


def run_library(case: Case, directory: Path) -> list[Any]:
    """The vectors or scores of sentence-transformers for a repository."""
    if case.labels is not None:
        model = sentence_transformers.CrossEncoder(str(directory), device="cpu")
        return model.predict(PAIRS).tolist()
    options = {LIBRARY_NAMES.get(name, name): value for name, value in case.options.items()}
    truncate = {"truncate_dim": options.pop("truncate_dim")} if "truncate_dim" in options else {}
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu", **truncate)
    # Version 6 leaves the spaces around a text.
    texts = TEXTS if sentence_transformers.__version__ == OLD else [text.strip() for text in TEXTS]
    return model.encode(texts, **options).tolist()


def rounded(value: Any) -> Any:
    """Nested lists of numbers with the digits that identify a float32."""
    return [rounded(x) for x in value] if isinstance(value, list) else float(f"{value:.9g}")


def write_dense() -> None:
    """The weights of the only Dense that is in PyTorch's format."""
    (case,) = (case for case in CASES if case.dense_file == "pytorch_model.bin")
    ((index, (kind, settings)),) = (x for x in enumerate(case.modules, 1) if x[1][0] == "Dense")
    torch.save({name: torch.tensor(x).float() for name, x in of_module(index, kind, settings).items()}, DENSE)


def main() -> None:
    """Rewrite the results of this environment's version; a second run gives the same bytes."""
    version = sentence_transformers.__version__
    if VERSIONS.get(version) != transformers.__version__:
        raise SystemExit(f"the golden files need {VERSIONS}, these are {version} and {transformers.__version__}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    if version == OLD:
        write_dense()
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    for case in CASES:
        if case.version == version:
            with tempfile.TemporaryDirectory() as name:
                known[case.name] = run(case, Path(name))
    lines = [f"{json.dumps(case.name)}: {json.dumps(known[case.name])}" for case in CASES if case.name in known]
    text = ",\n".join(lines)
    FILE.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
