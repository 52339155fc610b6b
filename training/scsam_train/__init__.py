"""The training room: one co-training round as a child process."""
