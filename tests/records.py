"""Records of runs, as config.json holds them."""

from scalenet_training.runs.record import RunRecord
from scalenet_training.settings.training import TrainConfig


def record(config=None, **fields):
    """The record of a made-up run, but for what is given."""
    made_up = {
        "config": config or TrainConfig(),
        "command": ["train.py"],
        "architecture": {"name": "TinyCifar"},
        "class_names": ["a", "b"],
        "data": None,
        "image_size": 32,
        "eval_resize": 32,
        "eval_split": "validation",
        "training_examples": 8,
        "evaluation_examples": 2,
        "shards": 1,
        "parameters": 10,
        "macs": 100,
        "strategy": "none",
        "replicas": 1,
        "workers": 1,
        "xla": False,
        "versions": {"keras": "3.15.1"},
    }
    return RunRecord(**{**made_up, **fields})
