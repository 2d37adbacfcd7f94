"""Text in, answers out: tokenizers, and one file for each task.

Each task is a function of a model, and a method of `Model` with the same name. A str gives one result, an iterable of
texts gives a list of results. Results are dicts with the keys of transformers' pipelines, and a score is a probability,
as a Python float, unless a docstring says otherwise. The answers are those of the pipelines of transformers 4.48.3;
where they differ, a docstring says so. A text longer than the model's input is cut, with a warning, or read in windows
that overlap.

In import order: `texts` (checking what a caller gives), `sentencepiece`, `vocabularies` (byte-level BPE in fairseq's
and KerasHub's files), `sources` (which files a tokenizer is read from), `tokenizer`, `running` (rows in batches, best
scores, progress), `windows` (long texts), then a file for each task: `fill_mask` (with `predict_all`), `classify`,
`tag`, `answer`, `choose`, `encode`, `generate`.

A task knows the network as `Network.on_rows`, or as a call: no mathematics of the model, no formats of weights, and
no printing live here.
"""
