"""Names what is on images, by a saved model, an exported one, or one that is served."""

from scalenet_training import cli
from scalenet_training.errors import RunError
from scalenet_training.predict_config import PredictConfig


def main() -> None:
    """Runs the command line."""
    config = cli.parse(PredictConfig, __doc__)

    from scalenet_training.prediction import (
        as_json,
        as_table,
        predict_files,
        undecodable,
    )

    results = predict_files(config)
    print(as_json(results) if config.json else as_table(results))
    if damaged := undecodable(results):
        raise RunError(f"cannot be decoded: {', '.join(damaged)}.")


if __name__ == "__main__":
    cli.run(main)
