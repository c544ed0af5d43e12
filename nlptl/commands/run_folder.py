"""A run's folder: refused where it would overwrite, resumed where it was left, and written whole.

Of several processes the leader looks and writes, and the others go by what it found.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nlptl import processes
from nlptl.commands.output_lock import LOCK, check_unlocked, lock
from nlptl.config import RunConfig, Section, dump, load_config, validated
from nlptl.errors import ConfigError, DataError, RunFailed, UsageError
from nlptl.training.checkpoints import clear_away

# What a run may change when it goes on, because the result does not depend on it.
FREE_TO_CHANGE = {"output", "device", "offline", "tracker", "checkpoint_minutes", "log_steps"}


@dataclass(frozen=True)
class Outputs:
    """What a command leaves in its output folder.

    Attributes:
        names: files and folders that `--force` removes.
        of_training: the folder is a training run's, which has its config and its data's fingerprint from its
            first moment, and which `--resume` goes on with.
    """

    names: tuple[str, ...]
    of_training: bool = False


# The metrics go first, because a run that has them is a finished one. config.yaml and data.json are not removed but
# replaced: by them the folder is known for a run's, should this one be killed before it has its own.
TRAINING = Outputs(
    ("metrics.json", "model", "log.jsonl", "checkpoints", "README.md", "lm", "backward-lm", "tokenizer"),
    of_training=True,
)


def open_run_folder(output: Path | None, *, resume: bool, force: bool, outputs: Outputs = TRAINING) -> Path:
    """The folder to write to, made if need be, and locked until the command's `locks_released` ends.

    `force` removes what a former run of the same command wrote and nothing else.

    Raises:
        UsageError: as of `check_output_folder`.
    """
    return processes.first(lambda: _opened(output, resume=resume, force=force, outputs=outputs))


def _opened(output: Path | None, *, resume: bool, force: bool, outputs: Outputs) -> Path:
    output = _checked(output, resume=resume, force=force, outputs=outputs)
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock(output)
        _checked(
            output, resume=resume, force=force, outputs=outputs
        )  # as no other run can change it from now on
        for name in outputs.names:
            clear_away(output / name, afresh=force and not resume)
    except OSError as error:
        raise _unwritable(output, error) from None
    return output


def check_output_folder(
    output: Path | None, *, resume: bool, force: bool, outputs: Outputs = TRAINING
) -> Path:
    """The output folder is one that the command may write to; nothing is made or removed.

    Raises:
        UsageError: no folder is named, it is a file, or cannot be written; another run is writing there; or it holds
            something and neither `resume` nor `force` is given; or `force` is, and what it holds is not this
            command's to replace.
    """
    return processes.first(lambda: _checked(output, resume=resume, force=force, outputs=outputs))


def _checked(output: Path | None, *, resume: bool, force: bool, outputs: Outputs) -> Path:
    if output is None:
        raise UsageError("no output folder is named", "--output", "for example --output runs/first")
    try:
        _check_parents(output)
        if output.exists() and not output.is_dir():
            raise UsageError("a file where the output folder is due", str(output), "name another --output")
        if output.exists():
            check_unlocked(output)
            if not resume and any(path.name != LOCK for path in output.iterdir()):
                _check_full(output, force, outputs)
    except OSError as error:
        raise _unwritable(output, error) from None
    return output


def _check_full(output: Path, force: bool, outputs: Outputs) -> None:
    if not force:
        remedy = "start afresh with --force, or name another --output"
        go_on = "go on with --resume, " if outputs.of_training else ""
        raise UsageError("the output folder is not empty", str(output), go_on + remedy)
    if outputs.of_training and not is_training_run(output):
        cause = "the output folder is not empty and not a run's (a run has its config.yaml and data.json)"
        raise UsageError(cause, str(output), "name another --output: --force replaces only what a run wrote")
    if not outputs.of_training and is_training_run(output):
        cause = "the output folder is that of a training run, whose results would be replaced"
        raise UsageError(cause, str(output), "name another --output")


def is_training_run(folder: Path) -> bool:
    """Whether `begin_or_go_on` has been there; an interrupted run is one, too."""
    try:
        facts = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and set(facts) == {"fingerprint"} and (folder / "config.yaml").is_file()


def check_output_file(output: Path, data: str, *, force: bool) -> None:
    """A file can be written there; nothing is made.

    Raises:
        UsageError: its folder does not exist or cannot be written, a folder has its name, another run is writing it,
            or it is there already and `force` is not given, or is the file of `data`.
    """
    processes.first(lambda: _check_file(output, data, force=force))


def _check_file(output: Path, data: str, *, force: bool) -> None:
    try:
        if output.is_dir():
            raise UsageError("a folder stands where a file is due", str(output), "name a file")
        if not output.parent.exists():
            raise UsageError("its folder does not exist", str(output), "name a file in a folder that exists")
        _check_parents(output)
        if output.exists() and not force:
            raise UsageError("the output file is there already", str(output), "overwrite it with --force")
        check_unlocked(output)
        if output.exists() and os.path.exists(data) and output.samefile(data):
            raise UsageError("the output would replace the data it is made of", str(output), "name another")
    except OSError as error:
        raise _unwritable(output, error) from None


def _check_parents(output: Path) -> None:
    """The nearest folder above that exists, or the output itself, takes new files."""
    output.exists()  # raises where the name is too long, which the names of its parents need not be
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if there != output and not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _unwritable(output: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot be written ({error.strerror})", str(output), "name another --output")


def is_finished(folder: Path) -> bool:
    """A run's last act is its metrics."""
    return processes.first((folder / "metrics.json").is_file)


def begin_or_go_on(folder: Path, config: RunConfig, data: str, *, resume: bool) -> None:
    """Save the resolved config and what the run reads; a run that goes on must have both as they were.

    Args:
        data: a fingerprint of everything that the run reads.

    Raises:
        ConfigError: an option that decides the result differs from that of the run that is to go on.
        DataError: its data has changed since.
    """
    processes.first(lambda: _begin_or_go_on(folder, config, data, resume=resume))


def _begin_or_go_on(folder: Path, config: RunConfig, data: str, *, resume: bool) -> None:
    facts = folder / "data.json"
    if resume and (folder / "config.yaml").is_file():
        before = load_config(type(config), folder / "config.yaml").model_dump(
            mode="json", exclude=FREE_TO_CHANGE
        )
        now = validated(type(config), yaml.safe_load(dump(config))).model_dump(
            mode="json", exclude=FREE_TO_CHANGE
        )
        changed = [key for key in now if now[key] != before[key]]
        if changed:
            raise ConfigError(
                f"{', '.join(changed)} cannot change in the middle of a run",
                str(folder),
                "leave it as it was, or start afresh with --force",
            )
    if resume and facts.is_file() and json.loads(facts.read_text(encoding="utf-8"))["fingerprint"] != data:
        raise DataError("its data has changed since the run began", str(folder), "start afresh with --force")
    write_config(folder, config)
    write_json(facts, {"fingerprint": data})


def write_config(folder: Path, config: Section) -> None:
    """Save the resolved config, which runs again as it is."""
    command = getattr(config, "command", "")
    again = shlex.join(["nlptl", command, str(folder / "config.yaml"), "--force"])
    write_text(folder / "config.yaml", f"# {again}\n{dump(config)}")


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """A JSON file that appears whole."""
    write_text(file, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """The values of a JSON file, or None where there is none."""
    if not file.is_file():
        return None
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def write_text(file: Path, text: str) -> None:
    """A text file that appears whole.

    Raises:
        RunFailed: it cannot be written.
    """
    if not processes.is_leader():
        return
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunFailed(
            f"cannot be written ({error.strerror})", str(file), "make room, then --resume"
        ) from None


def saved_config_file(
    config_file: str | Path | None, options: Mapping[str, Any], resume: bool
) -> Path | None:
    """The config file to read: the one named; for `--resume` without one, that of the run itself."""
    output = options.get("output")
    if config_file is None and resume and output is not None and (Path(output) / "config.yaml").is_file():
        return Path(output) / "config.yaml"
    return None if config_file is None else Path(config_file)
