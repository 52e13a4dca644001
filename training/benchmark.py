"""Measures what this package computes, as ratios of interleaved runs."""

from typing import Annotated

import tyro
from scalenet_training import cli
from scalenet_training.benchmark.export_speed_config import ExportSpeedConfig
from scalenet_training.benchmark.scaling import ScalingConfig, measure_scaling

app = tyro.extras.SubcommandApp()


@app.command
def scaling(config: Annotated[ScalingConfig, tyro.conf.arg(name="")]) -> None:
    """Weak scaling: images a second of several worker processes over those of one."""
    measure_scaling(config)


@app.command
def export(config: Annotated[ExportSpeedConfig, tyro.conf.arg(name="")]) -> None:
    """Size and latency of every exported format, beside the Keras model's."""
    from scalenet_training.benchmark.export_speed import measure_export

    measure_export(config)


if __name__ == "__main__":
    cli.run(lambda: app.cli(description=__doc__))
