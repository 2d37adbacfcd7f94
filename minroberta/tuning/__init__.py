"""Fine-tuning: from a file of labelled examples to a model that has learned from them."""

from .examples import Example, examples_of, read_examples
from .heads import with_new_head
from .labels import label_fields
from .loop import fine_tune
from .lora import Lora

__all__ = ["Example", "Lora", "examples_of", "fine_tune", "label_fields", "read_examples", "with_new_head"]
