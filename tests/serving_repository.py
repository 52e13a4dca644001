"""A model repository, served as TensorFlow Serving does, without REST and gRPC.

For tests and for trying clients where there is no TensorFlow Serving. What it answers
and refuses, and in which words, follows the documentation and the sources of TensorFlow
Serving 2; it loads by `tf.saved_model.load`, every version in the folder, and joins no
requests.
"""

import argparse
import dataclasses
import os
import signal
import sys
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

FAULTS = ("slow", "error", "garbage", "refuse")
_PREAMBLE = "<stack traces unavailable>\n"


class RefusalError(Exception):
    """What a server answers instead of a result: a gRPC code's name, and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


@dataclasses.dataclass
class Faults:
    """What goes wrong: `kind` (of `FAULTS`), for `remaining` requests, once `spared`
    requests were answered."""

    kind: str | None = None
    remaining: float = float("inf")
    spared: int = 0
    delay: float = 60.0
    requests: int = 0
    closed: threading.Event = dataclasses.field(default_factory=threading.Event)

    def next(self):
        """Counts a request; the fault that it meets, after the wait of a slow server.

        Raises:
            RefusalError: The fault is one that both protocols answer with a code.
        """
        self.requests += 1
        if self.kind is None or self.remaining <= 0 or self.requests <= self.spared:
            return None
        self.remaining -= 1
        if self.kind == "slow":
            self.closed.wait(self.delay)
        if self.kind == "error":
            raise RefusalError("INTERNAL", "the disk is on fire")
        if self.kind == "refuse":
            raise RefusalError("UNAVAILABLE", "the server is starting")
        return self.kind


class Version:
    """A loaded SavedModel."""

    def __init__(self, folder):
        self._model = tf.saved_model.load(folder)
        with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
            content = saved_model_pb2.SavedModel.FromString(file.read())
        self.signature_def = dict(content.meta_graphs[0].signature_def)

    def inputs(self, name):
        """The TensorSpec of each input of a signature, or None."""
        if name not in self._model.signatures:
            return None
        return self._model.signatures[name].structured_input_signature[1]

    def run(self, name, arrays):
        """The outputs of a signature as arrays."""
        expected = self.inputs(name)
        if expected is None:
            raise RefusalError(
                "FAILED_PRECONDITION", f'Serving signature key "{name}" not found.'
            )
        if {*arrays} != {*expected}:
            raise RefusalError(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(arrays)}!={len(expected)} "
                f"len({{{','.join(arrays)}}}) != len({{{','.join(expected)}}}).",
            )
        try:
            tensors = {
                key: tf.constant(array, expected[key].dtype)
                for key, array in arrays.items()
            }
            outputs = self._model.signatures[name](**tensors)
        except tf.errors.OpError as error:
            code = type(error).__name__.removesuffix("Error")
            message = error.message.partition(_PREAMBLE)[2] or error.message
            raise RefusalError(_upper(code), message) from error
        except (TypeError, ValueError) as error:
            raise RefusalError("INVALID_ARGUMENT", str(error)) from error
        return {key: value.numpy() for key, value in outputs.items()}


def _upper(name):
    return "".join(f"_{c}" if c.isupper() else c.upper() for c in name).strip("_")


class Repository:
    """All models and versions of a folder: `<name>/<version>/saved_model.pb`.

    `labels` is {model: {label: version}}.
    """

    def __init__(self, folder, labels=None):
        self.labels = labels or {}
        self.models = {}
        for name in sorted(os.listdir(folder)):
            versions = {
                int(number): Version(os.path.join(folder, name, number))
                for number in _listed(os.path.join(folder, name))
                if number.isdigit()
            }
            if versions:
                self.models[name] = dict(sorted(versions.items(), reverse=True))

    def find(self, name, version=None, label=None):
        """The number and the model of a version."""
        if label is not None:
            try:
                version = self.labels[name][label]
            except KeyError:
                raise RefusalError(
                    "INVALID_ARGUMENT", f"Unrecognized servable version label: {label}"
                ) from None
        versions = self.models.get(name, {})
        if version is None and versions:
            version = max(versions)
        if version not in versions:
            wanted = f"Latest({name})"
            if version is not None:
                wanted = f"Specific({name}, {version})"
            raise RefusalError("NOT_FOUND", f"Servable not found for request: {wanted}")
        return version, versions[version]

    def available(self, name, version=None, label=None):
        """The numbers of the versions that a status is about, the highest first."""
        if name not in self.models:
            raise RefusalError(
                "NOT_FOUND", f"Could not find any versions of model {name}"
            )
        if label is not None:
            return [self.find(name, label=label)[0]]
        if version is not None and version not in self.models[name]:
            raise RefusalError(
                "NOT_FOUND", f"Could not find version {version} of model {name}"
            )
        return [*self.models[name]] if version is None else [version]


def _listed(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


def command_line(description, default_port, open_server, url):
    """Serves a folder as a process of its own, until a signal.

    `open_server(repository, port, faults)` gives a server with `port` and `close()`;
    `url(port, name)` is a model's URL.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("repository", help="folder with <name>/<version>/")
    parser.add_argument("--port", type=int, default=default_port, help="0: a free one")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME:LABEL=VERSION",
        help="label of a version; may be repeated",
    )
    parser.add_argument("--fault", choices=FAULTS, help="what every request meets")
    options = parser.parse_args()
    labels = {}
    for text in options.label:
        name, _, rest = text.partition(":")
        label, _, version = rest.partition("=")
        labels.setdefault(name, {})[label] = int(version)
    repository = Repository(options.repository, labels)
    if not repository.models:
        parser.error(f"there is no model in {options.repository!r}")
    try:
        server = open_server(repository, options.port, Faults(options.fault))
    except (OSError, RuntimeError) as error:
        parser.error(f"--port {options.port} cannot be opened: {error}")
    for name, versions in repository.models.items():
        numbers = ", ".join(map(str, versions))
        print(f"{url(server.port, name)} (versions {numbers})")
    print(f"port {server.port}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
