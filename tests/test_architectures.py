import dataclasses
import itertools
import json
import os
import subprocess
import sys

import pytest
import reference
from conftest import ALL_NETWORKS, TINY
from hypothesis import given
from hypothesis import strategies as st

import scalenet_tf
from scalenet_tf.architectures import architecture_from_record

PUBLISHED = json.loads((reference.DATA / "allocations.json").read_text())


def test_the_seven_published_networks_and_their_six_twins():
    assert ALL_NETWORKS == [
        "ScaleNetCifar38",
        "ScaleNetCifar56",
        "ScaleNetCifar101",
        "ScaleNet50Light",
        "ScaleNet50",
        "ScaleNet101",
        "ScaleNet152",
        "ResNetCifar38",
        "ResNetCifar56",
        "ResNetCifar101",
        "ResNet50",
        "ResNet101",
        "ResNet152",
    ]


@pytest.mark.parametrize("record", PUBLISHED, ids=lambda record: record["name"])
def test_allocations_are_the_published_ones(record):
    assert scalenet_tf.get_architecture(record["name"]).to_record() == record


@pytest.mark.parametrize("name", ["ScaleNet50", "ScaleNet50Light"])
def test_twin_has_all_neurons_at_scale_1(name):
    twin = scalenet_tf.get_architecture(name).twin()
    assert twin == scalenet_tf.get_architecture("resnet50")
    assert twin.scales == (1,)
    assert twin.budget_per_stage == (64, 128, 256, 512)
    assert {row[0] for row in twin.allocation} == {64, 128, 256, 512}


def test_only_the_last_scale_of_the_last_stage_has_kernels_of_1():
    blocks = list(scalenet_tf.get_architecture("ScaleNet50").blocks())
    assert [block.kernel_sizes for block in blocks[:13]] == [(3, 3, 3, 3)] * 13
    assert [block.kernel_sizes for block in blocks[13:]] == [(3, 3, 3, 1)] * 3
    for block in scalenet_tf.get_architecture("ScaleNetCifar101").blocks():
        assert block.kernel_sizes == (3, 3, 3)


@pytest.mark.parametrize(
    ("name", "smallest", "sides"),
    [("ScaleNet50", 29, (56, 28, 14, 7)), ("ScaleNetCifar38", 4, (32, 16, 8))],
)
def test_sizes(name, smallest, sides):
    architecture = scalenet_tf.get_architecture(name)
    assert architecture.minimum_size == smallest
    assert architecture.stage_sides(architecture.native_size) == sides
    assert architecture.stage_sides(smallest)[-1] == 1
    assert architecture.stage_sides(smallest - 1)[-1] == 0


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("ScaleNetCifar38", 57_362_944),
        ("ScaleNetCifar56", 84_316_160),
        ("ScaleNetCifar101", 151_230_464),
        ("ScaleNet50Light", 2_861_475_840),
        ("ScaleNet50", 3_818_372_352),
        ("ScaleNet101", 7_511_097_600),
        ("ScaleNet152", 11_211_951_616),
        ("ResNetCifar38", 57_353_216),
        ("ResNetCifar56", 84_091_904),
        ("ResNetCifar101", 150_938_624),
        ("ResNet50", 3_857_973_248),
        ("ResNet101", 7_570_194_432),
        ("ResNet152", 11_282_415_616),
    ],
)
def test_macs_at_the_native_size(name, macs):
    architecture = scalenet_tf.get_architecture(name)
    assert architecture.macs() == macs
    assert architecture.macs(classes=0) == macs - (
        4 * architecture.stage_widths[-1] * architecture.default_classes
    )


def test_one_neuron_more_adds_its_macs():
    row, scale = 1, 2
    counts = [list(counts) for counts in TINY.allocation]
    counts[row][scale] += 1
    counts[0][0] += 1  # blocks of a stage have one budget
    larger = dataclasses.replace(
        TINY, allocation=counts, budget_per_stage=(9, *TINY.budget_per_stage[1:])
    )
    costs = TINY.neuron_macs()
    assert larger.macs() == TINY.macs() + costs[0][0] + costs[row][scale]
    # A 3x3 kernel on 14 // 4 = 3 pixels a side; 4 x 4 filters follow on 14 x 14.
    assert costs[row][scale] == 4 * 9 * 3**2 + 4 * 4 * 14**2


@pytest.mark.parametrize("name", ["scalenet50", "SCALENET50", "ScaleNet50"])
def test_names_in_any_case(name):
    assert scalenet_tf.get_architecture(name).name == "ScaleNet50"


def test_list_models_by_pattern():
    cifar = ["ScaleNetCifar38", "ScaleNetCifar56", "ScaleNetCifar101"]
    assert scalenet_tf.list_models("SCALENETcifar*") == cifar
    assert scalenet_tf.list_models("none*") == []


def test_load_one_record_or_one_of_many_by_name(tmp_path):
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    record = {**TINY.to_record(), "provenance": {"seed_run": "runs/seed"}}
    one.write_text(json.dumps(record))
    many.write_text(json.dumps(PUBLISHED))
    assert scalenet_tf.load_architecture(one) == TINY
    loaded = scalenet_tf.load_architecture(many, "scalenet101")
    assert loaded == scalenet_tf.get_architecture("ScaleNet101")
    with pytest.raises(ValueError, match=r"holds 7 architectures; `name` must be one"):
        scalenet_tf.load_architecture(many)
    with pytest.raises(ValueError, match=r"`name` must be one of.*Received: 'Tiny'"):
        scalenet_tf.load_architecture(many, "Tiny")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "no architecture file at"),
        ("{", ValueError, "not a JSON file"),
        ("3", ValueError, "expected one architecture record"),
        ("[]", ValueError, "expected one architecture record"),
        ("{}", ValueError, "needs the keys name, stem, native_size"),
    ],
)
def test_files_without_a_record_are_errors(tmp_path, content, error, message):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message) as raised:
        scalenet_tf.load_architecture(path)
    assert "file.json" in str(raised.value)


def test_blocks_of_a_stage_differ_only_without_budgets():
    unequal = {"allocation": allocation([4, 0, 3, 2])}
    with pytest.raises(ValueError, match="add up to the budget of its stage"):
        architecture_from_record({**TINY.to_record(), **unequal})
    record = {**TINY.to_record(), **unequal, "budget_per_stage": None}
    architecture = architecture_from_record(record)
    assert architecture.to_record() == record
    assert [sum(block.channels) for block in architecture.blocks()][:2] == [8, 9]
    assert architecture.twin() == TINY.twin()


def allocation(row):
    return [[2, 2, 2, 2], row, *TINY.to_record()["allocation"][2:]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, r"`name` must be letters.*'a b'"),
        ({"stem": "vgg"}, r"`stem` must be one of.*Received: 'vgg'"),
        ({"native_size": 0}, r"`native_size` must be a positive.*0"),
        ({"native_size": 28}, r"`native_size` must be at least 29 for 4 stages.*28"),
        ({"scales": [1, 4, 2, 7]}, r"`scales` must ascend.*\[1, 4, 2, 7\]"),
        ({"scales": []}, r"`scales` must be a list of positive whole numbers.*\[\]"),
        ({"scales": [1, 2, 4]}, r"row 0 .* must have 3 numbers.*\[2, 2, 2, 2\]"),
        ({"stage_widths": [4, 4]}, r"one entry per stage.*'stage_widths': 2"),
        ({"stage_widths": [4, 4, 8, 8.5]}, r"`stage_widths` must be a list of pos"),
        ({"budget_per_stage": [8, 7]}, r"one entry per stage.*'budget_per_stage': 2"),
        ({"budget_per_stage": [0] * 4}, r"`budget_per_stage` must be .*\(or None\)"),
        (
            {"budget_per_stage": None, "allocation": allocation([0, 0, 0, 0])},
            r"row 1 .*not all zero",
        ),
        ({"blocks_per_stage": [2, 1, 1, 2]}, r"must have 6 rows, one a block.*5"),
        ({"allocation": "all"}, r"`allocation` must have 5 rows.*'all'"),
        ({"allocation": allocation([9, -1, 0, 0])}, r"row 1 .*none negative.*-1"),
        ({"allocation": allocation([0, 0, 0, 0])}, r"row 1 .*not all zero"),
        ({"allocation": allocation([8.0, 0, 0, 0])}, r"row 1 .*whole numbers.*8\.0"),
        (
            {"allocation": allocation([2, 2, 2, 3])},
            r"row 1 .*add up to the budget of its stage, 8\..*adds up to 9",
        ),
    ],
)
def test_records_that_make_no_network_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        architecture_from_record({**TINY.to_record(), **changes})


@st.composite
def architectures(draw):
    positive = st.integers(1, 9)
    stages = draw(st.integers(1, 4))
    scales = sorted(draw(st.sets(st.integers(1, 8), min_size=1, max_size=4)))
    blocks = draw(st.lists(st.integers(1, 3), min_size=stages, max_size=stages))
    widths = draw(st.lists(positive, min_size=stages, max_size=stages))
    budgets = draw(st.lists(positive, min_size=stages, max_size=stages))
    rows = []
    for budget, count in zip(budgets, blocks, strict=True):
        for _ in range(count):
            cuts = draw(
                st.lists(
                    st.integers(0, budget),
                    min_size=len(scales) - 1,
                    max_size=len(scales) - 1,
                )
            )
            edges = [0, *sorted(cuts), budget]
            rows.append([b - a for a, b in itertools.pairwise(edges)])
    return scalenet_tf.Architecture(
        name="Random",
        stem=draw(st.sampled_from(["imagenet", "cifar"])),
        native_size=draw(st.integers(29, 300)),
        scales=scales,
        stage_widths=widths,
        blocks_per_stage=blocks,
        budget_per_stage=budgets,
        allocation=rows,
    )


@given(architectures())
def test_every_architecture_survives_its_json(architecture):
    record = json.loads(json.dumps(architecture.to_record()))
    assert architecture_from_record(record) == architecture


@given(architectures())
def test_blocks_spend_their_budgets_and_stages_start_with_strides(architecture):
    blocks = list(architecture.blocks())
    assert len(blocks) == sum(architecture.blocks_per_stage)
    for block in blocks:
        assert sum(block.channels) == architecture.budget_per_stage[block.stage - 1]
        assert block.stride == (2 if block.stage > 1 and block.index == 1 else 1)
    twin = architecture.twin()
    assert [block.channels for block in twin.blocks()] == [
        (block.width,) for block in blocks
    ]


def test_the_module_needs_no_tensorflow():
    code = (
        "import sys, types\n"
        "package = types.ModuleType('scalenet_tf')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['scalenet_tf'] = package\n"
        "import scalenet_tf.architectures\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    folder = os.path.dirname(scalenet_tf.__file__)
    subprocess.run([sys.executable, "-c", code, folder], check=True)
