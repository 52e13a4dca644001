"""Max-pooling by a factor and upsampling to a size, for the scales of an SA block.

Sizes may be known when the graph is built or, on TensorFlow, only when it runs.
"""

from __future__ import annotations

from typing import Any

from scalenet_tf.layers.operations import Size, operations


def spatial_size(x: Any) -> Size:
    """Height and width: numbers where they are known, else scalar tensors."""
    return operations().spatial_size(x)


def _is_static(size: Size) -> bool:
    return all(isinstance(side, int) for side in size)


def max_pool_from(pooled: dict[int, Any], scale: int) -> Any:
    """Max-pools by `scale`, from the smallest map at hand that gives the same.

    A 4x4 pool is a 2x2 pool of the 2x2 pool, unless the map is so small that the
    window would be clamped.
    """
    size = spatial_size(pooled[1])
    source = 1
    if _is_static(size) and min(size) >= scale:
        source = max(done for done in pooled if scale % done == 0)
    return operations().max_pool(pooled[source], scale // source)


def repeats_pixels(x: Any, size: Size) -> bool:
    """Whether it is known that upsampling `x` to `size` repeats whole pixels."""
    small = spatial_size(x)
    return (
        _is_static(small)
        and _is_static(size)
        and all(large % side == 0 for large, side in zip(size, small, strict=True))
    )


def resize(x: Any, size: Size) -> Any:
    """Upsamples to `size`: nearest where both factors are integers, else bilinear."""
    small = spatial_size(x)
    if _is_static(small) and small == size:
        return x
    if not (_is_static(small) and _is_static(size)):
        return operations().resize_unknown(x, small, size)
    if repeats_pixels(x, size):
        return operations().repeat_pixels(x, size)
    return operations().interpolate(x, size)
