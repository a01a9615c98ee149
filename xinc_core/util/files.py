"""Files: written whole or not at all, locked, and known by their SHA-256.

Every hash of the project is made here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

BLOCK = 1 << 20  # bytes of a file that are read at a time
UNFINISHED = (".xinc-", ".unfinished")  # how the name of a folder of unfinished files begins, ends
LOCK = "lock"  # the file in it that its process holds
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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

    Of several processes that write the same file at once, the last one wins. What a process that
    was killed left half written is deleted by the next that writes into the folder.

    Parameters
    ----------
    path : str or Path
    write : callable
        Writes the content to the path that it is given: a file of the same name in a hidden folder
        of this process alone, which is moved to ``path`` afterwards. If it raises, the old file
        stays.

    Raises
    ------
    OSError
        With one sentence: where there is no such folder, where nothing may be written, and where
        the disk is full.
    """
    path = Path(path)
    with scratch_beside(path) as unfinished:
        try:
            write(unfinished)
        except Exception as error:
            _explain_failed_write(error, path, unfinished)
            raise
        unfinished.chmod(0o644)
        try:
            unfinished.replace(path)
        except OSError as error:
            raise _refused(error, path) from None


@contextmanager
def scratch_beside(path: str | Path) -> Iterator[Path]:
    """A place on the same disk for a file that is being written; deleted when the block is left.

    Parameters
    ----------
    path : str or Path
        What will be written in the end.

    Yields
    ------
    Path
        Of the same name, in a hidden folder beside it that belongs to this process alone. The
        folder holds a lock for as long as the process lives: so the next one knows that it may
        delete what a dead one has left.

    Raises
    ------
    OSError
        With one sentence, where there is no such folder or nothing may be written into it.
    """
    path = Path(path)
    try:
        _delete_abandoned(path.parent)
        folder, lock = _own_folder(path.parent)
    except OSError as error:
        raise _refused(error, path) from None
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _own_folder(parent: Path) -> tuple[Path, IO]:
    """A new hidden folder, and its lock, which is held."""
    import fcntl

    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=UNFINISHED[0], suffix=UNFINISHED[1]))
        try:
            lock = (folder / LOCK).open("a+")
        except FileNotFoundError:  # another process has taken it for abandoned
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process is deleting it
            lock.close()
            continue
        except OSError:  # a disk that knows no locks, where nothing is taken for abandoned
            pass
        if _is_the_file_at(folder / LOCK, lock):
            return folder, lock
        lock.close()


def _delete_abandoned(parent: Path) -> None:
    """Delete the hidden folders in which no living process writes."""
    import fcntl

    for folder in parent.glob("*".join(UNFINISHED)):
        try:
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # its process ended before it had a lock
            with suppress(OSError):
                folder.rmdir()  # only where it is empty
        except OSError:  # a living process writes there, or it is another user's
            continue


def _explain_failed_write(error: Exception, path: Path, unfinished: Path) -> None:
    """Raise one sentence where it was the disk that refused; else do nothing."""
    if _is_full(error, unfinished):
        kept = "; the old file is untouched" if path.exists() else ""
        full = OSError(
            f"{str(path)!r} was not written: the disk is full{kept}. "
            "Free some space, or name a file on another disk"
        )
        full.errno = errno.ENOSPC
        raise full from error
    if isinstance(error, OSError) and str(error.filename) == str(unfinished):
        raise _refused(error, path) from None


def _is_full(error: Exception, unfinished: Path) -> bool:
    """Whether a write failed because there was no more room.

    Libraries say it in many ways, and torch's errors (an "enforce fail", an "iostream error") do
    not say it at all: there, a block more is written, to see whether it fits.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return True
        cause = cause.__cause__ or cause.__context__
    if "No space left" in str(error) or "File too large" in str(error):
        return True
    if not isinstance(error, RuntimeError):
        return False
    try:
        with unfinished.open("ab") as file:
            file.write(bytes(BLOCK))
    except OSError as refused:
        return refused.errno in NO_ROOM
    return False


def _refused(error: OSError, path: Path) -> OSError:
    """The same error, as a sentence about the file that was to be written."""
    folder = path.parent
    if not folder.exists():
        reason = f"there is no folder {str(folder)!r}; make it first, or name another"
    elif not folder.is_dir():
        reason = f"{str(folder)!r} is a file, not a folder"
    elif path.is_dir():
        reason = "there is a folder of this name"
    elif error.errno in NO_ROOM:
        reason = "the disk is full"
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        reason = f"nothing may be written into the folder {str(folder)!r}"
    else:
        reason = error.strerror or str(error)
    kind = type(error) if type(error).__module__ == "builtins" else OSError
    sentence = kind(f"{str(path)!r} cannot be written: {reason}")
    sentence.errno = error.errno
    return sentence


@contextmanager
def locked(
    path: str | Path, shared: bool = False, wait: bool = True, keep: bool = True
) -> Iterator[IO]:
    """Hold a lock file, alone or with others who share it.

    The lock goes with the process, however that ends, and with every process that was handed the
    open file.

    Parameters
    ----------
    path : str or Path
        The lock file; made if missing.
    shared : bool
        Hold it beside others who share it, not alone.
    wait : bool
        Wait until it is free.
    keep : bool
        Leave the lock file where it is afterwards, for others to find; else it is deleted.

    Raises
    ------
    BlockingIOError
        If another process holds it and ``wait`` is False.
    """
    import fcntl

    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if not wait:
        operation |= fcntl.LOCK_NB
    while True:
        # open for reading too: a network file system wants that of a shared lock
        with _lock_file(Path(path)) as file:
            fcntl.flock(file, operation)
            if not _is_the_file_at(path, file):  # whoever held it has deleted it meanwhile
                continue
            try:
                yield file
            finally:
                if not keep:
                    Path(path).unlink(missing_ok=True)
            return


def _lock_file(path: Path) -> IO:
    """The open lock file; made if missing."""
    try:
        return path.open("a+")
    except OSError as error:
        raise _refused(error, path) from None


@contextmanager
def held_alone(
    path: str | Path, refusal: str, shared: bool = False, keep: bool = True
) -> Iterator[IO]:
    """Hold a lock file as :func:`locked` does, without waiting.

    Raises
    ------
    ValueError
        With the sentence ``refusal``, if another process holds it.
    """
    with ExitStack() as held:
        try:
            file = held.enter_context(locked(path, shared, wait=False, keep=keep))
        except BlockingIOError:
            raise ValueError(refusal) from None
        yield file


def _is_the_file_at(path: str | Path, file: IO) -> bool:
    """Whether an open file is still the one that lies at the path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
