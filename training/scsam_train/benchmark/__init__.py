"""Benchmarks of the models on real labelled scans that are not used for any shipped weights."""
