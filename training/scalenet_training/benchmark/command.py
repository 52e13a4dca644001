"""Measures what this package computes, as ratios of interleaved runs."""

import os
from collections.abc import Sequence
from typing import Annotated

import tyro

from scalenet_training.benchmark.config import (
    ChecksConfig,
    ExportSpeedConfig,
    LoadConfig,
    ModelsConfig,
    PipelineConfig,
    ProfileConfig,
    ScalingConfig,
)
from scalenet_training.benchmark.scaling import measure_scaling
from scalenet_training.devices.processor import use_onednn
from scalenet_training.settings.inputs import check_inputs

SETTINGS = (
    ScalingConfig,
    ExportSpeedConfig,
    ModelsConfig,
    ProfileConfig,
    ChecksConfig,
    LoadConfig,
    PipelineConfig,
)

app = tyro.extras.SubcommandApp()


@app.command
def scaling(config: Annotated[ScalingConfig, tyro.conf.arg(name="")]) -> None:
    """Weak scaling: images a second of several worker processes over those of one."""
    check_inputs(config)
    measure_scaling(config)


@app.command
def export(config: Annotated[ExportSpeedConfig, tyro.conf.arg(name="")]) -> None:
    """Size and latency of every exported format, beside the Keras model's."""
    check_inputs(config)

    from scalenet_training.benchmark.export_speed import measure_export

    measure_export(config)


@app.command
def models(config: Annotated[ModelsConfig, tyro.conf.arg(name="")]) -> None:
    """Networks beside each other: time and memory of inference or of a step."""
    check_inputs(config)

    if config.work == "step":  # as train makes it
        use_onednn(max(config.batch_sizes), os.environ)
    from scalenet_training.benchmark.models import measure_models

    measure_models(config)


@app.command
def profile(config: Annotated[ProfileConfig, tyro.conf.arg(name="")]) -> None:
    """Where the time goes: operations of a step, or of inference, by their time."""
    check_inputs(config)

    if config.work == "step":
        use_onednn(config.batch_size, os.environ)
    from scalenet_training.benchmark.profile import profile as measure

    measure(config)


@app.command
def checks(config: Annotated[ChecksConfig, tyro.conf.arg(name="")]) -> None:
    """What the checks of a request cost each signature of a SavedModel."""
    check_inputs(config)

    from scalenet_training.benchmark.checks import measure_checks

    measure_checks(config)


@app.command
def load(config: Annotated[LoadConfig, tyro.conf.arg(name="")]) -> None:
    """Requests a second of a served model, their times, and whether they are right."""
    check_inputs(config)

    from scalenet_training.benchmark.serving.load import measure_load

    measure_load(config)


@app.command
def pipeline(config: Annotated[PipelineConfig, tyro.conf.arg(name="")]) -> None:
    """Images a second of the input pipeline, by what is done to the images."""
    check_inputs(config)

    from scalenet_training.benchmark.pipeline import measure_pipelines

    measure_pipelines(config)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    app.cli(description=__doc__, args=arguments, prog=program)
