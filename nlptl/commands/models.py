"""`nlptl models import`: a checkpoint of an original system -> a model folder of ours."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import nlptl.commands.run_folder as run_folder
from nlptl.commands.checks import check_output_apart
from nlptl.commands.invocation import Invocation
from nlptl.config import ImportConfig
from nlptl.data.lm_text import find_lm_text
from nlptl.errors import UsageError
from nlptl.families import FAMILIES

OUTPUTS = run_folder.Outputs(("model",))


def import_checkpoint(config: ImportConfig, invocation: Invocation) -> dict[str, Any]:
    """Convert once to safetensors; a second, backward checkpoint goes to `OUTPUT-backward`."""
    family = next(f for f in FAMILIES.values() if config.source in f.imports)
    if config.weights is None:
        raise UsageError("--weights is missing", "nlptl models import", "for example --weights lstm_fwd.pth")
    _check_options(config)
    texts = find_lm_text(config.words_of, offline=config.offline) if config.words_of else None
    named = {"weights": config.weights, "vocab": config.vocab, "options": config.options}
    files = {name: Path(path) for name, path in named.items() if path is not None}
    directions = {"forward": files}
    if config.backward_weights is not None:
        directions["backward"] = {**files, "weights": Path(config.backward_weights)}
    for paths in directions.values():
        for path in paths.values():
            if not path.is_file():
                raise UsageError("no such file", str(path), "check the path")
    outputs = {} if config.output is None else {name: _folder(config.output, name) for name in directions}
    for output in outputs.values():
        check_output_apart(config, output)
    if invocation.dry_run:
        return {
            "command": "models import",
            "family": family.name,
            "files": [str(path) for path in files.values()],
        }
    for name in directions:
        run_folder.check_output_folder(
            outputs.get(name), resume=False, force=invocation.force, outputs=OUTPUTS
        )
    facts: dict[str, dict[str, Any]] = {}
    # Nothing that is there is touched before every checkpoint has proved good.
    with contextlib.ExitStack() as stack:
        converted = {name: Path(stack.enter_context(_beside(outputs[name]))) / "model" for name in directions}
        for name, paths in directions.items():
            converted[name].mkdir()
            facts[name] = family.convert(paths, converted[name], backward=name == "backward", texts=texts)
        for name, folder in converted.items():
            # Forced, because the folder was found empty or to be replaced, and now holds the temporary one.
            run_folder.open_run_folder(outputs[name], resume=False, force=True, outputs=OUTPUTS)
            os.replace(folder, outputs[name] / "model")
    for note in [note for found in facts.values() for note in found.pop("notes")]:
        invocation.reporter.note(note)
    report = {"output": str(outputs["forward"]), "family": family.name, **facts["forward"]}
    if "backward" in facts:
        report["backward_output"] = str(outputs["backward"])
    return report


def _check_options(config: ImportConfig) -> None:
    """Each system's checkpoints have their own files.

    Raises:
        UsageError: an option that the system named does not know, or one that it needs and has not.
    """
    takes = {"fastai": ("vocab", "backward_weights"), "allennlp": ("options",)}
    own = takes.get(config.source or "", ("words_of",))
    for key in ("vocab", "backward_weights", "options", "words_of"):
        if getattr(config, key) not in (None, ()) and key not in own:
            option = "--" + key.replace("_", "-")
            raise UsageError(f"{option} means nothing here", f"--from {config.source}", "leave it out")
    if config.source == "allennlp" and config.options is None:
        raise UsageError("--options is missing", "--from allennlp", "for example --options options.json")


def _folder(output: Path, direction: str) -> Path:
    """Where the model of a direction goes: the output itself, or a folder beside it."""
    if direction == "forward":
        return output
    named = output if output.name not in ("", "..") else Path(os.path.realpath(output))
    return named.with_name(named.name + "-backward")


def _beside(output: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the file system of `output`, which need not be there yet."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if path.is_dir())
    return tempfile.TemporaryDirectory(prefix=".nlptl-import-", dir=there)
