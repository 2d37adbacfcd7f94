"""Text in, answers out: tokenizers, and a module for each task.

Each task is a function that takes a model, and a method of `Model` with the same name. A str gives one result; an
iterable of texts gives a list of results. The dicts in a result have the same keys as in transformers' pipelines, and
scores are probabilities, as Python floats. Results are those of transformers 4.48.3, except where a task's docstring
says otherwise. A text longer than the model's maximum length is truncated, with a warning, or read in
overlapping windows; `generate` with a decoder rejects it.

The modules in import order: `texts` (checks of the caller's texts), `settings` (a tokenizer's class and special
tokens), `sentencepiece`, `vocabularies` (text files, and those of fairseq and KerasHub), `encodings` (corrected
offsets), `tweets` (BERTweet's normalisation), `sources` (the files that a tokenizer is read from), `tokenizer`,
`running` (batches, progress, best scores), `windows` (long texts), `embedding` (a sentence-transformers repository's
description of how text becomes vectors), then a module for each task: `fill_mask` (with `predict_all`), `classify`,
`zero_shot`, `tag`, `answer`, `choose`, `encode`, `generate` (with `generation`, a repository's settings for it, and
`search`, the search for tokens).

Tasks use the network only by calling it, or through `Network.on_rows`; `encode` also calls the pooler. This package
contains no formulas of the model, no weight formats and no printing.
"""
