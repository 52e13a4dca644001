"""A search for channel budgets, from settings to the networks that it found."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from scalenet_tf import Architecture, HyperScaleNet
from scalenet_training.data.division import BY_NAME
from scalenet_training.data.files.index import INDEX_FILE
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.networks.targets import target_macs
from scalenet_training.runs.files import disk_errors
from scalenet_training.runs.locking import locked_folder
from scalenet_training.runs.run_data import check_outside
from scalenet_training.train.examples import Examples, open_examples
from scalenet_training.tune.config import TuneConfig
from scalenet_training.tune.folder import SearchFolder
from scalenet_training.tune.processes import other_process
from scalenet_training.tune.report import read_rows, write_report
from scalenet_training.tune.roles import find_role
from scalenet_training.tune.search import Search

# Measuring a network takes less memory than training it.
_NETWORKS_PER_PROCESS = 100


def tune(config: TuneConfig) -> None:
    """Searches, one target after the other, and prints and writes what it found.

    Raises:
        UsageError: The settings do not fit each other, the data, or what is in the
            folder; nothing was written.
        RunError: The search began and could not be finished.
    """
    role = find_role(os.environ)
    if role != "alone" and len(config.targets) > 1:
        raise UsageError(
            "`budgets`: several processes can share the search for one target alone. "
            f"Received: {' '.join(config.targets)}."
        )
    _leave_gpus_to_trials()
    folder = SearchFolder(config.search_folder)
    check_outside(folder.path, config.dataset, config.data_dir)
    with usage_errors():
        base = resolve_architecture(config.model)
        examples = open_examples(config.train_config(), base, folder.path)
    searches = [
        _search(config, folder, text, base, examples) for text in config.targets
    ]
    facts = _facts(base, examples)
    space = {**config.space(), **facts}
    worker = role == "worker"  # of a chief, who has the lock
    opened = (
        contextlib.nullcontext() if worker else locked_folder(folder.path, "`workdir`")
    )
    with opened as lock:
        folder.check(space, _defaults(facts))
        for search in searches:  # those that come later, too, before the first works
            folder.ended_trials(search.project)
        if lock is not None:
            lock.check()
        folder.claim(space)
        images = examples.source.images
        if images is not None and images.index.changed and not worker:
            with disk_errors(folder.path):  # for the trials, which open no image twice
                images.index.save(folder.file(INDEX_FILE))
        with other_process(config.trials_per_process, config.batch_size) as call:
            for search in searches:
                search.run(role, call)
        if worker:
            print("no trials are left; the chief has the results")
            return
        with other_process(_NETWORKS_PER_PROCESS) as call:
            write_report(read_rows(searches, call), folder)


def _leave_gpus_to_trials() -> None:
    """Keeps this process, which trains nothing, from taking the memory of the GPUs."""
    if tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # it has used them before this search
            tf.config.set_visible_devices([], "GPU")


def _search(
    config: TuneConfig,
    folder: SearchFolder,
    target: str,
    base: Architecture,
    examples: Examples,
) -> Search:
    """The search for one target.

    Raises:
        UsageError: The target cannot be reached.
    """
    classes = examples.transform.classes
    size = examples.transform.image_size
    budgets = bool(config.budgets)
    option = "`budgets`" if budgets else "`target_macs`"
    with usage_errors():
        macs = target_macs(target, base, classes, option)
    with usage_errors(ValueError, about=f"`budgets` {target}: " if budgets else ""):
        hypermodel = HyperScaleNet(
            base,
            macs,
            classes,
            (size, size, 3),
            depth=config.depth,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            label_smoothing=config.label_smoothing,
        )
    project = target.strip().lower().replace("+", "")
    return Search(config, folder, project, hypermodel, size)


def _facts(base: Architecture, examples: Examples) -> dict[str, Any]:
    """What search.json says beyond the settings."""
    return {
        "architecture": base.to_record(),
        "class_names": list(examples.source.class_names),
        "data": examples.data.facts,
        "training_examples": examples.train_split.size,
        "evaluation_examples": examples.eval_split.size,
    }


def _defaults(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a search from before they were recorded; it held out other images."""
    divided = facts["data"].get("division") == BY_NAME
    data = {} if divided else {"data": facts["data"]}
    return {"on_damaged": TuneConfig().on_damaged, **data}
