"""Networks to compare with: the paper's, and ours with the batch norm of Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from scalenet_tf.layers import BatchNormalization, ScaleAggregation
from scalenet_training.benchmark.config import PEER_NAMES

_BLOCKS = (3, 4, 6, 3)
_SE_REDUCTION = 16
_GROUPS = 32


def resnet50(size: int, classes: int) -> keras.Model:
    """ResNet-50 of `keras.applications`."""
    return keras.applications.ResNet50(
        weights=None, input_shape=(size, size, 3), classes=classes
    )


def se_resnet50(size: int, classes: int) -> keras.Model:
    """SE-ResNet-50: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018."""
    return _network("se_resnet50", size, classes, groups=1, width=64, squeeze=True)


def resnext50(size: int, classes: int) -> keras.Model:
    """ResNeXt-50 32x4d: Xie et al., "Aggregated Residual Transformations", 2017."""
    return _network(
        "resnext50", size, classes, groups=_GROUPS, width=128, squeeze=False
    )


# Name -> function of the side of the image and the number of classes.
PEERS: Mapping[str, Callable[[int, int], keras.Model]] = MappingProxyType(
    dict(zip(PEER_NAMES, (resnet50, se_resnet50, resnext50), strict=True))
)


def with_keras_norm(model: keras.Model) -> keras.Model:
    """The network with Keras' batch norms in place of ours, and new weights."""
    return keras.models.clone_model(model, clone_function=_with_keras_norm)


def _with_keras_norm(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, ScaleAggregation):
        return _KerasNormBlock.from_config(layer.get_config())
    kind = _KerasNorm if isinstance(layer, BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())


class _KerasNorm(layers.BatchNormalization):
    """Keras' layer, called as ours is."""

    def call(
        self, inputs: Any, training: Any = None, mask: Any = None, repeats: int = 1
    ) -> Any:
        return super().call(inputs, training=training, mask=mask)


class _KerasNormBlock(ScaleAggregation):
    def make_sublayers(self) -> dict[str, keras.layers.Layer]:
        made = super().make_sublayers()
        return {name: _with_keras_norm(layer) for name, layer in made.items()}


def _network(
    name: str, size: int, classes: int, *, groups: int, width: int, squeeze: bool
) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    x = _normalized(_convolution(inputs, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, "same")(layers.ReLU()(x))
    for stage, blocks in enumerate(_BLOCKS):
        for block in range(blocks):
            x = _block(
                x,
                inner=width * 2**stage,
                outer=256 * 2**stage,
                stride=2 if block == 0 and stage > 0 else 1,
                groups=groups,
                squeeze=squeeze,
            )
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(classes, activation="softmax")(x)
    return keras.Model(inputs, outputs, name=name)


def _block(
    x: keras.KerasTensor,
    *,
    inner: int,
    outer: int,
    stride: int,
    groups: int,
    squeeze: bool,
) -> keras.KerasTensor:
    shortcut = x
    if stride > 1 or x.shape[-1] != outer:
        shortcut = _normalized(_convolution(x, outer, 1, stride))
    y = layers.ReLU()(_normalized(_convolution(x, inner, 1)))
    y = layers.ReLU()(_normalized(_convolution(y, inner, 3, stride, groups)))
    y = _normalized(_convolution(y, outer, 1))
    if squeeze:
        weights = layers.GlobalAveragePooling2D(keepdims=True)(y)
        weights = layers.Conv2D(outer // _SE_REDUCTION, 1, activation="relu")(weights)
        y = layers.Multiply()(
            [y, layers.Conv2D(outer, 1, activation="sigmoid")(weights)]
        )
    return layers.ReLU()(layers.Add()([shortcut, y]))


def _convolution(
    x: keras.KerasTensor, filters: int, side: int, stride: int = 1, groups: int = 1
) -> keras.KerasTensor:
    return layers.Conv2D(filters, side, stride, "same", groups=groups, use_bias=False)(
        x
    )


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization()(x)
