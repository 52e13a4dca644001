"""Exports a run, or a saved model, as a SavedModel, TFLite, ONNX or OpenVINO.

What was written is run by the runtime it is for and compared with the Keras model on
real images before it gets its place.
"""

from collections.abc import Sequence

from scalenet_training.cli.running import parse, warn
from scalenet_training.export.config import ExportConfig

SETTINGS = (ExportConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(ExportConfig, __doc__, arguments, program)

    from scalenet_training.export.exporter import describe, doubt, export_model

    path, verification = export_model(config)
    print(f"{path}: {describe(verification)}")
    warn(doubt(verification))
