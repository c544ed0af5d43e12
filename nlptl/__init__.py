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


# The console script registers in its commands instead, so that `nlptl --help` does not wait for torch. No other
# program can have this name: a script `nlptl.py` would hide the package from itself.
if Path(sys.argv[0]).stem != "nlptl":
    register_families()
