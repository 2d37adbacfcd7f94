"""One small module a file format: bytes in, `{name: array}` out."""
