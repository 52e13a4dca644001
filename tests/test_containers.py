"""Dockerfile and compose.yaml: parsed, and of one mind with the guides."""

import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import test_serving_configs as serving_configs
import yaml
from command_lines import decided
from processes import ROOT, environment, finish
from serving_repository import RefusalError
from serving_rest import RestServer
from test_faults import wait_for_training

ROOT = pathlib.Path(ROOT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DISTRIBUTED = (ROOT / "docs/distributed.md").read_text()
GUIDE = (ROOT / "docs/containers.md").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()


def instructions():
    """(name, arguments) of each instruction, its lines joined, without comments."""
    lines = [x for x in DOCKERFILE.splitlines() if x and not x.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [tuple(" ".join(line.split()).split(" ", 1)) for line in joined]


def arguments(name):
    return [given for instruction, given in instructions() if instruction == name]


def blocks(text):
    return [
        block.replace("\\\n", " ")
        for block in re.findall(r"```\w*\n(.*?)```", text, re.S)
    ]


def test_the_image_runs_the_command_without_a_shell_and_not_as_root():
    from scalenet_training.cli.app import COMMANDS

    assert arguments("ENTRYPOINT") == ['["scalenet"]']
    assert arguments("STOPSIGNAL") == ["SIGTERM"]
    assert (
        "scalenet = scalenet_training.cli.app:main" in (ROOT / "setup.cfg").read_text()
    )
    order = [name for name, _ in instructions()]
    assert "USER" in order[order.index("RUN") :]
    assert arguments("USER") == ["${UID}"]
    assert "UID=1000" in arguments("ARG")
    (volumes,) = arguments("VOLUME")
    targets = {volume["target"] for volume in COMPOSE["services"]["train"]["volumes"]}
    assert set(yaml.safe_load(volumes)) == targets == {"/data", "/runs", "/savedmodels"}
    for service in COMPOSE["services"].values():
        assert service["command"][0] in COMMANDS


def test_the_wheel_is_built_from_all_that_it_needs_and_from_nothing_else():
    copied = {word for given in arguments("COPY") for word in given.split()[:-1]}
    kept = {line[1:] for line in IGNORED.splitlines() if line.startswith("!")}
    assert copied == kept
    assert IGNORED.splitlines()[1] == "*"
    assert all((ROOT / name).exists() for name in copied)
    # What `test_a_wheel_works_outside_the_repository` builds from.
    assert copied == {
        *("scalenet_tf", "training", "setup.cfg", "pyproject.toml", "README.md"),
        "LICENSE",
    }


def test_versions_and_extras_are_those_of_the_package():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (python,) = {
        x.partition("=")[2] for x in arguments("ARG") if x.startswith("PYTHON")
    }
    assert setup["options"]["python_requires"].startswith(f">={python},")
    assert {*arguments("FROM")} == {
        "python:${PYTHON}-slim-bookworm AS wheel",
        "python:${PYTHON}-slim-bookworm",
    }
    (default,) = (x for x in arguments("ARG") if x.startswith("EXTRAS"))
    builds = [s["build"]["args"]["EXTRAS"] for s in COMPOSE["services"].values()]
    assert default == f"EXTRAS={builds[0]}"
    for extra in ",".join(builds).split(","):
        assert extra in setup["options.extras_require"]


def read(words, here):
    """The settings of a command of `train` whose data are here."""
    return decided(shlex.join(words).replace("/data/tfds", str(here)))[0]


def test_training_on_gpus_is_the_command_of_the_guide(here):
    documented = next(block for block in blocks(DISTRIBUTED) if "[train,gpu]" in block)
    (line,) = (x for x in documented.splitlines() if x.startswith("python "))
    service = COMPOSE["services"]["train-gpus"]
    verb, *words = service["command"]
    assert (verb, words) == ("train", shlex.split(line)[2:])
    settings = read(words, here)
    assert (settings.preset, settings.workdir) == ("imagenet", "/runs/scalenet50")
    assert service["extends"] == "train"
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert COMPOSE["services"]["train"]["command"] == ["train"]  # the README's


def test_a_stop_leaves_training_the_time_that_the_guide_gives_it(here):
    (pods,) = (block for block in blocks(DISTRIBUTED) if "TFJob" in block)
    pod = yaml.safe_load(pods)["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    service = COMPOSE["services"]["train"]
    assert pod["terminationGracePeriodSeconds"] == 300
    assert service["stop_grace_period"] == "5m"
    assert service["init"] is True
    (container,) = pod["containers"]
    assert container["command"] == ["scalenet", "train"]
    assert read(container["args"], here).strategy == "multiworker"


def test_serving_stands_in_one_file_and_its_health_is_asked_as_kubernetes_asks():
    assert COMPOSE["include"] == ["savedmodels/docker-compose.yml"]
    assert "tensorflow/serving" not in (ROOT / "compose.yaml").read_text() + DOCKERFILE
    service, pod = serving_configs.compose(), serving_configs.container()
    script = service["healthcheck"]["test"][-1]
    probe = pod["startupProbe"]
    assert f"/dev/tcp/127.0.0.1/{serving_configs.REST}" in script
    assert f"GET {probe['httpGet']['path']} HTTP/1.1" in script
    seconds = probe["periodSeconds"] * probe["failureThreshold"]
    assert service["healthcheck"]["start_period"] == f"{seconds // 60}m"
    assert service["init"] is True


def test_no_service_is_root_or_has_more_rights_or_a_secret():
    services = [*COMPOSE["services"].values(), serving_configs.compose()]
    for service in services:
        if "extends" in service:
            continue
        assert service["user"] == "${SCALENET_UID:-1000}:${SCALENET_GID:-1000}"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
    text = DOCKERFILE + (ROOT / "compose.yaml").read_text()
    assert not re.search("(?i)password|token|secret|api_?key", text)


def test_the_guide_names_services_and_says_what_was_not_run():
    names = {*COMPOSE["services"], "serving"}
    used = re.findall(r"docker compose (?:run|up|stop)(?: -[\w-]+)* ([\w-]+)", GUIDE)
    assert {*used} == names
    for text in (GUIDE, DOCKERFILE, (ROOT / "compose.yaml").read_text()):
        assert re.search(r"no\s+(# )?Docker", text)


def healthy(port, model):
    """The exit code of the health check, asked of another port and model."""
    *start, script = serving_configs.compose()["healthcheck"]["test"]
    assert start == ["CMD", "bash", "-c"]
    script = script.replace("8501", str(port)).replace(
        "models/digits", f"models/{model}"
    )
    return subprocess.run(
        ["bash", "-c", script], timeout=5, check=False, capture_output=True
    ).returncode


class OneModel:
    """What the stand-in for TensorFlow Serving asks for the status of a model."""

    def available(self, name, **_):
        if name != "tiny":
            raise RefusalError("NOT_FOUND", f"Could not find any versions of {name}")
        return [1]


def test_the_health_check_asks_the_server():
    server = RestServer(OneModel())
    try:
        assert healthy(server.port, "tiny") == 0
        assert healthy(server.port, "unknown") == 1
    finally:
        server.close()
    assert healthy(server.port, "tiny") == 1  # nobody there


@pytest.mark.slow
@pytest.mark.processes
def test_the_first_process_of_a_container_saves_when_it_is_stopped(
    tmp_path, tiny_cifar_file
):
    """As Docker starts it: by exec, as process 1, and stops it, by SIGTERM."""
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("needs unshare and the right to make a PID namespace")
    words = ["--model", tiny_cifar_file, "--workdir", str(tmp_path / "run")]
    words += ["--train-split", "train[:256]", "--eval-split", "validation[:50]"]
    train = [sys.executable, "-m", "scalenet_training", "train", *words]

    def started():
        pipe, errors = subprocess.PIPE, subprocess.STDOUT
        return subprocess.Popen(
            [*alone, *train], env=environment(), stdout=pipe, stderr=errors, text=True
        )

    process = started()
    wait_for_training(process)
    first = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    subprocess.run(["kill", f"-{signal.SIGTERM}", first.strip()], check=True)
    output = finish(process, code=128 + signal.SIGTERM)
    assert "by SIGTERM" in output
    resumed = started()
    wait_for_training(resumed)
    resumed.kill()
    resumed.communicate()
