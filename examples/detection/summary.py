"""The table of results.csv: means over the seeds, and the difference seed by seed.

`python summary.py results.csv` prints it as Markdown. Needs `pip install scipy`.
"""

import csv
import statistics
import sys
from collections.abc import Sequence

from scipy import stats

MEASURES = {"ap50": "AP at IoU 0.5", "ap75": "AP at IoU 0.75", "ap": "AP 0.5 to 0.95"}
NETWORKS = {"scalenet": "small ScaleNet", "resnet": "its ResNet twin"}


def table(path: str) -> str:
    """The table, in per cent; intervals are Student's t over the seeds.

    Raises:
        ValueError: A run is missing, or there are others beside those of one length.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trained = [(row["model"], row["seed"]) for row in rows]
    if len({row["steps"] for row in rows}) != 1 or len({*trained}) < len(rows):
        raise ValueError(f"{path}: rows must differ in model or seed, not in steps.")
    by_network = {
        name: {row["seed"]: row for row in rows if row["model"] == name}
        for name in NETWORKS
    }
    if len({frozenset(seeds) for seeds in by_network.values()}) != 1:
        raise ValueError(f"{path}: both networks must have the same seeds.")
    lines = [
        "| backbone | MACs | parameters | seeds | " + " | ".join(MEASURES.values()),
        "|---" * (4 + len(MEASURES)),
    ]
    for name, of_seeds in by_network.items():
        one = next(iter(of_seeds.values()))
        means = [
            f"{statistics.fmean(_values(of_seeds, measure)):.1f}"
            for measure in MEASURES
        ]
        sizes = [
            f"{int(one[key]):,}" for key in ("backbone_macs", "backbone_parameters")
        ]
        cells = [NETWORKS[name], *sizes, str(len(of_seeds)), *means]
        lines.append("| " + " | ".join(cells))
    scalenet, resnet = by_network.values()
    pairs = sorted(scalenet)
    differences = []
    for measure in MEASURES:
        values = [
            100 * (float(scalenet[seed][measure]) - float(resnet[seed][measure]))
            for seed in pairs
        ]
        differences.append(_interval(values))
    cells = ["difference, points [95 %]", "", "", str(len(pairs)), *differences]
    lines.append("| " + " | ".join(cells))
    return "\n".join(f"{line} |" for line in lines)


def _values(of_seeds: dict[str, dict[str, str]], measure: str) -> list[float]:
    return [100 * float(row[measure]) for row in of_seeds.values()]


def _interval(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.1f} [one pair]"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


if __name__ == "__main__":
    print(table(sys.argv[1]))
