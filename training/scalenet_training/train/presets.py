"""The recipes that `--preset` names. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from scalenet_training.settings.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe: its settings, the exact command, and the result to expect."""

    config: TrainConfig
    command: str
    expectation: str


def _cifar(name: Literal["cifar10", "cifar100"], published: str) -> Preset:
    return Preset(
        TrainConfig(
            preset=name,
            dataset=name,
            normalization=name,
            augment="crop-flip",
            batch_size=128,
            epochs=164,
            learning_rate=0.1,
            schedule="steps",
            milestones=(0.5, 0.75),
            warmup_epochs=5.0,
            weight_decay=1e-4,
        ),
        command=f"python training/train.py --preset {name} --data-dir DIR",
        expectation=f"the CIFAR recipe of He et al., 2016; {published}",
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "digits": Preset(
            TrainConfig(),
            command="python training/train.py",
            expectation="at most 5 % validation error after 8 epochs of 1,438 digits",
        ),
        "cifar10": _cifar("cifar10", "not run here to its end"),
        "cifar100": _cifar("cifar100", "not run here to its end"),
        "imagenet": Preset(
            TrainConfig(
                preset="imagenet",
                model="ScaleNet50",
                dataset="imagenet2012",
                eval_resize=256,
                augment="resized-crop",
                normalization="imagenet",
                batch_size=256,
                epochs=120,
                learning_rate=0.1,
                warmup_epochs=0.0,
                weight_decay=1e-4,
            ),
            command="python training/train.py --preset imagenet --data-dir DIR",
            expectation="22.02 % top-1, 6.05 % top-5 error published for ScaleNet-50; "
            "not run here",
        ),
    }
)


def options_of(config: TrainConfig) -> list[str]:
    """The options of `train.py` that give these settings, beside their defaults."""
    defaults = PRESETS[config.preset].config.to_json()
    options = ["--preset", config.preset]
    for name, value in config.to_json().items():
        if name == "preset" or value == defaults[name]:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            options += [f"--{option}", *map(str, values)]
    return options
