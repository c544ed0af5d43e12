"""Runs command lines of `nlptl` that are struck while they run; the libraries are imported once, and each is a fork.

usage: python forge.py    (a request a line as JSON, an answer a line as JSON; see `Strike` in `striking.py`)

Places are counted with an audit hook of Python: every file of the job that is opened to be written, renamed, or
removed, and every folder that is made, is one. What native code opens is not seen; moments of time strike there.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ORPHANS = 20  # seconds in which what a dead command had started has to end
HUNG = 180  # seconds after which a command is told to say where it hangs, and ended


def main() -> None:
    import torch

    import nlptl
    import nlptl.commands.compare
    import nlptl.commands.comparison_cells as cells
    import nlptl.commands.extract_features
    import nlptl.commands.predict
    import nlptl.commands.pretrain
    import nlptl.evaluation.baseline
    import nlptl.evaluation.learning_curve_report  # for the forks

    nlptl.register_families()
    torch.set_num_threads(1)
    cells.get_context = lambda kind: _forking()  # type: ignore[assignment]  # a cell, too, has everything imported
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), file=answers, flush=True)


def _forking() -> Any:
    import multiprocessing

    return multiprocessing.get_context("fork")


def run(
    words: list[str],
    folder: str,
    environment: dict[str, str],
    strike: dict[str, Any],
) -> dict[str, Any]:
    """One command line in a folder, in a child that is struck; how it ended."""
    places = mmap.mmap(-1, 16)
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(printed.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os.chdir(folder)
            os.environ.update(environment)
            _child(words, strike, Counter(places, folder, strike))
        hung = threading.Timer(HUNG, os.kill, (child, signal.SIGABRT))
        hung.start()
        if "after" in strike:
            _strike_later(child, began + strike["after"], strike)
        status, rival = _waited_for_end(child, lambda: run(strike["rival"], folder, environment, {}))
        hung.cancel()
        hung.join()  # before the next fork
        seconds = time.monotonic() - began
        orphans = _outlive(child)
        printed.seek(0)
        said.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "printed": printed.read().decode(errors="replace"),
            "said": said.read().decode(errors="replace"),
            "seconds": seconds,
            "places": struct.unpack("q", places[:8])[0],
            "readings": struct.unpack("q", places[8:])[0],
            "orphans": orphans,
            "hung": seconds > HUNG,
            "rival": rival,
        }


class Counter:
    """Counts the places where a job writes, and openings of its data file, and strikes at the chosen one.

    Args:
        counts: of the places and of the openings, shared with the processes that the job starts.
    """

    def __init__(self, counts: mmap.mmap, folder: str, strike: dict[str, Any]) -> None:
        self.counts, self.folder, self.strike = counts, os.path.realpath(folder), strike
        self.struck = os.getpid()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, os.PathLike)):
                writes = bool(flags & WRITING) if isinstance(flags, int) else False
                self._opening(os.path.abspath(path), writes)
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            self._writing(arguments[0])

    def _opening(self, path: str, writes: bool) -> None:
        if writes:
            self._writing(path)
        elif path == self.strike.get("file") and self._count(1) == self.strike.get("opening"):
            _damage(Path(path), self.strike["damage"])

    def _writing(self, path: Any) -> None:
        # What is removed in a folder that is open has a name without a folder: it counts as the job's.
        if os.path.isabs(path) and not os.path.realpath(os.path.dirname(path)).startswith(self.folder):
            return
        place = self.strike.get("place")
        count = self._count(0)
        if count == place or count == self.strike.get("place_again"):
            if "forbidden" in self.strike:
                _forbid(Path(self.strike["forbidden"]))
            elif "damage" in self.strike:
                _damage(Path(self.strike["file"]), self.strike["damage"])
            else:
                os.kill(self.struck, self.strike["signal"])
                if self.strike["signal"] == signal.SIGKILL:
                    time.sleep(60)  # of a process of the command's own, which is to die with it

    def _count(self, which: int) -> int:
        field = slice(8 * which, 8 * which + 8)
        count = int(struct.unpack("q", self.counts[field])[0]) + 1
        self.counts[field] = struct.pack("q", count)
        return count


def _forbid(output: Path) -> None:
    """Nothing more can be made or removed in the output, or beside it where it is a file."""
    for folder in [path for path in (output, *output.rglob("*")) if path.is_dir()] or [output.parent]:
        folder.chmod(0o555)


def _damage(file: Path, how: str) -> None:
    if how == "vanishes":
        file.unlink()
    elif how == "shrinks":
        with open(file, "rb+") as opened:
            opened.truncate(file.stat().st_size // 2)
    elif how == "halves":  # at the end of a line, which tells nothing
        with open(file, "rb+") as opened:
            opened.truncate(file.read_bytes().index(b"\n", file.stat().st_size // 2) + 1)
    else:
        with open(file, "ab") as opened:
            opened.write(b'{"text": "one row more", "label": "good"}\n')


def _child(words: list[str], strike: dict[str, Any], counter: Counter) -> None:
    code = 70
    try:
        from nlptl import cli

        faulthandler.enable()
        _limit(strike)
        sys.addaudithook(counter)
        sys.argv = ["nlptl", *words]
        code = cli.main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _limit(strike: dict[str, Any]) -> None:
    if "memory" in strike:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (mapped + strike["memory"],) * 2)
    if "file_bytes" in strike:
        resource.setrlimit(resource.RLIMIT_FSIZE, (strike["file_bytes"],) * 2)
    if strike.get("powerless"):  # the superuser may write anywhere, by a capability that can be laid down
        header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
        if ctypes.CDLL(None, use_errno=True).capset(header, none):
            raise OSError(ctypes.get_errno(), "capset")


def _waited_for_end(child: int, meanwhile: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any] | None]:
    """The child's status, and what came of the command line that ran while the child was stopped."""
    rival = None
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return status, rival
        rival = meanwhile()
        os.kill(child, signal.SIGCONT)


def _strike_later(child: int, moment: float, strike: dict[str, Any]) -> None:
    while time.monotonic() < moment:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(min(0.002, max(0.0, moment - time.monotonic())))
    if "damage" in strike:
        _damage(Path(strike["file"]), strike["damage"])
    else:
        os.kill(child, strike["signal"])


def _outlive(session: int) -> int:
    """How many processes that a dead command has started go on without end."""
    return _waited_for(lambda: _living(session))


def _waited_for(count: Callable[[], int]) -> int:
    deadline = time.monotonic() + ORPHANS
    while left := count():
        if time.monotonic() > deadline:
            return left
        time.sleep(0.01)
    return 0


def _living(session: int) -> int:
    living = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        living += its_session == str(session) and state not in "ZX"
    return living


if __name__ == "__main__":
    main()
