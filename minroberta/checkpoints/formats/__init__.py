"""A module for each format: bytes in, arrays out, with Hugging Face's names for PyTorch and in PyTorch's layout.

The readers need no framework and never run code from a file. They raise WeightsError if a file is damaged or hostile.
Code that does not depend on the format is in `arrays`.
"""
