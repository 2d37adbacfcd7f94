"""Weights divided among devices, for models that are too large for one: a small XLM-RoBERTa-XL with random weights.

Each device has some heads of every attention, some columns of every feed-forward, and some rows of the word embeddings
(Shoeybi et al. 2019, "Megatron-LM"). JAX adds up the devices' results. On one processor that acts as eight devices:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python examples/sharded.py
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import minroberta
from minroberta.weights import flat, tree

RULES = {  # weights are (outputs, inputs), so outputs are divided along the first axis, and inputs along the second
    r"embeddings\.word_embeddings\.weight": PartitionSpec("model"),
    r".*\.(query|key|value|intermediate\.dense)\.(weight|bias)": PartitionSpec("model"),
    r"encoder\.layer\.\d+\.(attention\.)?output\.dense\.weight": PartitionSpec(None, "model"),
}
"""The division of weights, by name. All others are small, and each device has them as a whole."""


def rule_of(name: str) -> PartitionSpec:
    """The rule for the weight with this name."""
    return next((rule for pattern, rule in RULES.items() if re.fullmatch(pattern, name)), PartitionSpec())


def sharded(model: minroberta.Model, devices: Sequence[Any], dtype: str) -> minroberta.Model:
    """A model on NumPy with its weights divided among JAX's devices.

    Each weight goes from the memory-mapped file to the devices by itself, so that no device ever has all of them. The
    number of heads, the width of the feed-forward and the size of the vocabulary must be multiples of the number of
    devices.
    """
    mesh = Mesh(numpy.array(devices), ("model",))
    params = {
        name: jax.device_put(array.astype(dtype), NamedSharding(mesh, rule_of(name)))
        for name, array in flat(model.params).items()
    }
    return minroberta.Model(model.config, tree(params), model.head, model.tokenizer)


if __name__ == "__main__":
    config = {
        "model_type": "xlm-roberta-xl",
        "vocab_size": 24000,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 4,
    }
    whole = minroberta.init(config, head="masked_lm")  # or minroberta.load("facebook/xlm-roberta-xl")
    model = sharded(whole, jax.devices(), "float32")
    ids = [[0, 31, 42, 53, 2]]
    logits, exact = model(ids).logits, whole(ids).logits

    weights = flat(model.params).values()
    on_one = sum(array.addressable_shards[0].data.nbytes for array in weights)
    print(f"{len(jax.devices())} devices; {sum(array.nbytes for array in weights) / 1e6:.1f} MB of weights")
    print(f"{on_one / 1e6:.1f} MB of them on each device")
    print(f"largest difference from NumPy: {abs(numpy.asarray(logits) - exact).max():.1e}")
