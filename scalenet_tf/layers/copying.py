"""Layers copied with what they compute, whatever Keras has added to them later.

`enable_lora` and `quantize` change the variables of a layer that exists. LoRA's
matrices are part of the kernel in what Keras saves, and so they are in a copy.
"""

from __future__ import annotations

import tempfile
from typing import Any

import keras
import numpy as np

_LORA = ("lora_rank", "lora_alpha")


def is_quantized(layer: Any) -> bool:
    """Whether `quantize` has made integers of the layer's kernel."""
    return getattr(layer, "quantization_mode", None) is not None


def plain_config(layer: keras.Layer) -> dict[str, Any]:
    """The configuration of a layer without LoRA, unless it is quantised as well."""
    config = layer.get_config()
    if not is_quantized(layer):
        for name in _LORA:
            config.pop(name, None)
    return config


def saved_shapes(layer: keras.Layer) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of what `copy_weights` copies."""
    return [
        {name: tuple(array.shape) for name, array in _saved(part).items()}
        for part in layer._flatten_layers()
    ]


def copy_weights(layer: keras.Layer, copy: keras.Layer) -> None:
    """Sets the state of a layer that is as one made of `plain_config`."""
    # Keras' own way to save and load; the layers inside a layer have variables apart.
    for part, new in zip(layer._flatten_layers(), copy._flatten_layers(), strict=True):
        if is_quantized(part):  # merging LoRA would round
            new.set_weights(part.get_weights())
        else:
            # In arrays of its own: on JAX, training ends the life of a model's arrays.
            arrays = {
                n: np.array(keras.ops.convert_to_numpy(v))
                for n, v in _saved(part).items()
            }
            new.load_own_variables(arrays)
        if hasattr(part, "save_assets"):  # such as the vocabulary of a lookup
            with tempfile.TemporaryDirectory() as folder:
                part.save_assets(folder)
                new.load_assets(folder)


def _saved(layer: keras.Layer) -> dict[str, Any]:
    """The variables of a layer alone, as Keras saves them."""
    saved: dict[str, Any] = {}
    layer.save_own_variables(saved)
    return saved
