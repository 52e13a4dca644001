"""Mixup and cutmix: whose pixels, whose label, and that the split does not matter."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scalenet_training.data.pixels.mixing import MIXES, NO_MIXING, Areas, Mixing, mixed
from scalenet_training.errors import SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.variation import check_pairs, mixing_of

SIZE, CLASSES = 16, 5


def batch(count=8, seed=0):
    random = np.random.default_rng(seed)
    return (
        random.standard_normal((count, SIZE, SIZE, 3)),
        random.integers(0, CLASSES, count),
        np.ones(count),
    )


def mixed_batches(batches, areas, first_step=0, parts=1):
    images, labels, weights = (
        np.stack(values) for values in zip(*batches, strict=True)
    )
    dataset = tf.data.Dataset.from_tensor_slices((images, labels, weights))
    result = mixed(dataset, areas, SIZE, CLASSES, first_step, parts)
    return [tuple(part.numpy() for part in values) for values in result]


def partners(values):
    return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)


def test_mixup_is_linear_in_pixels_and_labels():
    areas = Mixing({"mixup": 0.4}).areas((1, 2), 3, SIZE)
    batches = [batch(seed=step) for step in range(3)]
    for step, (images, targets, weights) in enumerate(mixed_batches(batches, areas)):
        share = areas.inside[step]
        own, labels, _ = batches[step]
        expected = share * own + (1 - share) * partners(own)
        np.testing.assert_allclose(images, expected, rtol=1e-12, atol=1e-12)
        one_hot = np.eye(CLASSES)[labels]
        expected = share * one_hot + (1 - share) * partners(one_hot)
        np.testing.assert_allclose(targets, expected, rtol=1e-12)
        assert weights.tolist() == [1] * 8


def test_cutmix_labels_are_the_share_of_the_pixels():
    areas = Mixing({"cutmix": 1.0}).areas((1, 2), 20, SIZE)
    images = np.zeros((4, SIZE, SIZE, 3))
    images[::2] = 1.0  # the first of each pair is white, the second black
    labels = np.array([0, 1, 2, 3])
    batches = [(images, labels, np.ones(4))] * 20
    seen = []
    for own, targets, _ in mixed_batches(batches, areas):
        assert set(np.unique(own)) <= {0.0, 1.0}
        shares = own[..., 0].mean((1, 2))
        np.testing.assert_allclose(targets[[0, 2], [0, 2]], shares[[0, 2]], rtol=1e-12)
        np.testing.assert_allclose(targets[[1, 3], [0, 2]], shares[[1, 3]], atol=1e-12)
        seen.append(shares[0])
    assert len(set(seen)) > 10


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.1, "cutmix": 1.0}]),
    st.integers(0, 2**31),
    st.integers(1, 300),
)
def test_boxes_lie_in_the_image_and_shares_are_parts(alphas, seed, size):
    areas = Mixing(alphas).areas((seed, 0), 20, size)
    top, bottom, left, right = areas.boxes.T
    for low, high in ((top, bottom), (left, right)):
        assert (low >= 0).all()
        assert (low <= high).all()
        assert (high <= size).all()
    assert ((areas.shares(size) >= 0) & (areas.shares(size) <= 1)).all()


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31))
def test_targets_sum_to_one(seed):
    areas = Mixing({"mixup": 0.3, "cutmix": 1.0}).areas((seed, 0), 4, SIZE)
    batches = [batch(4, seed + step) for step in range(4)]
    for _, targets, _ in mixed_batches(batches, areas):
        np.testing.assert_allclose(targets.sum(1), 1.0, rtol=1e-12)
        assert (targets >= 0).all()


def test_both_switch_from_batch_to_batch():
    both = Mixing({"mixup": 0.2, "cutmix": 1.0}, 0.25).areas((0, 0), 4000, SIZE)
    cut = both.inside == 0
    assert cut.mean() == pytest.approx(0.25, abs=0.03)
    assert (both.boxes[~cut] == [0, SIZE, 0, SIZE]).all()
    for probability, expected in ((0.0, False), (1.0, True)):
        areas = Mixing({"mixup": 0.2, "cutmix": 1.0}, probability).areas((0, 0), 9, 16)
        assert ((areas.inside == 0) == expected).all()


def test_shares_have_the_distribution_of_the_alpha():
    for name in MIXES:
        areas = MIXES[name](np.random.default_rng(0), 4000, 1.0, 1000)
        assert areas.shares(1000).min() < 0.1
        assert areas.shares(1000).max() > 0.95
    shares = MIXES["mixup"](np.random.default_rng(0), 4000, 0.5, 8).inside
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / 8, rel=0.05)  # 1 / (4 (2 alpha + 1))


def test_a_step_is_mixed_alike_however_it_is_divided():
    areas = Mixing({"mixup": 0.4, "cutmix": 1.0}).areas((3, 1), 6, SIZE)
    whole = [batch(8, step) for step in (4, 5)]
    halves = [
        tuple(part[half : half + 4] for part in values)
        for values in whole
        for half in (0, 4)
    ]
    expected = mixed_batches(whole, areas, first_step=4)
    divided = mixed_batches(halves, areas, first_step=4, parts=2)
    for step in range(2):
        for part in range(3):
            together = [divided[2 * step][part], divided[2 * step + 1][part]]
            np.testing.assert_array_equal(
                np.concatenate(together), expected[step][part]
            )


def test_another_epoch_is_mixed_otherwise():
    mixing = Mixing({"mixup": 0.4})
    first, again, other = (mixing.areas((0, n), 5, SIZE).inside for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, other).any()


def test_an_area_outside_the_box_is_the_image_itself():
    areas = Areas(np.array([0.25]), np.array([[0, 8, 0, 16]]))
    assert areas.shares(16) == [0.625]
    images, _, weights = batch(2)
    labels = np.array([3, 1])
    ((out, targets, _),) = mixed_batches([(images, labels, weights)], areas)
    np.testing.assert_array_equal(out[:, 8:], images[:, 8:])
    np.testing.assert_allclose(targets[0], [0, 0.375, 0, 0.625, 0])


def test_settings_become_a_mixing():
    assert not mixing_of(TrainConfig()).active
    assert not NO_MIXING.active
    config = TrainConfig(mixup=0.1, cutmix=1.0, switch_probability=0.3)
    assert mixing_of(config) == Mixing({"mixup": 0.1, "cutmix": 1.0}, 0.3)
    assert mixing_of(config).active


def test_a_replica_needs_pairs():
    config = TrainConfig(batch_size=12, mixup=0.1, cutmix=1.0)
    check_pairs(config, 2)
    message = (
        r"`batch_size` must be even for each of the replicas, 4, since `mixup` and "
        r"`cutmix` mix pairs of images\. Received: 12\."
    )
    with pytest.raises(SettingError, match=message):
        check_pairs(config, 4)
    check_pairs(TrainConfig(batch_size=12), 4)
