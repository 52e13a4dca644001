"""Allocation by time: what the best choice within a table of costs is."""

import contextlib
import dataclasses
import itertools
import json
import re
import types

import numpy as np
import pytest
import scipy.optimize
from conftest import TINY_CIFAR
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scalenet_training.allocate import costs, latency
from scalenet_training.allocate.config import LatencyOptions
from scalenet_training.devices import timing

from scalenet_tf import allocation
from scalenet_tf.allocation import CostTable, allocate_for_latency

SEED = allocation.seed_architecture(TINY_CIFAR)
STAGES, SCALES = len(SEED.stage_widths), len(SEED.scales)


def table(overhead=0.1, slope=0.01, fixed=2.0, twin=5.0):
    """Costs that are linear, the coarser scales half as much each."""
    branch = [
        [
            [(n, overhead + slope * n / 2**scale) for n in (1, width // 2, width)]
            for scale in range(SCALES)
        ]
        for width in SEED.stage_widths
    ]
    return CostTable(fixed, branch, twin)


def part(costs, share):
    """Milliseconds that leave a share of what all branches take."""
    return costs.fixed + share * (costs.milliseconds(SEED) - costs.fixed)


def importance(seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            scale: rng.random(count)
            for scale, count in zip(SEED.scales, block.channels, strict=True)
        }
        for block in SEED.blocks()
    ]


def kept(found, values):
    """Importance of what an architecture keeps."""
    return sum(
        np.sort(block[scale])[::-1][:count].sum()
        for block, row in zip(values, found.architecture.allocation, strict=True)
        for scale, count in zip(SEED.scales, row, strict=True)
    )


@given(st.floats(0.35, 1.2), st.integers(0, 99), st.integers(0, 1), st.floats(0, 0.3))
@settings(max_examples=50, deadline=None)
def test_the_time_is_met_and_little_is_left(share, seed, minimum, overhead):
    costs = table(overhead)
    target = part(costs, share)
    lowest = costs.fixed + sum(
        (overhead + 0.01 / 8) * (SCALES if minimum else 1) for _ in SEED.blocks()
    )
    assume(target >= lowest + 0.1)
    found = allocate_for_latency(SEED, importance(seed), costs, target, minimum=minimum)
    assert found.milliseconds <= target * (1 + 1e-12)
    assert found.milliseconds == pytest.approx(
        costs.milliseconds(found.architecture), rel=1e-12
    )
    assert found.gap >= -1e-12
    for row in found.architecture.allocation:
        assert sum(row) >= 1
        assert min(row) >= minimum
    # Nothing more fits: neither a neuron of a branch nor a branch.
    left = target - found.milliseconds
    for block, row in zip(SEED.blocks(), found.architecture.allocation, strict=True):
        for scale, count in enumerate(row):
            times = costs.of_branch(block.stage, scale, block.width)
            if count < block.width:
                assert times[count + 1] - times[count] > left - 1e-9


def test_a_branch_that_is_not_worth_its_overhead_disappears():
    values = importance()
    for block in values:
        block[SEED.scales[-1]] = block[SEED.scales[-1]] * 1e-3
    costs = table(overhead=0.5)
    found = allocate_for_latency(SEED, values, costs, part(costs, 0.5))
    assert not any(row[-1] for row in found.architecture.allocation)
    cheap = table(overhead=0.0)
    found = allocate_for_latency(SEED, values, cheap, part(cheap, 0.9))
    assert any(row[-1] for row in found.architecture.allocation)


def test_the_choice_is_the_best_there_is_but_for_a_step():
    one_block = dataclasses.replace(
        TINY_CIFAR,
        stage_widths=TINY_CIFAR.stage_widths[:1],
        blocks_per_stage=(1,),
        budget_per_stage=None,
        allocation=TINY_CIFAR.allocation[:1],
    )
    seed = allocation.seed_architecture(one_block)
    values = [importance()[0]]
    costs = dataclasses.replace(table(overhead=0.02), branches=table(0.02).branches[:1])
    (width,) = seed.stage_widths
    target = costs.fixed + 0.5 * (costs.milliseconds(seed) - costs.fixed)
    found = allocate_for_latency(seed, values, costs, target)
    best = 0.0
    times = [costs.of_branch(1, scale, width) for scale in range(SCALES)]
    worth = [
        np.concatenate([[0], np.sort(values[0][scale])[::-1].cumsum()])
        for scale in seed.scales
    ]
    for counts in itertools.product(range(width + 1), repeat=SCALES):
        spent = sum(time[n] for time, n in zip(times, counts, strict=True))
        if any(counts) and costs.fixed + spent <= target:
            best = max(best, sum(w[n] for w, n in zip(worth, counts, strict=True)))
    assert best * 0.97 <= kept(found, values) <= best + 1e-9


def test_groups_of_neurons():
    costs = table()
    target = part(costs, 0.6)
    found = allocate_for_latency(SEED, importance(), costs, target, align=2)
    assert all(count % 2 == 0 for row in found.architecture.allocation for count in row)
    assert found.milliseconds <= target


def test_between_samples_costs_are_linear_and_never_fall():
    costs = CostTable(1.0, [[[(2, 1.0), (4, 3.0), (6, 2.0)]]], 4.0)
    found = costs.of_branch(1, 0, 8)
    np.testing.assert_allclose(found, [0, 1, 1, 1.75, 2.5, 2.5, 2.5, 2.5, 2.5])
    costs = CostTable(1.0, [[[(2, -0.5), (4, 1.0)]]], 4.0)
    np.testing.assert_allclose(costs.of_branch(1, 0, 5), [0, 0, 0, 0.5, 1, 1.5])


@given(st.lists(st.floats(0, 9), min_size=1, max_size=6))
@settings(deadline=None)
def test_costs_are_the_nearest_that_never_fall(times):
    samples = list(enumerate(times, start=1))
    found = CostTable(1.0, [[samples]], 4.0).of_branch(1, 0, len(times))[1:]
    nearest = scipy.optimize.isotonic_regression(times).x
    np.testing.assert_allclose(found, nearest, atol=1e-12)


def test_tables_are_kept_as_json():
    costs = dataclasses.replace(table(), about={"runtime": "tflite"})
    again = CostTable.from_json(json.loads(json.dumps(costs.to_json())))
    assert again.to_json() == costs.to_json()
    assert again.milliseconds(SEED) == costs.milliseconds(SEED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": "much"}, "no table of costs"),
        ({"twin": 0}, "the twin above 0"),
        ({"fixed": float("nan")}, "times must be finite"),
        ({"branches": [[[[4, 1.0], [2, 1.0]]]]}, "ascending neurons"),
        ({"branches": [[[]]]}, "ascending neurons"),
        ({"branches": 3}, "no table of costs"),
    ],
)
def test_tables_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        CostTable.from_json(table().to_json() | change)
    with pytest.raises(ValueError, match="no table of costs"):
        CostTable.from_json([])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 2.0}, "`target` must be .* ms or more.*: 2"),
        ({"target": float("nan")}, "`target` must be milliseconds. Received: nan"),
        ({"costs": CostTable(1.0, [[[(1, 1.0)]]], 1.0)}, r"`costs` must be .*: \[1\]"),
        ({"minimum": -1}, "`minimum` must be"),
        ({"align": 0}, "`align` must be"),
    ],
)
def test_arguments_that_are_not_allowed(options, message):
    given_ = {"costs": table(), "target": None} | options
    with pytest.raises(ValueError, match=message):
        allocate_for_latency(SEED, importance(), **given_)


ABOUT = {
    "stem": SEED.stem,
    "native_size": SEED.native_size,
    "scales": list(SEED.scales),
    "stage_widths": list(SEED.stage_widths),
    "blocks_per_stage": list(SEED.blocks_per_stage),
}
OTHERS = {
    "stem": "imagenet",
    "native_size": 224,
    "scales": [1, *(2 * scale for scale in SEED.scales[1:])],
    "stage_widths": [2 * width for width in SEED.stage_widths],
    "blocks_per_stage": [count + 1 for count in SEED.blocks_per_stage],
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_table_of_another_network_is_refused(name):
    costs = dataclasses.replace(table(), about={**ABOUT, name: OTHERS[name]})
    message = (
        f"`costs` must be measured for {SEED.name}: {name} {ABOUT[name]}. "
        f"Received: {OTHERS[name]}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        allocate_for_latency(SEED, importance(), costs)


def test_a_table_that_tells_its_network_or_a_part_of_it_is_taken():
    expected = allocate_for_latency(SEED, importance(), table())
    as_tuples = ABOUT | {"scales": SEED.scales, "stage_widths": SEED.stage_widths}
    for about in (ABOUT, as_tuples, {"stem": SEED.stem, "runtime": "tflite"}):
        costs = dataclasses.replace(table(), about=about)
        assert allocate_for_latency(SEED, importance(), costs) == expected


def with_coarser(costs, factor):
    """The table with what the branches of coarser scales take multiplied."""
    branches = [
        [stage[0], *([(n, factor * ms) for n, ms in branch] for branch in stage[1:])]
        for stage in costs.branches
    ]
    return dataclasses.replace(costs, branches=branches)


def twin_in(costs):
    """The table, as is what it says of the twin: all neurons at the finest scale."""
    return dataclasses.replace(costs, twin=costs.milliseconds(FINEST))


FINEST = dataclasses.replace(
    SEED,
    budget_per_stage=None,
    allocation=[
        [block.width, *[0] * (len(SEED.scales) - 1)] for block in SEED.blocks()
    ],
)


class Machine:
    """One that takes what a table says, which is not the one that it was asked for."""

    def __init__(self, costs):
        self.costs = costs
        self.measured = []

    def __call__(self, architecture, options, classes):
        return self

    def identity(self):
        return {}

    def ratio(self, architecture, twin):
        self.measured.append(self.costs.milliseconds(architecture))
        return self.measured[-1] / self.costs.twin


@pytest.mark.parametrize("factor", [0.7, 1.4, 3.0])
@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_later_choice_takes_the_time_that_was_predicted(
    factor, share, tmp_path, monkeypatch
):
    true = twin_in(table(fixed=0.5, overhead=0.02))
    # Of branches that were measured alone, on a machine that was slower then.
    measured = with_coarser(true, 1 / factor)
    measured = dataclasses.replace(measured, fixed=share * measured.fixed)
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(measured.to_json()))
    machine = Machine(true)
    monkeypatch.setattr(latency, "Runtime", machine)
    options = LatencyOptions(target_latency="twin")
    timed = latency.allocate_within(
        SEED, importance(), options, 10, str(path), minimum=0, align=1
    )
    assert timed.milliseconds in machine.measured
    # What is left is less than what a branch begins with.
    assert 0.95 * true.twin <= timed.milliseconds <= true.twin
    assert timed.found.milliseconds == pytest.approx(timed.milliseconds, rel=0.05)
    assert timed.costs == measured


def test_a_correction_is_of_the_coarser_scales():
    costs = twin_in(table())
    fine = costs.milliseconds(FINEST)
    corrected = costs.corrected(SEED, 1.1 * costs.milliseconds(SEED))
    assert corrected.milliseconds(SEED) == pytest.approx(
        1.1 * costs.milliseconds(SEED), rel=1e-12
    )
    assert corrected.milliseconds(FINEST) == pytest.approx(fine, rel=1e-12)
    assert corrected.fixed == pytest.approx(costs.fixed, rel=1e-12)
    assert corrected.twin == costs.twin
    # Of an architecture without them, it is of everything.
    corrected = costs.corrected(FINEST, 1.5 * fine)
    assert corrected.milliseconds(SEED) == pytest.approx(
        1.5 * costs.milliseconds(SEED), rel=1e-12
    )
    assert corrected.fixed == pytest.approx(1.5 * costs.fixed, rel=1e-12)


@given(st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_by_a_correction_the_network_takes_what_was_measured(factor):
    costs = table()
    milliseconds = factor * costs.milliseconds(SEED)
    found = costs.corrected(SEED, milliseconds).milliseconds(SEED)
    assert found == pytest.approx(milliseconds, rel=1e-12)


def test_a_table_without_a_time_is_not_corrected():
    costs = table(fixed=-9.0)
    assert costs.corrected(SEED, 3.0) == costs


def test_the_twin_says_what_all_costs_are_too_long_by(tmp_path, monkeypatch):
    true = twin_in(table(fixed=0.5, overhead=0.02))
    measured = first_choice(SEED, true, tmp_path, monkeypatch)
    assert 0.97 * true.twin <= measured <= true.twin * (1 + 1e-9)


def test_without_the_finest_scale_the_twin_says_nothing(tmp_path, monkeypatch):
    rows = [row[1:] for row in SEED.allocation]
    seed = dataclasses.replace(
        SEED, scales=SEED.scales[1:], allocation=rows, budget_per_stage=None
    )
    branches = [stage[1:] for stage in table(overhead=0.02).branches]
    true = CostTable(0.1, branches, 1.0)
    true = dataclasses.replace(true, twin=0.8 * true.milliseconds(seed))
    measured = first_choice(seed, true, tmp_path, monkeypatch)
    # What is left is less than a branch, of which there are few.
    assert 0.85 * true.twin / 1.2 <= measured <= true.twin / 1.2 * (1 + 1e-9)


def first_choice(seed, true, folder, monkeypatch):
    """What it takes, chosen by a table in which all takes 1.2 times as long."""
    branches = [
        [[(n, 1.2 * ms) for n, ms in branch] for branch in stage]
        for stage in true.branches
    ]
    slow = dataclasses.replace(true, fixed=1.2 * true.fixed, branches=branches)
    path = folder / "costs.json"
    path.write_text(json.dumps(slow.to_json()))
    machine = Machine(true)
    monkeypatch.setattr(latency, "Runtime", machine)
    values = [{s: block[s] for s in seed.scales} for block in importance()]
    options = LatencyOptions(target_latency="twin")
    latency.allocate_within(seed, values, options, 10, str(path), minimum=0, align=1)
    return machine.measured[0]


class Measurable:
    """A runtime in which networks take what a table says."""

    architecture = SEED
    variant = costs.Runtime.variant

    def __init__(self, true):
        self.true = true

    def about(self):
        return {"runtime": "none"}

    @contextlib.contextmanager
    def opened(self, architecture):
        if architecture.name == SEED.twin().name:
            architecture = FINEST
        yield architecture

    def milliseconds(self, run):
        return self.true.milliseconds(run)

    def difference(self, run, base):
        return self.milliseconds(run) - self.milliseconds(base)


@pytest.mark.parametrize("slope", [0.01, -0.002])
def test_a_measured_table_predicts_the_networks_that_it_is_of(slope, monkeypatch):
    # Seconds, where the tests before have left graphs; nothing is built here.
    monkeypatch.setattr("keras.backend.clear_session", lambda: None)
    runtime = Measurable(table(slope=slope))
    found = costs.measure_costs(runtime)
    base = runtime.variant(0, [])
    for network in (base, FINEST, SEED) if slope > 0 else (base,):
        expected = runtime.true.milliseconds(network)
        assert found.milliseconds(network) == pytest.approx(expected, rel=1e-12)
    assert found.twin == pytest.approx(runtime.true.milliseconds(FINEST), rel=1e-12)


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 3), (2, 3), (8, 8)])
def test_what_is_fast_is_run_for_some_time(seconds, rounds, monkeypatch):
    calls: list[None] = []  # each takes a second
    clock = types.SimpleNamespace(perf_counter=lambda: len(calls))
    monkeypatch.setattr(timing, "time", clock)
    run = {"run": lambda: calls.append(None)}
    assert timing.interleaved(run, 3, seconds=seconds) == {"run": [1] * rounds}
