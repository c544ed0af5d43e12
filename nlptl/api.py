"""The commands as functions of Python: the keys of a config are arguments, and what `--json` prints is returned."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import torch
from transformers.utils import logging

import nlptl
from nlptl import processes
from nlptl.commands.invocation import Invocation
from nlptl.commands.printing import json_values
from nlptl.commands.run_folder import saved_config_file
from nlptl.config import (
    EvaluateConfig,
    ExtractConfig,
    FinetuneConfig,
    PredictConfig,
    PretrainConfig,
    RunConfig,
    TrainingConfig,
    load_config,
)
from nlptl.data.memory import holding, is_in_memory
from nlptl.errors import Interrupted, UsageError
from nlptl.training.progress import Reporter

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from pandas import DataFrame

Place: TypeAlias = "str | os.PathLike[str]"
Table: TypeAlias = "DataFrame | Dataset | DatasetDict"
# A source by its name, or in memory: a list is of texts, or of rows as mappings.
Data: TypeAlias = "Place | Sequence[str] | Sequence[Mapping[str, Any]] | Table"
# Text of a language model: here a list is of paths.
Text: TypeAlias = "Place | Sequence[Place] | Table"
DATA_KEYS = ("data", "validation", "test")
TEXT_KEYS = ("text", "validation_text", "lm_text")


def pretrain(
    *,
    text: Text | None = None,
    output: Place | None = None,
    family: str | None = None,
    model: Place | None = None,
    validation_text: Text | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    config: Place | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
    **keys: Any,
) -> dict[str, Any]:
    """`nlptl pretrain`: train a language model on text, or go on with one.

    Args:
        text, validation_text: paths, or a data frame or data set with a column of texts.
        config: a YAML file with a whole run; arguments win.
        resume, force: what to do with an output folder that is not empty.
        verbose: say on standard error how far the run is, and what the libraries say.
        **keys: any other key of the command's config; see `nlptl pretrain --help`.

    Returns:
        What `nlptl pretrain --json` prints.

    Raises:
        NlptlError: what a user can mend.
    """
    from nlptl.commands.pretrain import pretrain as command

    own = {
        "text": text,
        "output": output,
        "family": family,
        "model": model,
        "validation_text": validation_text,
        "epochs": epochs,
        "learning_rate": learning_rate,
    }
    call = _Call(PretrainConfig, ("text", "output"), config, resume, force, verbose)
    return call.run(command, {**keys, **own})


def finetune(
    *,
    model: Place | None = None,
    data: Data | None = None,
    output: Place | None = None,
    validation: Data | None = None,
    test: Data | None = None,
    strategy: str | None = None,
    head: str | None = None,
    lm_text: Text | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    ngrams: int | None = None,
    calibrate: bool | None = None,
    config: Place | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
    **keys: Any,
) -> dict[str, Any]:
    """`nlptl finetune`: make a classifier of a language model; arguments, result and errors as of `pretrain`.

    Args:
        data, validation, test: sources by name, or rows in memory with texts and labels: a data frame, a `Dataset`
            or `DatasetDict`, or a list of mappings.
    """
    from nlptl.commands.finetune import finetune as command

    own = {
        "model": model,
        "data": data,
        "output": output,
        "validation": validation,
        "test": test,
        "strategy": strategy,
        "head": head,
        "lm_text": lm_text,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "ngrams": ngrams,
        "calibrate": calibrate,
    }
    call = _Call(FinetuneConfig, ("model", "data", "output"), config, resume, force, verbose)
    return call.run(command, {**keys, **own})


def extract_features(
    *,
    model: Place | None = None,
    data: Data | None = None,
    output: Place | None = None,
    level: str | None = None,
    pooling: str | None = None,
    layers: str | int | None = None,
    config: Place | None = None,
    force: bool = False,
    verbose: bool = False,
    **keys: Any,
) -> dict[str, Any]:
    """`nlptl extract-features`: write a model's features of texts to a file; as `pretrain`, `data` as of `finetune`.

    For features in memory see `TextFeatures`.
    """
    from nlptl.commands.extract_features import extract_features as command

    own = {
        "model": model,
        "data": data,
        "output": output,
        "level": level,
        "pooling": pooling,
        "layers": layers,
    }
    call = _Call(ExtractConfig, ("model", "data", "output"), config, False, force, verbose)
    return call.run(command, {**keys, **own})


def evaluate(
    *,
    model: Place | None = None,
    data: Data | None = None,
    output: Place | None = None,
    compare: Place | None = None,
    min_accuracy: float | None = None,
    config: Place | None = None,
    force: bool = False,
    verbose: bool = False,
    **keys: Any,
) -> dict[str, Any]:
    """`nlptl evaluate`: measure a classifier on labelled texts; as `pretrain`, `data` as of `finetune`."""
    from nlptl.commands.evaluate import evaluate as command

    own = {
        "model": model,
        "data": data,
        "output": output,
        "compare": compare,
        "min_accuracy": min_accuracy,
    }
    call = _Call(EvaluateConfig, ("model", "data"), config, False, force, verbose)
    return call.run(command, {**keys, **own})


@overload
def predict(
    data: Data | None = None, *, model: Place | None = None, output: None = None, **keys: Any
) -> list[dict[str, Any]]: ...


@overload
def predict(
    data: Data | None = None, *, model: Place | None = None, output: Place, **keys: Any
) -> dict[str, Any]: ...


def predict(
    data: Data | None = None,
    *,
    model: Place | None = None,
    output: Place | None = None,
    probabilities: bool | None = None,
    min_probability: float | None = None,
    config: Place | None = None,
    force: bool = False,
    verbose: bool = False,
    **keys: Any,
) -> list[dict[str, Any]] | dict[str, Any]:
    """`nlptl predict`: label texts; as `pretrain`, and `data` as of `finetune`, or a list of texts.

    Returns:
        A prediction for each row, in order: what the lines of the command hold, as mappings. With `output` they are
        written there, in constant memory, and what `nlptl predict --json` prints is returned.
    """
    from nlptl.commands.predict import predict as command

    own = {
        "model": model,
        "data": data,
        "output": output,
        "probabilities": probabilities,
        "min_probability": min_probability,
    }
    call = _Call(PredictConfig, ("model", "data"), config, False, force, verbose)
    rows: list[dict[str, Any]] = []
    take = rows.append if output is None else None
    report = call.run(lambda settings, invocation: command(settings, invocation, take), {**keys, **own})
    return rows if output is None else report


class _Call:
    """One call of a command from Python, apart from its keys."""

    def __init__(
        self,
        schema: type[RunConfig],
        needs: Sequence[str],
        config: Place | None,
        resume: bool,
        force: bool,
        verbose: bool,
    ) -> None:
        self.schema, self.needs, self.verbose = schema, needs, verbose
        self.name = schema.command.replace("-", "_")
        self.file = None if config is None else Path(config)
        self.resume, self.force = resume, force
        if resume and force:
            raise UsageError("resume goes on and force starts afresh", self.place, "choose one of them")

    @property
    def place(self) -> str:
        """How errors name it."""
        return f"nlptl.{self.name}()"

    def run(
        self, command: Callable[[Any, Invocation], dict[str, Any]], said: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Run the command with these keys; None is not said."""
        if processes.started() > 1:
            remedy = f"start the command: torchrun -m nlptl {self.schema.command} ..."
            raise UsageError("a function of Python runs in one process", self.place, remedy)
        keys = {key: _plain(value) for key, value in said.items() if value is not None}
        in_memory = {
            key: value
            for key, value in keys.items()
            if (key in (*DATA_KEYS, *TEXT_KEYS) and is_in_memory(value))
            or (key in DATA_KEYS and not isinstance(value, str))
        }
        with holding(in_memory) as names:
            keys.update(names)
            config = load_config(self.schema, saved_config_file(self.file, keys, self.resume), keys)
            if missing := [key for key in self.needs if getattr(config, key) in (None, ())]:
                what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
                raise UsageError(what, self.place, f"for example {missing[0]}=...")
            self._check_device(config)
            call = f"nlptl.{self.name}({', '.join(f'{key}={value!r}' for key, value in keys.items())})"
            invocation = Invocation(self.resume, self.force, False, Reporter(not self.verbose), call)
            with settled(self.verbose), _own_randomness(), contextlib.redirect_stdout(sys.stderr):
                try:
                    report: dict[str, Any] = json_values(command(config, invocation))
                except Interrupted as stopped:
                    # What Python calls it, so that nothing around this call takes it for a failure and goes on.
                    raise KeyboardInterrupt(
                        f"{stopped.cause}: to go on, call again with resume=True"
                    ) from None
            return report

    def _check_device(self, config: RunConfig) -> None:
        # The Trainer knows the first GPU alone, and which one that is was settled when this process began.
        number = config.device.partition(":")[2]
        if isinstance(config, TrainingConfig) and number not in ("", "0"):
            remedy = "set CUDA_VISIBLE_DEVICES before Python starts, and give device='cuda'"
            raise UsageError("training in Python takes the first GPU", f"device={config.device!r}", remedy)


def _plain(value: Any) -> Any:
    """Paths as strings, and NumPy's numbers, which grids of values are made of, as Python's."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


@contextlib.contextmanager
def settled(verbose: bool) -> Iterator[None]:
    """Families known to `transformers`; and, unless `verbose`, nothing said by the libraries."""
    nlptl.register_families()
    if verbose:
        yield
        return
    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """A run is seeded; the random numbers of the program around it go on as if it had not been."""
    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
