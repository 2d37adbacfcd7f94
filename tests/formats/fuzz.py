"""Search, by coverage-guided fuzzing, for files that a reader neither reads nor refuses: `python fuzz.py KIND CORPUS`.

KIND is pytorch, pickle, hdf5 or flax. CORPUS is a directory, empty or from an earlier run, to which the golden files
of the kind are added. The fuzzer's options, such as `-max_total_time=600`, may follow. Needs atheris
(`pip install atheris`), which no test needs. Files that are found are written next to the corpus.
"""

import contextlib
import io
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["minroberta", "pickletools", "zipfile"]):
    import minroberta
    from minroberta.checkpoints.formats import pytorch
    from minroberta.checkpoints.read import read_file

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
FILES = {"pytorch": ".bin .pt", "hdf5": ".h5", "flax": ".msgpack"}


def read_pickle(data: bytes) -> None:
    """Run a pickle alone."""
    with contextlib.suppress(*pytorch.REFUSED):
        pytorch.unpickle(io.BytesIO(data), lambda storage: None)


def read_as_file(kind: str, place: Path) -> Callable[[bytes], None]:
    """Read a file with this content, and every array of it that is not too large to look at."""
    path = place / f"fuzzed.{kind}"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            arrays = read_file(path)
            for name in arrays:
                if arrays[name].size < 1e6:
                    arrays[name].copy()
        except minroberta.Error:
            pass

    return read


def main() -> None:
    """Add the golden files to the corpus, and start."""
    kind, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    endings = FILES["pytorch" if kind == "pickle" else kind].split()
    for path in sorted(path for path in GOLDEN.glob("*/*") if path.suffix in endings):
        if kind != "pickle":
            shutil.copy(path, corpus / f"{path.parent.name}-{path.name}")
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                (corpus / f"{path.parent.name}-{path.name}").write_bytes(archive.read(pickled))
    warnings.simplefilter("ignore")
    one = read_pickle if kind == "pickle" else read_as_file(kind, corpus.parent)
    options = [f"-artifact_prefix={corpus.parent}/found-{kind}-", "-rss_limit_mb=600", "-timeout=5", "-max_len=60000"]
    atheris.Setup([sys.argv[0], str(corpus), *options, *sys.argv[3:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
