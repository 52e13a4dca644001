"""What is installed here, and what will not work."""
