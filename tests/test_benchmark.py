"""Comparisons of networks, profiles, and scaling."""

import csv
import json
import os
import re
import subprocess

import keras
import numpy as np
import pytest
import torch
from conftest import TINY, TINY_CIFAR
from scalenet_training.benchmark.config import (
    ChecksConfig,
    ModelsConfig,
    PipelineConfig,
    ProfileConfig,
    ScalingConfig,
)
from scalenet_training.benchmark.models import measure_models
from scalenet_training.benchmark.peers import PEERS, with_keras_norm
from scalenet_training.benchmark.pipeline import PIPELINES, measure_pipelines
from scalenet_training.benchmark.profile import profile
from scalenet_training.benchmark.pytorch import network as pytorch
from scalenet_training.benchmark.pytorch.peer import description
from scalenet_training.benchmark.scaling import measure_scaling
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.invocation import process_of
from scalenet_training.networks.random_statistics import draw_statistics
from scalenet_training.train.step import logits_of

import scalenet_tf
from scalenet_tf.layers import BatchNormalization
from scalenet_tf.profiling import count_parameters
from scalenet_tf.weights.pytorch import pytorch_arrays


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny network and a narrower one, as files."""
    folder = tmp_path_factory.mktemp("networks")
    record = TINY_CIFAR.to_record()
    for name in ("Wide", "Narrow"):
        rows = record["allocation"]
        if name == "Narrow":
            rows = [[1] * len(row) for row in rows]
        content = {**record, "name": name, "allocation": rows}
        content["budget_per_stage"] = None
        (folder / f"{name}.json").write_text(json.dumps(content))
    return [str(folder / f"{name}.json") for name in ("Wide", "Narrow")]


@pytest.mark.parametrize(
    ("name", "parameters"),
    # those of Keras' weights, timm's seresnet50, torchvision's resnext50_32x4d
    [
        ("KerasResNet50", 25_583_592),
        ("SEResNet50", 28_088_024),
        ("ResNeXt50", 25_028_904),
    ],
)
def test_peers_have_the_parameters_of_the_published_networks(name, parameters):
    assert count_parameters(PEERS[name](224, 1000)) == parameters


@pytest.mark.parametrize("architecture", ["ScaleNetCifar38", "ResNetCifar38"])
def test_networks_with_the_batch_norm_of_keras_compute_the_same(architecture):
    model = scalenet_tf.create_model(architecture, weights=None, classes=10)
    draw_statistics(model)
    other = with_keras_norm(model)
    other.set_weights(model.get_weights())
    norms = [
        layer
        for layer in other._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert norms
    assert not any(isinstance(norm, BatchNormalization) for norm in norms)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3))
    np.testing.assert_allclose(other(images), model(images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "work",
    [
        pytest.param("inference", marks=pytest.mark.processes),
        pytest.param("step", marks=pytest.mark.slow),
    ],
)
def test_networks_are_compared_with_the_first(tiny, work, tmp_path, capsys):
    output, plot = tmp_path / "a.csv", tmp_path / "a.png"
    formats = ("tflite",) if work == "inference" else ()
    config = ModelsConfig(
        networks=tuple(tiny),
        work=work,
        formats=formats,
        keras_norm=True,
        pytorch=True,
        batch_sizes=(2,),
        image_size=32,
        classes=10,
        rounds=3,
        output=str(output),
        plot=str(plot),
    )
    rows = measure_models(config)
    assert [(row.runtime, row.network) for row in rows] == [
        (runtime, network)
        for runtime in ("tensorflow", "keras-norm", "pytorch", *formats)
        for network in ("Wide", "Narrow")
    ]
    for row in rows:
        assert 0 < row.low <= row.milliseconds <= row.high
        assert row.ratio > 0
        assert row.first_seconds > 0
        assert row.peak_mebibytes > 100
        assert (row.to_tensorflow is None) == (row.runtime in formats)
    assert rows[0].ratio == 1
    wide = scalenet_tf.ScaleNet(scalenet_tf.load_architecture(tiny[0]), classes=10)
    assert rows[0].macs == scalenet_tf.count_macs(wide) > rows[1].macs
    with open(output, newline="") as file:
        kept = list(csv.DictReader(file))
    assert [float(row["ratio"]) for row in kept] == [row.ratio for row in rows]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"written: {output}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ()}, "`networks` must be one or more. Received: none."),
        ({"networks": ("ResNet51",)}, "Received: 'ResNet51'. Did you mean ResNet5"),
        ({"batch_sizes": (0,)}, "`batch_sizes` must be positive numbers"),
        ({"rounds": 0}, "`rounds` must be more than 0. Received: 0."),
        ({"formats": ("tflit",)}, "`format` must be one of"),
        ({"formats": ("tflite",), "work": "step"}, "`formats` are for `work` infer"),
        ({"output": "no/such/a.csv"}, "`output` must be in a folder that exists"),
    ],
    ids=str,
)
def test_comparisons_that_cannot_be(settings, message):
    with pytest.raises(UsageError) as error:
        measure_models(ModelsConfig(**settings))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "kind", [ChecksConfig, ModelsConfig, ProfileConfig], ids=lambda kind: kind.__name__
)
def test_files_of_another_kind_are_refused(kind):
    with pytest.raises(SettingError, match=r"`output` must end in \.csv"):
        kind(output="a.txt")


@pytest.mark.parametrize("work", ["inference", "step"])
def test_a_profile_has_the_operations_by_their_time(tiny, work, tmp_path, capsys):
    output = tmp_path / "a.csv"
    config = ProfileConfig(
        tiny[0], work=work, batch_size=4, calls=2, image_size=32, output=str(output)
    )
    rows = profile(config)
    assert sum(row.share for row in rows) == pytest.approx(1)
    times = [row.milliseconds for row in rows]
    assert times == sorted(times, reverse=True)
    counts = {row.operation: row.count for row in rows}
    convolutions = sum(n for name, n in counts.items() if name.endswith("Conv2D"))
    network = scalenet_tf.ScaleNet(scalenet_tf.load_architecture(tiny[0]), classes=10)
    kernels = [w for w in network.weights if len(w.shape) == 4]
    assert convolutions == len(kernels)
    assert any("Grad" in name for name in counts) == (work == "step")
    with open(output, newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert "of operations on all threads" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.processes
def test_scaling_compares_workers_with_one(tiny):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    config = ScalingConfig(model=tiny[0], steps=3, rounds=1, batch_size=8)
    (ratio,) = measure_scaling(config)
    assert ratio > 0


@pytest.mark.processes
def test_what_checks_cost_is_told_for_each_signature(tiny, tmp_path):
    output = tmp_path / "a.csv"
    command, environment = process_of(
        "benchmark", ["checks", tiny[0], "--calls", "5", "--output", str(output)]
    )
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"written: {output}" in ended.stdout
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["signature"], row["percentile"]) for row in rows] == [
        (signature, percentile)
        for signature in (
            "serving_default",
            "serving_uint8",
            "serving_bytes",
            "features",
        )
        for percentile in ("10", "25", "50")
    ]
    for row in rows:
        assert float(row["milliseconds"]) > 0
        assert float(row["cost"]) > -1
        assert float(row["noise"]) > -1


def test_pipelines_are_compared_with_the_first(tmp_path, capsys, monkeypatch):
    few = {"nothing else": {}, "mixup": {"mixup": 0.2}}
    assert PIPELINES.items() > {"nothing else": {}}.items()
    monkeypatch.setattr("scalenet_training.benchmark.pipeline.PIPELINES", few)
    table = tmp_path / "pipelines.csv"
    config = PipelineConfig(
        image_size=16, batch_size=4, steps=2, rounds=2, output=str(table)
    )
    rows = measure_pipelines(config)
    assert [row.name for row in rows] == list(few)
    assert rows[0].ratio == 1.0
    assert min(row.lowest for row in rows) > 0
    assert f"written: {table}" in capsys.readouterr().out
    with table.open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == list(few)


def test_pipelines_need_pairs_and_an_augmentation():
    message = r"`batch_size` must be an even number of 2 or more\. Received: 3\."
    with pytest.raises(SettingError, match=message):
        PipelineConfig(batch_size=3)
    with pytest.raises(UsageError, match="`augment` must be one of none, crop"):
        measure_pipelines(PipelineConfig(augment="flip", batch_size=2, steps=1))


@pytest.mark.parametrize("name", scalenet_tf.list_models())
def test_networks_in_pytorch_have_the_same_parameters(name):
    architecture = scalenet_tf.get_architecture(name)
    with torch.device("meta"):
        network = pytorch.ScaleNet(description(architecture), classes=10)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == architecture.parameters(10)


@pytest.mark.parametrize("architecture", [TINY, TINY_CIFAR], ids=lambda a: a.name)
def test_networks_in_pytorch_compute_the_same(architecture):
    model = scalenet_tf.ScaleNet(architecture, classes=10)
    draw_statistics(model)
    network = pytorch.ScaleNet(description(architecture), classes=10).eval()
    # Both in the order of the layers, each with a batch norm after its convolution.
    arrays, state = pytorch_arrays(model), network.state_dict()
    for kind in (".weight", ".bias", ".running_mean", ".running_var"):
        theirs = sorted((n for n in arrays if n.endswith(kind)), key=authors_order)
        ours = [name for name in state if name.endswith(kind)]
        for mine, their in zip(ours, theirs, strict=True):
            state[mine].copy_(torch.from_numpy(arrays[their]))
    size = architecture.native_size
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    expected = logits_of(model)(images).numpy()
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


def authors_order(name):
    """Key that brings the authors' names into the order of the layers."""
    place = [int(number) for number in re.findall(r"\d+", name)]
    if name.startswith(("conv1", "bn1")):
        return [0, name.startswith("bn1")]
    if name.startswith("fc"):
        return [99]
    stage, block, *rest = place
    if "downsample" in name:
        return [stage, block, 4, *rest]
    return [stage, block, *rest, "bn" in name]
