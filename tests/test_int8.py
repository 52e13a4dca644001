"""What eight bits cost a trained network: all test images of CIFAR-10."""

import os

import pytest
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.exported import evaluate_exported
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.exporter import export_model


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_int8_keeps_the_accuracy_of_a_trained_network(tmp_path, data_dir):
    name, folder = "cifar10:ScaleNetCifar38", os.path.join(data_dir, "tfds")
    settings = {"format": "tflite", "quantization": "int8", "data_dir": folder}
    to = str(tmp_path / "exports")
    file, _ = export_model(ExportConfig(name, name="cifar", to=to, **settings))
    result = evaluate_exported(EvaluateConfig(file, compare=name, data_dir=folder))
    assert result["examples"] == 10_000
    assert result["agreement"] >= 0.97
    assert abs(result["top1_error"] - result["compared_top1_error"]) <= 0.003
