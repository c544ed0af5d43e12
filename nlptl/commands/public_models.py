"""`nlptl models download`: a public model into the cache or a folder."""

from __future__ import annotations

from typing import Any

import nlptl.commands.run_folder as run_folder
from nlptl.commands.invocation import Invocation
from nlptl.commands.model_list import known
from nlptl.commands.models import OUTPUTS, move_to_output
from nlptl.commands.output_lock import locks_released
from nlptl.config import DownloadModelConfig
from nlptl.errors import UsageError
from nlptl.pretrained.downloads import locked
from nlptl.pretrained.named import local_model, prepared
from nlptl.pretrained.places import embedded_models, kept_folder
from nlptl.pretrained.public_models import public_models


@locks_released()
def download_model(config: DownloadModelConfig, invocation: Invocation) -> dict[str, Any]:
    """Into the cache, or into `--output`."""
    name = known(config.name)
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
