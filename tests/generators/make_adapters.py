"""Write tiny LoRA adapters as peft saves them: `python -m generators.make_adapters golden/adapters`.

Made with torch 2.13.0, transformers 4.48.3, peft 0.14.0 and safetensors 0.8.0. Set HF_HUB_OFFLINE=1: peft asks the
hub for `base`, a masked language model. Beside each adapter stand the outputs of the model that peft loads from it,
with the adapter applied in each call and not merged. `whole` and `whole_dense` are state dicts of PeftModels, with
their modules' names.

In `saved_dense`, the classifier is saved whole and also has LoRA within, so that the file holds it under several names.
Its outputs are those of the model that was saved: this version of peft leaves the loaded classifier at random.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file

CONFIG = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 12, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
}  # fmt: skip
RANKS = {"r": 2, "lora_alpha": 3}

CASES = {
    "seq_cls": ("SequenceClassification", {"task_type": TaskType.SEQ_CLS, "target_modules": ["query", "value"]}),
    "token_cls": (
        "TokenClassification",
        {"task_type": TaskType.TOKEN_CLS, "target_modules": ["value", "intermediate.dense"], "bias": "all"},
    ),
    "patterns": (
        "MaskedLM",
        {
            "target_modules": r".*encoder.*\.(query|key|value|dense)",
            "rank_pattern": {r"layer\.1\.attention\.self\.query": 3, "roberta.encoder.layer.0.output.dense": 1},
            "alpha_pattern": {"key": 7, r"layer.\d.intermediate.dense": 0.5},
            "use_rslora": True,
        },
    ),
    "fan_in": ("MaskedLM", {"target_modules": ["query"], "fan_in_fan_out": True}),
    "embeddings": ("MaskedLM", {"target_modules": ["word_embeddings", "query"]}),
    "lora_bias": ("MaskedLM", {"target_modules": ["key", "value"], "lora_bias": True}),
    "lm_head": ("MaskedLM", {"target_modules": ["value"], "modules_to_save": ["lm_head"]}),
    "features": (
        None,
        {"task_type": TaskType.FEATURE_EXTRACTION, "target_modules": r"encoder.*\.dense", "bias": "lora_only"},
    ),
    "saved_dense": ("SequenceClassification", {"task_type": TaskType.SEQ_CLS, "target_modules": ["query", "dense"]}),
    "decoder": ("MaskedLM", {"target_modules": ["decoder"]}),
}
"""For each adapter, the ending of the base's class for it, and what differs from `RANKS`."""


def randomise(module, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape) * 0.3)


def outputs(model):
    ids = torch.tensor([[0, 5, 6, 7, 39, 2], [0, 8, 9, 2, 1, 1]])
    mask = (ids != 1).long()
    with torch.inference_mode():
        first = model.eval()(input_ids=ids, attention_mask=mask)[0]
    return {"input_ids": ids, "attention_mask": mask, "output": first}


def main(out):
    base = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**CONFIG))
    randomise(base, 0)
    base.save_pretrained(out / "base")
    # This version reads lm_head.bias as zeros unless it is saved under its other name, too.
    state = load_file(out / "base" / "model.safetensors")
    state["lm_head.decoder.bias"] = state["lm_head.bias"].clone()
    save_file(state, out / "base" / "model.safetensors", metadata={"format": "pt"})
    for index, (name, (ending, settings)) in enumerate(CASES.items()):
        made = getattr(transformers, "RobertaModel" if ending is None else f"RobertaFor{ending}")
        labels = {"num_labels": 3} if ending and ending.endswith("Classification") else {}
        model = get_peft_model(made.from_pretrained(out / "base", **labels), LoraConfig(**{**RANKS, **settings}))
        torch.manual_seed(index + 1)
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.requires_grad):
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
        model.peft_config["default"].base_model_name_or_path = "base"
        model.save_pretrained(out / name, safe_serialization=name != "token_cls")
        (out / name / "README.md").unlink()
        loaded = PeftModel.from_pretrained(made.from_pretrained(out / "base", **labels), out / name)
        expected = outputs(model if name == "saved_dense" else loaded)
        save_file(expected, out / name / "expected.safetensors")
        if name in ("seq_cls", "saved_dense"):
            write_whole(out / name.replace("seq_cls", "whole").replace("saved_", "whole_"), out / name, model)
    for file in out.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def write_whole(directory, adapter, model):
    directory.mkdir(exist_ok=True)
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, directory / "model.safetensors")
    config = json.loads((adapter.parent / "base" / "config.json").read_text())
    config |= {"architectures": ["RobertaForSequenceClassification"], "num_labels": 3}
    (directory / "config.json").write_text(json.dumps(config))
    for name in ("adapter_config.json", "expected.safetensors"):
        (directory / name).write_bytes((adapter / name).read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
