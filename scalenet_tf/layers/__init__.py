"""Layers: the SA (scale aggregation) block, and the batch norms of all networks."""

from scalenet_tf.layers.convolution import check_data_format, make_conv
from scalenet_tf.layers.normalization import (
    BatchNormalization,
    SynchronizedBatchNormalization,
    make_batch_norm,
)
from scalenet_tf.layers.scale_aggregation import ScaleAggregation

__all__ = [
    "BatchNormalization",
    "ScaleAggregation",
    "SynchronizedBatchNormalization",
    "check_data_format",
    "make_batch_norm",
    "make_conv",
]
