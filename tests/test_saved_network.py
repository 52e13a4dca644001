"""The data of a saved network: those that are given, else the run's own."""

import image_folders as images
import pytest
from records import record
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.networks.saved_network import SavedNetwork, find_network
from scalenet_training.networks.saved_network_config import SavedNetworkConfig
from scalenet_training.settings.training import TrainConfig


def network(kind, **config):
    """A network of a run on data of a kind, with the classes a and b."""
    return SavedNetwork("run/best.keras", record(TrainConfig(**config), data=kind))


def test_a_folder_is_not_looked_for_where_the_run_s_dataset_is(here):
    images.make("ten")
    run = network({"kind": "tfds"}, dataset="cifar10", data_dir="tfds")
    given = SavedNetworkConfig("run", dataset="ten")
    assert run.source(given).name == "ten"
    assert run.own_record(given) is None
    run = network({"kind": "folder"}, dataset="./ten", data_dir="tfds")
    assert run.own_record(given) is run.record


@pytest.mark.parametrize(
    ("kind", "config", "option"),
    [
        ("folder", {"dataset": "x2/plain"}, "dataset"),
        ("manifest", {"dataset": "x2/plain"}, "dataset"),
        ("tfds", {"dataset": "cifar10", "data_dir": "x2/plain"}, "data_dir"),
    ],
)
def test_data_that_the_run_alone_names_are_looked_for_first(kind, config, option, here):
    with pytest.raises(UsageError) as refused:
        network({"kind": kind}, **config).source(SavedNetworkConfig("run"))
    assert str(refused.value) == (
        "the data of the run of 'run/best.keras' are not here: they were in "
        "'x2/plain', relative to the folder that it was trained in. Say where they are "
        f"now with `{option}`."
    )


def test_the_place_of_data_is_told_as_it_is_where_it_is_a_full_path(here):
    run = network({"kind": "folder"}, dataset=f"{here}/gone")
    with pytest.raises(
        UsageError, match=r"they were in '/.*gone'\. Say where they are"
    ):
        run.source(SavedNetworkConfig("run"))


def test_which_network_of_a_run_is_no_choice_for_a_file(tmp_path, monkeypatch):
    """It was passed over, and the answer was of the file all the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.keras").touch()
    assert find_network("best.keras", "best").path == "best.keras"
    for model in ("best.keras", "cifar10:ScaleNetCifar38"):
        message = rf"`saved` last is for the folder of a run\. Received: .*{model[-6:]}"
        with pytest.raises(SettingError, match=message):
            find_network(model, "last")
