"""What all commands do alike: read the config, hush the libraries, do the work, hand over the report."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import os
import pkgutil
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nlptl
from nlptl import processes
from nlptl.commands.command_line import way_on
from nlptl.commands.printing import print_report
from nlptl.commands.run_folder import saved_config_file
from nlptl.config import (
    CompareConfig,
    DownloadModelConfig,
    ImportConfig,
    ListModelsConfig,
    PredictConfig,
    RunConfig,
    ShowModelConfig,
    TrainingConfig,
    load_config,
)
from nlptl.errors import Interrupted, ThresholdMissed, UsageError

# What the command line says beside the keys of a config.
CONTROLS = ("config", "resume", "force", "dry_run", "assignments", "as_json", "verbose", "quiet", "debug")
# The work of one process; the other commands share theirs out.
OF_ONE_PROCESS = (ImportConfig, ListModelsConfig, ShowModelConfig, DownloadModelConfig)
# Those that look at no model, and so need no library that takes long to import.
OF_NO_MODEL = (ListModelsConfig, ShowModelConfig)
# Read by the libraries when they are imported; what the user has set stands.
HUSHED = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def run_command(
    schema: type[RunConfig], command: str, said: Mapping[str, Any], needs: Sequence[str], example: str
) -> None:
    """Run one command and print its report.

    Args:
        schema: the command's config class.
        command: its function `(config, invocation) -> report`, as `module:name`; imported after the config is read.
        said: all options by name; None, or no value of several, is not said.
        needs: the keys without which there is nothing to do; a dry run needs no output.
        example: a whole command line, for the error of a missing key.

    Raises:
        NlptlError: what a user can mend; `Interrupted` says how to go on.
    """
    controls = {name: said.get(name) for name in CONTROLS}
    options = {
        key: value for key, value in said.items() if key not in CONTROLS and value not in (None, [], ())
    }
    resume, force, dry_run = (bool(controls[name]) for name in ("resume", "force", "dry_run"))
    quiet, as_json = bool(controls["quiet"]), bool(controls["as_json"])
    if resume and force:
        raise UsageError("--resume goes on and --force starts afresh", None, "choose one of them")
    file = saved_config_file(controls["config"], options, resume)
    config = load_config(schema, file, options, controls["assignments"] or ())
    missing = _missing(config, [key for key in needs if key != "output" or not dry_run])
    if missing and resume and file is None and config.output is not None:
        raise UsageError("there is no run to resume", str(config.output), "name the --output of a run")
    if missing:
        *others, last = missing
        named = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        raise UsageError(f"{named} missing", None, f"for example {example}")
    from nlptl.commands.paths import check_paths  # which help has no need of

    check_paths(config, resume=resume, force=force, dry_run=dry_run)
    config = _on_one_gpu(config)
    _settle_libraries(offline=config.offline, verbose=bool(controls["verbose"]))

    # The rows of `predict` are its result and go to standard output themselves; a report would stand among them.
    rows_only = isinstance(config, PredictConfig) and config.output is None and not dry_run
    silent = rows_only and (as_json or quiet)

    def show(report: Mapping[str, Any]) -> None:
        if processes.is_leader() and not silent:
            print_report(
                config, report, as_json=as_json, plan=dry_run, file=sys.stderr if rows_only else sys.stdout
            )

    try:
        with _nothing_collected():
            from nlptl.commands.invocation import Invocation
            from nlptl.training.progress import Reporter

            if not isinstance(config, OF_NO_MODEL):
                _meet_libraries(verbose=bool(controls["verbose"]))
            perform = pkgutil.resolve_name(command)
        processes.meet(config.device)
        invocation = Invocation(resume, force, dry_run, Reporter(quiet or not processes.is_leader()))
        # What a library prints must not end up in the result.
        with contextlib.nullcontext() if rows_only else contextlib.redirect_stdout(sys.stderr):
            work = functools.partial(perform, config, invocation)
            report = processes.first(work) if isinstance(config, OF_ONE_PROCESS) else work()
            processes.leave()
    except ThresholdMissed as missed:
        show(missed.report)
        raise
    except RuntimeError as error:
        if (ended := processes.lost_another(error)) is not None:
            raise ended from error
        raise
    except KeyboardInterrupt:
        raise Interrupted("stopped", None, _way_on(config)) from None
    except Interrupted as stopped:
        raise Interrupted(stopped.cause, stopped.where, _way_on(config)) from None
    show(report)


def _meet_libraries(*, verbose: bool) -> None:
    from transformers.utils.logging import disable_progress_bar

    nlptl.register_families()
    if not verbose:
        disable_progress_bar()


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """While the libraries are imported no garbage is looked for, nor later among what they have made.

    They make a million objects that stay; to look through them again and again took a sixth of the time of a short
    command.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _missing(config: RunConfig, needs: Sequence[str]) -> list[str]:
    """What of the keys has no value, as the command line spells it."""
    spelled = {
        "source": "--from",
        "name": "NAME",
        "data": "DATA" if isinstance(config, PredictConfig) else "--data",
    }
    return [spelled.get(key, f"--{key}") for key in needs if getattr(config, key) in (None, ())]


def _on_one_gpu(config: RunConfig) -> RunConfig:
    """`cuda:N` as the only GPU that this process sees, because the Trainer knows no other than the first.

    N counts among the GPUs that CUDA_VISIBLE_DEVICES leaves visible, as it does everywhere in torch.

    Raises:
        UsageError: there are not so many of them.
    """
    kind, _, number = config.device.partition(":")
    if kind != "cuda" or not number:
        return config
    if processes.started() > 1:
        cause = "one GPU for several processes"
        raise UsageError(cause, f"--device {config.device}", "use --device cuda, which gives each its own")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA reads the list up to its first entry that names no GPU; -1 is the usual one.
        names = (name.strip() for name in visible.split(","))
        gpus = list(itertools.takewhile(lambda name: name and not name.startswith("-"), names))
        if int(number) >= len(gpus):
            cause = f"CUDA_VISIBLE_DEVICES={visible} leaves {len(gpus)} GPUs to see, numbered from 0"
            raise UsageError(cause, f"--device {config.device}", "name one of them, or use --device auto")
        number = gpus[int(number)]
    os.environ["CUDA_VISIBLE_DEVICES"] = number
    return config.model_copy(update={"device": "cuda"})


def _settle_libraries(*, offline: bool, verbose: bool) -> None:
    if offline:
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    if not verbose:
        for name, value in HUSHED.items():
            os.environ.setdefault(name, value)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")


def _way_on(config: RunConfig) -> str | None:
    """How to go on with a run that was stopped, where it has begun."""
    if isinstance(config, DownloadModelConfig):
        where = "" if config.output is None else f" --output {shlex.quote(str(config.output))}"
        return f"to go on:\n  nlptl models download {config.name}{where}"
    if (
        not isinstance(config, (TrainingConfig, CompareConfig))
        or config.output is None
        or not (config.output / "config.yaml").is_file()
    ):
        return None
    return way_on(config)
