"""Write what torchtext and texar give for the settings of `engine_cases.py`, as shipped and mended.

    python -m generators.make_engines_torchtext

needs Python 3.11 and

    pip install torch==2.3.0 torchtext==0.18.0 numpy==1.26.4 safetensors
    pip install --no-deps texar-pytorch==0.1.4 asyml_utilities mypy_extensions funcsigs regex

Neither has token types, as fairseq has none: a port of Hugging Face's weights adds their row 0 to the words' rows.
"""

from __future__ import annotations

import itertools

import torch
import torchtext
from texar.torch.modules import RoBERTaEncoder

from generators import engine_cases
from generators.engine_cases import HIDDEN, INNER, LABELS, LAYERS, POSITIONS, UNKNOWN, VOCAB, Candidates, setting
from generators.engine_torch import NONE, array, inputs, record, tensors

torchtext.disable_torchtext_deprecation_warning()

from torchtext.models import RobertaClassificationHead, RobertaEncoderConf, RobertaModel  # noqa: E402

# --- torchtext ------------------------------------------------------------------------------------------------------

TORCHTEXT = {
    r"encoder\.transformer\.embedding_layer_norm": "embeddings.LayerNorm",
    r"encoder\.transformer\.layers\.layers\.(\d+)": r"encoder.layer.\1",
    r"encoder\.transformer\.layers\.layers\.(\d+)\.norm1": r"encoder.layer.\1.attention.output.LayerNorm",
    r"encoder\.transformer\.layers\.layers\.(\d+)\.linear1": r"encoder.layer.\1.intermediate.dense",
    r"encoder\.transformer\.layers\.layers\.(\d+)\.linear2": r"encoder.layer.\1.output.dense",
    r"encoder\.transformer\.layers\.layers\.(\d+)\.norm2": r"encoder.layer.\1.output.LayerNorm",
    r"head\.dense": "classifier.dense",
    r"head\.activation_fn": "classifier.tanh",
    r"head\.out_proj": "classifier.out_proj",
}
WORDS = {
    r"encoder\.transformer\.token_embedding": "embeddings.word_embeddings",
    r"encoder\.transformer\.positional_embedding": "embeddings.position_embeddings",
}
LAYER = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def with_types(weights: dict[str, torch.Tensor], folded: bool) -> torch.Tensor:
    """The words' rows, with the row of the token types."""
    words = weights["embeddings.word_embeddings.weight"]
    return words + weights["embeddings.token_type_embeddings.weight"] if folded else words


def torchtext_model(name: str, folded: bool, activation: type[torch.nn.Module]) -> torch.nn.Module:
    """torchtext's model with the setting's weights."""
    told, weights = engine_cases.config(name), tensors(engine_cases.parameters(name))
    heads = told["num_attention_heads"]
    conf = RobertaEncoderConf(VOCAB, HIDDEN, INNER, 1, POSITIONS, heads, LAYERS)
    classifies = name.split("/")[1] == "sequence_classification"
    head = RobertaClassificationHead(LABELS, HIDDEN, activation=activation) if classifies else None
    held = {
        "token_embedding.weight": with_types(weights, folded),
        "positional_embedding.embedding.weight": weights["embeddings.position_embeddings.weight"],
        "embedding_layer_norm.weight": weights["embeddings.LayerNorm.weight"],
        "embedding_layer_norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for i, kind in itertools.product(range(LAYERS), ("weight", "bias")):
        theirs, ours = f"layers.layers.{i}", f"encoder.layer.{i}"
        parts = [weights[f"{ours}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        held[f"{theirs}.self_attn.in_proj_{kind}"] = torch.cat(parts)
        for part, module in LAYER.items():
            held[f"{theirs}.{module}.{kind}"] = weights[f"{ours}.{part}.{kind}"]
    held = {f"encoder.transformer.{key}": x for key, x in held.items()}
    if classifies:
        held |= {key.replace("classifier", "head"): x for key, x in weights.items() if key.startswith("classifier")}
    model = RobertaModel(conf, head=head)
    model.load_state_dict(held)
    return model.eval()


def by_torchtext() -> Candidates:
    """By the fused path of nn.TransformerEncoder, which gives outputs alone, and without it.

    The fused path takes the first tokens of a row, as many as are no pads: with pads at the left these are others.
    """
    found = Candidates("torchtext", torchtext.__version__.split("+")[0])
    heads, paddings = ("encoder", "sequence_classification"), ("right", "left", "none")

    def add(title: str, name: str, folded: bool, fast: bool, *mistakes: str, activation: type = torch.nn.Tanh) -> None:
        torch.backends.mha.set_fastpath_enabled(fast)
        names = TORCHTEXT if folded else {**TORCHTEXT, **WORDS}
        full = "|".join(names)
        kept = NONE if fast else full if name.startswith("roberta") and name.endswith("right") else r".*layers\.1"
        values, output = record(torchtext_model(name, folded, activation), kept, inputs(name)["input_ids"])
        values["last_hidden_state" if "encoder" in name else "logits"] = array(output)
        found.add(f"torchtext/{title}/{name}", name, values, names=names, mistakes=mistakes)

    for head, padding in itertools.product(heads, paddings):
        for family in ("roberta", "xlm-roberta"):
            add("plain", setting(family, head, padding), True, False)
        for family in ("xlm-roberta", "camembert"):  # an odd number of heads takes no fused path
            name = setting(family, head, padding)
            add("fast", name, True, True, *([UNKNOWN] if padding == "left" else []))
    for name in (setting(), setting(padding="left")):
        add("shipped", name, False, False, "token-types-missing")
    add("shipped-fast", setting("xlm-roberta"), False, True, "token-types-missing")
    name = setting(head="sequence_classification")
    add("shipped", name, True, False, "classifier-relu", activation=torch.nn.ReLU)
    torch.backends.mha.set_fastpath_enabled(True)
    return found


# --- texar ----------------------------------------------------------------------------------------------------------

TEXAR = {
    r"encoder\.input_normalizer": "embeddings.LayerNorm",
    r"encoder\.self_attns\.(\d+)\.Q_dense": r"encoder.layer.\1.attention.self.query",
    r"encoder\.self_attns\.(\d+)\.K_dense": r"encoder.layer.\1.attention.self.key",
    r"encoder\.self_attns\.(\d+)\.V_dense": r"encoder.layer.\1.attention.self.value",
    r"encoder\.self_attns\.(\d+)\.O_dense": r"encoder.layer.\1.attention.output.dense",
    r"encoder\.poswise_layer_norm\.(\d+)": r"encoder.layer.\1.attention.output.LayerNorm",
    r"encoder\.poswise_networks\.(\d+)\._layers\.0": r"encoder.layer.\1.intermediate.dense",
    r"encoder\.poswise_networks\.(\d+)\._layers\.1": r"encoder.layer.\1.intermediate",
    r"encoder\.poswise_networks\.(\d+)\._layers\.2": r"encoder.layer.\1.output.dense",
    r"encoder\.output_layer_norm\.(\d+)": r"encoder.layer.\1.output.LayerNorm",
}


def texar_model(name: str, eps: float, positions_from: int) -> torch.nn.Module:
    """texar's model with the setting's weights; its positions count from 0, so it shall get the table from a row on."""
    heads, weights = engine_cases.config(name)["num_attention_heads"], tensors(engine_cases.parameters(name))

    def linear(rows: int, columns: int) -> dict:
        return {"type": "Linear", "kwargs": {"in_features": rows, "out_features": columns, "bias": True}}

    hparams = {
        "pretrained_model_name": None,
        "embed": {"dim": HIDDEN},
        "vocab_size": VOCAB,
        "position_embed": {"dim": HIDDEN},
        "position_size": POSITIONS - positions_from,
        "hidden_size": HIDDEN,
        "encoder": {
            "dim": HIDDEN,
            "num_blocks": LAYERS,
            "eps": eps,
            "use_bert_config": True,
            "multihead_attention": {"num_heads": heads, "num_units": HIDDEN, "output_dim": HIDDEN, "use_bias": True},
            "poswise_feedforward": {"layers": [linear(HIDDEN, INNER), {"type": "BertGELU"}, linear(INNER, HIDDEN)]},
        },
    }
    model = RoBERTaEncoder(hparams=hparams).eval()
    held = {
        "word_embedder._embedding": with_types(weights, True),
        "position_embedder._embedding": weights["embeddings.position_embeddings.weight"][positions_from:],
        "pooler.0.weight": weights["pooler.dense.weight"],
        "pooler.0.bias": weights["pooler.dense.bias"],
    }
    for i, kind in itertools.product(range(LAYERS), ("weight", "bias")):
        held[f"encoder.input_normalizer.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for theirs, ours in TEXAR.items():
            if r"(\d+)" in theirs and not theirs.endswith(r"\.1"):
                key = theirs.replace(r"(\d+)", str(i)).replace("\\.", ".")
                held[f"{key}.{kind}"] = weights[f"{ours.replace(chr(92) + '1', str(i))}.{kind}"]
    model.load_state_dict(held)
    return model


def by_texar() -> Candidates:
    """As shipped positions count from 0 and eps is 1e-12; its feed-forward part gives (B·L, F)."""
    found = Candidates("texar", "0.1.4")
    kinds = {
        "shipped": (1e-12, 0, ["positions-from-0", "eps-1e-12"]),
        "eps": (1e-12, 2, ["eps-1e-12"]),
        "positions": (1e-5, 0, ["positions-from-0"]),
        "mended": (1e-5, 2, []),
    }
    for (title, (eps, start, mistakes)), padding in itertools.product(kinds.items(), ("right", "none")):
        name = setting(padding=padding)
        given = inputs(name)
        lengths = given["attention_mask"].sum(1)
        full = padding == "right" and title in ("shipped", "mended")
        kept = "|".join(TEXAR) if full else r".*norm.*|.*networks\.0\._layers\.1"
        values, output = record(texar_model(name, eps, start), kept, given["input_ids"], lengths)
        values |= {"last_hidden_state": array(output[0]), "pooler_output": array(output[1])}
        found.add(f"texar/{title}/{name}", name, values, names=TEXAR, mistakes=mistakes)
    return found


def main() -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    by_torchtext().save()
    by_texar().save()


if __name__ == "__main__":
    main()
