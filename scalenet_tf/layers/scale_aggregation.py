"""The SA (scale aggregation) block as a Keras layer.

Flow of data, for each scale that has neurons:
`max-pool -> convolution -> batch norm and ReLU, upsampling` and then one
concatenation. The order of the last steps of a branch is chosen so that the result
is the paper's: where upsampling repeats whole pixels, batch norm and ReLU commute
with it and run on the small map.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from scalenet_tf.layers.convolution import check_data_format, make_conv
from scalenet_tf.layers.copying import copy_weights
from scalenet_tf.layers.normalization import folded_weights, make_batch_norm
from scalenet_tf.layers.resampling import (
    max_pool_from,
    repeats_pixels,
    resize,
    spatial_size,
)


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleAggregation(keras.layers.Layer):
    """Scale aggregation: one convolution whose neurons look at several scales.

    Scale `s` max-pools the input by `s`, convolves it, and brings the result back to
    the input's size: by repeating pixels where both sides are integer multiples of
    the small map's, else by bilinear interpolation with half-pixel centres. Each
    scale has a batch norm of its own; ReLU comes last. A pooling window larger than
    the map is clamped to the map.

    Other modules ask the block itself for what it costs (`macs`), which neurons matter
    (`importance`), its form without batch norms (`folded_config`, `fold_into`), its
    modules in PyTorch (`pytorch_modules`) and the order of its arrays (`saved_order`).
    A variant is a subclass that overrides what differs, such as `pool` or
    `make_sublayers`, is registered with Keras, and goes to `ScaleNet(sa_block=...)`.

    Input: `(batch, height, width, channels)`; height and width may be unknown.
    Output: `(batch, height, width, sum(channels))`, scales in order.

    Args:
        channels: Neurons of each scale. A scale with 0 neurons does not exist.
        scales: Downsampling factors, ascending; 1 is the input itself.
        kernel_sizes: Side of the kernel, one number or one for each scale.
        synchronized: Whether the batch norms use the statistics of the global batch
            under `tf.distribute`, instead of the replica's.
        folded: Whether each convolution has a bias instead of a batch norm, for
            inference: see `scalenet_tf.fold_batch_norm`.
        frozen: Names of the sublayers (`scale1_conv`, `scale1_bn`, ...) that do not
            train. Default: all of them where `trainable=False`, else none. Later on,
            set `trainable` of a sublayer, or of the block, which sets all of them.
        lora: Rank and alpha of each sublayer with LoRA, by its name. Later on, call
            `enable_lora` of a sublayer.
        kernel_regularizer: Of the convolutions' kernels, as Keras' layers take it.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: The arguments do not fit together; channels come first.

    Source: Li et al., CVPR 2019, section 3.1.
    """

    def __init__(
        self,
        channels: Sequence[int],
        scales: Sequence[int] = (1, 2, 4, 7),
        kernel_sizes: int | Sequence[int] = 3,
        synchronized: bool = False,
        folded: bool = False,
        frozen: Sequence[str] | None = None,
        lora: Mapping[str, tuple[int, float]] | None = None,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(kernel_sizes, Sequence | np.ndarray):
            kernel_sizes = [kernel_sizes] * len(scales)
        self.channels = _whole("channels", channels)
        self.scales = _whole("scales", scales)
        self.kernel_sizes = _whole("kernel_sizes", kernel_sizes)
        _check_arguments(self.channels, self.scales, self.kernel_sizes)
        self.synchronized = synchronized
        self.folded = folded
        self._kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        made = self.make_sublayers()
        self._names = tuple(made)
        for name, sublayer in made.items():
            # tf.train.Checkpoint passes over layers in a dict: one attribute each.
            setattr(self, name, sublayer)
        self._freeze(self._frozen_by_default() if frozen is None else frozen)
        self._check_names("lora", lora or {})
        self._lora = dict(lora or {})  # until it is built

    def make_sublayers(self) -> dict[str, keras.layers.Layer]:
        """New sublayers by name, in the order of their weights in the block."""
        sublayers: dict[str, keras.layers.Layer] = {}
        options = {
            "use_bias": self.folded,
            "dtype": self.dtype_policy,
            "kernel_regularizer": self._kernel_regularizer,
        }
        for scale, filters, side in self._branches():
            conv, norm = f"scale{scale}_conv", f"scale{scale}_bn"
            sublayers[conv] = make_conv(filters, side, conv, padding="same", **options)
            if not self.folded:
                sublayers[norm] = make_batch_norm(
                    norm, self.synchronized, self.dtype_policy
                )
        return sublayers

    @property
    def convs(self) -> dict[int, keras.layers.Conv2D]:
        """The convolution of each scale that has neurons."""
        return {
            scale: getattr(self, f"scale{scale}_conv") for scale, *_ in self._branches()
        }

    @property
    def norms(self) -> dict[int, keras.layers.BatchNormalization]:
        """The batch norm of each scale that has neurons; none of a folded block."""
        if self.folded:
            return {}
        return {scale: getattr(self, f"scale{scale}_bn") for scale in self.convs}

    @property
    def kernel_regularizer(self) -> keras.regularizers.Regularizer | None:
        """What penalises the kernels; that of the finest scale's stands for all."""
        return next(iter(self.convs.values())).kernel_regularizer

    @property
    def frozen(self) -> list[str]:
        """Names of the sublayers that do not train."""
        return [name for name, layer in self.sublayers.items() if not layer.trainable]

    @property
    def sublayers(self) -> dict[str, keras.layers.Layer]:
        """The sublayers by name: convolutions, then batch norms, then any others."""
        layers = [*self.convs.values(), *self.norms.values()]
        names = dict.fromkeys([*(layer.name for layer in layers), *self._names])
        return {name: getattr(self, name) for name in names}

    def _frozen_by_default(self) -> list[str]:
        return [] if self.trainable else list(self.sublayers)

    def _freeze(self, names: Sequence[str]) -> None:
        self._check_names("frozen", names)
        for name in names:
            self.sublayers[name].trainable = False

    def _check_names(self, argument: str, names: Iterable[str]) -> None:
        known = self.sublayers.keys()
        unknown = sorted(set(names) - known)
        if unknown:
            raise ValueError(
                f"`{argument}` must name sublayers of the block: {sorted(known)}. "
                f"Received: {unknown}."
            )

    def _branches(self) -> Iterator[tuple[int, int, int]]:
        """Scale, neurons and side of the kernel, where there are neurons."""
        for branch in zip(self.scales, self.channels, self.kernel_sizes, strict=True):
            if branch[1]:
                yield branch

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the weights for an input of shape `(batch, h, w, channels)`."""
        for scale, conv in self.convs.items():
            conv.build(input_shape)
            if not self.folded:
                self.norms[scale].build((*input_shape[:-1], conv.filters))
        for name, (rank, alpha) in self._lora.items():
            self.sublayers[name].enable_lora(rank, lora_alpha=alpha)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Computes the block; `training` chooses the batch norms' statistics."""
        size = spatial_size(inputs)
        pooled = {1: inputs}
        branches = []
        for scale, conv in self.convs.items():
            if scale not in pooled:
                pooled[scale] = self.pool(pooled, scale)
            features = conv(pooled[scale])
            if scale == 1:
                features = self._activate(scale, features, training)
            elif repeats_pixels(features, size):
                repeats = math.prod(size) // math.prod(spatial_size(features))
                features = self._activate(scale, features, training, repeats)
                features = resize(features, size)
            else:
                features = self._activate(scale, resize(features, size), training)
            branches.append(features)
        return keras.ops.concatenate(branches, axis=-1)

    def pool(self, pooled: dict[int, Any], scale: int) -> Any:
        """Pools the input, `pooled[1]`, by `scale`; `pooled` has smaller scales too."""
        return max_pool_from(pooled, scale)

    def _activate(
        self,
        scale: int,
        features: Any,
        training: bool | None,
        repeats: int = 1,
    ) -> Any:
        if not self.folded:
            norm = self.norms[scale]
            features = norm(features, training=training, repeats=repeats)
        return keras.ops.relu(features)

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """The input's shape with `sum(channels)` as the last entry."""
        return (*input_shape[:-1], sum(self.channels))

    def macs(self, height: int, width: int, channels: int) -> int:
        """Multiply-accumulates of one image, for an input of this shape."""
        total = 0
        for scale, filters, side in self._branches():
            pixels = max(height // scale, 1) * max(width // scale, 1)
            total += pixels * side**2 * channels * filters
        return total

    def importance(self) -> dict[int, np.ndarray]:
        """Scale -> |gamma| of each of its neurons, float64; empty without neurons.

        Raises:
            ValueError: The block is folded and has no batch norms.
        """
        self._check_unfolded("they tell the importance of neurons")
        norms = self.norms
        return {
            scale: np.abs(keras.ops.convert_to_numpy(norms[scale].gamma).astype("f8"))
            if scale in norms
            else np.zeros(0)
            for scale in self.scales
        }

    def folded_config(self) -> dict[str, Any]:
        """The configuration of the block without batch norms, for inference."""
        norms = {norm.name for norm in self.norms.values()}
        frozen = [name for name in self.frozen if name not in norms]
        config = self.get_config() | {"kernel_regularizer": None, "lora": None}
        return {**config, "folded": True, "frozen": frozen}

    def fold_into(self, folded: ScaleAggregation) -> None:
        """Sets the weights of a block that was made of `folded_config`."""
        convs, norms = self.convs, self.norms
        weights = {
            convs[scale].name: folded_weights(convs[scale], norm)
            for scale, norm in norms.items()
        }
        for name, sublayer in folded.sublayers.items():
            if name in weights:
                sublayer.set_weights(weights[name])
            else:
                copy_weights(self.sublayers[name], sublayer)

    def pytorch_modules(self) -> dict[str, keras.layers.Layer]:
        """Sublayers by their modules in a bottleneck of the authors' code.

        Raises:
            ValueError: The block is folded and has no batch norms.
        """
        self._check_unfolded("load the weights, then fold it")
        norms = self.norms
        modules: dict[str, keras.layers.Layer] = {}
        for scale, conv in self.convs.items():
            index = self.scales.index(scale)
            modules |= {f"conv2.{index}": conv, f"bn2.{index}": norms[scale]}
        return modules

    def saved_order(self) -> list[list[str]]:
        """`[sublayer, variable]` of each array, in the order of an `.h5` file."""
        arrays = sorted(self.weights, key=lambda weight: not weight.trainable)
        return [weight.path.split("/")[-2:] for weight in arrays]

    def _check_unfolded(self, reason: str) -> None:
        if self.folded:
            raise ValueError(
                f"`model` must have its batch norms: {reason}. Received: a folded "
                f"model, by its layer {self.name!r}."
            )

    def get_config(self) -> dict[str, Any]:
        """The arguments; the last three only where they are not the default."""
        frozen, regularizer = self.frozen, self.kernel_regularizer
        lora = self._lora | {
            name: (layer.lora_rank, layer.lora_alpha)
            for name, layer in self.sublayers.items()
            if getattr(layer, "lora_enabled", False)
        }
        return {
            **super().get_config(),
            "channels": list(self.channels),
            "scales": list(self.scales),
            "kernel_sizes": list(self.kernel_sizes),
            "synchronized": self.synchronized,
            "folded": self.folded,
            **({"frozen": frozen} if frozen != self._frozen_by_default() else {}),
            **({"lora": lora} if lora else {}),
            **(
                {"kernel_regularizer": keras.regularizers.serialize(regularizer)}
                if regularizer is not None
                else {}
            ),
        }

    def finalize_state(self) -> None:
        """Called by Keras after it has read the arrays of an `.h5` file, in order.

        Raises:
            ValueError: A moving variance is negative: the order was another.
        """
        for norm in self.norms.values():
            smallest = float(keras.ops.convert_to_numpy(norm.moving_variance).min())
            if smallest < 0:
                raise ValueError(
                    f"the moving variance of {self.name}/{norm.name} is negative "
                    f"({smallest:.3g}). An .h5 file has its arrays in an order that "
                    "depends on which layers are frozen, and those of the model are "
                    "others. Load the whole model by scalenet_tf.load_model(path)."
                )


def _whole(argument: str, values: Sequence[int]) -> tuple[int, ...]:
    """Numbers as Python's own, NumPy's too, which no JSON file could hold."""
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError as error:
        raise ValueError(
            f"`{argument}` must be whole numbers. Received: {values!r}."
        ) from error


def _check_arguments(
    channels: Sequence[int], scales: Sequence[int], kernel_sizes: Sequence[int]
) -> None:
    check_data_format()
    if not len(channels) == len(scales) == len(kernel_sizes):
        raise ValueError(
            "`channels` and `kernel_sizes` must have one entry for each of `scales`. "
            f"Received: channels={list(channels)}, scales={list(scales)}, "
            f"kernel_sizes={list(kernel_sizes)}."
        )
    if list(scales) != sorted(set(scales)) or not scales or scales[0] < 1:
        raise ValueError(
            "`scales` must be whole numbers from 1 up, ascending without repetition. "
            f"Received: {list(scales)}."
        )
    if min(channels) < 0 or not any(channels):
        raise ValueError(
            "`channels` must be numbers of neurons, none negative and not all zero. "
            f"Received: {list(channels)}."
        )
