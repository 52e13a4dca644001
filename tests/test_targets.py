import pytest
from scalenet_training.networks.targets import target_macs

import scalenet_tf

NETWORK = scalenet_tf.get_architecture("ScaleNetCifar38")


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("twin", 57_353_216),
        ("Twin", 57_353_216),
        ("1x", 57_353_216),
        ("0.5x", 57_353_216 / 2),
        ("57000000", 57e6),
        ("57_000_000", 57e6),
        ("57e6", 57e6),
    ],
)
def test_a_target_is_the_twins_macs_a_ratio_of_them_or_a_number(text, macs):
    assert target_macs(text, NETWORK, classes=100) == macs


def test_ratios_are_of_the_twin_with_these_classes():
    # 256 features for each class
    more = target_macs("twin", NETWORK, 110) - target_macs("twin", NETWORK, 100)
    assert more == 10 * 256
    assert target_macs("0.5x", NETWORK.twin(), 100) == 57_353_216 / 2


@pytest.mark.parametrize(
    "text", ["", "x", "half", "-1", "0", "0x", "nan", "inf", "-0.5x", "57 e6", "1e999"]
)
def test_anything_else_is_an_error_that_names_option_and_text(text):
    with pytest.raises(ValueError, match=r"`target_macs` must be 'twin' .*") as error:
        target_macs(text, NETWORK, 100)
    assert f"Received: {text!r}." in str(error.value)


def test_the_option_can_have_another_name():
    with pytest.raises(ValueError, match=r"^`budgets` must be"):
        target_macs("lots", NETWORK, 100, option="`budgets`")
