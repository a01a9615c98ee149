"""Memory: how much is free, and giving back what is no longer used."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device | str = "cpu") -> float:
    """Memory in bytes that can be taken without pushing anything out.

    It is the GPU's, or the machine's within its container; infinite where the system does not say.
    """
    import torch  # slow to load, and the other helpers need none of it

    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_free_of_machine(), _free_of_container())


def _free_of_machine() -> float:
    try:
        lines = MEMINFO.read_text().splitlines()
        table = dict(line.split(":") for line in lines)
        kilobytes = int(table["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return float("inf")
    return kilobytes * 1024


def _free_of_container() -> float:
    """What the control group's limit leaves; infinite where there is no limit."""
    try:
        limit = int((CONTAINER / "memory.max").read_text())
        used = int((CONTAINER / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")
    return limit - used


def return_unused_memory() -> None:
    """Return memory that is no longer used to the system, where the C library holds on to it."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
