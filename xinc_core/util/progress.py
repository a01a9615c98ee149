"""The one progress bar."""

from __future__ import annotations

import os

from tqdm.auto import tqdm


def progress_bar(*args, disable: bool = False, **options) -> tqdm:
    """tqdm's bar; none where ``TQDM_DISABLE`` is set, which its own bar for notebooks does not
    heed.
    """
    return tqdm(*args, disable=disable or bool(os.environ.get("TQDM_DISABLE")), **options)
