"""Functional-API Keras models of ScaleNet architectures and their ResNet twins."""

from __future__ import annotations

import operator
import os
import re
from typing import Any, Protocol

import h5py
import keras

from scalenet_tf.architectures import (
    STEM_CONVS,
    Architecture,
    Block,
    Stem,
    get_architecture,
    minimum_size,
)
from scalenet_tf.layers import (
    CONV_INITIALIZER,
    ScaleAggregation,
    check_data_format,
)
from scalenet_tf.normalization import make_batch_norm
from scalenet_tf.tensors import check_model

HEAD = "logits"
STEM_POOL = "stem_pool"


def ScaleNet(
    architecture: Architecture | str,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: Any = "softmax",
    name: str | None = None,
    *,
    synchronized: bool = False,
) -> keras.Model:
    """Builds the network of an architecture.

    Args:
        architecture: What to build: an `Architecture` (see `load_architecture`), or
            one of the public names of `list_models`.
        include_top: Whether to end with global average pooling and a dense layer.
        weights: `None` (random initialisation) or the path of a `.weights.h5` file
            of the same network.
        input_tensor: Keras tensor to use as the input, `(batch, h, w, channels)`.
        input_shape: Shape of an image, `(h, w, channels)`; h and w may be `None` for
            any size. Default: the native size with the top, any size without.
        pooling: Without the top: `None` (feature maps out), `"avg"` or `"max"`.
        classes: Number of classes. Default: 1000, or 100 for CIFAR networks.
        classifier_activation: Activation of the dense layer; `None` gives logits.
        name: Name of the model. Default: the architecture's in lower case.
        synchronized: Whether batch norms use the statistics of the global batch under
            `tf.distribute`, instead of the replica's.

    Returns:
        A `keras.Model` that takes images as `preprocess_input` leaves them. Its layer
        `logits` is the dense layer, `predictions` its activation. Under a
        mixed-precision policy the top computes in float32.

    Raises:
        ValueError: An argument is not allowed, or does not fit the weights.

    Source: Li et al., CVPR 2019, sections 3 and 4.1. The authors published no CIFAR
    code: the stem and the strides of the CIFAR networks are this package's reading.
    """
    if not isinstance(architecture, Architecture):
        architecture = get_architecture(architecture)
    check_data_format()
    classes = architecture.default_classes if classes is None else classes
    _check_head(include_top, pooling, classes)
    inputs = _inputs(architecture, include_top, input_tensor, input_shape)
    if weights is not None:
        check_weights(weights, classes if include_top else None, inputs.shape[-1])

    x = _stem(inputs, architecture.stem, synchronized)
    for block in architecture.blocks():
        x = _bottleneck(x, block, architecture.scales, synchronized)
    x = _top(x, include_top, pooling, classes, classifier_activation)

    source = keras.utils.get_source_inputs(inputs)
    model = keras.Model(
        source[0] if len(source) == 1 else source,
        x,
        name=name or architecture.name.lower(),
    )
    if weights is not None:
        load_weights(model, weights)
    return model


def create_model(model_name: str, **kwargs: Any) -> keras.Model:
    """Builds the network of a public name, in any case, with `ScaleNet`'s arguments.

    Raises:
        ValueError: There is no such network, or an argument is not allowed.
    """
    return ScaleNet(get_architecture(model_name), **kwargs)


class ModelFunction(Protocol):
    """Signature of a network's function, that of `keras.applications`."""

    def __call__(
        self,
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        input_tensor: Any = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int = ...,
        classifier_activation: Any = "softmax",
        name: str = ...,
    ) -> keras.Model:
        """Builds the network."""


_DOCSTRING = """Builds {name} ({blocks} bottlenecks, for {native}x{native} images).

Args:
    include_top: Whether to end with global average pooling and a dense layer.
    weights: `None` (random initialisation) or the path of a `.weights.h5` file.
    input_tensor: Keras tensor to use as the input, `(batch, h, w, channels)`.
    input_shape: Shape of an image, `(h, w, channels)`; h and w may be `None` for any
        size from {minimum} pixels up. Default: `({native}, {native}, 3)` with the
        top, any size without.
    pooling: Without the top: `None` (feature maps out), `"avg"` or `"max"`.
    classes: Number of classes.
    classifier_activation: Activation of the dense layer; `None` gives logits.
    name: Name of the model.

Returns:
    A `keras.Model`; see `ScaleNet`.

Raises:
    ValueError: An argument is not allowed, or does not fit the weights.

Source: {source}.
"""


def _network(public_name: str) -> ModelFunction:
    architecture = get_architecture(public_name)

    def network(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        input_tensor: Any = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int = architecture.default_classes,
        classifier_activation: Any = "softmax",
        name: str = architecture.name.lower(),
    ) -> keras.Model:
        return ScaleNet(
            architecture,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
        )

    network.__name__ = network.__qualname__ = public_name
    network.__doc__ = _DOCSTRING.format(
        name=public_name,
        blocks=sum(architecture.blocks_per_stage),
        native=architecture.native_size,
        minimum=architecture.minimum_size,
        source="Li et al., CVPR 2019, supplementary table 1"
        if architecture.learned_on
        else "the same code with all neurons at scale 1, the baseline of comparisons",
    )
    return network


ScaleNetCifar38 = _network("ScaleNetCifar38")
ScaleNetCifar56 = _network("ScaleNetCifar56")
ScaleNetCifar101 = _network("ScaleNetCifar101")
ScaleNet50Light = _network("ScaleNet50Light")
ScaleNet50 = _network("ScaleNet50")
ScaleNet101 = _network("ScaleNet101")
ScaleNet152 = _network("ScaleNet152")
ResNetCifar38 = _network("ResNetCifar38")
ResNetCifar56 = _network("ResNetCifar56")
ResNetCifar101 = _network("ResNetCifar101")
ResNet50 = _network("ResNet50")
ResNet101 = _network("ResNet101")
ResNet152 = _network("ResNet152")


def feature_pyramid(model: keras.Model) -> dict[str, Any]:
    """The last feature map of each stage, by pyramid level, for detectors.

    Args:
        model: A model of this package, also one that was saved and loaded.

    Returns:
        Level -> Keras tensor `(batch, h, w, 4 x width)`. `"P2"` to `"P5"` have
        strides 4 to 32; CIFAR networks have `"P0"` to `"P2"`, strides 1 to 4. Use it
        as `keras.Model(model.input, feature_pyramid(model))`.

    Raises:
        ValueError: The model has no stages of this package.
    """
    last_of_stage = _last_of_stage(model)
    first_level = 2 if _has_pool(model) else 0
    return {
        f"P{stage - 1 + first_level}": tensor for stage, tensor in last_of_stage.items()
    }


def smallest_side(model: keras.Model) -> int:
    """Smallest side of an image, in pixels, that a model of this package can take.

    Raises:
        ValueError: The model has no stages of this package.
    """
    stem = "imagenet" if _has_pool(model) else "cifar"
    return minimum_size(stem, len(_last_of_stage(model)))


def _last_of_stage(model: keras.Model) -> dict[int, Any]:
    """Number of a stage -> its last feature map."""
    last_of_stage: dict[int, Any] = {}
    for layer in model.layers:
        match = re.fullmatch(r"stage(\d+)_block\d+_out", layer.name)
        if match:
            last_of_stage[int(match[1])] = layer.output
    if not last_of_stage:
        raise ValueError(
            "`model` must be a model of this package, with layers named "
            f"stage1_block1_out and so on. Received: {model.name!r}."
        )
    return last_of_stage


def _has_pool(model: keras.Model) -> bool:
    return any(layer.name == STEM_POOL for layer in model.layers)


def check_weights(
    path: str | os.PathLike[str], classes: int | None, channels: int
) -> None:
    """Checks that a weights file fits the number of classes and input channels.

    Args:
        path: A `.weights.h5` file.
        classes: Classes of the model's top; `None` for a model without it.
        channels: Channels of the input.

    Raises:
        ValueError: It does not fit, or is no such file; the message names the argument.
    """
    path = os.fspath(path)
    if path == "imagenet":
        raise ValueError(
            "no ImageNet weights come with this package. Convert the authors' "
            "checkpoint (`python training/convert.py checkpoint.pth --model ScaleNet50 "
            "--output scalenet50.weights.h5`) and pass the path of the result as "
            "`weights`. Received: weights='imagenet'."
        )
    if not path.endswith(".weights.h5") or not os.path.isfile(path):
        raise ValueError(
            "`weights` must be None or the path of an existing `.weights.h5` file. "
            f"Received: weights={path!r}."
        )
    stem, head = _stem_and_head_shapes(path)
    if stem[2] != channels:
        raise ValueError(
            f"the input must have {stem[2]} channels, as the weights in {path!r} do. "
            f"Received: {channels} channels in `input_shape` or `input_tensor`."
        )
    if classes is not None and (head is None or head[1] != classes):
        holds = "no top" if head is None else f"{head[1]} classes"
        raise ValueError(
            f"`classes` must be what the weights in {path!r} have: {holds}. "
            f"Received: classes={classes}, include_top=True."
        )


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Loads a weights file of the same network; one with a top also without it.

    Raises:
        ValueError: The file holds the weights of another network, or a weight is NaN
            or infinite, or a moving variance negative. The model is left as it was.
    """
    path = os.fspath(path)
    has_top = any(layer.name == HEAD for layer in model.layers)
    expected = len(model.weights)
    if not has_top and _stem_and_head_shapes(path)[1] is not None:
        expected += 2
    if count_arrays(path) != expected:
        raise ValueError(
            f"`weights` must be those of {model.name}, {expected} arrays. Received: "
            f"{path!r} with {count_arrays(path)}."
        )
    before = model.get_weights()
    try:
        _load_and_check(model, path)
    except ValueError:
        model.set_weights(before)
        raise


def _load_and_check(model: keras.Model, path: str) -> None:
    try:
        model.load_weights(path)
    except ValueError as error:
        raise ValueError(
            f"`weights` must be those of {model.name}. Received: {path!r}, in which "
            f"shapes differ."
        ) from error
    check_model(repr(path), model)


def weights_classes(path: str | os.PathLike[str]) -> int | None:
    """Number of classes of a weights file; `None` where it has no top.

    Raises:
        ValueError: It is no weights file of this package.
    """
    head = _stem_and_head_shapes(os.fspath(path))[1]
    return None if head is None else head[1]


def count_arrays(path: str) -> int:
    """Number of arrays in a weights file of this package."""
    names: list[str] = []
    with h5py.File(path) as file:
        file["layers"].visititems(
            lambda name, item: (
                names.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
    return len(names)


def _stem_and_head_shapes(path: str) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    try:
        with h5py.File(path) as file:
            stem = file["layers/conv2d/vars/0"].shape
            head = file.get("layers/dense/vars/0")
            return stem, None if head is None else head.shape
    except (OSError, KeyError) as error:
        raise ValueError(
            f"`weights` must hold the weights of a network of this package. {path!r} "
            f"cannot be read as such ({error})."
        ) from error


def _check_head(include_top: bool, pooling: str | None, classes: int) -> None:
    if pooling not in (None, "avg", "max"):
        raise ValueError(
            f"`pooling` must be None, 'avg' or 'max'. Received: pooling={pooling!r}."
        )
    if include_top and (isinstance(classes, bool) or operator.index(classes) < 1):
        raise ValueError(
            f"`classes` must be a positive whole number. Received: classes={classes!r}."
        )


def _inputs(
    architecture: Architecture, include_top: bool, input_tensor: Any, input_shape: Any
) -> Any:
    if input_tensor is not None:
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
    if len(input_shape) != 3 or not input_shape[-1]:
        raise ValueError(
            "`input_shape` must be (height, width, channels), the first two of which "
            f"may be None. Received: input_shape={input_shape}."
        )
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


def _conv_norm(
    x: Any,
    filters: int,
    kernel_size: int,
    names: tuple[str, str],
    synchronized: bool,
    strides: int = 1,
    padding: str = "valid",
) -> Any:
    """Convolution and batch norm, under the two names."""
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(**CONV_INITIALIZER),
        name=names[0],
    )(x)
    return make_batch_norm(names[1], synchronized)(x)


def _stem(x: Any, stem: Stem, synchronized: bool) -> Any:
    names = ("stem_conv", "stem_bn")
    kernel_size, filters = STEM_CONVS[stem]
    if stem == "cifar":
        x = _conv_norm(x, filters, kernel_size, names, synchronized, padding="same")
        return keras.layers.ReLU(name="stem_relu")(x)
    # Padding is explicit: Keras' "same" would put all of it at the bottom right.
    x = keras.layers.ZeroPadding2D(3, name="stem_conv_pad")(x)
    x = _conv_norm(x, filters, kernel_size, names, synchronized, strides=2)
    x = keras.layers.ReLU(name="stem_relu")(x)
    # Zeros are as good as minus infinity after ReLU.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name=STEM_POOL)(x)


def _bottleneck(
    x: Any, block: Block, scales: tuple[int, ...], synchronized: bool
) -> Any:
    prefix = block.name
    if block.stride > 1:
        x = keras.layers.MaxPooling2D(block.stride, name=f"{prefix}_pool")(x)
    shortcut = x
    if block.index == 1:
        names = (f"{prefix}_shortcut_conv", f"{prefix}_shortcut_bn")
        shortcut = _conv_norm(x, 4 * block.width, 1, names, synchronized)
    names = (f"{prefix}_conv1", f"{prefix}_bn1")
    x = _conv_norm(x, block.width, 1, names, synchronized)
    x = keras.layers.ReLU(name=f"{prefix}_relu1")(x)
    x = ScaleAggregation(
        block.channels,
        scales=scales,
        kernel_sizes=block.kernel_sizes,
        synchronized=synchronized,
        name=f"{prefix}_sa",
    )(x)
    names = (f"{prefix}_conv3", f"{prefix}_bn3")
    x = _conv_norm(x, 4 * block.width, 1, names, synchronized)
    x = keras.layers.Add(name=f"{prefix}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{prefix}_out")(x)


def _top(
    x: Any,
    include_top: bool,
    pooling: str | None,
    classes: int,
    classifier_activation: Any,
) -> Any:
    # Averages and probabilities lose too much in 16 bits: float32, at no cost.
    dtype = keras.config.dtype_policy().variable_dtype
    if include_top or pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool", dtype=dtype)(x)
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
