"""Architectures from shares: the target is met in every corner of the space."""

import dataclasses

import pytest
from conftest import TINY, TINY_CIFAR
from hypothesis import given, settings
from hypothesis import strategies as st

import scalenet_tf
from scalenet_tf.budget import (
    architecture_for_macs,
    average_shares,
    reachable_macs,
    with_depth,
)

SEVEN = scalenet_tf.list_models("scalenet*")
SHARE = st.sampled_from([0.0, 1e-12, 1.0]) | st.floats(0, 1)


@st.composite
def points(draw, base):
    """Target, shares and depth: anywhere in the space, its corners often."""
    stages, scales = len(base.stage_widths), len(base.scales)
    depths = st.integers(stages, 2 * sum(base.blocks_per_stage))
    depth = draw(st.none() | depths)
    low, high = reachable_macs(base, depth)
    position = draw(st.sampled_from([0.0, 1e-4, 1 - 1e-4, 1.0]) | st.floats(0, 1))
    target = min(max(low + position * (high - low), low), high)
    by_stage = draw(st.lists(SHARE, min_size=stages, max_size=stages))
    row = st.lists(SHARE, min_size=scales, max_size=scales)
    by_scale = draw(st.lists(row, min_size=stages, max_size=stages))
    return target, by_stage, by_scale, depth


@pytest.mark.parametrize("name", SEVEN)
def test_every_point_of_the_space_meets_the_target_within_1_percent(name):
    base = scalenet_tf.get_architecture(name)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(points(base))
    def check(point):
        target, by_stage, by_scale, depth = point
        found = architecture_for_macs(base, target, by_stage, by_scale, depth=depth)
        macs = found.macs()
        assert macs <= target
        # Steps are smaller in ImageNet networks.
        assert macs >= (0.99 if base.stem == "cifar" else 0.999) * target
        assert found.budget_per_stage is not None  # these need no unequal blocks
        assert sum(found.blocks_per_stage) == depth or depth is None
        for block in found.blocks():
            assert sum(block.channels) >= 1
            assert all(0 <= count <= block.width for count in block.channels)

    check()


def test_both_ends_of_the_range_are_reached_exactly():
    for name in SEVEN:
        base = scalenet_tf.get_architecture(name)
        shares = average_shares(base)
        low, high = reachable_macs(base)
        least = architecture_for_macs(base, low, *shares)
        assert least.macs() == low
        assert set(least.budget_per_stage) == {1}
        most = architecture_for_macs(base, high, *shares)
        assert most.macs() == high
        assert {n for row in most.allocation for n in row} == set(base.stage_widths)


@pytest.mark.parametrize("excess", [-1, 1])
def test_a_target_out_of_range_is_an_error_with_the_range(excess):
    base = scalenet_tf.get_architecture("ScaleNetCifar38")
    low, high = reachable_macs(base)
    target = low - 1 if excess < 0 else high + 1
    message = rf"from {low:,} to {high:,} MACs for ScaleNetCifar38 with 12 blocks"
    with pytest.raises(ValueError, match=message):
        architecture_for_macs(base, target, *average_shares(base))
    with pytest.raises(ValueError, match=message):
        architecture_for_macs(base, float("nan"), *average_shares(base))


@pytest.mark.parametrize("name", SEVEN)
def test_the_shares_of_a_network_give_a_network_of_about_its_budgets(name):
    base = scalenet_tf.get_architecture(name)
    found = architecture_for_macs(base, base.macs(), *average_shares(base))
    for ours, theirs in zip(found.budget_per_stage, base.budget_per_stage, strict=True):
        assert abs(ours - theirs) <= 2


def test_wishes_within_the_limits_are_followed_to_a_neuron():
    base = scalenet_tf.get_architecture("ScaleNet50")
    target = base.twin().macs()
    wished_macs, wished_scales = (0.25, 0.25, 0.3, 0.2), [(0.5, 0.25, 0.2, 0.05)] * 4
    found = architecture_for_macs(base, target, wished_macs, wished_scales)
    macs, scales = average_shares(found)
    for share, wish in zip(macs, wished_macs, strict=True):
        assert share == pytest.approx(wish, abs=0.005)
    for stage, budget in enumerate(found.budget_per_stage):
        for share, wish in zip(scales[stage], wished_scales[stage], strict=True):
            assert abs(share - wish) * budget < 2


def test_more_macs_for_a_stage_give_it_more_neurons():
    base = scalenet_tf.get_architecture("ScaleNet50")
    target, scales = base.macs(), average_shares(base)[1]
    few = architecture_for_macs(base, target, (0.1, 0.3, 0.3, 0.3), scales)
    many = architecture_for_macs(base, target, (0.3, 0.3, 0.3, 0.3), scales)
    assert few.budget_per_stage[0] < many.budget_per_stage[0]
    assert few.budget_per_stage[2] > many.budget_per_stage[2]


def test_blocks_differ_where_equal_budgets_leave_more_than_1_percent():
    twin = scalenet_tf.get_architecture("ResNetCifar38")  # one scale: coarse steps
    target = 0.985 * twin.macs()
    # Stages 2 and 3 are full: a neuron in each block of stage 1 costs 1.5 %.
    found = architecture_for_macs(twin, target, (0, 1, 1), [(1,)] * 3)
    assert found.budget_per_stage is None or found.macs() >= 0.99 * target
    assert 0.99 * target <= found.macs() <= target


def test_very_small_networks_come_as_near_as_single_neurons_allow():
    for base in (TINY, TINY_CIFAR):
        dearest = max(max(costs) for costs in base.neuron_macs())
        low, high = reachable_macs(base)
        for step in range(101):
            target = low + step / 100 * (high - low)
            macs = architecture_for_macs(base, target, *average_shares(base)).macs()
            assert target - dearest < macs <= target


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (12, (4, 4, 4)), (13, (5, 4, 4)), (24, (8, 8, 8))],
)
def test_depth_is_split_as_the_base_is(depth, blocks):
    base = scalenet_tf.get_architecture("ScaleNetCifar38")
    assert with_depth(base, depth).blocks_per_stage == blocks


def test_depth_keeps_the_order_of_stages_and_has_a_least():
    base = scalenet_tf.get_architecture("ScaleNet101")
    # In proportion: 4.5, 6.1, 34.8, 4.5 and 0.4, 0.5, 2.8, 0.4.
    assert with_depth(base, 50).blocks_per_stage == (5, 6, 35, 4)
    assert with_depth(base, 4).blocks_per_stage == (1, 1, 1, 1)
    assert with_depth(base, 34).blocks_per_stage == (3, 4, 24, 3)
    with pytest.raises(ValueError, match="at least 4, a block for each stage"):
        with_depth(base, 3)


@pytest.mark.parametrize(
    ("macs_shares", "scale_shares", "message"),
    [
        ((1, 1), [(1, 1, 1)] * 3, "`macs_shares` must have 3 entries. Received: 2"),
        ((1, 1, 1), [(1, 1, 1)] * 2, "`scale_shares` must have 3 entries"),
        ((1, 1, 1), [(1, 1)] * 3, r"`scale_shares\[0\]` must have 3 entries"),
        ((1, -1, 1), [(1, 1, 1)] * 3, "finite numbers from 0 up. Received: -1"),
        ((1, 1, 1), [(1, float("nan"), 1)] * 3, "Received: nan"),
    ],
)
def test_shares_that_are_none_are_errors(macs_shares, scale_shares, message):
    base = scalenet_tf.get_architecture("ScaleNetCifar38")
    with pytest.raises(ValueError, match=message):
        architecture_for_macs(base, base.macs(), macs_shares, scale_shares)


def test_classes_are_part_of_the_cost():
    base = scalenet_tf.get_architecture("ScaleNetCifar38")
    target = base.twin().macs(1000)
    shares = average_shares(base)
    found = architecture_for_macs(base, target, *shares, classes=1000)
    assert 0.99 * target <= found.macs(1000) <= target
    assert found.name == base.name
    assert dataclasses.replace(found, name="Other").learned_on is None
