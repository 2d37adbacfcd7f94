"""Save every tensor of llama.cpp's graph: `python record_ggml.py model.gguf inputs.npz values.npz`.

Needs `pip install llama-cpp-python` (0.3.36). The model is a BERT or RoBERTa in float32. inputs.npz holds `input_ids`
and `attention_mask`, (B, L). The texts are given as one batch without padding, so values are (T, ...) for its T tokens.
Run `minroberta.testing.compare` on the result with `packed=attention_mask`: docs/recorders.md has the names.
"""

import ctypes
import sys
from ctypes import c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np


class Tensor(ctypes.Structure):
    """The start of a `ggml_tensor`. Its sizes, `ne`, are a NumPy array's shape in reverse."""

    _fields_ = (("type", c_int), ("buffer", c_void_p), ("ne", c_int64 * 4), ("nb", c_size_t * 4))


BASE = ctypes.CDLL(str(Path(llama.__file__).parent / "lib" / "libggml-base.so"))
BASE.ggml_get_name.restype = ctypes.c_char_p
FLOAT32 = 0
VALUES: dict[str, np.ndarray] = {}


@llama.llama_cpp.ggml_backend_sched_eval_callback
def keep(pointer: int, ask: bool, _: Any) -> bool:
    """Asked first whether to stop after this node, and called again when it is computed."""
    head = Tensor.from_address(pointer)
    if not ask and head.type == FLOAT32 and BASE.ggml_is_contiguous(c_void_p(pointer)):
        array = np.empty(tuple(head.ne)[::-1], np.float32)  # (1, 1, T, D) or (1, T, H, E)
        BASE.ggml_backend_tensor_get(
            c_void_p(pointer), c_void_p(array.ctypes.data), c_size_t(0), c_size_t(array.nbytes)
        )
        name = BASE.ggml_get_name(c_void_p(pointer)).decode()
        array = array[0, 0] if array.shape[1] == 1 else array[0]
        VALUES[name] = array.swapaxes(0, 1) if name.startswith("kqv-") else array  # (H, T, E) -> (T, H, E)
    return True


def main(model: str, inputs: str, values: str) -> None:
    """Compute the texts, and save what was kept."""
    given = np.load(inputs)
    texts = [ids[mask > 0] for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True)]
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(64, sum(map(len, texts)))  # all in one pass
    settings.n_seq_max, settings.embeddings, settings.cb_eval = len(texts), True, keep
    settings.pooling_type, settings.flash_attn_type = llama.LLAMA_POOLING_TYPE_NONE, 0  # each step of attention
    loaded = llama.llama_model_load_from_file(model.encode(), llama.llama_model_default_params())
    context = llama.llama_init_from_model(loaded, settings)
    tokens = [(int(token), place, row) for row, text in enumerate(texts) for place, token in enumerate(text)]
    batch = llama.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, (token, place, row) in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.logits[i] = token, place, 1
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
    assert llama.llama_encode(context, batch) == 0
    np.savez(values, **VALUES)


if __name__ == "__main__":
    main(*sys.argv[1:])
