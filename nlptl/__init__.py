"""nlptl: transfer learning for text classification.

`import nlptl` makes the Auto classes of `transformers` know the models of every family here.
"""

import sys
from pathlib import Path

from nlptl.version import __version__

__all__ = ["__version__", "register_families"]


def register_families() -> None:
    """Register every family with AutoConfig, AutoTokenizer and the AutoModel classes."""
    from nlptl.families import FAMILIES

    for family in FAMILIES.values():
        family.register()


def _is_command_line() -> bool:
    """Whether this process is `nlptl ...` or `python -m nlptl ...`, which registers when a command needs it, so that
    `nlptl --help` does not wait for torch. No other program can have this name: a script `nlptl.py` would hide the
    package from itself."""
    if sys.argv[0] == "-m":
        words = sys.orig_argv
        return "-m" in words and words[words.index("-m") + 1] == __name__
    return Path(sys.argv[0]).stem == __name__


if not _is_command_line():
    register_families()
