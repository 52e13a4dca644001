"""The command `scalenet`: which commands there are, and how they are called."""

import subprocess
import sys

import pytest
from scalenet_training import invocation
from scalenet_training.cli import app
from scalenet_training.doctor import checks

VERBS = [
    *("train", "evaluate", "predict", "export", "publish", "convert"),
    *("allocate", "tune", "study", "runs", "report"),
    *("plot", "benchmark", "doctor"),
]


def called(monkeypatch, capsys, *words):
    """Exit code and output of `scalenet` with these words."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/scalenet", *words])
    code = 0
    try:
        app.main()
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_all_commands(monkeypatch, capsys, words):
    code, out, err = called(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert listed == VERBS


def test_help_imports_neither_tensorflow_nor_tyro():
    code = (
        "import sys\n"
        "sys.argv = ['scalenet', '--help']\n"
        "from scalenet_training.cli.app import main\n"
        "main()\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'tyro'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_unknown_command_is_an_error_with_the_nearest_one(monkeypatch, capsys):
    code, _, err = called(monkeypatch, capsys, "trian")
    assert code == 2
    assert err == (
        f"error: COMMAND must be one of {', '.join(VERBS)}. Received: 'trian'. "
        "Did you mean train?\n"
    )


@pytest.mark.parametrize(
    ("verb", "package", "extra"),
    [("train", "tyro", "train"), ("tune", "keras_tuner", "tune")],
)
def test_a_missing_extra_is_named(monkeypatch, capsys, verb, package, extra):
    def missing(arguments, program):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    module = type(sys)("command")
    module.main = missing
    monkeypatch.setitem(sys.modules, app.module_of(verb), module)
    code, _, err = called(monkeypatch, capsys, verb)
    assert code == 2
    assert err == (
        f"error: scalenet {verb} needs the package {package}, which is not installed: "
        f"pip install 'scalenet_tf[{extra}]'.\n"
    )


def test_a_module_of_our_own_that_is_missing_is_a_bug(monkeypatch):
    def broken(arguments, program):
        import scalenet_tf.nowhere  # noqa: F401

    module = type(sys)("command")
    module.main = broken
    monkeypatch.setitem(sys.modules, app.module_of("train"), module)
    monkeypatch.setattr(sys, "argv", ["scalenet", "train"])
    with pytest.raises(ModuleNotFoundError, match=r"scalenet_tf\.nowhere"):
        app.main()


def test_a_command_has_the_name_under_which_it_was_called(monkeypatch, capsys):
    code, out, _ = called(monkeypatch, capsys, "evaluate", "--help")
    assert code == 0
    assert out.startswith("usage: scalenet evaluate ")


@pytest.mark.parametrize(
    ("argv", "typed", "other"),
    [
        (
            ["/home/me/.venv/bin/scalenet", "tune", "--seed", "1"],
            ["scalenet", "tune", "--seed", "1"],
            ["scalenet", "train", "--seed", "2"],
        ),
        (
            ["training/tune.py", "--seed", "1"],
            ["python", "training/tune.py", "--seed", "1"],
            ["python", "training/train.py", "--seed", "2"],
        ),
        (
            ["tune.py"],
            ["python", "tune.py"],
            ["python", "train.py", "--seed", "2"],
        ),
        (
            ["/home/me/site-packages/scalenet_training/__main__.py", "tune"],
            ["python", "-m", "scalenet_training", "tune"],
            ["python", "-m", "scalenet_training", "train", "--seed", "2"],
        ),
    ],
)
def test_commands_are_printed_as_they_were_typed(monkeypatch, argv, typed, other):
    monkeypatch.setattr(sys, "argv", argv)
    assert invocation.typed() == typed
    assert invocation.typed_as("train", ["--seed", "2"]) == other


def test_doctor_finds_nothing_wrong_here(monkeypatch, capsys):
    code, out, err = called(monkeypatch, capsys, "doctor")
    assert (code, err) == (0, "")
    assert "tensorflow: 2.21" in out
    assert "train: installed" in out
    assert out.endswith("No problems found.\n")


def test_doctor_fails_where_something_will_not_work(monkeypatch, capsys):
    versions = {"torch": "2.14.1", "scalenet_tf": "0.1.0"}
    monkeypatch.setattr(checks, "version", lambda name: versions.get(name))
    code, out, err = called(monkeypatch, capsys, "doctor")
    assert code == 1
    assert "PyTorch 2.14.1 beside TensorFlow" in err
    assert "tensorflow missing, needs" in err
    assert "tyro<2,>=1.0" in out


def test_doctor_says_that_the_package_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(checks, "version", lambda name: None)
    code, _, err = called(monkeypatch, capsys, "doctor")
    assert code == 1
    assert "scalenet_tf is not installed: pip install -e . in its folder." in err
