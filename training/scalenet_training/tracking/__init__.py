"""What a run's folder gets, sent on to a tracker of experiments."""
