"""Checkpoints: from a name or a path to arrays and a configuration, and back to files.

Here lives whatever depends on how others store a model: the hub, file formats and their names of weights, and the
operations on a whole checkpoint. The mathematics of a weight does not, nor a tokenizer: nothing here imports `text` or
`loading`. In import order:

    files        JSON of a bounded size, paths that stay inside a directory, atomic writing
    arrays       the arrays of a checkpoint by name: mapped, renamed, transposed, gathered from several files
    formats      a file for each format: safetensors, pytorch, hdf5, flax, tensorflow, keras, fairseq
    read         which file of a directory, in which format; its configuration; its inventory
    hub          from a name to a path on this machine, by huggingface_hub where it is not one
    save         write a model as transformers reads it
    save_keras   write a model as KerasHub reads it
    surgery      resize the vocabulary, prune heads
    verify       compare two models

The table of each family's names is `config.FAMILIES`, and the way from a file's names to a tree is `weights`.
"""
