"""What napari sees: layers, readers and writers."""
