"""The examples that are held out of data without splits: by their names."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalenet_training.data.division import (
    evenly,
    hold_out,
    select,
    spread_over_classes,
)
from scalenet_training.data.files.listing import ImageFile

# Classes, each with the numbers that its files have in their names.
CLASSES = st.lists(st.sets(st.integers(0, 999), min_size=1), min_size=1, max_size=8)


def files(classes):
    return [
        (f"{label}/{number}.png", label)
        for label, numbers in enumerate(classes)
        for number in sorted(numbers)
    ]


def held_out(examples):
    """Names of the held-out and of the training examples."""
    names, labels = zip(*examples, strict=True)
    parts = hold_out(names, labels)
    return tuple({names[n] for n in parts[part]} for part in ("validation", "train"))


@settings(max_examples=60, deadline=None)
@given(CLASSES)
def test_every_class_keeps_training_examples_and_gives_one_where_it_can(classes):
    out, kept = held_out(files(classes))
    assert out.isdisjoint(kept)
    for label, numbers in enumerate(classes):
        own = {f"{label}/{number}.png" for number in numbers}
        assert own <= out | kept
        assert own & kept
        assert bool(own & out) == (len(own) > 1)


@settings(max_examples=60, deadline=None)
@given(CLASSES, st.randoms(use_true_random=False))
def test_the_order_of_examples_does_not_matter(classes, random):
    examples = files(classes)
    before = held_out(examples)
    random.shuffle(examples)
    assert held_out(examples) == before


@settings(max_examples=60, deadline=None)
@given(CLASSES, CLASSES)
def test_added_examples_leave_the_others_where_they_are(classes, more):
    """But where a class had no example above or below a tenth: one may move there."""
    more = [*more, *[set()] * len(classes)]
    grown = [own | more[label] for label, own in enumerate(classes)]
    grown += more[len(classes) :]
    before, kept = held_out(files(classes))
    after, kept_after = held_out(files(g for g in grown if g))
    for label, own in enumerate(classes):
        names = {f"{label}/{number}.png" for number in own}
        assert len(before & names & kept_after) <= 1
        assert len(kept & names & after) <= 1
        if len(before & names) > 1:
            assert before & names <= after
        if len(kept & names) > 1:
            assert kept & names <= kept_after


def test_a_tenth_of_a_large_class_is_held_out():
    out, kept = held_out(files([range(20_000)]))
    assert len(out) / (len(out) + len(kept)) == pytest.approx(0.1, abs=0.005)


def test_the_division_is_that_of_every_version():
    """Written down: runs are resumed, and evaluated, by later versions."""
    out, _ = held_out(files([range(40), range(1)]))
    assert sorted(out) == ["0/29.png", "0/33.png", "0/36.png"]
    parts = hold_out(["x/é.png", "x/\udce9.png", "x/b.png"], [0, 0, 0])
    assert [p.tolist() for p in parts.values()] == [[1, 2], [0], [0, 1, 2]]
    assert parts["all"].dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(CLASSES, st.integers(0, 100))
def test_a_slice_has_its_share_of_each_class(classes, percent):
    listed = [ImageFile(n, n, label, None, 1, 1) for n, label in files(classes)]
    splits = {"train": np.arange(len(listed))}
    order = functools.partial(spread_over_classes, files=listed)
    first, rest = (
        select(splits, spec, "toys", order)
        for spec in (f"train[:{percent}%]", f"train[{percent}%:]")
    )
    assert sorted([*first, *rest]) == [*splits["train"]]
    for part in (first, rest):
        assert [*part] == sorted(part)
    for label, own in enumerate(classes):
        count = sum(listed[number].label == label for number in first)
        # Each class is cut at the nearest whole number, and so the slice itself is off.
        off = 0.5 + 0.5 * len(own) * len(classes) / len(listed)
        assert abs(count - len(own) * len(first) / len(listed)) <= off + 1e-9


def test_a_slice_does_not_follow_names():
    """Numbers of files are the order in which photographs were taken."""
    listed = [ImageFile(str(n), f"{n:03}.png", 0, None, 1, 1) for n in range(100)]
    half = spread_over_classes(np.arange(100), listed)[:50]
    assert 15 < np.count_nonzero(half < 50) < 35


@given(st.integers(0, 50), st.integers(0, 200))
def test_some_of_many_are_spread_over_all(count, total):
    found = evenly(count, total)
    assert len(found) == len({*found}) == min(count, total)
    gaps = np.diff([*found, total]) if found else []
    assert all(abs(gap - total / len(found)) < 1 for gap in gaps)
