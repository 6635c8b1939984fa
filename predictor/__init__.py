"""Fit, predict, save, evaluate."""
