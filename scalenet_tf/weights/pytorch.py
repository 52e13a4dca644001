"""Weights of the authors' PyTorch models, brought into the Keras ones."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.names import HEAD, PYTORCH_HEAD, pytorch_modules, where_inside
from scalenet_tf.weights.pytorch_files import Checkpoint, read_pytorch_weights
from scalenet_tf.weights.tensors import LoadReport, cast_values, float_array

_BATCH_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


@dataclasses.dataclass(frozen=True)
class _Slot:
    """A variable of the model and the PyTorch tensor that belongs there."""

    tensor: str
    variable: keras.Variable

    @property
    def axes(self) -> tuple[int, ...]:
        """Order of the PyTorch axes in Keras: OIHW -> HWIO, (out, in) -> (in, out)."""
        return {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(self.variable.shape)]

    @property
    def pytorch_shape(self) -> tuple[int, ...]:
        return tuple(
            self.variable.shape[self.axes.index(axis)] for axis in range(len(self.axes))
        )


def load_pytorch_weights(
    model: keras.Model,
    source: str | os.PathLike[str] | Mapping[str, Any] | Checkpoint,
    key: str | None = None,
) -> LoadReport:
    """Loads weights in the authors' PyTorch names into a model, all or none.

    Every tensor is used exactly once. Counters such as `num_batches_tracked` are
    ignored, as are `fc.*` for a model without its top and a prefix that all names
    have, such as `module.` of data-parallel training. Tensors of float16, bfloat16,
    float32 and float64 are cast to the model's data type.

    Args:
        model: A network of this package, with the same architecture and classes.
        source: Path of a `.pth`, `.pt`, `.ckpt`, `.bin` or `.pth.tar` file (read by
            `torch.load` with `weights_only`) or of a `.safetensors` file, or a
            mapping from tensor names to tensors or arrays, or a mapping with one
            inside, as such files hold.
        key: Where in the file or mapping the tensors are, if it has several
            dictionaries of them: see `read_pytorch_weights`.

    Returns:
        How many tensors were loaded, which were ignored and which data types cast.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The package that reads the file is not installed.
        ValueError: A tensor is missing, unexpected, of another shape or no dense
            tensor of floating-point numbers; holds NaN or infinity, or a negative
            variance; or the model is not of this package. The message names the
            source and the tensor. The model is left as it was.

    Source: names of the authors' code; `conv2.<i>` and `bn2.<i>` are scale index i.
    """
    slots = _slots(model)
    _check_plain(slots, model.name)
    checkpoint = (
        source if isinstance(source, Checkpoint) else read_pytorch_weights(source, key)
    )
    unused = _check_names(
        slots, checkpoint, any(la.name == HEAD for la in model.layers)
    )
    arrays = [_fitting_array(slot, checkpoint, model.name) for slot in slots]
    cast: dict[str, None] = {}  # as a set that keeps its order
    values = []
    for slot, array in zip(slots, arrays, strict=True):
        dtype = slot.variable.dtype
        if array.dtype.name != dtype:
            cast[array.dtype.name] = None
        array = cast_values(checkpoint.source, slot.tensor, array, dtype)
        values.append(array.transpose(slot.axes))
    for slot, value in zip(slots, values, strict=True):
        slot.variable.assign(value)
    return LoadReport(
        source=checkpoint.source,
        found=len(checkpoint.tensors) + len(checkpoint.ignored),
        loaded=len(slots),
        ignored=(*checkpoint.ignored, *unused),
        cast=tuple(cast),
    )


def pytorch_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that `load_pytorch_weights` wants for a model.

    Raises:
        ValueError: The model is not of this package.
    """
    return {slot.tensor: slot.pytorch_shape for slot in _slots(model)}


def pytorch_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model by the authors' PyTorch names, in PyTorch's layout.

    `load_pytorch_weights` takes what this gives.

    Raises:
        ValueError: The model is not of this package.
    """
    return {
        slot.tensor: keras.ops.convert_to_numpy(slot.variable).transpose(
            np.argsort(slot.axes)
        )
        for slot in _slots(model)
    }


def _check_plain(slots: list[_Slot], model: str) -> None:
    for slot in slots:
        # With LoRA a kernel is computed, and once quantised it is integers.
        plain = isinstance(slot.variable, keras.Variable)
        if not plain or not keras.backend.is_float_dtype(slot.variable.dtype):
            raise ValueError(
                "`model` must have neither LoRA nor quantised layers: load the weights "
                "first, then call `enable_lora` or `quantize`. Received: "
                f"{model!r}, by its place for tensor {slot.tensor!r}."
            )


def _fitting_array(slot: _Slot, checkpoint: Checkpoint, model: str) -> np.ndarray:
    array = float_array(checkpoint.source, slot.tensor, checkpoint.tensors[slot.tensor])
    if array.shape != slot.pytorch_shape:
        raise ValueError(
            f"tensor {slot.tensor!r} of {checkpoint.source} must have shape "
            f"{slot.pytorch_shape} for model {model!r}. Received: shape {array.shape}."
        )
    return array


def _check_names(
    slots: list[_Slot], checkpoint: Checkpoint, has_top: bool
) -> list[str]:
    """Checks that every tensor has a place; gives those that a model passes over."""
    source, tensors = checkpoint.source, checkpoint.tensors
    missing = [slot for slot in slots if slot.tensor not in tensors]
    if missing:
        first = missing[0]
        raise ValueError(
            f"tensor {first.tensor!r} (shape {first.pytorch_shape}) is missing from "
            f"{source}, which has {len(tensors)} tensors"
            f"{_and_others([slot.tensor for slot in missing[1:]])}."
        )
    extra = [name for name in tensors if name not in {slot.tensor for slot in slots}]
    unexpected = [n for n in extra if has_top or not n.startswith(f"{PYTORCH_HEAD}.")]
    if unexpected:
        raise ValueError(
            f"tensor {unexpected[0]!r} of {source} is unexpected: the model has no "
            f"place for it{_and_others(unexpected[1:])}."
        )
    return extra


def _and_others(names: list[str]) -> str:
    if not names:
        return ""
    listed = ", ".join(repr(name) for name in names[:3])
    rest = ", ..." if len(names) > 3 else ""
    return f" (the same holds for {len(names)} more: {listed}{rest})"


def _slots(model: keras.Model) -> list[_Slot]:
    layers = {layer.name: layer for layer in model.layers}
    modules = pytorch_modules(layers)
    slots: list[_Slot] = []
    for name, layer in layers.items():
        if isinstance(layer, ScaleAggregation) and name in modules:
            for part, sublayer in layer.pytorch_modules().items():
                slots += _variable_slots(sublayer, f"{modules[name]}.{part}")
        elif name in modules:
            slots += _variable_slots(layer, modules[name])
    if not slots:
        raise ValueError(
            "`model` must be a network of this package, with its layer names. "
            f"Received: {model.name!r}.{where_inside(model)}"
        )
    return slots


def _variable_slots(layer: keras.Layer, module: str) -> Iterator[_Slot]:
    if isinstance(layer, keras.layers.BatchNormalization):
        variables = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        for name, variable in zip(_BATCH_NORM_TENSORS, variables, strict=True):
            yield _Slot(f"{module}.{name}", variable)
        return
    yield _Slot(f"{module}.weight", layer.kernel)
    if layer.use_bias:
        yield _Slot(f"{module}.bias", layer.bias)
