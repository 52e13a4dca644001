"""PyTorch checkpoints as people have them: what is taken, and what is refused."""

import argparse
import collections

import numpy as np
import pytest
import reference
import torch
from conftest import TINY_CIFAR
from situations import situation

import scalenet_tf
from scalenet_tf.weights import pytorch_shapes, read_pytorch_weights

AREA = "PyTorch checkpoints"
VARIANCE = "layer1.0.bn2.1.running_var"
KERNEL = "layer1.0.conv2.1.weight"


@pytest.fixture(scope="module")
def model():
    return scalenet_tf.ScaleNet(TINY_CIFAR, classes=3)


@pytest.fixture(scope="module")
def arrays(model):
    return reference.generated_weights(pytorch_shapes(model))


@pytest.fixture
def tensors(arrays):
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def assert_loaded(model, arrays, rounded=lambda array: array):
    """Each variable has the tensor's numbers, in Keras' order of axes."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    expected = {
        name: np.transpose(rounded(array), axes[array.ndim])
        for name, array in arrays.items()
    }
    for layer, name in (
        (model.get_layer("stem_conv").kernel, "conv1.weight"),
        (model.get_layer("stage1_block1_sa").scale2_conv.kernel, KERNEL),
        (model.get_layer("stage1_block1_sa").scale2_bn.moving_variance, VARIANCE),
        (model.get_layer("logits").kernel, "fc.weight"),
    ):
        np.testing.assert_array_equal(layer, expected[name])
    total = sum(float(np.sum(rounded(a), dtype="f8")) for a in arrays.values())
    actual = sum(float(np.sum(w, dtype="f8")) for w in model.get_weights())
    assert actual == pytest.approx(total, rel=1e-12)


def wiped(model):
    for weight in model.weights:
        weight.assign(np.ones(weight.shape))
    return model


KINDS = {
    "float16": (lambda t: t.half(), "float16"),
    "bfloat16": (lambda t: t.bfloat16(), "bfloat16"),
    "float64": (lambda t: t.double(), "float64"),
    "parameters, which want gradients": (torch.nn.Parameter, None),
    "views that are not contiguous": (
        lambda t: torch.stack([t, t], -1)[..., 0],
        None,
    ),
}


@pytest.mark.parametrize(
    ("made", "cast"),
    [
        pytest.param(*KINDS[name], marks=situation(AREA, f"tensors: {name}"), id=name)
        for name in KINDS
    ],
)
def test_floating_point_tensors_are_cast_and_that_is_said(
    model, arrays, tensors, made, cast, outcome
):
    report = scalenet_tf.load_pytorch_weights(
        wiped(model), {name: made(tensor) for name, tensor in tensors.items()}
    )
    assert_loaded(
        model, arrays, lambda a: made(torch.from_numpy(a)).detach().float().numpy()
    )
    assert report.cast == ((cast,) if cast else ())
    outcome(str(report).replace("`source`", "the mapping"))


def changed(index, value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[index] = value
        return tensor

    return change


ODD = {
    "integers": (KERNEL, lambda t: t.int(), "Received: int32"),
    "booleans": (KERNEL, lambda t: t > 0, "Received: bool"),
    "complex numbers": (KERNEL, lambda t: t.cfloat(), "Received: complex64"),
    "float8": (
        KERNEL,
        lambda t: t.to(torch.float8_e4m3fn),
        "Received: float8_e4m3fn",
    ),
    "quantised": (
        KERNEL,
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        "Received: a quantised tensor (torch.qint8)",
    ),
    "sparse": (
        KERNEL,
        lambda t: t.to_sparse(),
        "Received: a sparse tensor (torch.sparse_coo)",
    ),
    "meta": (
        KERNEL,
        lambda t: t.to("meta"),
        "Received: a meta tensor, which has no values",
    ),
    "numpy integers": (KERNEL, lambda t: t.int().numpy(), "Received: int32"),
    "None": (KERNEL, lambda t: None, "Received: NoneType"),
    "NaN": (
        KERNEL,
        changed(1, float("nan")),
        "Received: 1 of 72 are NaN or infinite in float32",
    ),
    "infinity": (
        KERNEL,
        changed(0, float("inf")),
        "Received: 1 of 72 are NaN or infinite in float32",
    ),
    "float64, too large for float32": (
        KERNEL,
        lambda t: changed(0, 1e300)(t.double()),
        "Received: 1 of 72 are NaN or infinite in float32",
    ),
    "a negative running variance": (
        VARIANCE,
        changed(0, -0.5),
        "Received: 1 of 2 are negative, the lowest -0.5",
    ),
}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        pytest.param(*ODD[kind], marks=situation(AREA, f"a tensor: {kind}"), id=kind)
        for kind in ODD
    ],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_tensor_that_cannot_be_a_weight_is_refused_by_its_name(
    model, tensors, name, change, message, outcome
):
    before = wiped(model).get_weights()
    tensors[name] = change(tensors[name])
    with pytest.raises(ValueError, match="Received") as refused:
        scalenet_tf.load_pytorch_weights(model, tensors)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"tensor {name!r} of `source` ")
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    outcome(f"refused, naming source and tensor: {message.removeprefix('Received: ')}")


COUNTERS = {
    "layer1.0.bn1.num_batches_tracked": torch.tensor(7),
    "bn1.num_batches_tracked": torch.tensor(7),
}


def prefixed(prefix):
    return lambda t: {prefix + name: tensor for name, tensor in t.items()}


OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{}]}
CONTENTS = {
    "counters of batches": lambda t: {**COUNTERS, **t},
    "under state_dict": lambda t: {"state_dict": t, "epoch": 3},
    "under model, beside an optimizer": lambda t: {"model": t, "optimizer": OPTIMIZER},
    "under model_state_dict": lambda t: {"model_state_dict": t, "loss": 0.5},
    "under net": lambda t: {"net": t, "acc": 93.1, "epoch": 200},
    "under state_dict_ema": lambda t: {"state_dict_ema": t},
    "two dictionaries deep": lambda t: {"ema": {"module": t, "decay": 0.9}},
    "prefix module.": prefixed("module."),
    "prefix _orig_mod.": prefixed("_orig_mod."),
    "prefix module._orig_mod.": prefixed("module._orig_mod."),
    "prefix model., with counters": lambda t: prefixed("model.")({**COUNTERS, **t}),
    "an averaged model": lambda t: {
        "n_averaged": torch.tensor(5),
        **prefixed("module.")(t),
    },
}


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(CONTENTS[name], marks=situation(AREA, f"content: {name}"), id=name)
        for name in CONTENTS
    ],
)
def test_a_file_and_a_mapping_are_treated_alike(
    model, arrays, tensors, made, tmp_path, outcome
):
    content = made(tensors)
    torch.save(content, tmp_path / "checkpoint.pth")
    reports = []
    for source in (content, tmp_path / "checkpoint.pth"):
        reports.append(scalenet_tf.load_pytorch_weights(wiped(model), source))
        assert_loaded(model, arrays)
    assert [r.source for r in reports] == [
        "`source`",
        repr(str(tmp_path / "checkpoint.pth")),
    ]
    assert reports[0].loaded == len(tensors)
    outcome(str(reports[0]).replace("`source`", "the file or mapping"))


@situation(AREA, "content: a model and its average")
def test_of_several_dictionaries_one_is_chosen(model, arrays, tensors, outcome):
    average = {name: 2 * tensor for name, tensor in tensors.items()}
    content = {"state_dict": tensors, "state_dict_ema": average}
    with pytest.raises(ValueError, match="several dictionaries of tensors"):
        scalenet_tf.load_pytorch_weights(model, content)
    scalenet_tf.load_pytorch_weights(wiped(model), content, key="state_dict_ema")
    assert_loaded(model, {name: 2 * array for name, array in arrays.items()})
    with pytest.raises(ValueError, match=r"`key` must lead to.*Received: key='ema'"):
        scalenet_tf.load_pytorch_weights(model, content, key="ema")
    outcome("refused, naming both; `key` or --key chooses one")


def test_a_key_leads_into_dictionaries(tensors):
    content = {"ema": {"model": tensors}, "model": tensors}
    read = read_pytorch_weights(content, key="ema.model")
    assert read.tensors.keys() == tensors.keys()
    assert read.classes == 3


SUFFIXES = (".pth", ".PTH", ".pt", ".ckpt", ".bin", ".pth.tar")


@situation(AREA, "file names: .pth .pt .ckpt .bin .pth.tar, in any case")
def test_files_may_have_any_of_the_suffixes(tensors, tmp_path, outcome):
    for suffix in SUFFIXES:
        torch.save(tensors, tmp_path / f"checkpoint{suffix}")
        read = read_pytorch_weights(tmp_path / f"checkpoint{suffix}")
        assert read.tensors.keys() == tensors.keys(), suffix
    outcome("read by torch.load, without running code that the file names")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param(
            torch.bfloat16, None, marks=situation(AREA, ".safetensors: bfloat16")
        ),
        pytest.param(
            torch.float8_e4m3fn,
            r"tensor 'conv1.weight' of '.*' must be a dense tensor.*Received: F8_E4M3",
            marks=situation(AREA, ".safetensors: float8"),
        ),
    ],
)
def test_safetensors_of_other_types(
    model, arrays, tensors, kind, message, tmp_path, outcome
):
    import safetensors.torch

    path = tmp_path / "weights.safetensors"
    if message is None:
        content = {name: tensor.to(kind) for name, tensor in tensors.items()}
        safetensors.torch.save_file(content, path)
        report = scalenet_tf.load_pytorch_weights(wiped(model), path)
        assert_loaded(
            model, arrays, lambda a: torch.from_numpy(a).to(kind).float().numpy()
        )
        outcome(str(report).replace(repr(str(path)), "the file"))
        return
    tensors["conv1.weight"] = tensors["conv1.weight"].to(kind)
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(ValueError, match=message):
        scalenet_tf.load_pytorch_weights(model, path)
    outcome("refused, naming file and tensor: F8_E4M3")


def saved(content):
    return lambda path: torch.save(content, path)


def written(content):
    return lambda path: path.write_bytes(content)


STATE = {"state_dict": {"conv1.weight": torch.zeros(2)}}
FILES = {
    "an argparse.Namespace inside": (
        saved({**STATE, "args": argparse.Namespace(lr=0.1)}),
        "it refers to argparse.Namespace",
    ),
    "a numpy scalar inside": (
        saved({**STATE, "best": np.float64(93.1)}),
        "it refers to numpy",
    ),
    "a pickled module": (
        saved(torch.nn.Linear(2, 2)),
        "it refers to torch.nn.modules.linear.Linear",
    ),
    "an empty file": (written(b""), "is empty: save or download it again"),
    "a Git LFS pointer": (
        written(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"),
        "is a Git LFS pointer: run `git lfs pull` in its folder",
    ),
    "a web page": (
        written(b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"),
        "is a web page: download the file itself",
    ),
    "text": (written(b"text"), "is not a PyTorch checkpoint of plain tensors"),
    "only an optimizer": (
        saved({"optimizer": OPTIMIZER}),
        "must hold a dictionary from names to tensors (a state_dict)",
    ),
    "a single tensor": (
        saved(torch.zeros(2)),
        "must hold a dictionary from names to tensors (a state_dict)",
    ),
}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(*FILES[name], marks=situation(AREA, f"file: {name}"), id=name)
        for name in FILES
    ],
)
def test_files_without_a_state_dict_are_refused(write, message, tmp_path, outcome):
    path = tmp_path / "checkpoint.pth"
    write(path)
    with pytest.raises(ValueError, match=r"checkpoint\.pth") as refused:
        read_pytorch_weights(path)
    text = str(refused.value)
    assert repr(str(path)) in text
    assert message in text
    assert "\n" not in text
    outcome(f"refused, naming the file: {message}")


@pytest.mark.parametrize(
    "bias",
    [
        pytest.param(
            torch.tensor(1.0), marks=situation(AREA, "a tensor: fc.bias of no axis")
        ),
        pytest.param(
            torch.zeros(3, 1), marks=situation(AREA, "a tensor: fc.bias of two axes")
        ),
    ],
)
def test_a_classifier_of_wrong_rank_is_refused(tensors, bias, outcome):
    tensors["fc.bias"] = bias
    with pytest.raises(ValueError, match=r"'fc.bias' of `source` must have") as refused:
        _ = read_pytorch_weights(tensors).classes
    assert str(refused.value).endswith(f"Received: shape {tuple(bias.shape)}.")
    outcome(f"refused, naming source and tensor: shape {tuple(bias.shape)}")


def test_missing_and_unexpected_tensors_are_all_counted(model, tensors):
    fewer = collections.OrderedDict(tensors)
    for name in list(tensors)[3:8]:
        del fewer[name]
    message = (
        r"'bn1.running_mean' \(shape .*\) is missing from `source`, which has "
        rf"{len(fewer)} tensors \(the same holds for 4 more: 'bn1.running_var'.*\.\.\."
    )
    with pytest.raises(ValueError, match=message):
        scalenet_tf.load_pytorch_weights(model, fewer)
    more = {**tensors, "ghost.weight": torch.zeros(1), "ghost.bias": torch.zeros(1)}
    message = (
        r"'ghost.weight' of `source` is unexpected.*\(the same holds for 1 more: "
        r"'ghost.bias'\)"
    )
    with pytest.raises(ValueError, match=message):
        scalenet_tf.load_pytorch_weights(model, more)


def test_the_report_counts_what_was_ignored(tensors):
    body = scalenet_tf.ScaleNet(TINY_CIFAR, include_top=False)
    report = scalenet_tf.load_pytorch_weights(body, {**COUNTERS, **tensors})
    assert report.loaded == len(body.weights) == len(tensors) - 2
    assert report.found == len(tensors) + 2
    assert report.ignored == (*COUNTERS, "fc.weight", "fc.bias")
    assert str(report) == (
        f"{report.loaded} of {report.found} tensors of `source`; ignored: "
        "2 num_batches_tracked, fc.weight, fc.bias"
    )


def test_float64_models_keep_float64(float64, tensors):
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=3)
    exact = {name: tensor.double() + 1e-12 for name, tensor in tensors.items()}
    report = scalenet_tf.load_pytorch_weights(model, exact)
    kernel = model.get_layer("stem_conv").kernel.numpy()
    expected = exact["conv1.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
    assert report.cast == ()
