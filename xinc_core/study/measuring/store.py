"""The store of measurements: one JSON file per finding and clip, an entry per label, each under
the digest of its key.
"""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from xinc_core.util.files import digest, locked, replace_file
from xinc_core.util.paths import results


def remembered(finding: str, clip: str, label: str, key: dict, compute: Callable[[], dict]) -> dict:
    """What is stored under this label and key; computed and stored where it is missing or stale."""
    path, version = results() / f"{finding}-{clip}.json", digest(key)[:16]
    entry = _read(path).get(label)
    if entry is None or entry["key"] != version:
        entry = dict(
            key=version,
            value={a: {k: _packed(v) for k, v in found.items()} for a, found in compute().items()},
        )
        with locked(
            path.parent / ".lock"
        ):  # another process may have stored its own meanwhile, or be about to
            store = _read(path) | {label: entry}
            replace_file(path, lambda f: f.write_text(_written(store)))
    return {
        layer: {k: _unpacked(v) for k, v in found.items()}
        for layer, found in entry["value"].items()
    }


def is_stored(finding: str, clip: str, label: str, key: dict) -> bool:
    """Whether ``remembered`` would find it."""
    entry = _read(results() / f"{finding}-{clip}.json").get(label)
    return entry is not None and entry["key"] == digest(key)[:16]


def leave_out(finding: str, clip: str, labels: set[str], names: Sequence[str]) -> None:
    """Drop some values of what is stored under these labels, if they are still there."""
    path = results() / f"{finding}-{clip}.json"

    def without(label: str, entry: dict) -> dict:
        if label not in labels:
            return entry
        return entry | dict(
            value={
                a: {k: v for k, v in found.items() if k not in names}
                for a, found in entry["value"].items()
            }
        )

    if any(
        set(names) & set(found)
        for label in labels & set(_read(path))
        for found in _read(path)[label]["value"].values()
    ):
        with locked(path.parent / ".lock"):
            store = {label: without(label, entry) for label, entry in _read(path).items()}
            replace_file(path, lambda f: f.write_text(_written(store)))


def take_over(folder: Path) -> None:
    """Store what another folder of results holds; what it does not hold stays as it is."""
    for file in folder.glob("[!.]*"):
        if file.suffix == ".json":
            with locked(results() / ".lock"):
                both = _written(_read(results() / file.name) | _read(file))
                replace_file(results() / file.name, lambda f, text=both: f.write_text(text))
        else:
            shutil.copy(file, results())


def _read(path: Path) -> dict:
    """What a file of results holds; parsed once, and again when the file has changed."""
    try:
        facts = path.stat()
        return _parsed(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)
    except (OSError, ValueError):  # not there, or torn: measured anew
        return {}


@lru_cache(maxsize=8)
def _parsed(path: Path, *version: int) -> dict:
    return json.loads(path.read_text())


def _written(store: dict) -> str:
    """JSON with one entry per line."""
    lines = (f"{json.dumps(label)}: {json.dumps(entry)}" for label, entry in sorted(store.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _packed(value):
    """Numbers to six digits; arrays as compressed bytes in text: real numbers in half precision,
    bytes and int16 as they are.
    """
    if isinstance(value, (Tensor, np.ndarray)):
        array = np.asarray(value)
        if array.dtype not in (np.uint8, np.int16):
            array = array.astype(np.float16 if array.dtype.kind == "f" else np.int32)
        flat = (
            array.tobytes()
            if array.dtype != np.int16
            else array.reshape(-1, 1).view(np.uint8).T.tobytes()
        )  # low bytes first
        raw = base64.b85encode(zlib.compress(flat, 9)).decode()
        return dict(shape=list(array.shape), dtype=array.dtype.name, zlib=raw)
    return float(f"{value:.6g}")


def _unpacked(value):
    if isinstance(value, dict):
        raw = zlib.decompress(base64.b85decode(value["zlib"]))
        if value["dtype"] == "int16":
            raw = np.frombuffer(raw, np.uint8).reshape(2, -1).T.tobytes()
        return np.frombuffer(raw, value["dtype"]).reshape(value["shape"]).copy()
    return float(value)
