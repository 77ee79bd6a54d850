"""Arithmetic only: the NumPy twins, and the C core behind its Cython seam."""
