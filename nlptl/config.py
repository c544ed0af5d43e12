"""The schema of a run: YAML, options and `--set` -> one validated, frozen object.

Values left at None are filled in from the family's recipe (`with_recipe`) before a run begins, and the resolved
config is saved with the run, so that a saved `config.yaml` hides nothing and runs again as it is.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nlptl.errors import ConfigError

# Strict numbers: YAML's `yes` is no 1 and a quoted number is a string.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Decay = Annotated[float, Field(ge=1, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Paths = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
ScheduleName = Literal["slanted-triangular", "linear", "cosine", "inverse-square-root", "constant"]


class Section(BaseModel):
    """A frozen group of keys; a key that is not declared is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """A key without a value says nothing; so does a section that is left empty."""
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class OptimizerConfig(Section):
    """AdamW."""

    betas: tuple[Share, Share] | None = Field(None, description="Decay rates of the two moments.")
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
    architecture: dict[str, Any] = Field(
        default_factory=dict, description="Keys of the model's own config, such as its dropouts."
    )


class PretrainConfig(TrainingConfig):
    """`nlptl pretrain`: a new language model, or one that goes on."""

    command: ClassVar[str] = "pretrain"

    family: str | None = Field(None, description="Start a new language model of this family.")
    model: str | None = Field(None, description="Go on with this language model (target-domain tuning).")
    text: Paths = Field((), description="Text files, data sets with a text column, folders or globs.")
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
    architecture: dict[str, Any] = Field(default_factory=dict)


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
    head: Literal["logistic", "mlp"] = Field("logistic", description="Head for `freeze`.")
    lm_text: Paths = Field((), description="Unlabelled text of the task.")
    lm_tuning: bool | None = Field(None, description="Tune the language model on the task's text first.")
    lm: LmTuningConfig = LmTuningConfig()
    epochs: Positive | None = None
    gradual_unfreezing: bool | None = Field(None, description="One more layer group an epoch, from the top.")
    lm_weight: NonNegative | None = Field(
        None, description="Share of an auxiliary language-model loss (GPT)."
    )
    class_weight: Literal["none", "balanced"] = "none"
    early_stopping: Count = Field(
        0, description="Stop after so many epochs without a better validation result; 0 for never."
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


class EvaluateConfig(DataConfig):
    """`nlptl evaluate`."""

    command: ClassVar[str] = "evaluate"

    model: str | None = None
    compare: str | None = Field(None, description="A second run, compared on the same rows.")
    min_accuracy: Share | None = None
    unknown_labels: Literal["error", "skip"] = "error"


class PredictConfig(DataConfig):
    """`nlptl predict`."""

    command: ClassVar[str] = "predict"

    model: str | None = None
    format: Literal["jsonl", "csv"] = "jsonl"
    probabilities: bool = False


class ImportConfig(RunConfig):
    """`nlptl models import`: another system's checkpoint -> a model folder."""

    command: ClassVar[str] = "models import"

    source: Literal["fastai"] | None = Field(None, description="The system that wrote the checkpoint.")
    weights: Path | None = Field(None, description="The checkpoint's file of weights.")
    vocab: Path | None = Field(None, description="Its list of tokens, in the order of their ids.")
    backward_weights: Path | None = Field(
        None, description="Weights of the backward language model (ULMFiT)."
    )


class QuickstartConfig(RunConfig):
    """`nlptl quickstart`."""

    command: ClassVar[str] = "quickstart"

    output: Path | None = Path("nlptl-quickstart")


AnyConfig = TypeVar("AnyConfig", bound=Section)
COMMANDS: dict[str, type[RunConfig]] = {
    config.command: config
    for config in (
        PretrainConfig,
        FinetuneConfig,
        ExtractConfig,
        EvaluateConfig,
        PredictConfig,
        ImportConfig,
        QuickstartConfig,
    )
}


def load_config(
    schema: type[AnyConfig],
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> AnyConfig:
    """Read a run's config; options override the file, and `--set` overrides both.

    Args:
        schema: the command's config class.
        file: a YAML file, or None.
        options: what the command line says; None means not said.
        assignments: `KEY=VALUE` pairs, dotted keys, YAML values.

    Raises:
        ConfigError: with every mistake in it, each with its place.
    """
    values: dict[str, Any] = _read_yaml(file) if file is not None else {}
    values.update({key: value for key, value in (options or {}).items() if value is not None})
    for assignment in assignments:
        _assign(values, assignment)
    overridden = bool(assignments) or any(value is not None for value in (options or {}).values())
    where = None if file is None else f"{file} with the options given" if overridden else str(file)
    return validated(schema, values, where)


def validated(schema: type[AnyConfig], values: Mapping[str, Any], where: str | None = None) -> AnyConfig:
    """Values -> config object.

    Raises:
        ConfigError: listing all mistakes; an unknown key with the nearest known one.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        mistakes = [_described(schema, mistake) for mistake in error.errors()]
        cause = mistakes[0] if len(mistakes) == 1 else f"{len(mistakes)} mistakes: " + "; ".join(mistakes)
        raise ConfigError(cause, where, "see `nlptl " + getattr(schema, "command", "") + " --help`") from None


def with_recipe(config: AnyConfig, recipe: Mapping[str, Any]) -> AnyConfig:
    """The config with every None that the recipe knows filled in, section by section."""
    changes: dict[str, Any] = {}
    for key, value in recipe.items():
        if key not in type(config).model_fields:
            continue
        current = getattr(config, key)
        if isinstance(current, Section):
            changes[key] = with_recipe(current, value)
        elif isinstance(current, dict):
            changes[key] = {**value, **current}
        elif current is None:
            changes[key] = value
    return config.model_copy(update=changes)


def dump(config: Section) -> str:
    """The config as YAML that `load_config` reads back to an equal object."""
    values = json.loads(config.model_dump_json(exclude_none=True))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def json_schema() -> dict[str, Any]:
    """A JSON schema for editors: any of the configs that a YAML file may hold."""
    schemas = {
        name: COMMANDS[name].model_json_schema(ref_template="#/$defs/{model}")
        for name in ("pretrain", "finetune")
    }
    definitions: dict[str, Any] = {}
    for schema in schemas.values():
        definitions.update(schema.pop("$defs", {}))
    definitions.update(schemas)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nlptl run",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in schemas],
        "$defs": definitions,
    }


def nearest(word: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known word is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: `1e-3` is a number, and a key that is given twice is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or a mapping", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError("no such config file", str(file), "check the path, or leave it out") from None
    except IsADirectoryError:
        raise ConfigError(
            "a folder where a config file is due", str(file), "name the YAML file in it"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not a UTF-8 text file", str(file), "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", str(file), "check its permissions") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark is not None else str(file)
        raise ConfigError(
            f"not valid YAML ({getattr(error, 'problem', error)})", where, "mend that line"
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("a config is a mapping of keys to values", str(file), "see configs/ for examples")
    return {str(key): value for key, value in values.items()}


def _assign(values: dict[str, Any], assignment: str) -> None:
    key, sign, text = assignment.partition("=")
    if not sign or not key.strip():
        raise ConfigError(
            f"{assignment!r} is not KEY=VALUE", "--set", "for example --set optimizer.weight_decay=0.01"
        )
    *parents, last = key.strip().replace("-", "_").split(".")
    place = values
    for parent in parents:
        inner = place[parent] = {} if place.get(parent) is None else place[parent]
        if not isinstance(inner, dict):
            raise ConfigError(f"{parent!r} holds a value, not keys", f"--set {assignment}", "shorten the key")
        place = inner
    try:
        place[last] = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError):
        place[last] = text


def _described(schema: type[BaseModel], mistake: Mapping[str, Any]) -> str:
    path = [str(part) for part in mistake["loc"]]
    place = ".".join(path)
    if mistake["type"] == "extra_forbidden":
        section = _section_at(schema, path[:-1])
        return f"unknown key '{place}'{nearest(path[-1], list(section.model_fields))}"
    if mistake["type"] == "string_pattern_mismatch":  # a person reads words, not the pattern
        described = (_section_at(schema, path[:-1]).model_fields[path[-1]].description or "").rstrip(".")
        return f"{place}: input should be one of {described} (it is {mistake['input']!r})"
    message = mistake["msg"][0].lower() + mistake["msg"][1:]
    return f"{place}: {message} (it is {mistake['input']!r})"


def _section_at(schema: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    for key in path:
        annotation = schema.model_fields[key].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        schema = next(kind for kind in options if isinstance(kind, type) and issubclass(kind, BaseModel))
    return schema
