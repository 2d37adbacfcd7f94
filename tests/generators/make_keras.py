"""Write the golden presets of KerasHub and keras-nlp, each with the outputs of that library.

    python -m generators.make_keras golden/checkpoints

needs either keras 3.15.1 with keras-hub 0.32.0, or keras 3.6.0 with keras-nlp 0.15.1, in separate environments; and
jax, safetensors and sentencepiece. It writes the presets of the library that it finds:

    keras_masked_lm          keras-hub: RobertaMaskedLM with its byte-level BPE; 11 layers, because sorted as text
                             `transformer_encoder_10` would come before `transformer_encoder_2`
    keras_xlm_classifier     keras-hub: XLMRobertaTextClassifier with its sentencepiece model
    keras_nlp_classifier     keras-nlp: RobertaTextClassifier with the same BPE as the first

Every parameter is random, from N(0, 0.3²). `expected.safetensors` beside the preset holds `input_ids` and
`attention_mask`, padded on the right, `last_hidden_state` of the backbone and `logits` of the task, all in float32. Its
metadata holds the texts from which the preset's preprocessor made the ids.
"""

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from safetensors.numpy import save_file

VERSIONS = {"keras_hub": ("3.15.1", "0.32.0"), "keras_nlp": ("3.6.0", "0.15.1")}
SIZES = {"num_heads": 3, "hidden_dim": 6, "intermediate_dim": 10, "max_sequence_length": 24}
LETTERS = "abcdefghijklmnopqrstuvwxyz.,?"
MERGES = ("t h", "th e", "Ġ the", "Ġ c", "Ġc a", "Ġca t", "Ġ s", "a t", "Ġs at", "o n", "Ġ on", "n d", "a nd", "Ġ and")
TEXTS = ("the cat sat on the<mask>.", "a dog?", "zebras, cats and quick brown foxes")
SENTENCES = ("the cat sat on the mat.", "a dog and a cat.", "the quick brown fox jumps over the lazy dog.")


def vocabulary() -> dict[str, int]:
    """A vocabulary in RoBERTa's order: special tokens, merged pieces, letters, and the mask at the end."""
    made = [merge.replace(" ", "") for merge in MERGES]
    names = ["<s>", "<pad>", "</s>", "<unk>", *made, *LETTERS, "Ġ", "<mask>"]
    return {name: place for place, name in enumerate(names)}


def sentencepiece_model() -> bytes:
    """A model of the sentences, with the special tokens where XLM-RoBERTa's has them."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=36,
        normalization_rule_name="identity",  # the table of another rule has 200 kB
        num_threads=1,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    return model.getvalue()


def randomize(model: keras.Model) -> None:
    """Replace every parameter of a model by random numbers from a frozen stream."""
    random = np.random.RandomState(5)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))


def save(task: keras.Model, inputs: dict[str, Any], directory: Path, texts: Sequence[str]) -> None:
    """Save a preset, and beside it the outputs of its backbone and its head for the inputs."""
    randomize(task)
    inputs = {name: np.array(value, np.int32) for name, value in inputs.items()}
    hidden = task.backbone({name: inputs[name] for name in ("token_ids", "padding_mask")})
    expected = {
        "input_ids": inputs["token_ids"].astype(np.int64),
        "attention_mask": inputs["padding_mask"].astype(np.int64),
        "last_hidden_state": np.array(hidden, np.float32),
        "logits": np.array(task(inputs), np.float32),
    }
    task.save_to_preset(str(directory))
    save_file(expected, directory / "expected.safetensors", metadata={"texts": json.dumps(texts)})


def make_masked_lm(library: Any, directory: Path) -> None:
    models = library.models
    tokenizer = models.RobertaTokenizer(vocabulary=vocabulary(), merges=list(MERGES))
    ids = models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=20)(list(TEXTS))
    backbone = models.RobertaBackbone(vocabulary_size=len(vocabulary()), num_layers=11, **SIZES)
    task = models.RobertaMaskedLM(backbone, models.RobertaMaskedLMPreprocessor(tokenizer, sequence_length=20))
    everywhere = np.tile(np.arange(20), (len(TEXTS), 1))
    save(task, {**ids, "mask_positions": everywhere}, directory, TEXTS)


def make_xlm_classifier(library: Any, directory: Path) -> None:
    models = library.models
    tokenizer = models.XLMRobertaTokenizer(proto=sentencepiece_model())
    preprocessor = models.XLMRobertaTextClassifierPreprocessor(tokenizer, sequence_length=16)
    backbone = models.XLMRobertaBackbone(vocabulary_size=tokenizer.vocabulary_size(), num_layers=1, **SIZES)
    task = models.XLMRobertaTextClassifier(backbone, num_classes=4, preprocessor=preprocessor)
    save(task, preprocessor(list(SENTENCES[:2])), directory, SENTENCES[:2])


def make_classifier(library: Any, directory: Path) -> None:
    models = library.models
    tokenizer = models.RobertaTokenizer(vocabulary=vocabulary(), merges=list(MERGES))
    preprocessor = models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=20)
    backbone = models.RobertaBackbone(vocabulary_size=len(vocabulary()), num_layers=1, **SIZES)
    task = models.RobertaTextClassifier(backbone, num_classes=5, preprocessor=preprocessor)
    save(task, preprocessor(list(TEXTS)), directory, TEXTS)


def main() -> None:
    try:
        import keras_hub as library
    except ImportError:
        import keras_nlp as library
    versions = (keras.__version__, library.__version__)
    if versions != VERSIONS[library.__name__]:
        raise SystemExit(f"{library.__name__} is wanted with keras in versions {VERSIONS}, not {versions}")
    root = Path(sys.argv[1])
    if library.__name__ == "keras_hub":
        make_masked_lm(library, root / "keras_masked_lm")
        make_xlm_classifier(library, root / "keras_xlm_classifier")
    else:
        make_classifier(library, root / "keras_nlp_classifier")


if __name__ == "__main__":
    main()
