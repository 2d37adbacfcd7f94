"""A file for each format: bytes in, arrays out, under Hugging Face's names for PyTorch and in PyTorch's layout.

A file's arrays are found without the framework that wrote it, and without running anything that the file says. Raised
is WeightsError, for whatever is damaged or hostile. What does not depend on the format is in `arrays`.
"""
