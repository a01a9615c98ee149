"""What a model's file says of itself: the facts in its header.

A ``.safetensors`` file of ours carries them as JSON under one entry, ``about``: safetensors writes
several entries in an order that changes from run to run. A compressed file has a header of its own.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from xinc_core.util.file_kinds import UNKNOWN, kind_of_file
from xinc_core.util.files import hash_bytes
from xinc_core.util.tensor_files import LENGTH, UNREADABLE, Held, one_line, read_tensor_header

PLAIN = ".safetensors"
COMPRESSED = ".xinc"
ENTRY = "about"


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


def weights_checksum(path: str | Path) -> str:
    """SHA-256 in hex of what makes a network, and nothing else that its file says.

    It covers family, configuration and seed (which fixes the network before its first step), and
    the tensors' names, types, shapes and bytes. Two files of the same network have the same one,
    whatever their headers tell of PSNR or versions.

    Raises
    ------
    ValueError
        As for :func:`read_header`.
    """
    facts = read_header(path)
    network = {name: facts.get(name) for name in ("family", "config", "seed")}
    file = Path(path).read_bytes()
    (length,) = LENGTH.unpack_from(file)
    start = LENGTH.size + length  # of the tensors, behind the length and the header
    tensors = json.loads(file[LENGTH.size : start])
    tensors.pop("__metadata__", None)
    described = json.dumps([network, tensors], sort_keys=True)
    return hash_bytes(described.encode(), file[start:])


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts in the header of a ``.safetensors`` file, without a look at its tensors.

    Read by hand, so that a list of models loads no torch.

    Raises
    ------
    ValueError
        If there is no such header, or it claims what the file does not hold.
    """
    return _checked_header(path)[0]


def read_held(path: str | Path) -> dict[str, Held]:
    """What a ``.safetensors`` file holds, by its header alone: names, types and shapes.

    Raises
    ------
    ValueError
        As for :func:`read_metadata`.
    """
    return _checked_header(path)[1]


def _checked_header(path: str | Path) -> tuple[dict[str, str], dict[str, Held]]:
    try:
        return read_tensor_header(path)
    except ValueError as error:
        raise _unreadable(path, error) from None


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
    """The sentence; it says what the file is, where that can be told."""
    told = ""
    with suppress(OSError):
        kind = kind_of_file(path)
        told = "" if kind == UNKNOWN else f" (it is {kind})"
    return ValueError(
        f"{str(path)!r} cannot be read as a .safetensors file{told}: {one_line(error)}"
    )


def _value(text: str):
    """What a text is as JSON, or the text itself."""
    try:
        return json.loads(text)
    except UNREADABLE:
        return text
