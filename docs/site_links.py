"""Links of the guides that leave `docs/`, which the site has not, become paths."""

import re

_OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for each page: `[text](../file)` names the file instead."""
    return _OUTSIDE.sub(r"\1 (`\2` in the repository)", markdown)
