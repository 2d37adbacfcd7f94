"""Vectors of a corpus with Dask, on this machine: python examples/corpus_dask.py sentences.parquet vectors.parquet

The result is a folder with a file for each partition. If a worker process dies, Dask starts another one, which computes
again what the first has not written.
"""

import sys
from collections.abc import Callable

import dask.dataframe
import pandas
import pyarrow
import pyarrow.parquet
from dask.distributed import Client, LocalCluster

from minroberta.batch import Mapper


def run(source: str, target: str, encode: Callable[[pandas.DataFrame], pandas.DataFrame], width: int) -> None:
    """Write the rows of `source`, in order, with the vectors that `encode` adds, in files of one partition each."""
    vector = pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), width))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        rows = dask.dataframe.read_parquet(source, split_row_groups=True)
        rows = rows.map_partitions(encode, meta={**rows.dtypes.to_dict(), "vector": "object"})
        rows.to_parquet(
            target,
            write_index=False,
            schema=pyarrow.parquet.read_schema(source).append(vector),
            name_function=lambda number: f"{number:06}.parquet",  # so that readers list the files in order
        )


if __name__ == "__main__":
    run(*sys.argv[1:], Mapper("minroberta/tiny"), width=256)
