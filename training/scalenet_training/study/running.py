"""Trains what is missing of a study, one run after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence

from scalenet_tf import Architecture
from scalenet_tf.allocation import Importance
from scalenet_training.allocate.learning import read_seed
from scalenet_training.data.sources import open_source
from scalenet_training.devices.cluster import VARIABLES
from scalenet_training.errors import RunError, SettingError, usage_errors
from scalenet_training.invocation import process_of, typed_as
from scalenet_training.networks.allocation_file import write_allocation
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.recipes.presets import options_of
from scalenet_training.runs.files import check_writable
from scalenet_training.runs.locking import FolderInUseError, locked_folder
from scalenet_training.runs.run_data import check_outside
from scalenet_training.study.allocations import make_allocation
from scalenet_training.study.changes import check_unchanged
from scalenet_training.study.collection import collect, has_ended, note_hardware
from scalenet_training.study.config import StudyConfig
from scalenet_training.study.report import REPORT_FILE, write_report
from scalenet_training.study.results import RESULTS_FILE, missing, read_results
from scalenet_training.study.spec import (
    AllocationSpec,
    Arm,
    Study,
    StudyRun,
    read_study,
)
from scalenet_training.train.interruption import raising_termination


def run_study(config: StudyConfig) -> None:
    """Trains what is missing, collects what has ended, and writes the report.

    Raises:
        UsageError: The study's file, or a folder, cannot be used; nothing was written.
        RunError: Some runs failed; the others, and the report, are done.
    """
    with usage_errors():
        study = read_study(config.file)
        for name in study.networks:
            resolve_architecture(name)
        _check_choice("arms", config.arms, [arm.name for arm in study.arms])
        _check_choice("seeds", config.seeds, study.seeds)
        check_unchanged(study, config, read_results(_results_file(config)))
        if not config.report:
            for arm in study.arms:
                check_outside(config.runs_folder, arm.config.dataset, config.data_dir)
            _check_allocations(study, config.data_dir)
    check_writable(config.runs_folder, "`workdir`")
    failed = [] if config.report else _train_missing(study, config)
    results = collect(study, config)
    write_report(study, config.results_folder)
    left = missing(study, results)
    print(
        f"{study.size - len(left)} of {study.size} runs have ended. Report: "
        f"{os.path.join(config.results_folder, REPORT_FILE)}"
    )
    if failed:
        raise RunError(
            f"these runs failed: {', '.join(failed)}. Their messages are above; the "
            "same command tries them again."
        )
    if left:
        chosen = config.arms or config.seeds
        how = "without --arms and --seeds" if chosen else "again"
        print(f"Left: {', '.join(left)}. To go on, type the same command {how}.")


def _results_file(config: StudyConfig) -> str:
    return os.path.join(config.results_folder, RESULTS_FILE)


def _check_choice(name: str, chosen: Sequence[object], all_: Sequence[object]) -> None:
    unknown = [value for value in chosen if value not in all_]
    if unknown:
        raise SettingError(
            f"`{name}` must be of the study's, {', '.join(map(str, all_))}. Received: "
            f"{', '.join(map(str, unknown))}."
        )


def _check_allocations(study: Study, data_dir: str | None) -> None:
    """Refuses targets that cannot be reached before anything is trained."""
    for arm in study.arms:
        spec = arm.allocation
        if spec is not None:
            if spec.seed_arm is not None:  # whose importance is not there yet
                spec = dataclasses.replace(spec, kind="even", seed_arm=None)
            _allocated(spec, _classes(arm, data_dir), study.seeds[0])


def _train_missing(study: Study, config: StudyConfig) -> list[str]:
    """Trains until nothing is left that this process can do; names of failed runs."""
    failed: list[str] = []
    while True:
        done = False
        for run in _to_train(study, config):
            if run.name in failed or not _is_ready(study, run, config):
                continue
            with _claimed(run, config) as claimed:
                if not claimed or has_ended(run):
                    continue
                if not _train(study, run, config):
                    failed.append(run.name)
                done = True
            collect(study, config)
            write_report(study, config.results_folder)
        if not done:
            return failed


def _to_train(study: Study, config: StudyConfig) -> list[StudyRun]:
    """The chosen runs without a result, and the seed networks that they wait for."""
    with usage_errors():
        left = missing(study, read_results(_results_file(config)))
    runs = list(study.runs(config.runs_folder))
    wanted = {
        run.name
        for run in runs
        if run.name in left and config.chooses(run.arm.name, run.seed)
    }
    for run in runs:
        if run.name in wanted and not _is_ready(study, run, config):
            wanted.add(study.seed_run(run, config.runs_folder).name)
    return [run for run in runs if run.name in wanted and not has_ended(run)]


def _is_ready(study: Study, run: StudyRun, config: StudyConfig) -> bool:
    """Whether its allocation is there, or the seed network to learn it from."""
    allocation = run.arm.allocation
    if allocation is None or allocation.seed_arm is None:
        return True
    if os.path.exists(config.allocation_file(run.name)):
        return True
    return has_ended(study.seed_run(run, config.runs_folder))


@contextlib.contextmanager
def _claimed(run: StudyRun, config: StudyConfig) -> Iterator[bool]:
    """Keeps other processes from a run; gives whether none of them has it."""
    claims = os.path.join(config.runs_folder, "claims", run.name)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(claims, "`workdir`"))
        except FolderInUseError:
            yield False
            return
        yield True


def _train(study: Study, run: StudyRun, config: StudyConfig) -> bool:
    """Trains one run in a process of its own; whether it succeeded."""
    settings = run.settings(_model_of(study, run, config), config.data_dir)
    options = options_of(settings, run.arm.free)
    command, environment = process_of("train", options)
    # Several processes of a study share its runs, but each trains its own alone.
    environment = {k: v for k, v in environment.items() if k not in VARIABLES}
    print(f"== {run.name}: {shlex.join(typed_as('train', options))}")
    sys.stdout.flush()
    # In a group of its own: at a second signal, that of Ctrl-C, it would not save.
    with (
        raising_termination(),
        subprocess.Popen(command, env=environment, process_group=0) as process,
    ):
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # it saves a checkpoint before it ends
            process.wait()
            raise
        finally:
            note_hardware(run)
    if code >= 128:
        raise RunError(
            f"run {run.name} was stopped (exit code {code}). The same command goes on."
        )
    return code == 0 and has_ended(run)


def _model_of(study: Study, run: StudyRun, config: StudyConfig) -> str:
    """What the run gives to --model; its allocation is made where there is none."""
    spec = run.arm.allocation
    if spec is None:
        return run.arm.config.model
    path = config.allocation_file(run.name)
    if os.path.exists(path):
        return path
    learned = None
    if spec.seed_arm is not None:
        learned = _importance(study.seed_run(run, config.runs_folder))
    made = _allocated(spec, _classes(run.arm, config.data_dir), run.seed, learned)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_allocation(path, made, {**dataclasses.asdict(spec), "seed": run.seed})
    return path


def _allocated(
    spec: AllocationSpec, classes: int, seed: int, learned: Importance | None = None
) -> Architecture:
    with usage_errors(ValueError, about=f"`allocations.{spec.name}`: "):
        return make_allocation(spec, classes, seed, learned)


def _importance(run: StudyRun) -> Importance:
    return read_seed(run.folder).importance


def _classes(arm: Arm, data_dir: str | None) -> int:
    """Classes of the dataset: the cost of the dense layer counts."""
    source = open_source(arm.config.dataset, data_dir, download=False)
    return len(source.class_names)
