"""Learns an allocation of neurons from data: for your classes and your budget.

Trains the seed network, which has all neurons at each scale, and keeps the most
important ones. The same command run again resumes the training, or allocates from
what was trained.
"""

import os
import shlex
from collections.abc import Sequence

from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.cli.running import parse_with_preset

SETTINGS = (AllocateConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse_with_preset(
        lambda preset: AllocateConfig(train=preset), __doc__, arguments, program
    )

    if config.threads is not None:  # TensorFlow reads them when it begins
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(config.threads)

    from scalenet_training.allocate import report
    from scalenet_training.allocate.learning import learn_allocation

    learned = learn_allocation(config)
    if learned is None:
        return
    report.print_allocation(learned)
    if learned.correlation is not None:
        report.print_correlation(learned.correlation)
    path = config.output_file
    print(f"Written: {path}. To train the network:")
    command = report.training_command(learned.architecture, path, config.seed_folder)
    print(shlex.join(command))
