"""Datasets: sources by name, splits, batches."""
