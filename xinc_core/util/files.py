"""Files: written whole or not at all, locked, and known by their SHA-256.

Every hash of the project is made here.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

BLOCK = 1 << 20  # bytes of a file that are read at a time


def digest(values) -> str:
    """SHA-256 of plain values, in hex: the key of what is computed from them.

    values : whatever JSON can hold; the order of a mapping does not matter.
    """
    return hash_bytes(json.dumps(values, sort_keys=True).encode())


def hash_bytes(*parts: bytes) -> str:
    """SHA-256 of bytes, in hex; of several parts as if they were one."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's content, in hex; read in blocks, so that a long film needs no memory."""
    sha256 = hashlib.sha256()
    for block in _blocks(Path(path)):
        sha256.update(block)
    return sha256.hexdigest()


def hash_folder(path: str | Path) -> str:
    """SHA-256 of the names and contents of a folder's files, in hex; folders in it are left out."""
    sha256 = hashlib.sha256()
    files = [file for file in Path(path).iterdir() if file.is_file()]
    for file in sorted(files):
        sha256.update(file.name.encode())
        for block in _blocks(file):
            sha256.update(block)
    return sha256.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def replace_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write a file so that readers see the old one or the new one, whole.

    Parameters
    ----------
    path : str or Path
    write : callable
        Writes the content to the path that it is given: a temporary name in the same folder, which
        is renamed afterwards. If it raises, the old file stays and the temporary one is deleted.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: str | Path, shared: bool = False, wait: bool = True) -> Iterator[IO]:
    """Hold a lock file, alone or with others who share it.

    The lock goes with the process, however that ends, and with every process that was handed the
    open file.

    Parameters
    ----------
    path : str or Path
        The lock file; made if missing, never deleted.
    shared : bool
        Hold it beside others who share it, not alone.
    wait : bool
        Wait until it is free.

    Raises
    ------
    BlockingIOError
        If another process holds it and ``wait`` is False.
    """
    import fcntl

    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if not wait:
        operation |= fcntl.LOCK_NB
    # open for reading too: a network file system wants that of a shared lock
    with Path(path).open("a+") as file:
        fcntl.flock(file, operation)
        yield file
