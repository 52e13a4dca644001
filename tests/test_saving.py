"""What is loaded is what was saved: weights, and which layers train."""

import copy
import dataclasses
import json
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from situations import situation

import scalenet_tf
from scalenet_tf.layers import ScaleAggregation

AREA = "saving and loading"
FIRST, SECOND = "stage1_block1_sa", "stage2_block1_sa"
# Scales of equal width, whose arrays have the same shapes.
ARCHITECTURE = scalenet_tf.Architecture(
    name="TinyFrozen",
    stem="cifar",
    native_size=32,
    scales=(1, 2, 4),
    stage_widths=(4, 4),
    blocks_per_stage=(1, 1),
    budget_per_stage=(6, 6),
    allocation=((2, 2, 2), (3, 3, 0)),
)
IMAGES = np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype("f4")

# (layer or layer/sublayer, whether it trains), in the order in which it is set
STATES = {
    "nothing frozen": [],
    "batch norms of SA blocks frozen": [
        (f"{FIRST}/scale1_bn", False),
        (f"{FIRST}/scale2_bn", False),
        (f"{FIRST}/scale4_bn", False),
        (f"{SECOND}/scale1_bn", False),
        (f"{SECOND}/scale2_bn", False),
    ],
    "the last batch norm of an SA block frozen": [(f"{SECOND}/scale2_bn", False)],
    "a convolution in an SA block, and a batch norm outside, frozen": [
        (f"{FIRST}/scale2_conv", False),
        ("stem_bn", False),
    ],
    "a whole SA block frozen": [(FIRST, False)],
    "an SA block frozen, one of its layers not": [
        (FIRST, False),
        (f"{FIRST}/scale2_conv", True),
    ],
}


def network(state=(), classes=2):
    """The tiny network, with weights as after training, and layers frozen."""
    model = scalenet_tf.ScaleNet(ARCHITECTURE, input_shape=(8, 8, 3), classes=classes)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = rng.standard_normal(weight.shape)
        variance = "variance" in weight.path
        weight.assign(np.abs(value) + 0.5 if variance else value)
    for path, trains in state:
        name, _, sublayer = path.partition("/")
        layer = model.get_layer(name)
        (getattr(layer, sublayer) if sublayer else layer).trainable = trains
    return model


def trained(model):
    return [weight.path for weight in model.trainable_weights]


def states(model):
    """Name of each layer, and whether it trains."""
    return [
        (layer.name, layer.trainable)
        for layer in model._flatten_layers()
        if layer.weights and layer is not model
    ]


def assert_same_weights(model, other):
    for left, right in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(left, right)


def assert_same(model, other):
    assert trained(model) == trained(other)
    assert states(model) == states(other)
    assert_same_weights(model, other)
    np.testing.assert_array_equal(model(IMAGES), other(IMAGES))


def saved_and_loaded(suffix):
    def copied(model, folder):
        path = folder / f"model{suffix}"
        model.save(path)
        return keras.saving.load_model(path)

    return copied


def cloned(model, folder):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def deep_copied(model, folder):
    return copy.deepcopy(model)


COPIES = {
    ".keras": saved_and_loaded(".keras"),
    ".h5": saved_and_loaded(".h5"),
    "clone_model": cloned,
    "copy.deepcopy": deep_copied,
}


# The others of the quick tests' combinations are left to the slow ones.
QUICK = {
    ".keras": [*STATES][3::2],
    ".h5": [*STATES][1:3],
    "clone_model": [*STATES][-1:],
    "copy.deepcopy": [*STATES][-1:],
}


def combination(way, state):
    marks = [situation(AREA, f"{way}: {state}")]
    if state not in QUICK[way]:
        marks.append(pytest.mark.slow)
    return pytest.param(STATES[state], COPIES[way], marks=marks, id=f"{way}-{state}")


@pytest.mark.parametrize(
    ("state", "copied"), [combination(way, state) for way in COPIES for state in STATES]
)
def test_a_copy_trains_what_the_model_trained(state, copied, tmp_path, outcome):
    model = network(state)
    other = copied(model, tmp_path)
    assert_same(model, other)
    outcome(
        f"equal weights and predictions; {len(trained(other))} of "
        f"{len(trained(network()))} arrays train, as before"
    )


def test_a_frozen_block_that_was_loaded_keeps_its_statistics_in_training(tmp_path):
    model = network([(FIRST, False)])
    model.save(tmp_path / "model.keras")
    block = keras.saving.load_model(tmp_path / "model.keras").get_layer(FIRST)
    x = np.random.default_rng(2).standard_normal((2, 8, 8, 4)).astype("f4")
    before = block.get_weights()
    np.testing.assert_array_equal(block(x, training=True), block(x, training=False))
    for left, right in zip(before, block.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_configuration_names_frozen_layers_only_where_there_are_some():
    block = ScaleAggregation((2, 0, 3), scales=(1, 2, 4), name="block")
    plain = block.get_config()
    assert "frozen" not in plain
    block.trainable = False
    assert block.get_config() == {**plain, "trainable": False}
    assert block.frozen == ["scale1_conv", "scale4_conv", "scale1_bn", "scale4_bn"]
    block.scale4_bn.trainable = True
    assert block.get_config()["frozen"] == ["scale1_conv", "scale4_conv", "scale1_bn"]
    block.trainable = True
    assert block.get_config() == plain


def test_frozen_must_name_sublayers():
    message = r"`frozen` must name sublayers.*'scale1_bn'.*Received: \['scale2_bn'\]"
    with pytest.raises(ValueError, match=message):
        ScaleAggregation((2, 0), scales=(1, 2), frozen=["scale2_bn"])


def block_model():
    """One block with three equal scales."""
    inputs = keras.Input((8, 8, 2))
    block = ScaleAggregation((2, 2, 2), scales=(1, 2, 4), name="block")
    return keras.Model(inputs, block(inputs))


def check_frozen_subset(model, folder, frozen, ways):
    """Freezes sublayers by number and compares the copies with the model."""
    block = model.layers[-1]
    block.trainable = True
    for index in frozen:
        list(block.sublayers.values())[index].trainable = False
    rebuilt = ScaleAggregation.from_config(block.get_config())
    assert rebuilt.frozen == block.frozen
    assert rebuilt.get_config() == block.get_config()
    expected = model(IMAGES[..., :2])
    for way in ways:
        other = COPIES[way](model, folder)
        assert trained(other) == trained(model), way
        assert other.layers[-1].frozen == block.frozen, way
        assert_same_weights(model, other)
        np.testing.assert_array_equal(other(IMAGES[..., :2]), expected)


SUBSETS = st.sets(st.integers(0, 5))


def test_any_sublayers_may_be_frozen(tmp_path):
    model = block_model()

    @settings(max_examples=6, deadline=None)
    @given(SUBSETS)
    def check(frozen):
        check_frozen_subset(model, tmp_path, frozen, [".keras", ".h5"])

    check()


@pytest.mark.slow
def test_any_sublayers_may_be_frozen_in_every_way_to_copy(tmp_path):
    model = block_model()

    @settings(max_examples=64, deadline=None)
    @given(SUBSETS)
    def check(frozen):
        check_frozen_subset(model, tmp_path, frozen, COPIES)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("way", COPIES)
def test_a_published_network_with_frozen_batch_norms(way, tmp_path):
    model = scalenet_tf.ScaleNetCifar38(classes=4)
    assert len(model.trainable_weights) == 191
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    other = COPIES[way](model, tmp_path)
    assert len(other.trainable_weights) == 65
    assert trained(other) == trained(model)
    assert_same_weights(model, other)


FROZEN = STATES["batch norms of SA blocks frozen"]


@pytest.mark.parametrize(
    "frozen_first",
    [
        pytest.param(True, marks=situation(AREA, ".weights.h5: of a frozen model")),
        pytest.param(
            False,
            marks=[
                situation(AREA, ".weights.h5: into a frozen model"),
                pytest.mark.slow,
            ],
        ),
    ],
)
def test_weights_files_do_not_depend_on_what_trains(frozen_first, tmp_path, outcome):
    donor = network(FROZEN if frozen_first else [])
    donor.save_weights(tmp_path / "model.weights.h5")
    model = network([] if frozen_first else FROZEN)
    before = trained(model)
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    model.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(model, donor)
    assert trained(model) == before != trained(donor)
    outcome("equal weights; the model trains what it trained before")


def functional(model):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Softmax(name="last")(model(inputs)))


def sequential(model):
    return keras.Sequential(
        [keras.Input((8, 8, 3)), model, keras.layers.Softmax(name="last")]
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("outer", [functional, sequential])
def test_a_network_inside_another_model_keeps_what_trains(outer, suffix, tmp_path):
    model = outer(network([*FROZEN, (FIRST, False)]))
    assert_same(model, saved_and_loaded(suffix)(model, tmp_path))


@pytest.mark.parametrize(
    "outer",
    [
        pytest.param(
            functional, marks=situation(AREA, ".keras and .h5: in a functional model")
        ),
        pytest.param(
            sequential,
            marks=[
                situation(AREA, ".keras and .h5: in a sequential model"),
                pytest.mark.slow,
            ],
        ),
    ],
)
def test_a_frozen_network_inside_another_model_stays_frozen(outer, tmp_path, outcome):
    model = outer(network())
    model.get_layer("tinyfrozen").trainable = False
    others = [saved_and_loaded(suffix)(model, tmp_path) for suffix in (".keras", ".h5")]
    for other in others:
        assert_same(model, other)
    outcome(
        "equal weights and predictions; the network inside is frozen: "
        f"{len(trained(others[0]))} arrays train"
    )


def with_optimizer_state(model):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "categorical_crossentropy")
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(3)
    for variable in optimizer.variables[2:]:
        variable.assign(rng.standard_normal(variable.shape))
    return model


def momenta(model):
    return [np.array(variable) for variable in model.optimizer.variables[2:]]


@situation(AREA, ".keras: compiled, batch norms of SA blocks frozen")
def test_optimizer_state_belongs_to_what_trains(tmp_path, outcome):
    model = with_optimizer_state(network(FROZEN))
    other = saved_and_loaded(".keras")(model, tmp_path)
    assert_same(model, other)
    for left, right in zip(momenta(model), momenta(other), strict=True):
        np.testing.assert_array_equal(left, right)
    outcome(f"equal weights; momentum of the {len(momenta(other))} arrays that train")


@situation(AREA, "tf.train.Checkpoint: batch norms of SA blocks frozen")
def test_checkpoints_restore_a_partly_frozen_model(tmp_path, outcome):
    model = with_optimizer_state(network(FROZEN))
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    other = with_optimizer_state(network(FROZEN))
    for variable in [*other.weights, *other.optimizer.variables[2:]]:
        variable.assign(tf.zeros_like(variable))
    restored = tf.train.Checkpoint(model=other, optimizer=other.optimizer).read(path)
    restored.assert_consumed()
    assert_same(model, other)
    for left, right in zip(momenta(model), momenta(other), strict=True):
        np.testing.assert_array_equal(left, right)
    outcome(f"equal weights; momentum of the {len(momenta(other))} arrays that train")


@situation(AREA, "fold_batch_norm: layers of SA blocks frozen")
def test_a_folded_convolution_trains_as_it_did(tmp_path, outcome):
    model = network([(f"{FIRST}/scale2_conv", False), *FROZEN])
    folded = scalenet_tf.fold_batch_norm(model)
    assert folded.get_layer(FIRST).frozen == ["scale2_conv"]
    assert folded.get_layer(SECOND).frozen == []
    np.testing.assert_allclose(folded(IMAGES), model(IMAGES), atol=1e-5)
    assert_same(folded, saved_and_loaded(".keras")(folded, tmp_path))
    outcome("equal predictions; a convolution that was frozen is frozen, with its bias")


# Files that version 0.1.0 wrote, of the network above.
OLD = pathlib.Path(__file__).parent / "data" / "saved_by_0.1.0.zip"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(folder)
    return folder


def old_situation(name):
    return situation(AREA, f"file of 0.1.0, {name}")


MIXED = [
    ("stem_bn", False),
    (f"{FIRST}/scale1_bn", False),
    (f"{FIRST}/scale4_conv", False),
    (f"{SECOND}/scale2_bn", False),
]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        pytest.param("mixed.h5", MIXED, marks=old_situation(".h5: load_model")),
        pytest.param(
            "last.h5",
            [(f"{SECOND}/scale2_bn", False)],
            marks=old_situation(".h5, last batch norm frozen: load_model"),
        ),
        pytest.param(
            "block.keras",
            [(FIRST, False)],
            marks=old_situation(".keras, a block frozen: load_model"),
        ),
        pytest.param(
            "block.h5",
            [(FIRST, False)],
            marks=[old_situation(".h5, a block frozen: load_model"), pytest.mark.slow],
        ),
    ],
)
def test_old_files_are_read_right(old, name, state, outcome):
    model = scalenet_tf.load_model(old / name)
    assert_same(model, network(state))
    outcome("equal weights and predictions; what was frozen is frozen")


@old_situation(".keras, layers of blocks frozen: load_model")
def test_old_keras_files_do_not_say_which_sublayers_were_frozen(old, outcome):
    model = scalenet_tf.load_model(old / "mixed.keras")
    assert_same(model, network([("stem_bn", False)]))
    outcome("equal weights and predictions; layers of SA blocks train, others as saved")


@old_situation(".h5, in another model: load_model")
def test_old_files_of_a_network_inside_another_are_read_right(old, outcome):
    model = scalenet_tf.load_model(old / "nested.h5")
    state = [(f"{SECOND}/scale2_bn", False)]
    assert_same(model.get_layer("tinyfrozen"), network(state))
    outcome("equal weights and predictions; what was frozen is frozen")


def without_frozen_layers(part):
    """A configuration as version 0.1.0 would have written it."""
    if isinstance(part, dict):
        return {
            name: without_frozen_layers(value)
            for name, value in part.items()
            if name != "frozen"
        }
    if isinstance(part, list):
        return [without_frozen_layers(value) for value in part]
    return part


def saved_as_before(model, path):
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = without_frozen_layers(json.loads(file.attrs["model_config"]))
        file.attrs["model_config"] = json.dumps(config)


@pytest.mark.slow
def test_old_files_are_read_right_whatever_was_frozen(tmp_path):
    model = block_model()
    block = model.layers[-1]
    for index, weight in enumerate(model.weights):
        weight.assign(tf.fill(weight.shape, float(index)))

    @settings(max_examples=64, deadline=None)
    @given(SUBSETS, st.booleans())
    def check(frozen, trainable):
        block.trainable = trainable
        for index in frozen:
            list(block.sublayers.values())[index].trainable = False
        saved_as_before(model, tmp_path / "model.h5")
        assert_same_weights(scalenet_tf.load_model(tmp_path / "model.h5"), model)

    check()


@pytest.mark.slow
def test_old_files_with_more_names_than_an_attribute_holds(tmp_path):
    blocks = 70
    deep = scalenet_tf.ScaleNet(
        dataclasses.replace(
            ARCHITECTURE,
            blocks_per_stage=(blocks,),
            stage_widths=(4,),
            budget_per_stage=(6,),
            allocation=((2, 2, 2),) * blocks,
        ),
        input_shape=(8, 8, 3),
        name="deep",
    )
    deep.get_layer(f"stage1_block{blocks}_sa").scale2_bn.trainable = False
    model = functional(deep)
    saved_as_before(model, tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        assert "weight_names1" in file["model_weights/deep"].attrs
    loaded = scalenet_tf.load_model(tmp_path / "model.h5")
    assert trained(loaded) == trained(model)
    assert_same_weights(loaded, model)


@old_situation(".weights.h5")
def test_old_weights_files_load_as_before(old, outcome):
    path = old / "mixed.weights.h5"
    model = scalenet_tf.ScaleNet(
        ARCHITECTURE, input_shape=(8, 8, 3), classes=2, weights=path
    )
    assert_same_weights(model, network())
    outcome("equal weights")


@old_situation(".h5, last batch norm frozen: keras.saving.load_model")
def test_an_old_file_in_another_order_is_refused(old, outcome):
    with pytest.raises(ValueError, match="negative") as refused:
        keras.saving.load_model(old / "last.h5")
    way_out = "Load the whole model by scalenet_tf.load_model(path)."
    assert str(refused.value).endswith(way_out)
    outcome("refused: a moving variance is negative; use scalenet_tf.load_model")


@situation(AREA, ".h5 of a frozen model: model.load_weights of another")
def test_arrays_in_another_order_are_refused(tmp_path, outcome):
    network([(f"{SECOND}/scale2_bn", False)]).save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"order that depends on which layers"):
        network().load_weights(tmp_path / "model.h5")
    outcome("refused: the order of arrays depends on what trains; use load_model")


def damaged(weight_end, value):
    def damage(model):
        weight = next(w for w in model.weights if w.path.endswith(weight_end))
        array = np.array(weight)
        array.flat[0] = value
        weight.assign(array)
        return weight.path

    return damage


DAMAGES = {
    "NaN in a kernel": (
        damaged("scale2_conv/kernel", np.nan),
        "must hold finite numbers",
    ),
    "infinity in a gamma": (
        damaged("scale2_bn/gamma", np.inf),
        "must hold finite numbers",
    ),
    "a negative moving variance": (
        damaged("bn3/moving_variance", -0.5),
        "is a variance and must hold no negative number",
    ),
}


def save_and_use(model, folder, suffix):
    """Saves in a format; returns the file and a function that loads it."""
    path = folder / f"model{suffix}"
    if suffix != ".weights.h5":
        model.save(path)
        return path, lambda: scalenet_tf.load_model(path)
    model.save_weights(path)
    return path, lambda: scalenet_tf.ScaleNet(
        ARCHITECTURE, input_shape=(8, 8, 3), classes=2, weights=path
    )


def damaged_file(name, suffix, *marks):
    marks = [situation(AREA, f"{suffix}: {name}"), *marks]
    return pytest.param(*DAMAGES[name], suffix, marks=marks, id=f"{suffix}-{name}")


@pytest.mark.parametrize(
    ("damage", "message", "suffix"),
    [
        damaged_file("NaN in a kernel", ".weights.h5"),
        damaged_file("a negative moving variance", ".weights.h5", pytest.mark.slow),
        damaged_file("infinity in a gamma", ".weights.h5", pytest.mark.slow),
        damaged_file("NaN in a kernel", ".keras"),
        damaged_file("a negative moving variance", ".keras"),
        damaged_file("infinity in a gamma", ".keras", pytest.mark.slow),
        damaged_file("NaN in a kernel", ".h5", pytest.mark.slow),
    ],
)
def test_weights_that_cannot_be_right_are_refused(
    damage, message, suffix, tmp_path, outcome
):
    model = network()
    weight = damage(model)
    path, load = save_and_use(model, tmp_path, suffix)
    with pytest.raises(ValueError, match=message) as refused:
        load()
    text = str(refused.value)
    assert text.startswith(f"tensor {weight!r} of {str(path)!r} ")
    outcome(f"refused, naming file and weight: {message}")


def test_a_weights_file_that_is_refused_leaves_the_model_as_it_was(tmp_path):
    from scalenet_tf.weights import open_weights

    model, other = network(), network()
    damaged("logits/kernel", np.nan)(other)
    other.get_layer("stem_conv").kernel.assign(tf.zeros((3, 3, 3, 16)))
    other.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(ValueError, match="must hold finite"):
        open_weights(tmp_path / "nan.weights.h5").load(model)
    assert_same_weights(model, network())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none.keras", "must be that of an existing", id="missing"),
        pytest.param("folder", "must be that of an existing", id="other"),
        pytest.param(
            "cut.keras",
            "is not a saved model, or is cut off",
            marks=situation(AREA, ".keras: cut off"),
        ),
        pytest.param(
            "cut.h5",
            "is not a saved model, or is cut off",
            marks=situation(AREA, ".h5: cut off"),
        ),
        pytest.param(
            "only.weights.h5",
            "holds weights without a model",
            marks=situation(AREA, "load_model: a .weights.h5 file"),
        ),
    ],
)
def test_files_that_hold_no_model_are_errors(name, message, tmp_path, request):
    whole = tmp_path / f"whole{pathlib.Path(name).suffix}"
    if name == "only.weights.h5":
        network().save_weights(tmp_path / name)
    elif name.startswith("cut"):
        network().save(whole)
        content = whole.read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=message) as refused:
        scalenet_tf.load_model(tmp_path / name)
    assert repr(str(tmp_path / name)) in str(refused.value)
    if request.node.get_closest_marker("situation"):
        request.getfixturevalue("outcome")(f"refused: {message}")
