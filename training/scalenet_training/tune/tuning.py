"""A search for channel budgets, from settings to the networks that it found."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from scalenet_tf import Architecture
from scalenet_tf.files import made_folder
from scalenet_training.data.division import BY_NAME
from scalenet_training.data.files.index import INDEX_FILE
from scalenet_training.errors import usage_errors
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.networks.targets import target_macs
from scalenet_training.runs.files import disk_errors
from scalenet_training.runs.locking import Lock, locked_folder
from scalenet_training.train.examples import Examples, open_examples
from scalenet_training.tune.config import TuneConfig
from scalenet_training.tune.folder import SearchFolder


def tune(config: TuneConfig) -> bool:
    """Searches, one target after the other, and prints and writes what it found.

    Returns:
        Whether that is done. Else the same is to be called in a fresh process, which
        goes on where this one stopped.

    Raises:
        UsageError: The settings do not fit each other, the data, or what is in the
            folder; nothing was written.
        RunError: The search began and could not be finished.
    """
    with usage_errors():
        # Where keras-tuner is missing, this says so.
        from scalenet_training.tune.search import find_role

        role = find_role(os.environ)
        if role != "alone" and len(config.targets) > 1:
            raise ValueError(
                "--budgets: several processes can share the search for one target "
                f"alone. Received: {' '.join(config.targets)}."
            )
        base = resolve_architecture(config.model)
        examples = open_examples(config.data, base, config.search_folder)
        searches, facts = _prepare(config, base, examples)
    folder = SearchFolder(config.search_folder)
    with _opened(folder, role) as lock:
        folder.check({**config.space(), **facts}, _defaults(facts))
        folder.claim({**config.space(), **facts})
        images = examples.source.images
        if images is not None and images.index.changed and role != "worker":
            with disk_errors(folder.path):
                images.index.save(folder.file(INDEX_FILE))
        if not all(search.run(folder, role) for search in searches):
            if lock is not None:
                lock.hand_over()
            return False
        if role == "worker":
            print("no trials are left; the chief has the results")
        else:
            _report(searches, folder)
        return True


@contextlib.contextmanager
def _opened(folder: SearchFolder, role: str) -> Iterator[Lock | None]:
    """The search's folder, made where there is none, locked where trials are chosen.

    Workers share it with their chief, whose lock it is.
    """
    if role == "worker":
        with made_folder(folder.path):
            yield None
    else:
        with locked_folder(folder.path, "--workdir") as lock:
            yield lock


def _prepare(config: TuneConfig, base: Architecture, examples: Examples):
    """The search of each target, and what search.json says beyond the settings."""
    from scalenet_training.tune.search import Search, TrialModel

    classes = len(examples.source.class_names)
    size = examples.transform.image_size
    option = "--budgets" if config.budgets else "--target-macs"
    searches = []
    for text in config.targets:
        target = target_macs(text, base, classes, option)
        try:
            hypermodel = TrialModel(
                examples,
                config.batch_size,
                config.seed,
                base=base,
                target_macs=target,
                classes=classes,
                input_shape=(size, size, 3),
                depth=config.depth,
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
                label_smoothing=config.label_smoothing,
            )
        except ValueError as error:
            message = str(error).replace("`target_macs`", f"{option} {text}")
            raise ValueError(message.replace("`depth`", "--depth")) from error
        searches.append(Search(config, _project(text), hypermodel))
    facts = {
        "architecture": base.to_record(),
        "class_names": list(examples.source.class_names),
        "data": examples.data.facts,
        "training_examples": examples.train_split.size,
        "evaluation_examples": examples.eval_split.size,
    }
    return searches, facts


def _defaults(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a search from before these were recorded; it held out other images."""
    divided = facts["data"].get("division") == BY_NAME
    data = {} if divided else {"data": facts["data"]}
    return {"on_damaged": TuneConfig().on_damaged, **data}


def _project(target: str) -> str:
    """The name of a target's folder."""
    return target.strip().lower().replace("+", "")


def _report(searches, folder: SearchFolder) -> None:
    from scalenet_training.tune.report import (
        FIGURE_FILE,
        TRIALS_FILE,
        read_rows,
        training_command,
        write_report,
    )

    best = write_report(read_rows(searches, folder), folder)
    print(f"* the best of its budget; {folder.file(TRIALS_FILE)} has every trial's")
    print(f"neurons, {folder.file(FIGURE_FILE)} the errors against MACs")
    print("To train the best:")
    for row in best:
        print(training_command(row, folder))
