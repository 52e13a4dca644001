"""One module for each kind of dataset: how it is opened."""
