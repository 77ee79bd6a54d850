"""Recipes: a real data set in, a trained Keras model and its scores out. Used as ``python -m train``."""
