"""Functional-API Keras models of ScaleNet architectures and their ResNet twins."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypedDict, Unpack

import keras

from scalenet_tf.architectures import (
    Architecture,
    check_parameters,
    get_architecture,
    public_name,
)
from scalenet_tf.layers import ScaleAggregation, check_data_format
from scalenet_tf.models import parts
from scalenet_tf.models.arguments import explained
from scalenet_tf.models.pyramid import ScaleNetModel
from scalenet_tf.weights import open_weights

Pooling = Literal["avg", "max"]
Activation = str | Callable[..., Any]


class ModelOptions(TypedDict, total=False):
    """The arguments of `ScaleNet` beside the architecture, for a type checker."""

    include_top: bool
    weights: str | os.PathLike[str] | None
    input_tensor: Any
    input_shape: tuple[int | None, int | None, int] | None
    pooling: Pooling | None
    classes: int | None
    classifier_activation: Activation | None
    name: str | None
    synchronized: bool
    sa_block: type[ScaleAggregation]


@explained
def ScaleNet(
    architecture: Architecture | str,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: Pooling | None = None,
    classes: int | None = None,
    classifier_activation: Activation | None = "softmax",
    name: str | None = None,
    *,
    synchronized: bool = False,
    sa_block: type[ScaleAggregation] = ScaleAggregation,
) -> keras.Model:
    """Builds the network of an architecture.

    Args:
        architecture: What to build: an `Architecture` (see `load_architecture`), or
            one of the public names of `list_models`.
        include_top: Whether to end with global average pooling and a dense layer.
        weights: `None` (random initialisation), the name of weights that come with
            the package (`"cifar10"`; see `list_weights`), or the path of a
            `.weights.h5` file of the same network, or of a `.keras` or `.h5` file
            with it, alone or inside another model. The classes must be the same;
            those of a file with a top are passed over without the top.
        input_tensor: Keras tensor to use as the input, `(batch, h, w, channels)`.
        input_shape: Shape of an image, `(h, w, channels)`; h and w may be `None` for
            any size. Default: the native size with the top, any size without.
        pooling: Without the top: `None` (feature maps out), `"avg"` or `"max"`.
        classes: Number of classes. Default: those of the weights; without weights
            1000, or 100 for CIFAR networks.
        classifier_activation: Activation of the dense layer; `None` gives logits.
        name: Name of the model. Default: the architecture's in lower case.
        synchronized: Whether batch norms use the statistics of the global batch under
            `tf.distribute`, instead of the replica's.
        sa_block: Class of the SA blocks: `ScaleAggregation` or a variant of it.

    Returns:
        A `keras.Model` that takes images as `preprocess_input` leaves them. Its layer
        `logits` is the dense layer, `predictions` its activation; its attribute
        `pyramid_outputs` is what `feature_pyramid` gives. Under a mixed-precision
        policy the top computes in float32.

    Raises:
        ValueError: An argument is not allowed, or does not fit the weights.
        TypeError: There is no such argument; the message names the one that is meant.

    Source: Li et al., CVPR 2019, sections 3 and 4.1. The authors published no CIFAR
    code: the stem and the strides of the CIFAR networks are this package's reading.
    """
    if not isinstance(architecture, Architecture):
        architecture = get_architecture(architecture)
    check_data_format()
    if not (isinstance(sa_block, type) and issubclass(sa_block, ScaleAggregation)):
        raise ValueError(
            "`sa_block` must be ScaleAggregation or a class derived from it. Received: "
            f"{sa_block!r}."
        )
    file = None if weights is None else open_weights(weights, public_name(architecture))
    if classes is None:
        classes = (file and file.classes) or architecture.default_classes
    classes = parts.check_head(include_top, pooling, classes)
    if include_top:
        check_parameters(architecture, classes)
    inputs = parts.image_input(architecture, include_top, input_tensor, input_shape)
    if file is not None:
        file.check(classes if include_top else None, inputs.shape[-1])

    x = parts.stem(inputs, architecture.stem, synchronized)
    for block in architecture.blocks():
        x = parts.bottleneck(x, block, architecture.scales, sa_block, synchronized)
    x = parts.top(x, include_top, pooling, classes, classifier_activation)

    source = keras.utils.get_source_inputs(inputs)
    model = ScaleNetModel(
        source[0] if len(source) == 1 else source,
        x,
        name=name or architecture.name.lower(),
    )
    if file is not None:
        file.load(model)
    return model


def create_model(model_name: str, **options: Unpack[ModelOptions]) -> keras.Model:
    """Builds the network of a public name, in any case, with `ScaleNet`'s arguments.

    Raises:
        ValueError: There is no such network, or an argument is not allowed.
    """
    return ScaleNet(get_architecture(model_name), **options)


_DOCSTRING = """Builds {name} ({blocks} bottlenecks, for {native}x{native} images).

Args:
    include_top: Whether to end with global average pooling and a dense layer.
    weights: `None` (random initialisation), the name of weights that come with the
        package (see `list_weights`), or the path of a `.weights.h5` file, or of a
        `.keras` or `.h5` file of a whole model.
    input_tensor: Keras tensor to use as the input, `(batch, h, w, channels)`.
    input_shape: Shape of an image, `(h, w, channels)`; h and w may be `None` for any
        size from {minimum} pixels up. Default: `({native}, {native}, 3)` with the
        top, any size without.
    pooling: Without the top: `None` (feature maps out), `"avg"` or `"max"`.
    classes: Number of classes. Default: those of the weights; without weights
        {classes}.
    classifier_activation: Activation of the dense layer; `None` gives logits.
    name: Name of the model.

Returns:
    A `keras.Model`; see `ScaleNet`.

Raises:
    ValueError: An argument is not allowed, or does not fit the weights.

Source: {source}.
"""


_Options = ParamSpec("_Options")


def _network(
    public_name: str,
    build: Callable[Concatenate[Architecture | str, _Options], keras.Model],
) -> Callable[_Options, keras.Model]:
    """The function of a network: `build` of its architecture, with its defaults."""
    architecture = get_architecture(public_name)
    defaults = {"name": architecture.name.lower()}

    def network(*args: _Options.args, **kwargs: _Options.kwargs) -> keras.Model:
        return build(architecture, *args, **kwargs)

    signature = inspect.signature(build)
    network.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            parameter.replace(default=defaults.get(name, parameter.default))
            for name, parameter in list(signature.parameters.items())[1:]
            if parameter.kind is not parameter.KEYWORD_ONLY
        ]
    )
    network.__name__ = network.__qualname__ = public_name
    network.__doc__ = _DOCSTRING.format(
        name=public_name,
        blocks=sum(architecture.blocks_per_stage),
        native=architecture.native_size,
        classes=architecture.default_classes,
        minimum=architecture.minimum_size,
        source="Li et al., CVPR 2019, supplementary table 1"
        if architecture.learned_on
        else "the same code with all neurons at scale 1, the baseline of comparisons",
    )
    return network


ScaleNetCifar38 = _network("ScaleNetCifar38", ScaleNet)
ScaleNetCifar56 = _network("ScaleNetCifar56", ScaleNet)
ScaleNetCifar101 = _network("ScaleNetCifar101", ScaleNet)
ScaleNet50Light = _network("ScaleNet50Light", ScaleNet)
ScaleNet50 = _network("ScaleNet50", ScaleNet)
ScaleNet101 = _network("ScaleNet101", ScaleNet)
ScaleNet152 = _network("ScaleNet152", ScaleNet)
ResNetCifar38 = _network("ResNetCifar38", ScaleNet)
ResNetCifar56 = _network("ResNetCifar56", ScaleNet)
ResNetCifar101 = _network("ResNetCifar101", ScaleNet)
ResNet50 = _network("ResNet50", ScaleNet)
ResNet101 = _network("ResNet101", ScaleNet)
ResNet152 = _network("ResNet152", ScaleNet)
