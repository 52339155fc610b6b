"""From outlined slices to a volume."""
