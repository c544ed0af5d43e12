"""`nlptl models import`: a checkpoint of an original system -> a model folder of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nlptl.commands.run_folder as run_folder
from nlptl.commands.invocation import Invocation
from nlptl.config import ImportConfig
from nlptl.errors import UsageError
from nlptl.families import FAMILIES
from nlptl.training.checkpoints import written_whole


def import_checkpoint(config: ImportConfig, invocation: Invocation) -> dict[str, Any]:
    """Convert once to safetensors; a second, backward checkpoint goes to `OUTPUT-backward`."""
    family = next(f for f in FAMILIES.values() if config.source in f.imports)
    if config.weights is None:
        raise UsageError("--weights is missing", "nlptl models import", "for example --weights lstm_fwd.pth")
    named = {"weights": config.weights, "vocab": config.vocab}
    files = {name: Path(path) for name, path in named.items() if path is not None}
    directions = {"forward": files}
    if config.backward_weights is not None:
        directions["backward"] = {**files, "weights": Path(config.backward_weights)}
    for paths in directions.values():
        for path in paths.values():
            if not path.is_file():
                raise UsageError("no such file", str(path), "check the path")
    if invocation.dry_run:
        return {
            "command": "models import",
            "family": family.name,
            "files": [str(path) for path in files.values()],
        }
    report: dict[str, Any] = {}
    for direction, paths in directions.items():
        output = config.output
        if direction == "backward" and output is not None:
            output = output.with_name(output.name + "-backward")
        folder = run_folder.open_run_folder(output, resume=False, force=invocation.force)
        with written_whole(folder / "model") as partial:
            facts = family.convert(paths, partial, backward=direction == "backward")
        for note in facts.pop("notes"):
            invocation.reporter.note(note)
        if not report:
            report = {"output": str(folder), "family": family.name, **facts}
        else:
            report["backward_output"] = str(folder)
    return report
