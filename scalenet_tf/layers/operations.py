"""What Keras' backends compute in different ways, for the layers of this package.

TensorFlow has operations of its own here: fused batch norm, one kernel for upsampling,
sizes that are known only when a graph runs, replicas. The other backends take the
operations of Keras, which know every size when they compute.
"""

from __future__ import annotations

import functools
import importlib
import typing
from typing import Any, NamedTuple, Protocol

import keras

Size = tuple[Any, Any]  # height and width: numbers, or scalar tensors

_MODULES = {"tensorflow": "scalenet_tf.layers.tensorflow_operations"}
_OTHERS = "scalenet_tf.layers.keras_operations"


class Normalized(NamedTuple):
    """A normalised map, and the statistics of the batch: mean and unbiased variance."""

    output: Any
    mean: Any
    variance: Any


class Operations(Protocol):
    """What the module of a backend has."""

    def spatial_size(self, x: Any) -> Size:
        """Height and width: numbers where they are known, else scalar tensors."""

    def max_pool(self, x: Any, window: int) -> Any:
        """Max-pool with stride `window`, no padding, the window clamped to the map."""

    def repeat_pixels(self, x: Any, size: Size) -> Any:
        """Upsamples to `size` by integer factors, in both directions."""

    def interpolate(self, x: Any, size: Size) -> Any:
        """Bilinear interpolation with half-pixel centres, in the type of `x`."""

    def resize_unknown(self, x: Any, small: Size, size: Size) -> Any:
        """The one or the other, from `small` to `size`, not all of which is known."""

    def normalize_by_moving(self, layer: Any, x: Any) -> Any | None:
        """Batch norm by the moving statistics of a layer of batch norm.

        None where it is left to Keras' own layer.
        """

    def normalize_by_batch(self, layer: Any, x: Any, repeats: int) -> Normalized:
        """Batch norm by the batch's own statistics.

        `repeats` is how often each pixel is counted for the unbiased variance.
        """

    def normalize_by_replicas(self, layer: Any, x: Any, repeats: int) -> Normalized:
        """The same, by the statistics of the batches of all replicas."""


@functools.cache
def operations() -> Operations:
    """Those of the backend that Keras computes by."""
    module = _MODULES.get(keras.config.backend(), _OTHERS)
    return typing.cast(Operations, importlib.import_module(module))
