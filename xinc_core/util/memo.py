"""Results that are remembered as long as the object that they were computed from lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary


def cached_per_object(function: Callable) -> Callable:
    """Remember a function's or a method's results as long as its first argument lives.

    The results are keyed by the first argument's identity (or its own hash) and by the other
    arguments, which must be hashable. A result must not refer to the first argument: that would
    keep it alive.
    """
    results: WeakKeyDictionary[Any, dict[tuple, Any]] = WeakKeyDictionary()

    @wraps(function)
    def remembering(owner, *arguments):
        of_owner = results.setdefault(owner, {})
        if arguments not in of_owner:
            of_owner[arguments] = function(owner, *arguments)
        return of_owner[arguments]

    return remembering
