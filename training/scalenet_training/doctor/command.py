"""Says which versions, devices and extras are here, and what will not work.

The exit code is 1 where something will fail.
"""

import argparse
from collections.abc import Sequence

from scalenet_training.errors import RunError


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.parse_args(arguments)

    from scalenet_training.doctor import checks

    for title, rows in (
        ("versions", checks.versions()),
        ("devices", checks.devices()),
        ("extras", checks.extras()),
    ):
        print(f"{title}:")
        print("\n".join(f"  {name}: {text}" for name, text in rows.items()))
    problems = checks.problems()
    if problems:
        raise RunError("\n  ".join(["this will not work:", *problems]))
    print("No problems found.")
