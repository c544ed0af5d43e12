"""Processes that another has started to work for it end when it ends, also where it is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process as soon as the one that started it by `multiprocessing` has ended.

    Without it a worker waits for ever for work from the dead, and a trainer writes where the next run begins.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
