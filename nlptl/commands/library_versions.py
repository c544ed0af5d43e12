"""What a page or a table of results was made with."""

from __future__ import annotations

from nlptl.version import __version__


def library_versions() -> dict[str, str]:
    """The versions of nlptl and of the libraries that its figures come from, by name."""
    import sklearn
    import torch
    import transformers

    return {
        "nlptl": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "scikit-learn": sklearn.__version__,
    }
