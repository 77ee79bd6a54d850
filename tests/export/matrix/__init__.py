"""Keras models by the hundred, each held against its exported file: ``python -m tests.export.matrix``."""
