"""Write what libraries around transformers 4 give for the settings of `engine_cases.py`.

    python -m generators.make_engines_huggingface

writes `curated-transformers`, `pytorch-transformers`, `bertviz`, `better-transformer` and `sentence-transformers`. It
needs torch 2.13.0 (the CPU build), transformers 4.48.3, numpy, safetensors, and

    pip install --no-deps curated-transformers==2.0.1 curated-tokenizers==2.0.1 pytorch-transformers==1.2.0 \
        optimum==1.23.3 sentence-transformers==3.4.1 bertviz==1.4.0
    pip install boto3 sacremoses scikit-learn catalogue coloredlogs pillow ipython==8.30.0
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytorch_transformers
import tokenizers
import torch
import transformers
from bertviz.transformers_neuron_view import modeling_roberta
from curated_transformers import models as curated
from curated_transformers.layers import AttentionMask
from optimum.bettertransformer import BetterTransformer
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as parts

from generators import engine_cases
from generators.engine_cases import FAMILIES, LABELS, Candidates, setting
from generators.engine_torch import FIRST, ONE, STEPS, array, inputs, outputs, record, tensors
from generators.make_engines_transformers import build

# --- curated-transformers -------------------------------------------------------------------------------------------

CURATED = {
    r"embeddings\.inner\.piece_embeddings": "embeddings.word_embeddings",
    r"embeddings\.inner\.position_embeddings": "embeddings.position_embeddings",
    r"embeddings\.inner\.type_embeddings": "embeddings.token_type_embeddings",
    r"embeddings\.inner\.embed_output_layer_norm": "embeddings.LayerNorm",
    r"layers\.(\d+)": r"encoder.layer.\1",
    r"layers\.(\d+)\.mha\.(query|key|value)": r"encoder.layer.\1.attention.self.\2",
    r"layers\.(\d+)\.mha\.attention_scorer": r"encoder.layer.\1.attention.self",
    r"layers\.(\d+)\.mha\.output": r"encoder.layer.\1.attention.output.dense",
    r"layers\.(\d+)\.attn_residual_layer_norm": r"encoder.layer.\1.attention.output.LayerNorm",
    r"layers\.(\d+)\.ffn\.intermediate": r"encoder.layer.\1.intermediate.dense",
    r"layers\.(\d+)\.ffn\.activation": r"encoder.layer.\1.intermediate",
    r"layers\.(\d+)\.ffn\.output": r"encoder.layer.\1.output.dense",
    r"layers\.(\d+)\.ffn_residual_layer_norm": r"encoder.layer.\1.output.LayerNorm",
}
ENCODERS = {
    "roberta": curated.RoBERTaEncoder,
    "xlm-roberta": curated.XLMREncoder,
    "camembert": curated.CamemBERTEncoder,
}


def curated_transformers() -> Candidates:
    """Its encoders, whose attention gives heads unmerged. Each family with either padding."""
    found = Candidates("curated-transformers", "2.0.1")
    for (family, kind), padding in itertools.product(ENCODERS.items(), ("right", "left", "none")):
        name = setting(family, padding=padding)
        model = kind(kind.config_from_hf(engine_cases.config(name)))
        weights = tensors(engine_cases.parameters(name))
        held = kind.state_dict_from_hf({key: x for key, x in weights.items() if "pooler" not in key})
        model.load_state_dict(held)
        given = inputs(name)
        full = name == setting()
        kept = "|".join(CURATED) if full else r"layers\.0\.mha\.attention_scorer|layers\.1"
        mask = AttentionMask(given["attention_mask"].bool())
        values, output = record(model.eval(), kept, given["input_ids"], mask)
        values["last_hidden_state"] = array(output.last_hidden_layer_state)
        found.add(f"curated-transformers/{name}", name, values, names=CURATED)
    return found


# --- pytorch-transformers -------------------------------------------------------------------------------------------


def pytorch_transformers_1() -> Candidates:
    """The library before transformers. Its positions count places, which with pads at the left is wrong."""
    found = Candidates("pytorch-transformers", "1.2.0")
    kinds = {
        "encoder": pytorch_transformers.RobertaModel,
        "masked_lm": pytorch_transformers.RobertaForMaskedLM,
        "sequence_classification": pytorch_transformers.RobertaForSequenceClassification,
    }
    for (head, kind), padding in itertools.product(kinds.items(), ("right", "none", "left")):
        name = setting(head=head, padding=padding)
        told = engine_cases.config(name)
        config = pytorch_transformers.RobertaConfig(vocab_size_or_config_json_file=told["vocab_size"])
        for key, value in told.items():
            setattr(config, key, value)
        config.num_labels = LABELS
        model = kind(config)
        held = engine_cases.with_prefix(name)
        held.pop("lm_head.decoder.bias", None)
        missing, unexpected = model.load_state_dict(tensors(held), strict=False)
        assert not unexpected, unexpected
        assert all("pooler" in key for key in missing), missing  # which no head here reads
        kept = {setting(): STEPS, setting(padding="left"): FIRST}.get(name, ONE)
        values, output = record(model.eval(), kept, **inputs(name))
        last = ("last_hidden_state", "pooler_output") if head == "encoder" else ("logits",)
        values.update({key: array(x) for key, x in zip(last, output, strict=False)})
        mistakes = ["positions-by-place"] if padding == "left" else []
        found.add(f"pytorch-transformers/{name}", name, values, mistakes=mistakes)
    return found


# --- bertviz --------------------------------------------------------------------------------------------------------


def by_bertviz() -> Candidates:
    """The model of its neuron view, whose positions count places too."""
    found = Candidates("bertviz", "1.4.0")
    for padding in ("right", "none", "left"):
        name = setting(padding=padding)
        told = engine_cases.config(name)
        config = modeling_roberta.RobertaConfig(vocab_size_or_config_json_file=told["vocab_size"])
        for key, value in told.items():
            setattr(config, key, value)
        model = modeling_roberta.RobertaModel(config)
        model.load_state_dict(tensors(engine_cases.with_prefix(name)))
        values, output = record(model.eval(), FIRST if padding == "right" else ONE, **inputs(name))
        values |= {"last_hidden_state": array(output[0]), "pooler_output": array(output[1])}
        mistakes = ["positions-by-place"] if padding == "left" else []
        found.add(f"bertviz/{name}", name, values, mistakes=mistakes)
    return found


# --- BetterTransformer ----------------------------------------------------------------------------------------------


def better_transformer() -> Candidates:
    """optimum's, by torch's fused encoder layers, which give nothing on the way, and need an even number of heads."""
    found = Candidates("better-transformer", "1.23.3")
    heads = ("encoder", "masked_lm", "sequence_classification", "token_classification")
    for family, head, padding in itertools.product(("xlm-roberta", "camembert"), heads, ("right", "none")):
        name = setting(family, head, padding)
        model = BetterTransformer.transform(build(name, "eager"))
        with torch.no_grad():
            found.add(f"better-transformer/{name}", name, outputs(model(**inputs(name))))
    return found


# --- sentence-transformers ------------------------------------------------------------------------------------------


def sentence_transformers() -> Candidates:
    """A model in its first module, under the prefix `0.auto_model.`, by either attention."""
    found = Candidates("sentence-transformers", "3.4.1")
    names = {r"0\.auto_model\.(.*)": r"\1"}
    for family, padding, attention in itertools.product(FAMILIES, ("right", "left"), ("eager", "sdpa")):
        name = setting(family, padding=padding)
        with tempfile.TemporaryDirectory() as folder:
            engine_cases.write(name, folder)
            tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 3, "<pad>": 1}, "<unk>"))
            tokenizer.save(str(Path(folder) / "tokenizer.json"))
            words = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
            words.save_pretrained(folder)
            first = parts.Transformer(folder, model_args={"attn_implementation": attention})
        pooling = parts.Pooling(first.get_word_embedding_dimension(), "cls")
        model = SentenceTransformer(modules=[first, pooling], device="cpu").eval()
        full = name == setting() and attention == "eager"
        values, output = record(model, FIRST if full else r".*layer\.1", inputs(name))
        values["last_hidden_state"] = array(output["token_embeddings"])
        found.add(f"sentence-transformers/{attention}/{name}", name, values, names=names)
    return found


def main() -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    engines = (curated_transformers, pytorch_transformers_1, by_bertviz, better_transformer, sentence_transformers)
    for engine in engines:
        engine().save()


if __name__ == "__main__":
    main()
