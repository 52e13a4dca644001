"""The network of a run, its optimizers and its average, as the settings say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.models import HEAD
from scalenet_tf.names import bottlenecks
from scalenet_tf.weights import LoadReport
from scalenet_training.data.transform import Transform
from scalenet_training.errors import usage_errors
from scalenet_training.networks.starting_point import start_from
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import Learner, LossScale, set_body_trainable
from scalenet_training.train.step.optimizers import make_optimizer
from scalenet_training.train.step.schedule import RecipeSchedule


@contextlib.contextmanager
def precision(mixed: str) -> Iterator[None]:
    """Keras' policy while a model is built."""
    before = keras.config.dtype_policy()
    if mixed != "off":
        keras.config.set_dtype_policy(f"mixed_{mixed}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build(
    config: TrainConfig,
    architecture: Architecture,
    transform: Transform,
    schedule: RecipeSchedule,
    resumes: bool = False,
) -> tuple[Learner, LoadReport | None]:
    """Builds what a step changes; called in the strategy's scope and the precision.

    Args:
        config: The settings.
        architecture: The network's.
        transform: Its classes and the sides of its images.
        schedule: Of the learning rate.
        resumes: Whether a checkpoint replaces all that `weights` would give.

    Returns:
        The learner, and what was loaded from `weights`; `None` if nothing was.

    Raises:
        UsageError: The weights cannot be loaded.
    """

    def make(side: int) -> keras.Model:
        return scalenet_tf.ScaleNet(
            architecture,
            input_shape=(side, side, 3),
            classes=transform.classes,
            synchronized=config.sync_batch_norm,
        )

    keras.utils.set_random_seed(config.seed)
    side = transform.training.image_size
    model = make(side)
    if config.zero_init_residual:
        silence_residual_branches(model)
    start = None
    if config.weights is not None and not resumes:
        with usage_errors():
            start = start_from(model, config.weights)
    average = None
    if config.ema or config.swa_start or side != transform.image_size:
        average = make(transform.image_size)
        average.set_weights(model.get_weights())
    late = None
    if config.freeze_epochs:
        body = keras.Model(model.inputs, model.get_layer(HEAD).input)
        late = make_optimizer(config, schedule, body.trainable_variables)
        set_body_trainable(model, False)
    if config.freeze:
        set_body_trainable(model, False)
        if average is not None:  # it is what is saved
            set_body_trainable(average, False)
    optimizer = make_optimizer(config, schedule, model.trainable_variables)
    loss_scale = LossScale() if config.mixed_precision == "float16" else None
    factors = rate_factors(model, config.layer_decay)
    return Learner(model, optimizer, average, loss_scale, late, factors), start


def silence_residual_branches(model: keras.Model) -> None:
    """Sets the scale of each bottleneck's last batch norm to zero.

    The bottlenecks of a new network then give the shortcut alone, and what reaches the
    classifier does not grow with depth.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
    """
    for block in bottlenecks(layer.name for layer in model.layers):
        gamma = model.get_layer(block.conv_norm("expansion").norm).gamma
        gamma.assign(keras.ops.zeros_like(gamma))


def rate_factors(model: keras.Model, decay: float) -> dict[str, float]:
    """Name of a layer -> factor of its learning rate, decay^(depth from the top).

    The classifier has depth 0, the last bottleneck 1, the stem the largest.

    Source: Howard and Ruder, "Universal Language Model Fine-tuning for Text
    Classification", 2018, section 3.2; Clark et al., "ELECTRA", 2020, as a power.
    """
    depths = {HEAD: 0}
    blocks = bottlenecks(layer.name for layer in model.layers)
    for layer in model.layers:
        of_layer = bottlenecks([layer.name])
        under = blocks.index(of_layer[0]) if of_layer else -1
        depths.setdefault(layer.name, len(blocks) - under)
    return {name: decay**depth for name, depth in depths.items()}
