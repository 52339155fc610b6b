"""The session with one image: what is open, what was done to it, and what is shown of it."""
