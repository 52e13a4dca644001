"""Progress of long work."""

import io

from scalenet_training.bars import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_a_bar_that_goes():
    with Bar(range(3), unit="step", desc="working", file=Terminal()) as bar:
        assert list(bar) == [0, 1, 2]
        text = bar.fp.getvalue()
    assert "working:   0%" in text
    assert "\n" not in text


def test_a_log_of_short_work_is_empty():
    log = io.StringIO()
    with Bar(total=3, unit="step", desc="working", file=log) as bar:
        bar.update(3)
    assert log.getvalue() == ""


def test_a_log_has_whole_lines():
    log = io.StringIO()
    with Bar(total=4, unit="step", desc="working", file=log) as bar:
        bar.update(2)
        bar.refresh()
        bar.update(2)
        bar.refresh()
    lines = log.getvalue().splitlines()
    assert [line.partition("|")[0] for line in lines] == [
        "working:  50%",
        "working: 100%",
    ]
    assert not {"\r", "\x1b"} & {*log.getvalue()}
