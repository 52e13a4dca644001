"""The house: directions of imports, what an import costs, what a wheel holds."""

import ast
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import scalenet_tf

ROOT = pathlib.Path(__file__).parent.parent
LIBRARY = ROOT / "scalenet_tf"
TRAINING = ROOT / "training"

# A module may import those to its left; a package may import leaves too.
ORDER = [
    "_version",
    "architectures",
    "normalization",
    "resampling",
    "layers",
    "tensors",
    "pytorch_files",
    "models",
]
LEAVES = ["files", "finite", "folding", "profiling", "saving", "weights"]
# Packages and modules that any other may import; each may import those before it.
IMAGES = ["decoding", "preprocessing"]
# A module may import those before it.
SEARCH = ["budget", "tuner"]
PACKAGES = {
    "decoding": [
        "formats",
        "headers",
        "reading",
        "orientation",
        "bmp",
        "gif",
        "images",
    ],
    "allocation": ["importance", "selection", "targets"],
    "export": [
        "metadata",
        "classifier",
        "inputs",
        "guards",
        "calibration",
        "requests",
        "savedmodel",
        "tflite",
        "onnx_graph",
        "onnx",
        "runtime",
        "verification",
    ],
    "serving": [
        "errors",
        "endpoint",
        "extras",
        "messages",
        "rest",
        "rpc",
        "client",
    ],
}


def imported(path):
    """Names of the modules that a file imports at its top or anywhere inside."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def test_every_module_of_the_library_has_its_place():
    modules = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    assert modules | {*PACKAGES} == {*ORDER, *LEAVES, *IMAGES, *SEARCH, *PACKAGES}
    packages = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert packages == {*PACKAGES}
    for package, order in PACKAGES.items():
        modules = {path.stem for path in (LIBRARY / package).glob("*.py")}
        assert modules == {*order, "__init__"}


@pytest.mark.parametrize("module", [*ORDER, *LEAVES, "preprocessing", *SEARCH])
def test_imports_of_the_library_go_one_way(module):
    allowed = ORDER[: ORDER.index(module)] if module in ORDER else ORDER
    if module in SEARCH:
        allowed = [*ORDER, *SEARCH[: SEARCH.index(module)]]
    if module in IMAGES:
        allowed = IMAGES[: IMAGES.index(module)]
    for name in imported(LIBRARY / f"{module}.py"):
        assert not name.startswith(("scalenet_training", "training"))
        if name.startswith("scalenet_tf"):
            assert name.removeprefix("scalenet_tf.") in allowed, name


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_of_a_package_go_one_way(package):
    order = PACKAGES[package]
    for index, module in enumerate(order):
        others = [] if package in IMAGES else [*ORDER, *LEAVES, *IMAGES]
        allowed = [*others, *(f"{package}.{m}" for m in order[:index])]
        for name in imported(LIBRARY / package / f"{module}.py"):
            assert not name.startswith(("scalenet_training", "training"))
            if name.startswith("scalenet_tf"):
                assert name.removeprefix("scalenet_tf.") in allowed, name


def test_import_pulls_in_no_optional_package():
    code = (
        "import sys, keras, tensorflow\n"
        "before = set(sys.modules)\n"
        "import scalenet_tf, scalenet_tf.export\n"
        "optional = {'keras_tuner', 'tensorflow_datasets', 'matplotlib', 'torch',\n"
        "            'sklearn', 'tyro', 'safetensors', 'PIL',\n"
        "            'tensorflow_serving', 'ai_edge_litert', 'grpc', 'requests',\n"
        "            'onnx', 'onnxruntime', 'tenacity',\n"
        "            'scalenet_tf.serving'}\n"
        "pulled = optional & (set(sys.modules) - before)\n"
        "assert not pulled, pulled\n"
        "import scalenet_tf.serving\n"
        "pulled = {'grpc', 'requests', 'tenacity'} & (set(sys.modules) - before)\n"
        "assert not pulled, pulled\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def test_public_names_exist_and_are_documented():
    for name in scalenet_tf.__all__:
        assert getattr(scalenet_tf, name).__doc__, name


def test_no_module_of_training_shadows_another_package():
    standard = sys.stdlib_module_names
    for path in (ROOT / "training").iterdir():
        assert path.stem not in standard


def test_a_wheel_works_outside_the_repository(tmp_path):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    source = tmp_path / "source"
    shutil.copytree(LIBRARY, source / "scalenet_tf")
    shutil.copytree(TRAINING, source / "training")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(tmp_path), str(source)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert tops == {
            "scalenet_tf",
            "scalenet_training",
            f"scalenet_tf-{scalenet_tf.__version__}.dist-info",
        }
        modules = {name for name in archive.namelist() if name.endswith(".py")}
        assert modules == {
            path.relative_to(folder).as_posix()
            for folder, package in (
                (ROOT, "scalenet_tf"),
                (TRAINING, "scalenet_training"),
            )
            for path in (folder / package).rglob("*.py")
        }
        archive.extractall(tmp_path / "installed")
    code = (
        "import numpy as np, scalenet_tf, scalenet_tf.export\n"
        "assert 'installed' in scalenet_tf.__file__, scalenet_tf.__file__\n"
        "model = scalenet_tf.ScaleNet50(weights=None, input_shape=(64, 64, 3))\n"
        "out = model.predict(np.zeros((1, 64, 64, 3)), verbose=0)\n"
        "names = scalenet_tf.decode_predictions(out)\n"
        "assert len(names[0]) == 5\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
    )


# A module of the data room may import those before it, and nothing else of its package.
DATA = [
    "listing",
    "folder",
    "manifest",
    "division",
    "image_files",
    "index",
    "inventory",
    "table",
    "prepared_features",
    "splits",
    "source",
    "fingerprint",
    "images",
    "digits",
    "prepared",
    "sources",
    "batches",
]


def test_imports_of_the_data_room_go_one_way():
    room = ROOT / "training" / "scalenet_training" / "data"
    assert {path.stem for path in room.glob("*.py")} == {*DATA, "__init__"}
    for number, module in enumerate(DATA):
        allowed = {f"scalenet_training.data.{before}" for before in DATA[:number]}
        names = imported(room / f"{module}.py")
        used = {name for name in names if name and name.startswith("scalenet_training")}
        assert used <= allowed, module


@pytest.mark.parametrize(
    "module", ["train.config", "networks.saved_network_config", "tune.config"]
)
def test_settings_import_no_tensorflow(module):
    code = (
        f"import sys, scalenet_training.{module}\n"
        "assert not {'tensorflow', 'keras', 'PIL', 'rich.table'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "training")
