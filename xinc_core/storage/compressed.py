"""Compressed models: uniform quantisation, a range coder, and the ``.xinc`` file that holds the
result.

A tensor at b bits is stored as whole numbers of steps, −(2^(b−1) − 1) … 2^(b−1) − 1, so that a
weight set to zero stays zero and costs next to nothing. 16 and 32 bits mean floats as they are.
File: magic, length of the header, header (JSON, deflated), then per tensor the counts of its
symbols (deflated) and the range coder's words.
"""

from __future__ import annotations

import json
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xinc_core.util.files import replace_file

MAGIC, SUFFIX = b"XINC1", ".xinc"
FLOATS = {16: np.float16, 32: np.float32}
MOST_VALUES, MOST_HEADER = (
    10**8,
    16 * 2**20,
)  # weights, and bytes of the header: more is refused before it is allocated
LOSSY = range(2, 13)  # bits at which a tensor is quantised


def quantise(values: Tensor, bits: int) -> tuple[Tensor, float]:
    """Whole numbers of steps, int32, and the step."""
    if bits not in LOSSY:
        raise ValueError(f"a tensor is quantised to {LOSSY[0]} to {LOSSY[-1]} bits, not {bits}")
    most = 2 ** (bits - 1) - 1
    step = float((values.abs().max() / most).float()) if values.numel() else 0.0
    step = step or 1.0
    return (values / step).round().clamp(-most, most).to(torch.int32), step


def rounded(values: Tensor, bits: int) -> Tensor:
    """What a tensor is after storing it at so many bits, float32."""
    if bits in FLOATS:
        return torch.from_numpy(values.numpy().astype(FLOATS[bits]).astype(np.float32))
    codes, step = quantise(values, bits)
    return codes * torch.tensor(step, dtype=torch.float32)


def pack(tensors: dict[str, Tensor], bits: dict[str, int], facts: dict) -> bytes:
    """The whole file. facts : what the header should say beside the tensors."""
    blobs, listed = [], []
    for name, values in tensors.items():
        entry = dict(name=name, shape=list(values.shape), bits=bits[name])
        if bits[name] in FLOATS:
            blob = values.numpy().astype(FLOATS[bits[name]]).tobytes()
        else:
            codes, entry["step"] = quantise(values, bits[name])
            blob = _coded(codes.flatten().numpy() + 2 ** (bits[name] - 1) - 1, bits[name])
        blobs.append(blob)
        listed.append(entry | dict(bytes=len(blob)))
    body = b"".join(blobs)
    header = zlib.compress(
        json.dumps(facts | dict(tensors=listed, crc=zlib.crc32(body))).encode(), 9
    )
    return MAGIC + struct.pack("<I", len(header)) + header + body


def write(path: str | Path, packed: bytes) -> None:
    """Write a packed model; the file appears whole or not at all."""
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"a compressed model's file ends in {SUFFIX}, not as in {str(path)!r}")
    replace_file(path, lambda f: f.write_bytes(packed))


def read_facts(path: str | Path) -> dict:
    """What the header says."""
    return _split(path)[0]


def unpack(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """The header and the tensors, float32, as ``rounded`` makes them.

    Raises
    ------
    ValueError
        If the file is not whole.
    """
    facts, body = _split(path)
    try:
        if zlib.crc32(body) != facts["crc"]:
            raise ValueError("its checksum is wrong")
        tensors, at = {}, 0
        if sum(prod(entry["shape"]) for entry in facts["tensors"]) > MOST_VALUES:
            raise ValueError(f"it claims more than {MOST_VALUES:,} weights")
        for entry in facts["tensors"]:
            blob, at = body[at : at + entry["bytes"]], at + entry["bytes"]
            tensors[entry["name"]] = _tensor(blob, entry["shape"], entry["bits"], entry.get("step"))
        return facts, tensors
    except (ValueError, KeyError, TypeError, AssertionError, struct.error, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def _split(path: str | Path) -> tuple[dict, bytes]:
    data = Path(path).read_bytes()
    start = len(MAGIC) + 4
    try:
        if not data.startswith(MAGIC):
            raise ValueError("its first bytes are others")
        (length,) = struct.unpack("<I", data[len(MAGIC) : start])
        facts = json.loads(_inflated(data[start : start + length], MOST_HEADER))
        return {str(k): v for k, v in facts.items()}, data[start + length :]
    except (ValueError, AttributeError, struct.error, zlib.error) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a compressed model: {error}") from None


def _inflated(data: bytes, most: int) -> bytes:
    """Deflated bytes, refused beyond a size: a few of them can claim gigabytes."""
    inflater = zlib.decompressobj()
    out = inflater.decompress(data, most)
    if not inflater.eof:
        raise ValueError("a deflated part is cut, or larger than it may be")
    return out


def _tensor(blob: bytes, shape: list[int], bits: int, step: float | None) -> Tensor:
    n = prod(shape)
    if bits in FLOATS:
        values = torch.from_numpy(np.frombuffer(blob, FLOATS[bits]).astype(np.float32))
    else:
        codes = torch.from_numpy(_decoded(blob, n, bits) - 2 ** (bits - 1) + 1)
        values = codes * torch.tensor(step, dtype=torch.float32)
    return values.view(shape)


def _coded(symbols: np.ndarray, bits: int) -> bytes:
    """Counts of the symbols, and the symbols in a range coder under their own distribution."""
    import constriction

    counts = np.bincount(symbols, minlength=2**bits - 1).astype(np.uint32)
    head = zlib.compress(counts.tobytes(), 9)
    words = np.empty(0, np.uint32)
    if len(symbols) and counts.max() < len(symbols):
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(symbols.astype(np.int32), _distribution(counts))
        words = coder.get_compressed()
    return struct.pack("<I", len(head)) + head + words.astype("<u4").tobytes()


def _decoded(blob: bytes, n: int, bits: int) -> np.ndarray:
    import constriction

    (length,) = struct.unpack("<I", blob[:4])
    counts = np.frombuffer(_inflated(blob[4 : 4 + length], 4 * 2**bits), np.uint32)
    if len(counts) != 2**bits - 1 or counts.sum() != n:
        raise ValueError("the counts of its symbols do not fit")
    if n == 0 or counts.max() == n:  # one symbol only
        return np.full(n, counts.argmax(), np.int32)
    words = np.frombuffer(blob[4 + length :], "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words).decode(_distribution(counts), n)


def _distribution(counts: np.ndarray):
    import constriction

    return constriction.stream.model.Categorical(
        (counts / counts.sum()).astype(np.float32), perfect=False
    )
