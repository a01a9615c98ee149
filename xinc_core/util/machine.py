"""What the machine has to give, and what is worth keeping of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from weakref import WeakKeyDictionary

import torch


def free_bytes(device: torch.device | str = "cpu") -> float:
    """Memory that can be taken without pushing anything out: the GPU's, or the machine's within
    its container.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text()) - int(
            (group / "memory.current").read_text()
        )
    except (OSError, ValueError):
        return free
    return min(free, limit)


def give_back() -> None:
    """Return memory that is no longer used to the system, where the C library holds on to it and
    can be told to let go.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def kept(function: Callable) -> Callable:
    """A function or method whose results are kept as long as its first argument is; they must
    not refer to it.
    """
    found: WeakKeyDictionary = WeakKeyDictionary()

    @wraps(function)
    def ask(owner, *rest):
        mine = found.setdefault(owner, {})
        if rest not in mine:
            mine[rest] = function(owner, *rest)
        return mine[rest]

    return ask
