"""One folder of a run's network, to be given to others."""
