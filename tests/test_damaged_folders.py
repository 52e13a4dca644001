"""Any one file of a run, a search or an export is damaged, and a command reads it.

It goes on with what is whole, or ends with exit code 2 and the file's name.
"""

import json
import shutil
import time
import warnings

import image_folders
import pytest
from conftest import TINY_CIFAR
from test_commands import in_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SECONDS = 2  # of the processor, from the start of the command to its refusal

TRAIN = "train.py --model tiny.json --dataset photos --workdir run --batch-size 4"
TUNE = (
    "tune.py --model tiny.json --dataset photos --workdir search --batch-size 4 "
    "--epochs 1 --max-trials 2"
)
# What reads each folder.
READERS = {
    "run": (
        f"{TRAIN} --epochs 3",
        "evaluate.py run",
        "predict.py photos/a/0.png --model run",
        "export.py run --name tiny --to exported",
        "plot.py curves run --output curves.png",
    ),
    "search": (TUNE,),
    "models": (
        "evaluate.py models/tiny/1 --dataset photos --eval-split all",
        "predict.py photos/a/0.png --model models/tiny",
    ),
}


def changed(data):
    half = len(data) // 2
    return (
        data[:half]
        + bytes(255 - byte for byte in data[half : half + 64])
        + data[half + 64 :]
    )


DAMAGES = {
    "emptied": lambda data: b"",
    "removed": None,
    "cut": lambda data: data[: len(data) // 2],
    "changed": changed,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a run, a search, an export, and what commands need besides."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    image_folders.make(folder / "photos", count=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        export = "export.py run --name tiny --to models"
        for command in (f"{TRAIN} --epochs 2", export, TUNE):
            assert in_process(patch, *command.split()) == 0
    return folder


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def break_file(path, damage):
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", READERS)
def test_one_damaged_file_is_named_or_done_without(
    kind, damage, whole, tmp_path, monkeypatch, capfd
):
    unclean = []
    for path in files_of(whole / kind):
        for command in READERS[kind]:
            shutil.copytree(whole, folder := tmp_path / "damaged")
            break_file(folder / path.relative_to(whole), DAMAGES[damage])
            monkeypatch.chdir(folder)
            capfd.readouterr()
            began = time.process_time()
            try:
                with warnings.catch_warnings(action="default"):
                    code = in_process(monkeypatch, *command.split())
            except Exception as error:
                code = repr(error)
            seconds = time.process_time() - began
            said = capfd.readouterr().err
            if code and not (code == 2 and path.name in said and seconds < SECONDS):
                name = str(path.relative_to(whole))
                unclean.append((name, command, code, f"{seconds:.1f} s", said[-300:]))
            shutil.rmtree(folder)
    assert not unclean, "\n".join(map(str, unclean))
