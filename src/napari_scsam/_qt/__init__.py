"""The dock and its panels."""
