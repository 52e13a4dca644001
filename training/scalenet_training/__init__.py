"""Recipes of the commands in `training/`.

Flow of data: `config` (a run's settings, no TensorFlow) -> `data` (examples on disk,
batches of a replica) -> `step` (one update, on every replica) -> `loop` (epochs,
evaluation, checkpoints) -> `run_folder` and `run_data` (what a run leaves).
`distribution` makes the strategy that `data` and `step` run under.
"""
