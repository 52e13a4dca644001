"""Recipes of the commands in `training/`.

Flow of data: `config` (a run's settings, no TensorFlow) -> `sources` (examples on
disk) -> `pipeline` (batches of a replica) -> `step` (one update, on every replica)
-> `loop` (epochs, evaluation, checkpoints) -> `run_folder` (what a run leaves).
`distribution` makes the strategy that `step` and `pipeline` run under.
"""
