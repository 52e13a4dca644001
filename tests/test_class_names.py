"""Names of classes: in files, and against those of other data."""

import re

import pytest
from scalenet_training.errors import SettingError
from scalenet_training.networks.class_names import (
    check_number,
    check_order,
    check_same,
    difference_note,
    read_class_names,
)

PETS = ("cat", "dog", "fish")


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nfish",
        "cat\ndog\nfish\n",
        "cat\r\ndog\r\nfish\r\n",
        "\ufeffcat\r\ndog\r\nfish",  # as Windows' programs write it
    ],
)
def test_a_line_is_a_name(content, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(content.encode())
    assert read_class_names(str(path)) == [*PETS]


def test_a_name_may_hold_what_other_programs_take_for_ends_of_lines(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a\u2028b\nc\x0bd\n", encoding="utf-8")
    assert read_class_names(str(path)) == ["a\u2028b", "c\x0bd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"cat\n\ndog\n",
            "have a name in each line. Received: '.*', whose line 2",
        ),
        (b"cat\ndog\n\n", "whose line 3 is empty"),
        (b"dog\ncat\ndog\n", "must be names that differ. Received: .* 'dog' 2 times"),
        (b"\xff\n", "cannot be read: .*utf-8"),
    ],
)
def test_files_that_name_no_classes_are_refused(content, message, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(SettingError, match="`class_names` .*" + message):
        read_class_names(str(path))


def test_other_data_may_have_other_names_but_no_other_order():
    check_order(PETS, ("0", "1", "2"), "toys")
    check_order(PETS, PETS, "toys")
    refusal = "the same order. Received: 'toys' with 'fish' in the place of 'dog'."
    with pytest.raises(SettingError, match=re.escape(refusal)):
        check_order(PETS, ("cat", "fish", "dog"), "toys")


def test_the_data_of_a_run_have_its_names():
    check_same(PETS, PETS, "toys")
    with pytest.raises(
        SettingError, match=r"such as 'fish'\. Received: 'toys' with 'x'"
    ):
        check_same(PETS, ("cat", "dog", "x"), "toys")


def test_the_numbers_of_classes_are_compared():
    check_number(3, PETS, "toys")
    with pytest.raises(
        SettingError, match=r"the model's 2 classes\. Received: 'toys' w"
    ):
        check_number(2, PETS, "toys")


def test_a_note_says_which_names_differ():
    assert difference_note(PETS, PETS) == []
    assert difference_note(PETS, ("0",)) == []  # which is an error elsewhere
    (note,) = difference_note(PETS, ("cat", "1", "2"))
    assert "the model's 'dog' with the dataset's '1', and so on" in note
