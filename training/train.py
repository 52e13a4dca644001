"""Trains a ScaleNet, or a ResNet twin, and leaves the run in a folder.

The same command run again resumes the run.
"""

from scalenet_training import cli


def main() -> None:
    """Runs the command line."""
    config = cli.parse_train_config(__doc__)

    from scalenet_training.loop import train_and_evaluate

    row = train_and_evaluate(config, config.run_folder)
    print(
        f"validation: top-1 error {row['val_top1_error']:.2%}, "
        f"top-5 error {row['val_top5_error']:.2%}, loss {row['val_loss']:.4f}"
    )


if __name__ == "__main__":
    cli.run(main)
