"""The table of situations in docs/: each row is what a test saw come out.

A test is marked `situation(AREA, NAME)` and calls the fixture `outcome` with what
came out, in a few words. The fixture compares that with the row in the document;
`make situations` writes the document anew instead. `tests/test_situations.py` keeps
rows without a test out.
"""

import pathlib

import pytest

DOCUMENT = pathlib.Path(__file__).parent.parent / "docs" / "situations.md"
_HEADER = """# Situations: what comes out

Files, folders, datasets and requests as people have them. Each row is written by a
test, which fails where something else comes out; `make situations` writes the page.
"""
# Two pairs of brackets in a row would be a link to what is in the second.
_LINK, _ESCAPED = "] [", r"] \["


def situation(area: str, name: str) -> pytest.MarkDecorator:
    """Marks a test whose outcome is a row of the table."""
    return pytest.mark.situation(area, name)


def marked(item: pytest.Item) -> tuple[str, str] | None:
    """Area and name of a test's situation."""
    marker = item.get_closest_marker("situation")
    return None if marker is None else marker.args


def read_rows() -> dict[tuple[str, str], str]:
    """The document's rows: (area, name) -> outcome."""
    rows, area = {}, ""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines() if exists() else []
    for line in lines:
        if line.startswith("## "):
            area = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| situation |", "| --- ")):
            name, outcome = line.strip("| ").split(" | ")
            rows[area, name] = outcome.replace(_ESCAPED, _LINK)
    return rows


def exists() -> bool:
    """Whether there is a document."""
    return DOCUMENT.exists()


def write_row(key: tuple[str, str], outcome: str) -> None:
    """Writes a row in its area, in alphabetical order."""
    rows = read_rows() | {key: outcome}
    parts = [_HEADER]
    for area in sorted({area for area, _ in rows}):
        parts.append(f"\n## {area}\n\n| situation | what comes out |\n| --- | --- |\n")
        parts += [_row(n, rows[a, n]) for a, n in sorted(rows) if a == area]
    DOCUMENT.write_text("".join(parts), encoding="utf-8")


def _row(name: str, outcome: str) -> str:
    return f"| {name} | {outcome.replace(_LINK, _ESCAPED)} |\n"


def check_row(key: tuple[str, str], outcome: str) -> None:
    """Compares what came out with the document."""
    assert outcome
    assert not {"|", "\n"} & set("".join(key) + outcome), (key, outcome)
    documented = read_rows().get(key)
    assert documented == outcome, (
        f"{key}: {outcome!r} came out, {DOCUMENT.name} says {documented!r}. "
        "If what came out is right, run `make situations`."
    )
