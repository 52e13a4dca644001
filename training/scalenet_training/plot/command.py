"""Draws figures of runs."""

import os
from collections.abc import Sequence
from typing import Annotated

import tyro

from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.settings.inputs import NETWORK
from scalenet_training.text import printable

app = tyro.extras.SubcommandApp()


@app.command
def curves(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional], output: str = "curves.png"
) -> None:
    """Draws the training and validation top-1 error of runs in one figure.

    Args:
        runs: Folders of runs.
        output: The PNG file to write.
    """
    from scalenet_training.runs.metrics import METRICS_FILE, read_rows

    if not runs:
        raise UsageError("RUNS must be the folder of one run or more. Received: none.")
    _check_output(output)
    rows = {}
    for run in runs:
        name = os.path.basename(os.path.normpath(run))
        label = run if name in rows else name
        rows[label] = read_rows(os.path.join(run, METRICS_FILE))
        if not rows[label]:
            raise UsageError(
                f"RUNS: {run!r} is not a run that has finished an epoch: its "
                f"{METRICS_FILE} is missing or has no rows."
            )

    from scalenet_training.runs.figures import plot_curves
    from scalenet_training.runs.files import replacing

    with replacing(output) as path:
        plot_curves(rows, path)
    print(printable(output))


@app.command
def allocation(
    networks: Annotated[tuple[str, ...], tyro.conf.Positional],
    output: str = "allocation.png",
) -> None:
    """Draws the proportion of neurons at each scale, by block, of networks.

    Args:
        networks: Public names (see scalenet_tf.list_models), architectures' JSON
            files, or file.json:Name.
        output: The PNG file to write.
    """
    if not networks:
        raise UsageError("NETWORKS must be one or more. Received: none.")
    _check_output(output)
    for network in networks:
        NETWORK.check("NETWORKS", network)

    from scalenet_training.networks.starting_point import resolve_architecture
    from scalenet_training.runs.figures import plot_allocations
    from scalenet_training.runs.files import replacing

    with usage_errors():
        found = [resolve_architecture(network, "NETWORKS") for network in networks]
    names = [architecture.name for architecture in found]
    labels = [
        name if names.count(name) == 1 else f"{name} ({text})"
        for name, text in zip(names, networks, strict=True)
    ]
    with replacing(output) as path:
        plot_allocations(dict(zip(labels, found, strict=True)), path)
    print(printable(output))


def _check_output(output: str) -> None:
    if not output.endswith(".png") or not os.path.isdir(os.path.dirname(output) or "."):
        raise UsageError(
            "--output must end in .png and be in a folder that exists. "
            f"Received: {output!r}."
        )


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    app.cli(description=__doc__, args=arguments, prog=program)
