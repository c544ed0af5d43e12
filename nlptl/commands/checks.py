"""What can be wrong with a run and is known before it writes or loads anything."""

from __future__ import annotations

from transformers import integrations

from nlptl.commands.paths import check_output_apart
from nlptl.config import RunConfig, TrainingConfig
from nlptl.errors import ConfigError
from nlptl.training.precision import resolve_device, training_precision


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
