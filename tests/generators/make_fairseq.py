"""Write the golden checkpoints of fairseq 0.12.2 and of DinkyTrain, and fairseq's outputs with each.

    python -m generators.make_fairseq golden/checkpoints DINKYTRAIN

DINKYTRAIN is a clone of github.com/princeton-nlp/DinkyTrain. The script needs a separate environment, made by:

    pip install pip==23.2.1
    pip install torch==2.13.0 && pip install fairseq==0.12.2 numpy==1.26.4 transformers==4.48.3 safetensors

Every checkpoint comes from a run of `fairseq-train` over a few lines of words, which starts from parameters ~ N(0, 0.3)
and takes two steps; those of other versions are derived from one of them:

- `fairseq`: post-LN, with all of a training's state; `fairseq-classifier`: with a head for three classes;
- `fairseq-normalize-before`: pre-LN; `fairseq-prenorm`: pre-LN, no norm of the embeddings, and an untied decoder;
- `fairseq-args`: as before 0.12, `args` in place of `cfg`;
- `fairseq-2019`: the same in PyTorch's first file format, with names of 2019 and queries, keys and values in one array;
- `dinky-deepspeed`: with the names of DinkyTrain's layers of DeepSpeed; `dinky-huggingface`: as written by its script
  for Hugging Face. DinkyTrain's conversions are run on both.

Beside each stands `expected.safetensors`: input_ids, attention_mask, and fairseq's `features` (the last hidden states)
and `logits`, in float32. fairseq sets the states of padding to zero, so only outputs at tokens count.
"""

import argparse
import dataclasses
import json
import os
import random
import re
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # torch's default when fairseq was written
make_dataclass: Any = dataclasses._process_class


def with_hash(
    cls: type, init: bool, repr_: bool, eq: bool, order: bool, unsafe_hash: bool, *rest: Any, **more: Any
) -> Any:
    """Make a dataclass of fairseq or hydra hashable: Python 3.11 requires that of a default value."""
    unsafe_hash = unsafe_hash or cls.__module__.split(".")[0] in ("fairseq", "hydra")
    return make_dataclass(cls, init, repr_, eq, order, unsafe_hash, *rest, **more)


dataclasses._process_class = with_hash

import fairseq  # noqa: E402
from fairseq import checkpoint_utils  # noqa: E402
from fairseq.trainer import Trainer  # noqa: E402
from fairseq_cli import preprocess, train  # noqa: E402

VERSION = "0.12.2"
MODEL = ["--encoder-layers", "2", "--encoder-embed-dim", "12", "--encoder-ffn-embed-dim", "20",
         "--encoder-attention-heads", "3", "--max-positions", "20", "--dropout", "0.2"]  # fmt: skip
TRAINING = ["--cpu", "--optimizer", "adam", "--lr", "0.001", "--max-update", "2", "--batch-size", "8", "--seed", "5",
            "--no-epoch-checkpoints", "--no-progress-bar", "--num-workers", "0"]  # fmt: skip
MASKED_LM = ["text", "--task", "masked_lm", "--criterion", "masked_lm", "--tokens-per-sample", "20",
             "--sample-break-mode", "eos"]  # fmt: skip
CLASSES = ["pairs", "--task", "sentence_prediction", "--criterion", "sentence_prediction", "--num-classes", "3",
           "--classification-head-name", "sentence_classification_head", "--init-token", "0"]  # fmt: skip
WITHOUT_STATE = "--no-save-optimizer-state"
RUNS = {
    "fairseq": [*MASKED_LM, "--arch", "roberta_base"],
    "fairseq-classifier": [*CLASSES, "--arch", "roberta_base", WITHOUT_STATE],
    "fairseq-normalize-before": [*MASKED_LM, "--arch", "roberta_base", "--encoder-normalize-before", WITHOUT_STATE],
    "fairseq-prenorm": [*MASKED_LM, "--arch", "roberta_prenorm", "--untie-weights-roberta", WITHOUT_STATE],
}
CODES = [f"{x:03}" for x in range(60)]  # the words: a model reads their indices in the dictionary

# --- training -------------------------------------------------------------------------------------------------------


def command(main: Callable[[], None], *arguments: str) -> None:
    """Run one of fairseq's commands."""
    sys.argv = ["fairseq", *arguments]
    main()


def write_data() -> None:
    """Lines of words and their labels, as fairseq's commands read them."""
    draw = random.Random(5)
    for split, count in (("train", 30), ("valid", 8)):
        lines = [" ".join(draw.choices(CODES, k=draw.randint(3, 15))) for _ in range(count)]
        labels = [draw.choice("abc") for _ in range(count)]
        Path(f"{split}.txt").write_text("\n".join(lines) + "\n")
        Path(f"{split}.label").write_text("\n".join(labels) + "\n")
    Path("dict.txt").write_text("".join(f"{code} 1\n" for code in CODES))
    Path("labels.txt").write_text("a 1\nb 1\nc 1\n")
    splits = ["--trainpref", "train.txt", "--validpref", "valid.txt", "--only-source", "--srcdict", "dict.txt"]
    labels = ["--trainpref", "train.label", "--validpref", "valid.label", "--only-source", "--srcdict", "labels.txt"]
    command(preprocess.cli_main, *splits, "--destdir", "text")
    command(preprocess.cli_main, *splits, "--destdir", "pairs/input0")
    command(preprocess.cli_main, *labels, "--destdir", "pairs/label")


def start_from_random_parameters() -> None:
    """Replace fairseq's initial parameters: norms of 1 and biases of 0 would hide mistakes."""
    begin = Trainer.__init__

    def with_random(self: Trainer, cfg: Any, task: Any, model: torch.nn.Module, *rest: Any, **more: Any) -> None:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.3, generator=generator)
        begin(self, cfg, task, model, *rest, **more)

    Trainer.__init__ = with_random


# --- fairseq's outputs ----------------------------------------------------------------------------------------------


def expected(path: Path, data: str) -> dict[str, torch.Tensor]:
    """Inputs, and the outputs of the model that fairseq loads from a file."""
    overrides = {"data": data, "load_checkpoint_heads": True}
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides=overrides)
    model.eval()
    draw = np.random.default_rng(5)
    ids = torch.tensor(draw.integers(4, len(CODES) + 4, (3, 9)))
    ids[:, 0] = 0
    for row, length in enumerate((9, 6, 2)):
        ids[row, length - 1], ids[row, length:] = 2, 1
    head = next(iter(model.classification_heads), None)
    with torch.no_grad():
        features, _ = model(ids, features_only=True)
        logits, _ = model(ids, classification_head_name=head)
    arrays = {"input_ids": ids, "attention_mask": (ids != 1).long(), "features": features, "logits": logits}
    return {name: array.contiguous().clone() for name, array in arrays.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """True if two sets of outputs agree up to rounding, not counting padding."""
    real = a["attention_mask"].bool()
    pairs = [(a["features"][real], b["features"][real])]
    pairs.append((a["logits"][real], b["logits"][real]) if a["logits"].ndim == 3 else (a["logits"], b["logits"]))
    return all(torch.allclose(*pair, atol=1e-5) for pair in pairs)


# --- as other versions wrote ----------------------------------------------------------------------------------------

COPIES = re.compile(r"(\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)|\.version)$")
"""What 0.12.2 keeps beside the weights, for a faster kernel; nothing before has it."""


def with_args(state: dict[str, Any]) -> dict[str, Any]:
    """The state as fairseq up to 0.10 wrote it."""
    model = {name: weight for name, weight in state["model"].items() if not COPIES.search(name)}
    kept = {name: state[name] for name in ("optimizer_history", "extra_state")}
    return {"args": state["cfg"]["model"], "model": type(state["model"])(model), **kept}


def of_2019(state: dict[str, Any]) -> dict[str, Any]:
    """The state as fairseq 0.8 wrote it."""
    known = ("arch", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads",
             "activation_fn", "pooler_activation_fn", "dropout", "max_positions", "task", "criterion", "data",
             "num_classes", "init_token", "classification_head_name")  # fmt: skip
    args = argparse.Namespace(**{name: getattr(state["cfg"]["model"], name) for name in known})
    before, model = with_args(state), {}
    for name, weight in before["model"].items():
        name = name.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm")
        if "q_proj" in name:
            parts = [state["model"][name.replace("decoder.", "encoder.", 1).replace("q_proj", p)] for p in QKV]
            model[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif not re.search("[kv]_proj", name):
            model[name] = weight
    return {**before, "args": args, "model": type(state["model"])(model)}


QKV = ("q_proj", "k_proj", "v_proj")
DEEPSPEED = {
    "self_attn.out_proj.weight": "attn_ow", "self_attn.out_proj.bias": "attn_ob",
    "self_attn_layer_norm.weight": "norm_w", "self_attn_layer_norm.bias": "norm_b",
    "fc1.weight": "inter_w", "fc1.bias": "inter_b", "fc2.weight": "output_w", "fc2.bias": "output_b",
    "final_layer_norm.weight": "attn_nw", "final_layer_norm.bias": "attn_nb",
}  # fmt: skip


def of_deepspeed(state: dict[str, Any]) -> dict[str, Any]:
    """The state as DinkyTrain writes it with DeepSpeed's layers."""
    model = {}
    for name, weight in state["model"].items():
        layer, end = re.fullmatch(r"(.*\.layers\.\d+\.)?(.*)", name).groups()
        if not layer:
            model[name] = weight
        elif "q_proj" in end:
            parts = [state["model"][name.replace("q_proj", part)] for part in QKV]
            model[f"{layer}attn_qkv{end.split('.')[-1][0]}"] = torch.cat(parts)
        elif end in DEEPSPEED:
            model[layer + DEEPSPEED[end]] = weight
    args = argparse.Namespace(**vars(state["cfg"]["model"]))
    args.arch, args._name, args.deepspeed_cuda_kernel = "deepspeed_roberta_base", "deepspeed_roberta_base", True
    cfg = {**state["cfg"], "model": args}
    return {**state, "cfg": cfg, "model": type(state["model"])(model)}


def check_deepspeed(dinkytrain: Path, path: Path, wanted: dict[str, torch.Tensor]) -> None:
    """Convert the file back by DinkyTrain's script, and run it without the marks that fairseq does not know."""
    script = runpy.run_path(str(dinkytrain / "scripts/convert_dsfs_ckpt_to_fs_ckpt.py"))
    state = torch.load(path)
    state["cfg"]["task"] = argparse.Namespace(**state["cfg"]["task"])
    torch.save(state, "marked.pt")
    script["convert_dsfs_ckpt_to_fs_ckpt"]("marked.pt", "back.pt")
    state = torch.load("back.pt")
    state["cfg"]["task"] = vars(state["cfg"]["task"])
    for part in ("common", "task"):
        state["cfg"][part] = {name: x for name, x in state["cfg"][part].items() if not name.startswith("deepspeed")}
    torch.save(state, "back.pt")
    assert same(expected(Path("back.pt"), "text"), wanted)


def write_huggingface(
    directory: Path, dinkytrain: Path, state: dict[str, Any], wanted: dict[str, torch.Tensor]
) -> None:
    """Write the files of DinkyTrain's script for Hugging Face: its model, and Roberta's configuration."""
    from transformers import RobertaConfig

    sys.path.insert(0, str(dinkytrain))
    from huggingface.modeling_roberta_prelayernorm import RobertaForMaskedLM

    config = RobertaConfig(vocab_size=len(CODES) + 5, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
                           intermediate_size=20, max_position_embeddings=22, type_vocab_size=1,
                           layer_norm_eps=1e-5, attn_implementation="eager")  # fmt: skip
    model = RobertaForMaskedLM(config).eval()
    weights = {ours: state["model"][theirs] for ours, theirs in huggingface_names(2).items()}
    lacking, _ = model.load_state_dict(weights, strict=False)
    assert all(re.search("attention.self.LayerNorm|token_type_embeddings|position_ids", x) for x in lacking), lacking
    model.roberta.embeddings.token_type_embeddings.weight.data.zero_()
    with torch.no_grad():
        out = model(wanted["input_ids"], attention_mask=wanted["attention_mask"], output_hidden_states=True)
        features = model.roberta(wanted["input_ids"], attention_mask=wanted["attention_mask"])[0]
    assert same({**wanted, "features": features, "logits": out.logits}, wanted)
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    config.architectures = ["RobertaForMaskedLM"]
    (directory / "config.json").write_text(json.dumps(config.to_diff_dict(), indent=2, sort_keys=True) + "\n")


def huggingface_names(layers: int) -> dict[str, str]:
    """fairseq's name for each parameter of DinkyTrain's model, as its script copies them."""
    body, source = "roberta.", "encoder.sentence_encoder."
    modules = {
        f"{body}embeddings.word_embeddings": f"{source}embed_tokens",
        f"{body}embeddings.position_embeddings": f"{source}embed_positions",
        f"{body}embeddings.LayerNorm": f"{source}layernorm_embedding",
        f"{body}LayerNorm": f"{source}layer_norm",
        "lm_head.dense": "encoder.lm_head.dense",
        "lm_head.layer_norm": "encoder.lm_head.layer_norm",
        "lm_head.decoder": "encoder.lm_head",
    }
    parts = {
        "attention.self.query": "self_attn.q_proj", "attention.self.key": "self_attn.k_proj",
        "attention.self.value": "self_attn.v_proj", "attention.output.dense": "self_attn.out_proj",
        "attention.LayerNorm": "self_attn_layer_norm", "intermediate.dense": "fc1",
        "intermediate.LayerNorm": "final_layer_norm", "output.dense": "fc2",
    }  # fmt: skip
    for i in range(layers):
        modules |= {f"{body}encoder.layer.{i}.{ours}": f"{source}layers.{i}.{own}" for ours, own in parts.items()}
    names = {f"{ours}.{kind}": f"{own}.{kind}" for ours, own in modules.items() for kind in ("weight", "bias")}
    names = {ours: own for ours, own in names.items() if "embeddings.bias" not in ours}
    return {**names, "lm_head.bias": "encoder.lm_head.bias"}


# --- all of them ----------------------------------------------------------------------------------------------------


def main(out: Path, dinkytrain: Path) -> None:
    """Write every checkpoint with its expected outputs below a directory."""
    assert fairseq.__version__ == VERSION, fairseq.__version__
    write_data()
    start_from_random_parameters()
    states, outputs = {}, {}
    for name, arguments in RUNS.items():
        command(train.cli_main, *arguments, *MODEL, *TRAINING, "--save-dir", name)
        path = Path(name, "checkpoint_last.pt")
        states[name], outputs[name] = torch.load(path), expected(path, arguments[0])
        shutil.copy(path, write_expected(out / name, outputs[name]) / "model.pt")
    made = {
        "fairseq-args": ("fairseq", with_args, {}),
        "fairseq-2019": ("fairseq-classifier", of_2019, {"_use_new_zipfile_serialization": False}),
        "dinky-deepspeed": ("fairseq-normalize-before", of_deepspeed, {}),
    }
    for name, (source, turn, how) in made.items():
        path = write_expected(out / name, outputs[source]) / "model.pt"
        torch.save(turn(states[source]), path, **how)
        if name == "dinky-deepspeed":
            check_deepspeed(dinkytrain, path, outputs[source])
        else:
            assert same(expected(path, RUNS[source][0]), outputs[source])
    source = "fairseq-normalize-before"
    directory = write_expected(out / "dinky-huggingface", outputs[source])
    write_huggingface(directory, dinkytrain, states[source], outputs[source])


def write_expected(directory: Path, outputs: dict[str, torch.Tensor]) -> Path:
    """Write a checkpoint's expected outputs into a new directory for it."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(outputs, directory / "expected.safetensors")
    return directory


if __name__ == "__main__":
    target, clone = (Path(argument).absolute() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)  # so that the files hold no path of this machine
        main(target, clone)
