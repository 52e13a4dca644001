"""Figures of runs and of networks."""
