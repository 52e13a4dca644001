"""Names what is on images, by a saved model, an exported one, or one that is served."""

from scalenet_training import cli
from scalenet_training.errors import RunError
from scalenet_training.predict.config import PredictConfig


def main() -> None:
    """Runs the command line."""
    config = cli.parse(PredictConfig, __doc__)

    from scalenet_training.predict.prediction import as_json, as_table, predict_files

    results = predict_files(config)
    print(as_json(results) if config.json else as_table(results))
    damaged = [path for path, prediction in results.items() if not prediction.valid]
    if damaged:
        raise RunError(f"not a JPEG, PNG, BMP or GIF image: {', '.join(damaged)}.")


if __name__ == "__main__":
    cli.run(main)
