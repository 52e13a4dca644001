"""Evaluates a run, a saved model or an export, and prints its errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalenet_training.cli.running import parse
from scalenet_training.devices.processor import use_onednn
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.text import printable

if TYPE_CHECKING:
    from scalenet_training.evaluate.subject import Observer

SETTINGS = (EvaluateConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(EvaluateConfig, __doc__, arguments, program)
    # As train, so that both give the same digits.
    use_onednn(config.batch_size, os.environ)
    if config.report is None:
        _evaluate(config)
        return

    from scalenet_training.evaluate.report.predictions import Collector
    from scalenet_training.evaluate.report.writing import check_folder, write_report

    check_folder(config.report)
    collector = Collector()
    result = _evaluate(config, collector)
    print(f"report: {printable(write_report(config.report, collector, result))}")


def _evaluate(
    config: EvaluateConfig, observer: Observer | None = None
) -> dict[str, float]:
    """Evaluates, and prints what comes out."""
    from scalenet_tf.export import find_exported
    from scalenet_training.evaluate.exported import evaluate_exported
    from scalenet_training.evaluate.saved import evaluate_saved
    from scalenet_training.networks.exported_files import check_complete
    from scalenet_training.runs.metrics import errors_in_words, interval_in_words

    if find_exported(config.run_or_model):
        result = evaluate_exported(config, observer=observer)
    else:
        check_complete(config.run_or_model)
        result = evaluate_saved(config, observer)
    classes = int(result["classes"])
    print(
        f"{result['examples']:.0f} examples: {errors_in_words(result, classes)}, "
        f"loss {result['loss']:.4f}, {result['images_per_second']:.1f} images/s"
    )
    interval = interval_in_words(result["top1_error"], int(result["examples"]))
    if interval:
        print(interval)
    if "agreement" in result:
        print(
            f"{config.compare}: {errors_in_words(result, classes, 'compared_')}; the "
            f"same likeliest class for {result['agreement']:.2%} of the examples"
        )
    return result
