"""Pages of reports: one file with everything in it, which loads nothing."""
