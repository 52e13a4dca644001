"""The parts that every network is put together from, as functions of Keras tensors."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from scalenet_tf.architectures import STEM_CONVS, Architecture, Block, Stem
from scalenet_tf.layers import ScaleAggregation, make_batch_norm, make_conv
from scalenet_tf.names import (
    HEAD,
    POOLED,
    STEM,
    STEM_PAD,
    STEM_POOL,
    ConvNorm,
)


def check_head(include_top: bool, pooling: str | None, classes: Any) -> int:
    """The number of classes as Python's own, NumPy's too, which Keras would not take.

    Raises:
        ValueError: The top cannot be built.
    """
    if pooling not in (None, "avg", "max"):
        raise ValueError(
            f"`pooling` must be None, 'avg' or 'max'. Received: pooling={pooling!r}."
        )
    is_whole = isinstance(classes, numbers.Integral) and not isinstance(classes, bool)
    if include_top and not (is_whole and classes >= 1):
        raise ValueError(
            f"`classes` must be a positive whole number. Received: classes={classes!r}."
        )
    return int(classes) if is_whole else 0


def image_input(
    architecture: Architecture, include_top: bool, input_tensor: Any, input_shape: Any
) -> Any:
    """The Keras tensor of the images, given or new.

    Raises:
        ValueError: `input_shape` is not allowed, or not that of `input_tensor`.
    """
    _check_shape(input_shape)
    if input_tensor is not None:
        if not hasattr(input_tensor, "shape"):
            raise ValueError(
                "`input_tensor` must be a tensor of images. Received: "
                f"{input_tensor!r}."
            )
        given = tuple(input_tensor.shape[1:])
        if input_shape is not None and tuple(input_shape) != given:
            raise ValueError(
                f"`input_shape` must be that of `input_tensor`, {given}, or be left "
                f"out. Received: input_shape={tuple(input_shape)}."
            )
        input_shape = given
    elif input_shape is None:
        side = architecture.native_size if include_top else None
        input_shape = (side, side, 3)
    _check_shape(input_shape)
    for side in input_shape[:2]:
        if side is not None and side < architecture.minimum_size:
            raise ValueError(
                f"`input_shape` must be at least {architecture.minimum_size} pixels a "
                f"side for {architecture.name}. Received: input_shape={input_shape}."
            )
    if input_tensor is None:
        return keras.Input(tuple(input_shape), name="images")
    if not keras.backend.is_keras_tensor(input_tensor):
        return keras.Input(tensor=input_tensor, name="images")
    return input_tensor


def _check_shape(input_shape: Any) -> None:
    """Checks that it is one of images, or None."""
    if input_shape is None:
        return
    sides = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    whole = all(side is None or isinstance(side, numbers.Integral) for side in sides)
    if len(sides) != 3 or not whole or not sides[-1]:
        raise ValueError(
            "`input_shape` must be (height, width, channels), the first two of which "
            f"may be None. Received: input_shape={input_shape!r}."
        )


def _conv_norm(
    x: Any,
    filters: int,
    kernel_size: int,
    names: ConvNorm,
    synchronized: bool,
    strides: int = 1,
    padding: str = "valid",
) -> Any:
    conv = make_conv(filters, kernel_size, names.conv, strides=strides, padding=padding)
    return make_batch_norm(names.norm, synchronized)(conv(x))


def stem(x: Any, stem: Stem, synchronized: bool) -> Any:
    """The layers before the first stage."""
    kernel_size, filters = STEM_CONVS[stem]
    if stem == "cifar":
        x = _conv_norm(x, filters, kernel_size, STEM, synchronized, padding="same")
        return keras.layers.ReLU(name="stem_relu")(x)
    # Padding is explicit: Keras' "same" would put all of it at the bottom right.
    x = keras.layers.ZeroPadding2D(3, name=STEM_PAD)(x)
    x = _conv_norm(x, filters, kernel_size, STEM, synchronized, strides=2)
    x = keras.layers.ReLU(name="stem_relu")(x)
    # Zeros are as good as minus infinity after ReLU.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name=STEM_POOL)(x)


def bottleneck(
    x: Any,
    block: Block,
    scales: Sequence[int],
    sa_block: type[ScaleAggregation],
    synchronized: bool,
) -> Any:
    """1x1 convolution, SA block, 1x1 convolution, and the shortcut around them."""
    names = block.names
    if block.stride > 1:
        x = keras.layers.MaxPooling2D(block.stride, name=names.layer("pool"))(x)
    shortcut = x
    if block.index == 1:
        shortcut = _conv_norm(
            x, 4 * block.width, 1, names.conv_norm("shortcut"), synchronized
        )
    x = _conv_norm(x, block.width, 1, names.conv_norm("reduction"), synchronized)
    x = keras.layers.ReLU(name=names.layer("relu1"))(x)
    x = sa_block(
        block.channels,
        scales=scales,
        kernel_sizes=block.kernel_sizes,
        synchronized=synchronized,
        name=names.layer("sa"),
    )(x)
    x = _conv_norm(x, 4 * block.width, 1, names.conv_norm("expansion"), synchronized)
    x = keras.layers.Add(name=names.layer("add"))([x, shortcut])
    return keras.layers.ReLU(name=names.layer("out"))(x)


def top(
    x: Any,
    include_top: bool,
    pooling: str | None,
    classes: int,
    classifier_activation: Any,
) -> Any:
    """What comes after the last stage: pooling and dense layer, where asked for."""
    # Averages and probabilities lose too much in 16 bits: float32, at no cost.
    dtype = keras.config.dtype_policy().variable_dtype
    if include_top or pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name=POOLED, dtype=dtype)(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="max_pool", dtype=dtype)(x)
    if not include_top:
        return x
    x = keras.layers.Dense(classes, name=HEAD, dtype=dtype)(x)
    if classifier_activation is None:
        return x
    return keras.layers.Activation(
        classifier_activation, name="predictions", dtype=dtype
    )(x)
