"""What of a recipe follows from the images: the one rule, for photos and finetune.

Each line of it holds for what is given neither on the command line nor in a recipe.

- Small images, whose shorter sides have a median of at most 64 pixels: ScaleNetCifar38,
  unless training starts from weights, at 32 pixels or that median; crop-flip, and no
  crop in evaluation. Enlarged, they would cost more and tell no more.
- Image size: of a network that is given, its own. Evaluation resizes images to 8/7
  of it, as 256 is of 224.
- Weights of a run: network, image size and normalisation are those of that run.
- Batch: the recipe's, but at most a share of the training images, as a power of two,
  and 4 at least.
- Learning rate: in proportion to the batch (Goyal et al., 2017).
- Epochs: the recipe's, or as many as make its least number of steps. Warm-up: the
  recipe's, but at most a tenth of the epochs.
- Scales that start at zero: as in the recipe, but not where weights are given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from scalenet_training.recipes.facts import Facts
from scalenet_training.recipes.recipe import Fit
from scalenet_training.settings.inputs import NETWORKS, SEED
from scalenet_training.settings.training import TrainConfig

# What the rule may decide.
FITTED = (
    *("model", "image_size", "eval_resize", "augment", "normalization"),
    *("batch_size", "learning_rate", "epochs", "warmup_epochs"),
    "zero_init_residual",
)
SMALL = 64  # pixels of the shorter side
SMALL_NETWORK = "ScaleNetCifar38"
_LEAST_BATCH = 4
_RESIZE = 8 / 7


def fitted(
    config: TrainConfig,
    recipe: TrainConfig,
    fit: Fit,
    facts: Facts | None,
    free: Collection[str],
    start: TrainConfig | None = None,
) -> TrainConfig:
    """The settings with what follows from the images.

    Args:
        config: The settings so far.
        recipe: Those of the preset, whose learning rate is for its batch.
        fit: The numbers of the rule.
        facts: What is known of the images; None for data other than files.
        free: Fields that the rule may decide.
        start: Those of the run whose weights training starts from, if that is known.
    """
    found = _sizes(config, facts, free, start)
    images = facts.images if facts else 0
    if "batch_size" in free and images:
        most = max(_power_of_two(fit.share * images), min(_LEAST_BATCH, images))
        found["batch_size"] = min(config.batch_size, most)
    batch = found.get("batch_size", config.batch_size)
    if "learning_rate" in free:
        found["learning_rate"] = recipe.learning_rate * batch / recipe.batch_size
    if "epochs" in free and images >= batch:
        found["epochs"] = max(config.epochs, math.ceil(fit.steps / (images // batch)))
    if "warmup_epochs" in free:
        epochs = found.get("epochs", config.epochs)
        found["warmup_epochs"] = min(config.warmup_epochs, epochs / 10)
    if "zero_init_residual" in free and config.weights is not None:
        found["zero_init_residual"] = False
    return dataclasses.replace(config, **found)


def _sizes(
    config: TrainConfig,
    facts: Facts | None,
    free: Collection[str],
    start: TrainConfig | None,
) -> dict[str, Any]:
    """Network, image sizes and what is done to images, those of them that are free."""
    side = facts.side if facts else None
    small = side is not None and side <= SMALL
    model, size = config.model, config.image_size
    if "model" not in free:
        size = native(model)
    elif start is not None:
        model = start.model
        size = start.image_size or native(model)
    elif small and config.weights is None:
        model = SMALL_NETWORK
        size = max(native(model) or 0, side or 0)
    size = size if "image_size" in free else config.image_size
    found = {
        "model": model,
        "image_size": size,
        "eval_resize": size if small else size and round(size * _RESIZE),
        "augment": "crop-flip" if small else config.augment,
        "normalization": (start or config).normalization,
    }
    return {name: value for name, value in found.items() if name in free}


def native(model: str) -> int | None:
    """The native image size of a network by its name; None for one from a file."""
    name = model.removeprefix(SEED).lower()
    if name not in map(str.lower, NETWORKS):
        return None
    return 32 if "cifar" in name else 224


def _power_of_two(number: float) -> int:
    """The largest one that is not above a number; 0 below 1."""
    return 1 << (int(number).bit_length() - 1) if number >= 1 else 0
