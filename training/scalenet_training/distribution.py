"""Devices and strategies: where the replicas of a run are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def configure_virtual_devices(count: int) -> None:
    """Splits the CPU in `count` logical devices; before any other use of TensorFlow.

    Raises:
        ValueError: TensorFlow is in use already, with another number of devices.
    """
    if count == 0:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    present = tf.config.get_logical_device_configuration(cpu) or []
    if len(present) == count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        )
    except RuntimeError as error:
        raise ValueError(
            f"--virtual-devices: TensorFlow already runs with {max(1, len(present))} "
            f"CPU devices in this process. Received: {count}."
        ) from error


def create_strategy(name: str, virtual_devices: int) -> tf.distribute.Strategy:
    """Makes the strategy that `--strategy` names, over all devices of its kind.

    Raises:
        ValueError: Virtual devices were asked for and would not be used.
    """
    devices = [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    if virtual_devices:
        devices = [cpu.name for cpu in tf.config.list_logical_devices("CPU")]
    if name == "none" and virtual_devices > 1:
        raise ValueError(
            "--virtual-devices needs --strategy mirrored or auto. Received: "
            f"--virtual-devices {virtual_devices} --strategy none."
        )
    if name == "none" or (name == "auto" and len(devices) < 2):
        return tf.distribute.get_strategy()
    if virtual_devices:
        # The default all-reduce looks for links between GPUs.
        return tf.distribute.MirroredStrategy(
            devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
    return tf.distribute.MirroredStrategy(devices or ["CPU:0"])


def uses_xla(jit: str, virtual_devices: int) -> bool:
    """Whether to compile with XLA; `auto` means on for GPUs and off for CPUs."""
    if jit == "auto":
        return bool(tf.config.list_logical_devices("GPU")) and not virtual_devices
    return jit == "on"


def check_global_batch(batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError where the replicas cannot share the global batch equally."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"--batch-size must be a multiple of the number of replicas, {replicas}. "
            f"Received: {batch_size}."
        )


def make_statistics_average(
    models: Sequence[keras.Model], strategy: tf.distribute.Strategy
) -> Callable[[], None]:
    """Makes the function that averages BN moving statistics over the replicas.

    Each replica keeps statistics of its own examples; what is evaluated and saved
    without this is the first replica's.
    """
    variables = [
        variable.value
        for model in models
        for variable in model.weights
        if variable.name in ("moving_mean", "moving_variance")
    ]

    def replica_average() -> None:
        context = tf.distribute.get_replica_context()
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, variables)
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)

    @tf.function
    def average() -> None:
        if strategy.num_replicas_in_sync > 1:
            strategy.run(replica_average)

    return average
