"""`nlptl models import`: a checkpoint of an original system -> a model folder of ours."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import nlptl.commands.run_folder as run_folder
from nlptl.commands.invocation import Invocation
from nlptl.commands.output_lock import locks_released
from nlptl.commands.paths import check_output_apart
from nlptl.config import ImportConfig
from nlptl.data.lm_text import find_lm_text
from nlptl.errors import UsageError
from nlptl.families.base import ImportSettings
from nlptl.pretrained.conversion import Converted, converted, family_of

OUTPUTS = run_folder.Outputs(("model",))


@locks_released()
def import_checkpoint(config: ImportConfig, invocation: Invocation) -> dict[str, Any]:
    """Convert once to safetensors; a second, backward checkpoint goes to `OUTPUT-backward`."""
    assert config.source is not None  # the command line asks for it
    family = family_of(config.source)
    _check_options(config)
    texts = find_lm_text(config.words_of, offline=config.offline) if config.words_of else None
    named = {
        "weights": config.weights,
        "vocab": config.vocab,
        "options": config.options,
        "directory": config.directory,
    }
    files = {name: Path(path) for name, path in named.items() if path is not None}
    directions = {"forward": files}
    if config.backward_weights is not None:
        directions["backward"] = {**files, "weights": Path(config.backward_weights)}
    for paths in directions.values():
        for name, path in paths.items():
            kind, there = ("folder", path.is_dir()) if name == "directory" else ("file", path.is_file())
            if not there:
                raise UsageError(f"no such {kind}", str(path), "check the path")
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
        ready = {}
        for name, paths in directions.items():
            settings = ImportSettings(backward=name == "backward", texts=texts, heads=config.heads)
            ready[name] = stack.enter_context(converted(config.source, paths, outputs[name], settings))
        for name, model in ready.items():
            move_to_output(model, outputs[name])
            facts[name] = model.facts
    for note in [note for model in ready.values() for note in model.notes]:
        invocation.reporter.note(note)
    report = {"output": str(outputs["forward"]), "family": family.name, **facts["forward"]}
    if "backward" in facts:
        report["backward_output"] = str(outputs["backward"])
    return report


def move_to_output(model: Converted, output: Path) -> None:
    """Put a converted model into an output folder that `check_output_folder` has let pass."""
    # Forced, because the folder was found empty or to be replaced, and now holds the temporary one.
    run_folder.open_run_folder(output, resume=False, force=True, outputs=OUTPUTS)
    os.replace(model.path, output / "model")


# What is needed of each system, with an example, and what else it may have.
NEEDS = {
    "fastai": {"weights": "lstm_fwd.pth"},
    "allennlp": {"weights": "weights.hdf5", "options": "options.json"},
    "openai": {"directory": "finetune-transformer-lm/model"},
    "word2vec": {"weights": "vectors.bin"},
    "glove": {"weights": "glove.6B.300d.txt"},
}
TAKES = {
    "fastai": ("vocab", "backward_weights"),
    "openai": ("heads",),
    "word2vec": ("words_of",),
    "glove": ("words_of",),
}
OPTIONS = ("weights", "vocab", "backward_weights", "options", "directory", "heads", "words_of")


def _check_options(config: ImportConfig) -> None:
    """Each system's checkpoints have their own files.

    Raises:
        UsageError: an option that the system named does not know, or one that it needs and has not.
    """
    source = config.source or ""
    for key in OPTIONS:
        if getattr(config, key) not in (None, ()) and key not in (*NEEDS[source], *TAKES.get(source, ())):
            option = "--" + key.replace("_", "-")
            raise UsageError(f"{option} means nothing here", f"--from {source}", "leave it out")
    for key, example in NEEDS[source].items():
        if getattr(config, key) is None:
            raise UsageError(f"--{key} is missing", f"--from {source}", f"for example --{key} {example}")


def _folder(output: Path, direction: str) -> Path:
    """Where the model of a direction goes: the output itself, or a folder beside it."""
    if direction == "forward":
        return output
    named = output if output.name not in ("", "..") else Path(os.path.realpath(output))
    return named.with_name(named.name + "-backward")
