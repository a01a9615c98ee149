"""Where the project keeps its files, and how it writes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"


def figures() -> Path:
    """The folder of figures and tables: ``XINC_FIGURES`` if set, else ``figures/`` of the checkout; made if missing."""
    return _folder("XINC_FIGURES", ROOT / "figures")


def results() -> Path:
    """The folder of stored measurements: ``XINC_RESULTS`` if set, else ``data/results/`` of the checkout; made if missing."""
    return _folder("XINC_RESULTS", DATA / "results")


def _folder(variable: str, usual: Path) -> Path:
    folder = Path(os.environ.get(variable, usual))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def replace_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name in the same folder, then rename: readers see the old file or the new one, whole."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
