"""Makes the network of a run weights that come with the package, from a checkout.

It is written in float32, with the run's record and metrics, evaluated, and its errors
and checksum are noted beside it.
"""

import os
from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.devices.processor import use_onednn
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.shipping.config import ShipConfig
from scalenet_training.text import printable

SETTINGS = (ShipConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(ShipConfig, __doc__, arguments, program)
    # As evaluate, so that both give the same digits.
    use_onednn(EvaluateConfig.batch_size, os.environ)

    from scalenet_training.shipping.shipping import ship

    folder = ship(config)
    print(f"weights: {printable(folder)}")
    print(
        "Next: their name, errors and size in tests/test_shipped.py and docs/weights.md"
    )
