"""Recipes: files of options, which of them a training takes, what follows from data."""
