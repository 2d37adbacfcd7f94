"""Checkpoints: reading their arrays and configuration by name or path, and writing them to files.

This package holds everything that depends on how other libraries store a model: the hub, the file formats with their
names for weights, and the operations on a whole checkpoint. Mathematics and tokenizers are elsewhere: nothing here
imports `text` or `loading`. In import order:

    files        JSON of limited size, paths that stay inside a directory, atomic writing
    arrays       the arrays of a checkpoint by name: mapped, renamed, transposed, gathered from several files
    formats      one module per format: safetensors, pytorch, hdf5, flax, tensorflow, keras, fairseq
    read         the weights file of a directory, its format, its configuration and its inventory
    hub          find the path of a model by its name, downloading it with huggingface_hub if necessary
    save         write a model in Hugging Face's format, for transformers
    save_keras   write a model as a KerasHub preset
    surgery      resize the vocabulary, prune heads
    verify       compare two models

`config.FAMILIES` has the table of each family's names. `weights` builds a parameter tree from a file's names.
"""
