"""What the tests of serving share: exports of one tiny network, and running servers."""

import contextlib
import dataclasses

import numpy as np
from records import record
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from serving_grpc import GrpcServer
from serving_open_inference import OpenInferenceServer
from serving_repository import Faults, Repository
from serving_rest import RestServer
from test_export import NAMES, PHOTOS, TRANSFORM, classifier

from scalenet_tf import export

SERVERS = {
    "rest": (RestServer, "http://127.0.0.1:{port}/v1/models/{name}"),
    "open_inference": (
        OpenInferenceServer,
        "http://127.0.0.1:{port}/v2/models/{name}",
    ),
    "grpc": (GrpcServer, "grpc://127.0.0.1:{port}/{name}"),
}
LABELS = {"tiny": {"stable": 1, "canary": 2}}


class Exports:
    """Model `tiny`: version 1 refuses corrupt images, 2 flags them, prefers class 3."""

    def __init__(self, folder):
        self.folder = folder
        self.repository = folder / "repository"
        self.images = folder / "images"
        self.images.mkdir()
        endings = ("jpg", "JPEG", "png", "jpg")
        for index, (data, ending) in enumerate(zip(PHOTOS, endings, strict=True)):
            (self.images / f"{index}.{ending}").write_bytes(data)
        self.model = classifier()
        self.save(1, on_corrupt="error")
        other = classifier()
        other.get_layer("logits").bias.assign_add(np.eye(10)[3] * 5)
        self.save(2, other, on_corrupt="flag")

    def save(self, version, model=None, **options):
        path = self.repository / "tiny" / str(version)
        export.save_savedmodel(model or self.model, path, TRANSFORM, NAMES, **options)

    def save_run(self, folder):
        """Makes the folder of a run with the network of version 1."""
        folder.mkdir()
        self.model.save(folder / "best.keras")
        run = record(
            TrainConfig(normalization=TRANSFORM.normalization),
            image_size=TRANSFORM.image_size,
            eval_resize=TRANSFORM.resize,
            class_names=NAMES,
        )
        RunFolder(folder).write_record(run)
        return folder

    def loaded(self):
        return Repository(self.repository, LABELS)


@dataclasses.dataclass
class Running:
    """A server in this process, and what it meets."""

    protocol: str
    port: int
    faults: Faults
    owner: object = None

    def url(self, name="tiny"):
        return SERVERS[self.protocol][1].format(port=self.port, name=name)


@contextlib.contextmanager
def running(protocol, repository, **options):
    faults = Faults()
    server = SERVERS[protocol][0](repository, faults=faults, **options)
    try:
        yield Running(protocol, server.port, faults, server)
    finally:
        server.close()
