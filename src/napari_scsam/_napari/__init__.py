"""The napari side: layers, mouse and keys, and the reader."""
