"""Qt-free, napari-free, torch-free values that every other room shares."""
