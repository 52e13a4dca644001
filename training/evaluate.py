"""Evaluates a run, or a saved model, and prints its errors."""

from scalenet_training import cli
from scalenet_training.evaluate_config import EvaluateConfig


def main() -> None:
    """Runs the command line."""
    config = cli.parse(EvaluateConfig, __doc__)

    from scalenet_training.evaluate_saved import evaluate_saved

    result = evaluate_saved(config)
    print(
        f"{result['examples']:.0f} examples: top-1 error {result['top1_error']:.2%}, "
        f"top-5 error {result['top5_error']:.2%}, loss {result['loss']:.4f}, "
        f"{result['images_per_second']:.1f} images/s"
    )


if __name__ == "__main__":
    cli.run(main)
