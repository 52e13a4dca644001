"""Runs a study: the same training for several networks and seeds, and its report.

Trains what is missing, resumes what was stopped, and writes results.csv, report.md and
figures beside the study's file. The same command may run on several machines that
share the folder of the runs: each run is trained by one of them.
"""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.errors import usage_errors
from scalenet_training.settings.inputs import NETWORK, check_inputs
from scalenet_training.study.config import StudyConfig
from scalenet_training.study.spec import read_study

SETTINGS = (StudyConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(StudyConfig, __doc__, arguments, program)

    if not config.check:
        with usage_errors():
            study = read_study(config.file)
        for arm in study.arms:
            where = f"{config.file!r}: `arms.{arm.name}`: "
            check_inputs(arm.config, where)
            if arm.allocation is not None:
                NETWORK.check(f"{where}`base`", arm.allocation.base)

    from scalenet_training.study.report import check_report
    from scalenet_training.study.running import run_study

    if config.check:
        check_report(config)
    else:
        run_study(config)
