"""Compressed models: uniform quantisation, a range coder, and the ``.xinc`` file of the result.

A tensor at b bits is stored as whole numbers of steps, −(2^(b−1) − 1) … 2^(b−1) − 1, so that a
weight set to zero stays zero and costs next to nothing. 16 and 32 bits mean floats as they are.

The file: ``MAGIC``, the length of the header, the header (JSON, deflated), then for each tensor the
counts of its symbols (deflated) and the range coder's words.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xinc_core.util.file_kinds import kind_of_file
from xinc_core.util.files import replace_file
from xinc_core.util.tensor_files import (
    MOST_HEADER,
    MOST_TENSORS,
    UNREADABLE,
    brief,
    check_shape,
    is_count,
    one_line,
)

from .headers import COMPRESSED

MAGIC = b"XINC1"
FLOATS = {16: np.float16, 32: np.float32}
LOSSY = range(2, 13)  # bits at which a tensor is quantised
LARGEST_STEP = 3e38  # float32's
# More is refused before it is allocated:
MOST_PER_BYTE = 1_000  # weights for each byte of the file; a network of zeros alone has as many


@dataclass(frozen=True)
class Entry:
    """What the header says of one tensor.

    Attributes
    ----------
    name : str
    shape : list of int
    bits : int
        For each value.
    step : float or None
        Size of a quantisation step; None for floats.
    n_bytes : int
        Length of the tensor's part of the file.
    """

    name: str
    shape: list[int]
    bits: int
    step: float | None
    n_bytes: int

    @classmethod
    def from_json(cls, entry: dict) -> Entry:
        """Read it from the header, where it may be anything.

        Raises
        ------
        ValueError
            For what no writer writes.
        """
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"it describes a tensor by {brief(entry)}")
        name, bits, step = entry["name"], entry.get("bits"), entry.get("step")
        check_shape(name, entry.get("shape"))
        if not is_count(bits) or not (bits in LOSSY or bits in FLOATS):
            raise ValueError(f"it stores {brief(name)} at {brief(bits)} bits")
        is_step = isinstance(step, float) and 0 < step < LARGEST_STEP
        if (step is not None) if bits in FLOATS else not is_step:
            raise ValueError(f"it stores {brief(name)} in steps of {brief(step)}")
        if not is_count(entry.get("bytes")):
            raise ValueError(f"it gives {brief(name)} {brief(entry.get('bytes'))} bytes")
        read = cls(name, entry["shape"], bits, step, entry["bytes"])
        if bits in FLOATS and read.n_values * bits != 8 * read.n_bytes:
            raise ValueError(f"it gives {brief(name)} {read.n_bytes:,} bytes for {read.shape}")
        return read

    def to_json(self) -> dict:
        """As it stands in the header."""
        entry = dict(name=self.name, shape=self.shape, bits=self.bits)
        if self.step is not None:
            entry["step"] = self.step
        return entry | dict(bytes=self.n_bytes)

    @property
    def n_values(self) -> int:
        """How many numbers the tensor has."""
        return prod(self.shape)


def quantise(values: Tensor, bits: int) -> tuple[Tensor, float]:
    """Whole numbers of steps, int32, and the step.

    Parameters
    ----------
    values : Tensor
    bits : int
        2 to 12.

    Raises
    ------
    ValueError
        For another number of bits.
    """
    if bits not in LOSSY:
        raise ValueError(f"a tensor is quantised to {LOSSY[0]} to {LOSSY[-1]} bits, not {bits}")
    most = 2 ** (bits - 1) - 1
    step = 0.0
    if values.numel():
        step = float((values.abs().max() / most).float())
    if step == 0.0:  # all values are zero
        step = 1.0
    return (values / step).round().clamp(-most, most).to(torch.int32), step


def rounded(values: Tensor, bits: int) -> Tensor:
    """What a tensor is after storing it at so many bits (2 to 12, 16 or 32), float32."""
    if bits in FLOATS:
        return torch.from_numpy(values.numpy().astype(FLOATS[bits]).astype(np.float32))
    codes, step = quantise(values, bits)
    return codes * torch.tensor(step, dtype=torch.float32)


def pack(tensors: dict[str, Tensor], bits: dict[str, int], facts: dict) -> bytes:
    """The whole file as bytes.

    Parameters
    ----------
    tensors : dict of name to Tensor
    bits : dict of name to int
        2 to 12, 16 or 32 for each tensor.
    facts : dict
        What the header should say beside the tensors.
    """
    parts, entries = [], []
    for name, values in tensors.items():
        part, step = _encoded(values, bits[name])
        parts.append(part)
        entries.append(Entry(name, list(values.shape), bits[name], step, len(part)))
    body = b"".join(parts)
    listed = [entry.to_json() for entry in entries]
    header = json.dumps(facts | dict(tensors=listed, crc=zlib.crc32(body)))
    deflated = zlib.compress(header.encode(), 9)
    return MAGIC + struct.pack("<I", len(deflated)) + deflated + body


def write(path: str | Path, data: bytes) -> None:
    """Write a packed model; the file appears whole or not at all.

    Raises
    ------
    ValueError
        For a path that does not end in ``.xinc``.
    """
    if Path(path).suffix != COMPRESSED:
        raise ValueError(f"a compressed model's file ends in {COMPRESSED}, not as in {str(path)!r}")
    replace_file(path, lambda file: file.write_bytes(data))


def read_facts(path: str | Path) -> dict:
    """What the header says.

    Raises
    ------
    ValueError
        If the file is no compressed model.
    """
    return _split(path)[0]


def unpack(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """The header and the tensors, float32, as :func:`rounded` makes them.

    Raises
    ------
    ValueError
        If the file is not whole.
    """
    facts, body = _split(path)
    try:
        if zlib.crc32(body) != facts["crc"]:
            raise ValueError("its checksum is wrong")
        entries = _entries(facts["tensors"], body)
        tensors, start = {}, 0
        for entry in entries:
            stop = start + entry.n_bytes
            tensors[entry.name] = _decoded(body[start:stop], entry)
            start = stop
        return facts, tensors
    except (AssertionError, zlib.error, *UNREADABLE) as error:
        raise ValueError(f"{str(path)!r} is damaged: {one_line(error)}") from None


def _entries(listed, body: bytes) -> list[Entry]:
    """What a header says of its tensors, checked against each other and the bytes behind it."""
    if not isinstance(listed, list) or len(listed) > MOST_TENSORS:
        raise ValueError(f"it lists its tensors as {brief(listed)}")
    entries = [Entry.from_json(entry) for entry in listed]
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("it names two tensors alike")
    if sum(entry.n_bytes for entry in entries) != len(body):
        raise ValueError("its length is not what its header says")
    n_values = sum(entry.n_values for entry in entries)
    if n_values > MOST_PER_BYTE * len(body):
        raise ValueError(f"it claims {n_values:,} weights in {len(body):,} bytes")
    return entries


def _split(path: str | Path) -> tuple[dict, bytes]:
    """The header, and the bytes behind it."""
    data = Path(path).read_bytes()
    start = len(MAGIC) + 4
    try:
        if not data.startswith(MAGIC):
            raise ValueError(f"it is {kind_of_file(path)}")
        (length,) = struct.unpack("<I", data[len(MAGIC) : start])
        header = json.loads(_inflated(data[start : start + length], MOST_HEADER))
        facts = {str(name): value for name, value in header.items()}
        return facts, data[start + length :]
    except (zlib.error, *UNREADABLE) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a compressed model: {one_line(error)}"
        ) from None


def _inflated(data: bytes, most: int) -> bytes:
    """Deflated bytes, refused beyond a size: a few of them can claim gigabytes."""
    inflater = zlib.decompressobj()
    out = inflater.decompress(data, most)
    if not inflater.eof:
        raise ValueError("a deflated part is cut, or larger than it may be")
    return out


def _encoded(values: Tensor, bits: int) -> tuple[bytes, float | None]:
    """A tensor's part of the file, and its step."""
    if bits in FLOATS:
        return values.numpy().astype(FLOATS[bits]).tobytes(), None
    codes, step = quantise(values, bits)
    symbols = codes.flatten().numpy() + _offset(bits)
    return _range_coded(symbols, bits), step


def _decoded(part: bytes, entry: Entry) -> Tensor:
    """A tensor from its part of the file, float32."""
    if entry.bits in FLOATS:
        floats = np.frombuffer(part, FLOATS[entry.bits]).astype(np.float32)
        return torch.from_numpy(floats).view(entry.shape)
    symbols = _range_decoded(part, entry.n_values, entry.bits)
    symbols -= _offset(entry.bits)
    values = torch.from_numpy(symbols).float().mul_(torch.tensor(entry.step, dtype=torch.float32))
    return values.view(entry.shape)


def _offset(bits: int) -> int:
    """The symbol that stands for zero: symbols are counted from the smallest code."""
    return 2 ** (bits - 1) - 1


def _range_coded(symbols: np.ndarray, bits: int) -> bytes:
    """Counts of the symbols, and the symbols in a range coder under their own distribution."""
    import constriction

    counts = np.bincount(symbols, minlength=2**bits - 1).astype(np.uint32)
    head = zlib.compress(counts.tobytes(), 9)
    words = np.empty(0, np.uint32)
    if len(symbols) and counts.max() < len(symbols):  # one symbol alone needs no words
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(symbols.astype(np.int32), _distribution(counts))
        words = coder.get_compressed()
    return struct.pack("<I", len(head)) + head + words.astype("<u4").tobytes()


def _range_decoded(part: bytes, n_values: int, bits: int) -> np.ndarray:
    """(n_values,) int32 symbols."""
    import constriction

    (length,) = struct.unpack("<I", part[:4])
    counts = np.frombuffer(_inflated(part[4 : 4 + length], 4 * 2**bits), np.uint32)
    if len(counts) != 2**bits - 1 or counts.sum() != n_values:
        raise ValueError("the counts of its symbols do not fit")
    if n_values == 0 or counts.max() == n_values:  # one symbol only
        return np.full(n_values, counts.argmax(), np.int32)
    words = np.frombuffer(part[4 + length :], "<u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    return decoder.decode(_distribution(counts), n_values)


def _distribution(counts: np.ndarray):
    """The coder's model of the symbols: as often as they were counted."""
    import constriction

    shares = (counts / counts.sum()).astype(np.float32)
    return constriction.stream.model.Categorical(shares, perfect=False)
