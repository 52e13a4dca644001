"""Settings of conversion. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from scalenet_training.settings.base import IN_A_FOLDER, Settings, suffix
from scalenet_training.settings.inputs import FILE, NETWORK


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Settings):
    """What to convert, to what."""

    checkpoint: Annotated[tyro.conf.Positional[str], FILE]
    """A .pth, .pt, .ckpt, .bin, .pth.tar or .safetensors file."""

    model: Annotated[str, NETWORK]
    """A public name (see scalenet_tf.list_models) or an architecture's JSON file."""

    output: Annotated[str, suffix(".weights.h5", ".keras"), IN_A_FOLDER]
    """The .weights.h5 file to write (for `weights=`), or a .keras file (the model)."""

    overwrite: bool = False
    """Replace the output if it exists."""

    key: str | None = None
    """Where in the checkpoint the tensors are, if it has several dictionaries of
    them: state_dict_ema, or ema.model for one inside another."""
