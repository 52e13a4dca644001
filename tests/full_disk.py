"""Fills a small file system under one command after the other, and gives it room.

    unshare --map-root-user --mount python full_disk.py FOLDER

Prints JSON: for each command and each room that it was left in bytes, what happened.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import traceback

from conftest import TINY_CIFAR
from PIL import Image
from scalenet_training.cli.app import run_command

PAGE = 4096
ROOMS = (0, PAGE, 4 * PAGE, 16 * PAGE)
TRAIN = (
    "train --model ../tiny.json --train-split train[:64] --eval-split validation[:32] "
    "--batch-size 16 --workdir run"
)
# What is done while there is room, and then with little.
COMMANDS = {
    "train, anew": ("", f"{TRAIN} --epochs 1"),
    "train, resumed": (f"{TRAIN} --epochs 1", f"{TRAIN} --epochs 2"),
    "export a SavedModel": ("", "export ../run --name a --to models"),
    "export for TFLite": ("", "export ../run --name a --to models --format tflite"),
    "export for ONNX": ("", "export ../run --name a --to models --format onnx"),
    "convert": ("", "convert ../a.pth --model ScaleNetCifar38 --output a.keras"),
    "allocate": (
        "",
        "allocate --model ../tiny.json --seed-run ../seed --output a.json",
    ),
    "evaluate, with a report": ("", "evaluate ../run --report report"),
    "evaluate, with another report": (
        "evaluate ../run --report report",
        "evaluate ../run --report report",
    ),
    "predict": ("", "predict ../images --model ../run --csv a.csv"),
    "runs, compared": ("", "runs --compare ../run ../run --plot a.png"),
    "report": ("", "report ../run ../seed --output a.html"),
    "plot": ("", "plot curves ../run --output a.png"),
    "tune": (
        "",
        "tune --model ../tiny.json --train-split train[:64] --eval-split "
        "validation[:32] --batch-size 16 --epochs 1 --max-trials 1 --workdir search",
    ),
}


def main(folder):
    os.chdir(folder)
    prepare()
    os.mkdir("disk")
    results = []
    for name, (first, command) in COMMANDS.items():
        for room in ROOMS:
            mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", "disk")
            os.chdir("disk")
            if first:
                run(first)
            before = contents()
            used = subprocess.check_output(["du", "-s", "--block-size=1", "."])
            mount("-o", f"remount,size={int(used.split()[0]) + room + PAGE}", ".")
            code, said = run(command)
            after = contents()
            mount("-o", "remount,size=64m", ".")
            again, more = run(command)
            results.append(
                {
                    "command": name,
                    "room": room,
                    "code": code,
                    "said": said,
                    "changed": [p for p in before if after.get(p) != before[p]],
                    "again": again,
                    "said again": more,
                }
            )
            os.chdir("..")
            subprocess.run(["umount", "--lazy", "disk"], check=True)
    print(json.dumps(results))


def prepare():
    """What the commands read, outside of the small disk."""
    import torch

    import scalenet_tf
    from scalenet_tf.weights import pytorch_shapes

    pathlib.Path("tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    model = scalenet_tf.ScaleNetCifar38()
    tensors = {n: torch.ones(s) for n, s in pytorch_shapes(model).items()}
    torch.save(tensors, "a.pth")
    images = pathlib.Path("images")
    images.mkdir()
    for number in range(200):  # their answers fill more than a page
        Image.new("RGB", (8, 8), (number, 0, 0)).save(images / f"{number:03}.png")
    train = TRAIN.replace("../", "")
    assert run(f"{train} --epochs 1") == (0, "")
    seed = train.replace("tiny.json", "seed:tiny.json").replace("dir run", "dir seed")
    assert run(f"{seed.replace('[:64]', '[:320]')} --epochs 3") == (0, "")


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def run(command):
    """The exit code of a command, and what it wrote to stderr."""
    verb, *arguments = command.split()
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            run_command(verb, arguments, verb)
        except SystemExit as end:
            return end.code or 0, said.getvalue() if end.code else ""
        except Exception as error:
            return repr(error), "".join(traceback.format_exception(error)[-12:])
    return 0, ""


def contents():
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path().rglob("*")
        if path.is_file() and "tensorboard" not in path.parts  # it grows
    }


if __name__ == "__main__":
    main(sys.argv[1])
