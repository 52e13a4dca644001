"""Reads damaged files and made-up options: each ends well, or in an error of ours.

    make fuzz N=10000 SEED=0

A case is decided by the seed and its number. It fails where another exception comes
than those that commands print, where it takes more than 10 s of the processor, a
minute or 1 GB, or ends the process; what was read is kept, to become a test.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

SECONDS = 10  # of the processor: the machine may be busy with other things
BYTES = 2**30
HERE = pathlib.Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1000, help="number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", default="fuzz-failures", help="folder of failures")
    parser.add_argument("--only", default="", help="target, for all cases")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments, pathlib.Path(arguments.worker))
        return 0
    return oversee(arguments)


def oversee(arguments: argparse.Namespace) -> int:
    """Runs cases in another process, and starts it anew where one has ended it."""
    began, first, stop = time.time(), arguments.first, arguments.first + arguments.n
    results: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        while first < stop:
            command = [sys.executable, __file__, "--worker", folder, *sys.argv[1:]]
            command += ["--first", str(first), "-n", str(stop - first)]
            first = follow(command, first, results, pathlib.Path(folder), arguments)
    failures = [result for result in results if result["outcome"] == "failed"]
    counts = collections.Counter((r["target"], r["outcome"]) for r in results)
    for (target, outcome), count in sorted(counts.items()):
        print(f"{target:14}{outcome:10}{count:7}")
    for result in failures:
        print(f"case {result['case']} ({result['target']}): {result['message']}")
    print(
        f"{len(results)} cases in {time.time() - began:.0f} s, {len(failures)} failed; "
        f"slowest {max(r['seconds'] for r in results):.1f} s, most memory "
        f"{max(r['bytes'] for r in results) / 2**20:.0f} MiB in a case"
    )
    return 1 if failures else 0


def follow(
    command: list[str],
    first: int,
    results: list[dict],
    folder: pathlib.Path,
    arguments: argparse.Namespace,
) -> int:
    """Takes the results of a process until it ends; gives the case that comes next."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith(b"{"):
                continue
            result = json.loads(line)
            results.append(result)
            first = result["case"] + 1
        if process.wait() == 0:
            return arguments.first + arguments.n
    current = json.loads((folder / "current.json").read_text())
    message = f"the process ended with {process.returncode}"
    current |= {"outcome": "failed", "message": message, "seconds": 0, "bytes": 0}
    keep(folder, current, arguments)
    results.append(current)
    return first + 1


def work(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    import fuzz_targets

    whole = folder / "whole"
    if not whole.exists():
        whole.mkdir()
        fuzz_targets.make_files(whole)
        archive = HERE / "data" / "written-by-0.1.0.tar.xz"
        shutil.unpack_archive(archive, folder / "written")
        fuzz_targets.copy_written(folder / "written", whole)
    names = [n for n, t in fuzz_targets.TARGETS.items() for _ in range(t.weight)]
    names += ["options"] * 15
    for case in range(arguments.first, arguments.first + arguments.n):
        rng = random.Random(f"{arguments.seed}:{case}")
        name = arguments.only or rng.choice(names)
        result = run_case(fuzz_targets, name, case, rng, folder)
        if result["outcome"] == "failed":
            keep(folder, result, arguments)
        print(json.dumps(result), flush=True)


def run_case(targets, name: str, case: int, rng, folder: pathlib.Path) -> dict:
    """Damages a copy of the files, reads it, and says what came."""
    import faulthandler

    from scalenet_training.errors import RunError, UsageError

    place = folder / "now"
    shutil.rmtree(place, ignore_errors=True)
    target = targets.TARGETS.get(name)
    path = None
    if target is not None:
        for file in {file.partition("/")[0] for file in target.files}:
            whole = folder / "whole" / file
            copy = shutil.copytree if whole.is_dir() else shutil.copy
            place.mkdir(exist_ok=True)
            copy(whole, place / file)
        path = targets.damage(target, rng, place)
    result = {"case": case, "target": name, "file": str(path)}
    (folder / "current.json").write_text(json.dumps(result))
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
    before, began = reset_peak(), time.process_time()
    message, outcome = "", "read"
    try:
        if target is None:
            targets.parse_options(rng)
        else:
            target.read(place)
    except (UsageError, RunError, ValueError, OSError) as error:
        outcome, message = "refused", str(error)
        if type(error).__name__ in ("UnicodeDecodeError", "UnicodeEncodeError"):
            outcome = "failed"
        own = isinstance(error, UsageError | RunError)
        if path is not None and not names_file(message, path) and not own:
            outcome, message = "failed", f"does not name the file: {message}"
    except SystemExit as error:
        outcome = "refused" if error.code == 2 else "failed"
    except BaseException as error:
        outcome, message = "failed", f"{type(error).__name__}: {error}"
    faulthandler.cancel_dump_traceback_later()
    result["seconds"] = time.process_time() - began
    result["bytes"] = peak() - before
    if result["seconds"] > SECONDS or result["bytes"] > BYTES:
        outcome = "failed"
        message = f"took {result['seconds']:.1f} s, {result['bytes']:,} bytes"
    return {**result, "outcome": outcome, "message": message[:300]}


def names_file(message: str, path: pathlib.Path) -> bool:
    """Whether a message has the path, or that of the folder that it belongs to."""
    return path.name in message or path.parent.name in message


def reset_peak() -> int:
    """Sets the highest memory of this process back to that of now; gives it."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def keep(folder: pathlib.Path, result: dict, arguments: argparse.Namespace) -> None:
    """Keeps what a case read, with how to run it again."""
    name = f"{result['target']}-{arguments.seed}-{result['case']}".replace(" ", "-")
    place = pathlib.Path(arguments.keep) / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    again = f"python tests/fuzz.py -n 1 --seed {arguments.seed} --first "
    text = f"{result.get('message')}\n{again}{result['case']}\n"
    (place / "case.txt").write_text(text, errors="backslashreplace")
    path = pathlib.Path(result["file"])
    if path.is_file():
        shutil.copy(path, place / path.name)


if __name__ == "__main__":
    sys.exit(main())
