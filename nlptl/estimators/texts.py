"""What both estimators take as X."""

from __future__ import annotations

from typing import Any


def checked_texts(X: Any) -> list[str]:
    """A list, array or series of texts -> a list of strings.

    Raises:
        ValueError: it is one text, a table, empty, or holds something else than strings.
    """
    if isinstance(X, (str, bytes)):
        raise ValueError("X is one text; give a list of texts, such as [text]")
    if getattr(X, "ndim", 1) != 1:
        shape = getattr(X, "shape", "more than one dimension")
        raise ValueError(f"X is a table ({shape}); give one column of texts, such as frame['text']")
    texts = list(X)
    if not texts:
        raise ValueError("X holds no text (0 samples)")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"X[{number}] is of type {type(text).__name__}, not a string")
    return [str(text) for text in texts]
