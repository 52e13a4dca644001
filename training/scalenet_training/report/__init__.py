"""Reports of runs: curves, results and what differs, on one page."""
