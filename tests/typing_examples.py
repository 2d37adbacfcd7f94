"""The types of answers, as a type checker sees them: mypy runs over this file, and nothing else does."""

from typing import assert_type

import numpy

import minroberta
from minroberta.text.answer import Answer
from minroberta.text.fill_mask import Filling, Fillings, Prediction
from minroberta.text.generate import Generated
from minroberta.text.running import Label
from minroberta.text.tag import Entity
from minroberta.text.tokenizer import Tokenizer
from minroberta.text.zero_shot import Ranking

model = minroberta.load()

assert_type(model.fill_mask("A <mask>."), list[Filling] | list[list[Filling]])
assert_type(model.fill_mask(["A <mask>."], top_k=2), list[Fillings])
assert_type(model.predict_all("a"), list[Prediction])
assert_type(model.predict_all(["a", "b"]), list[list[Prediction]])
assert_type(model.classify("a"), list[Label])
assert_type(model.classify(("a", "b"), top_k=None), list[Label])
assert_type(model.classify(["a", ("b", "c")]), list[list[Label]])
assert_type(model.zero_shot("a", "b"), Ranking)
assert_type(model.zero_shot(["a"], ["b", "c"], multi_label=True), list[Ranking])
assert_type(model.tag("a"), list[Entity])
assert_type(model.tag(["a"], aggregation_strategy="none"), list[list[Entity]])
assert_type(model.answer("a", "b"), list[Answer])
assert_type(model.answer(["a"], "b", top_k=2), list[list[Answer]])
assert_type(model.choose("a", ["b", "c"]), list[Label])
assert_type(model.generate("a", max_new_tokens=3), list[Generated])
assert_type(model.generate(text for text in ("a", "b")), list[list[Generated]])
assert_type(model.answer("a", "b")[0]["start"], int)
assert_type(model.tag("a")[0]["entity"], str)
assert_type(model.predict_all("a")[0]["word_score"], float)

vectors: numpy.ndarray = model.encode(["a"], pooling="cls")
assert_type(minroberta.similarity(vectors, vectors, "dot"), numpy.ndarray)
assert_type(model.classify({"text": "a", "text_pair": "b"}, function_to_apply="none"), list[Label])
assert_type(model.classify([["a", "b"], ("a", "b"), "a"]), list[list[Label]])
inputs: dict[str, numpy.ndarray] = model.tokenize("a", "b", max_length=4)
assert_type(model.decode([0, 2]), str | list[str])
assert_type(model.tokenizer, Tokenizer | None)
if model.tokenizer:
    inputs = model.tokenizer(["a"], padding=False)

model.tokenize("a", nonsense=1)  # type: ignore[call-arg]
model.classify(5)  # type: ignore[call-overload]
model.encode("a", pooling="sum")  # type: ignore[arg-type]
model.answer("a", "b")[0]["nonsense"]  # type: ignore[typeddict-item]
