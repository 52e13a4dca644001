import glob
import os
import warnings

import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.errors import RunError
from scalenet_training.runs.checkpoints import Checkpoints


def opened(folder, kept=3, chief=True):
    values = tf.Variable(np.zeros(1000))
    checkpoints = Checkpoints(str(folder), kept, chief, values=values)
    return checkpoints, values


def saved(folder, count, kept=3):
    """A folder to which the values 1, 2, ... were saved one after the other."""
    checkpoints, values = opened(folder, kept)
    for value in range(1, count + 1):
        values.assign(np.full(1000, float(value)))
        checkpoints.save()
    return checkpoints


def restored(folder):
    checkpoints, values = opened(folder)
    checkpoints.restore()
    return values.numpy()[0]


def cut(path):
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)


def test_without_checkpoints_nothing_changes(tmp_path):
    checkpoints, values = opened(tmp_path / "none")
    checkpoints.restore()
    assert (checkpoints.newest, values.numpy()[0]) == (None, 0.0)
    assert not (tmp_path / "none").exists()


def test_the_newest_is_restored_and_the_last_n_stay(tmp_path):
    checkpoints = saved(tmp_path, 5, kept=2)
    assert checkpoints.numbers() == [4, 5]
    assert checkpoints.newest == str(tmp_path / "ckpt-5")
    assert restored(tmp_path) == 5.0


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", [cut, os.remove], ids=["cut", "removed"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, part, damage):
    saved(tmp_path, 3)
    damage(tmp_path / f"ckpt-3.{part}")
    # Without its index it is none.
    silent = part == "index" and damage is os.remove
    with (
        warnings.catch_warnings() if silent else pytest.warns(match=r"ckpt-3.*damaged")
    ):
        assert restored(tmp_path) == 2.0


def test_one_changed_byte_is_noticed(tmp_path):
    saved(tmp_path, 2)
    with open(tmp_path / "ckpt-2.data-00000-of-00001", "rb+") as file:
        file.seek(100)
        file.write(b"\x01")
    with pytest.warns(match=r"ckpt-2.*damaged"):
        assert restored(tmp_path) == 1.0


def test_no_readable_checkpoint_is_an_error_and_not_a_new_start(tmp_path):
    saved(tmp_path, 1)
    cut(tmp_path / "ckpt-1.index")
    checkpoints, _ = opened(tmp_path)
    with (
        pytest.warns(match=r"ckpt-1"),
        pytest.raises(RunError, match=r"none of the checkpoints in .* can be read"),
    ):
        checkpoints.restore()


def test_other_state_than_was_saved_is_an_error(tmp_path):
    saved(tmp_path, 1)
    other = tf.Variable(np.zeros(7))
    with (
        pytest.warns(match=r"ckpt-1"),
        pytest.raises(RunError, match=r"none of the checkpoints"),
    ):
        Checkpoints(str(tmp_path), 3, True, values=other).restore()


def test_a_damaged_checkpoint_goes_when_a_sound_one_is_saved(tmp_path):
    saved(tmp_path, 3)
    cut(tmp_path / "ckpt-3.index")
    checkpoints, values = opened(tmp_path, kept=1)
    with pytest.warns(match=r"ckpt-3"):
        checkpoints.restore()
    values.assign(np.full(1000, 9.0))
    checkpoints.save()
    assert checkpoints.numbers() == [4]
    assert restored(tmp_path) == 9.0


def test_a_lost_or_damaged_list_of_checkpoints_does_no_harm(tmp_path):
    saved(tmp_path, 3)
    for damage in (cut, os.remove):
        damage(tmp_path / "checkpoint")
        checkpoints, values = opened(tmp_path)
        checkpoints.restore()
        assert values.numpy()[0] >= 3.0
        values.assign(values + 1)
        checkpoints.save()
        assert len(checkpoints.numbers()) == 3


def test_what_a_killed_save_left_is_removed(tmp_path):
    checkpoints = saved(tmp_path, 1)
    (tmp_path / "ckpt-2_temp").mkdir()
    (tmp_path / "ckpt-2_temp" / "part-00000").write_text("half")
    (tmp_path / "ckpt-2.index.tempstate123").write_text("half")
    # It has its name before the index has, and another save may come to have others.
    (tmp_path / "ckpt-2.data-00000-of-00002").write_text("half")
    (tmp_path / "ckpt-12.data-00000-of-00001").write_text("half")
    before = {path.name for path in tmp_path.glob("ckpt-1.*")}
    checkpoints.remove_leftovers()
    assert {path.name for path in tmp_path.glob("ckpt-*")} == before
    assert not glob.glob(str(tmp_path / "*temp*"))
    assert restored(tmp_path) == 1.0


def test_only_the_chief_writes(tmp_path):
    checkpoints, _ = opened(tmp_path / "run", chief=False)
    checkpoints.save()
    assert not (tmp_path / "run").exists()


def test_older_checkpoints_stay_until_the_newest_is_of_use(tmp_path):
    """A state may be one from which the next step diverges."""
    checkpoints = saved(tmp_path, 2, kept=1)
    assert checkpoints.good == checkpoints.newest == str(tmp_path / "ckpt-2")
    checkpoints.save(confirmed=False)
    checkpoints.save(confirmed=False)
    assert checkpoints.numbers() == [2, 3, 4]
    assert checkpoints.good == str(tmp_path / "ckpt-2")
    checkpoints.confirm()
    assert checkpoints.numbers() == [4]
    assert checkpoints.good == str(tmp_path / "ckpt-4")
