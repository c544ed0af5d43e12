"""`nlptl models list` and `show`: what is known of the models that have a name.

Nothing here needs a library that is slow to import: a question is answered at once.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from nlptl.commands.invocation import Invocation
from nlptl.config import ListModelsConfig, ShowModelConfig, nearest
from nlptl.errors import ModelError
from nlptl.pretrained.places import EMBEDDED, download_facts, embedded_models, kept_folder
from nlptl.pretrained.public_models import PublicModel, public_models


def list_models(config: ListModelsConfig, invocation: Invocation) -> dict[str, Any]:
    """Every name, those that ship first."""
    return {"models": [*map(_embedded, embedded_models()), *map(_public, public_models().values())]}


def show_model(config: ShowModelConfig, invocation: Invocation) -> dict[str, Any]:
    """What is known of one model before and after its download."""
    name = known(config.name)
    if name in embedded_models():
        return {**_embedded(name), "path": str(EMBEDDED / name), "card": str(EMBEDDED / name / "README.md")}
    model = public_models()[name]
    report = _public(model)
    facts = download_facts(model)
    report["path"] = None if facts is None else str(kept_folder(model) / "model")
    if model.companion is not None:
        report["companion"] = model.companion
    report["page"] = model.page
    report["files"] = [
        {
            "name": file.name,
            "addresses": list(file.addresses),
            "bytes": file.bytes,
            "bytes_at_most": file.bytes_at_most,
            "hash": None if file.hash is None else file.hash.model_dump(),
        }
        for file in model.files
    ]
    return report


def known(name: str | None) -> str:
    """The name, where it is one of the list.

    Raises:
        ModelError: it is none.
    """
    names = [*embedded_models(), *public_models()]
    if name not in names:
        cause = f"no model has this name{nearest(str(name), names)}"
        raise ModelError(cause, str(name), "see nlptl models list")
    return name


def _embedded(name: str) -> dict[str, Any]:
    folder = EMBEDDED / name
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _, header, card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    described = card.split("\n\n")[1]  # below its heading
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {
        "name": name,
        "family": config["model_type"].removeprefix("nlptl-"),
        "bytes": size,
        "bytes_at_most": size,
        "licence": yaml.safe_load(header)["license"],
        "ships": True,
        "downloaded": True,
        "architecture": " ".join(described.split()).rstrip("."),
    }


def _public(model: PublicModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "family": model.family,
        "bytes": model.bytes,
        "bytes_at_most": model.bytes_at_most,
        "licence": model.licence,
        "ships": False,
        "downloaded": download_facts(model) is not None,
        "architecture": model.architecture,
    }
