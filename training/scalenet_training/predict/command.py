"""Names what is on images, by a saved model, an exported one, or one that is served."""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.errors import RunError
from scalenet_training.predict.config import PredictConfig

SETTINGS = (PredictConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(PredictConfig, __doc__, arguments, program)

    from scalenet_training.predict.prediction import (
        as_json,
        as_table,
        predict_files,
        undecodable,
    )

    results = predict_files(config)
    print(as_json(results) if config.json else as_table(results))
    if damaged := undecodable(results):
        raise RunError(f"cannot be decoded: {', '.join(damaged)}.")
