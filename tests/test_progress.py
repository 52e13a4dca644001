"""What a run says of its speed."""

import time

import pytest
import tensorflow as tf
from scalenet_training.train.progress import Timer, waiting_message


class Clock:
    """A clock that is moved by hand, in place of the real one."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


def batches(clock, waits):
    for wait in waits:
        clock.now += wait
        yield wait


@pytest.mark.parametrize(
    ("waits", "waiting"),
    [
        ([50, 1, 1, 1], 3 / 12),  # the first takes as long as its dataset to start
        ([50, 0, 0, 9], 9 / 18),
        ([50], 0),
        ([0, 0, 0], 0),
    ],
)
def test_the_time_that_went_into_waiting_is_counted(monkeypatch, waits, waiting):
    clock = Clock(monkeypatch)
    timer, sums = Timer(batch_size=8), tf.Variable(0.0)
    for _ in timer.timed(batches(clock, waits)):
        clock.now += 3
        timer.step_done(sums)
    assert timer.waiting == pytest.approx(waiting)


def test_the_speed_is_that_of_the_steps_after_the_first(monkeypatch):
    clock = Clock(monkeypatch)
    timer, sums = Timer(batch_size=8), tf.Variable(0.0)
    for _ in timer.timed(batches(clock, [50, 1, 1])):
        clock.now += 3
        timer.step_done(sums)
    assert timer.images_per_second(sums) == pytest.approx(2 * 8 / 8)


def test_what_waits_says_how_much():
    assert waiting_message(0.234).startswith("The epoch waited for images 23% of its")
