import dataclasses
import itertools
import math
import operator
import re
import sys
from fractions import Fraction

import keras
import numpy as np
import pytest
from conftest import TINY, TINY_CIFAR
from hypothesis import given, settings
from hypothesis import strategies as st

import scalenet_tf
from scalenet_tf import allocation
from scalenet_tf.architectures import architecture_from_record

PUBLISHED = scalenet_tf.list_models("scalenet*")
# The bounds of the gap to a target, by stem, as fractions.
GAPS = {"imagenet": 0.005, "cifar": 0.03}
quick = settings(deadline=None, max_examples=60)


def by_published_proportions(architecture, rng):
    """Importance of the seed's neurons of which the published ones are the best.

    Neuron j of the c published ones of a scale has 1 + (c - j) / c, the rest below 1,
    so that smaller budgets keep the published proportions.
    """
    importance = []
    for block in architecture.blocks():
        best = {}
        for scale, count in zip(architecture.scales, block.channels, strict=True):
            values = rng.uniform(0, 0.9, block.width)
            values[:count] = 2 - np.arange(count) / max(count, 1)
            best[scale] = rng.permutation(values)
        importance.append(best)
    return importance


def random_importance(seed, number, decay=1.0):
    """Uniform importance; the larger the decay, the better are finer scales."""
    rng = np.random.default_rng(number)
    return [
        {
            scale: rng.uniform(size=count) * decay**-index
            for index, (scale, count) in enumerate(
                zip(seed.scales, block.channels, strict=True)
            )
        }
        for block in seed.blocks()
    ]


def seed_of(name):
    return allocation.seed_architecture(scalenet_tf.get_architecture(name))


def block_budgets(architecture):
    return [sum(block.channels) for block in architecture.blocks()]


TINY_SEED = allocation.seed_architecture(TINY)
NAME = operator.attrgetter("name")


# The seed network.


@pytest.mark.parametrize("name", PUBLISHED)
def test_seed_has_width_neurons_at_each_scale_and_contains_the_published(name):
    architecture = scalenet_tf.get_architecture(name)
    seed = allocation.seed_architecture(architecture)
    assert seed.name == f"{name}Seed"
    assert seed.learned_on is None
    assert seed.twin().macs() == architecture.twin().macs()
    for block, published in zip(seed.blocks(), architecture.blocks(), strict=True):
        assert block.channels == (block.width,) * len(architecture.scales)
        assert max(published.channels) <= block.width
    assert allocation.seed_architecture(seed) == seed


def test_one_scale_has_nothing_to_allocate():
    with pytest.raises(ValueError, match=r"two scales or more.*ResNet50 .*\(1,\)"):
        seed_of("ResNet50")


# Importance.


def test_importance_is_the_absolute_gamma_by_block_and_scale():
    model = scalenet_tf.ScaleNet(TINY)
    rng = np.random.default_rng(0)
    expected = []
    for place in TINY.blocks():
        layer = model.get_layer(f"{place.name}_sa")
        block = {}
        for scale, count in zip(TINY.scales, place.channels, strict=True):
            block[scale] = rng.normal(size=count).astype("float32")
            if count:
                layer.norms[scale].gamma.assign(block[scale])
        expected.append(block)
    inputs = keras.Input((56, 56, 3))
    for measured in (model, keras.Model(inputs, model(inputs))):
        importance = allocation.neuron_importance(measured)
        assert len(importance) == len(expected)
        for received, block in zip(importance, expected, strict=True):
            assert list(received) == list(TINY.scales)
            for scale, gamma in block.items():
                assert received[scale].dtype == np.float64
                np.testing.assert_array_equal(received[scale], np.abs(gamma))


def test_models_without_sa_blocks_have_no_importance():
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="plain")
    with pytest.raises(ValueError, match=r"`model` must have SA blocks.*'plain'"):
        allocation.neuron_importance(model)


def test_a_seed_that_was_not_trained_is_refused():
    model = scalenet_tf.ScaleNet(allocation.seed_architecture(TINY_CIFAR))
    with pytest.raises(ValueError, match=r"of its mean.*in the blocks \[0, 1\]"):
        allocation.check_spread(allocation.neuron_importance(model))
    norm = model.get_layer("stage1_block1_sa").norms[2]
    norm.gamma.assign([1.0, 1.1, 0.9, 1.0])
    with pytest.raises(ValueError, match=r"in the blocks \[1\]"):
        allocation.check_spread(allocation.neuron_importance(model))


def test_spread_is_relative_to_the_mean():
    block = {1: np.array([1.0, 1.02]), 2: np.array([1.01])}  # 0.0081 of its mean
    for factor in (1e-6, 1.0, 1e6):
        scaled = [{scale: factor * values for scale, values in block.items()}]
        allocation.check_spread(scaled)
        allocation.check_spread(scaled, tolerance=0.008)
        with pytest.raises(ValueError, match="`importance` does not tell"):
            allocation.check_spread(scaled, tolerance=0.0082)


def test_neurons_that_are_all_zero_have_no_spread_and_one_neuron_needs_none():
    with pytest.raises(ValueError, match=r"Received 0 to 0 .* \[0\]"):
        allocation.check_spread([{1: np.zeros(3), 2: np.zeros(3)}])
    allocation.check_spread([{1: np.ones(1), 2: np.ones(0)}])


# Selection with budgets.


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_allocation_is_found_where_its_neurons_are_the_best(name):
    architecture = scalenet_tf.get_architecture(name)
    importance = by_published_proportions(architecture, np.random.default_rng(0))
    rows = allocation.allocate(importance, block_budgets(architecture))
    assert rows == architecture.allocation


def test_ties_go_to_the_finer_scale_then_to_the_lower_index():
    ties = [{4: np.ones(2), 1: np.ones(2), 2: np.ones(2)}]
    received = [allocation.allocate(ties, [budget]) for budget in range(1, 7)]
    assert received == [
        ((1, 0, 0),),
        ((2, 0, 0),),
        ((2, 1, 0),),
        ((2, 2, 0),),
        ((2, 2, 1),),
        ((2, 2, 2),),
    ]


def test_the_minimum_takes_the_place_of_better_neurons():
    importance = [{1: np.array([9.0, 8, 7]), 2: np.array([2.0, 1]), 4: np.zeros(0)}]
    assert allocation.allocate(importance, [3]) == ((3, 0, 0),)
    assert allocation.allocate(importance, [3], minimum=1) == ((2, 1, 0),)
    assert allocation.allocate(importance, [4], minimum=2) == ((2, 2, 0),)


@st.composite
def problems(draw):
    """Importance with many ties, budgets that it can meet, and a minimum."""
    scales = sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=4)))
    value = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]) | st.floats(0, 1e9)
    counts = st.lists(st.integers(0, 6), min_size=len(scales), max_size=len(scales))
    rows = draw(st.lists(counts.filter(any), min_size=1, max_size=4))
    importance = [
        {
            scale: np.array(draw(st.lists(value, min_size=n, max_size=n)), float)
            for scale, n in zip(scales, row, strict=True)
        }
        for row in rows
    ]
    minimum = draw(st.integers(0, min(n for row in rows for n in row if n)))
    least = [max(1, minimum * sum(n > 0 for n in row)) for row in rows]
    budgets = [
        draw(st.integers(low, sum(row))) for low, row in zip(least, rows, strict=True)
    ]
    return importance, budgets, minimum


def counted(block, budget, minimum):
    """The selection of a block, written a second time, with sorted tuples."""
    scales = sorted(block)
    by_scale = {
        scale: sorted((-value, scale, i) for i, value in enumerate(block[scale]))
        for scale in scales
    }
    kept = [neuron for best in by_scale.values() for neuron in best[:minimum]]
    rest = sorted(neuron for best in by_scale.values() for neuron in best[minimum:])
    kept += rest[: budget - len(kept)]
    return tuple(sum(neuron[1] == scale for neuron in kept) for scale in scales)


@quick
@given(problems())
def test_allocations_are_those_of_sorted_neurons(problem):
    importance, budgets, minimum = problem
    assert allocation.allocate(importance, budgets, minimum) == tuple(
        counted(block, budget, minimum)
        for block, budget in zip(importance, budgets, strict=True)
    )


@quick
@given(problems())
def test_budgets_are_met_within_what_there_is(problem):
    importance, budgets, minimum = problem
    rows = allocation.allocate(importance, budgets, minimum)
    for block, row, budget in zip(importance, rows, budgets, strict=True):
        assert sum(row) == budget
        for scale, count in zip(sorted(block), row, strict=True):
            assert min(minimum, len(block[scale])) <= count <= len(block[scale])


@quick
@given(problems())
def test_a_larger_budget_keeps_what_a_smaller_one_does(problem):
    importance, budgets, minimum = problem
    rows = allocation.allocate(importance, budgets, minimum)
    sizes = [sum(map(len, block.values())) for block in importance]
    larger = [min(*pair) for pair in zip([b + 1 for b in budgets], sizes, strict=True)]
    for row, more in zip(
        rows, allocation.allocate(importance, larger, minimum), strict=True
    ):
        assert all(a <= b for a, b in zip(row, more, strict=True))


@quick
@given(problems(), st.randoms())
def test_order_of_neurons_and_of_scales_does_not_matter(problem, random):
    importance, budgets, minimum = problem
    shuffled = [
        {
            scale: np.array(random.sample(list(block[scale]), len(block[scale])))
            for scale in random.sample(list(block), len(block))
        }
        for block in importance
    ]
    assert allocation.allocate(shuffled, budgets, minimum) == allocation.allocate(
        importance, budgets, minimum
    )


TWO_BLOCKS = [{1: np.ones(3), 2: np.ones(2)}, {1: np.ones(3), 2: np.zeros(0)}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"importance": []}, r"`importance` must have one mapping.*list without"),
        ({"importance": np.ones(3)}, r"`importance` must have one mapping.*ndarray"),
        ({"importance": [np.ones(3)]}, r"block 0 .* must be a mapping.*array"),
        ({"importance": [{"1": np.ones(3)}]}, r"block 0 .* must be a mapping"),
        ({"importance": [{}]}, r"block 0 .* must have a neuron"),
        (
            {"importance": [TWO_BLOCKS[0], {1: np.ones(3)}]},
            r"block 1 .* must have the scales of block 0, \[1, 2\].*Received: \[1\]",
        ),
        (
            {"importance": [TWO_BLOCKS[0], {1: np.zeros(0), 2: np.zeros(0)}]},
            r"block 1 .* must have a neuron",
        ),
        *(
            (
                {"importance": [TWO_BLOCKS[0], {1: np.array([1, bad]), 2: []}]},
                r"block 1 .* must be one finite number from 0 up .* scale 1.*Received",
            )
            for bad in (math.nan, math.inf, -1.0)
        ),
        (
            {"importance": [{1: np.ones((2, 2)), 2: []}]},
            r"block 0 .* one finite number from 0 up for each neuron at scale 1",
        ),
        ({"importance": [{1: ["a"]}]}, r"block 0 .* must be numbers at scale 1"),
        ({"budgets": [3]}, r"`budgets` must have one number a block, 2 .*: 1\."),
        ({"budgets": [0, 3]}, r"`budgets` of block 0 .* from 1 to 5.*Received: 0"),
        ({"budgets": [3, 4]}, r"`budgets` of block 1 .* from 1 to 3.*Received: 4"),
        ({"budgets": [3.0, 3]}, r"`budgets` of block 0 .*whole number.*3\.0"),
        ({"budgets": [True, 3]}, r"`budgets` of block 0 .*whole number.*True"),
        (
            {"budgets": [3, 3], "minimum": 2},
            r"`budgets` of block 0 .* from 4 to 5, for minimum=2\. Received: 3",
        ),
        ({"minimum": -1}, r"`minimum` must be a whole number from 0 to 2.*-1"),
        ({"minimum": 3}, r"`minimum` must be a whole number from 0 to 2.*3"),
        ({"minimum": 0.5}, r"`minimum` must be a whole number.*0\.5"),
    ],
)
def test_what_cannot_be_allocated_is_an_error(changes, message):
    with pytest.raises(ValueError, match=message):
        allocation.allocate(
            **{"importance": TWO_BLOCKS, "budgets": [3, 3], "minimum": 0, **changes}
        )


# One ratio for all budgets.


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("ScaleNetCifar38", 1.33),
        ("ScaleNetCifar56", 1.41),
        ("ScaleNetCifar101", 1.43),
        ("ScaleNet50Light", 1),
        ("ScaleNet50", 1.36),
        ("ScaleNet101", 1.331),
        ("ScaleNet152", 1.395),
    ],
)
def test_one_ratio_gives_all_budgets_of_a_published_network(name, ratio):
    architecture = scalenet_tf.get_architecture(name)
    assert allocation.stage_budgets(architecture, ratio) == (
        architecture.budget_per_stage
    )


def test_budgets_are_exact_where_products_of_floats_are_not():
    wide = dataclasses.replace(TINY, stage_widths=[100, 200, 400, 800])
    assert math.ceil(1.1 * 100) == 111
    for ratio in (1.1, np.float64(1.1), Fraction(11, 10)):
        assert allocation.stage_budgets(wide, ratio) == (110, 220, 440, 880)
    assert allocation.stage_budgets(wide, Fraction(1, 800)) == (1, 1, 1, 1)
    assert allocation.stage_budgets(wide, 4) == (400, 800, 1600, 3200)


@pytest.mark.parametrize("ratio", [0, -1.0, 4.001, math.nan, math.inf, "1", None])
def test_ratios_outside_the_seed_are_errors(ratio):
    with pytest.raises(ValueError, match=r"`ratio` must be above 0 and at most 4"):
        allocation.stage_budgets(TINY, ratio)


# Allocation for a cost.


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_found_for_their_own_macs(name):
    architecture = scalenet_tf.get_architecture(name)
    importance = by_published_proportions(architecture, np.random.default_rng(1))
    found = allocation.allocate_for_macs(seed_of(name), importance, architecture.macs())
    assert found.architecture == dataclasses.replace(
        architecture, name=f"{name}Allocated", learned_on=None
    )
    assert found.macs == found.target == architecture.macs()
    assert found.gap == 0
    assert allocation.stage_budgets(architecture, found.ratio) == (
        architecture.budget_per_stage
    )


def with_budgets(seed, importance, by_stage):
    """The seed's architecture with the neurons that stages' budgets keep."""
    by_block = [by_stage[block.stage - 1] for block in seed.blocks()]
    return dataclasses.replace(
        seed,
        budget_per_stage=by_stage,
        allocation=allocation.allocate(importance, by_block),
    )


@pytest.mark.parametrize("seed", [TINY_SEED, seed_of("ScaleNetCifar38")], ids=NAME)
@pytest.mark.parametrize("decay", [1e-6, 0.5, 1, 2, 1e6])
def test_no_other_ratio_comes_nearer_to_the_target(seed, decay):
    importance = random_importance(seed, 0, decay)
    budgets = {
        allocation.stage_budgets(seed, Fraction(k, width))
        for width in seed.stage_widths
        for k in range(1, len(seed.scales) * width + 1)
    }
    table = sorted(
        (with_budgets(seed, importance, by_stage).macs(), by_stage)
        for by_stage in budgets
    )
    # Larger budgets cost more, whichever scales they go to.
    for (less, small), (more, large) in itertools.pairwise(table):
        assert less < more
        assert all(a <= b for a, b in zip(small, large, strict=True))
    costs = [cost for cost, _ in table]
    for target in [*costs[::9], *(cost - 1 for cost in costs[1::9]), costs[-1] - 0.5]:
        found = allocation.allocate_for_macs(seed, importance, target, max_gap=1)
        cost, by_stage = max(entry for entry in table if entry[0] <= target)
        assert found.macs == found.architecture.macs() == cost
        assert found.architecture.budget_per_stage == by_stage
        assert allocation.stage_budgets(seed, found.ratio) == by_stage
        assert found.gap == (target - cost) / target
        raised = allocation.allocate_for_macs(seed, importance, target)
        assert cost <= raised.macs <= target
        assert raised.ratio == found.ratio
        if found.gap <= GAPS[seed.stem]:
            assert raised == found


def largest_step(seed):
    """The most that one neuron more in every block costs."""
    return sum(max(costs) for costs in seed.neuron_macs())


def worst_gaps(seed, importance, multiples, max_gap=None):
    """Gaps at targets that one ratio misses by far, near multiples of the twin's MACs.

    They are right below the cost of a ratio at which the budgets of all stages step,
    such as 1 + 1 / 512 for widths from 64 to 512.
    """
    narrow, wide = min(seed.stage_widths), max(seed.stage_widths)
    for multiple in multiples:
        target = multiple * seed.twin().macs()
        even = allocation.allocate_for_macs(seed, importance, target)
        step = Fraction(math.ceil(even.ratio * narrow), narrow) + Fraction(1, wide)
        following = with_budgets(seed, importance, allocation.stage_budgets(seed, step))
        for wished in (target, following.macs() - 1):
            found = allocation.allocate_for_macs(
                seed, importance, wished, max_gap=max_gap
            )
            assert found.macs == found.architecture.macs() <= found.target == wished
            yield found.gap


TWINS = ["Cifar38", "Cifar56", "Cifar101", "50", "101", "152"]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("decay", [1e-6, 1, 1e6])
def test_gaps_are_within_their_bound_for_all_targets(name, decay):
    seed = seed_of(f"ScaleNet{name}")
    importance = random_importance(seed, 0, decay)
    lowest = with_budgets(seed, importance, [1] * len(seed.stage_widths))
    twin = seed.twin().macs()
    multiples = np.linspace(1.05 * lowest.macs() / twin, 0.9 * seed.macs() / twin, 5)
    assert 0 < max(worst_gaps(seed, importance, multiples)) <= GAPS[seed.stem]


@pytest.mark.parametrize("name", TWINS)
def test_one_ratio_alone_leaves_more_where_all_fine_neurons_are_better(name):
    """Every step is then one neuron at scale 1 in every block, the largest there is."""
    seed = seed_of(f"ScaleNet{name}")
    importance = random_importance(seed, 1, 1e6)
    gaps = list(worst_gaps(seed, importance, [0.7, 0.75], max_gap=1))
    assert GAPS[seed.stem] < max(gaps)
    assert max(gaps) < largest_step(seed) / (0.7 * seed.twin().macs())


def test_the_target_is_by_default_the_cost_of_the_twin():
    seed = seed_of("ScaleNetCifar38")
    importance = random_importance(seed, 0)
    for criterion in ("block", "global"):
        found = allocation.allocate_for_macs(seed, importance, criterion=criterion)
        assert found.target == 57_353_216
        # More classes cost the twin as much as the network: all else is the same.
        more = allocation.allocate_for_macs(
            seed, importance, criterion=criterion, classes=10_000
        )
        assert more.target == 57_353_216 + 256 * 9_900
        assert more.macs == more.architecture.macs(classes=10_000)
        assert more.architecture == found.architecture


@pytest.mark.parametrize("criterion", ["block", "global"])
@pytest.mark.parametrize("minimum", [0, 1, 4])
def test_the_whole_range_can_be_reached_and_no_more(criterion, minimum):
    importance = random_importance(TINY_SEED, 0)
    search = {"minimum": minimum, "criterion": criterion}
    message = r"`target_macs` must be from ([\d,]+) to ([\d,]+), what .*Received: 1\."
    with pytest.raises(ValueError, match=message) as raised:
        allocation.allocate_for_macs(TINY_SEED, importance, 1, **search)
    numbers = re.search(message, str(raised.value)).groups()
    lowest, highest = (int(number.replace(",", "")) for number in numbers)
    assert highest == TINY_SEED.macs()

    least = allocation.allocate_for_macs(TINY_SEED, importance, lowest, **search)
    assert least.macs == lowest
    if criterion == "global":
        assert block_budgets(least.architecture) == [max(1, 4 * minimum)] * 5
    else:  # wide stages step first: 7/8 is the first ratio that asks for 4 of 4 x 4
        budgets = {0: (1, 1, 1, 1), 1: (4, 4, 7, 7), 4: (16, 16, 31, 31)}[minimum]
        assert least.architecture.budget_per_stage == budgets
    most = allocation.allocate_for_macs(TINY_SEED, importance, highest, **search)
    assert most.architecture.allocation == TINY_SEED.allocation

    for target in (lowest - 1, highest + 1, math.inf, -math.inf):
        with pytest.raises(ValueError, match="`target_macs` must be from"):
            allocation.allocate_for_macs(TINY_SEED, importance, target, **search)


@pytest.mark.parametrize("criterion", ["block", "global"])
def test_the_minimum_holds_at_every_scale(criterion):
    seed = seed_of("ScaleNetCifar38")
    importance = random_importance(seed, 0, 1e6)  # else nothing stays at scale 4
    for minimum in (0, 3):
        found = allocation.allocate_for_macs(
            seed, importance, minimum=minimum, criterion=criterion
        )
        counts = np.array(found.architecture.allocation)
        assert counts.min() == minimum
        assert 0 <= found.gap < GAPS["cifar"]


def globally(seed, importance, target):
    """One ranking of all neurons, written a second time, neuron by neuron."""
    neurons = []
    rows = [[0] * len(seed.scales) for _ in importance]
    left = target - seed.macs()
    for b, (block, costs) in enumerate(
        zip(importance, seed.neuron_macs(), strict=True)
    ):
        mine = sorted(
            (-value / cost, b, i, n, cost)
            for i, (scale, cost) in enumerate(zip(seed.scales, costs, strict=True))
            for n, value in enumerate(block[scale])
        )
        left += sum(neuron[-1] for neuron in mine) - mine[0][-1]
        rows[b][mine[0][2]] += 1
        neurons += mine[1:]
    for _, b, i, _, cost in sorted(neurons):
        left -= cost
        if left < 0:
            break
        rows[b][i] += 1
    return tuple(map(tuple, rows))


@quick
@given(st.integers(0, 1000), st.floats(0, 1), st.booleans())
def test_one_ranking_keeps_the_best_per_mac_until_the_target(number, share, ties):
    importance = random_importance(TINY_SEED, number)
    if ties:
        importance = [
            {scale: np.round(values * 3) for scale, values in block.items()}
            for block in importance
        ]
    least = [[1, 0, 0, 0]] * 5
    lowest = dataclasses.replace(
        TINY_SEED, allocation=least, budget_per_stage=None
    ).macs()
    target = round(lowest + share * (TINY_SEED.macs() - lowest))
    found = allocation.allocate_for_macs(
        TINY_SEED, importance, target, criterion="global"
    )
    assert found.architecture.allocation == globally(TINY_SEED, importance, target)
    assert found.architecture.budget_per_stage is None
    assert found.ratio is None
    assert found.macs == found.architecture.macs() <= target
    if found.macs > lowest:
        less = allocation.allocate_for_macs(
            TINY_SEED, importance, found.macs - 0.5, criterion="global"
        )
        assert less.macs < found.macs
    dearest = max(max(costs) for costs in TINY_SEED.neuron_macs())
    assert target - found.macs < dearest or target == TINY_SEED.macs()


def test_one_ranking_moves_neurons_to_better_blocks_and_cheaper_scales():
    seed = seed_of("ScaleNetCifar38")
    importance = random_importance(seed, 0)
    importance[1] = {scale: 10 * values for scale, values in importance[1].items()}
    found = allocation.allocate_for_macs(seed, importance, criterion="global")
    sums = block_budgets(found.architecture)
    assert sums[1] > 2 * max(sums[0], sums[2], sums[3])
    assert 0 <= found.gap < 0.004  # a neuron of the first stage

    equal = [{scale: np.ones(16) for scale in (1, 2, 4)}] * 4
    equal += [{scale: np.ones(32) for scale in (1, 2, 4)}] * 4
    equal += [{scale: np.ones(64) for scale in (1, 2, 4)}] * 4
    rows = allocation.allocate_for_macs(
        seed, equal, 0.4 * seed.macs(), criterion="global"
    ).architecture.allocation
    assert rows[-1] == (0, 64, 64)  # the cheapest there are
    assert rows[0] == (0, 0, 1)


@pytest.mark.parametrize("criterion", ["block", "global"])
def test_an_allocated_network_can_be_allocated_again(criterion):
    """Any architecture whose model was measured will do, unequal blocks too."""
    seed = seed_of("ScaleNetCifar38")
    first = allocation.allocate_for_macs(
        seed, random_importance(seed, 0), criterion="global"
    ).architecture
    target = 0.6 * first.macs()
    second = allocation.allocate_for_macs(
        first, random_importance(first, 1), target, criterion=criterion
    )
    assert (np.array(second.architecture.allocation) <= first.allocation).all()
    assert 0 <= second.gap < largest_step(seed) / target


def test_the_minimum_counts_the_scales_of_every_block():
    unequal = dataclasses.replace(
        TINY_CIFAR,
        blocks_per_stage=(2, 1),
        allocation=((3, 3, 0), (3, 2, 1), (5, 4, 0)),
    )
    importance = random_importance(unequal, 0, 1e6)
    smallest = dataclasses.replace(  # at 5/8, the first ratio that asks for 3 of 4
        unequal, budget_per_stage=(3, 5), allocation=((2, 1, 0), (1, 1, 1), (4, 1, 0))
    )
    found = allocation.allocate_for_macs(
        unequal, importance, smallest.macs(), minimum=1
    )
    assert found.architecture.allocation == smallest.allocation
    with pytest.raises(ValueError, match=f"must be from {smallest.macs():,} to"):
        allocation.allocate_for_macs(unequal, importance, 1, minimum=1)


def test_a_minimum_that_no_ratio_meets_is_an_error():
    narrow = dataclasses.replace(
        TINY_CIFAR,
        stage_widths=(4, 4),
        budget_per_stage=(3, 9),
        allocation=((3, 0, 0), (3, 3, 3)),
    )
    importance = random_importance(narrow, 0)
    with pytest.raises(ValueError, match=r"leave a ratio.*\[2, 6\] to \[3, 9\]"):
        allocation.allocate_for_macs(narrow, importance, minimum=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criterion": "best"}, r"`criterion` must be one of .*'global'.*'best'"),
        ({"minimum": 5}, r"`minimum` must be a whole number from 0 to 4.*: 5"),
        ({"target_macs": math.nan}, r"`target_macs` must be a number.*nan"),
        ({"target_macs": "1e6"}, r"`target_macs` must be a number.*'1e6'"),
        (
            {"architecture": TINY},
            r"on a model of `architecture` \(Tiny\), 5 blocks .*neurons "
            r"\[2, 2, 2, 2\], .*Received: 5 blocks .*\[4, 4, 4, 4\], .*seed_arch",
        ),
        (
            {"importance": random_importance(TINY_SEED, 0)[1:]},
            r"5 blocks .*Received: 4 blocks",
        ),
        (
            {"importance": [{scale: np.ones(4) for scale in (1, 2, 3, 4)}] * 5},
            r"scales \[1, 2, 4, 7\].*Received: .*scales \[1, 2, 3, 4\]",
        ),
        (
            {"importance": [{1: np.full(4, np.nan)}] * 5},
            r"`importance` of block 0 .* one finite number",
        ),
    ],
)
def test_what_has_no_allocation_is_an_error(changes, message):
    arguments = {
        "architecture": TINY_SEED,
        "importance": random_importance(TINY_SEED, 0),
    }
    with pytest.raises(ValueError, match=message):
        allocation.allocate_for_macs(**{**arguments, **changes})


# Rank correlation.


def test_rank_correlation_by_block_and_overall():
    first = [
        {1: np.array([1.0, 2]), 2: np.array([3.0])},
        {1: np.ones(2), 2: np.ones(0)},
    ]
    second = [
        {1: np.array([4.0, 5]), 2: np.array([9.0])},
        {1: np.ones(2), 2: np.ones(0)},
    ]
    received = allocation.rank_correlation(first, second)
    assert received.blocks[0] == pytest.approx(1)
    assert math.isnan(received.blocks[1])
    # Ranks 2, 4, 5, 2, 2 and 3, 4, 5, 1.5, 1.5.
    assert received.overall == pytest.approx(8.0 / math.sqrt(8 * 9.5))
    reverse = [
        {scale: 10 - values for scale, values in block.items()} for block in first
    ]
    assert allocation.rank_correlation(first, reverse).blocks[0] == pytest.approx(-1)


def test_rank_correlation_without_scipy_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    pair = [random_importance(TINY, seed) for seed in (0, 1)]
    with pytest.raises(ImportError, match=r"pip install 'scalenet_tf\[train\]'"):
        allocation.rank_correlation(*pair)


def test_importances_of_two_architectures_have_no_correlation():
    with pytest.raises(ValueError, match=r"`second` must .*\[4, 4, 4, 4\].*\[2, 2"):
        allocation.rank_correlation(
            random_importance(TINY_SEED, 0), random_importance(TINY, 0)
        )


# From a model to a model.


def importance_of_random_gammas(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, scalenet_tf.layers.ScaleAggregation):
            for norm in layer.norms.values():
                norm.gamma.assign(rng.normal(1, 0.3, norm.gamma.shape))
    importance = allocation.neuron_importance(model)
    allocation.check_spread(importance)
    return importance


@pytest.mark.parametrize("criterion", ["block", "global"])
@pytest.mark.parametrize(
    "architecture",
    [TINY, pytest.param("ScaleNet50", marks=pytest.mark.slow)],
    ids=["Tiny", "ScaleNet50"],
)
def test_the_cost_is_that_of_the_model(architecture, criterion):
    if isinstance(architecture, str):
        architecture = scalenet_tf.get_architecture(architecture)
    seed = allocation.seed_architecture(architecture)
    model = scalenet_tf.ScaleNet(seed)
    assert scalenet_tf.count_macs(model) == seed.macs()
    found = allocation.allocate_for_macs(
        seed, importance_of_random_gammas(model), criterion=criterion
    )
    allocated = scalenet_tf.ScaleNet(found.architecture)
    assert scalenet_tf.count_macs(allocated) == found.macs <= found.target
    record = found.architecture.to_record()
    assert architecture_from_record(record) == found.architecture


@pytest.mark.parametrize("criterion", ["block", "global"])
@pytest.mark.parametrize("align", [2, 8])
def test_aligned_allocations_have_whole_groups(criterion, align):
    seed = allocation.seed_architecture(scalenet_tf.get_architecture("ScaleNet50"))
    rng = np.random.default_rng(align)
    importance = [
        {
            scale: rng.random(count)
            for scale, count in zip(seed.scales, block.channels, strict=True)
        }
        for block in seed.blocks()
    ]
    found = allocation.allocate_for_macs(
        seed, importance, criterion=criterion, align=align
    )
    rows = found.architecture.allocation
    assert not any(count % align for row in rows for count in row)
    assert 0 <= found.gap < 0.01
    if criterion == "block":
        width = seed.stage_widths[0]
        budget = math.ceil(found.ratio * width)
        kept = found.architecture.budget_per_stage[0]
        assert kept - budget in range(-align + 1, align + 1)
    # What is kept of a scale is its best groups, whatever their places.
    shuffled = [
        {scale: rng.permutation(values) for scale, values in block.items()}
        for block in importance
    ]
    again = allocation.allocate_for_macs(
        seed, shuffled, criterion=criterion, align=align
    )
    assert again.architecture.allocation == rows


def test_groups_are_ranked_by_their_mean():
    seed = allocation.seed_architecture(scalenet_tf.get_architecture("ScaleNetCifar38"))
    low, high = 0.6, 1.0
    importance = [
        {
            # one neuron above all others, whose group has a lower mean
            scale: np.array([2.0] + [0.0] * (count - 1))
            if index == 0
            else np.full(count, high if index == 1 else low)
            for index, (scale, count) in enumerate(
                zip(seed.scales, block.channels, strict=True)
            )
        }
        for block in seed.blocks()
    ]
    found = allocation.allocate_for_macs(seed, importance, 30e6, align=4)
    first = found.architecture.allocation[0]
    assert first[0] == 0
    assert first[1] > 0


@pytest.mark.parametrize("align", [0, -1, 2.0, True, 1000])
def test_groups_that_no_scale_fills_are_an_error(align):
    seed = allocation.seed_architecture(scalenet_tf.get_architecture("ScaleNetCifar38"))
    importance = [
        dict(zip(seed.scales, map(np.ones, block.channels), strict=True))
        for block in seed.blocks()
    ]
    with pytest.raises(ValueError, match=r"`align` must be a whole number from 1 to"):
        allocation.allocate_for_macs(seed, importance, align=align)
