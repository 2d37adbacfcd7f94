"""Vectors of a corpus with Dask, on this machine: python examples/corpus_dask.py sentences.parquet vectors.parquet

If a worker process dies, Dask starts another one, and computes again the partitions that are not written yet.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import dask.dataframe
import pandas
import pyarrow.dataset
import pyarrow.parquet
from dask.distributed import Client, LocalCluster

from minroberta.batch import Mapper


def run(source: str, target: str, encode: Callable[[pandas.DataFrame], pandas.DataFrame]) -> None:
    """Write the rows of `source`, in order, with the columns that `encode` adds. Only a few partitions are in memory."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        rows = dask.dataframe.read_parquet(source, split_row_groups=True)
        rows = rows.map_partitions(encode, meta=encode(rows._meta))
        rows.to_parquet(target, write_index=False)


if __name__ == "__main__":
    run(*sys.argv[1:], Mapper("minroberta/tiny"))
