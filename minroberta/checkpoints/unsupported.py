"""Messages about what is not supported: files of other programs, quantised weights, modules of other libraries.

Each says what was found, and what to do instead.
"""

import fnmatch
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from .arrays import Arrays
from .files import start_inside

# --- files ----------------------------------------------------------------------------------------------------------

OTHER_FILES = {
    "*.onnx": "an ONNX model: give the repository that it was exported from, or run it with onnxruntime",
    "*.gguf": "a GGUF model: give the repository that it was converted from, or run it with llama.cpp",
    "openvino*.xml": "an OpenVINO model: give the repository that it was exported from, or run it with OpenVINO",
    "rust_model.ot": "weights for rust-bert: give the repository that they were converted from",
    "pytorch_adapter.bin": "an adapter of the adapters library: load it there, since its modules are not supported",
    "*.ckpt.index": "a checkpoint of TensorFlow 1: convert it with transformers' script for it",
    "saved_model.pb": "a SavedModel of TensorFlow: save the model with save_pretrained instead",
    "*.tflite": "a TensorFlow Lite model: give the repository that it was converted from",
    "*.mlpackage": "a Core ML model: give the repository that it was converted from",
}
"""Patterns of paths in a repository, and descriptions of the files. `*` matches folders too."""

CTRANSLATE2 = "a CTranslate2 model: give the repository that it was converted from, or run it with ctranslate2"


def description(directory: Path) -> str | None:
    """Describe what a directory without supported weights holds instead, with advice, or return None if unknown."""
    paths = sorted(path for pattern in ("*", "onnx/*", "openvino/*") for path in directory.glob(pattern))
    if is_ctranslate2(start_inside(directory, "model.bin")):
        return f"model.bin is {CTRANSLATE2}"
    return described([path.relative_to(directory).as_posix() for path in paths])


def described(names: list[str]) -> str | None:
    """Describe a file of another program among the names of a repository's files, or return None."""
    for pattern, text in OTHER_FILES.items():
        for name in names:
            if fnmatch.fnmatchcase(name, pattern):
                return f"{name} is {text}"
    return None


NOT_MODELS = (
    "training_args.bin",
    "optimizer.*",
    "scheduler.*",
    "openvino_*",
    "*adapter*",
    "*_head.bin",
    "random_states*",
)
"""Patterns of files with the endings of weights that hold no model, or none that can be loaded alone."""


def is_not_a_model(name: str) -> bool:
    """True if a file has the ending of weights, but its name is that of something else."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in NOT_MODELS)


def is_ctranslate2(start: bytes) -> bool:
    """True if a file begins as CTranslate2's do: a version, the length of a name, and the name of a specification."""
    return 0 < int.from_bytes(start[:4], "little") < 100 and b"Spec\0" in start


SETFIT = ("model_head.pkl", "config_setfit.json")
"""Either file shows that a model was trained with SetFit. Only the second is downloaded from the hub."""


def warn_of_setfit(directory: Path) -> None:
    """Warn that a SetFit model's classifier is not read."""
    if any((directory / name).is_file() for name in SETFIT):
        warnings.warn(
            "this model was trained with SetFit, whose classifier (model_head.pkl) is a pickle that may run code, and "
            "is not read: encode gives the vectors that the classifier takes; to classify, use setfit",
            stacklevel=3,
        )


# --- modules of sentence-transformers -------------------------------------------------------------------------------

OTHER_MODULES = {
    ("Router", "Asym"): "sends queries and documents through different modules: load the folder of one, such as "
    "query_0_Transformer",
    ("SpladePooling", "MLMTransformer"): "belongs to a sparse encoder (SPLADE), whose vectors are over the vocabulary: "
    "with head='masked_lm' the model gives the logits, from which they are computed",
    (
        "SparseAutoEncoder",
        "SparseStaticEmbedding",
    ): "belongs to a sparse encoder: load it with SparseEncoder of sentence-transformers",
    ("MultiVectorMask", "TokenPooling"): "belongs to a model with a vector for each token (ColBERT): load "
    "the model with head='encoder' and without modules.json, and take its last_hidden_state, as these modules do",
    ("LogitScore",): "belongs to a reranker that generates text: load it with CrossEncoder of sentence-transformers",
    ("BoW", "WordEmbeddings", "StaticEmbedding", "CLIPModel"): "is not a RoBERTa: load it with sentence-transformers",
    ("WordWeights", "CNN", "LSTM", "WeightedLayerPooling"): "changes the tokens' states before pooling: load it "
    "with sentence-transformers",
}
"""Classes of modules that are not supported, what each does, and what to do instead."""


def advice_on_module(kind: str) -> str | None:
    """Say what a module of sentence-transformers does and what to do instead, or return None for an unknown class."""
    return next((f"it {text}" for kinds, text in OTHER_MODULES.items() if kind in kinds), None)


# --- arrays ---------------------------------------------------------------------------------------------------------

QUANTISED = {
    r"\.(SCB|weight_format)$": "bitsandbytes, in 8 bits",
    r"\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__\w+)$": "bitsandbytes, in 4 bits",
    r"\.(qweight|qzeros|g_idx)$": "GPTQ or AWQ",
    r"\.(weight_scale|weight_scale_inv|weight_packed|weight_zero_point|input_scale)$": "compressed-tensors or FP8",
    r"\._packed_params": "PyTorch",
    r"\.(weight|SCB)\._(data|scale|scale_and_zero)$": "quanto or torchao",
}
"""Patterns of names that only quantised weights have, and the libraries that give them."""

ADAPTERS = re.compile(r"\.(adapters|loras|prefix_tunings|prompt_tunings|adapter_fusion_layer)\.")
"""Names of modules that the adapters library adds to the layers. Without them the model gives other values."""


def check_names(arrays: Arrays) -> None:
    """Raise WeightsError if the arrays are quantised, or a model has modules of the adapters library."""
    for name in arrays:
        for pattern, library in QUANTISED.items():
            if re.search(pattern, name):
                raise WeightsError(
                    f"{arrays.path} holds weights quantised with {library} ({name[:200]}), which are not supported: "
                    "give the repository that they were quantised from, or save them dequantised"
                )
        if ADAPTERS.search(name):
            raise WeightsError(
                f"{arrays.path} holds modules of the adapters library ({name[:200]}), which are not supported, and "
                "without which the model gives other values: load it with that library"
            )


# --- pickles --------------------------------------------------------------------------------------------------------

PICKLED_BY: Mapping[str, str] = {
    "flair": "it was written by Flair: load it with that library",
    "transformers": "it holds a whole model: save the model's state_dict, or use save_pretrained",
    "__main__": "it holds an object of a script: save the model's state_dict",
    "sklearn": "it holds an object of scikit-learn: save the weights of the model alone",
    "torch.nn.modules": "it holds a whole module: save the module's state_dict",
    "torch.qint8": "it holds weights quantised by PyTorch: save the model before it is quantised",
    "torch.quint8": "it holds weights quantised by PyTorch: save the model before it is quantised",
    "torch._utils._rebuild_qtensor": "it holds weights quantised by PyTorch: save the model before it is quantised",
    "pytorch_lightning": "it holds objects of Lightning: save the model's state_dict alone",
    "lightning": "it holds objects of Lightning: save the model's state_dict alone",
}
"""Beginnings of names in pickles that show what wrote them, and what to do."""


def advice_on_pickle(name: Any) -> str:
    """A sentence that says what wrote a pickle with a name in it, and what to do; "" if that is unknown."""
    for beginning, text in PICKLED_BY.items():
        if str(name) == beginning or str(name).startswith(f"{beginning}."):
            return f". {text[0].upper()}{text[1:]}"
    return ""
