"""Text in, answers out: the tokenizer, and each task."""
