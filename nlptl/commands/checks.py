"""What can be wrong with a run and is known before it writes or loads anything."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from transformers import integrations

from nlptl.config import RunConfig, TrainingConfig
from nlptl.errors import ConfigError, UsageError
from nlptl.training.precision import resolve_device, training_precision

# The keys, of any command, that name a model folder, and those that name files or folders to read.
MODEL_KEYS = ("model", "backward_model", "compare")
TEXT_KEYS = ("data", "validation", "test", "text", "validation_text", "lm_text", "words_of")
CHECKPOINT_KEYS = ("weights", "backward_weights", "vocab", "options", "directory")


def check_hardware(config: RunConfig) -> None:
    """The device is there and trains in the precision asked for.

    Raises:
        UsageError: it is not, or does not.
    """
    training_precision(config.precision, resolve_device(config.device))


def check_training(config: TrainingConfig) -> None:
    """Device, precision, tracker, and that the output lies apart from what is read.

    Raises:
        UsageError: of the device, the precision or the output.
        ConfigError: the tracker is not installed.
    """
    check_output_apart(config, config.output)
    check_hardware(config)
    if config.tracker != "none" and not getattr(integrations, f"is_{config.tracker}_available")():
        raise ConfigError(
            f"{config.tracker} is not installed", "tracker", f"pip install {config.tracker}, or leave it out"
        )


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
    for key in (*TEXT_KEYS, *CHECKPOINT_KEYS):
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
