"""Weights of the authors' PyTorch models, brought into the Keras ones."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.models import HEAD

_LAYER_PATTERN = re.compile(r"stage(\d+)_block(\d+)_(\w+)")
_STEM_MODULES = {"stem_conv": "conv1", "stem_bn": "bn1", HEAD: "fc"}
_BLOCK_MODULES = {
    "conv1": "conv1",
    "bn1": "bn1",
    "conv3": "conv3",
    "bn3": "bn3",
    "shortcut_conv": "downsample.0",
    "shortcut_bn": "downsample.1",
}
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
    model: keras.Model, source: str | os.PathLike[str] | Mapping[str, Any]
) -> None:
    """Loads weights in the authors' PyTorch names into a model, all or none.

    Every tensor is used exactly once. `num_batches_tracked` is ignored, as are `fc.*`
    for a model without its top and the prefix `module.` of data-parallel training.

    Args:
        model: A network of this package, with the same architecture and classes.
        source: Path of a `.pth`/`.pt` file (read by `torch.load` with `weights_only`)
            or a `.safetensors` file, or a mapping from tensor names to arrays.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The package that reads the file is not installed.
        ValueError: A tensor is missing, unexpected or of another shape, or the model
            is not of this package; the message names the first one. The model is
            left as it was.

    Source: names of the authors' code; `conv2.<i>` and `bn2.<i>` are scale index i.
    """
    tensors = read_pytorch_weights(source)
    slots = list(_slots(model))
    _check_names(slots, tensors, has_top=any(la.name == HEAD for la in model.layers))
    arrays = []
    for slot in slots:
        array = np.asarray(tensors[slot.tensor])
        if array.shape != slot.pytorch_shape:
            raise ValueError(
                f"tensor {slot.tensor!r} must have shape {slot.pytorch_shape} for "
                f"model {model.name!r}. Received: shape {array.shape}."
            )
        arrays.append(array.transpose(slot.axes))
    for slot, array in zip(slots, arrays, strict=True):
        slot.variable.assign(array)


def read_pytorch_weights(
    source: str | os.PathLike[str] | Mapping[str, Any],
) -> dict[str, Any]:
    """Reads the tensors of a PyTorch checkpoint, by the authors' names.

    Args:
        source: As for `load_pytorch_weights`.

    Returns:
        Name, without the prefix `module.`, -> array; `num_batches_tracked` left out.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The package that reads the file is not installed.
        ValueError: The file cannot be read.
    """
    tensors = source if isinstance(source, Mapping) else _read(os.fspath(source))
    plain = {}
    for name, tensor in tensors.items():
        key = str(name).removeprefix("module.")
        if key in plain:
            raise ValueError(f"tensor {key!r} is twice in `source`, with `module.`.")
        if not key.endswith("num_batches_tracked"):
            plain[key] = tensor
    return plain


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
        slot.tensor: slot.variable.numpy().transpose(np.argsort(slot.axes))
        for slot in _slots(model)
    }


def _check_names(slots: list[_Slot], tensors: Mapping[str, Any], has_top: bool) -> None:
    expected = {slot.tensor for slot in slots}
    for slot in slots:
        if slot.tensor not in tensors:
            raise ValueError(
                f"tensor {slot.tensor!r} (shape {slot.pytorch_shape}) is missing from "
                f"`source`, which has {len(tensors)} tensors."
            )
    for name in tensors:
        if name not in expected and (has_top or not name.startswith("fc.")):
            raise ValueError(
                f"tensor {name!r} of `source` is unexpected: the model has no place "
                "for it."
            )


def _read(path: str) -> Mapping[str, Any]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no checkpoint file at {path!r}.")
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    if path.endswith((".pth", ".pt", ".pth.tar")):
        return _read_torch(path)
    raise ValueError(
        "`source` must be a .pth, .pt or .safetensors file, or a mapping from names to "
        f"arrays. Received: {path!r}."
    )


def _read_safetensors(path: str) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            "reading a .safetensors file needs the safetensors package: "
            "pip install 'scalenet_tf[convert]'."
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path!r} is not a safetensors file: {error}.") from error


def _read_torch(path: str) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "reading a .pth file needs PyTorch: pip install 'scalenet_tf[convert]'."
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file it cannot read
        raise ValueError(
            f"{path!r} is not a PyTorch checkpoint of plain tensors: {error}"
        ) from error
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(tensors, Mapping):
        raise ValueError(
            f"{path!r} must hold a state_dict. Received: {type(content).__name__}."
        )
    return {
        name: value.float().numpy() if torch.is_tensor(value) else value
        for name, value in tensors.items()
    }


def _slots(model: keras.Model) -> Iterator[_Slot]:
    slots = [slot for layer in model.layers for slot in _layer_slots(layer)]
    if not slots:
        raise ValueError(
            "`model` must be a network of this package, with its layer names. "
            f"Received: {model.name!r}."
        )
    yield from slots


def _layer_slots(layer: keras.Layer) -> Iterator[_Slot]:
    if layer.name in _STEM_MODULES:
        yield from _variable_slots(layer, _STEM_MODULES[layer.name])
        return
    match = _LAYER_PATTERN.fullmatch(layer.name)
    if match is None:
        return
    block = f"layer{match[1]}.{int(match[2]) - 1}"
    if isinstance(layer, ScaleAggregation):
        if layer.folded:
            raise ValueError(
                "`model` must have its batch norms: load the weights, then fold it. "
                f"Received: a folded model, by its layer {layer.name!r}."
            )
        for scale, conv in layer.convs.items():
            index = layer.scales.index(scale)
            yield from _variable_slots(conv, f"{block}.conv2.{index}")
            yield from _variable_slots(layer.norms[scale], f"{block}.bn2.{index}")
    elif match[3] in _BLOCK_MODULES:
        yield from _variable_slots(layer, f"{block}.{_BLOCK_MODULES[match[3]]}")


def _variable_slots(layer: keras.Layer, module: str) -> Iterator[_Slot]:
    if isinstance(layer, keras.layers.BatchNormalization):
        variables = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        for name, variable in zip(_BATCH_NORM_TENSORS, variables, strict=True):
            yield _Slot(f"{module}.{name}", variable)
        return
    yield _Slot(f"{module}.weight", layer.kernel)
    if layer.use_bias:
        yield _Slot(f"{module}.bias", layer.bias)
