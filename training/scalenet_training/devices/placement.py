"""Devices and strategies: where the replicas of a run are."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

# Slurm's short forms of lists have no parser in TensorFlow's public names.
from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import (
    expand_hostlist,
    expand_tasks_per_node,
)

from scalenet_training.devices.cluster import Member, find_member
from scalenet_training.errors import SettingError, WorkerLostError

# What TensorFlow raises where another worker is gone, by the moment it is noticed.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a run computes.

    Attributes:
        name: `"none"`, `"mirrored"`, `"multiworker"` or `"tpu"`.
        strategy: TensorFlow's strategy.
        device: Kind of its devices, `"CPU"`, `"GPU"` or `"TPU"`.
        worker: Number of this worker.
        workers: Number of workers, 1 but for `"multiworker"`.
    """

    name: str
    strategy: tf.distribute.Strategy
    device: str
    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """Whether this worker writes; the others only compute."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """Replicas of all workers."""
        return self.strategy.num_replicas_in_sync

    def describe(self) -> str:
        """Words for the user."""
        workers = f" on {self.workers} workers" if self.workers > 1 else ""
        return (
            f"strategy {self.name}, {self.replicas} {self.device} replica(s){workers}"
        )


def configure_virtual_devices(count: int) -> None:
    """Splits the CPU in `count` logical devices; before any other use of TensorFlow.

    Raises:
        SettingError: TensorFlow is in use already, with another number of devices.
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
        raise SettingError(
            f"`virtual_devices`: TensorFlow already runs with {max(1, len(present))} "
            f"CPU devices in this process. Received: {count}."
        ) from error


def open_placement(name: str, virtual_devices: int, tpu: str | None) -> Placement:
    """Makes the strategy that `--strategy` names; before other uses of TensorFlow.

    `auto` is, in this order: multiworker in a cluster of several workers, tpu where
    `--tpu` is given, mirrored over more than one device, else none.

    Raises:
        SettingError: The machine or its environment has not what was asked for.
    """
    member = find_member(os.environ)
    several = member is not None and member.size > 1
    if name == "auto" and several:
        name = "multiworker"
    elif name == "auto" and tpu is not None:
        name = "tpu"
    _check_fit(name, virtual_devices, tpu, member)
    if name == "multiworker" and member is not None:
        return _open_multiworker(member)
    if name == "tpu":
        return Placement("tpu", _tpu_strategy(tpu), "TPU")
    configure_virtual_devices(virtual_devices)
    kind = "CPU" if virtual_devices or not _has_gpus() else "GPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if not virtual_devices and kind == "CPU":
        devices = devices[:1]
    if name == "none" or (name == "auto" and len(devices) < 2):
        return Placement("none", tf.distribute.get_strategy(), kind)
    return Placement("mirrored", tf.distribute.MirroredStrategy(devices), kind)


def _check_fit(
    name: str, virtual_devices: int, tpu: str | None, member: Member | None
) -> None:
    if virtual_devices > 1 and name not in ("auto", "mirrored"):
        raise SettingError(
            "`virtual_devices` needs `strategy` mirrored or auto. Received: "
            f"`virtual_devices` {virtual_devices} `strategy` {name}."
        )
    if name == "multiworker" and member is None:
        raise SettingError(
            "`strategy` multiworker needs the environment variable TF_CONFIG, or a "
            "Slurm step of several tasks. Neither was found."
        )
    if (name == "tpu") != (tpu is not None):
        raise SettingError(
            "`strategy` tpu and `tpu` NAME go together; NAME is 'local' on a TPU's own "
            f"machine. Received: `strategy` {name} `tpu` {tpu}."
        )


def _open_multiworker(member: Member) -> Placement:
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if member.described_by == "Slurm":
        resolver = _slurm_resolver()
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except (tf.errors.OpError, RuntimeError) as error:
        message = getattr(error, "message", error)
        raise WorkerLostError(
            f"`strategy` multiworker: worker {member.rank} of {member.size} (by "
            f"{member.described_by}) cannot join the others: {message}"
        ) from error
    # All workers have as many batches: no need to ask them at each whether they do.
    strategy.extended.experimental_enable_get_next_as_optional = False
    kind = "GPU" if _has_gpus() else "CPU"
    return Placement("multiworker", strategy, kind, member.rank, member.size)


def _has_gpus() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def _slurm_resolver() -> tf.distribute.cluster_resolver.ClusterResolver:
    """The cluster as Slurm's variables describe it, task by task in Slurm's order.

    TensorFlow's resolver sorts the nodes by name, so that the tasks of node[9-10] would
    change places, and fails where a task sees no GPU. Which GPUs a task has is left to
    Slurm (--gpus-per-task).
    """
    resolvers = tf.distribute.cluster_resolver
    # Two jobs on a node need other ports.
    port = 12000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 16000
    nodes = expand_hostlist(os.environ["SLURM_STEP_NODELIST"])
    tasks = expand_tasks_per_node(os.environ["SLURM_STEP_TASKS_PER_NODE"])
    addresses = [
        f"{node}:{port + task}"
        for node, count in zip(nodes, tasks, strict=True)
        for task in range(count)
    ]
    return resolvers.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}),
        task_type="worker",
        task_id=int(os.environ["SLURM_PROCID"]),
        rpc_layer="grpc",
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
    )


def _tpu_strategy(tpu: str | None) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        message = getattr(error, "message", error)
        raise SettingError(f"`tpu` {tpu!r} cannot be used: {message}") from error
    return tf.distribute.TPUStrategy(resolver)


def uses_xla(jit: str, placement: Placement, sync_batch_norm: bool) -> bool:
    """Whether each replica's pass is compiled; `auto`: on for GPUs, off for CPUs.

    On a TPU everything is compiled, by the strategy itself.

    Raises:
        SettingError: A compiled pass cannot hold what synchronised batch norm needs.
    """
    if sync_batch_norm and jit == "on":
        raise SettingError(
            "`sync_batch_norm` excludes `jit` on: it sums over replicas within the "
            "forward pass, which XLA compiles for one replica. Use `jit` off."
        )
    if jit == "auto":
        return placement.device == "GPU" and not sync_batch_norm
    return jit == "on" and placement.name != "tpu"


def check_global_batch(
    batch_size: int, strategy: tf.distribute.Strategy, accumulate: int = 1
) -> None:
    """Raises SettingError where the replicas cannot share the global batch equally."""
    parts = strategy.num_replicas_in_sync * accumulate
    if batch_size % parts:
        steps = f" times `accumulate` {accumulate}" if accumulate > 1 else ""
        raise SettingError(
            "`batch_size` must be a multiple of the number of replicas, "
            f"{strategy.num_replicas_in_sync}{steps}. Received: {batch_size}."
        )


def values_of_replicas(placement: Placement, value: float) -> np.ndarray:
    """Each replica's value, on all workers; all of them have to call this."""
    count = placement.replicas

    def replica_values(value: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        own = tf.one_hot(context.replica_id_in_sync_group, count, dtype=value.dtype)
        # `where`, since 0 times NaN is NaN
        own = tf.where(own > 0, value, tf.zeros_like(own))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    @tf.function(autograph=False)
    def gather(value: tf.Tensor) -> tf.Tensor:
        values = placement.strategy.run(replica_values, args=(value,))
        return placement.strategy.experimental_local_results(values)[0]

    return gather(tf.constant(value, tf.float64)).numpy()


@contextlib.contextmanager
def lost_workers(placement: Placement) -> Iterator[None]:
    """Turns what TensorFlow raises where a worker is gone into WorkerLostError."""
    try:
        yield
    except (*_LOST, tf.errors.InternalError, tf.errors.UnknownError) as error:
        # NCCL's errors have a class that others have too.
        known = isinstance(error, _LOST) or "NCCL" in str(error)
        if placement.workers == 1 or not known:
            raise
        reason = (error.message or type(error).__name__).splitlines()
        reason = [line for line in reason if "aborted by" in line] or reason
        raise WorkerLostError(
            f"worker {placement.worker} of {placement.workers} has lost another one: "
            f"{reason[0]} Start all workers again with the same command: the run goes "
            "on from its newest checkpoint."
        ) from error
