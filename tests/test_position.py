"""How far a run is: which epoch and which batches are left."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scalenet_training.runs.position import Position, steps_of_codes


@pytest.mark.parametrize(
    ("step", "evaluated", "epoch", "batches", "finished"),
    [
        (0, True, 0, range(0, 4), False),
        (3, False, 0, range(3, 4), False),
        (4, False, 0, range(4, 4), False),  # killed before its evaluation
        (4, True, 1, range(0, 4), False),
        (8, True, 2, range(0, 2), False),  # the run ends within the epoch
        (10, False, 2, range(2, 2), False),
        (10, True, 2, range(2, 2), True),
        (11, False, 2, range(3, 3), False),  # --max-steps has become smaller
    ],
)
def test_a_run_of_ten_steps(step, evaluated, epoch, batches, finished):
    position = Position(step, evaluated, steps_per_epoch=4, total_steps=10)
    assert position.epoch == epoch
    assert position.batches == batches
    assert position.finished == finished


@given(
    per_epoch=st.integers(1, 9),
    total=st.integers(1, 40),
    stops=st.lists(st.integers(1, 40), max_size=4),
)
def test_every_batch_is_trained_on_once_however_often_a_run_stops(
    per_epoch, total, stops
):
    """A stop is within an epoch, or after its last step, before the evaluation."""
    position, seen, evaluations = Position(0, True, per_epoch, total), [], []
    while not position.finished:
        epoch = position.epoch
        for batch in position.batches:
            seen.append(epoch * per_epoch + batch)
            position = dataclasses.replace(
                position, step=position.step + 1, evaluated=False
            )
            if position.step in stops:
                break
        if position.step in stops:
            stops = [stop for stop in stops if stop != position.step]
            continue
        evaluations.append(epoch)
        position = dataclasses.replace(position, evaluated=True)
    assert seen == list(range(total))
    assert evaluations == list(range(-(-total // per_epoch)))


@given(st.integers(0, 2**40), st.booleans())
def test_a_code_tells_positions_apart(step, evaluated):
    position = Position(step, evaluated, 4, 2**41)
    other = dataclasses.replace(position, evaluated=not evaluated)
    assert position.code != other.code
    assert steps_of_codes([float(position.code), float(other.code)]) == [step, step]
