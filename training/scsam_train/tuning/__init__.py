"""Between rounds, SAM's decoder learns from the few slices that were committed."""
