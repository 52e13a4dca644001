"""`HyperScaleNet`: channel budgets as hyperparameters of KerasTuner.

Every sample costs what the target says, so that no trial is lost to a network that is
too large, and trials differ by where the neurons are. In a script of your own:

```python
hypermodel = scalenet_tf.HyperScaleNet("ScaleNetCifar38", classes=10)
tuner = keras_tuner.RandomSearch(hypermodel, "val_accuracy", max_trials=20)
tuner.search(x, y, validation_data=(x_val, y_val), epochs=5)
best = hypermodel.architecture(tuner.get_best_hyperparameters()[0])
```

`docs/tuning.md` has a whole script.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras

try:
    import keras_tuner
except ImportError as error:
    raise ImportError(
        "HyperScaleNet needs keras-tuner: pip install 'scalenet_tf[tune]'"
    ) from error

from scalenet_tf.allocation import CostTable
from scalenet_tf.allocation.latency import check_table
from scalenet_tf.architectures import Architecture, get_architecture
from scalenet_tf.budget import (
    architecture_for_macs,
    architecture_for_time,
    average_shares,
    reachable_macs,
)
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.models import ScaleNet
from scalenet_tf.models.arguments import explained
from scalenet_tf.models.loss import SmoothedCrossEntropy
from scalenet_tf.models.parts import check_head

# A number, or the range (from, to) to search.
Setting = float | tuple[float, float]


class HyperScaleNet(keras_tuner.HyperModel):
    """Searches where the neurons of a ScaleNet are, at a fixed cost.

    Works with any tuner of KerasTuner and integer labels; the objective of a search
    with validation data is `"val_accuracy"`. Hyperparameters are `stage1_scale2_share`
    and so on (part of stage 1's neurons at scale 2, before the scales' shares are made
    to add up to 1), `stage1_macs_share` (part of the MACs of all SA neurons, likewise),
    and, where a range is given, `depth` (bottlenecks in all), `learning_rate`,
    `weight_decay` and `label_smoothing`. Their defaults are the base's.

    No sample costs more than the target. What is left of it is below 1 % for the
    published networks (measured: 0.5 %). Networks so small that one neuron costs more
    than that come as near as single neurons allow.

    Args:
        base: Public name or architecture: stem, scales, widths, blocks.
        target_macs: The most a sample may cost, in MACs of an image of the native
            size. Default: the cost of the base's ResNet twin.
        classes: Number of classes. Default: 1000, or 100 for CIFAR networks.
        input_shape: Shape of an image, (h, w, channels). Default: the native size.
        costs: What the branches of the base take, as `scalenet allocate` measures
            it: samples then meet a time and not `target_macs`.
        target_milliseconds: With `costs`, the most a sample may take as they predict
            it. Default: the time of the base's ResNet twin.
        depth: Range of the number of bottlenecks, split over the stages as the
            base's. Default: the base's, not searched. Not with `costs`.
        learning_rate: Of SGD; a number, or a range that is searched by its logarithm.
        weight_decay: L2 penalty, weight_decay / 2 times the sum of the squared
            kernels; likewise.
        label_smoothing: Part of the target spread evenly over all classes; a number,
            or a range.
        momentum: Of SGD.
        name: Name of the hypermodel.
        tunable: As in `keras_tuner.HyperModel`.

    Raises:
        ValueError: An argument is not allowed; for `target_macs`, the message has the
            range.
    """

    @explained
    def __init__(
        self,
        base: Architecture | str = "ScaleNetCifar38",
        target_macs: float | None = None,
        classes: int | None = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        *,
        costs: CostTable | None = None,
        target_milliseconds: float | None = None,
        depth: tuple[int, int] | None = None,
        learning_rate: Setting = (0.01, 0.2),
        weight_decay: Setting = (1e-5, 1e-3),
        label_smoothing: Setting = (0.0, 0.2),
        momentum: float = 0.9,
        name: str | None = None,
        tunable: bool = True,
    ):
        super().__init__(name=name, tunable=tunable)
        self.base = base if isinstance(base, Architecture) else get_architecture(base)
        given = self.base.default_classes if classes is None else classes
        self.classes = check_head(include_top=True, pooling=None, classes=given)
        if costs is not None and (target_macs is not None or depth is not None):
            raise ValueError(
                "`costs` must stand without `target_macs` and `depth`. Received: "
                f"target_macs={target_macs!r}, depth={depth!r}."
            )
        if costs is None and target_milliseconds is not None:
            raise ValueError(
                "`target_milliseconds` must stand with `costs`. Received: "
                f"{target_milliseconds!r} alone."
            )
        if not isinstance(costs, CostTable | None):
            raise ValueError(f"`costs` must be a CostTable. Received: {costs!r}.")
        if costs is not None:
            check_table(self.base, costs)
        self.costs = costs
        self.target_milliseconds = target_milliseconds
        if costs is not None and target_milliseconds is None:
            self.target_milliseconds = costs.twin
        if target_macs is None:
            target_macs = self.base.twin().macs(self.classes)
        self.target_macs = _number("target_macs", target_macs)
        self.input_shape = input_shape
        self.depth = _checked_depth(depth, self.base)
        self.learning_rate = _checked("learning_rate", learning_rate, above_zero=True)
        self.weight_decay = _checked("weight_decay", weight_decay)
        self.label_smoothing = _checked("label_smoothing", label_smoothing, below=1)
        if not isinstance(momentum, numbers.Real) or not 0 <= momentum < 1:
            raise ValueError(
                f"`momentum` must be from 0 to below 1. Received: {momentum!r}."
            )
        self.momentum: float = momentum
        self._check_target()

    def architecture(self, hp: keras_tuner.HyperParameters) -> Architecture:
        """The architecture that the hyperparameters stand for."""
        by_stage, by_scale = average_shares(self.base)
        scale_shares = [
            _shares(
                hp, [f"stage{stage}_scale{s}_share" for s in self.base.scales], shares
            )
            for stage, shares in enumerate(by_scale, start=1)
        ]
        stages = range(1, len(by_stage) + 1)
        macs_shares = _shares(hp, [f"stage{s}_macs_share" for s in stages], by_stage)
        name = f"{self.base.name.removesuffix('Tuned')}Tuned"
        if self.costs is not None and self.target_milliseconds is not None:
            return architecture_for_time(
                self.base,
                self.target_milliseconds,
                self.costs.milliseconds,
                macs_shares,
                scale_shares,
                classes=self.classes,
                name=name,
            )
        depth = None
        if self.depth is not None:
            low, high = self.depth
            default = min(max(sum(self.base.blocks_per_stage), low), high)
            depth = hp.Int("depth", low, high, default=default)
        return architecture_for_macs(
            self.base,
            self.target_macs,
            macs_shares,
            scale_shares,
            depth=depth,
            classes=self.classes,
            name=name,
        )

    def training_settings(self, hp: keras_tuner.HyperParameters) -> dict[str, float]:
        """`learning_rate`, `weight_decay` and `label_smoothing`."""
        return {
            "learning_rate": _setting(hp, "learning_rate", self.learning_rate, "log"),
            "weight_decay": _setting(hp, "weight_decay", self.weight_decay, "log"),
            "label_smoothing": _setting(hp, "label_smoothing", self.label_smoothing),
        }

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The network, compiled: SGD, L2 penalty, smoothed labels, accuracy."""
        settings = self.training_settings(hp)
        model = ScaleNet(
            self.architecture(hp), input_shape=self.input_shape, classes=self.classes
        )
        # The penalty of the published recipe. SGD's own weight_decay is another one:
        # the learning rate scales it, and momentum does not gather it.
        _penalize(model, keras.regularizers.L2(settings["weight_decay"] / 2))
        optimizer = keras.optimizers.SGD(
            settings["learning_rate"], momentum=self.momentum
        )
        # Hyperband goes on from the weights of an earlier trial: momentum, too.
        optimizer.build(model.trainable_variables)
        model.compile(
            optimizer=optimizer,
            loss=SmoothedCrossEntropy(settings["label_smoothing"]),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *args: Any,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains a trial's network; arguments as for `keras.Model.fit`.

        Raises:
            keras_tuner.errors.FailedTrialError: The loss became NaN or infinite.
        """
        return model.fit(*args, callbacks=[*callbacks, _FiniteLoss()], **kwargs)

    def _check_target(self) -> None:
        """Every depth must be able to meet the target, or trials would be lost."""
        if self.costs is not None:
            time = _number("target_milliseconds", self.target_milliseconds)
            try:
                architecture_for_time(
                    *(self.base, time, self.costs.milliseconds),
                    *average_shares(self.base),
                    classes=self.classes,
                )
            except ValueError as error:
                raise ValueError(f"`target_milliseconds`: {error}") from error
        depths = self.depth or (None, None)
        lowest = reachable_macs(self.base, depths[1], self.classes)[0]
        highest = reachable_macs(self.base, depths[0], self.classes)[1]
        if not lowest <= self.target_macs <= highest:
            at = "" if self.depth is None else f" at each depth of {list(depths)}"
            raise ValueError(
                f"`target_macs` must be from {lowest:,} to {highest:,}, what "
                f"{self.base.name} can cost{at} with {self.classes} classes. Received: "
                f"{self.target_macs:,.0f}."
            )


def _penalize(model: keras.Model, penalty: keras.regularizers.Regularizer) -> None:
    """Penalises every kernel of a network, also once it was saved and loaded."""
    for layer in model.layers:
        is_block = isinstance(layer, ScaleAggregation)
        for part in layer.sublayers.values() if is_block else (layer,):
            if hasattr(part, "kernel"):
                part.kernel_regularizer = part.kernel.regularizer = penalty


class _FiniteLoss(keras.callbacks.Callback):
    """Fails a trial that has diverged, whose accuracy would be that of one class."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name in ("loss", "val_loss"):
            if not math.isfinite((logs or {}).get(name, 0.0)):
                raise keras_tuner.errors.FailedTrialError(
                    f"{name} became NaN or infinite in epoch {epoch + 1}"
                )


def _shares(
    hp: keras_tuner.HyperParameters, names: Sequence[str], defaults: Sequence[float]
) -> list[float]:
    if len(names) == 1:
        return [1.0]
    return [
        hp.Float(name, 0.0, 1.0, default=default)
        for name, default in zip(names, defaults, strict=True)
    ]


def _setting(
    hp: keras_tuner.HyperParameters, name: str, value: Setting, sampling: str = "linear"
) -> float:
    if not isinstance(value, tuple):
        return value
    return hp.Float(name, *value, sampling=sampling if value[0] > 0 else "linear")


def _number(name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise ValueError(f"`{name}` must be a number. Received: {value!r}.")
    return float(value)


def _checked(
    name: str, value: Any, above_zero: bool = False, below: float = math.inf
) -> Setting:
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if (
        len(pair) != 2
        or not all(isinstance(part, numbers.Real) for part in pair)
        or not 0 <= pair[0] <= pair[1] < below
        or (above_zero and pair[0] == 0)
    ):
        limits = f"{'above 0' if above_zero else 'from 0'}" + (
            f" and below {below}" if below < math.inf else ""
        )
        raise ValueError(
            f"`{name}` must be a number or a range of two ascending numbers, {limits}. "
            f"Received: {value!r}."
        )
    low, high = (float(part) for part in pair)
    return low if low == high else (low, high)


def _checked_depth(depth: Any, base: Architecture) -> tuple[int, int] | None:
    if depth is None:
        return None
    stages = len(base.stage_widths)
    pair = tuple(depth) if isinstance(depth, (list, tuple)) else ()
    if (
        len(pair) != 2
        or not all(isinstance(part, numbers.Integral) for part in pair)
        or not stages <= pair[0] <= pair[1]
    ):
        raise ValueError(
            "`depth` must be None or a range of two ascending numbers of bottlenecks, "
            f"from {stages}, the number of stages. Received: {depth!r}."
        )
    return int(pair[0]), int(pair[1])
