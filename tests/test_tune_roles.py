"""What a process is in a search that several share."""

import pytest
from scalenet_training.errors import UsageError
from scalenet_training.tune.roles import chief_listens, find_role

ALL = {
    "KERASTUNER_TUNER_ID": "worker0",
    "KERASTUNER_ORACLE_IP": "127.0.0.1",
    "KERASTUNER_ORACLE_PORT": "1",
}


def test_the_environment_tells_the_role():
    assert find_role({}) == "alone"
    assert find_role(ALL) == "worker"
    assert find_role({**ALL, "KERASTUNER_TUNER_ID": "chief"}) == "chief"
    for name in ALL:
        with pytest.raises(UsageError, match="needs the environment variables KERAS"):
            find_role({**ALL, name: ""})


def test_a_chief_that_is_gone_does_not_listen(monkeypatch):
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    assert not chief_listens()
