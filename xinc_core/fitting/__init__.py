"""Fitting a network to a clip, and how well it paints it.

What lives here: ``fit`` with its recipes and resume, PSNR. What does not: the networks themselves
(``models``) and their files (``storage``).
"""

from .history import History
from .quality import check_clip, evaluate, psnr
from .training import DivergenceError, fit, refine, untrained

__all__ = [
    "DivergenceError",
    "History",
    "check_clip",
    "evaluate",
    "fit",
    "psnr",
    "refine",
    "untrained",
]
