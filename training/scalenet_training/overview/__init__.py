"""Runs: found, told in a line each, compared. Imports no TensorFlow."""
