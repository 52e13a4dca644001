"""The ONNX graph of a network: one node or a few for each Keras layer.

ONNX has channels first, `(batch, channels, height, width)`, which is also what its
runtimes compute fastest; images are transposed once, at the input. Padding becomes an
attribute of the convolution or the pool that follows it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scalenet_tf._version import __version__
from scalenet_tf.export.onnx.checks import check_writable
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.preprocessing import STATISTICS

OPSET = 18  # the first whose Resize takes the sizes of some axes alone
_IR_VERSION = 8  # the one of the releases that brought opset 18

_CHANNELS_FIRST = [0, 3, 1, 2]
_ACTIVATIONS = {
    "linear": "Identity",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "tanh": "Tanh",
}


@dataclasses.dataclass(frozen=True)
class _Value:
    """A tensor of the graph.

    Attributes:
        name: In the graph; before `padding`, if there is any.
        shape: As Keras has it: `(batch, height, width, channels)` with the padding, or
            `(batch, units)`.
        padding: Zeros that the next convolution or pool has to add, as ONNX gives
            them: top, left, bottom, right.
        positive: Whether no entry is negative.
    """

    name: str
    shape: tuple[Any, ...]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    positive: bool = False


class _Graph:
    """The nodes and constants of a graph that is being made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        name: str,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Adds a node with one output, and returns the output's name."""
        # Unlike the names of layers, so that no layer's is that of an output.
        output = output or f"{name}:0"
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        """Adds a constant."""
        array = np.ascontiguousarray(array)
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def onnx_graph(
    network: keras.Model,
    outputs: Sequence[str],
    side: int,
    normalization: str | None = None,
) -> onnx.ModelProto:
    """Makes the ONNX model of a network for images of one size.

    Args:
        network: A functional model without batch norms, of float32.
        outputs: Names of its outputs in the graph.
        side: Height and width of an image, in pixels.
        normalization: Statistics, as for `preprocess_input`, that are applied in the
            graph. `None`: images come normalised.

    Returns:
        A model of opset 18 with the input `images`, `(batch, side, side, 3)`: uint8
        where it is normalised in the graph, else float32.

    Raises:
        ValueError: The network has a layer for which there is no ONNX; the message
            names it.
    """
    graph = _Graph()
    images = keras.Input((side, side, network.input_shape[-1]), name="images")
    values = {id(images): _input(graph, tuple(images.shape), normalization)}

    def record(layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        given = args[0] if isinstance(args[0], Sequence) else args[:1]
        node = _write(graph, layer, [values[id(tensor)] for tensor in given])
        values[id(result)] = dataclasses.replace(node, shape=tuple(result.shape))
        return result

    copy = keras.models.clone_model(
        network,
        input_tensors=images,
        clone_function=lambda layer: layer,
        call_function=record,
    )
    results = dict(zip(outputs, copy.outputs, strict=True))
    for name, tensor in results.items():
        graph.add("Identity", [values[id(tensor)].name], f"{name}_output", name)
    kind = TensorProto.FLOAT if normalization is None else TensorProto.UINT8
    given = _described({"images": images}, kind)
    made = _described(results, TensorProto.FLOAT)
    return _model(
        helper.make_graph(graph.nodes, network.name, given, made, graph.constants)
    )


def _input(graph: _Graph, shape: tuple[Any, ...], normalization: str | None) -> _Value:
    """The input as the network takes it."""
    name = graph.add("Transpose", ["images"], "channels_first", perm=_CHANNELS_FIRST)
    if normalization is None:
        return _Value(name, shape)
    mean, deviation = (np.array(part) for part in STATISTICS[normalization])
    floats = graph.add("Cast", [name], "pixels", to=TensorProto.FLOAT)
    scale = 1 / (255 * deviation)
    return _scaled(graph, "pixels", _Value(floats, shape), scale, -mean / deviation)


def _described(tensors: Mapping[str, Any], kind: int) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(key, kind, ["batch", *tensor.shape[1:]])
        for key, tensor in tensors.items()
    ]


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(
        graph,
        producer_name="scalenet_tf",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _write(graph: _Graph, layer: Any, inputs: Sequence[_Value]) -> _Value:
    """Adds the nodes of a layer; the result's shape is left to the caller."""
    for kind, write in _WRITERS.items():
        if isinstance(layer, kind):
            check_writable(layer, kind, len(inputs[0].shape))
            return write(graph, layer, *inputs)
    raise ValueError(
        f"`model` has the layer {layer.name!r}, a {type(layer).__name__}, for which "
        f"there is no ONNX here. Layers that there is ONNX for: "
        f"{', '.join(kind.__name__ for kind in _WRITERS)}."
    )


def _pad(graph: _Graph, layer: keras.layers.ZeroPadding2D, x: _Value) -> _Value:
    (top, bottom), (left, right) = layer.padding
    return dataclasses.replace(_padded(graph, x), padding=(top, left, bottom, right))


def _rescaling(graph: _Graph, layer: keras.layers.Rescaling, x: _Value) -> _Value:
    return _scaled(graph, layer.name, x, layer.scale, layer.offset)


def _normalization(
    graph: _Graph, layer: keras.layers.Normalization, x: _Value
) -> _Value:
    mean, variance = (np.ravel(part) for part in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return _scaled(graph, layer.name, x, scale, -mean * scale)


def _scaled(graph: _Graph, name: str, x: _Value, scale: Any, offset: Any) -> _Value:
    """A value times a scale plus an offset: numbers, or one for each channel."""
    result = _padded(graph, x).name
    sides = [1] * (len(x.shape) - 2)
    for kind, values in (("Mul", scale), ("Add", offset)):
        constant = np.reshape(np.asarray(values, np.float32), (1, -1, *sides))
        inputs = [result, graph.constant(f"{name}_{kind}_values", constant)]
        result = graph.add(kind, inputs, f"{name}_{kind}")
    return _Value(result, x.shape)


def _padded(graph: _Graph, x: _Value) -> _Value:
    """The value with its padding as a node, for layers that cannot take it over."""
    if not any(x.padding):
        return x
    top, left, bottom, right = x.padding
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    inputs = [x.name, graph.constant(f"{x.name}_pads", pads)]
    return _Value(
        graph.add("Pad", inputs, f"{x.name}_padded"), x.shape, (0, 0, 0, 0), x.positive
    )


def _conv(graph: _Graph, layer: keras.layers.Conv2D, x: _Value) -> _Value:
    if layer.padding == "same":
        x = _padded(graph, x)
        pairs = zip(layer.kernel_size, layer.dilation_rate, strict=True)
        windows = [(side - 1) * rate + 1 for side, rate in pairs]
        padding = _same(x.shape[1:3], windows, layer.strides)
    else:
        padding = x.padding
    kernel = graph.constant(
        f"{layer.name}_kernel", layer.kernel.numpy().transpose(3, 2, 0, 1)
    )
    biases = []
    if layer.use_bias:
        biases.append(graph.constant(f"{layer.name}_bias", layer.bias.numpy()))
    name = graph.add(
        "Conv",
        [x.name, kernel, *biases],
        layer.name,
        kernel_shape=layer.kernel_size,
        strides=layer.strides,
        dilations=layer.dilation_rate,
        group=layer.groups,
        pads=padding,
    )
    return _activated(graph, layer, name)


def _same(
    sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[int, int, int, int]:
    """TensorFlow's padding "same": what is odd goes to the bottom and the right."""
    totals = [
        max((-(-side // stride) - 1) * stride + window - side, 0)
        for side, window, stride in zip(sides, kernel, strides, strict=True)
    ]
    top, left = (total // 2 for total in totals)
    return top, left, totals[0] - top, totals[1] - left


def _pool(graph: _Graph, layer: keras.layers.MaxPooling2D, x: _Value) -> _Value:
    # ONNX fills up with minus infinity, Keras' padding was with zeros.
    x = x if x.positive else _padded(graph, x)
    padding = x.padding
    if layer.padding == "same":
        padding = _same(x.shape[1:3], layer.pool_size, layer.strides)
    name = graph.add(
        "MaxPool",
        [x.name],
        layer.name,
        kernel_shape=layer.pool_size,
        strides=layer.strides,
        pads=padding,
    )
    return _Value(name, x.shape, positive=x.positive)


def _average(
    graph: _Graph, layer: keras.layers.GlobalAveragePooling2D, x: _Value
) -> _Value:
    pooled = graph.add(
        "GlobalAveragePool", [_padded(graph, x).name], f"{layer.name}_map"
    )
    return _Value(graph.add("Flatten", [pooled], layer.name), x.shape)


def _dense(graph: _Graph, layer: keras.layers.Dense, x: _Value) -> _Value:
    constants = [graph.constant(f"{layer.name}_kernel", layer.kernel.numpy())]
    if layer.use_bias:
        constants.append(graph.constant(f"{layer.name}_bias", layer.bias.numpy()))
    return _activated(graph, layer, graph.add("Gemm", [x.name, *constants], layer.name))


def _activation(graph: _Graph, layer: Any, x: _Value) -> _Value:
    return _activated(graph, layer, _padded(graph, x).name)


def _activated(graph: _Graph, layer: Any, name: str) -> _Value:
    """What a layer's activation makes of a value."""
    activation = getattr(layer.activation, "__name__", str(layer.activation))
    if activation not in _ACTIVATIONS:
        raise ValueError(
            f"`model` has the activation {activation!r} in the layer {layer.name!r}, "
            f"for which there is no ONNX here. Those that there is ONNX for: "
            f"{', '.join(_ACTIVATIONS)}."
        )
    if activation != "linear":
        kind = _ACTIVATIONS[activation]
        name = graph.add(kind, [name], f"{layer.name}_{activation}")
    return _Value(name, (), positive=activation in ("relu", "sigmoid", "softmax"))


def _relu(graph: _Graph, layer: keras.layers.ReLU, x: _Value) -> _Value:
    name, slope = _padded(graph, x).name, float(layer.negative_slope)
    if slope:
        name = graph.add("LeakyRelu", [name], layer.name, alpha=slope)
    else:
        name = graph.add("Relu", [name], layer.name)
    if layer.max_value is not None:
        value = np.array(layer.max_value, np.float32)
        largest = graph.constant(f"{layer.name}_largest", value)
        name = graph.add("Min", [name, largest], f"{layer.name}_min")
    return _Value(name, x.shape, positive=not slope)


def _add(graph: _Graph, layer: keras.layers.Add, *parts: _Value) -> _Value:
    name, *others = (_padded(graph, part).name for part in parts)
    for index, other in enumerate(others):
        last = index == len(others) - 1
        suffix = "" if last else f"_{index}"
        name = graph.add("Add", [name, other], f"{layer.name}{suffix}")
    return _Value(name, parts[0].shape, positive=all(p.positive for p in parts))


def _same_value(graph: _Graph, layer: Any, x: _Value) -> _Value:
    return x


def _scale_aggregation(graph: _Graph, layer: ScaleAggregation, x: _Value) -> _Value:
    x = _padded(graph, x)
    pooled = {1: x}
    branches = []
    for scale, conv in layer.convs.items():
        if scale not in pooled:
            pooled[scale] = _max_pooled(graph, layer.name, pooled, scale)
        prefix = f"{layer.name}_scale{scale}"
        features = _conv_of_scale(graph, conv, pooled[scale], prefix)
        branches.append(_upsampled(graph, features, x.shape[1:3], prefix).name)
    if len(branches) > 1:
        return _Value(
            graph.add("Concat", branches, layer.name, axis=1), x.shape, positive=True
        )
    return _Value(branches[0], x.shape, positive=True)


def _max_pooled(
    graph: _Graph, name: str, pooled: Mapping[int, _Value], scale: int
) -> _Value:
    """As `resampling.max_pool_from`."""
    source = 1
    if min(pooled[1].shape[1:3]) >= scale:
        source = max(done for done in pooled if scale % done == 0)
    x = pooled[source]
    window = [min(scale // source, side) for side in x.shape[1:3]]
    sides = (side // length for side, length in zip(x.shape[1:3], window, strict=True))
    name = graph.add(
        "MaxPool",
        [x.name],
        f"{name}_scale{scale}_pool",
        kernel_shape=window,
        strides=window,
    )
    return _Value(name, (x.shape[0], *sides, x.shape[3]))


def _conv_of_scale(
    graph: _Graph, conv: keras.layers.Conv2D, x: _Value, prefix: str
) -> _Value:
    kernel = conv.kernel.numpy().transpose(3, 2, 0, 1)
    name = graph.add(
        "Conv",
        [
            x.name,
            graph.constant(f"{prefix}_kernel", kernel),
            graph.constant(f"{prefix}_bias", conv.bias.numpy()),
        ],
        f"{prefix}_conv",
        kernel_shape=conv.kernel_size,
        pads=_same(x.shape[1:3], conv.kernel_size, conv.strides),
    )
    return _Value(name, x.shape)


def _upsampled(graph: _Graph, x: _Value, sides: Sequence[int], prefix: str) -> _Value:
    """ReLU, and the map brought to a size, as `resampling.resize` does."""
    pairs = list(zip(sides, x.shape[1:3], strict=True))
    whole = all(large % small == 0 for large, small in pairs)
    name = x.name
    if whole:  # ReLU of the smaller map
        name = graph.add("Relu", [name], f"{prefix}_relu")
        if tuple(sides) == tuple(x.shape[1:3]):
            return _Value(name, x.shape)
        factors = [1, 1, *(large // small for large, small in pairs)]
        scales = graph.constant(f"{prefix}_factors", np.array(factors, np.float32))
        name = graph.add(
            "Resize",
            [name, "", scales],
            f"{prefix}_resize",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return _Value(name, x.shape)
    # By sides: a factor would be rounded (of 3 pixels, 4.6666665 makes 13, not 14).
    sizes = graph.constant(f"{prefix}_sides", np.array(sides, np.int64))
    name = graph.add(
        "Resize",
        [name, "", "", sizes],
        f"{prefix}_resize",
        axes=[2, 3],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    return _Value(graph.add("Relu", [name], f"{prefix}_relu"), x.shape)


_Writer = Callable[..., _Value]

_WRITERS: Mapping[type, _Writer] = MappingProxyType(
    {
        ScaleAggregation: _scale_aggregation,
        keras.layers.Conv2D: _conv,
        keras.layers.Rescaling: _rescaling,
        keras.layers.Normalization: _normalization,
        keras.layers.ZeroPadding2D: _pad,
        keras.layers.MaxPooling2D: _pool,
        keras.layers.GlobalAveragePooling2D: _average,
        keras.layers.Dense: _dense,
        keras.layers.Activation: _activation,
        keras.layers.ReLU: _relu,
        keras.layers.Add: _add,
        keras.layers.Dropout: _same_value,
    }
)
