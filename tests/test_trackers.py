"""Runs in MLflow and in Weights & Biases as they are; neither needs a server."""

import dataclasses
import json
import math
import shutil

import pytest
from conftest import TINY_CIFAR
from fake_tracker import unique
from killing import Program, survive_kills
from processes import TRAINING
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.tracking.mlflow_run import TAG
from scalenet_training.tracking.wandb_files import payloads
from scalenet_training.train.loop import train_and_evaluate
from test_fine_tuning import config  # noqa: F401

pytestmark = pytest.mark.slow

FILES = {"config.json", "metrics.csv", "curves.png", "best.keras"}


class Mlflow:
    """What MLflow's database has, in the current folder."""

    name, needs = "mlflow", ("mlflow", "sqlalchemy", "alembic")
    store = "sqlite:///{}/mlflow.db"

    def __init__(self, folder):
        self.folder = folder

    def forget(self):
        """Makes this process like a new one."""

    def _client(self):
        from mlflow import MlflowClient

        return MlflowClient()

    def run(self, identity, experiment="scalenet_tf"):
        found = self._client().get_experiment_by_name(experiment)
        (run,) = self._client().search_runs(
            [found.experiment_id], f"tags.{TAG} = '{identity}'"
        )
        return run

    def points(self, identity):
        run = self.run(identity)
        return unique(
            (metric.step, name, metric.value)
            for name in run.data.metrics
            for metric in self._client().get_metric_history(run.info.run_id, name)
        )

    def settings(self, identity):
        return self.run(identity).data.params

    def files(self, identity):
        listed = self._client().list_artifacts(self.run(identity).info.run_id)
        return {file.path for file in listed}

    def ended(self, identity):
        return self.run(identity).info.status == "FINISHED"


class MlflowFiles(Mlflow):
    """The same in files, to which MLflow writes number by number."""

    needs = ("mlflow",)
    store = "file://{}/mlruns"


class Wandb:
    """What Weights & Biases keeps offline in the current folder."""

    name, needs, store = "wandb", ("wandb",), ""

    def __init__(self, folder):
        self.folder = folder

    def forget(self):
        """Makes this process like a new one: it reads the environment again."""
        import wandb

        wandb.teardown()

    def parts(self, identity):
        return sorted(self.folder.glob(f"wandb/offline-run-*-{identity}"))

    def _records(self, identity):
        from wandb.proto.wandb_internal_pb2 import Record

        for part in self.parts(identity):
            for payload in payloads((part / f"run-{identity}.wandb").read_bytes()):
                yield Record.FromString(payload)

    def points(self, identity):
        found = []
        for record in self._records(identity):
            values = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            step = values.get("_step", record.history.step.num)
            found += [(step, n, v) for n, v in values.items() if n[0] != "_"]
        return unique(found)

    def settings(self, identity):
        found = {}
        for record in self._records(identity):
            for update in record.run.config.update:
                found[update.key] = str(json.loads(update.value_json))
        return found

    def files(self, identity):
        return {
            path.name for part in self.parts(identity) for path in part.glob("files/*")
        } & FILES

    def ended(self, identity):
        codes = [
            record.exit.exit_code
            for record in self._records(identity)
            if record.WhichOneof("record_type") == "exit"
        ]
        return codes[-1:] == [0]


@pytest.fixture(params=[Mlflow, MlflowFiles, Wandb])
def tracker(request, here, monkeypatch):
    for module in request.param.needs:
        pytest.importorskip(module, reason=f"needs the extra `{request.param.name}`")
    for variable in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", request.param.store.format(here))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(here))
    tracker = request.param(here)
    tracker.forget()
    return tracker


def identity_of(folder):
    return json.loads((folder / "tracking.json").read_text())["run"]


def numbers_of(folder):
    return {
        (row["epoch"], name): pytest.approx(value, nan_ok=True, rel=1e-12)
        for row in RunFolder(folder).rows()
        for name, value in row.items()
        if name != "epoch"
    }


def check(tracker, folder, epochs):
    identity = identity_of(folder)
    numbers = tracker.points(identity)
    assert numbers == numbers_of(folder)
    assert len(numbers) == 8 * epochs
    assert tracker.files(identity) == FILES
    assert tracker.ended(identity)
    told = tracker.settings(identity)
    assert (told["learning_rate"], told["architecture"]) == ("0.02", "Micro")


def test_a_run_is_one_run_there_however_often_it_goes_on(
    config,  # noqa: F811
    tracker,
    here,
    monkeypatch,
):
    """Untracked to its end, then sent; longer; and once more, which adds nothing."""
    folder = here / "run"
    train_and_evaluate(dataclasses.replace(config, epochs=1), str(folder))
    config = dataclasses.replace(config, epochs=1, track=tracker.name)
    train_and_evaluate(config, str(folder))
    check(tracker, folder, 1)
    config = dataclasses.replace(config, epochs=3)
    train_and_evaluate(config, str(folder))
    check(tracker, folder, 3)
    before = {path for path in here.rglob("*") if "run" in str(path.relative_to(here))}
    train_and_evaluate(config, str(folder))
    assert before == {
        path for path in here.rglob("*") if "run" in str(path.relative_to(here))
    }
    check(tracker, folder, 3)


def test_a_server_that_does_not_answer_is_a_warning_and_gets_it_later(
    config,  # noqa: F811
    tracker,
    here,
    monkeypatch,
    capsys,
):
    folder = here / "run"
    config = dataclasses.replace(config, epochs=1, track=tracker.name)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setenv("WANDB_MODE", "online")
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
        patch.setenv("WANDB_API_KEY", "0" * 40)
        patch.setenv("WANDB_INIT_TIMEOUT", "5")
        row = train_and_evaluate(config, str(folder))
    tracker.forget()
    assert math.isfinite(row["val_loss"])
    assert capsys.readouterr().err.count("Not sent: what it lacks of the run") == 1
    train_and_evaluate(config, str(folder))
    check(tracker, folder, 1)


@pytest.mark.processes
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_double_no_point_and_lose_none(tracker, here, request):
    (here / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    folder = here / "run"

    def ended(output):
        assert "warning" not in output
        identity = identity_of(folder)
        assert tracker.points(identity) == numbers_of(folder)
        assert tracker.files(identity) == FILES
        assert tracker.ended(identity)
        shutil.rmtree(folder)

    options = ("--train-split", "train[:256]", "--eval-split", "validation[:50]")
    options += ("--model", "tiny.json", "--batch-size", "16", "--epochs", "6")
    options += ("--workdir", "run", "--track", tracker.name)
    program = Program([f"{TRAINING}/train.py", *options], ended, at_work="(?m)^Epoch")
    kills = math.ceil(request.config.getoption("--kills") / 10)
    survive_kills(program, kills)
