"""Write what CTranslate2 gives for the encoders of `engine_cases.py`.

    python -m generators.make_engines_ctranslate2

needs `pip install torch==2.13.0 transformers==4.48.3 ctranslate2==4.6.0 safetensors`, with torch's CPU build.

CTranslate2 takes texts without padding, and counts positions itself. So inputs with pads on the left are given without
them, and each token's state is put where the token stood. Then its pooled vectors are of the first token, where
transformers' are of the first position, and are left out.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import numpy as np
import torch
import transformers
from ctranslate2.converters.transformers import _MODEL_LOADERS

from generators import engine_cases
from generators.engine_cases import FAMILIES, UNKNOWN, VOCAB, Candidates, setting
from generators.engine_torch import tensors


def convert(name: str, folder: Path, quantization: str | None) -> None:
    """Write the setting's model as CTranslate2's converter does, without a tokenizer."""
    family = FAMILIES[name.split("/")[0]]
    kind = getattr(transformers, f"{family}Model")
    model = kind(kind.config_class(**engine_cases.config(name))).eval()
    model.load_state_dict(tensors(engine_cases.parameters(name)), strict=False)
    whole = SimpleNamespace(config=model.config, roberta=model) if family == "XLMRoberta" else model
    words = {f"w{i}": i for i in range(VOCAB)}
    tokenizer = SimpleNamespace(unk_token="w3", bos_token="w0", eos_token="w2", get_vocab=lambda: words)
    spec = _MODEL_LOADERS[f"{family}Config"](whole, tokenizer)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def values(folder: Path, name: str, alone: bool, compute: str, threads: int) -> dict[str, np.ndarray]:
    """The states of all tokens and the pooled ones, of the texts in a batch or one by one."""
    encoder = ctranslate2.Encoder(str(folder), compute_type=compute, intra_threads=threads)
    given = engine_cases.inputs(name)
    masks = given["attention_mask"] > 0
    texts = [ids[mask].tolist() for ids, mask in zip(given["input_ids"], masks, strict=True)]
    states = np.zeros((*masks.shape, engine_cases.HIDDEN), np.float32)
    pooled = np.zeros((len(texts), engine_cases.HIDDEN), np.float32)
    for rows in [[0], [1]] if alone else [[0, 1]]:
        output = encoder.forward_batch([texts[row] for row in rows])
        for state, pool, row in zip(array(output.last_hidden_state), array(output.pooler_output), rows, strict=True):
            states[row, masks[row]], pooled[row] = state[: len(texts[row])], pool
    return {"last_hidden_state": states, "pooler_output": pooled}


def array(view: ctranslate2.StorageView) -> np.ndarray:
    return np.array(view.to_device(ctranslate2.Device.cpu))


def main() -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    right = Candidates("ctranslate2", ctranslate2.__version__)
    int8 = Candidates("ctranslate2-int8", ctranslate2.__version__)
    for family, padding in itertools.product(FAMILIES, engine_cases.PADDING):
        name = setting(family, padding=padding)
        with tempfile.TemporaryDirectory() as folder:
            convert(name, Path(folder), None)
            for alone, threads in ((False, 1), (True, 2)):
                given = values(Path(folder), name, alone, "float32", threads)
                keep = "last_hidden_state".__eq__ if padding == "left" else None
                right.add(f"ctranslate2/{'alone' if alone else 'batch'}/{name}", name, given, keep=keep)
        if padding == "right":
            with tempfile.TemporaryDirectory() as folder:
                convert(name, Path(folder), "int8")
                given = values(Path(folder), name, False, "int8_float32", 1)
                int8.add(f"ctranslate2-int8/{name}", name, given, mistakes=[UNKNOWN])
    right.save()
    int8.save()


if __name__ == "__main__":
    main()
