"""Trains a detector of KerasHub on drawn shapes, on a small ScaleNet or its twin.

`python detector.py --model scalenet` prints average precision on pictures that were not
trained on, and adds a row to results.csv. Needs
`pip install 'scalenet_tf[kerashub]' pycocotools pillow`.
"""

import argparse
import csv
import datetime
import os
import platform
import time
from collections.abc import Iterator

# Faster kernels where TensorFlow does not take them by itself: processors without
# instructions for neural networks.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import keras_hub
import numpy as np
import shapes
import tensorflow as tf
from precision import average_precision

import scalenet_tf
from scalenet_tf import budget, kerashub

BATCH = 16
LEVELS = (3, 5)  # strides 8 to 32
PRIOR = 0.01  # probability of each class in each box at the start
HELD_OUT = 1_000_000  # the seed of the pictures for evaluation; no training has it
PICTURES = 500  # for evaluation


def architectures() -> dict[str, scalenet_tf.Architecture]:
    """The two networks: neurons at four scales in equal numbers, and all at one."""
    base = scalenet_tf.Architecture(
        name="ScaleNetSmall",
        stem="imagenet",
        native_size=shapes.SIDE,
        scales=(1, 2, 4, 7),
        stage_widths=(16, 32, 64, 128),
        blocks_per_stage=(2, 2, 2, 2),
        budget_per_stage=None,
        allocation=((1, 1, 1, 1),) * 8,
    )
    twin = base.twin()
    equal = (1,) * 4
    scalenet = budget.architecture_for_macs(
        base, twin.macs(classes=0), equal, (equal,) * 4, classes=0
    )
    return {"scalenet": scalenet, "resnet": twin}


@keras.saving.register_keras_serializable(package="detection")
class Detector(keras_hub.models.RetinaNetObjectDetector):
    """The detector, trainable in a graph.

    Keras 3.15 converts boxes in place, which `tf.function` refuses of its arguments:
    here it converts those of a dictionary of its own.
    """

    def compute_loss(self, x, y, y_pred, sample_weight=None, **kwargs):
        """The loss of a batch."""
        return super().compute_loss(x, dict(y), y_pred, sample_weight, **kwargs)


def make_detector(architecture: scalenet_tf.Architecture) -> Detector:
    """A RetinaNet on the network, for pictures of pixels from 0 to 255."""
    body = keras_hub.models.RetinaNetBackbone(
        kerashub.ScaleNetBackbone(architecture),
        *LEVELS,
        use_p5=False,
        use_fpn_batch_norm=True,
        image_shape=(shapes.SIDE, shapes.SIDE, 3),
    )
    detector = Detector(
        body,
        num_classes=len(shapes.CLASSES),
        pre_logits_num_conv_layers=1,
        use_prediction_head_norm=True,
        # Boxes of 20, 40 and 80 pixels, each in three sizes: shapes are squares.
        anchor_generator=keras_hub.layers.AnchorGenerator(
            "yxyx", *LEVELS, num_scales=3, aspect_ratios=[1.0], anchor_size=2.5
        ),
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(
            kerashub.ScaleNetImageConverter()
        ),
    )
    # KerasHub 0.32 starts the boxes with the bias that is meant for the classes.
    for head, bias in (
        (detector.box_head, 0.0),
        (detector.classification_head, np.log(PRIOR / (1 - PRIOR))),
    ):
        weights = head.prediction_layer.bias
        weights.assign(np.full(weights.shape, bias))
    return detector


def batches(seed: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """New pictures for each step."""
    first = 0
    while True:
        yield shapes.pictures(seed, first, BATCH)
        first += BATCH


def train(detector: Detector, seed: int, steps: int) -> None:
    """Fits the detector."""
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=steps // 20
    )
    detector.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0),
        # Errors of the boxes are near 0.1, so that Keras' Huber of 1 hardly counts.
        box_loss=keras.losses.Huber(0.1, reduction="sum"),
        loss_weights={"bbox_regression": 10.0, "cls_logits": 1.0},
        jit_compile=False,
    )
    signature = (
        tf.TensorSpec((BATCH, shapes.SIDE, shapes.SIDE, 3), tf.uint8),
        {
            "boxes": tf.TensorSpec((BATCH, shapes.MOST, 4), tf.float32),
            "labels": tf.TensorSpec((BATCH, shapes.MOST), tf.int32),
        },
    )
    data = tf.data.Dataset.from_generator(
        lambda: batches(seed), output_signature=signature
    )
    detector.fit(data.prefetch(2), steps_per_epoch=steps)


def add_row(path: str, row: dict[str, object]) -> None:
    """Adds a row to a CSV file, which is made where there is none."""
    new = not os.path.exists(path)
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    """Trains, evaluates and reports one detector."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    networks = architectures()
    parser.add_argument("--model", choices=networks, default="scalenet")
    parser.add_argument("--seed", type=int, default=0, help="from 0 to 999,999")
    parser.add_argument("--steps", type=int, default=1000, help="of 16 pictures")
    parser.add_argument("--results", default="results.csv", help="gets a row more")
    parser.add_argument("--save", help="a .keras file for the detector")
    options = parser.parse_args()
    if not 0 <= options.seed < HELD_OUT:
        parser.error(f"--seed must be from 0 to 999,999. Received: {options.seed}.")
    if options.steps < 20:
        parser.error(f"--steps must be at least 20. Received: {options.steps}.")
    if options.save and not options.save.endswith(".keras"):
        parser.error(f"--save must end with .keras. Received: {options.save!r}.")
    for option, path in (("--results", options.results), ("--save", options.save)):
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            parser.error(f"{option} must be in a folder that exists. Received: {path}.")

    keras.utils.set_random_seed(options.seed)
    architecture = networks[options.model]
    detector = make_detector(architecture)
    start = time.monotonic()
    train(detector, options.seed, options.steps)
    seconds = time.monotonic() - start
    if options.save:
        detector.save(options.save)
        print(f"saved {options.save}: import detector, keras.saving.load_model(...)")
    images, truth = shapes.pictures(HELD_OUT, 0, PICTURES)
    found = detector.predict(images, batch_size=20, verbose=0)
    precision = average_precision(truth, found, shapes.CLASSES)
    for name, value in precision.items():
        print(f"{name} {value:.3f}")
    row = {
        "model": options.model,
        "seed": options.seed,
        "steps": options.steps,
        **{name: round(value, 4) for name, value in precision.items()},
        "backbone_macs": architecture.macs(classes=0),
        "backbone_parameters": architecture.parameters(classes=0),
        "detector_parameters": detector.count_params(),
        "seconds": round(seconds),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.date.today().isoformat(),
        "versions": f"scalenet_tf {scalenet_tf.__version__}, tensorflow "
        f"{tf.__version__}, keras {keras.__version__}, keras_hub "
        f"{keras_hub.__version__}, python {platform.python_version()}",
    }
    add_row(options.results, row)
    print(f"a row was added to {options.results}")


if __name__ == "__main__":
    main()
