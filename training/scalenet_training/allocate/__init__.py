"""Allocations of neurons learned from data."""
