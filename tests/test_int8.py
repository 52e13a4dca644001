"""What eight bits cost a trained network, on photographs."""

import os

import pytest
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.exported import evaluate_exported
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.exporter import export_model
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_int8_keeps_the_accuracy_of_a_trained_network(tmp_path, data_dir):
    recipe = {
        **PRESETS["cifar10"].config.to_json(),
        "data_dir": os.path.join(data_dir, "tfds"),
        "train_split": "train[:6000]",
        "eval_split": "test[:1000]",
        "batch_size": 64,
        "epochs": 3,
        "learning_rate": 0.05,
        "schedule": "cosine",
        "milestones": (0.5, 0.75),
        "warmup_epochs": 1.0,
    }
    run = str(tmp_path / "run")
    trained = train_and_evaluate(TrainConfig(**recipe), run)
    assert trained["val_top1_error"] < 0.7  # of 0.9 by chance

    to = str(tmp_path / "exports")
    settings = {"format": "tflite", "quantization": "int8"}
    file, _ = export_model(ExportConfig(run, name="cifar", to=to, **settings))
    result = evaluate_exported(EvaluateConfig(file, compare=run))
    assert result["examples"] == 1000
    assert result["agreement"] >= 0.9
    assert result["top1_error"] <= result["compared_top1_error"] + 0.01
