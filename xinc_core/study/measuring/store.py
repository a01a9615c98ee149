"""The store of measurements: one JSON file per finding and clip, an entry per unit, each under the
digest of its key.

A key holds everything that a result depends on: checksums of weights and clip, rule, every
parameter and the finding's version. Change one, and the unit is measured anew.
"""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from xinc_core.util.files import digest, locked, replace_file
from xinc_core.util.text import as_file_name

Found = dict[str, dict]  # layer (or case) → statistic → number or array


def file_of(finding: str, clip: str) -> str:
    """The name of the file that holds what is measured of a finding on a clip."""
    return f"{finding}-{as_file_name(clip)}.json"


@dataclass(frozen=True)
class Address:
    """Where a result is stored: the file's finding and clip, the entry's label, and its key."""

    finding: str
    clip: str
    label: str
    key: dict

    @property
    def file(self) -> str:
        """The name of the file that holds the entry."""
        return file_of(self.finding, self.clip)

    @property
    def digest(self) -> str:
        """The key in 16 hex digits."""
        return digest(self.key)[:16]


class Store:
    """A folder of results. Several processes may write to it: each file is replaced whole."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._parsed: dict[Path, tuple[tuple, dict]] = {}  # path → (its state on disk, content)

    def remember(self, address: Address, compute: Callable[[], Found]) -> Found:
        """What is stored at an address; computed and stored where it is missing or stale."""
        path = self.folder / address.file
        entry = self._read(path).get(address.label)
        if entry is None or entry["key"] != address.digest:
            entry = dict(key=address.digest, value=_packed_layers(compute()))
            with locked(self._lock):  # another process may have stored its own meanwhile
                self._write(path, self._read(path) | {address.label: entry})
        return _unpacked_layers(entry["value"])

    def holds(self, address: Address) -> bool:
        """Whether ``remember`` would have nothing to compute."""
        entry = self._read(self.folder / address.file).get(address.label)
        return entry is not None and entry["key"] == address.digest

    def leave_out(self, finding: str, clip: str, labels: set[str], names: Sequence[str]) -> None:
        """Drop the values of these names from what is stored under these labels."""
        path = self.folder / file_of(finding, clip)
        if not _any_holds(self._read(path), labels, names):
            return
        with locked(self._lock):
            entries = dict(self._read(path))
            for label in labels & entries.keys():
                entries[label] = _without(entries[label], names)
            self._write(path, entries)

    def take_over(self, folder: Path) -> None:
        """Store what another folder of results holds; what it does not hold stays as it is."""
        for file in folder.glob("[!.]*"):
            if file.suffix == ".json":
                with locked(self._lock):
                    path = self.folder / file.name
                    self._write(path, self._read(path) | self._read(file))
            else:
                replace_file(self.folder / file.name, partial(shutil.copyfile, file))

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def _read(self, path: Path) -> dict:
        """The entries of a file; parsed once, and again when the file has changed."""
        try:
            facts = path.stat()
            state = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if path not in self._parsed or self._parsed[path][0] != state:
                self._parsed[path] = (state, json.loads(path.read_text()))
            return self._parsed[path][1]
        except (OSError, ValueError):  # not there, or torn: measured anew
            return {}

    def _write(self, path: Path, entries: dict) -> None:
        text = written(entries)
        replace_file(path, lambda file: file.write_text(text))


def written(entries: dict) -> str:
    """JSON with one entry per line."""
    lines = []
    for label, entry in sorted(entries.items()):
        lines.append(f"{json.dumps(label)}: {json.dumps(entry)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _any_holds(entries: dict, labels: set[str], names: Iterable[str]) -> bool:
    for label in labels & entries.keys():
        for values in entries[label]["value"].values():
            if set(names) & values.keys():
                return True
    return False


def _without(entry: dict, names: Iterable[str]) -> dict:
    """An entry whose layers lack the values of these names."""
    layers = {}
    for layer, values in entry["value"].items():
        layers[layer] = {name: value for name, value in values.items() if name not in names}
    return entry | dict(value=layers)


def _packed_layers(found: Found) -> Found:
    packed = {}
    for layer, values in found.items():
        packed[layer] = {name: _packed(value) for name, value in values.items()}
    return packed


def _unpacked_layers(stored: Found) -> Found:
    unpacked = {}
    for layer, values in stored.items():
        unpacked[layer] = {name: _unpacked(value) for name, value in values.items()}
    return unpacked


def _packed(value):
    """Numbers to six digits; arrays as compressed bytes in text.

    Real numbers in half precision; bytes and int16 as they are; other whole numbers as int32.
    """
    if not isinstance(value, Tensor | np.ndarray):
        return float(f"{value:.6g}")
    array = np.asarray(value)
    if array.dtype not in (np.uint8, np.int16):
        array = array.astype(np.float16 if array.dtype.kind == "f" else np.int32)
    raw = array.tobytes()
    if array.dtype == np.int16:
        raw = array.reshape(-1, 1).view(np.uint8).T.tobytes()  # all low bytes, then all high ones
    text = base64.b85encode(zlib.compress(raw, 9)).decode()
    return dict(shape=list(array.shape), dtype=array.dtype.name, zlib=text)


def _unpacked(value):
    if not isinstance(value, dict):
        return float(value)
    raw = zlib.decompress(base64.b85decode(value["zlib"]))
    if value["dtype"] == "int16":
        raw = np.frombuffer(raw, np.uint8).reshape(2, -1).T.tobytes()
    return np.frombuffer(raw, value["dtype"]).reshape(value["shape"]).copy()
