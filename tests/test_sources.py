"""Kinds of dataset: a table, which a caller may extend."""

import os

import image_folders as images
import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.source import indexed_source
from scalenet_training.data.sources import (
    KINDS,
    Kind,
    inherited_data_dir,
    open_source,
    same_dataset,
)


def open_noise(request):
    pixels = tf.zeros((10, 8, 8, 3), tf.uint8)
    return indexed_source(
        request.name,
        ("even", "odd"),
        {"train": np.arange(10)},
        lambda number: (tf.gather(pixels, number), number % 2),
    )


def test_a_kind_from_elsewhere_is_opened_by_its_row():
    kinds = (Kind(lambda request: request.name.startswith("noise"), open_noise), *KINDS)
    source = open_source("noise-8", None, False, kinds=kinds)
    assert (source.name, source.class_names) == ("noise-8", ("even", "odd"))
    assert source.open_split("train[:4]").size == 4
    with pytest.raises(ValueError, match="`on_damaged` skip is for folders"):
        open_source("noise-8", None, False, Reading("skip"), kinds)
    assert open_source("digits", None, False, kinds=kinds).name == "digits"


def test_digits_are_digits_also_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images.make("digits", count=2)
    assert len(open_source("digits", None, False).class_names) == 10
    assert len(open_source(os.path.join(".", "digits"), None, False).class_names) == 2


@pytest.mark.parametrize("other", ["photos/", "./photos", "{here}/photos", "link"])
def test_a_folder_is_one_dataset_by_all_of_its_names(other, here):
    images.make("photos")
    os.symlink("photos", "link")
    assert same_dataset(other.format(here=here), "photos")
    assert not same_dataset(other.format(here=here), "photos/a")


def test_a_folder_that_is_here_needs_no_folder_of_prepared_datasets(here):
    images.make("photos")
    assert inherited_data_dir("photos", "cifar10", "tfds") is None
    assert inherited_data_dir("cifar100", "cifar10", "tfds") == "tfds"
    assert inherited_data_dir("photos", "photos", "tfds") == "tfds"  # of that name


def test_names_of_datasets_are_no_folders(here):
    images.make("digits")
    images.make("cifar10")
    assert same_dataset("digits", "digits")
    assert not same_dataset("digits", "./digits")
    assert same_dataset("cifar10", "./cifar10")
    assert not same_dataset("cifar10", "./cifar10", data_dir="tfds")
    assert not same_dataset("cifar10", "cifar100")
