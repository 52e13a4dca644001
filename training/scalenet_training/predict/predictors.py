"""What gives probabilities for images: a network in this process, or a server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from scalenet_tf.backends import require_tensorflow
from scalenet_tf.export.formats import FORMATS, ExportFormat, find_exported
from scalenet_tf.export.interface import DEFAULT, Exportable, ExportError
from scalenet_tf.export.runtime import Exported
from scalenet_tf.serving import (
    Client,
    InvalidImageError,
    ModelNotFoundError,
    Prediction,
    ServingError,
    SignatureNotFoundError,
    TopKError,
)
from scalenet_tf.serving.endpoint import without_secrets
from scalenet_tf.serving.messages import INVALID
from scalenet_tf.shipped import list_weights
from scalenet_training.errors import RunError, UsageError, usage_errors
from scalenet_training.networks.exported_files import check_complete, open_intact
from scalenet_training.networks.saved_network_config import (
    SavedNetworkConfig,
    check_not_given,
)
from scalenet_training.predict.config import (
    KerasOptions,
    PredictConfig,
    ServerOptions,
    is_url,
)
from scalenet_training.predict.decoders import ArrayDecoder, Decoder, GraphDecoder
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.base import fields_of
from scalenet_training.settings.inputs import is_shipped


class LocalPredictor:
    """A network in this process; images are transformed as evaluation does it.

    Args:
        model: The network, with its classes.
        decode: From files to what it takes.
        has_names: Whether its classes have names, and not numbers in their place.

    Attributes:
        class_names: Names of all classes, in the order of their numbers; None where
            they are not known.
    """

    def __init__(self, model: Exported, decode: Decoder, has_names: bool = True):
        self._model, self._decode = model, decode
        self.class_names = model.class_names if has_names else None

    def predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        """A prediction for each encoded image; not `valid` where it is not an image."""
        inputs, valid = self._decode(images)
        results = [INVALID] * len(images)
        if valid.any():
            with usage_errors(ExportError):
                rows = self._model.outputs(inputs, "probabilities")
            for index, row in zip(np.flatnonzero(valid), rows, strict=True):
                results[index] = _ranked(row, self._model.class_names, top_k)
        return results


class ServerPredictor:
    """A served model, by the client of the library."""

    # Which there are, besides those that it answers with, a server does not say.
    class_names: Sequence[str] | None = None

    def __init__(self, client: Client):
        self._client = client

    def predict(self, images: Sequence[bytes], top_k: int | None) -> list[Prediction]:
        """A prediction for each encoded image; not `valid` where it is not an image.

        A model that refuses a batch for some of its images is asked again without them.

        Raises:
            UsageError: The model cannot be asked for this.
            RunError: It does not answer.
        """
        if not images:
            return []
        try:
            return self._client.predict(images, top_k)
        except InvalidImageError as error:
            bad = {*error.indices}
            if not bad:
                raise RunError(str(error)) from error
        except (ModelNotFoundError, SignatureNotFoundError) as error:
            raise UsageError(f"`model`: {error}") from error
        except ServingError as error:
            raise RunError(str(error)) from error
        except TopKError as error:
            raise UsageError(str(error)) from error
        good = [data for index, data in enumerate(images) if index not in bad]
        results = iter(self.predict(good, top_k))
        return [INVALID if i in bad else next(results) for i in range(len(images))]


Predictor = LocalPredictor | ServerPredictor


@contextlib.contextmanager
def open_predictor(
    config: PredictConfig,
    formats: Sequence[ExportFormat] | None = None,
    option: str = "model",
) -> Iterator[Predictor]:
    """Loads the model, or connects to it, until the block ends.

    Args:
        config: Which model.
        formats: The formats of exported models that are known; `None`: the package's.
        option: What the model is called in messages.

    Raises:
        UsageError: There is no such model, it cannot be loaded, or an option is not for
            such a model.
    """
    path, about = config.model, f"`{option}` {without_secrets(config.model)!r}: "
    formats = FORMATS if formats is None else formats
    found = None if is_url(path) else find_exported(path, formats)
    if is_url(path) or found:
        check_not_given(config, fields_of(KerasOptions), without_secrets(path))
    if is_url(path):
        batch_size, attempts = config.batch_size, config.attempts
        with open_client(path, config, batch_size, attempts) as client:
            yield ServerPredictor(client)
    elif found:
        with usage_errors(UsageError, about=about):
            exported = open_intact(path, formats)
        decoder = GraphDecoder if found[0].in_tensorflow else ArrayDecoder
        yield LocalPredictor(exported, decoder(exported.transform))
    elif _is_network(path):
        with usage_errors(about=about):
            content, has_names = _load_network(config)
        loaded = _as_exported(content)
        yield LocalPredictor(loaded, GraphDecoder(loaded.transform), has_names)
    else:
        check_complete(path)
        forms = (
            "the URL of a served model",
            *(entry.form for entry in formats),
            "the folder of a run that has finished an epoch",
            "a .keras file",
            *list_weights(),
        )
        raise UsageError(
            f"`{option}` must be one of: {'; '.join(forms)}. Received: {path!r}."
        )


def open_client(
    url: str, options: ServerOptions, batch_size: int, attempts: int
) -> Client:
    """Makes a client of a served model; nothing is asked yet.

    Raises:
        UsageError: The URL or an option is not allowed.
    """
    with usage_errors(about=f"`model` {without_secrets(url)!r}: "):
        return Client(
            url,
            timeout=options.timeout,
            attempts=attempts,
            batch_size=batch_size,
            headers=_headers(options.header),
            ca_file=options.ca_file,
        )


def _headers(lines: Sequence[str]) -> dict[str, str]:
    """Headers by name.

    Raises:
        UsageError: A line is none; it may hold a secret, and is not told.
    """
    headers = {}
    for number, line in enumerate(lines, start=1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError(
                '`header` must be "NAME: VALUE". Received: another form, as the value '
                f"number {number}."
            )
        headers[name.strip()] = value.strip()
    return headers


def _is_network(path: str) -> bool:
    if is_shipped(path):
        return True
    if os.path.isdir(path):  # one that lacks either of them is refused by its name
        run = RunFolder(path)
        return run.has_record or os.path.isfile(run.file("best.keras"))
    return path.endswith(".keras") and os.path.isfile(path)


def _as_exported(content: Exportable) -> Exported:
    """A network as if it had been exported."""
    from scalenet_tf.export.classifier import Classifier
    from scalenet_tf.export.metadata import metadata

    run = Classifier(content.model, fold=False)
    return Exported(metadata(content), {DEFAULT: run})


def _load_network(config: PredictConfig) -> tuple[Exportable, bool]:
    """The network, and whether the names of its classes are known."""
    require_tensorflow("predict of a run or a .keras file")
    from scalenet_tf.export.checking import check_classifier
    from scalenet_training.networks.class_names import read_class_names
    from scalenet_training.networks.saved_network import find_network

    settings = SavedNetworkConfig(
        config.model,
        normalization=config.normalization,
        image_size=config.image_size,
        eval_resize=config.eval_resize,
    )
    network = find_network(config.model, settings.saved)
    network.required("normalization", config.normalization)
    model = network.load()
    names = None if network.record is None else network.record.class_names
    if config.class_names is not None:
        names = read_class_names(config.class_names)
    numbers = [str(index) for index in range(model.output_shape[-1])]
    content = Exportable(model, network.transform(model, settings), names or numbers)
    check_classifier(content)
    return content, bool(names)


def _ranked(
    probabilities: np.ndarray, class_names: Sequence[str], top_k: int
) -> Prediction:
    """The likeliest classes of an image, of equally likely ones the first.

    Probabilities that are NaN come before all others, where they are seen.
    """
    likely = np.where(np.isfinite(probabilities), probabilities, np.inf)
    order = np.argsort(-likely, kind="stable")[:top_k]
    return Prediction(
        tuple(class_names[index] for index in order),
        tuple(float(probabilities[index]) for index in order),
        tuple(int(index) for index in order),
    )
