"""Average precision of detections, as COCO's own code counts it."""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(
    truth: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    classes: Sequence[str],
) -> dict[str, float]:
    """Means over the classes.

    Args:
        truth: `boxes` `(pictures, n, 4)` as y1, x1, y2, x2 in pixels and `labels`
            `(pictures, n)`; a label of -1 is none.
        found: The same with `confidence`, as `RetinaNetObjectDetector.predict` gives.
        classes: Names of the classes.

    Returns:
        `ap50`, at an IoU of 0.5; `ap75`; `ap`, the mean from 0.5 to 0.95.
    """
    rows = list(_rows(found))
    if not rows:  # COCO's code looks at the first one
        return dict.fromkeys(("ap", "ap50", "ap75"), 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # COCO's code prints as it works
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth["labels"]))],
            "categories": [{"id": n, "name": name} for n, name in enumerate(classes)],
            "annotations": list(_rows(truth)),
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(("ap", "ap50", "ap75"), map(float, evaluation.stats), strict=False))


def _rows(boxes: Mapping[str, np.ndarray]):
    number = 0
    scores = boxes.get("confidence", np.ones(boxes["labels"].shape))
    for image, of_image in enumerate(
        zip(boxes["boxes"], boxes["labels"], scores, strict=True)
    ):
        for (top, left, bottom, right), label, score in zip(*of_image, strict=True):
            if label < 0 or score <= 0:
                continue
            height, width = float(bottom - top), float(right - left)
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": int(label),
                "bbox": [float(left), float(top), width, height],
                "area": height * width,
                "iscrowd": 0,
                "score": float(score),
            }
