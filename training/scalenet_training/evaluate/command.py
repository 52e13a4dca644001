"""Evaluates a run, a saved model, or what export.py wrote, and prints its errors."""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.evaluate.config import EvaluateConfig

SETTINGS = (EvaluateConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(EvaluateConfig, __doc__, arguments, program)

    from scalenet_tf.export import find_exported
    from scalenet_training.evaluate.exported import evaluate_exported
    from scalenet_training.evaluate.saved import evaluate_saved
    from scalenet_training.networks.model_card import check_complete
    from scalenet_training.runs.metrics import errors_in_words

    exported = find_exported(config.run_or_model)
    if exported is None:
        check_complete(config.run_or_model)
    result = evaluate_exported(config) if exported else evaluate_saved(config)
    classes = int(result["classes"])
    print(
        f"{result['examples']:.0f} examples: {errors_in_words(result, classes)}, "
        f"loss {result['loss']:.4f}, {result['images_per_second']:.1f} images/s"
    )
    if "agreement" in result:
        print(
            f"{config.compare}: {errors_in_words(result, classes, 'compared_')}; the "
            f"same likeliest class for {result['agreement']:.2%} of the examples"
        )
