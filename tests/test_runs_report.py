"""`scalenet report`: the page of several runs."""

import html.parser
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from records import write_run
from scalenet_training.drawing import new_figure, save
from scalenet_training.evaluate.report.facts import CONFUSION, ERRORS
from scalenet_training.settings.training import TrainConfig
from test_temperature import report as write_facts

HOSTILE = "<script>$title&"


class Read(html.parser.HTMLParser):
    """Headings, tables as lists of cells, targets and tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.targets, self.headings, self.rows = set(), [], [], []
        self._open = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href")]
        self._open = tag
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self._open == "h2":
            self.headings.append(data)
        if self._open in ("td", "th"):
            self.rows[-1].append(data)
        self._open = None


@pytest.fixture
def command(run_verb):
    """Runs `scalenet report`: exit code, stdout, stderr."""
    return lambda words: run_verb("report", words)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The current folder, with two runs."""
    monkeypatch.chdir(tmp_path)
    write_run("a", (0.5, 0.25), TrainConfig(epochs=2, batch_size=4))
    write_run(HOSTILE, (0.5,), TrainConfig(epochs=2, batch_size=4, learning_rate=0.5))
    return tmp_path


def reported(folder, model="a", *figures):
    """A folder with the report of an evaluation, of which some figures are there."""
    os.makedirs(folder)
    write_facts(folder, model=model, calibration={"ece": 0.125, "temperature": 1.75})
    for name in figures:
        save(new_figure(4, 3), str(folder / name))


def test_a_page_has_curves_results_and_what_differs_and_loads_nothing(runs, command):
    reported(runs / "a" / "evaluation", "a", CONFUSION, ERRORS)
    reported(runs / "elsewhere", "a/best.keras", CONFUSION)
    code, out, err = command(
        f"a/ '{HOSTILE}' --output page.html --evaluations elsewhere a/evaluation"
    )
    assert (code, out, err) == (0, "report: page.html\n", "")
    text = (runs / "page.html").read_text(encoding="utf-8")
    page = Read(text)
    assert "<script" not in text
    assert page.headings == [
        *("Training", "Results", "What differs"),
        *2 * ["Evaluation of a on digits, validation"],
        *("Settings of a", f"Settings of {HOSTILE}"),
    ]
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 3}
    assert rows["best validation top-1 error"] == ["25.00%", "50.00%"]
    assert rows["learning rate"] == ["0.02", "0.5"]
    assert "momentum" not in rows  # in neither, since it does not differ
    assert ["momentum", "0.9"] in page.rows
    assert "top-1 error 50.00%, loss 1.5000, calibration error 12.50%, tem" in text
    assert len(page.targets) == 4  # curves, figures of the evaluations
    assert all(one.startswith("data:image/png;base64,") for one in page.targets)


def test_a_run_alone_and_one_without_an_epoch_have_a_page(runs, command):
    write_run("new", (), TrainConfig(epochs=2, batch_size=4))
    assert command("new")[0] == 0
    page = Read((runs / "report.html").read_text(encoding="utf-8"))
    assert page.headings == ["Training", "Results", "Settings"]
    assert not page.targets
    assert ["epochs", "0"] in page.rows
    assert command("new new a")[0] == 0  # in place of the other
    assert "What differs" in (runs / "report.html").read_text(encoding="utf-8")


def test_runs_on_different_data_have_figures_of_their_own(runs, command):
    other = TrainConfig(epochs=2, batch_size=4, dataset="cifar10")
    write_run("other", (0.5,), other)
    assert command(f"a '{HOSTILE}' other")[0] == 0
    page = Read((runs / "report.html").read_text(encoding="utf-8"))
    assert len(page.targets) == 2
    for digest in "12":  # of other files by the same names
        write_run(digest, (0.5,), other, data={"train": digest})
    assert command("1 2")[0] == 0
    page = Read((runs / "report.html").read_text(encoding="utf-8"))
    assert len(page.targets) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "RUNS must be one or more. Received: ()."),
        ("none", "RUNS must be the folder of a run. Received: 'none'."),
        (".", r"'./config.json' is no run's config.json: [Errno 2]"),
        ("a --output a.htm", "--output must end in .html. Received: 'a.htm'."),
        ("a --evaluations a", "'a/report.json' is no report of an evaluation: [Errno"),
        (
            "a --evaluations other",
            "--evaluations must be reports of these runs. Received: 'other', which is "
            "of 'somewhere'.",
        ),
        ("a --evaluations odd", "'odd/report.json' is no report of an evaluation: its"),
    ],
)
def test_wrong_input_is_named_and_writes_nothing(words, message, runs, command):
    reported(runs / "other", "somewhere")
    reported(runs / "odd")
    facts = json.loads((runs / "odd/report.json").read_text())
    facts["calibration"]["temperature"] = "warm"
    (runs / "odd/report.json").write_text(json.dumps(facts))
    before = sorted(os.listdir())
    code, _, err = command(words)
    assert code == 2
    assert err.startswith(f"error: {message}")
    assert sorted(os.listdir()) == before


@pytest.mark.slow
def test_a_browser_shows_the_page_and_is_refused_nothing(runs, command):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser: chromium or google-chrome on PATH")
    assert command(f"a '{HOSTILE}'")[0] == 0
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += ["--window-size=1200,1500", "--screenshot=seen.png"]
    page = (runs / "report.html").as_uri()
    shown = subprocess.run(
        [browser, *options, page], capture_output=True, text=True, check=True
    )
    assert "CONSOLE" not in shown.stderr  # what the page's policy has refused
    with Image.open(runs / "seen.png") as picture:
        assert picture.size == (1200, 1500)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**20)}
    # The lines of the figure; all else on the page is grey.
    assert sum(max(colour) - min(colour) > 60 for colour in colours) > 10


def test_the_time_of_a_report_is_not_that_of_the_network(monkeypatch):
    from scalenet_training.evaluate import saved

    class Slow:
        def see(self, images, labels, logits):
            clock[0] += 7

    clock = [100.0]
    monkeypatch.setattr(saved.time, "perf_counter", lambda: clock[0])
    watch = saved._Watch(Slow())
    assert watch.now() == 100
    watch.see(np.zeros(1), np.zeros(1), np.zeros(1))
    clock[0] += 2
    assert watch.now() == 102
