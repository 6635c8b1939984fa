"""Predictor-guided architecture search: an ask/tell core, strategies, spaces, durable runs and reports."""
