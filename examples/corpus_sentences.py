"""Write random sentences to a Parquet file: python examples/corpus_sentences.py 20000 sentences.parquet"""

import random
import sys

import pyarrow
import pyarrow.parquet

ROWS = 250  # of a row group, the piece of a file that an engine reads at once

WHO = ["She", "He", "The old man", "A tall woman", "My brother", "The teacher", "Nobody", "A stranger"]
DID = ["opened", "painted", "sold", "found", "forgot", "repaired", "described", "hid", "carried", "admired"]
WHAT = ["the red door", "an old map", "two letters", "a small boat", "the garden", "his first novel", "her song"]
WHEN = ["in the morning", "before the war", "last summer", "without a word", "at the end of a long day", "twice"]

count, target = int(sys.argv[1]), sys.argv[2]
chosen = random.Random(0)
schema = pyarrow.schema({"id": pyarrow.int64(), "text": pyarrow.string()})
with pyarrow.parquet.ParquetWriter(target, schema) as writer:
    for start in range(0, count, ROWS):
        ids = range(start, min(start + ROWS, count))
        texts = [" ".join(chosen.choice(words) for words in (WHO, DID, WHAT, WHEN)) + "." for _ in ids]
        writer.write_table(pyarrow.table({"id": list(ids), "text": texts}, schema=schema))
