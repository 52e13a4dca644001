"""The serving configuration: parsed by the messages that read it, and of one mind."""

import inspect
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from scalenet_tf.serving import Client

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = ROOT / "savedmodels"
IMAGE = "tensorflow/serving:2.21.0"
GRPC, REST = 8500, 8501

Field = descriptor_pb2.FieldDescriptorProto
INTEGER = ".google.protobuf.Int64Value"
# tensorflow-serving-api does not ship these two messages of TensorFlow Serving
# (session_bundle_config.proto and monitoring_config.proto): name -> its fields' number
# and type, a message's name or a basic type, and whether it is repeated.
UNSHIPPED = {
    "BatchingParameters": {
        "max_batch_size": (1, INTEGER, False),
        "batch_timeout_micros": (2, INTEGER, False),
        "max_enqueued_batches": (3, INTEGER, False),
        "num_batch_threads": (4, INTEGER, False),
        "thread_pool_name": (5, ".google.protobuf.StringValue", False),
        "allowed_batch_sizes": (6, Field.TYPE_INT64, True),
        "pad_variable_length_inputs": (7, Field.TYPE_BOOL, False),
    },
    "PrometheusConfig": {
        "enable": (1, Field.TYPE_BOOL, False),
        "path": (2, Field.TYPE_STRING, False),
    },
    "MonitoringConfig": {
        "prometheus_config": (1, ".tensorflow.serving.PrometheusConfig", False),
    },
}


def unshipped(name):
    """The class of a message that has to be declared here."""
    file = descriptor_pb2.FileDescriptorProto(
        name="serving_configs.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message_name, fields in UNSHIPPED.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind, repeated) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = Field.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"tensorflow.serving.{name}")
    return message_factory.GetMessageClass(descriptor)


def parsed(name, message):
    # A field that the message does not have is an error.
    return text_format.Parse((FOLDER / name).read_text(), message)


@pytest.fixture
def models():
    config = parsed("models.config", model_server_config_pb2.ModelServerConfig())
    return {model.name: model for model in config.model_config_list.config}


def compose():
    (service,) = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())[
        "services"
    ].values()
    return service


def kubernetes():
    objects = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    return {content["kind"]: content for content in objects}


def container():
    (only,) = kubernetes()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


def flags(arguments):
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def docker_run():
    """The arguments of the README's longer command, its lines joined."""
    text = (FOLDER / "README.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("docker run")]
    return shlex.split(max(lines, key=len))


def test_models_are_several_with_versions_and_labels(models):
    assert len(models) >= 2
    for name, model in models.items():
        assert model.base_path == f"/models/{name}"
        assert model.model_platform == "tensorflow"
    digits = models["digits"]
    assert {*digits.version_labels} == {"stable", "canary"}
    # A label must be on a version that the policy loads.
    versions = {*digits.model_version_policy.specific.versions}
    assert {*digits.version_labels.values()} <= versions
    others = [model for name, model in models.items() if name != "digits"]
    assert any(m.model_version_policy.latest.num_versions == 2 for m in others)


def test_batches_fit_what_the_client_sends():
    batching = parsed("batching.config", unshipped("BatchingParameters")())
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted({*sizes})
    assert sizes[-1] == batching.max_batch_size.value
    default = inspect.signature(Client).parameters["batch_size"].default
    assert default <= batching.max_batch_size.value
    assert batching.num_batch_threads.value >= 1
    assert not batching.pad_variable_length_inputs  # it would pad pixels
    assert batching.HasField("batch_timeout_micros")
    assert batching.HasField("max_enqueued_batches")


def test_metrics_have_the_path_that_kubernetes_scrapes():
    monitoring = parsed("monitoring.config", unshipped("MonitoringConfig")())
    assert monitoring.prometheus_config.enable
    path = monitoring.prometheus_config.path
    annotations = kubernetes()["Deployment"]["spec"]["template"]["metadata"][
        "annotations"
    ]
    assert annotations["prometheus.io/path"] == path
    assert annotations["prometheus.io/port"] == str(REST)
    assert f"http://HOST:{REST}{path}" in (FOLDER / "README.md").read_text()


def test_a_field_that_there_is_not_is_an_error():
    for message in (
        model_server_config_pb2.ModelServerConfig(),
        unshipped("BatchingParameters")(),
        unshipped("MonitoringConfig")(),
    ):
        with pytest.raises(text_format.ParseError):
            text_format.Parse("max_batch_sizes { value: 1 }", message)


@pytest.mark.parametrize(
    ("arguments", "mount"),
    [
        (lambda: compose()["command"], "/models"),
        (lambda: container()["args"], "/config"),
        (docker_run, "/models"),
    ],
    ids=["compose", "kubernetes", "README"],
)
def test_servers_are_started_with_these_files(arguments, mount, models):
    given = flags(x for x in arguments() if x.startswith("--") and "=" in x)
    for flag, name in (
        ("model_config_file", "models.config"),
        ("batching_parameters_file", "batching.config"),
        ("monitoring_config_file", "monitoring.config"),
    ):
        assert given[flag] == f"{mount}/{name}"
        assert (FOLDER / name).is_file()
    assert given["enable_batching"] == "true"
    # Without it the labels of models.config stop the server at its start.
    assert any(model.version_labels for model in models.values())
    assert given["allow_version_labels_for_unavailable_models"] == "true"


def test_images_ports_and_mounts_agree(models):
    service, run = compose(), docker_run()
    assert service["image"] == container()["image"] == IMAGE
    assert IMAGE in run
    ports = [f"{port}:{port}" for port in (GRPC, REST)]
    assert service["ports"] == ports
    assert [run[i + 1] for i, word in enumerate(run) if word == "-p"] == ports
    assert service["volumes"] == [".:/models:ro"]
    assert any(word.endswith("savedmodels:/models:ro") for word in run)
    for model in models.values():
        assert model.base_path.startswith("/models/")


def test_kubernetes_objects_fit_each_other(models):
    deployment = kubernetes()["Deployment"]["spec"]
    service = kubernetes()["Service"]["spec"]
    pod = deployment["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == service["selector"] == labels
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": GRPC, "rest": REST}
    for port in service["ports"]:
        assert ports[port["targetPort"]] == port["port"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container()[probe]["httpGet"]
        assert get["port"] == "rest"
        assert get["path"].removeprefix("/v1/models/") in models
    mounts = {
        mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]
    }
    assert mounts == {"models": "/models", "config": "/config"}
    assert {volume["name"] for volume in pod["spec"]["volumes"]} == {*mounts}
    assert {*container()["resources"]} == {"requests", "limits"}


def test_what_was_not_run_says_so():
    for name in ("docker-compose.yml", "kubernetes.yaml", "README.md"):
        text = " ".join((FOLDER / name).read_text().split())
        assert re.search("[Nn]ot run here", text), name


@pytest.mark.skipif(
    not shutil.which("git") or not (ROOT / ".git").exists(), reason="no repository"
)
def test_exported_models_are_not_committed_and_the_configuration_is():
    def ignored(path):
        command = ["git", "check-ignore", "--quiet", "--no-index", path]
        return subprocess.run(command, cwd=ROOT, check=False).returncode == 0

    for path in ("digits/1/saved_model.pb", ".writing-x/a", "digits.tflite"):
        assert ignored(f"savedmodels/{path}"), path
    for path in FOLDER.iterdir():
        if path.is_file() and path.suffix != ".tflite":
            assert not ignored(f"savedmodels/{path.name}"), path
