"""Teaches LiteMedSAM to answer points, from generated and permissive pictures alone."""
