"""`nlptl models list`, `show` and `download`: the models that have a name."""

from __future__ import annotations

import json
from typing import Any

import yaml

import nlptl.commands.run_folder as run_folder
from nlptl.commands.invocation import Invocation
from nlptl.commands.models import OUTPUTS, move_to_output
from nlptl.commands.output_lock import locks_released
from nlptl.config import DownloadModelConfig, ListModelsConfig, ShowModelConfig, nearest
from nlptl.errors import ModelError, UsageError
from nlptl.families import FAMILIES
from nlptl.pretrained.downloads import locked
from nlptl.pretrained.named import download_facts, kept_folder, local_model, prepared
from nlptl.pretrained.places import EMBEDDED, embedded_models
from nlptl.pretrained.public_models import PublicModel, public_models


def list_models(config: ListModelsConfig, invocation: Invocation) -> dict[str, Any]:
    """Every name, those that ship first."""
    return {"models": [*map(_embedded, embedded_models()), *map(_public, public_models().values())]}


def show_model(config: ShowModelConfig, invocation: Invocation) -> dict[str, Any]:
    """What is known of one model before and after its download."""
    name = _known(config.name)
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


@locks_released()
def download_model(config: DownloadModelConfig, invocation: Invocation) -> dict[str, Any]:
    """Into the cache, or into `--output`."""
    name = _known(config.name)
    if name in embedded_models():
        raise UsageError(
            "a model that ships with nlptl", name, f"there is nothing to download: --model {name}"
        )
    model, force = public_models()[name], invocation.force
    kept = kept_folder(model)
    if config.output is not None:
        run_folder.check_output_folder(config.output, resume=False, force=force, outputs=OUTPUTS)
    if invocation.dry_run:
        addresses = [file.addresses[0] for file in model.files]
        place = str(config.output or kept)
        return {
            "command": "models download",
            "output": place,
            "bytes_at_most": model.bytes_at_most,
            "files": addresses,
        }
    if config.output is None:
        facts = local_model(model, offline=config.offline, reporter=invocation.reporter, afresh=force)
        return {"output": str(kept), **facts}
    with (
        locked(model, invocation.reporter),
        prepared(model, config.output, offline=config.offline, reporter=invocation.reporter) as (
            ready,
            facts,
        ),
    ):
        move_to_output(ready, config.output)
    return {"output": str(config.output), **facts}


def _known(name: str | None) -> str:
    """A name of the list.

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
        "family": next(family.name for family in FAMILIES.values() if family.adopts(config)),
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
