import json

import pytest
from scalenet_training.devices import placement as distribution
from scalenet_training.devices.cluster import Member, find_member, is_chief
from scalenet_training.devices.placement import open_placement

WORKERS = {"worker": ["a:1", "b:1"]}


def tf_config(cluster, **task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TF_CONFIG": ""}, None),
        ({"TF_CONFIG": "{}"}, None),
        (tf_config(WORKERS, type="worker", index=1), Member(1, 2, "TF_CONFIG")),
        (
            tf_config({**WORKERS, "chief": ["c:1"]}, type="chief", index=0),
            Member(0, 3, "TF_CONFIG"),
        ),
        (
            tf_config({**WORKERS, "chief": ["c:1"]}, type="worker", index=0),
            Member(1, 3, "TF_CONFIG"),
        ),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        (
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"},
            Member(2, 4, "Slurm"),
        ),
        (
            {
                **tf_config(WORKERS, type="worker", index=1),
                "SLURM_STEP_NUM_TASKS": "4",
                "SLURM_PROCID": "2",
            },
            Member(1, 2, "TF_CONFIG"),
        ),
    ],
)
def test_the_environment_tells_which_worker_this_is(environment, expected):
    assert find_member(environment) == expected


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("strategy", "together"),
    [
        ("auto", True),
        ("multiworker", True),
        ("none", False),
        ("mirrored", False),
        ("tpu", False),
    ],
)
def test_a_process_that_trains_alone_writes_whatever_its_rank(strategy, together, rank):
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(rank)}
    assert is_chief(step, strategy) == (rank == 0 or not together)
    assert is_chief({}, strategy)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"TF_CONFIG": "{'cluster'}"},
            r"TF_CONFIG must be .*Received: \"{'cluster'}\"",
        ),
        ({"TF_CONFIG": "[1]"}, r"TF_CONFIG must be"),
        (
            tf_config({**WORKERS, "ps": ["p:1"]}, type="worker", index=0),
            r"jobs chief and worker alone. Received: ps",
        ),
        (
            tf_config({"worker": "a:1"}, type="worker", index=0),
            r"job 'worker' must be a list of 'host:port'. Received: 'a:1'",
        ),
        (
            tf_config({"worker": ["a"]}, type="worker", index=0),
            r"must be a list of 'host:port'",
        ),
        (
            tf_config(WORKERS, type="worker", index=2),
            r"worker 0 to 1. Received: type 'worker', index 2",
        ),
        (tf_config(WORKERS, type="chief", index=0), r"Received: type 'chief'"),
        (tf_config(WORKERS), r"type None, index None"),
    ],
)
def test_a_wrong_tf_config_is_named(environment, message):
    with pytest.raises(ValueError, match=message):
        find_member(environment)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", 2, None), r"`virtual_devices` needs `strategy` mirrored or auto"),
        (("multiworker", 0, None), r"needs the environment variable TF_CONFIG"),
        (("tpu", 0, None), r"`strategy` tpu and `tpu` NAME go together"),
        (("mirrored", 0, "local"), r"Received: `strategy` mirrored `tpu` local"),
        (("mirrored", 3, None), r"already runs with 2 CPU devices"),
    ],
)
def test_what_the_machine_has_not_is_an_error(arguments, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=message):
        open_placement(*arguments)


def test_slurm_tasks_are_in_the_order_of_slurm(monkeypatch):
    for name, value in {
        "JOB_ID": "16003",
        "PROCID": "2",
        "STEP_NUM_TASKS": "3",
        "STEP_NODELIST": "node[9-10]",
        "STEP_TASKS_PER_NODE": "2,1",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    resolver = distribution._slurm_resolver()
    assert resolver.cluster_spec().as_dict() == {
        "worker": ["node9:12003", "node9:12004", "node10:12003"]
    }
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)


@pytest.mark.parametrize(
    ("arguments", "name", "replicas"),
    [
        (("auto", 0, None), "none", 1),
        (("none", 0, None), "none", 1),
        (("mirrored", 0, None), "mirrored", 1),
        (("mirrored", 2, None), "mirrored", 2),
        (("auto", 2, None), "mirrored", 2),
    ],
)
def test_strategies_on_this_machine(arguments, name, replicas):
    placement = open_placement(*arguments)
    assert (placement.name, placement.replicas) == (name, replicas)
    assert placement.chief
    assert placement.describe() == f"strategy {name}, {replicas} CPU replica(s)"
