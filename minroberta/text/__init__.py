"""Text in, answers out: tokenizers, and one file for each task.

Each task is a function of a model, and a method of `Model` with the same name. A str gives one result; an iterable of
texts gives a list of results. Results are dicts with the keys of transformers' pipelines, and scores are probabilities,
as Python floats. The values are those of the pipelines of transformers 4.48.3. Where a task differs, its docstring says
so. A text longer than the model's maximum length is truncated, with a warning, or read in overlapping windows;
`generate` rejects it.

In import order: `texts` (checks of the caller's texts), `sentencepiece`, `vocabularies` (byte-level BPE in the files of
fairseq and KerasHub), `sources` (the files that a tokenizer is read from), `tokenizer`, `running` (batches, progress,
best scores), `windows` (long texts), then a file for each task: `fill_mask` (with `predict_all`), `classify`, `tag`,
`answer`, `choose`, `encode`, `generate`.

Tasks use the network only by calling it, or through `Network.on_rows`. The model's formulas, weight formats and
printing are elsewhere.
"""
