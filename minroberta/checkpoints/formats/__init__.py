"""A module for each format: files in, arrays out, with the names and the layout of Hugging Face's PyTorch models.

The readers need no framework and never run code from a file. They raise WeightsError if a file is damaged or hostile.
Code that does not depend on the format is in `arrays`.
"""
