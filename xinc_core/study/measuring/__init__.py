"""Measuring: which units a finding is measured on, computing them side by side, the store.

What lives here: ``Session`` (a study's place and memory), units, jobs, the store of results.
What does not: what is measured (``findings``) and what follows from it (``answers``).
"""

from .session import KEYS, Session
from .units import Unit, Variant

__all__ = ["KEYS", "Session", "Unit", "Variant"]
