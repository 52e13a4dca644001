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

    if not runs or not output.endswith(".png"):
        raise UsageError(
            "curves needs one run or more, and an --output that ends in .png. "
            f"Received: {len(runs)} runs, --output {output!r}."
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
