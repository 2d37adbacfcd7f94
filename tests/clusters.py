"""Run an example of a cluster whose process is killed in the middle: python clusters.py EXAMPLE SOURCE TARGET LOG

Vectors are repeated, so that the tests see memory that grows with the corpus. LOG gets a line of JSON for each batch,
with its `first` row and the memory of its process, and in between the memory of the process that started the cluster,
with the number of tables that it has written and of those that it still keeps.
"""

import ctypes
import gc
import json
import os
import re
import runpy
import signal
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy

from minroberta import batch
from minroberta.batch import Mapper

WIDTH = 256  # of minroberta/tiny
REPEATED = 50
LAST = 750
"""First row of the batch that a process does not survive: it is computed, but not returned."""


def memory() -> int:
    """Bytes that this process uses and does not share.

    Without those that its allocators keep for later: after a few batches they are more than a batch, or not yet.
    """
    import pyarrow

    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return int(re.findall(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024


class Killed(Mapper):
    """A mapper whose process is killed once."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self.log = Path(log)

    def __call__(self, rows: Any) -> Any:
        result = super().__call__(rows)
        first = int(numpy.asarray(rows["id"])[0])
        self.write(first=first, models=len(batch._loaded))
        if first == LAST and not self.log.with_suffix(".killed").exists():
            self.log.with_suffix(".killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return repeated(result)

    def write(self, **values: int) -> None:
        values |= {"process": os.getpid(), "memory": memory()}
        with self.log.open("a") as file:
            file.write(json.dumps(values) + "\n")


def repeated(rows: Any) -> Any:
    """The rows with vectors of WIDTH * REPEATED numbers."""
    if hasattr(rows, "assign"):  # a DataFrame
        return rows.assign(vector=[numpy.tile(vector, REPEATED) for vector in rows["vector"]])
    import pyarrow

    vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH)
    column = pyarrow.FixedSizeListArray.from_arrays(numpy.tile(vectors, REPEATED).reshape(-1), WIDTH * REPEATED)
    return rows.set_column(rows.schema.get_field_index("vector"), "vector", column)


def written() -> list[weakref.ref[Any]]:
    """The tables that this process writes from now on. Ray's are in memory that processes share."""
    import pyarrow.parquet

    tables, write = [], pyarrow.parquet.ParquetWriter.write_table

    def watched(writer: Any, table: Any, *rest: Any, **options: Any) -> None:
        tables.append(weakref.ref(table))
        write(writer, table, *rest, **options)

    pyarrow.parquet.ParquetWriter.write_table = watched
    return tables


def main(example: str, source: str, target: str, log: str) -> None:
    run, mapper, tables = runpy.run_path(example)["run"], Killed(log), written()

    def watch() -> None:
        while True:
            mapper.write(kept=sum(table() is not None for table in tables), written=len(tables))
            time.sleep(0.3)

    threading.Thread(target=watch, daemon=True).start()
    run(source, target, mapper, **({"width": WIDTH * REPEATED} if "dask" in example else {}))


if __name__ == "__main__":
    main(*sys.argv[1:])
