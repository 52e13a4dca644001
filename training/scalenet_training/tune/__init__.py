"""The search for channel budgets."""
