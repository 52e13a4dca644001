"""TFLite (LiteRT) files of core operations: float32, float16, dynamic range, int8."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from scalenet_tf.export.interface import (
    DEFAULT,
    Exportable,
    ExportError,
    FileOptions,
    Function,
    InputType,
    in_parts,
)
from scalenet_tf.export.metadata import append_metadata, metadata, read_appended
from scalenet_tf.extras import import_extra
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.preprocessing import EvaluationTransform

if TYPE_CHECKING:
    import keras

Quantization = Literal["none", "float16", "dynamic", "int8"]

read_metadata = read_appended


@dataclasses.dataclass(frozen=True)
class Options(FileOptions):
    """Options of a TFLite file, as `convert_tflite` takes them."""

    CALIBRATED = ("quantization", "int8")

    quantization: Quantization = "none"

    @property
    def label(self) -> str:
        """How the weights are kept."""
        return f"-{'float32' if self.quantization == 'none' else self.quantization}"


def convert_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
    *,
    quantization: Quantization = Options.quantization,
    input_type: InputType = Options.input_type,
    calibration: Iterable[Any] | None = None,
    temperature: float = 1.0,
) -> None:
    """Writes a model as a TFLite file of TFLite's own operations, for one image.

    The file has one signature: input `images`, `(1, image_size, image_size, 3)`;
    outputs `probabilities` and `logits`, float32; its tensors have these names too.
    Batch norms are folded; a model of 16-bit computations is converted to float32
    first. `read_metadata` gives the class names and the normalisation that are kept in
    the file; TFLite's standard metadata say the same to MediaPipe.

    Args:
        model: A network of this package with its top.
        path: Where to write; a file that is there is replaced in one step.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.
        quantization: `"none"`; `"float16"`, weights of half the size; `"dynamic"`,
            weights of int8; `"int8"`, weights and computations of int8.
        input_type: `"float32"`: images as `preprocess_input` leaves them. `"uint8"`:
            pixels from 0 to 255, normalised inside; they are resized and cropped
            before in both cases.
        calibration: For `"int8"`: batches of images as `preprocess_input` leaves them,
            which show the range of the activations; a hundred images or more. Gone
            through once. Others, such as pixels from 0 to 255 or from 0 to 1, are
            refused: the file would give the answers of another network.
        temperature: What logits are divided by for `probabilities`.

    Raises:
        OSError: The file cannot be written; what was there is left as it was.
        ExportError: An argument does not fit, or the model needs operations that are
            not TFLite's.
    """
    content = Exportable(
        *(model, transform, class_names),
        calibration=calibration,
        temperature=temperature,
    )
    options = Options(quantization=quantization, input_type=input_type)
    write(content, os.fspath(path), options)


def write(content: Exportable, path: str, options: Options) -> None:
    """As `convert_tflite`."""
    from scalenet_tf.export.checking import check_classifier
    from scalenet_tf.export.tflite import conversion
    from scalenet_tf.export.tflite.standard_metadata import LABELS_FILE, label_lines

    path = os.path.abspath(path)
    check_classifier(content)
    _check_calibration(content, options)
    converted = conversion.convert(
        content, options.quantization, takes_pixels=options.takes_pixels
    )
    operations = conversion.operations(converted)
    if "CUSTOM" in operations:  # the converter refuses them: it was not asked to allow
        raise ExportError("`model` needs operations that are not TFLite's own.")
    details = {
        **metadata(content),
        **dataclasses.asdict(options),
        "operations": sorted(operations),
    }
    with made_folder(os.path.dirname(path)), replaced(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(converted)
        labels = {LABELS_FILE: label_lines(content.class_names)}
        append_metadata(temporary, details, labels)


def load(path: str, threads: int) -> dict[str, Function]:
    """Loads a file into LiteRT. Images run one by one.

    Raises:
        MissingPackageError: ai-edge-litert is not installed.
    """
    litert = import_extra("ai_edge_litert.interpreter", "ai-edge-litert", "export")
    interpreter = litert.Interpreter(path, num_threads=threads)
    run = interpreter.get_signature_runner(DEFAULT)
    return {DEFAULT: in_parts(lambda image: run(images=image), lambda images: 1)}


def _check_calibration(content: Exportable, options: Options) -> None:
    if options.needs_calibration != (content.calibration is not None):
        raise ExportError(
            "`calibration` must be given for quantization='int8' and for no other. "
            f"Received: quantization={options.quantization!r}, calibration="
            f"{'None' if content.calibration is None else 'images'}."
        )
