"""The sentence for a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Say that there is no such name, with the nearest one that exists, or with all of them."""
    nearest = difflib.get_close_matches(name, known, 1)
    if nearest:
        return f"no {what} {name!r}; did you mean {nearest[0]!r}?"
    return f"no {what} {name!r}; there are {', '.join(known)}"
