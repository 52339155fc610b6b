"""The annotation session with one image: its state, its edits and its scene, without Qt."""
