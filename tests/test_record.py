"""The record of a run, config.json: written, read, refused."""

import json

import pytest
from records import record
from scalenet_training.errors import UsageError
from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig


def content(**changes):
    """What config.json holds, changed."""
    return {**json.loads(json.dumps(record(data={}).to_json())), **changes}


def test_a_record_is_read_as_it_was_written(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.has_record
    written = record(TrainConfig(milestones=(0.25, 0.75)), data={"kind": "digits"})
    folder.write_record(written)
    assert folder.has_record
    assert folder.read_record() == written


def test_a_setting_that_is_not_recorded_has_its_default():
    old = content()
    del old["config"]["on_damaged"]
    assert RunRecord.from_json(old).config == TrainConfig()


def test_data_that_were_not_recorded_are_not_written():
    old = content()
    del old["data"]
    read = RunRecord.from_json(old)
    assert read.data is None
    assert read.to_json() == old


def test_what_a_later_version_records_is_passed_over():
    later = content(wall_clock=1.0)
    later["config"]["fairy_dust"] = 3
    assert RunRecord.from_json(later) == RunRecord.from_json(content())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": "32"}, "field 'image_size' is wrong: str is not an instance"),
        ({"class_names": [1]}, "field 'class_names' is wrong: item 0 of list is not"),
        ({"config": 3}, "has no field 'config' with settings"),
        ({"config": {"epochs": "2"}}, "field 'config.epochs' is wrong: str is not"),
        ({"config": {"jit": "yes"}}, "field 'config.jit' is wrong: str is not any of"),
        ({"config": {"epochs": 0}}, "`epochs` must be more than 0. Received: 0."),
    ],
    ids=str,
)
def test_a_field_of_another_type_is_named_with_the_file(changes, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content(**changes)))
    with pytest.raises(UsageError) as refused:
        RunFolder(tmp_path).read_record()
    assert message in str(refused.value)
    assert f"'{tmp_path}/config.json' is no run's config.json: " in str(refused.value)


@pytest.mark.parametrize("name", ["architecture", "eval_split", "versions"])
def test_a_field_that_is_missing_is_named(name):
    cut = content()
    del cut[name]
    with pytest.raises(ValueError, match=f"it has no field '{name}'"):
        RunRecord.from_json(cut)


def test_a_run_goes_on_with_what_must_stay(tmp_path):
    folder = RunFolder(tmp_path)
    folder.check_lasting(record())
    folder.write_record(record())
    folder.check_lasting(record(replicas=2, command=["train.py", "--jit", "on"]))
    with pytest.raises(UsageError, match="differs in eval_split, shards: "):
        folder.check_lasting(record(shards=2, eval_split="test"))


@pytest.mark.parametrize(
    ("settings", "errors", "ended"),
    [
        ({"epochs": 2}, [0.2], False),
        ({"epochs": 2}, [0.2, 0.1], True),
        ({"epochs": 9, "early_stopping": 2}, [0.2, 0.3], False),
        ({"epochs": 9, "early_stopping": 2}, [0.2, 0.3, 0.2], True),
        ({"epochs": 9, "max_steps": 1}, [0.2], True),
        ({"epochs": 9}, [], False),
    ],
)
def test_a_run_has_ended_by_its_epochs_or_early(settings, errors, ended):
    rows = [
        {"epoch": epoch, "val_loss": 1.0, "val_top1_error": error}
        for epoch, error in enumerate(errors)
    ]
    run = record(TrainConfig(**settings), training_examples=64)  # 2 steps an epoch
    assert run.has_ended(rows) == ended
