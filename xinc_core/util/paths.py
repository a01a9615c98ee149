"""Where the project keeps its files, how it writes them, and under which keys."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "data"


def run_folder() -> Path | None:
    """The folder of a study on the user's own clip, ``XINC_RUN``, with clips, models, results
    and figures in it; or None.
    """
    return Path(os.environ["XINC_RUN"]) if os.environ.get("XINC_RUN") else None


def figures() -> Path:
    """The folder of figures and tables: ``XINC_FIGURES``, else the run's, else the checkout's
    ``figures/``; made if missing.
    """
    return _folder("XINC_FIGURES", ROOT, "figures")


def results() -> Path:
    """The folder of stored measurements: ``XINC_RESULTS``, else the run's, else
    ``data/results/``; made if missing.
    """
    return _folder("XINC_RESULTS", DATA, "results")


def shelves(kind: str) -> list[Path]:
    """Where "clips" or "models" are looked up by name: in the run's folder, then among the
    shipped ones.
    """
    return [root / kind for root in (run_folder(), DATA) if root]


def _folder(variable: str, usual: Path, name: str) -> Path:
    folder = Path(os.environ.get(variable) or (run_folder() or usual) / name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for what is started meanwhile, notebooks' kernels for example."""
    before = {k: os.environ.get(k) for k in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


@contextmanager
def locked(path: str | Path, shared: bool = False, wait: bool = True) -> Iterator[IO]:
    """Hold a lock file, alone or with others who share it; the lock goes with the process, however
    that ends, and with every process that was handed the open file.

    Raises
    ------
    BlockingIOError
        If another process holds it and ``wait`` is False.
    """
    import fcntl

    with Path(path).open(
        "a+"
    ) as file:  # readable too: a network file system wants that of a shared lock
        fcntl.flock(
            file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        )
        yield file


def digest(facts) -> str:
    """SHA-256 of plain values, in hex: the key under which what they lead to is kept."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def replace_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name in the same folder, then rename: readers see the old file or the
    new one, whole.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
