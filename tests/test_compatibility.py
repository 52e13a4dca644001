"""What version 0.1.0 wrote can be read: runs, exports, searches, allocations."""

import dataclasses
import json

import numpy as np
import pytest
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.saved import evaluate_saved
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.tune.folder import SearchFolder

import scalenet_tf
from scalenet_tf.export import open_exported

IMAGES = np.linspace(-1, 1, 2 * 32 * 32 * 3, dtype=np.float32).reshape(2, 32, 32, 3)


@pytest.mark.runs
def test_a_run_resumes_where_it_was_stopped(written):
    settings = RunFolder("run").read_record().config
    row = train_and_evaluate(dataclasses.replace(settings, max_steps=None), "run")
    assert [row["epoch"] for row in RunFolder("run").rows()] == [0, 1]
    # What the old version gave for the same continuation.
    assert row["loss"] == pytest.approx(2.3784509897232056, rel=1e-3)
    assert row["val_loss"] == pytest.approx(2.3174058571457863, rel=1e-3)
    assert row["val_top1_error"] == pytest.approx(0.9375, abs=1 / 64)


def test_a_record_keeps_what_was_written(written):
    content = json.loads((written / "run/config.json").read_text())
    again = RunFolder("run").read_record().to_json()
    # Settings that did not exist have their defaults.
    written_settings = content.pop("config")
    assert again.pop("config") == TrainConfig().to_json() | written_settings
    assert "on_damaged" not in written_settings
    assert list(again.items()) == list(content.items())


def test_a_run_is_evaluated(written):
    result = evaluate_saved(EvaluateConfig(run_or_model="run"))
    best = RunFolder("run").rows()[0]
    assert result["loss"] == pytest.approx(best["val_loss"], rel=1e-5)


@pytest.mark.parametrize(
    "path",
    [
        "repo/tiny/1",
        "repo/tiny/tflite/1/tiny-float32.tflite",
        "repo/tiny/onnx/1/tiny.onnx",
    ],
)
def test_an_export_gives_the_probabilities_of_its_network(written, path):
    expected = np.load("expected.npz")["probabilities"]
    actual = open_exported(path).run(IMAGES, "probabilities")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_search_and_its_allocation_are_read(written):
    assert SearchFolder("search").ended_trials("twin") == 2
    for path in ("search/allocation.json", "seed/allocation.json"):
        model = scalenet_tf.ScaleNet(scalenet_tf.load_architecture(path))
        assert model.output_shape == (None, 100)


def test_scripts_find_the_training_functions_where_they_were():
    from scalenet_training import config, loop, sources
    from scalenet_training.data.sources import open_source

    assert config.TrainConfig is TrainConfig
    assert loop.train_and_evaluate is train_and_evaluate
    assert sources.open_source is open_source
