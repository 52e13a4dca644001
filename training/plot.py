"""Draws figures of runs."""

import os
from typing import Annotated

import tyro
from scalenet_training import cli
from scalenet_training.errors import UsageError

app = tyro.extras.SubcommandApp()


@app.command
def curves(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional], output: str = "curves.png"
) -> None:
    """Training and validation top-1 error of one or more runs, in one figure.

    Args:
        runs: Folders of runs.
        output: The PNG file to write.
    """
    from scalenet_training.plots import plot_curves
    from scalenet_training.run_metrics import METRICS_FILE, read_rows

    if not runs:
        raise UsageError("RUNS must be the folder of one run or more. Received: none.")
    if not output.endswith(".png") or not os.path.isdir(os.path.dirname(output) or "."):
        raise UsageError(
            "--output must end in .png and be in a folder that exists. "
            f"Received: {output!r}."
        )
    rows = {}
    for run in runs:
        name = os.path.basename(os.path.normpath(run))
        label = run if name in rows else name
        rows[label] = read_rows(os.path.join(run, METRICS_FILE))
        if not rows[label]:
            raise UsageError(f"{run!r} is no run that has finished an epoch.")
    plot_curves(rows, output)
    print(output)


if __name__ == "__main__":
    cli.run(lambda: app.cli(description=__doc__))
