"""Write tiny encoder-decoders and what they generate: `python -m generators.make_generation golden/generation`.

Made with torch 2.13.0, transformers 4.48.3 and safetensors 0.8.0, with its "eager" attention. Beside each checkpoint
stands `expected.json`: for each of `RUNS`, the tokens of `generate` for each of `TEXTS`, one at a time; and for
`SAMPLED`, the scores of the first token. `expected.safetensors` has the logits and states of one call in float64.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import EncoderDecoderConfig, EncoderDecoderModel

from generators import GOLDEN

TEXTS = ["Anna Berg lives in Paris.", "In Berlin, it rains (often).", "My name is Wolfgang, and this is a longer text."]

SIZES = {
    "vocab_size": 479, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20,
    "max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
}  # fmt: skip

SUMMARY = {
    "max_length": 24, "min_length": 6, "num_beams": 4, "length_penalty": 2.0, "no_repeat_ngram_size": 3,
    "early_stopping": True,
}  # fmt: skip

MODELS = {
    # as google/roberta2roberta_L-24_cnn_daily_mail: tied, with settings in config.json
    "tied": ("roberta", {}, {}, {"tie_encoder_decoder": True, **SUMMARY}),
    "untied": ("camembert", {"num_hidden_layers": 1}, {"hidden_act": "relu"}, {"max_length": 12}),
    "uneven": ("xlm-roberta", {}, {"num_hidden_layers": 1, "num_beams": 2}, {"tie_encoder_decoder": True}),
    "prelayernorm": ("roberta-prelayernorm", {}, {"tie_word_embeddings": False}, {"eos_token_id": [2, 9, 400]}),
}
"""For each model: its family, the fields of its encoder and its decoder that differ from SIZES, and those of both."""

ENDS = {"tied": 5.2, "untied": 4.0, "uneven": 2.0, "prelayernorm": 3.0}
"""The bias of the end-of-sequence token, so that texts of several lengths end."""

RUNS = [
    {},
    {"num_beams": 1, "max_new_tokens": 30},
    {"num_beams": 1, "max_new_tokens": 30, "repetition_penalty": 1.7},
    {"num_beams": 1, "max_new_tokens": 30, "no_repeat_ngram_size": 1, "min_new_tokens": 12},
    {"num_beams": 3, "max_new_tokens": 20, "early_stopping": False, "length_penalty": 0.0},
    {"num_beams": 3, "max_new_tokens": 20, "early_stopping": False, "length_penalty": 2.0},
    {"num_beams": 3, "max_new_tokens": 20, "early_stopping": "never", "length_penalty": 1.5},
    {"num_beams": 3, "max_new_tokens": 20, "early_stopping": "never", "length_penalty": -0.5},
    {"num_beams": 5, "max_new_tokens": 20, "early_stopping": True, "min_new_tokens": 5},
    {"num_beams": 2, "max_new_tokens": 15, "repetition_penalty": 0.7, "no_repeat_ngram_size": 2},
    {"num_beams": 4, "max_new_tokens": 9, "forced_bos_token_id": 30, "forced_eos_token_id": 2},
    {"num_beams": 2, "max_new_tokens": 1},
    # a first token that is padding, which positions count all the same
    {"num_beams": 2, "max_new_tokens": 8, "decoder_start_token_id": 1},
]

SAMPLED = [
    {"temperature": 0.7, "top_k": 0},
    {"temperature": 2.0, "top_k": 7},
    {"temperature": 1.3, "top_k": 0, "top_p": 0.6},
    {"temperature": 0.9, "top_k": 40, "top_p": 0.3, "repetition_penalty": 1.4},
]


def build(end, family, encoder, decoder, fields):
    """An encoder-decoder with random weights, whose logits differ enough for sentences of several lengths."""
    config = transformers.AutoConfig.for_model
    halves = (
        config(family, **{**SIZES, **encoder}),
        config(family, **{**SIZES, **decoder}, is_decoder=True, add_cross_attention=True),
    )
    whole = {"decoder_start_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, **fields}
    made = EncoderDecoderConfig.from_encoder_decoder_configs(*halves, **whole)
    made._attn_implementation = "eager"
    model = EncoderDecoderModel(made)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            norm = "norm" in name.lower()
            scale = 0.1 if norm else 3.0 if "position" in name else 1.0
            parameter.copy_(torch.randn(parameter.shape) * scale + (norm and name.endswith("weight")))
        model.decoder.lm_head.layer_norm.weight *= 0.5
        model.decoder.lm_head.bias *= 0.5
        model.decoder.lm_head.bias[2] = end
    return model.eval()


def tokens(model, tokenizer, text, **options):
    ids = torch.tensor([tokenizer.encode(text).ids])
    return model.generate(ids, attention_mask=torch.ones_like(ids), **options)


def all_tokens(model, tokenizer, options):
    """The tokens for each text, which must not depend on rounding: they are the same in float64."""
    first, second = (
        [tokens(half, tokenizer, text, **options)[0].tolist() for text in TEXTS]
        for half in (model.double(), model.float())
    )
    assert first == second, options
    return second


def first_scores(model, tokenizer, text, options):
    """The processed logits of the first sampled token, without those that are not allowed."""
    torch.manual_seed(0)
    made = tokens(
        model, tokenizer, text, do_sample=True, num_beams=1, max_new_tokens=1, return_dict_in_generate=True,
        output_scores=True, **options,
    )  # fmt: skip
    (scores,) = made.scores[0]
    return {int(i): float(scores[i]) for i in torch.isfinite(scores).nonzero()}


def main(out):
    from tokenizers import Tokenizer

    shutil.copy(GOLDEN / "tasks_tokenizer.json", out / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    for name, row in MODELS.items():
        directory, safe = out / name, name != "untied"
        model = build(ENDS[name], *row)
        model.save_pretrained(directory, safe_serialization=safe)
        if safe:  # this version reads lm_head.bias as zeros unless it is saved under its other name, too
            state = load_file(directory / "model.safetensors")
            state["decoder.lm_head.decoder.bias"] = state["decoder.lm_head.bias"].clone()
            save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
        if name == "tied":
            (directory / "generation_config.json").unlink(missing_ok=True)
            config = json.loads((directory / "config.json").read_text())
            (directory / "config.json").write_text(json.dumps({**config, **SUMMARY}, indent=1))
        model = EncoderDecoderModel.from_pretrained(directory, attn_implementation="eager").eval()
        runs = [{"options": options, "tokens": all_tokens(model, tokenizer, options)} for options in RUNS]
        sampled = [
            {"options": options, "scores": first_scores(model, tokenizer, TEXTS[0], options)} for options in SAMPLED
        ]
        expected = {"texts": TEXTS, "runs": runs, "sampled": sampled}
        (directory / "expected.json").write_text(json.dumps(expected) + "\n")
        ids = {"input_ids": torch.tensor([[0, 5, 6, 7, 39, 2], [0, 8, 9, 2, 1, 1]])}
        ids |= {
            "attention_mask": (ids["input_ids"] != 1).long(),
            "decoder_input_ids": torch.tensor([[0, 9, 30], [0, 4, 7]]),
        }
        with torch.inference_mode():
            outputs = model.double()(**ids)
        ids |= {"logits": outputs.logits, "encoder_last_hidden_state": outputs.encoder_last_hidden_state}
        save_file(ids, directory / "expected.safetensors")
    for file in out.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    Path(sys.argv[1]).mkdir(exist_ok=True)
    main(Path(sys.argv[1]))
