"""Learns an allocation of neurons from data: for your classes and your budget.

Trains the seed network, which has all neurons at each scale, and keeps the most
important ones. The same command run again resumes the training, or allocates from
what was trained.
"""

import os
import shlex
from collections.abc import Sequence

from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.cli.recipes import TrainingCommand, parse_training
from scalenet_training.devices.cluster import is_chief
from scalenet_training.devices.processor import use_onednn

SETTINGS = (AllocateConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    command = TrainingCommand(
        AllocateConfig, lambda config: config.seed_folder, inside="train"
    )
    config, decided = parse_training(command, __doc__, arguments, program)
    if config.seed_run is None and is_chief(os.environ, config.train.strategy):
        print(decided, flush=True)

    # What a SavedModel takes is measured as it is served, by TensorFlow's default.
    if config.target_latency is None or config.runtime != "savedmodel":
        use_onednn(config.seed_config.batch_size, os.environ)
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
    following = report.training_command(learned.architecture, path, config.seed_folder)
    print(shlex.join(following))
