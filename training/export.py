"""Exports a run, or a saved model, as a SavedModel, a TFLite or an ONNX file.

What was written is run by the runtime it is for and compared with the Keras model on
real images before it gets its place.
"""

from scalenet_training import cli
from scalenet_training.export.config import ExportConfig


def main() -> None:
    """Runs the command line."""
    config = cli.parse(ExportConfig, __doc__)

    from scalenet_training.export.exporter import describe, doubt, export_model

    path, verification = export_model(config)
    print(f"{path}: {describe(verification)}")
    cli.warn(doubt(verification))


if __name__ == "__main__":
    cli.run(main)
