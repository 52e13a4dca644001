"""Converts a PyTorch checkpoint of the authors' code to Keras weights."""

import dataclasses
from collections.abc import Sequence

import tyro

from scalenet_training.cli.running import parse
from scalenet_training.settings import Settings


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Settings):
    """What to convert, to what."""

    checkpoint: tyro.conf.Positional[str]
    """A .pth, .pt, .ckpt, .bin, .pth.tar or .safetensors file."""

    model: str
    """A public name (see scalenet_tf.list_models) or an architecture's JSON file."""

    output: str
    """The .weights.h5 file to write (for `weights=`), or a .keras file (the model)."""

    overwrite: bool = False
    """Replace the output if it exists."""

    key: str | None = None
    """Where in the checkpoint the tensors are, if it has several dictionaries of
    them: state_dict_ema, or ema.model for one inside another."""


SETTINGS = ConvertConfig


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(ConvertConfig, __doc__, arguments, program)

    from scalenet_tf.profiling import count_parameters
    from scalenet_training.convert.conversion import convert

    model, report = convert(
        config.checkpoint, config.model, config.output, config.overwrite, config.key
    )
    print(report)
    print(
        f"{config.output}: {model.name}, {model.output_shape[-1]} classes, "
        f"{count_parameters(model):,} trainable parameters"
    )
