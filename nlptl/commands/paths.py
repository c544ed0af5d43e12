"""What can be wrong with the names of a run: sources and models that are not there, outputs that may not be written.

Nothing here needs a library that is slow to import, so that a mistake is told before any is.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path

from nlptl import processes
from nlptl.commands.run_folder import check_output_file, check_output_folder
from nlptl.config import EvaluateConfig, PredictConfig, RunConfig, TrainingConfig
from nlptl.data.names import is_address, local_source
from nlptl.errors import UsageError
from nlptl.pretrained.places import check_may_classify, local_model_folder

# The keys, of any command, that name a model folder, and those that name files or folders to read.
MODEL_KEYS = ("model", "backward_model", "compare")
DATA_KEYS = ("data", "validation", "test")
TEXT_KEYS = ("text", "validation_text", "lm_text", "words_of")
CHECKPOINT_KEYS = ("weights", "backward_weights", "vocab", "options", "directory")


def check_paths(config: RunConfig, *, resume: bool, force: bool, dry_run: bool) -> None:
    """What the command itself will find missing or in the way, found before it is imported.

    Raises:
        NlptlError: a source or a model is not there; a model is no classifier where one is due; or the output is
            there already, or cannot be written.
    """
    for key in MODEL_KEYS:
        if (name := getattr(config, key, None)) is not None:
            if isinstance(config, (PredictConfig, EvaluateConfig)):
                check_may_classify(name)
            local_model_folder(name)
    for source in _sources(config):
        local_source(source)
    if processes.started() > 1 or dry_run or config.output is None:  # a leader may have begun to write
        return
    if isinstance(config, TrainingConfig):
        check_output_apart(config, config.output)
        check_output_folder(config.output, resume=resume, force=force)
    if isinstance(config, PredictConfig) and config.data is not None:
        check_output_file(config.output, config.data, force=force)


def _sources(config: RunConfig) -> list[str]:
    """Those of its sources that stand for themselves: no address, no glob, not standard input. What leads elsewhere, or
    can be no path, is left to who reads it.
    """
    named = [getattr(config, key, None) for key in DATA_KEYS]
    named += [source for key in TEXT_KEYS for source in getattr(config, key, ())]
    plain = [source for source in named if source is not None and source != "-" and not is_address(source)]
    return [
        source
        for source in plain
        if not any(sign in source for sign in "*?[\0") and not os.path.islink(source)
    ]


def check_output_apart(config: RunConfig, output: Path | None) -> None:
    """What a run writes, or `--force` removes, is none of what it reads.

    Raises:
        UsageError: the output folder is that of a model that is read, contains it or lies inside it, or contains a
            file or folder of the data, or a checkpoint that is imported.
    """
    if output is None:
        return
    for key in MODEL_KEYS:
        for name, folder in _on_disk(getattr(config, key, None)):
            if _lies_in(output, folder) or _lies_in(folder, output):
                raise _entangled(
                    "the output folder and the model's are one, or one holds the other", key, name, output
                )
    for key in (*DATA_KEYS, *TEXT_KEYS, *CHECKPOINT_KEYS):
        for name, source in _on_disk(getattr(config, key, None)):
            if _lies_in(source, output):
                raise _entangled("the output folder holds what the run reads", key, name, output)


def _entangled(cause: str, key: str, name: str, output: Path) -> UsageError:
    option = "--" + key.replace("_", "-")
    return UsageError(cause, f"--output {output} with {option} {name}", "name another --output")


def _on_disk(value: str | Path | tuple[str, ...] | None) -> list[tuple[str, Path]]:
    """Each name with each path here that it stands for: none for a name on the Hub, several for a glob."""
    if value is None:
        return []
    found: list[tuple[str, Path]] = []
    for name in value if isinstance(value, tuple) else (str(value),):
        path = os.path.expanduser(name)
        # A name with brackets in it may be that of a file, and is looked for as such first.
        paths = [path] if os.path.exists(path) else glob.glob(path, recursive=True)
        found += [(name, Path(each)) for each in paths]
    return found


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, which need not be there yet, is the folder or below it, by whatever names and links."""
    if not os.path.exists(folder):
        return False
    real = Path(os.path.realpath(path))
    return any(os.path.samefile(each, folder) for each in (real, *real.parents) if os.path.exists(each))
