"""nlptl: transfer learning for text classification.

`import nlptl` makes the Auto classes of `transformers` know the models of every family here. The commands are
functions too (`nlptl.finetune(model=..., data=..., output=...)`), and there are two estimators for scikit-learn.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptl.version import __version__

if TYPE_CHECKING:
    from nlptl.api import evaluate, extract_features, finetune, predict, pretrain
    from nlptl.errors import NlptlError
    from nlptl.estimators import TextClassifier, TextFeatures

__all__ = [
    "NlptlError",
    "TextClassifier",
    "TextFeatures",
    "__version__",
    "evaluate",
    "extract_features",
    "finetune",
    "predict",
    "pretrain",
    "register_families",
]

# Where the names lie that are looked up when they are first used.
_PLACES = {
    "NlptlError": "nlptl.errors",
    "TextClassifier": "nlptl.estimators",
    "TextFeatures": "nlptl.estimators",
    "evaluate": "nlptl.api",
    "extract_features": "nlptl.api",
    "finetune": "nlptl.api",
    "predict": "nlptl.api",
    "pretrain": "nlptl.api",
}


def register_families() -> None:
    """Register every family with AutoConfig, AutoTokenizer and the AutoModel classes."""
    from nlptl.families import FAMILIES

    for family in FAMILIES.values():
        family.register()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
