"""`python -m scalenet_training VERB`, the same as `scalenet VERB`."""

from scalenet_training.cli.app import main

if __name__ == "__main__":
    main()
