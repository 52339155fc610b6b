"""A project folder: images by reference, journal, labels, rounds."""
