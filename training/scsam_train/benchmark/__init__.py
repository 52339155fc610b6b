"""Measures the models on real labelled scans that are nowhere part of the training."""
