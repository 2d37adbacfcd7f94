"""The oracle that pytest's fixture `roberta_oracle` returns.

The hooks are in `minroberta_pytest`, which imports this module only when a test uses the fixture.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy

from ..config import Config
from ..loading import Model
from ..trace import trace
from ..weights import shapes, tree
from .asserts import assert_matches
from .calls import telling_inputs
from .cases import is_norm
from .diagnose import diagnose

TINY: Mapping[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 30,
    "num_attention_heads": 5,
    "num_hidden_layers": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
}
"""Configuration of a tiny model. No two axes of a value have the same size, so that swapped axes are noticed."""


class Oracle:
    """Tiny models for tests of a port.

        def test_my_port(roberta_oracle):
            model = roberta_oracle("roberta", "masked_lm")
            trace = roberta_oracle.trace(model, **roberta_oracle.inputs(model))
            roberta_oracle.assert_matches(my_port(model.params, **trace.inputs), trace)

    `trace`, `inputs`, `assert_matches` and `diagnose` are those of minroberta and of `minroberta.testing`.
    """

    def __call__(self, family: str = "roberta", head: str = "masked_lm", *, seed: int = 0, **config: Any) -> Model:
        """A tiny model in float32 in which no weight is 0 or 1, not even in biases, norms or padding rows.

        family: a `model_type`. config: fields that replace those of `TINY`. With the head `causal_lm`, the model is a
        decoder by default. Raises ConfigError, NameUnknownError.
        """
        fields = {"num_labels": 2 if head == "question_answering" else 3, "is_decoder": head == "causal_lm"}
        settings = Config.from_dict({"model_type": family, **TINY, **fields, **config})
        weights = {name: _weight(name, shape, seed) for name, shape in shapes(settings, head).items()}
        return Model(settings, tree(weights), head)

    inputs = staticmethod(telling_inputs)
    trace = staticmethod(trace)
    assert_matches = staticmethod(assert_matches)
    diagnose = staticmethod(diagnose)


def _weight(name: str, shape: tuple[int, ...], seed: int) -> numpy.ndarray:
    """Random normal float32 weights with standard deviation 0.3. The mean is 1 for weights of norms, otherwise 0."""
    random = numpy.random.default_rng([seed, zlib.crc32(name.encode())])
    return (is_norm(name) + 0.3 * random.standard_normal(shape)).astype(numpy.float32)
