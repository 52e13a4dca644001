"""What a run says of its speed."""

import time

import pytest
import tensorflow as tf
from scalenet_training.train.progress import (
    LogLines,
    Pace,
    Timer,
    duration,
    waiting_message,
)


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


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    lines = LogLines(seconds=60)
    lines.set_params({"epochs": 8, "steps": 100, "verbose": 2})
    lines.on_epoch_begin(1)
    for batch in range(6):
        clock.now += 25
        lines.on_train_batch_end(batch, {"loss": 1.25} if batch == 3 else {})
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 2/8, step 3 of 100, 40 min left in the epoch",
        "Epoch 2/8, step 6 of 100, loss 1.2500, 39 min left in the epoch",
    ]


@pytest.mark.parametrize(
    ("epoch", "said"),
    [(0, ["At this pace, 152 more epochs: 1 h 16 min."]), (151, [])],
    ids=["of a long run", "of what is left"],
)
def test_the_second_epoch_tells_how_long_a_run_takes(monkeypatch, capsys, epoch, said):
    clock, pace = Clock(monkeypatch), Pace()
    pace.set_params({"epochs": 154, "steps": 13, "verbose": 2})
    for number, seconds in enumerate([90, 30, 30]):
        pace.on_epoch_begin(epoch + number)
        clock.now += seconds
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3599, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_words(seconds, words):
    assert duration(seconds) == words
