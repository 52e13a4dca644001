"""Times of several functions, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from scalenet_training.bars import Bar

Key = TypeVar("Key", bound=Hashable)

_WARM_UP = 20  # calls of each that are not timed


def shuffled(
    runs: Mapping[str, Callable[[], Any]], calls: int, title: str
) -> dict[str, list[float]]:
    """Seconds of each call of each run, by name, in an order drawn at random.

    Args:
        runs: What is timed; each returns when it is done.
        calls: How often each.
        title: Of the progress bar.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name in _WARM_UP * list(runs):
        runs[name]()
    order = np.random.default_rng(0).permutation(calls * list(runs))
    for name in Bar(order.tolist(), desc=title):
        began = time.perf_counter()
        runs[name]()
        times[name].append(time.perf_counter() - began)
    return times


def interleaved(
    runs: Mapping[Key, Callable[[], Any]],
    rounds: int,
    title: str | None = None,
    *,
    settled: bool = False,
    seconds: float = 0.0,
) -> dict[Key, list[float]]:
    """Seconds of each run, by its key; each round runs all of them, once.

    Args:
        runs: What is timed; each returns when it is done.
        rounds: How often, at least.
        title: Of the progress bar; `None` for none.
        settled: Whether each makes a call that is not timed before the one that is:
            threads of another runtime may spin for a while after their run.
        seconds: How long, at least: what takes a millisecond is measured often.
    """
    times: dict[Key, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for run in runs.values():  # traces, plans, allocates
        run()
    numbers = _rounds(rounds, seconds)
    total = None if seconds else rounds
    for number in Bar(numbers, desc=title, total=total, disable=title is None):
        start = number % len(names)  # so that nobody always comes after the same one
        for name in names[start:] + names[:start]:
            if settled:
                runs[name]()
            began = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - began)
    return times


def _rounds(least: int, seconds: float) -> Iterator[int]:
    """Counts rounds, as many as asked for and as long."""
    end = time.perf_counter() + seconds
    number = 0
    while number < least or time.perf_counter() < end:
        yield number
        number += 1
