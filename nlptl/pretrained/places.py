"""What a user names as a model, looked up on this disk; light, so that a wrong name is told at once."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from nlptl.cache import cache_folder
from nlptl.errors import ModelError
from nlptl.pretrained.public_models import PublicModel, public_models

EMBEDDED = Path(__file__).parent / "embedded"


def embedded_models() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir())


def local_model_folder(name: str) -> Path | None:
    """The folder of a run, of a model or of an embedded model; None of a public model and of a Hub id.

    Raises:
        ModelError: there is none of that name, and the Hub has none of this form; or it lacks config or weights.
    """
    path = Path(os.path.expanduser(name))
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # such as a name that is too long
        raise ModelError(f"no such model folder ({error.strerror})", name[:80], "check the path") from None
    if path.is_symlink() and not (is_folder or is_file):
        raise ModelError("a link that leads nowhere", name, "mend the link")
    if is_file:
        raise ModelError("a file where a model folder is due", name, "name the folder that holds it")
    if is_folder:
        folder = path / "model" if (path / "model" / "config.json").is_file() else path
        check_is_model(folder)
        return folder
    if name in embedded_models():
        return EMBEDDED / name
    if name not in public_models() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise ModelError("no such model folder" + _near(path), name, "check the path")
    return None


def kept_folder(model: PublicModel) -> Path:
    """Where a public model is kept: `model/`, and `download.json` with what its download came to."""
    return cache_folder("models") / model.name


def download_facts(model: PublicModel) -> dict[str, Any] | None:
    """What the download of a model that is here came to; None of one that is not."""
    try:
        facts: dict[str, Any] = json.loads((kept_folder(model) / "download.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts


def check_is_model(folder: Path) -> None:
    """The folder has a config and weights.

    Raises:
        ModelError: one is missing.
    """
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise ModelError(f"no {file}", str(folder), "a model folder is what a run writes as model/")


def check_may_classify(name: str) -> None:
    """It is not the name of a model that comes with the package or is public: none of them is a classifier.

    Raises:
        ModelError: it is.
    """
    if name in (*embedded_models(), *public_models()) and not Path(name).exists():
        raise no_classifier(name)


def no_classifier(name: str) -> ModelError:
    """Says that a model is to be trained first."""
    remedy = f"train one: nlptl finetune --model {name} ..."
    return ModelError("a language model, not a classifier", name, remedy)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [*(p.name for p in path.parent.iterdir()), *embedded_models(), *public_models()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" (there is {close[0]!r})" if close else ""
