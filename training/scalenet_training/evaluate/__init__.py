"""Evaluation of runs, saved models and exports."""
