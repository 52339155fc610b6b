"""Inference: requests to the models, in this process or in their own, and work ahead of time."""
