"""Runs command lines of `nlptl`, each in a child process with little memory and time, and says how each ended.

usage: python nursery.py LINES.json    (a list of [folder, words]; prints a list of {code, said, seconds})

The libraries are imported once: a child begins as a copy of this process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

MEMORY = 1500 * 2**20  # bytes, beside what the libraries have mapped
SECONDS = 10  # of a processor


def main() -> None:
    import torch

    import nlptl
    import nlptl.commands.models
    import nlptl.commands.predict

    nlptl.register_families()
    torch.set_num_threads(1)
    lines = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps([run(folder, words) for folder, words in lines]))


def run(folder: str, words: list[str]) -> dict[str, Any]:
    """One command line in a folder, in a child of its own; `seconds` are of a processor."""
    from nlptl import cli

    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
                resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                os.chdir(folder)
                sys.argv = ["nlptl", *words]
                code = cli.main()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status, used = os.wait4(child, 0)
        said.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "said": said.read().decode(errors="replace"),
            "seconds": used.ru_utime + used.ru_stime,
        }


if __name__ == "__main__":
    main()
