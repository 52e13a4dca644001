"""What differs between runs, and what came out of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalenet_training.overview.overview import Run
from scalenet_training.runs.metrics import known, worth_telling
from scalenet_training.runs.record import RunRecord

# Of the record, beside settings, data and versions.
_NETWORK = ("parameters", "macs", "image_size", "eval_resize")
_COMPUTED = (
    *("eval_split", "training_examples", "evaluation_examples", "shards"),
    *("strategy", "replicas", "workers", "xla"),
)

Differences = Mapping[str, Mapping[str, Sequence[Any]]]


def differences(runs: Sequence[Run]) -> Differences:
    """What differs between runs.

    Returns:
        Group -> field -> its value in each run, of fields that are not equal; None
        where a run has no such field. `workdir` always differs, and is left out.
    """
    described = [_described(run.record) for run in runs]
    found = {group: _differing([d[group] for d in described]) for group in described[0]}
    return {group: fields for group, fields in found.items() if fields}


def _described(record: RunRecord) -> dict[str, dict[str, Any]]:
    """The facts of a record by groups."""
    settings = record.config.to_json()
    del settings["workdir"]
    own = {"classes": len(record.class_names), **record.architecture}
    return {
        "settings": settings,
        "network": own | {name: getattr(record, name) for name in _NETWORK},
        "computation": {name: getattr(record, name) for name in _COMPUTED},
        "data": {"recorded": record.data is not None, **(record.data or {})},
        "versions": record.versions,
    }


def _differing(facts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in facts for name in one)
    values = {name: [one.get(name) for one in facts] for name in names}
    return {n: own for n, own in values.items() if any(v != own[0] for v in own)}


def results(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """What came out: name -> its value for each run; None where there is none.

    Errors are fractions. Those of the best epoch are of the network in `best.keras`.
    """
    listed = [_results(run) for run in runs]
    names = dict.fromkeys(name for one in listed for name in one)
    return {name: [one.get(name) for one in listed] for name in names}


def _results(run: Run) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "state": run.state,
        "epochs": run.epochs,
        "planned_epochs": run.record.planned_epochs,
    }
    best = run.best
    if best is None:
        return facts
    classes, last = len(run.record.class_names), run.rows[-1]
    told = {
        "best_epoch": best["epoch"] + 1,
        "best_val_top1_error": best["val_top1_error"],
        "best_val_top5_error": best["val_top5_error"],
        "best_val_loss": best["val_loss"],
        "best_training_top1_error": best["top1_error"],
        "last_val_top1_error": last["val_top1_error"],
        "last_training_top1_error": last["top1_error"],
        "images_per_second": known(last).get("images_per_second"),
    }
    return facts | worth_telling(told, classes)
