"""Vectors of a corpus with Ray, on this machine: python examples/corpus_ray.py sentences.parquet vectors.parquet

If a worker process dies, Ray starts another one, which computes that worker's batches again.
"""

import sys
from collections.abc import Callable

import pyarrow
import pyarrow.parquet
import ray

from minroberta.batch import Mapper


def run(source: str, target: str, encode: Callable[[pyarrow.Table], pyarrow.Table]) -> None:
    """Write the rows of `source`, in order, with the columns that `encode` adds. Only a few batches are in memory."""
    ray.init(num_cpus=2, include_dashboard=False)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    rows = ray.data.read_parquet(source).repartition(target_num_rows_per_block=250)  # a block is a task's work
    rows = rows.map_batches(encode, batch_format="pyarrow", batch_size=250)
    writer = None
    for table in rows.iter_batches(batch_format="pyarrow", batch_size=250):
        writer = writer or pyarrow.parquet.ParquetWriter(target, table.schema)
        writer.write_table(table)
    writer.close()
    ray.shutdown()


if __name__ == "__main__":
    run(*sys.argv[1:], Mapper("minroberta/tiny"))
