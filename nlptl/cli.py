"""The command line: options and their help, one thin function a command.

An option is named after the config key that it sets, and None means that it was not said. Nothing heavy is imported
until the command line and the config have been read, so that help and mistakes answer at once.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.main

from nlptl import processes
from nlptl.commands.printing import print_error
from nlptl.commands.running import run_command
from nlptl.commands.typer_command import Command
from nlptl.config import (
    CompareConfig,
    DownloadModelConfig,
    EvaluateConfig,
    ExtractConfig,
    FinetuneConfig,
    ImportConfig,
    ListModelsConfig,
    PredictConfig,
    PretrainConfig,
    QuickstartConfig,
    RunConfig,
    ShowModelConfig,
)
from nlptl.version import __version__


def _option(help: str, *names: str, **settings: Any) -> Any:
    """An option of one command."""
    return typer.Option(*names, help=help, **settings)


def _common(help: str, *names: str, **settings: Any) -> Any:
    """An option in the panel of those that every command takes."""
    return typer.Option(*names, help=help, rich_help_panel="Common options", **settings)


# Options of more than one command.
ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="YAML file with a whole run; options win.")
]
Model = Annotated[str | None, _option("A run, a model folder, a name or a Hub id.", metavar="MODEL")]
Data = Annotated[str | None, _option("Labelled file or folder, 'sample', or a Hub data set.", metavar="DATA")]
TextColumn = Annotated[str | None, _option("Column of the texts.", metavar="NAME")]
PairColumn = Annotated[str | None, _option("Column of the second text of a pair.", metavar="NAME")]
LabelColumn = Annotated[str | None, _option("Column of the labels.", metavar="NAME")]
PublicName = Annotated[str | None, typer.Argument(metavar="NAME", help="A name of 'nlptl models list'.")]
Paths = list[str] | None
Epochs = Annotated[int | None, _option("Passes over the training data.")]
LearningRate = Annotated[float | None, _option("Highest rate, of the topmost layer group.")]
Resume = Annotated[bool, _common("Go on from the last checkpoint in --output.", "--resume")]

app = typer.Typer(
    help="Transfer learning for text classification.\n\nThe shortest way in: nlptl quickstart",
    no_args_is_help=True,
    rich_markup_mode=None,  # its tables cut long option names at 80 columns
    context_settings={"help_option_names": ["--help", "-h"]},
)
models = typer.Typer(no_args_is_help=True, help="Models by name, and the checkpoints of other systems.")
app.add_typer(models, name="models")


def main() -> int:
    """Run this process's command line.

    Returns:
        The exit code: 0 done, 1 failed after it began, 2 bad usage, config, data or model, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be told to stop is to be interrupted
    words = sys.argv[1:]
    try:
        code = typer.main.get_command(app).main(words, prog_name="nlptl", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has had enough (`| head`); what is still buffered has to go somewhere at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        processes.drop_out(1)
        return 1
    except (Exception, KeyboardInterrupt) as error:
        failed = print_error(error, debug="--debug" in words)
        processes.drop_out(failed)
        return failed
    return code if isinstance(code, int) else 0


def _command(
    group: typer.Typer, name: str, example: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command, the common options in the place of its `**common`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        common = inspect.signature(_common_options, eval_str=True).parameters.values()
        named = [
            parameter for parameter in own.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD
        ]
        function.__signature__ = own.replace(parameters=[*named, *common])  # type: ignore[attr-defined]
        return group.command(name, cls=Command, epilog=f"Example: {example}")(function)

    return register


def _common_options(
    output: Annotated[Path | None, _common("Folder or file for the results.", "--output", "-o")] = None,
    force: Annotated[bool, _common("Replace what a former run wrote.", "--force")] = False,
    seed: Annotated[int | None, _common("Of everything random; 0 by default.")] = None,
    device: Annotated[str | None, _common("auto, cpu, cuda, cuda:N or mps.")] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        _common("Number format; auto picks what is fast here."),
    ] = None,
    batch_size: Annotated[int | None, _common("Documents, or rows of language-model text.")] = None,
    max_length: Annotated[int | None, _common("Cut documents to so many tokens.")] = None,
    assignments: Annotated[
        list[str] | None,
        _common("Set any key of the config, dotted; repeatable.", "--set", metavar="KEY=VALUE"),
    ] = None,
    dry_run: Annotated[bool, _common("Check everything, print the plan, and stop.", "--dry-run")] = False,
    offline: Annotated[bool | None, _common("Never open a connection.", "--offline")] = None,
    as_json: Annotated[bool, _common("Print the result as one JSON object.", "--json")] = False,
    verbose: Annotated[bool, _common("Show what the libraries say, too.", "--verbose", "-v")] = False,
    quiet: Annotated[bool, _common("No progress and no notes.", "--quiet", "-q")] = False,
    debug: Annotated[bool, _common("Show the traceback of an error.", "--debug")] = False,
) -> None:
    """What every command takes."""


def _run(context: typer.Context, schema: type[RunConfig], command: str, needs: Sequence[str]) -> None:
    example = (context.command.epilog or "").removeprefix("Example: ")
    run_command(schema, command, context.params, needs, example)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nlptl {__version__}")
        raise typer.Exit


@app.callback()
def _before_the_command(
    version: Annotated[
        bool, _option("Print the version.", "--version", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


@_command(app, "pretrain", "nlptl pretrain --family ulmfit --text corpus.txt -o runs/lm")
def pretrain(
    context: typer.Context,
    config: ConfigFile = None,
    family: Annotated[str | None, _option("Start a new model of this family.", metavar="NAME")] = None,
    model: Annotated[str | None, _option("Or go on with this language model.", metavar="MODEL")] = None,
    text: Annotated[
        Paths, _option("Text files, data with a text column, folders.", metavar="PATH...")
    ] = None,
    validation_text: Annotated[
        Paths, _option("Held-out text; else a twentieth of --text.", metavar="PATH...")
    ] = None,
    text_column: TextColumn = None,
    size: Annotated[str | None, _option("A named size of the family.", metavar="NAME")] = None,
    vocab_size: Annotated[int | None, _option("Tokens of a new tokenizer.")] = None,
    epochs: Epochs = None,
    max_steps: Annotated[int | None, _option("Stop after so many steps.")] = None,
    learning_rate: LearningRate = None,
    bptt: Annotated[int | None, _option("Tokens of a window.")] = None,
    backward: Annotated[
        bool | None,
        _option("Read texts from their end (ULMFiT), also from a forward --model on.", "--backward"),
    ] = None,
    resume: Resume = False,
    **common: Any,
) -> None:
    """Train a language model on text, or go on with one."""
    _run(context, PretrainConfig, "nlptl.commands.pretrain:pretrain", ["text", "output"])


@_command(app, "finetune", "nlptl finetune --model runs/lm --data reviews.csv -o runs/first")
def finetune(
    context: typer.Context,
    config: ConfigFile = None,
    model: Model = None,
    data: Data = None,
    validation: Annotated[
        str | None, _option("Validation data; else a tenth of --data.", metavar="DATA")
    ] = None,
    test: Annotated[str | None, _option("Test data, measured once at the end.", metavar="DATA")] = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    limit: Annotated[int | None, _option("Train on so many rows, balanced by class.")] = None,
    strategy: Annotated[
        Literal["fine-tune", "freeze"] | None, _option("Train the whole model, or a head on frozen features.")
    ] = None,
    head: Annotated[
        Literal["logistic", "mlp", "bilstm-attention"] | None, _option("The head that 'freeze' trains.")
    ] = None,
    lm_text: Annotated[
        Paths, _option("Unlabelled text of the task, for the language model.", metavar="PATH...")
    ] = None,
    lm_tuning: Annotated[
        bool | None,
        _option("Tune the language model on the task first, or not.", "--lm-tuning/--no-lm-tuning"),
    ] = None,
    backward_model: Annotated[
        str | None, _option("The backward language model beside it (ULMFiT).", metavar="MODEL")
    ] = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    discriminative_decay: Annotated[
        float | None, _option("Each layer group learns this much slower than the next.")
    ] = None,
    gradual_unfreezing: Annotated[
        bool | None,
        _option(
            "Unfreeze one more layer group an epoch, or all at once.",
            "--gradual-unfreezing/--no-gradual-unfreezing",
        ),
    ] = None,
    schedule: Annotated[
        Literal["slanted-triangular", "linear", "linear-decay", "cosine", "inverse-square-root", "constant"]
        | None,
        _option(
            "How the rate moves: slanted-triangular, linear, linear-decay, cosine, inverse-square-root, constant.",
            metavar="NAME",
        ),
    ] = None,
    lm_weight: Annotated[float | None, _option("Weight of an auxiliary language-model loss (GPT).")] = None,
    pair_symmetric: Annotated[
        bool | None,
        _option("Read both orders of a pair of texts (GPT, transformer).", "--pair-symmetric"),
    ] = None,
    class_weight: Annotated[
        Literal["none", "balanced"] | None, _option("Weight of each class in the loss.")
    ] = None,
    early_stopping: Annotated[
        int | None, _option("Stop after so many epochs without a gain; 0 for never.")
    ] = None,
    ngrams: Annotated[
        int | None, _option("Score n-grams of up to N tokens beside the model; 0 for none.", metavar="N")
    ] = None,
    calibrate: Annotated[
        bool | None, _option("Fit the probabilities to the validation data at the end.", "--calibrate")
    ] = None,
    resume: Resume = False,
    **common: Any,
) -> None:
    """Make a classifier of a language model."""
    _run(context, FinetuneConfig, "nlptl.commands.finetune:finetune", ["model", "data", "output"])


@_command(app, "extract-features", "nlptl extract-features --model runs/lm --data reviews.csv -o reviews.npy")
def extract_features(
    context: typer.Context,
    model: Model = None,
    data: Annotated[
        str | None, _option("Texts, labelled or not; - for standard input.", metavar="DATA")
    ] = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    level: Annotated[Literal["text", "token"] | None, _option("One vector a text, or one a token.")] = None,
    pooling: Annotated[
        Literal["mean", "max", "last", "concat"] | None,
        _option("How tokens become one vector; concat is last, max and mean."),
    ] = None,
    layers: Annotated[
        str | None, _option("last, mix (their mean), all (side by side), or numbers such as 0,2.")
    ] = None,
    pretokenized: Annotated[bool | None, _option("Split on white space only.", "--pretokenized")] = None,
    stateful: Annotated[
        bool | None,
        _option(
            "Carry the model's state from batch to batch, as bilm-tf does; needs --batch-size.", "--stateful"
        ),
    ] = None,
    **common: Any,
) -> None:
    """Write a model's features of texts to a file.

    The file's suffix is its format. It holds row numbers, labels, and what made it; two lines of Python read it:

    \b
    .parquet (columns row, label, features; facts in its schema's metadata)
      import numpy, pyarrow.parquet; t = pyarrow.parquet.read_table("f.parquet")
      x = numpy.stack(t["features"].to_numpy())  # tokens: t["features"][0]

    \b
    .npy (texts only)
      import json, numpy; x = numpy.load("f.npy")
      facts = json.load(open("f.npy.json"))  # and rows, labels

    \b
    .safetensors (row, labels and facts as metadata)
      from safetensors.numpy import load_file; t = load_file("f.safetensors")
      x = t["features"]  # tokens: t["0"], t["1"], ...

    \b
    .hdf5 (tokens in several layers: layers x tokens x width, as allennlp elmo)
      import h5py; f = h5py.File("f.hdf5"); facts = dict(f.attrs)
      x = f["0"][...]; label = f["0"].attrs.get("label")"""
    _run(
        context,
        ExtractConfig,
        "nlptl.commands.extract_features:extract_features",
        ["model", "data", "output"],
    )


@_command(app, "evaluate", "nlptl evaluate --model runs/first --data test.csv -o runs/report")
def evaluate(
    context: typer.Context,
    model: Model = None,
    data: Data = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    compare: Annotated[str | None, _option("A second run, tested on the same rows.", metavar="MODEL")] = None,
    min_accuracy: Annotated[float | None, _option("Exit with code 1 below this accuracy.")] = None,
    unknown_labels: Annotated[
        Literal["error", "skip"] | None, _option("What to do with labels the model does not know.")
    ] = None,
    **common: Any,
) -> None:
    """Measure a classifier on labelled texts, with intervals."""
    _run(context, EvaluateConfig, "nlptl.commands.evaluate:evaluate", ["model", "data"])


@_command(app, "compare", "nlptl compare --data reviews.csv --models ulmfit-mini,gpt-mini -o runs/curve")
def compare(
    context: typer.Context,
    config: ConfigFile = None,
    data: Data = None,
    test: Annotated[
        str | None, _option("Test data; else the test part of --data, or a fifth of it.", metavar="DATA")
    ] = None,
    models: Annotated[
        str | None,
        _option(
            "Language models, each run frozen and fine-tuned; NAME:freeze or NAME:fine-tune runs it one way.",
            metavar="A,B,...",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        _option(
            "How many labelled rows, validation rows among them; 50,100,200,500,all by default.",
            metavar="N,N,...",
        ),
    ] = None,
    seeds: Annotated[
        int | None, _option("Draws of these rows, the same for all systems; 3 by default.")
    ] = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    lm_text: Annotated[
        Paths, _option("Unlabelled text to tune each language model on, once.", metavar="PATH...")
    ] = None,
    keep_models: Annotated[
        bool | None, _option("Keep every classifier that is trained.", "--keep-models")
    ] = None,
    resume: Resume = False,
    **common: Any,
) -> None:
    """Draw the learning curve: TF-IDF and each model with few labels and with many.

    Each number of labels is all that a system has: a tenth of them is its validation data. Keys of `finetune` are set
    for every model by --set finetune.KEY=VALUE, such as --set finetune.epochs=5."""
    _run(context, CompareConfig, "nlptl.commands.compare:compare", ["data", "models", "output"])


@_command(app, "predict", "nlptl predict --model runs/first reviews.csv --probabilities")
def predict(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="Texts; - for standard input.")] = None,
    model: Model = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    format: Annotated[Literal["jsonl", "csv"] | None, _option("Format of the rows.")] = None,
    probabilities: Annotated[
        bool | None, _option("Give the probability of every label.", "--probabilities")
    ] = None,
    min_probability: Annotated[float | None, _option("Give no label where it is less probable.")] = None,
    **common: Any,
) -> None:
    """Label texts, one line each, in order."""
    _run(context, PredictConfig, "nlptl.commands.predict:predict", ["model", "data"])


@_command(models, "import", "nlptl models import --from fastai --weights lm.pth --vocab itos.pkl -o lm")
def import_checkpoint(
    context: typer.Context,
    source: Annotated[
        Literal["fastai", "allennlp", "openai", "word2vec", "glove"] | None,
        _option("The system that wrote the checkpoint; fastText's .vec is of word2vec's format.", "--from"),
    ] = None,
    weights: Annotated[Path | None, _option("The checkpoint's file of weights.")] = None,
    vocab: Annotated[Path | None, _option("Its list of tokens, .pkl or .json (fastai).")] = None,
    backward_weights: Annotated[Path | None, _option("Weights of its backward model (fastai).")] = None,
    options: Annotated[Path | None, _option("Its options.json (allennlp).")] = None,
    directory: Annotated[Path | None, _option("The folder of the release (openai).")] = None,
    heads: Annotated[
        int | None, _option("Attention heads, which the release does not say; 12 (openai).")
    ] = None,
    words_of: Annotated[
        Paths, _option("Keep only the words of these texts (word2vec, glove).", metavar="PATH...")
    ] = None,
    **common: Any,
) -> None:
    """Turn the checkpoint of another system into a model folder."""
    _run(context, ImportConfig, "nlptl.commands.models:import_checkpoint", ["source", "output"])


@_command(models, "list", "nlptl models list")
def list_models(context: typer.Context, **common: Any) -> None:
    """List the models that have a name: those that ship, and the public ones."""
    _run(context, ListModelsConfig, "nlptl.commands.model_list:list_models", [])


@_command(models, "show", "nlptl models show elmo-original")
def show_model(context: typer.Context, name: PublicName = None, **common: Any) -> None:
    """Show where a model comes from, its licence, its files and how they are verified."""
    _run(context, ShowModelConfig, "nlptl.commands.model_list:show_model", ["name"])


@_command(models, "download", "nlptl models download ulmfit-wt103")
def download_model(context: typer.Context, name: PublicName = None, **common: Any) -> None:
    """Download a public model, and convert it once.

    It goes to the cache, where --model NAME finds it, or to --output. A download that was stopped goes on where it
    was. Models that read the other way have names of their own: for ULMFiT in both directions download ulmfit-wt103
    and ulmfit-wt103-backward, and name the second as --backward-model."""
    _run(context, DownloadModelConfig, "nlptl.commands.public_models:download_model", ["name"])


@_command(app, "quickstart", "nlptl quickstart")
def quickstart(context: typer.Context, **common: Any) -> None:
    """See it all work: under a minute, offline, on sample data."""
    _run(context, QuickstartConfig, "nlptl.commands.quickstart:quickstart", [])
