"""A run's folder: refused where it would overwrite, resumed where it was left, and written whole."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.config import RunConfig, Section, dump
from nlptl.errors import RunFailed, UsageError

OURS = (
    "config.yaml",
    "model",
    "metrics.json",
    "log.jsonl",
    "checkpoints",
    "README.md",
    "lm",
    "backward-lm",
    "tokenizer",
    "corpus.json",
    "runs",
)


def open_run_folder(output: Path | None, *, resume: bool, force: bool) -> Path:
    """The folder to write to, made if need be.

    `force` removes what a former run wrote and nothing else.

    Raises:
        UsageError: no folder is named, it is a file, or it holds something and neither `resume` nor `force` is given.
    """
    if output is None:
        raise UsageError("no output folder is named", "--output", "for example --output runs/first")
    if output.exists() and not output.is_dir():
        raise UsageError("a file where the output folder is due", str(output), "name another --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in output.iterdir())
        if found and force and not resume:
            for name in OURS:
                path = output / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        elif found and not resume:
            remedy = "go on with --resume, start afresh with --force, or name another --output"
            raise UsageError("the output folder is not empty", str(output), remedy)
        if not os.access(output, os.W_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as error:
        raise UsageError(
            f"cannot be written ({error.strerror})", str(output), "name another --output"
        ) from None
    return output


def is_finished(folder: Path) -> bool:
    """A run's last act is its metrics."""
    return (folder / "metrics.json").is_file()


def write_config(folder: Path, config: Section) -> None:
    """Save the resolved config, which runs again as it is."""
    command = getattr(config, "command", "")
    again = shlex.join(["nlptl", command, str(folder / "config.yaml"), "--force"])
    write_text(folder / "config.yaml", f"# {again}\n{dump(config)}")


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """A JSON file that appears whole."""
    write_text(file, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """A text file that appears whole.

    Raises:
        RunFailed: it cannot be written.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunFailed(
            f"cannot be written ({error.strerror})", str(file), "make room, then --resume"
        ) from None


def saved_config_file(config_file: Path | None, options: Mapping[str, Any], resume: bool) -> Path | None:
    """The config file to read: the one named; for `--resume` without one, that of the run itself."""
    output = options.get("output")
    if config_file is None and resume and output is not None and (Path(output) / "config.yaml").is_file():
        return Path(output) / "config.yaml"
    return config_file


def resume_command(config: RunConfig) -> str:
    """What to type to go on with an interrupted run."""
    return shlex.join(["nlptl", config.command, "--output", str(config.output), "--resume"])


def command_line() -> str:
    """The command as it was typed, for model cards and reports."""
    return shlex.join(["nlptl", *sys.argv[1:]])
