"""Ctrl-C and SIGTERM as a wish to stop soon: the run finishes its step, saves, and says how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nlptl import processes


class StopRequest:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a `StopRequest`; the second one acts as usual.

    What started several processes passes on a signal that the terminal has sent them already, and ends those that are
    not done after half a minute: there further signals are the same wish.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may install handlers
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def ask(number: int, frame: FrameType | None) -> None:
        request.asked = True
        if processes.started() > 1:
            return
        for each in signals:
            signal.signal(each, before[each])

    for number in signals:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number in signals:
            signal.signal(number, before[number])
