"""What a model's file says of itself: the facts in its header.

A ``.safetensors`` file of ours carries them as JSON under one entry, ``about``: safetensors writes
several entries in an order that changes from run to run. A compressed file has a header of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .compressed import SUFFIX as COMPRESSED
from .compressed import read_facts

PLAIN = ".safetensors"
ENTRY = "about"


def read_header(path: str | Path) -> dict:
    """The facts in a file's header; numbers and lists come back as such.

    Raises
    ------
    ValueError
        If the file cannot be read, or its header is none of ours.
    """
    if Path(path).suffix == COMPRESSED:
        return read_facts(path)
    with open_plain(path) as file:
        metadata = file.metadata() or {}
    if ENTRY not in metadata:
        return {name: _value(text) for name, text in metadata.items() if name != "format"}
    facts = _value(metadata[ENTRY])
    if not isinstance(facts, dict):
        raise ValueError(
            f"{str(path)!r} has a header that cannot be read; was it written by save_model?"
        )
    return facts


def open_plain(path: str | Path):
    """An open ``.safetensors`` file, for PyTorch.

    Raises
    ------
    ValueError
    """
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a .safetensors file: {error}") from None


def _value(text: str):
    """What a text is as JSON, or the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
