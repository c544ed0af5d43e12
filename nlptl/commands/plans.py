"""A run's config -> how weights move in one of its stages."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from nlptl.config import FinetuneConfig, LmTuningConfig, PretrainConfig, TrainingConfig
from nlptl.errors import ConfigError
from nlptl.training.precision import resolve_device, training_precision
from nlptl.training.runs import TrainingPlan

Value = TypeVar("Value")


def given(value: Value | None, key: str) -> Value:
    """A value that the user or the family's recipe must have given.

    Raises:
        ConfigError: neither has.
    """
    if value is None:
        raise ConfigError(f"no value for {key}", "config", f"set it: --set {key}=VALUE")
    return value


def training_plan(
    stage: str, folder: Path, config: PretrainConfig | FinetuneConfig | LmTuningConfig, run: TrainingConfig
) -> TrainingPlan:
    """The plan of one stage.

    Args:
        stage: its name for people.
        folder: that the stage writes to.
        config: of the stage; `run`: of the whole run.
    """
    device = resolve_device(run.device)
    return TrainingPlan(
        stage=stage,
        output=folder,
        epochs=given(config.epochs, "epochs"),
        max_steps=config.max_steps if isinstance(config, PretrainConfig) else None,
        learning_rate=given(config.learning_rate, "learning_rate"),
        discriminative_decay=given(config.discriminative_decay, "discriminative_decay"),
        schedule=given(config.schedule, "schedule"),
        optimizer=config.optimizer.name,
        betas=given(config.optimizer.betas, "optimizer.betas"),
        weight_decay=given(config.optimizer.weight_decay, "optimizer.weight_decay"),
        gradient_clip=given(config.optimizer.gradient_clip, "optimizer.gradient_clip"),
        device=device,
        precision=training_precision(run.precision, device),
        seed=run.seed,
        early_stopping=config.early_stopping if isinstance(config, FinetuneConfig) else 0,
        checkpoint_minutes=run.checkpoint_minutes,
        log_steps=run.log_steps,
        evaluate_steps=config.evaluate_steps if isinstance(config, PretrainConfig) else 0,
        tracker=run.tracker,
    )
