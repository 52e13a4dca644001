"""From a run to weights that come with the package."""
