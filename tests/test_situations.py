import pytest
from situations import DOCUMENT, read_rows


def test_every_row_has_a_test_and_every_situation_a_row(collected_situations):
    files = {path.name for path in DOCUMENT.parent.parent.glob("tests/test_*.py")}
    if {file for file, _ in collected_situations} != files:
        pytest.skip("only a part of the tests was collected")
    keys = [key for _, key in collected_situations if key is not None]
    assert len(keys) == len(set(keys))
    assert set(read_rows()) == set(keys)
