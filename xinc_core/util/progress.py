"""The one progress bar."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm.auto import tqdm


def progress_bar(*args, disable: bool = False, **options) -> tqdm:
    """A bar of tqdm, with its arguments; none where ``TQDM_DISABLE`` is set.

    tqdm's own bar for notebooks ignores that variable.
    """
    from tqdm.auto import tqdm  # slow to load: it looks for a notebook

    switched_off = bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(*args, disable=disable or switched_off, **options)
