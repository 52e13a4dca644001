"""SavedModels for TensorFlow Serving: signatures, warm-up, version numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.export.checking import check_classifier
from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.inputs import encoded_input, largest_batch
from scalenet_tf.export.interface import (
    DEFAULT,
    Exportable,
    ExportError,
    FormatOptions,
    Function,
    OptionError,
    in_parts,
)
from scalenet_tf.export.metadata import METADATA_FILE, as_text, metadata
from scalenet_tf.export.requests import requests
from scalenet_tf.export.savedmodel.signatures import OnCorrupt, Service
from scalenet_tf.export.savedmodel.warmup import (
    EXTRA_ASSETS,
    serving_protos,
    write_warmup,
)
from scalenet_tf.files import made_folder, read_json, replaced
from scalenet_tf.preprocessing import EvaluationTransform

_WARMUP_BATCH_SIZES = (1, 2, 4)
_WARMUP_IMAGES = max(_WARMUP_BATCH_SIZES)


@dataclasses.dataclass(frozen=True)
class Options(FormatOptions):
    """Options of a SavedModel, as `save_savedmodel` takes them."""

    top_k: int = 5
    fold: bool = True
    on_corrupt: OnCorrupt = "flag"
    constants: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.top_k) is not int:
            raise OptionError("top_k", "must be a whole number", self.top_k)
        if self.top_k < 1:
            raise OptionError("top_k", "must be at least 1", self.top_k)


def save_savedmodel(
    model: keras.Model,
    directory: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
    *,
    top_k: int = Options.top_k,
    fold: bool = Options.fold,
    on_corrupt: OnCorrupt = Options.on_corrupt,
    constants: bool = Options.constants,
    temperature: float = 1.0,
    warmup_images: Sequence[bytes] = (),
    warmup_batch_sizes: Sequence[int] = _WARMUP_BATCH_SIZES,
) -> None:
    """Writes a SavedModel that needs neither Keras nor this package to run.

    Its signatures, all with a free batch size:

    - `serving_default`: `images`, float32, as `preprocess_input` leaves them;
    - `serving_uint8`: `images`, pixels from 0 to 255 of any one size;
    - `serving_bytes`: `image_bytes`, strings: what `scalenet_tf.decoding.decode_image`
      takes, of any sizes;
    - `features`: `images` as for `serving_default`; its output `features` is the
      pooled map before the dense layer.

    Each refuses, with InvalidArgumentError, another shape than its own, an empty batch,
    NaN, values far from those that `preprocess_input` leaves, and requests of more than
    `MAX_PIXELS` pixels (see `inputs`): TensorFlow runs what it is sent otherwise.

    The first three give `logits`, `probabilities`, `classes` (the numbers of the
    likeliest classes, int32) and `labels` (their names). Images are resized, cropped
    and normalised in the graph as evaluation does. The folder appears in one step, with
    `scalenet.json` (see `read_metadata`) and the warm-up in `assets.extra`.

    Args:
        model: A network of this package with its top.
        directory: Where to write; must not exist. TensorFlow Serving wants
            `<repository>/<name>/<version>`: see `next_version`.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.
        top_k: Length of `classes` and `labels`; no more than there are classes.
        fold: Whether to fold the batch norms: equal within 1e-5 in float32, faster.
        on_corrupt: What `serving_bytes` does with an image that cannot be decoded.
            `"flag"`: the output `valid` is False for it, its logits and probabilities
            are 0, its classes -1, its labels empty.
            `"error"`: the request fails with a message that gives its index, and with
            it those that the server put into the same batch.
        constants: Whether the weights are constants of the graph and no variables.
            TensorFlow arranges them for its convolutions once then, and not at every
            call, which is faster for few images; it keeps several copies of them.
        temperature: What logits are divided by for `probabilities`.
        warmup_images: Encoded images of which requests are made that TensorFlow
            Serving runs when it loads the model. None: no warm-up.
        warmup_batch_sizes: Batch sizes of these requests, for each signature.

    Raises:
        FileExistsError: `directory` exists.
        MissingPackageError: There are warm-up images, and tensorflow-serving-api is not
            installed.
        OSError: The folder cannot be written; nothing is left behind.
        ExportError: An argument does not fit the model, or a warm-up image cannot be
            decoded.
    """
    content = Exportable(
        model, transform, class_names, warmup_images, temperature=temperature
    )
    options = Options(top_k, fold, on_corrupt, constants)
    _write(content, os.path.abspath(directory), options, warmup_batch_sizes)


def write(content: Exportable, path: str, options: Options) -> None:
    """As `save_savedmodel`; the first examples are the warm-up's."""
    content = dataclasses.replace(content, examples=content.examples[:_WARMUP_IMAGES])
    _write(content, os.path.abspath(path), options, _WARMUP_BATCH_SIZES)


def _write(
    content: Exportable, path: str, options: Options, batch_sizes: Sequence[int]
) -> None:
    check_classifier(content)
    most = encoded_input(content.transform).max_batch
    if not all(1 <= size <= most for size in batch_sizes):
        raise ExportError(
            f"`warmup_batch_sizes` must be from 1 to {most}, the largest request. "
            f"Received: {list(batch_sizes)}."
        )
    if os.path.lexists(path):
        raise FileExistsError(f"`directory` must not exist. Received: {path!r}.")
    warmup = {}
    if content.examples:
        serving_protos()  # an error before anything is computed
        warmup = requests(content.examples, content.transform)
    network = Classifier(
        content.model,
        options.fold,
        freeze=options.constants,
        temperature=content.temperature,
    )
    service = Service(network, content, options.top_k, options.on_corrupt)
    details = {
        **metadata(content),
        "top_k": service.k,
        "image_sides": network.image_shape[:2],
        "smallest_side": network.smallest_side,
    }
    with made_folder(os.path.dirname(path)), replaced(path) as temporary:
        tf.saved_model.save(
            network,
            temporary,
            signatures=service.signatures(),
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
        os.makedirs(os.path.join(temporary, EXTRA_ASSETS), exist_ok=True)
        with open(_metadata_file(temporary), "w", encoding="utf-8") as file:
            file.write(as_text(details))
        if warmup:
            write_warmup(temporary, warmup, batch_sizes)


def read_metadata(path: str) -> dict[str, Any]:
    """Reads what `save_savedmodel` has kept in the folder.

    Raises:
        OSError, ValueError: It has none.
    """
    if not os.path.exists(_metadata_file(path)):
        # Loading runs what the file says: operations that read and write files, too.
        raise ValueError(
            "there is none; a SavedModel from a stranger can run code and write files "
            "when it is loaded, so that none of unknown origin is"
        )
    return read_json(_metadata_file(path))


def _metadata_file(path: str) -> str:
    return os.path.join(path, EXTRA_ASSETS, METADATA_FILE)


def load(path: str, threads: int) -> dict[str, Function]:
    """Loads a folder into TensorFlow: a function for each signature.

    `serving_default` takes more images than a request may have. The number of threads
    is that of `tf.config.threading`.
    """
    with _errors_alone():  # without the warning that it has no gradients to train by
        loaded = tf.saved_model.load(path)
    functions = {name: _function(loaded, name) for name in loaded.signatures}
    functions[DEFAULT] = in_parts(
        functions[DEFAULT], lambda images: largest_batch(*images.shape[1:3])
    )
    return functions


def _function(loaded: Any, name: str) -> Function:
    """A signature as a function of its one input."""
    (input_name,) = loaded.signatures[name].structured_input_signature[1]
    # By way of what was loaded, which must live as long as its functions.
    return lambda values: loaded.signatures[name](**{input_name: tf.constant(values)})


@contextlib.contextmanager
def _errors_alone() -> Iterator[None]:
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
