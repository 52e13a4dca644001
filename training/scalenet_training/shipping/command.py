"""Makes the network of a run weights that come with the package, from a checkout.

It is written in float32, with the run's record and metrics, evaluated, and its errors
and checksum are noted beside it.
"""

import os
from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.devices.processor import use_onednn
from scalenet_training.shipping.config import BATCH, ShipConfig
from scalenet_training.text import printable

SETTINGS = (ShipConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(ShipConfig, __doc__, arguments, program)
    use_onednn(BATCH, os.environ)  # as evaluate, so that both give the same digits

    from scalenet_training.shipping.shipping import ship

    print(printable(ship(config)))
