"""The config of a run: its schema, and how one is read, checked, completed and saved."""

from nlptl.config.loading import dump, json_schema, load_config, nearest, validated, with_recipe
from nlptl.config.schema import (
    COMMANDS,
    CompareConfig,
    DataConfig,
    EvaluateConfig,
    ExtractConfig,
    FinetuneConfig,
    ImportConfig,
    LmTuningConfig,
    OptimizerConfig,
    PredictConfig,
    PretrainConfig,
    QuickstartConfig,
    RunConfig,
    Section,
    TrainingConfig,
)

__all__ = [
    "COMMANDS",
    "CompareConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExtractConfig",
    "FinetuneConfig",
    "ImportConfig",
    "LmTuningConfig",
    "OptimizerConfig",
    "PredictConfig",
    "PretrainConfig",
    "QuickstartConfig",
    "RunConfig",
    "Section",
    "TrainingConfig",
    "dump",
    "json_schema",
    "load_config",
    "nearest",
    "validated",
    "with_recipe",
]
