"""Prediction by a run, an export or a server."""
