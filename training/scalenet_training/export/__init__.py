"""Export of a network: a verified version in a model repository."""
