"""The schema of a run: YAML, options and `--set` -> one validated, frozen object.

Values left at None are filled in from the family's recipe (`with_recipe`) before a run begins, and the resolved
config is saved with the run, so that a saved `config.yaml` hides nothing and runs again as it is.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# Strict numbers: YAML's `yes` is no 1 and a quoted number is a string.
LARGEST = 2**31 - 1  # what the libraries hold a number of steps, rows or tokens in
Positive = Annotated[int, Field(gt=0, le=LARGEST, strict=True)]
Count = Annotated[int, Field(ge=0, le=LARGEST, strict=True)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Decay = Annotated[float, Field(ge=1, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Paths = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
# A list of names or numbers, or one word with commas, as an option has it.
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: tuple(value.split(",")) if isinstance(value, str) else value),
]
LabelCounts = Annotated[
    tuple[Positive | Literal["all"], ...],
    Field(min_length=1),
    BeforeValidator(lambda value: _counts(value.split(",")) if isinstance(value, str) else value),
]
Keys = Annotated[dict[str, Any], AfterValidator(lambda value: _plain(value))]
ScheduleName = Literal[
    "slanted-triangular", "linear", "linear-decay", "cosine", "inverse-square-root", "constant"
]


_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _plain(value: Any) -> Any:
    """A value of another schema, as far as it can be told here: what JSON has, so that the saved config has it too.

    Raises:
        ValueError: a number that is not finite or too large, a date, bytes or a set.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            _plain(key)
            if not isinstance(key, str):
                raise ValueError(f"a key is a string, not {key!r}")
            _plain(inner)
    elif isinstance(value, str) and _SURROGATE.search(value):
        raise ValueError("text that is not UTF-8")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _plain(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{value:.3g} is too large a number" if abs(value) < 1e300 else "too large a number")
    elif value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(f"a {type(value).__name__} is no value of a config")
    return value


def _counts(words: list[str]) -> tuple[int | str, ...]:
    return tuple(int(word) if word.strip().isdecimal() else word.strip() for word in words)


class Section(BaseModel):
    """A frozen group of keys; a key that is not declared is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """A key without a value says nothing; so does a section that is left empty."""
        if not isinstance(values, dict):
            return values
        for key, value in values.items():
            # Such a name could be opened, but neither saved with the run nor shown in its report.
            for name in value if isinstance(value, (list, tuple)) else [value]:
                if key in cls.model_fields and isinstance(name, (str, Path)) and _SURROGATE.search(str(name)):
                    raise ValueError(f"{key}: a name that is not UTF-8 ({str(name)[:100]!r}); rename it")
        return {k: v for k, v in values.items() if v is not None}


class OptimizerConfig(Section):
    """How a step is made of a gradient."""

    name: Literal["adamw", "adagrad", "openai-adam"] = Field(
        "adamw",
        description="AdamW; Adagrad with sums of squares that start from 1, as ELMo was trained; or GPT's Adam, "
        "whose weight decay is corrected as its step is.",
    )
    betas: tuple[Share, Share] | None = Field(None, description="AdamW's decay rates of the two moments.")
    weight_decay: NonNegative | None = Field(None, description="Decoupled; on matrices only.")
    gradient_clip: NonNegative | None = Field(None, description="Largest global gradient norm; 0 for none.")


class RunConfig(Section):
    """What every command takes."""

    command: ClassVar[str]

    output: Path | None = Field(None, description="Folder or file that the results go to.")
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = Field(
        0, description="Of everything that is drawn at random."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 for training where the hardware has it, else fp32."
    )
    batch_size: Positive | None = Field(None, description="Documents, or rows of a language-model batch.")
    max_length: Positive | None = Field(
        None, description="Tokens of a document kept; what is cut is counted."
    )
    offline: bool = Field(False, description="Never open a connection.")


class TrainingConfig(RunConfig):
    """What the two training commands share."""

    tracker: Literal["none", "tensorboard", "wandb", "mlflow", "trackio"] = Field(
        "none", description="Also report the log to this tracker."
    )
    checkpoint_minutes: NonNegative = Field(5.0, description="Time between two checkpoints.")
    log_steps: Positive = Field(20, description="Steps between two lines of log.jsonl.")
    learning_rate: Rate | None = Field(None, description="Highest rate, of the topmost layer group.")
    discriminative_decay: Decay | None = Field(
        None, description="Each layer group learns this many times slower than the one above it."
    )
    schedule: ScheduleName | None = Field(None, description="How the rate moves over the run.")
    optimizer: OptimizerConfig = OptimizerConfig()
    architecture: Keys = Field(
        default_factory=dict, description="Keys of the model's own config, such as its dropouts."
    )


class PretrainConfig(TrainingConfig):
    """`nlptl pretrain`: a new language model, or one that goes on."""

    command: ClassVar[str] = "pretrain"

    family: str | None = Field(None, description="Start a new language model of this family.")
    model: str | None = Field(None, description="Go on with this language model (target-domain tuning).")
    text: Paths = Field(
        (),
        description="Text files, data sets with a text column, folders, globs or addresses (s3://, https://).",
    )
    validation_text: Paths = Field((), description="Held-out text; by default a twentieth of the texts.")
    text_column: str | None = None
    size: str | None = Field(None, description="Named size of the family.")
    tokenizer: Literal["subword", "word"] | None = Field(None, description="Kind of a new model's tokenizer.")
    vocab_size: Positive | None = None
    epochs: Positive | None = None
    max_steps: Positive | None = Field(None, description="Stop after so many steps.")
    bptt: Positive | None = Field(None, description="Tokens of a window.")
    backward: bool = Field(False, description="Read texts from their end (ULMFiT).")
    sampled_softmax: Count | None = Field(
        None, description="Train against so many candidates; 0 for the full softmax."
    )
    evaluate_steps: Count = Field(
        0, description="Also evaluate every so many steps; 0 for the ends of epochs only."
    )


class LmTuningConfig(Section):
    """Tuning of the language model on the task's text, before the classifier."""

    epochs: Positive | None = None
    learning_rate: Rate | None = None
    discriminative_decay: Decay | None = None
    schedule: ScheduleName | None = None
    batch_size: Positive | None = None
    bptt: Positive | None = None
    sampled_softmax: Count | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    architecture: Keys = Field(default_factory=dict)


class DataConfig(RunConfig):
    """What the commands that read labelled data share."""

    data: str | None = Field(None, description="Labelled texts; see DATA in the README.")
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = None


class FinetuneConfig(TrainingConfig, DataConfig):
    """`nlptl finetune`: a classifier from a language model and labelled texts."""

    command: ClassVar[str] = "finetune"

    model: str | None = Field(None, description="A language model; see MODEL in the README.")
    backward_model: str | None = Field(None, description="The backward language model (ULMFiT).")
    validation: str | None = None
    test: str | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.1
    limit: Positive | None = Field(None, description="A class-balanced sample of so many labelled rows.")
    strategy: Literal["fine-tune", "freeze"] = "fine-tune"
    head: Literal["logistic", "mlp", "bilstm-attention"] = Field(
        "logistic", description="Head for `freeze`: on a text's vector, or on the vectors of its tokens."
    )
    lm_text: Paths = Field((), description="Unlabelled text of the task.")
    lm_tuning: bool | None = Field(None, description="Tune the language model on the task's text first.")
    lm: LmTuningConfig = LmTuningConfig()
    epochs: Positive | None = None
    gradual_unfreezing: bool | None = Field(None, description="One more layer group an epoch, from the top.")
    lm_weight: NonNegative | None = Field(
        None, description="Share of an auxiliary language-model loss (GPT)."
    )
    pair_symmetric: bool = Field(
        False, description="Read both orders of a pair of texts, so that swapping them changes nothing."
    )
    class_weight: Literal["none", "balanced"] = "none"
    early_stopping: Count = Field(
        0, description="Stop after so many epochs without a better validation result; 0 for never."
    )
    ngrams: Annotated[int, Field(ge=0, le=5, strict=True)] = Field(
        0,
        description="Score n-grams of up to so many tokens beside the trained model, by a regression; 0 for none.",
    )
    calibrate: bool = Field(
        False, description="Fit the temperature of the probabilities to the validation data after training."
    )


class ExtractConfig(DataConfig):
    """`nlptl extract-features`."""

    command: ClassVar[str] = "extract-features"

    model: str | None = None
    level: Literal["text", "token"] = "text"
    pooling: Literal["mean", "max", "last", "concat"] = "mean"
    layers: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)] = (
        Field(
            "last",
            pattern=r"^(last|mix|all|\d+(,\d+)*)$",
            description="last, mix, all, or numbers such as 0,2.",
        )
    )
    pretokenized: bool = Field(False, description="Texts are split on white space only.")
    stateful: bool = Field(
        False, description="Carry the model's state from batch to batch, as bilm-tf does (recurrent models)."
    )


class EvaluateConfig(DataConfig):
    """`nlptl evaluate`."""

    command: ClassVar[str] = "evaluate"

    model: str | None = None
    compare: str | None = Field(None, description="A second run, compared on the same rows.")
    min_accuracy: Share | None = None
    unknown_labels: Literal["error", "skip"] = "error"


class CompareConfig(DataConfig):
    """`nlptl compare`: the learning curve of several models on the same rows."""

    command: ClassVar[str] = "compare"

    test: str | None = Field(None, description="Test data; else that of `data`, or a fifth of it.")
    models: Names = Field(
        (),
        description="Language models, each both frozen and fine-tuned; NAME:freeze or NAME:fine-tune for one.",
    )
    labels: LabelCounts = Field((50, 100, 200, 500, "all"), description="Numbers of labelled rows, or all.")
    seeds: Positive = Field(3, description="Draws of the labelled rows; the first is by `seed`.")
    lm_text: Paths = Field((), description="Unlabelled text that each language model is tuned on once.")
    keep_models: bool = Field(False, description="Keep the classifier of every cell.")
    finetune: Keys = Field(
        default_factory=dict, description="Keys of `nlptl finetune`, for every model; such as epochs."
    )


class PredictConfig(DataConfig):
    """`nlptl predict`."""

    command: ClassVar[str] = "predict"

    model: str | None = None
    format: Literal["jsonl", "csv"] = "jsonl"
    probabilities: bool = False
    min_probability: Share | None = Field(
        None, description="Give no label to a row whose probability is below this."
    )


class ImportConfig(RunConfig):
    """`nlptl models import`: another system's checkpoint -> a model folder."""

    command: ClassVar[str] = "models import"

    source: Literal["fastai", "allennlp", "openai", "word2vec", "glove"] | None = Field(
        None, description="The system that wrote the checkpoint."
    )
    weights: Path | None = Field(None, description="The checkpoint's file of weights.")
    vocab: Path | None = Field(None, description="Its list of tokens, in the order of their ids (fastai).")
    options: Path | None = Field(None, description="Its options.json (allennlp).")
    directory: Path | None = Field(None, description="Its folder (openai).")
    heads: Positive | None = Field(
        None, description="Attention heads, which the release does not say; 12 (openai)."
    )
    words_of: Paths = Field((), description="Keep only the words of these texts (word2vec, glove).")
    backward_weights: Path | None = Field(
        None, description="Weights of the backward language model (ULMFiT)."
    )


class ListModelsConfig(RunConfig):
    """`nlptl models list`."""

    command: ClassVar[str] = "models list"


class ShowModelConfig(RunConfig):
    """`nlptl models show`."""

    command: ClassVar[str] = "models show"

    name: str | None = Field(None, description="A name of `nlptl models list`.")


class DownloadModelConfig(RunConfig):
    """`nlptl models download`: a public model -> a model folder."""

    command: ClassVar[str] = "models download"

    name: str | None = Field(None, description="A name of `nlptl models list`.")


class QuickstartConfig(RunConfig):
    """`nlptl quickstart`."""

    command: ClassVar[str] = "quickstart"

    output: Path | None = Path("nlptl-quickstart")


COMMANDS: dict[str, type[RunConfig]] = {
    config.command: config
    for config in (
        PretrainConfig,
        FinetuneConfig,
        ExtractConfig,
        EvaluateConfig,
        CompareConfig,
        PredictConfig,
        ImportConfig,
        ListModelsConfig,
        ShowModelConfig,
        DownloadModelConfig,
        QuickstartConfig,
    )
}
