"""Converts a PyTorch checkpoint of the authors' code to Keras weights."""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.convert.config import ConvertConfig

SETTINGS = (ConvertConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(ConvertConfig, __doc__, arguments, program)

    from scalenet_tf.profiling import count_parameters
    from scalenet_training.convert.conversion import convert

    model, report = convert(config)
    print(report)
    print(
        f"{config.output}: {model.name}, {model.output_shape[-1]} classes, "
        f"{count_parameters(model):,} trainable parameters"
    )
