"""Studies: the same training for several networks and seeds, and what came out."""
