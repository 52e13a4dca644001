"""Figures: what they show, in which form, and which runs share one."""

import json
import xml.etree.ElementTree as ET

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from records import record, write_run
from scalenet_training import drawing
from scalenet_training.errors import UsageError
from scalenet_training.networks.figures import plot_allocations
from scalenet_training.runs import figures
from scalenet_training.runs.figures import Data, plot_curves, plot_error_against_macs
from scalenet_training.runs.metrics import Curve
from scalenet_training.settings.training import TrainConfig
from test_commands import in_process

import scalenet_tf


def rows(errors, **more):
    """Rows of metrics.csv."""
    return [
        {
            "epoch": epoch,
            "loss": 2.0 / (1 + epoch),
            "top1_error": error / 2,
            "val_loss": 3.0 / (1 + epoch),
            "val_top1_error": error,
            **more,
        }
        for epoch, error in enumerate(errors)
    ]


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved, with the paths."""
    found = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda figure, path, **more: (
            found.append((figure, path)),
            save(figure, path, **more),
        ),
    )
    return found


def labels(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_error_in_per_cent_beside_loss_with_the_best_epoch(saved, tmp_path):
    runs = {"a": rows([0.5, 0.2, 0.25]), "b": rows([0.4, 0.3, 0.1])}
    curves = {label: Curve(table) for label, table in runs.items()}
    plot_curves(curves, str(tmp_path / "a.png"), "digits: 10 classes")
    ((figure, path),) = saved
    assert path.endswith("a.png")
    error, loss = figure.axes
    assert (error.get_ylabel(), loss.get_ylabel()) == ("top-1 error (%)", "loss")
    drawn = [list(map(list, line.get_data())) for line in error.lines[:3]]
    assert drawn == [
        [[1, 2, 3], [25.0, 10.0, 12.5]],
        [[1, 2, 3], [50.0, 20.0, 25.0]],
        [[2], [20.0]],  # the star
    ]
    assert [line.get_data() for line in loss.lines][2] == ([2], [1.5])
    assert error.lines[2].get_marker() == "*"
    assert figure.get_suptitle() == "digits: 10 classes (2 runs)"
    assert labels(figure) == [
        "a: best 20.00 % in epoch 2",
        "b: best 10.00 % in epoch 3",
        *("validation", "training", "best epoch"),
    ]
    assert "augmented" in figure.legends[0].get_title().get_text()
    for axes in figure.axes:
        assert axes.get_legend() is None  # which would hide curves
        assert any(line.get_visible() for line in axes.get_xgridlines())


def test_the_star_is_at_the_epoch_that_was_kept(saved, tmp_path):
    """Which --best loss may have chosen by another column than the one drawn."""
    curve = Curve(rows([0.5, 0.2, 0.25]), "loss")
    plot_curves({"a": curve}, str(tmp_path / "a.png"))
    ((figure, _),) = saved
    error, loss = figure.axes
    assert error.lines[2].get_data() == ([3], [25.0])
    assert loss.lines[2].get_data() == ([3], [1.0])
    assert labels(figure)[0] == "a: best 25.00 % in epoch 3"


def test_a_run_of_one_epoch_has_markers_and_one_tick(saved, tmp_path):
    plot_curves({"a": Curve(rows([0.5]))}, str(tmp_path / "a.png"))
    ((figure, _),) = saved
    for axes in figure.axes:
        assert all(line.get_marker() not in ("None", None) for line in axes.lines)
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert figure.get_suptitle() == "1 run"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([90.0, 5.0], "log"),
        ([90.0, 10.0], "linear"),
        ([90.0, 0.0], "linear"),
        ([90.0, float("nan"), 1.0], "log"),
        ([float("nan")], "linear"),
        ([0.0], "linear"),
    ],
)
def test_a_logarithmic_scale_where_it_helps(values, scale):
    axes = drawing.new_figure(3, 3).add_subplot()
    drawing.scale_values(axes, values)
    assert axes.get_yscale() == scale
    if scale == "linear":
        low, high = axes.get_ylim()
        assert low == 0
        assert high > np.nanmax([*values, 0])


def test_many_runs_have_colours_and_markers_of_their_own():
    signs = {(drawing.colour(i), drawing.marker(i)) for i in range(49)}
    assert len(signs) == 49
    assert len({matplotlib.colors.to_rgb(colour) for colour in drawing.COLOURS}) == 7


def test_an_svg_is_xml_and_the_same_every_time(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_curves({"a < b & $c": Curve(rows([0.5, 0.4]))}, str(tmp_path / name))
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert ET.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("path", ["a.pdf", "none/a.png", "png"])
def test_figures_are_png_or_svg_in_a_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"--output must end in .png or .svg and be"):
        drawing.check_figure_file("--output", path)
    drawing.check_figure_file("--output", "a.svg")


def test_allocations_have_cost_stages_and_scales(saved, monkeypatch, tmp_path):
    texts = []
    text = Axes.text
    monkeypatch.setattr(
        Axes,
        "text",
        lambda axes, x, y, shown, **more: (
            texts.append((x, shown)),
            text(axes, x, y, shown, **more),
        )[1],
    )
    names = ["ScaleNetCifar38", "ScaleNet50"]
    networks = {name: scalenet_tf.get_architecture(name) for name in names}
    plot_allocations(networks, str(tmp_path / "a.png"))
    ((figure, _),) = saved
    cifar, imagenet = figure.axes
    assert cifar.get_title(loc="left") == (
        "ScaleNetCifar38: 57.4 M MACs at 32x32, 0.53 M parameters, 100 classes"
    )
    assert imagenet.get_title(loc="left") == (
        "ScaleNet50: 3,818.4 M MACs at 224x224, 31.48 M parameters, 1,000 classes"
    )
    assert cifar.get_ylabel() == "share of neurons"
    assert texts[:3] == [(2.5, "stage 1"), (6.5, "stage 2"), (10.5, "stage 3")]
    assert labels(figure) == [
        *("scale 1 (full)", "scale 1/2", "scale 1/4", "scale 1/7")
    ]
    # A scale has one colour, whatever other scales a network has.
    thirds = [axes.containers[2].patches[0].get_facecolor() for axes in figure.axes]
    assert thirds[0] == thirds[1]


def test_networks_of_the_same_cost_share_a_line(saved, tmp_path):
    points = {"0.50": [(2e6, 0.5), (2e6, 0.4)], "1.00": [(4e6, 0.3)]}
    marks = {"A": 4e6, "far": 40e6, "B": 4.01e6, "C": 5e6}
    plot_error_against_macs(points, marks, str(tmp_path / "a.png"))
    ((figure, _),) = saved
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["A\nB", "C"]
    assert labels(figure) == ["0.50", "1.00", "best of each budget"]
    assert figures._close_together({}) == []


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """Two folders of runs, on other data where it is asked for."""
    monkeypatch.chdir(tmp_path)

    def make(**differences):
        for name, changes in (("one", {}), ("two", differences)):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            content = record(**{"data": {}, **changes}).to_json()
            (folder / "config.json").write_text(json.dumps(content))
            columns = rows([0.5, 0.4], top5_error=0, val_top5_error=0)
            columns = [{**row, "images_per_second": 1} for row in columns]
            lines = [",".join(columns[0])]
            lines += [",".join(map(str, row.values())) for row in columns]
            (folder / "metrics.csv").write_text("\n".join(lines))

    return make


def test_runs_on_the_same_data_share_a_title(two_runs, saved, monkeypatch):
    two_runs()
    words = ["plot.py", "curves", "one", "two", "--output", "a.svg"]
    assert in_process(monkeypatch, *words) == 0
    ((figure, _),) = saved
    assert figure.get_suptitle().endswith("(2 runs)")
    assert figure.get_suptitle().startswith("digits: ")


def test_runs_on_different_data_are_refused_unless_asked_for(
    two_runs, saved, monkeypatch, tmp_path, capsys
):
    two_runs(evaluation_examples=77)
    words = ["plot.py", "curves", "one", "two"]
    assert in_process(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert "error: RUNS must be on the same data, or their errors cannot be" in err
    assert "'two' on digits: " in err
    assert "evaluated on 77 of " in err
    assert not (tmp_path / "curves.png").exists()
    assert in_process(monkeypatch, *words, "--across-data") == 0
    ((figure, _),) = saved
    assert figure.get_suptitle() == "different data (2 runs)"
    assert "evaluated on 77 of" in labels(figure)[1]
    assert (tmp_path / "curves.png").exists()


def test_data_of_one_name_and_size_are_told_apart_by_their_files(
    two_runs, monkeypatch, capsys
):
    two_runs(data={"train": "1f"})
    assert in_process(monkeypatch, "plot.py", "curves", "one", "two") == 2
    err = capsys.readouterr().err
    assert "'two' on digits: " in err
    assert "(other images, by the fingerprints in config.json). --across" in err


def test_runs_without_a_fingerprint_are_with_those_of_their_first_look_alike():
    a, b, unknown = (
        Data("digits", "test", 8, 2, 2, fingerprint)
        for fingerprint in ({"train": "1"}, {"train": "2"}, None)
    )
    groups = figures.by_data({"old": unknown, "a": a, "b": b, "a again": a})
    assert [list(group) for group in groups] == [["old", "a", "a again"], ["b"]]
    assert str(a) == str(b) == str(unknown)


def test_runs_of_one_name_are_all_drawn_and_one_that_is_named_twice_once(
    here, saved, monkeypatch
):
    for path in ("old/x2", "x2"):
        write_run(path, (0.5, 0.25))
    write_run("c10", (0.5,), TrainConfig(dataset="cifar10"))
    words = ["plot.py", "curves", "old/x2", "x2", "x2"]
    assert in_process(monkeypatch, *words) == 0
    assert in_process(monkeypatch, *words, "c10", "--across-data") == 0
    (same, _), (across, _) = saved
    told = [label.partition(": best")[0] for label in labels(same)]
    assert told[:2] == ["old/x2", "x2"]
    assert same.get_suptitle().endswith("(2 runs)")
    told = [label.partition(": ")[0] for label in labels(across)]
    assert told[:3] == ["old/x2 (digits", "x2 (digits", "c10 (cifar10"]


def test_the_data_of_a_run_in_words():
    data = Data("digits", "validation", 1438, 359, 10)
    assert str(data) == (
        "digits: 10 classes, 1,438 training images, evaluated on 359 of validation"
    )
