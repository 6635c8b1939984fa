"""Heads: what learns from labels. `blend.py` says which of them answer together."""
