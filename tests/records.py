"""Records of runs, as config.json holds them."""

from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.run_folder import RunFolder
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


def row(epoch, error):
    """A row of metrics.csv."""
    return {
        "epoch": epoch,
        "loss": 1.5,
        "top1_error": error / 2,
        "top5_error": 0.0,
        "val_loss": 2 * error,
        "val_top1_error": error,
        "val_top5_error": 0.0,
        "learning_rate": 0.1,
        "images_per_second": 250.0,
    }


def write_run(path, errors=(), config=None, **fields):
    """The folder of a made-up run with an epoch for each error; gives it."""
    folder = RunFolder(path)
    folder.write_record(record(config, **fields))
    for epoch, error in enumerate(errors):
        folder.write_row(row(epoch, error))
    return folder
