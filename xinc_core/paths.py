"""Where the project keeps its files."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"


def figures() -> Path:
    """The folder of figures and tables: ``XINC_FIGURES`` if set, else ``figures/`` of the checkout; made if missing."""
    folder = Path(os.environ.get("XINC_FIGURES", ROOT / "figures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
