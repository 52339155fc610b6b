"""Training of LiteMedSAM's point adapter on generated and permissively licensed pictures."""
