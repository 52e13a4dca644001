import json
import os

import pytest
from conftest import TINY
from scalenet_training.errors import RunError
from scalenet_training.networks.allocation_file import write_allocation
from scalenet_training.networks.starting_point import resolve_architecture

import scalenet_tf


def test_the_file_is_an_architecture_that_says_how_it_came_about(tmp_path):
    path = tmp_path / "allocation.json"
    write_allocation(path, TINY, {"command": ["tune.py"], "macs": 12})
    assert scalenet_tf.load_architecture(path) == TINY
    assert resolve_architecture(str(path)) == TINY
    record = json.loads(path.read_text())
    assert record["provenance"] == {"command": ["tune.py"], "macs": 12}


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "allocation.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_allocation(path, TINY, {"macs": object()})
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["allocation.json"]
    with pytest.raises(RunError, match="cannot write to"):
        write_allocation(tmp_path / "none" / "allocation.json", TINY, {})
