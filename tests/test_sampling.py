"""Which examples an epoch has: repeats, and classes that are evenly drawn."""

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scalenet_training.data.augmentation import find_augmentation
from scalenet_training.data.batches import training_batches
from scalenet_training.data.pixels.changes import changes_of
from scalenet_training.data.pixels.mixing import Mixing
from scalenet_training.data.sampling import Epoch, Sampling, balanced_order, draw
from scalenet_training.data.sources import open_source
from scalenet_training.data.splits import IndexedSplit
from scalenet_training.data.transform import Transform
from scalenet_training.errors import SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.variation import check_drawing, class_weights, loss_of

from scalenet_tf.preprocessing import EvaluationTransform

VARIED = TrainConfig(random_erasing=0.5)
TRANSFORM = Transform(
    EvaluationTransform(32, 32, "centered"),
    10,
    find_augmentation("crop"),
    changes_of(VARIED),
)
BOTH = Mixing({"mixup": 0.4, "cutmix": 1.0})


@pytest.fixture(scope="module")
def digits():
    return open_source("digits", None, False)


def drawn(split, sampling, steps, batch_size, start=0, seed=(0, 0)):
    """(number of the example, number of the copy) of each place."""
    epoch = Epoch(seed, steps, start, batch_size)
    pairs = draw(split, sampling, epoch).as_numpy_iterator()
    return [(int(reference), int(copy)) for reference, copy in pairs]


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_repeats_are_copies_of_fewer_examples_in_as_many_steps(digits, repeats):
    split = digits.open_split("train[:100]")
    pairs = drawn(split, Sampling(repeats), 6, 16)
    assert len(pairs) == 96
    assert len(set(pairs)) == 96
    copies = collections.defaultdict(list)
    for place, (example, copy) in enumerate(pairs):
        copies[example].append((copy, place // 16))
    assert len(copies) == -(-96 // repeats)
    whole = [sorted(own) for own in copies.values() if len(own) == repeats]
    assert len(whole) >= len(copies) - 1  # the last may be cut
    for own in whole:
        assert [copy for copy, _ in own] == list(range(repeats))
        assert own[-1][1] - own[0][1] <= 1  # in one batch, or the next one
    others = drawn(split, Sampling(repeats), 6, 16, seed=(0, 1))
    assert {e for e, _ in others} != set(copies)


@pytest.mark.parametrize(
    "sampling", [Sampling(3), Sampling(1, True), Sampling(3, True)]
)
def test_an_epoch_goes_on_where_it_was_left(digits, sampling):
    split = digits.open_split("train[:100]")
    whole = drawn(split, sampling, 6, 16)
    for start in (1, 4):
        assert drawn(split, sampling, 6, 16, start) == whole[16 * start :]


def test_copies_are_no_partners_of_each_other(digits):
    """Unless by chance: of 48 pairs, two in a fifteen."""
    pairs = drawn(digits.open_split("train[:100]"), Sampling(3), 6, 16)
    same = [pairs[n][0] == pairs[n + 1][0] for n in range(0, 96, 2)]
    assert sum(same) < 15


LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.integers(0, 1000))
def test_classes_are_drawn_evenly_and_examples_of_a_class_too(labels, seed):
    places, times = balanced_order(labels, np.random.default_rng(seed))
    assert len(places) == len(labels)
    _, counts = np.unique(labels[places], return_counts=True)
    present = len(np.unique(labels))
    assert len(counts) == min(present, len(labels))
    assert np.ptp(counts) <= 1
    for label in np.unique(labels):
        own = np.bincount(places, minlength=len(labels))[labels == label]
        assert np.ptp(own) <= 1
    # A copy has the number of those before it.
    for place in np.unique(places):
        assert sorted(times[places == place]) == list(range(sum(places == place)))


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_class_weights_have_a_mean_of_one_and_make_classes_equal(labels):
    weights = class_weights(labels, 7)
    assert weights[6] == 0
    assert weights[labels].mean() == pytest.approx(1.0)
    counts = np.bincount(labels, minlength=7)
    products = (weights * counts)[counts > 0]
    np.testing.assert_allclose(products, products[0])


def test_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(labels, 3), expected)
    split = IndexedSplit(np.arange(6), lambda number: number, dataset_labels=labels)
    loss = loss_of(TrainConfig(balance="weights"), split, 3)
    np.testing.assert_allclose(loss.class_weights, expected)


def context(workers=1, worker=0, replicas=1):
    return tf.distribute.InputContext(workers, worker, replicas)


def arrays(batches):
    return [tuple(part.numpy() for part in batch) for batch in batches]


@pytest.mark.parametrize(
    "sampling",
    [Sampling(3), pytest.param(Sampling(1, True), marks=pytest.mark.slow)],
)
def test_batches_do_not_depend_on_the_split(digits, sampling):
    split = digits.open_split("train[:50]")

    def make(start=0):
        return training_batches(
            split, TRANSFORM, 8, 0, 0, start, sampling=sampling, mixing=BOTH
        )

    expected = arrays(make()(context()))
    assert [labels.shape for _, labels, _ in expected] == [(8, 10)] * 6
    for actual, wanted in zip(arrays(make(4)(context())), expected[4:], strict=True):
        np.testing.assert_array_equal(actual[0], wanted[0])
    workers, replicas = 2, 4
    parts = [arrays(make()(context(workers, w, replicas))) for w in range(workers)]
    share = replicas // workers
    for step, batch in enumerate(expected):
        shares = [p[step * share : (step + 1) * share] for p in parts]
        together = zip(*itertools.chain(*shares), strict=True)
        for actual, wanted in zip(together, batch, strict=True):
            np.testing.assert_array_equal(np.concatenate(actual), wanted)


@pytest.mark.slow
def test_a_worker_draws_from_its_own_part(digits):
    split = digits.open_split("train[:101]")
    for worker in range(2):
        batches = training_batches(
            split, TRANSFORM, 8, 0, 0, 0, "file", Sampling(3, True), BOTH
        )
        own = arrays(batches(context(2, worker, 2)))
        assert [images.shape for images, _, _ in own] == [(4, 32, 32, 3)] * 12


def test_copies_are_augmented_by_themselves_and_the_first_as_without(digits):
    split = digits.open_split("train[:16]")
    once = training_batches(split, TRANSFORM, 16, 0, 0, 0)(context())
    ((plain, _, _),) = arrays(once)
    sampling = Sampling(4)
    repeated = training_batches(split, TRANSFORM, 16, 0, 0, 0, sampling=sampling)
    ((images, _, _),) = arrays(repeated(context()))
    assert len(np.unique(images.reshape(16, -1), axis=0)) == 16
    known = {image.tobytes() for image in plain}
    assert sum(image.tobytes() in known for image in images) == 4


def test_repeats_must_fit_into_a_batch(digits):
    split = digits.open_split("train[:16]")
    message = r"`repeats` must be at most `batch_size`, 8\. Received: 9\."
    with pytest.raises(SettingError, match=message):
        check_drawing(TrainConfig(batch_size=8, repeats=9), split)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balance_needs_labels(balance):
    class Streamed:
        size = 5

    message = f"`balance` {balance} needs the labels .* `dataset` has not"
    with pytest.raises(SettingError, match=message):
        check_drawing(TrainConfig(balance=balance), Streamed())
    check_drawing(TrainConfig(), Streamed())


@pytest.mark.parametrize("name", ["train", "validation"])
@pytest.mark.parametrize("kind", ["digits", "folder"])
def test_splits_know_their_labels(digits, tmp_path, kind, name):
    if kind == "folder":
        for number in range(24):
            path = tmp_path / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
        digits = open_source(str(tmp_path), None, False)
    split = digits.open_split(name)
    found = [int(split.fetch(number)["label"]) for number in split.indices[:20]]
    assert split.labels[:20].tolist() == found
    assert len(set(found)) > 1
