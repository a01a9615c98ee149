"""What a model's file says of itself: the facts in its header.

A ``.safetensors`` file of ours carries them as JSON under one entry, ``about``: safetensors writes
several entries in an order that changes from run to run. A compressed file has a header of its own.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

PLAIN = ".safetensors"
COMPRESSED = ".xinc"
ENTRY = "about"
LENGTH = struct.Struct("<Q")  # how a .safetensors file begins: the number of bytes of its header
# What reading a header may raise whose JSON is anything.
UNREADABLE = (
    OSError,
    ValueError,
    AttributeError,
    LookupError,
    TypeError,
    RecursionError,
    struct.error,
)


def read_header(path: str | Path) -> dict:
    """The facts in a file's header; numbers and lists come back as such.

    Raises
    ------
    ValueError
        If the file cannot be read, or its header is none of ours.
    """
    if Path(path).suffix == COMPRESSED:
        from .compressed import read_facts  # needs torch

        return read_facts(path)
    metadata = read_metadata(path)
    if ENTRY not in metadata:
        return {name: _value(text) for name, text in metadata.items() if name != "format"}
    facts = _value(metadata[ENTRY])
    if not isinstance(facts, dict):
        raise ValueError(
            f"{str(path)!r} has a header that cannot be read; was it written by save_model?"
        )
    return facts


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts in the header of a ``.safetensors`` file, without a look at its tensors.

    The file begins with the length of its header; the header is JSON, and its entry
    ``__metadata__`` holds texts by name. Read by hand, so that a list of models loads no torch.

    Raises
    ------
    ValueError
        If there is no such header.
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            if length > size - LENGTH.size:
                raise ValueError("it ends before its header does")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are not texts")
        ends = [tensor["data_offsets"][1] for tensor in header.values()]
        if LENGTH.size + length + max(ends, default=0) != size:
            raise ValueError("its length is not what its header says")
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    return metadata


def open_plain(path: str | Path):
    """An open ``.safetensors`` file, for PyTorch.

    Raises
    ------
    ValueError
    """
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{str(path)!r} cannot be read as a .safetensors file: {error}")


def _value(text: str):
    """What a text is as JSON, or the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
