"""The command `scalenet publish`, from a checkout: see --help."""

from scalenet_training.cli.app import run_script

if __name__ == "__main__":
    run_script("publish")
