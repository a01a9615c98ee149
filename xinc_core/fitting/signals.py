"""Signals that ask a fit to end: noted, and answered when the epoch is done.

Ctrl-C sends SIGINT, a scheduler that wants its machine back SIGTERM, a terminal that closes SIGHUP.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# SIGHUP does not exist everywhere.
ASK_TO_END = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A fit was asked to end, and did, with its state saved.

    Attributes
    ----------
    signal : int
        The number of the signal that asked.
    """

    def __init__(self, sentence: str, number: int):
        super().__init__(sentence)
        self.signal = int(number)


@dataclass
class Noted:
    """The number of the signal that came; 0 before one has."""

    came: int = 0


@contextmanager
def deferred_signals() -> Iterator[Noted]:
    """Note signals that ask to end, instead of breaking off in the middle of a step.

    A signal that the caller ignores (SIGHUP under ``nohup``) stays ignored. In a thread that is not
    the main one no signal arrives, and none can be handled.
    """
    noted = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number, frame) -> None:
        noted.came = number

    previous = {}
    for number in ASK_TO_END:
        # None: a handler that was not set from Python, which could not be put back
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            previous[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
