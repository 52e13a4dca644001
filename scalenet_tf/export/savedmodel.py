"""SavedModels for TensorFlow Serving: signatures, warm-up, version numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from scalenet_tf.decoding import (
    are_plain,
    decode_image,
    decode_plain,
)
from scalenet_tf.export.classifier import Classifier, check_classifier
from scalenet_tf.export.formats import (
    Exportable,
    ExportError,
    FormatOptions,
    Function,
    OptionError,
)
from scalenet_tf.export.guards import guarded_images, guarded_strings
from scalenet_tf.export.inputs import (
    encoded_input,
    largest_batch,
    normalized_input,
    pixels_input,
)
from scalenet_tf.export.metadata import METADATA_FILE, as_text, metadata
from scalenet_tf.export.requests import (
    DEFAULT,
    EXTRA_ASSETS,
    in_parts,
    requests,
    serving_protos,
    write_warmup,
)
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.preprocessing import EvaluationTransform

OnCorrupt = Literal["error", "flag"]

_DECODERS = 8  # images that are decoded at the same time, at most
_WARMUP_BATCH_SIZES = (1, 2, 4)
_WARMUP_IMAGES = max(_WARMUP_BATCH_SIZES)


@dataclasses.dataclass(frozen=True)
class Options(FormatOptions):
    """Options of a SavedModel, as `save_savedmodel` takes them."""

    top_k: int = 5
    fold: bool = True
    on_corrupt: OnCorrupt = "flag"

    def __post_init__(self) -> None:
        super().__post_init__()
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
    content = Exportable(model, transform, class_names, warmup_images)
    options = Options(top_k, fold, on_corrupt)
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
    network = Classifier(content.model, options.fold)
    service = _Service(network, content, options)
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
    with open(_metadata_file(path), encoding="utf-8") as file:
        return json.load(file)


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


def next_version(directory: str | os.PathLike[str]) -> int:
    """The number after the highest version in a model's folder, 1 where there is none.

    Entries whose names are no numbers, such as what a killed export left, do not count.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return 1
    return 1 + max((int(n) for n in names if re.fullmatch("[0-9]+", n)), default=0)


class _Service:
    """The signatures' functions."""

    def __init__(self, network: Classifier, content: Exportable, options: Options):
        self.network = network
        self.transform = transform = content.transform
        self.class_names = tuple(content.class_names)
        self.k = min(options.top_k, len(content.class_names))
        self.on_corrupt = options.on_corrupt
        self.normalized = normalized_input(
            network.image_shape[:2], network.smallest_side, transform
        )

    def signatures(self) -> dict[str, Callable]:
        normalized = tf.TensorSpec((None, *self.network.image_shape), name="images")
        pixels = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
        encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
        functions = {
            "serving_default": (self.classify_normalized, normalized),
            "serving_uint8": (self.classify_pixels, pixels),
            "serving_bytes": (self.classify_encoded, encoded),
            "features": (self.features, normalized),
        }
        return {
            name: tf.function(function, input_signature=[spec])
            for name, (function, spec) in functions.items()
        }

    def features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = guarded_images(images, self.normalized)
        return {"features": self.network(images)["features"]}

    def classify_normalized(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.classify(guarded_images(images, self.normalized))

    def classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self.network(images)
        classes = tf.math.top_k(outputs["logits"], self.k).indices
        return {
            "logits": outputs["logits"],
            "probabilities": outputs["probabilities"],
            "classes": classes,
            "labels": tf.gather(tf.constant(self.class_names), classes),
        }

    def classify_pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = guarded_images(images, pixels_input(self.transform))
        return self.classify(self.transform(images))

    def classify_encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = guarded_strings(image_bytes, encoded_input(self.transform))
        images, valid = _decode(encoded, self.transform)
        if self.on_corrupt == "error":
            with tf.control_dependencies([_assert_all(valid)]):
                return self.classify(tf.identity(images))
        outputs = self.classify(images)
        blank = {key: tf.zeros((), x.dtype) for key, x in outputs.items()}
        blank |= {"classes": tf.constant(-1), "labels": tf.constant("")}
        rows = valid[:, tf.newaxis]
        return {
            **{key: tf.where(rows, x, blank[key]) for key, x in outputs.items()},
            "valid": valid,
        }


def _decode(
    encoded: tf.Tensor, transform: EvaluationTransform
) -> tuple[tf.Tensor, tf.Tensor]:
    """The network's input for each image, and whether the image could be decoded.

    Each request makes a dataset, which costs time by the operations in it: requests of
    nothing but plain images get one with few.
    """
    return tf.cond(
        are_plain(encoded),
        lambda: _decode_by(decode_plain, encoded, transform),
        lambda: _decode_by(decode_image, encoded, transform),
    )


def _decode_by(
    decode: Callable[[tf.Tensor], tf.Tensor],
    encoded: tf.Tensor,
    transform: EvaluationTransform,
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `_decode`, by a function for one image.

    No operation decodes an image without failing the whole request where it is
    corrupt; a dataset can pass over an element that fails.
    """
    count = tf.size(encoded, tf.int64)

    def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = transform(decode(tf.gather(encoded, index)))
        return index, tf.cast(image, tf.float32)

    shape = (transform.image_size, transform.image_size, 3)
    decoded = tf.data.Dataset.range(count).map(load, num_parallel_calls=_DECODERS)
    # One row more, so that the batch is not empty where no image can be decoded.
    spare = tf.data.Dataset.from_tensors((count, tf.zeros(shape)))
    batch = decoded.ignore_errors().concatenate(spare).batch(count + 1)
    indices, images = batch.get_single_element()
    rows = tf.concat([[count + 1], tf.constant(shape, tf.int64)], 0)
    images = tf.scatter_nd(indices[:, tf.newaxis], images, rows)
    valid = tf.scatter_nd(indices[:, tf.newaxis], tf.ones_like(indices), rows[:1]) > 0
    return tf.ensure_shape(images[:count], (None, *shape)), valid[:count]


def _assert_all(valid: tf.Tensor) -> tf.Operation:
    corrupt = tf.where(~valid)[:, 0]
    message = "`image_bytes` cannot be decoded at the indices (counted from 0)"
    return tf.debugging.Assert(tf.reduce_all(valid), [message, corrupt], summarize=16)
