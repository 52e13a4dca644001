"""Draws figures of runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.settings.inputs import NETWORK
from scalenet_training.text import printable

if TYPE_CHECKING:
    from scalenet_training.runs.figures import Data
    from scalenet_training.runs.metrics import Curve

app = tyro.extras.SubcommandApp()


@app.command
def curves(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional],
    output: str = "curves.png",
    across_data: bool = False,
) -> None:
    """Draws training and validation error, and loss, of runs in one figure.

    Args:
        runs: Folders of runs.
        output: The file to write: .png or .svg.
        across_data: Draw runs on different data in one figure; their errors cannot be
            compared, and each run's label names its data.
    """
    from scalenet_training.overview import words

    if not runs:
        raise UsageError("RUNS must be the folder of one run or more. Received: none.")
    _check_output(output)
    paths = list(dict.fromkeys(runs))
    found = {path: _curve(path) for path in paths}
    data = {path: _data(path) for path in paths}
    about = _common(data, across_data)
    curves = {
        f"{name} ({data[path]})" if about is None and data[path] else name: found[path]
        for name, path in zip(words.names(paths), paths, strict=True)
    }

    from scalenet_training.runs.figures import plot_curves
    from scalenet_training.runs.files import replacing

    with replacing(output) as path:
        plot_curves(curves, path, "different data" if about is None else about)
    print(printable(output))


def _curve(run: str) -> Curve:
    from scalenet_training.runs.metrics import METRICS_FILE
    from scalenet_training.runs.run_folder import RunFolder

    curve = RunFolder(run).curve()
    if not curve.rows:
        raise UsageError(
            f"RUNS: {run!r} is not a run that has finished an epoch: its "
            f"{METRICS_FILE} is missing or has no rows."
        )
    return curve


def _data(run: str) -> Data | None:
    """The data of a run; `None` for a folder with metrics alone."""
    from scalenet_training.runs.figures import Data
    from scalenet_training.runs.run_folder import RunFolder

    folder = RunFolder(run)
    return Data.of(folder.read_record()) if folder.has_record else None


def _common(data: Mapping[str, Data | None], across_data: bool) -> str | None:
    """The data of all runs, for the title; `None` where they differ.

    Raises:
        UsageError: They differ, and were not asked to be drawn all the same.
    """
    from scalenet_training.runs.figures import by_data, told_apart

    known = {run: one for run, one in data.items() if one is not None}
    firsts = dict(next(iter(group.items())) for group in by_data(known))
    if len(firsts) < 2:
        return "".join(map(str, firsts.values()))
    if across_data:
        return None
    two = dict(itertools.islice(firsts.items(), 2))
    raise UsageError(
        "RUNS must be on the same data, or their errors cannot be compared. "
        f"Received: {told_apart(two)}. --across-data draws them in one figure all the "
        "same."
    )


@app.command
def allocation(
    networks: Annotated[tuple[str, ...], tyro.conf.Positional],
    output: str = "allocation.png",
) -> None:
    """Draws the share of neurons at each scale, by block, of networks.

    Args:
        networks: Public names (see scalenet_tf.list_models), architectures' JSON
            files, or file.json:Name.
        output: The file to write: .png or .svg.
    """
    if not networks:
        raise UsageError("NETWORKS must be one or more. Received: none.")
    _check_output(output)
    for network in networks:
        NETWORK.check("NETWORKS", network)

    from scalenet_training.networks.figures import plot_allocations
    from scalenet_training.networks.starting_point import resolve_architecture
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
    from scalenet_training.drawing import check_figure_file

    check_figure_file("--output", output)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    app.cli(description=__doc__, args=arguments, prog=program)
