"""The header of a ``.safetensors`` file, checked completely before anything of it is allocated.

Such a file begins with the length of its header; the header is JSON that says of each tensor its
type, its shape and where in the file it lies. A file from outside may say anything there.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

LENGTH = struct.Struct("<Q")  # how a file begins: the number of bytes of its header
MOST_HEADER = 2**20  # bytes of a header: ours have a few thousand, and JSON takes 20 times as many
MOST_TENSORS = 10_000
MOST_AXES = 8
# What is read, with bytes for each value
TYPES = {"U8": 1, "I32": 4, "F16": 2, "BF16": 2, "F32": 4, "F64": 8}
# What reading JSON may raise that is anything
UNREADABLE = (
    OSError,
    ValueError,
    AttributeError,
    LookupError,
    TypeError,
    RecursionError,
    struct.error,
)


@dataclass(frozen=True)
class Held:
    """What a file holds of one tensor: the type as it is written ("F32"), and the shape."""

    type: str
    shape: tuple[int, ...]


def read_tensor_header(path: str | Path) -> tuple[dict[str, str], dict[str, Held]]:
    """The texts in a file's header, and what it holds, without a look at its tensors.

    Raises
    ------
    ValueError
        With what is wrong, for the sentence of who reads the file: a header that is cut, too long
        or none; an entry that claims other bytes than it has; tensors that overlap.
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            if length > size - LENGTH.size:
                raise ValueError("it ends before its header does")
            if length > MOST_HEADER:
                raise ValueError(f"its header claims {length:,} bytes")
            header = json.loads(file.read(length))
        return _checked(header, size - LENGTH.size - length)
    except UNREADABLE as error:
        raise ValueError(one_line(error)) from None


def _checked(header, n_bytes: int) -> tuple[dict[str, str], dict[str, Held]]:
    """Texts and tensors of a header in front of so many bytes."""
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its metadata are not texts")
    if len(header) > MOST_TENSORS:
        raise ValueError(f"it claims {len(header):,} tensors")
    held, spans = {}, []
    for name, entry in header.items():
        held[name], span = _checked_entry(name, entry)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):  # one lies behind the other, without a gap
        if start != end:
            raise ValueError("its tensors overlap, or leave gaps")
        end = stop
    if end != n_bytes:
        raise ValueError("its length is not what its header says")
    return texts, held


def _checked_entry(name: str, entry) -> tuple[Held, tuple[int, int]]:
    """What an entry of a header says of its tensor, and the place of its bytes."""
    if not isinstance(entry, dict):
        raise ValueError(f"{name!r} is described by no object")
    kind, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError(f"{name!r} is of the type {kind!r}, which is not read")
    check_shape(name, shape)
    if not isinstance(span, list) or len(span) != 2 or not all(is_count(at) for at in span):
        raise ValueError(f"{name!r} lies at {span!r}, where start and end are wanted")
    start, stop = span
    if stop - start != prod(shape) * TYPES[kind]:
        raise ValueError(f"{name!r} claims the shape {shape}, but {stop - start:,} bytes")
    return Held(kind, tuple(shape)), (start, stop)


def check_shape(name: str, shape) -> None:
    """Refuse a shape that is no short list of whole numbers, 0 or more.

    Raises
    ------
    ValueError
    """
    if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(map(is_count, shape)):
        raise ValueError(f"{name!r} claims the shape {brief(shape)}")


def is_count(value) -> bool:
    """Whether a value is a whole number of bytes or things, 0 or more; bools are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def brief(value) -> str:
    """A value as it is written, cut after 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def one_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters, control characters as numbers."""
    from .text import as_plain

    return as_plain(" ".join(str(error).split()) or type(error).__name__, most=200)
