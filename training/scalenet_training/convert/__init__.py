"""From the authors' PyTorch checkpoints to Keras files."""
