"""The version of this package, and nothing else, so that the build can read it without importing the rest."""

from __future__ import annotations

__version__ = "0.1.0"
