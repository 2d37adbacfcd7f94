"""Write what fairseq gives for the settings of `engine_cases.py`.

    python -m generators.make_engines_fairseq

needs Python 3.8 and

    pip install pip==23.2.1
    pip install torch==2.0.1 fairseq==0.12.2 numpy==1.23.5 safetensors==0.4.3

fairseq has no token types: their row 0 is added to the words' rows, so that the words' rows differ from ours. Its
states within the encoder are time first, (L, B, D). States of padding are zero.
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel

from generators import engine_cases
from generators.engine_cases import HIDDEN, INNER, LABELS, LAYERS, POSITIONS, VOCAB, Candidates, setting
from generators.engine_torch import array, inputs, record, tensors

NAMES = {
    r"encoder\.sentence_encoder\.layernorm_embedding": "embeddings.LayerNorm",
    r"encoder\.sentence_encoder\.layers\.(\d+)": r"encoder.layer.\1",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.self_attn\.q_proj": r"encoder.layer.\1.attention.self.query",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.self_attn\.k_proj": r"encoder.layer.\1.attention.self.key",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.self_attn\.v_proj": r"encoder.layer.\1.attention.self.value",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.self_attn\.out_proj": r"encoder.layer.\1.attention.output.dense",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.self_attn_layer_norm": r"encoder.layer.\1.attention.output.LayerNorm",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.fc2": r"encoder.layer.\1.output.dense",
    r"encoder\.sentence_encoder\.layers\.(\d+)\.final_layer_norm": r"encoder.layer.\1.output.LayerNorm",
    r"encoder\.lm_head\.dense": "lm_head.dense",
    r"encoder\.lm_head\.layer_norm": "lm_head.layer_norm",
    r"classification_heads\.x\.dense": "classifier.dense",
    r"classification_heads\.x\.out_proj": "classifier.out_proj",
}


def build(name: str, folded: bool) -> RobertaModel:
    """fairseq's model with the setting's weights."""
    words = Dictionary()
    for i in range(VOCAB - len(words) - 1):
        words.add_symbol(str(i))
    words.add_symbol("<mask>")
    told, weights = engine_cases.config(name), tensors(engine_cases.parameters(name))
    args = Namespace(
        encoder_layers=LAYERS,
        encoder_embed_dim=HIDDEN,
        encoder_ffn_embed_dim=INNER,
        encoder_attention_heads=told["num_attention_heads"],
        max_positions=POSITIONS - 2,
        tokens_per_sample=POSITIONS - 2,
        dropout=0.0,
        pooler_dropout=0.0,
        arch="roberta_base",
    )
    task = SimpleNamespace(source_dictionary=words)
    from fairseq.models.roberta.model import base_architecture

    base_architecture(args)
    model = RobertaModel.build_model(args, task)
    if "classification" in name:
        model.register_classification_head("x", num_classes=LABELS)
    table = weights["embeddings.word_embeddings.weight"]
    if folded:
        table = table + weights["embeddings.token_type_embeddings.weight"]
    held = {
        "encoder.sentence_encoder.embed_tokens.weight": table,
        "encoder.sentence_encoder.embed_positions.weight": weights["embeddings.position_embeddings.weight"],
    }
    for theirs, ours in NAMES.items():
        for i, kind in itertools.product(range(LAYERS), ("weight", "bias")):
            key = theirs.replace("\\.", ".").replace(r"(\d+)", str(i)) + "." + kind
            source = ours.replace("\\1", str(i)) + "." + kind
            if source in weights:
                held[key] = weights[source]
    if "masked_lm" in name:  # tied to the words' rows without the types: only they may not be folded
        held["encoder.lm_head.weight"] = weights["embeddings.word_embeddings.weight"]
        held["encoder.lm_head.bias"] = weights["lm_head.bias"]
        model.encoder.lm_head.weight = torch.nn.Parameter(model.encoder.lm_head.weight.clone())
    missing, unexpected = model.load_state_dict(held, strict=False)
    assert not unexpected, unexpected
    assert all("lm_head" in x and "masked_lm" not in name for x in missing), missing
    return model.eval()


def main() -> None:
    """Rewrite the file; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    found = Candidates("fairseq", "0.12.2")
    heads = ("encoder", "masked_lm", "sequence_classification")
    for family, head, padding in itertools.product(("roberta", "xlm-roberta"), heads, ("right", "left", "none")):
        if head == "sequence_classification" and padding == "left":
            continue  # the first position is padding there, whose state fairseq sets to zero
        name = setting(family, head, padding)
        full = family == "roberta" and padding == "right" and head != "sequence_classification"
        kept = "|".join(NAMES) if full else r".*\.layers\.1|.*layernorm_embedding"
        if head == "encoder":
            call = {"features_only": True}
        else:
            call = {"classification_head_name": "x"} if head == "sequence_classification" else {}
        for folded in (True, False):
            if not folded and not full:
                continue
            values, output = record(build(name, folded), kept, inputs(name)["input_ids"], **call)
            values["last_hidden_state" if head == "encoder" else "logits"] = array(output[0])
            title = "folded" if folded else "shipped"
            mistakes = [] if folded else ["token-types-missing"]
            found.add(f"fairseq/{title}/{name}", name, values, names=NAMES, mistakes=mistakes)
    found.save()


if __name__ == "__main__":
    main()
