"""Checkpoints: reading a model's arrays and configuration by name or path, and writing them to files.

This package holds everything that depends on how other libraries store a model: the hub, the file formats with their
names for weights, and the operations on a whole checkpoint. The mathematics and the tokenizers are elsewhere, and
nothing here imports `text` or `loading`. The modules, in import order:

    files        JSON of limited size, paths that stay inside a directory, atomic writing
    arrays       the arrays of a checkpoint by name: mapped, renamed, transposed, gathered from several files
    wrapped      names of a model that was saved within another module
    unsupported  messages about files, weights and modules that are not supported
    formats      one module per format: safetensors, pytorch, hdf5, flax, tensorflow, keras, fairseq
    modules      the modules of a sentence-transformers repository, and their folders
    read         choose a directory's weights file, recognise its format, read its configuration and inventory
    hub          find the path of a model by name, and download the model with huggingface_hub if necessary
    adapters     LoRA adapters of peft, merged into the weights of their base
    save         write a model in Hugging Face's format, for transformers
    halves       split and write the two models of an encoder-decoder
    save_keras   write a model as a KerasHub preset
    surgery      resize the vocabulary, prune heads
    verify       compare two models

`config.FAMILIES` has each model family's names for modules. `weights` builds a parameter tree from a file's arrays.
"""
