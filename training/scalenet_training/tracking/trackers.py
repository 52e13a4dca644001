"""The trackers by the names that --track takes: a table."""

from __future__ import annotations

from collections.abc import Mapping

from scalenet_tf.extras import import_extra
from scalenet_training.settings.groups import TrackerName
from scalenet_training.tracking.interface import TrackerKind
from scalenet_training.tracking.mlflow_run import MlflowRun
from scalenet_training.tracking.wandb_run import WandbRun

TRACKERS: Mapping[TrackerName, TrackerKind] = {
    "mlflow": TrackerKind(
        "MLflow", "mlflow.tracking", "mlflow-skinny", "mlflow", MlflowRun
    ),
    "wandb": TrackerKind("Weights & Biases", "wandb.sdk", "wandb", "wandb", WandbRun),
}


def find_tracker(name: TrackerName) -> TrackerKind | None:
    """The row of a tracker whose package is installed; `None` for "none".

    Raises:
        MissingPackageError: It is not; the message has the command that installs it.
    """
    if name == "none":
        return None
    kind = TRACKERS[name]
    import_extra(kind.module, kind.package, kind.extra, f"`track` {name}")
    return kind
