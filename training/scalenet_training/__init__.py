"""The commands of scalenet_tf, and what they are made of.

Flow of a training: `settings.training` (settings, no TensorFlow) -> `data` (examples on
disk, batches of a replica) -> `train.step` (one update, on every replica) ->
`train.loop` (epochs, evaluation, checkpoints) -> `runs` (what a run leaves).
`devices.placement` makes the strategy that `data` and `train.step` run under.
"""
