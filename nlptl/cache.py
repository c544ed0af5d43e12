"""Where things that can be made again are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """`$NLPTL_CACHE/kind`, by default under the user's cache folder; safe to delete at any time."""
    root = os.environ.get("NLPTL_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nlptl"
    return base / kind
