"""A served model under load: requests a second, their times, and wrong answers."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import queue
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from scalenet_tf.serving import Prediction
from scalenet_tf.serving.endpoint import without_secrets
from scalenet_training.bars import Bar
from scalenet_training.benchmark.config import LoadConfig
from scalenet_training.benchmark.tables import print_rows
from scalenet_training.data.division import evenly
from scalenet_training.devices.processor import processor_name
from scalenet_training.errors import RunError, UsageError
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.images import ImageFile, image_files
from scalenet_training.predict.predictors import (
    Predictor,
    ServerPredictor,
    open_client,
    open_predictor,
)
from scalenet_training.runs.files import write_rows

_NO_IMAGE = b"no image"
_ATTEMPTS = 4  # at first, while the server may still load
# Of a probability: a server that joins requests computes in batches of other sizes.
_TOLERANCE = 1e-3
_COLUMNS = {
    "clients": ("clients", ">7"),
    "requests": ("requests", ">10"),
    "rate": ("answers/s", ">12.1f"),
    "median": ("median, ms", ">12.1f"),
    "percentile_90": ("90 %", ">9.1f"),
    "percentile_99": ("99 %", ">9.1f"),
    "longest": ("longest", ">9.1f"),
    "failed": ("failed", ">8"),
    "wrong": ("wrong", ">7"),
}


@dataclasses.dataclass(frozen=True)
class Load:
    """What a number of clients met.

    Attributes:
        clients: How many asked at once.
        requests: Of all of them.
        rate: Answers a second.
        median: Milliseconds of a request, to the end of its answer; as all times, of
            those that were answered.
        percentile_90: The same: nine of ten took no longer.
        percentile_99: The same of 99 in a hundred.
        longest: The same of all.
        failed: Requests without an answer.
        wrong: Answers that were not those to the image alone.
    """

    clients: int
    requests: int
    rate: float
    median: float
    percentile_90: float
    percentile_99: float
    longest: float
    failed: int
    wrong: int


class Answer(NamedTuple):
    """What came of a request.

    Attributes:
        seconds: To its end.
        right: Whether it is the answer to the image alone; `None` where none came.
        error: Why none came.
    """

    seconds: float
    right: bool | None
    error: str = ""


def measure_load(config: LoadConfig) -> list[Load]:
    """Measures, prints a table, and writes it where that was asked for.

    Raises:
        UsageError: The images, the server's URL or what to compare with cannot be had.
        RunError: The server does not answer, or some answers were missing or wrong.
    """
    found = image_files(config.images)
    # Of a folder of classes some of each.
    files = [found[number] for number in evenly(config.requests, len(found))]
    with contextlib.ExitStack() as stack:
        own = None
        if config.compare is not None:
            settings = PredictConfig(config.images, model=config.compare)
            own = stack.enter_context(open_predictor(settings, option="compare"))
        images = [file.read() for file in files]
        expected = _first_answers(config, images)
        if own is not None:
            _compare(own, files, images, expected)
    where = without_secrets(config.model)
    print(
        f"{where}: {len(images)} images, one a request; the clients run on "
        f"{os.cpu_count()} cores ({processor_name()})"
    )
    rows, errors = [], []
    with Bar(total=len(config.clients) * config.requests, unit=" requests") as bar:
        for clients in config.clients:
            seconds, answers = _ask_all(config, clients, images, expected, bar)
            rows.append(_summary(clients, seconds, answers))
            errors += [answer.error for answer in answers if answer.error]
    print_rows(rows, _COLUMNS)
    if config.output is not None:
        write_rows(config.output, [dataclasses.asdict(row) for row in rows])
        print(f"written: {config.output}")
    failed, wrong = sum(row.failed for row in rows), sum(row.wrong for row in rows)
    if failed or wrong:
        first = f" The first failure: {errors[0]}" if errors else ""
        raise RunError(
            f"{failed} requests got no answer, and {wrong} one that differs from the "
            f"answer to the image alone.{first}"
        )
    return rows


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two answers agree: probabilities within 1e-3, class by class.

    Args:
        one: What came now.
        other: What it should be. A class that this does not name counts as its last
            one, which another as likely may have taken the place of.
    """
    if len(one.probabilities) != len(other.probabilities):
        return False
    if not other.valid:  # both are then without probabilities
        return not one.valid
    pairs = zip(one.probabilities, other.probabilities, strict=True)
    if any(abs(a - b) > _TOLERANCE for a, b in pairs):
        return False
    least = other.probabilities[-1]
    shares = dict(zip(other.classes, other.probabilities, strict=True))
    return all(
        abs(shares.get(number, least) - probability) <= _TOLERANCE
        for number, probability in zip(one.classes, one.probabilities, strict=True)
    )


def _first_answers(config: LoadConfig, images: Sequence[bytes]) -> list[Prediction]:
    """What the server says to each image alone, and last to what is no image."""
    asked = [*images, _NO_IMAGE] if config.broken_every else images
    with open_client(config.model, config, 1, _ATTEMPTS) as client:
        predictor = ServerPredictor(client)
        return [
            predictor.predict([image], None)[0]
            for image in Bar(asked, unit=" images", desc="alone")
        ]


def _compare(
    own: Predictor,
    files: Sequence[ImageFile],
    images: Sequence[bytes],
    answers: Sequence[Prediction],
) -> None:
    """Raises where the server says another thing than the network itself."""
    for file, image, answer in zip(files, images, answers, strict=False):
        (expected,) = own.predict([image], len(answer.names) or 1)
        if not same(answer, expected):
            raise RunError(
                f"{file.path!r} is {_told(answer)} to the server, and "
                f"{_told(expected)} to the network of `compare`."
            )


def _told(answer: Prediction) -> str:
    if not answer.valid:
        return "no image"
    return f"{answer.names[0]} ({answer.probabilities[0]:.4f})"


def _ask_all(
    config: LoadConfig,
    clients: int,
    images: Sequence[bytes],
    expected: Sequence[Prediction],
    bar: Bar,
) -> tuple[float, list[Answer]]:
    """Asks from as many threads; how many seconds it took, and what came of it."""
    bodies = [*images, _NO_IMAGE]
    with contextlib.ExitStack() as stack:
        free: queue.SimpleQueue[ServerPredictor] = queue.SimpleQueue()
        for _ in range(clients):
            client = stack.enter_context(open_client(config.model, config, 1, 1))
            free.put(ServerPredictor(client))

        def ask(number: int) -> Answer:
            every = config.broken_every
            broken = every > 0 and number % every == every - 1
            index = len(images) if broken else number % len(images)
            predictor = free.get()  # there are as many as threads
            try:
                return _ask(predictor, bodies[index], expected[index])
            finally:
                free.put(predictor)

        # Entered last: it ends before the clients are closed.
        pool = stack.enter_context(ThreadPoolExecutor(clients))
        stack.callback(pool.shutdown, cancel_futures=True)
        began = time.perf_counter()
        answers = []
        for answer in pool.map(ask, range(config.requests)):
            answers.append(answer)
            bar.update()
        return time.perf_counter() - began, answers


def _ask(predictor: ServerPredictor, image: bytes, expected: Prediction) -> Answer:
    began = time.perf_counter()
    try:
        (answer,) = predictor.predict([image], None)
    except (RunError, UsageError) as error:
        return Answer(time.perf_counter() - began, None, str(error))
    return Answer(time.perf_counter() - began, same(answer, expected))


def _summary(clients: int, seconds: float, answers: Sequence[Answer]) -> Load:
    times = [1e3 * answer.seconds for answer in answers if answer.right is not None]
    median, percentile_90, percentile_99, longest = (
        float(np.percentile(times or [math.nan], part)) for part in (50, 90, 99, 100)
    )
    return Load(
        clients=clients,
        requests=len(answers),
        rate=len(times) / seconds,
        median=median,
        percentile_90=percentile_90,
        percentile_99=percentile_99,
        longest=longest,
        failed=sum(answer.right is None for answer in answers),
        wrong=sum(answer.right is False for answer in answers),
    )
