"""Training: one co-training round, run as a child process."""
