"""Write tiny checkpoints as PyTorch wrote them over the years: `python -m generators.make_pytorch golden/checkpoints`.

Made with torch 2.13.0, transformers 4.48.3 and safetensors 0.8.0. Beside each file stand the outputs of transformers,
or the tensors that torch reads from it.
"""

import collections
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import RobertaConfig, RobertaForMaskedLM

CONFIG = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 12, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
}  # fmt: skip


def model():
    torch.manual_seed(0)
    made = RobertaForMaskedLM._from_config(RobertaConfig(**CONFIG), attn_implementation="eager").eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def write_models(out):
    made = model()
    ids = torch.tensor([[0, 5, 6, 7, 39, 2], [0, 8, 9, 2, 1, 1]])
    mask = (ids != 1).long()
    with torch.inference_mode():
        logits = made(input_ids=ids, attention_mask=mask).logits
    expected = {"input_ids": ids, "attention_mask": mask, "logits": logits}
    state = made.state_dict()
    # As in 2019: norms with gamma and beta, and a buffer of positions.
    old = collections.OrderedDict(
        (name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"), x)
        for name, x in state.items()
    )
    old["roberta.embeddings.position_ids"] = torch.arange(12)[None]
    names = list(state)
    shards = {"pytorch_model-00001-of-00002.bin": names[:20], "pytorch_model-00002-of-00002.bin": names[20:]}
    ways = {
        "pytorch-zip": {"pytorch_model.bin": (state, {})},
        "pytorch-legacy": {"pytorch_model.bin": (old, {"_use_new_zipfile_serialization": False})},
        "pytorch-sharded": {f: (collections.OrderedDict((n, state[n]) for n in ns), {}) for f, ns in shards.items()},
    }
    for name, files in ways.items():
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        made.config.update({"architectures": ["RobertaForMaskedLM"]})
        made.config.save_pretrained(directory)
        for file, (content, options) in files.items():
            torch.save(content, directory / file, **options)
        save_file(expected, directory / "expected.safetensors")
    index = {"metadata": {}, "weight_map": {n: f for f, ns in shards.items() for n in ns}}
    (out / "pytorch-sharded" / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def tensors():
    """Tensors of every kind: every dtype, views with strides and offsets, a shared storage, no numbers at all."""
    base = torch.arange(24, dtype=torch.float32)
    numbers = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)) * 100
    dtypes = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    return {
        **{f"dtype {name}": numbers.to(getattr(torch, name)) for name in dtypes},
        "base": base,
        "view": base[5:17].view(3, 4),
        "transposed": base.view(4, 6).t(),
        "every second": base[1::2],
        "expanded": base[7].expand(2, 3),
        "scalar": base[3],
        "empty": torch.zeros(0, 5),
        "no axis twice": torch.zeros(1, 1, 3)[:, 0],
        "parameter": torch.nn.Parameter(numbers),
        "bfloat16 view": numbers.to(torch.bfloat16)[:, 1:3],
    }


def write_tensors(out):
    content = tensors()
    directory = out / "pytorch-tensors"
    directory.mkdir(parents=True, exist_ok=True)
    for protocol in (2, 3, 4, 5):
        torch.save(content, directory / f"zip-{protocol}.bin", pickle_protocol=protocol)
        legacy = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": False}
        torch.save(content, directory / f"legacy-{protocol}.bin", **legacy)
    read = torch.load(directory / "zip-2.bin", weights_only=True)
    save_file({name: x.detach().clone().contiguous() for name, x in read.items()}, directory / "expected.safetensors")


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
    write_tensors(Path(sys.argv[1]))
