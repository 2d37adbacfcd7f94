"""Write what llama.cpp gives for the encoders of `engine_cases.py`, by files in float32 that this script writes.

    python -m generators.make_engines_llamacpp

needs `pip install llama-cpp-python==0.3.36 gguf==0.19.0 numpy safetensors`, which compiles llama.cpp.

llama.cpp counts positions from 0. Its converter drops the first two rows of the position table, so that they fit; a
file with all rows makes the model count from 0. Its BERT has GELU by tanh, which ggml reads from a table in float16.
The texts are given without padding, as sequences of one batch or one by one.
"""

from __future__ import annotations

import ctypes
import itertools
import tempfile
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

from generators import engine_cases
from generators.engine_cases import FAMILIES, HIDDEN, Candidates, setting

OURS = {
    "token_embd": "embeddings.word_embeddings",
    "position_embd": "embeddings.position_embeddings",
    "token_types": "embeddings.token_type_embeddings",
    "token_embd_norm": "embeddings.LayerNorm",
    "blk.{}.attn_q": "encoder.layer.{}.attention.self.query",
    "blk.{}.attn_k": "encoder.layer.{}.attention.self.key",
    "blk.{}.attn_v": "encoder.layer.{}.attention.self.value",
    "blk.{}.attn_output": "encoder.layer.{}.attention.output.dense",
    "blk.{}.attn_output_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "blk.{}.ffn_up": "encoder.layer.{}.intermediate.dense",
    "blk.{}.ffn_down": "encoder.layer.{}.output.dense",
    "blk.{}.layer_output_norm": "encoder.layer.{}.output.LayerNorm",
}
"""llama.cpp's names of weights, mapped to ours."""


def write(told: dict[str, Any], weights: dict[str, np.ndarray], file: Path, shifted: bool) -> None:
    """Write an encoder as a GGUF without a vocabulary.

    shifted: the rows of the positions 0 and 1 are left out, as llama.cpp's converter does.
    """
    out = gguf.GGUFWriter(str(file), "bert")
    out.add_vocab_size(told["vocab_size"])
    out.add_context_length(told["max_position_embeddings"] - 2 * shifted)
    out.add_embedding_length(told["hidden_size"])
    out.add_feed_forward_length(told["intermediate_size"])
    out.add_block_count(told["num_hidden_layers"])
    out.add_head_count(told["num_attention_heads"])
    out.add_layer_norm_eps(told["layer_norm_eps"])
    out.add_causal_attention(False)
    out.add_pooling_type(gguf.PoolingType.NONE)
    out.add_tokenizer_model("no_vocab")
    out.add_token_type_count(told["type_vocab_size"])
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    for (theirs, ours), layer in itertools.product(OURS.items(), range(told["num_hidden_layers"])):
        for kind in ("weight", "bias"):
            key = f"{ours.format(layer)}.{kind}"
            if key in weights and ("{}" in ours or layer == 0):
                first = 2 if shifted and theirs == "position_embd" else 0
                out.add_tensor(f"{theirs.format(layer)}.{kind}", np.ascontiguousarray(weights[key][first:]))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


# --- the tensors of the graph ---------------------------------------------------------------------------------------


class Tensor(ctypes.Structure):
    """The start of a `ggml_tensor`: its sizes and strides, the first axis last in memory."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    )


BASE = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
BASE.ggml_get_name.restype = ctypes.c_char_p
BASE.ggml_get_name.argtypes = (ctypes.c_void_p,)
BASE.ggml_backend_tensor_get.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)


def recorder(found: dict[str, np.ndarray]) -> Any:
    """A callback that keeps each float32 tensor, of the sizes as NumPy orders them."""

    def keep(pointer: int, ask: bool, _: Any) -> bool:
        head = ctypes.cast(pointer, ctypes.POINTER(Tensor)).contents
        shape, strides = tuple(head.ne), tuple(head.nb)
        plain = strides == tuple(4 * int(np.prod(shape[:i])) for i in range(4))
        if not ask and head.type == 0 and plain:
            array = np.empty(shape[::-1], np.float32)
            BASE.ggml_backend_tensor_get(pointer, array.ctypes.data, 0, array.nbytes)
            found[BASE.ggml_get_name(pointer).decode()] = array
        return True

    return llama_cpp.llama_cpp.ggml_backend_sched_eval_callback(keep)


def run(file: Path, texts: list[list[int]], threads: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The tensors of the graph and the states of the tokens, (tokens, D), of texts in one batch."""
    found: dict[str, np.ndarray] = {}
    callback = recorder(found)
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    told = llama_cpp.llama_context_default_params()
    told.n_ctx = told.n_batch = told.n_ubatch = 64
    told.n_seq_max, told.n_threads, told.n_threads_batch = len(texts), threads, threads
    told.embeddings, told.pooling_type, told.cb_eval = True, llama_cpp.LLAMA_POOLING_TYPE_NONE, callback
    told.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, told)
    tokens = [(token, place, row) for row, text in enumerate(texts) for place, token in enumerate(text)]
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, (token, place, row) in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, place, 1, 1
        batch.seq_id[i][0] = row
    assert llama_cpp.llama_encode(context, batch) == 0
    rows = [
        np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_ith(context, i), (HIDDEN,)) for i in range(len(tokens))
    ]
    states = np.array(rows)
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return found, states


NAMES = {
    r"inp_embd": "embeddings.sum",
    r"inp_norm-0": "embeddings.LayerNorm",
    r"Qcur-(\d+)": r"encoder.layer.\1.attention.self.query",
    r"Kcur-(\d+)": r"encoder.layer.\1.attention.self.key",
    r"Vcur-(\d+)": r"encoder.layer.\1.attention.self.value",
    r"kq_soft_max-(\d+)": r"encoder.layer.\1.attention.self.probs",
    r"kqv-(\d+)": r"encoder.layer.\1.attention.self",
    r"kqv_out-(\d+)": r"encoder.layer.\1.attention.output.dense",
    r"ffn_inp-(\d+)": r"encoder.layer.\1.attention.output.LayerNorm",
    r"ffn_up_b-(\d+)": r"encoder.layer.\1.intermediate.dense",
    r"ffn_gelu-(\d+)": r"encoder.layer.\1.intermediate",
    r"ffn_out-(\d+)": r"encoder.layer.\1.output.dense",
}
"""Names of the graph. `kqv_out` is given twice, and last to what the output projection gives; a layer's output has
no name. The product of queries and keys, `kq`, is not scaled and not masked yet, so it is not kept."""

FULL = [*(name.replace(r"(\d+)", "0") for name in NAMES), "ffn_inp-1", "ffn_gelu-1", "ffn_gelu-2"]
"""The tensors that are kept of a first candidate."""


def values(file: Path, name: str, threads: int) -> dict[str, np.ndarray]:
    """The tensors of the graph and the states of the tokens.

    Texts with padding on the right are given as one batch, others one by one. Without padding, values are (B, ...);
    with padding, those of the tokens are packed, and probabilities are left out. Queries, keys, values and `kqv` have
    heads: (tokens, H, E).
    """
    given = engine_cases.inputs(name)
    texts = [ids[mask > 0].tolist() for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True)]
    groups = [texts] if name.endswith("right") else [[text] for text in texts]
    runs = [{**tensors, "last_hidden_state": states} for tensors, states in (run(file, x, threads) for x in groups)]
    if name.endswith("none"):
        return {key: np.stack([tokens_first(key, run[key]) for run in runs]) for key in [*FULL, "last_hidden_state"]}
    kept = [key for key in [*FULL, "last_hidden_state"] if not key.startswith("kq_soft_max")]
    return {key: np.concatenate([tokens_first(key, run[key]) for run in runs]) for key in kept}


def tokens_first(key: str, tensor: np.ndarray) -> np.ndarray:
    """A tensor of one batch without its first axes of 1, and with the tokens before the heads."""
    tensor = tensor.reshape(tensor.shape[-3:] if tensor.ndim == 4 and tensor.shape[1] > 1 else tensor.shape[-2:])
    return tensor.swapaxes(0, 1) if key.startswith("kqv-") else tensor


SETTINGS = [
    *itertools.product([True], FAMILIES, engine_cases.PADDING),
    (False, "roberta", "right"),
    (False, "xlm-roberta", "right"),
]
"""The candidates: True if positions are shifted, as they should be; family; padding."""


def main() -> None:
    """Rewrite the file; a second run gives the same bytes on the same machine."""
    found = Candidates("llama.cpp", llama_cpp.__version__)
    for shifted, family, padding in SETTINGS:
        name = setting(family, padding=padding)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.gguf")
            write(engine_cases.config(name), engine_cases.parameters(name), file, shifted)
            given = values(file, name, 1 + (padding == "left"))
        keep = set(given) if family == "roberta" and padding != "left" else {"last_hidden_state", "ffn_inp-1"}
        found.add(
            f"llama.cpp/{'shifted' if shifted else 'from-0'}/{name}",
            name,
            given,
            names=NAMES,
            mistakes=["gelu-tanh-float16", *([] if shifted else ["positions-from-0"])],
            packed=padding != "none",
            keep=keep.__contains__,
        )
    found.save()


if __name__ == "__main__":
    main()
