"""What came of inputs: each is refused in one clear line or taken soundly, and nothing else is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from nlptl.errors import NlptlError

PATIENCE = 60  # seconds, beyond which an input hangs
T = TypeVar("T")


@dataclass
class Tally:
    """How many inputs of one kind there were, and what came of them."""

    tried: int = 0
    refused: int = 0
    sound: int = 0
    tracebacks: int = 0
    hangs: int = 0

    def outcome(self, work: Callable[[], T]) -> T | NlptlError:
        """What `work` gives, or its refusal; any other error goes on, and a refusal must be one short line."""
        self.tried += 1
        began = time.monotonic()
        given: T | NlptlError
        try:
            given = work()
        except NlptlError as refusal:
            given = refusal
        except BaseException:  # that of a test which has run out of time among them
            self.tracebacks += 1
            raise
        finally:
            self.hangs += time.monotonic() - began > PATIENCE
        if not isinstance(given, NlptlError):
            self.sound += 1
            return given
        assert given.exit_code == 2
        assert "\n" not in str(given)
        assert len(str(given)) < 2000
        self.refused += 1
        return given

    def command(self, work: Callable[[], int], said: Callable[[], str]) -> int:
        """The exit code of a command line, counted by it and by what was said on standard error."""
        self.tried += 1
        began = time.monotonic()
        code = -1
        try:
            code = work()
        finally:
            self.hangs += time.monotonic() - began > PATIENCE
            text = said()
            if code < 0 or "Traceback" in text or "error: internal" in text:
                self.tracebacks += 1
            elif code == 2:
                self.refused += 1
            elif code == 0:
                self.sound += 1
        return code
