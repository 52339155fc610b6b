"""Values shared by all other rooms, without Qt, napari and torch."""
