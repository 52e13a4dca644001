"""A served model, asked as many clients ask it."""
