"""How the two models teach each other: one file per recipe."""
