"""Runs a study: the same training for several networks and seeds, and its report.

Trains what is missing, resumes what was stopped, and writes results.csv, report.md and
figures beside the study's file. The same command may run on several machines that
share the folder of the runs: each run is trained by one of them.
"""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.study.config import StudyConfig

SETTINGS = StudyConfig


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(StudyConfig, __doc__, arguments, program)

    from scalenet_training.study.report import check_report
    from scalenet_training.study.running import run_study

    if config.check:
        check_report(config)
    else:
        run_study(config)
