"""Training: settings, plan, loop, step."""
