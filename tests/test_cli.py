"""The command line: what is said reaches the config, results stay pure, and every mistake is one clear line."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nlptl import cli, processes
from nlptl.commands import paths
from nlptl.commands.invocation import Invocation
from nlptl.commands.running import CONTROLS, HUSHED
from nlptl.config import COMMANDS, RunConfig
from nlptl.errors import DataError, Interrupted, RunFailed, ThresholdMissed
from nlptl.version import __version__

FUNCTIONS: dict[str, Callable[..., None]] = {
    "pretrain": cli.pretrain,
    "finetune": cli.finetune,
    "extract-features": cli.extract_features,
    "evaluate": cli.evaluate,
    "compare": cli.compare,
    "predict": cli.predict,
    "models import": cli.import_checkpoint,
    "models list": cli.list_models,
    "models show": cli.show_model,
    "models download": cli.download_model,
    "quickstart": cli.quickstart,
}
COMMON = "-o out --seed 7 --device cpu --precision fp32 --batch-size 4 --max-length 99 --offline"
COMMON_KEYS = {
    "output": Path("out"),
    "seed": 7,
    "device": "cpu",
    "precision": "fp32",
    "batch_size": 4,
    "max_length": 99,
    "offline": True,
}
COLUMNS = "--text-column t --text-pair-column p --label-column l"
COLUMN_KEYS = {"text_column": "t", "text_pair_column": "p", "label_column": "l"}
# Every option of every command, and the keys that they set.
ALL_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "pretrain": (
        "--family ulmfit --model m --text a b --validation-text c --text-column t --size tiny --vocab-size 500"
        " --epochs 2 --max-steps 9 --learning-rate 0.1 --bptt 35 --backward",
        {"family": "ulmfit", "model": "m", "text": ("a", "b"), "validation_text": ("c",), "text_column": "t"}
        | {"size": "tiny", "vocab_size": 500, "epochs": 2, "max_steps": 9, "learning_rate": 0.1, "bptt": 35}
        | {"backward": True},
    ),
    "finetune": (
        f"--model m --data d --validation v --test t {COLUMNS} --limit 50 --strategy freeze --head mlp --lm-text a b"
        " --no-lm-tuning --backward-model b --epochs 2 --learning-rate 0.1 --discriminative-decay 2"
        " --no-gradual-unfreezing --schedule cosine --lm-weight 0.5 --pair-symmetric --class-weight balanced"
        " --early-stopping 3 --ngrams 2 --calibrate",
        {
            "model": "m",
            "data": "d",
            "validation": "v",
            "test": "t",
            "limit": 50,
            "strategy": "freeze",
            "head": "mlp",
        }
        | {
            "lm_text": ("a", "b"),
            "lm_tuning": False,
            "backward_model": "b",
            "epochs": 2,
            "learning_rate": 0.1,
        }
        | {"discriminative_decay": 2.0, "gradual_unfreezing": False, "schedule": "cosine", "lm_weight": 0.5}
        | {
            "class_weight": "balanced",
            "early_stopping": 3,
            "pair_symmetric": True,
            "ngrams": 2,
            "calibrate": True,
            **COLUMN_KEYS,
        },
    ),
    "extract-features": (
        f"--model m --data d {COLUMNS} --level token --pooling max --layers 0,2 --pretokenized --stateful",
        {"model": "m", "data": "d", "level": "token", "pooling": "max", "layers": "0,2", "pretokenized": True}
        | {"stateful": True, **COLUMN_KEYS},
    ),
    "evaluate": (
        f"--model m --data d {COLUMNS} --compare n --min-accuracy 0.9 --unknown-labels skip",
        {
            "model": "m",
            "data": "d",
            "compare": "n",
            "min_accuracy": 0.9,
            "unknown_labels": "skip",
            **COLUMN_KEYS,
        },
    ),
    "compare": (
        f"--data d --test t --models m,n:freeze --labels 50,all --seeds 2 {COLUMNS} --lm-text a b --keep-models",
        {"data": "d", "test": "t", "models": ("m", "n:freeze"), "labels": (50, "all"), "seeds": 2}
        | {"lm_text": ("a", "b"), "keep_models": True, **COLUMN_KEYS},
    ),
    "predict": (
        f"d --model m {COLUMNS} --format csv --probabilities --min-probability 0.9",
        {
            "model": "m",
            "data": "d",
            "format": "csv",
            "probabilities": True,
            "min_probability": 0.9,
            **COLUMN_KEYS,
        },
    ),
    "models import": (
        "--from fastai --weights w.pth --vocab i.pkl --backward-weights b.pth --options o.json --words-of a b"
        " --directory d --heads 4",
        {
            "source": "fastai",
            "options": Path("o.json"),
            "words_of": ("a", "b"),
            "weights": Path("w.pth"),
            "vocab": Path("i.pkl"),
            "backward_weights": Path("b.pth"),
            "directory": Path("d"),
            "heads": 4,
        },
    ),
    "models list": ("", {}),
    "models show": ("m", {"name": "m"}),
    "models download": ("m", {"name": "m"}),
    "quickstart": ("", {}),
}
METRICS = {
    "examples": 40,
    "accuracy": 0.9,
    "accuracy_interval": [0.77, 0.96],
    "macro_f1": 0.89,
    "mcc": 0.8,
    "log_loss": 0.3,
    "ece": 0.05,
    "confusion_matrix": {"labels": ["a", "b"], "counts": [[18, 2], [2, 18]]},
}
TRAINED = {"seconds": 95.0, "tokens_per_second": 1000.0, "peak_memory_mb": 512.0}
NAMED = {
    "name": "m",
    "family": "ulmfit",
    "bytes": None,
    "bytes_at_most": 5_000_000,
    "licence": "MIT; of a kind",
}
NAMED |= {"ships": False, "downloaded": False, "architecture": "two layers"}
POINT = {"labels": 90, "all": True, "winner": "m frozen", "runner_up": "tfidf", "difference": 0.1}
POINT |= {
    "cells": [
        {"system": name, "accuracy": accuracy, "interval": [0.7, 0.96], "seconds": 2.0, "error": None}
        for name, accuracy in (("tfidf", 0.8), ("m frozen", 0.9))
    ]
}
REPORTS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "output": "out",
        "model": "out/model",
        "family": "ulmfit",
        "parameters": 1234,
        "vocabulary": 500,
    }
    | {"train_tokens": 9000, "steps": 30, **TRAINED}
    | {"validation": {"tokens": 500, "loss": 4.0, "perplexity": 54.6, "bits_per_character": 1.5}},
    "finetune": {
        "output": "out",
        "model": "out/model",
        "family": "ulmfit",
        "strategy": "freeze",
        "labels": ["a", "b"],
    }
    | {"train_examples": 90, "epochs": 2.0, **TRAINED, "validation": METRICS, "test": None},
    "extract-features": {
        "output": "f.npy",
        "rows": 3,
        "width": 8,
        "layers": [0, 2],
        "level": "text",
        "bytes": 96,
    },
    "evaluate": METRICS
    | {"comparison": {"accuracy_difference": 0.1, "interval": [-0.05, 0.2], "mcnemar_p": 0.2}},
    "compare": {
        "output": "out",
        "summary": "With all 90 labels, m frozen is right 90 of 100 times.",
        "points": [POINT],
    },
    "predict": {"output": None, "rows": 3, "seconds": 1.0, "rows_per_second": 3.0},
    "models import": {
        "output": "out",
        "family": "ulmfit",
        "parameters": 1234,
        "vocabulary": 500,
        "ignored_keys": [],
    },
    "models list": {"models": [NAMED]},
    "models show": {**NAMED, "path": None, "page": "p", "files": []},
    "models download": {
        "output": "out",
        "family": "ulmfit",
        "parameters": 1234,
        "vocabulary": 500,
        "ignored_keys": [],
        "bytes": 5_000_000,
        "verified": "sha256",
    },
    "quickstart": {"output": "out", "model": "out/classifier/model", "test": METRICS, "tfidf": METRICS}
    | {"comparison": {"accuracy_difference": 0.0, "interval": [0.0, 0.0], "mcnemar_p": 1.0}}
    | {"predictions": [{"text": "the parcel is late", "label": "delivery", "probability": 0.7}]},
}


class Outcome(typing.NamedTuple):
    code: int
    out: str
    err: str
    config: RunConfig | None
    invocation: Invocation | None


Runner = Callable[..., Outcome]


MODULES = {
    "models import": "models",
    "models list": "model_list",
    "models show": "model_list",
    "models download": "public_models",
}


@pytest.fixture
def nlptl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Runner]:
    """Run a command line in an empty folder, the command itself replaced by one that hands back `report`.

    `report` may be an exception, or a function of the config.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(paths, "check_paths", lambda config, **how: None)  # names here stand for nothing
    handler = signal.getsignal(signal.SIGTERM)

    def run(line: str, report: Any = None) -> Outcome:
        called: list[Any] = []

        def command(config: RunConfig, invocation: Invocation) -> Mapping[str, Any]:
            called[:] = [config, invocation]
            values = REPORTS[config.command] if report is None else report
            if isinstance(values, BaseException):
                raise values
            return values(config) if callable(values) else values

        for key, function in FUNCTIONS.items():
            name = MODULES.get(key, function.__name__)
            module = types.ModuleType(name)
            for each in FUNCTIONS.values():
                setattr(module, each.__name__, command)
            monkeypatch.setitem(sys.modules, f"nlptl.commands.{name}", module)
        monkeypatch.setattr(sys, "argv", ["nlptl", *shlex.split(line)])
        code = cli.main()
        return Outcome(code, *capsys.readouterr(), *(called or (None, None)))

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_sets_the_key_that_it_is_named_after(command: str, nlptl: Runner) -> None:
    words, keys = ALL_OPTIONS[command]
    expected = {**COMMON_KEYS, **keys}
    outcome = nlptl(f"{command} {words} {COMMON}")
    assert outcome.code == 0, outcome.err
    assert outcome.config == COMMANDS[command](**expected)
    assert outcome.config.model_fields_set >= set(expected)
    offered = set(inspect.signature(FUNCTIONS[command]).parameters) - {"context", *CONTROLS}
    assert offered == set(expected), "an option that this test does not try, or that no key has"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_choices_of_an_option_are_those_of_its_key(command: str) -> None:
    def choices(annotation: Any) -> set[str]:
        if typing.get_origin(annotation) is typing.Literal:
            return set(typing.get_args(annotation))
        return {choice for part in typing.get_args(annotation) for choice in choices(part)}

    for name, parameter in inspect.signature(FUNCTIONS[command]).parameters.items():
        if name in COMMANDS[command].model_fields and name != "labels":  # which is a list in one word
            assert choices(parameter.annotation) == choices(
                COMMANDS[command].model_fields[name].annotation
            ), name


def test_what_is_not_said_is_left_to_the_config(nlptl: Runner) -> None:
    config = nlptl("finetune --model m --data d -o out").config
    assert config is not None
    assert config.model_fields_set == {"model", "data", "output"}


def test_options_override_the_file_and_set_overrides_both(nlptl: Runner) -> None:
    Path("run.yaml").write_text(
        "model: m\ndata: d\noutput: out\nseed: 1\nepochs: 1\nlimit: 1\nlm: {bptt: 9}\n"
    )
    outcome = nlptl("finetune run.yaml --epochs 2 --limit 2 --set limit=3 --set lm.epochs=4")
    assert outcome.config is not None
    values = outcome.config.model_dump()
    assert (values["seed"], values["epochs"], values["limit"]) == (1, 2, 3)
    assert (values["lm"]["bptt"], values["lm"]["epochs"]) == (9, 4)


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("--text a", ("a",)),
        ("--text a b c", ("a", "b", "c")),
        ("--text a --text b", ("a", "b")),
        ("--text a b --text c --epochs 2", ("a", "b", "c")),
        ("--text=a --text=b", ("a", "b")),
        ("run.yaml --text a b", ("a", "b")),
        ("--text a b -- run.yaml", ("a", "b")),
        ("--epochs 2 run.yaml --text a b", ("a", "b")),
    ],
)
def test_text_takes_one_value_or_several(words: str, texts: tuple[str, ...], nlptl: Runner) -> None:
    Path("run.yaml").write_text("family: ulmfit\n")
    outcome = nlptl(f"pretrain -o out {words}")
    assert outcome.code == 0, outcome.err
    assert outcome.config is not None
    assert outcome.config.model_dump()["text"] == texts


def test_a_config_after_the_texts_is_not_taken_for_text(nlptl: Runner) -> None:
    outcome = nlptl("pretrain -o out --text a run.yaml")
    assert (outcome.code, outcome.config) == (2, None)
    assert outcome.err == "error: 'run.yaml' is among the texts, --text; a config stands before all options\n"


def test_resume_without_a_config_reads_that_of_the_run(nlptl: Runner) -> None:
    Path("out").mkdir()
    Path("out/config.yaml").write_text("model: m\ndata: d\noutput: out\nseed: 5\n")
    outcome = nlptl("finetune --output out --resume")
    assert outcome.config is not None
    assert outcome.invocation is not None
    assert outcome.config.seed == 5
    assert outcome.invocation.resume


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("finetune --forse", "no such option: --forse (did you mean --force?); see `nlptl finetune --help`"),
        ("fintune", "no such command 'fintune' (did you mean 'finetune'?); see `nlptl --help`"),
        ("models imprt", "no such command 'imprt' (did you mean 'import'?); see `nlptl models --help`"),
        ("finetune a.yaml b.yaml", "got unexpected extra argument(s) (b.yaml); see `nlptl finetune --help`"),
        (
            "finetune --head x",
            "invalid value for '--head': 'x' is not one of 'logistic', 'mlp'",
        ),
        ("finetune no.yaml", "no such config file, no.yaml; check the path"),
        ("finetune --set epoch=3", "unknown key 'epoch' (did you mean 'epochs'?)"),
        ("finetune --set x=1 --seed -1", "2 mistakes: "),
        ("finetune --resume --force", "--resume goes on and --force starts afresh; choose one of them"),
        ("finetune --resume -o none", "there is no run to resume, none; name the --output of a run"),
        ("finetune --model m", "--data and --output are missing; for example nlptl finetune --model runs/lm"),
        (
            "finetune --model m --data d --dry-run --set output=null --epochs x",
            "invalid value for '--epochs'",
        ),
        ("predict --model m", "DATA is missing; for example nlptl predict --model runs/first reviews.csv"),
        (
            "models import",
            "--from and --output are missing; for example nlptl models import --from fastai",
        ),
        ("models import --from allen", "invalid value for '--from'"),
        ("pretrain --text", "option '--text' requires an argument"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: str, message: str, nlptl: Runner) -> None:
    outcome = nlptl(words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1
    assert outcome.config is None


def test_a_dry_run_needs_no_output_and_prints_the_plan(nlptl: Runner) -> None:
    plan = {"command": "finetune", "rows": {"train": 1000, "test": 10}, "memory_mb": 512, "notes": []}
    outcome = nlptl("finetune --model m --data d --dry-run", plan)
    assert outcome.code == 0, outcome.err
    assert outcome.invocation is not None
    assert outcome.invocation.dry_run
    assert outcome.out == "command: finetune\nrows: train 1,000, test 10\nmemory mb: 512\nnotes: none\n"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "predict"])
def test_with_json_standard_output_is_one_object(command: str, nlptl: Runner) -> None:
    def chatty(config: RunConfig) -> dict[str, Any]:
        print("a library says hello")
        return REPORTS[command]

    outcome = nlptl(f"{command} {ALL_OPTIONS[command][0]} -o out --json", chatty)
    assert outcome.code == 0
    assert json.loads(outcome.out) == REPORTS[command]
    assert "hello" in outcome.err


def test_json_has_null_for_what_is_no_number(nlptl: Runner) -> None:
    diverged = {"validation": {"perplexity": float("inf"), "curve": [float("nan"), 1.0]}}
    outcome = nlptl("pretrain --text a -o out --json", diverged)
    assert json.loads(outcome.out) == {"validation": {"perplexity": None, "curve": [None, 1.0]}}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_report_for_people_leads_with_the_result(command: str, nlptl: Runner) -> None:
    firsts = {
        "pretrain": "validation: perplexity 54.60, 4.0000 nats a token, 1.500 bits a character, on 500 tokens",
        "finetune": "validation: accuracy 0.900 (95 % 0.770 to 0.960) on 40 examples, macro-F1 0.890",
        "evaluate": "accuracy 0.900 (95 % 0.770 to 0.960) on 40 examples, macro-F1 0.890",
        "compare": "With all 90 labels, m frozen is right 90 of 100 times.\n",
        "predict": "3 texts labelled, 3.0 a second",
        "quickstart": "fine-tuned: accuracy 0.900",
        "extract-features": "output: f.npy",
        "models import": "output: out",
        "models list": "name  family  size    here  licence\nm     ulmfit  ≤ 5 MB  no    MIT\n",
        "models show": "name: m\nfamily: ulmfit\narchitecture: two layers\nlicence: MIT; of a kind\n",
        "models download": "model: out (ulmfit, 1,234 parameters)\n5 MB downloaded, verified by: sha256\n",
    }
    outcome = nlptl(f"{command} {ALL_OPTIONS[command][0]} -o out")
    assert outcome.out.startswith(firsts[command])
    if command in ("pretrain", "finetune", "models import", "models download", "quickstart"):
        assert outcome.out.splitlines()[-1].startswith("next: nlptl ")
    assert "None" not in outcome.out


def test_the_rows_of_predict_are_alone_on_standard_output(nlptl: Runner) -> None:
    def rows(config: RunConfig) -> dict[str, Any]:
        print('{"label": "a"}')
        return REPORTS["predict"]

    for switch in ("", "--json", "-q"):
        outcome = nlptl(f"predict --model m d {switch}", rows)
        assert outcome.out == '{"label": "a"}\n'
        assert ("3 texts labelled" in outcome.err) == (switch == "")
    assert json.loads(nlptl("predict --model m d --json -o out.jsonl", REPORTS["predict"]).out)["rows"] == 3


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            DataError("no column named 'txt'", "in a.csv", "it has 'text'"),
            2,
            "no column named 'txt', in a.csv; it has",
        ),
        (RunFailed("the loss is not a number"), 1, "the loss is not a number"),
        (MemoryError(), 1, "out of memory; lower --batch-size"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"),
            1,
            "out of memory; lower --batch-size",
        ),
        (RuntimeError("could not create a primitive"), 1, "out of memory; lower --batch-size"),
        (
            RuntimeError("could not create a primitive descriptor for a matmul"),
            1,
            "internal: RuntimeError: could not create",
        ),
        (RuntimeError("can't start new thread"), 1, "no room for another thread; free memory, or"),
        (
            OSError(28, "No space left on device", "out/log.jsonl"),
            1,
            "the disk is full, out/log.jsonl; make room",
        ),
        (RuntimeError("basic_ios::clear: iostream error"), 1, "the disk is full; make room"),  # torch.save
        (
            PermissionError(13, "Permission denied", "out/log.jsonl"),
            1,
            "it may not be read or written (Permission denied), out/log.jsonl; mend its permissions",
        ),
        (
            RuntimeError("Error while serializing: Permission denied (os error 13)"),
            1,
            "Error while serializing: Permission denied (os error 13); mend the permissions",
        ),
        (
            TypeError("bad\noperand"),
            1,
            "internal: TypeError: bad operand; run again with --debug and report it",
        ),
        (KeyboardInterrupt(), 130, "stopped"),
        (Interrupted("stopped, and saved", "step 3"), 130, "stopped, and saved, step 3"),
    ],
)
def test_what_stops_a_command_is_told_without_a_traceback(
    error: BaseException, code: int, message: str, nlptl: Runner
) -> None:
    outcome = nlptl("finetune --model m --data d -o out --json", error)
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1
    if code != 130:
        assert "Traceback" in nlptl("finetune --model m --data d -o out --debug", error).err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("stopped, and saved", "step 3")])
def test_a_stopped_run_says_how_to_go_on(error: BaseException, nlptl: Runner) -> None:
    Path("out").mkdir()
    Path("out/config.yaml").touch()
    outcome = nlptl("finetune --model m --data d -o out", error)
    assert outcome.code == 130
    assert outcome.err.splitlines()[1].strip() == "nlptl finetune --output out --resume"


def test_a_missed_threshold_still_reports_what_was_measured(nlptl: Runner) -> None:
    missed = ThresholdMissed("accuracy 0.9000 is below the 0.95 asked for", "d", "see above", dict(METRICS))
    outcome = nlptl("evaluate --model m --data d --min-accuracy 0.95 --json", missed)
    assert outcome.code == 1
    assert json.loads(outcome.out)["accuracy"] == 0.9
    assert outcome.err.startswith("error: accuracy 0.9000 is below")


def test_libraries_are_offline_and_quiet_when_the_command_begins(nlptl: Runner) -> None:
    def environment(config: RunConfig) -> dict[str, Any]:
        return {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", *HUSHED)}

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", *HUSHED):
        os.environ.pop(name, None)
    loud = nlptl("finetune --model m --data d -o out --json -v", environment)
    assert set(json.loads(loud.out).values()) == {None}
    hushed = nlptl("finetune --model m --data d -o out --json --set offline=true", environment)
    assert json.loads(hushed.out) == {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **HUSHED}


def test_only_the_first_of_several_processes_reports(nlptl: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "meet", lambda device: None)  # there is nobody to meet
    os.environ.update(RANK="1", WORLD_SIZE="2")
    outcome = nlptl("finetune --model m --data d -o out --json")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert outcome.invocation is not None
    assert outcome.invocation.reporter.quiet


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_and_fits_a_narrow_terminal(command: str, nlptl: Runner) -> None:
    os.environ["COLUMNS"] = "80"
    outcome = nlptl(f"{command} --help")
    assert outcome.code == 0
    *_, options, example = outcome.out.rstrip().split("\n\n")
    assert example.strip().startswith(f"Example: nlptl {command}")
    assert options.startswith("Common options:")
    assert all(len(line) <= 80 for line in outcome.out.splitlines())
    for name in inspect.signature(FUNCTIONS[command]).parameters:
        if name in COMMANDS[command].model_fields and name not in ("source", "data", "name"):
            assert f"--{name.replace('_', '-')}" in outcome.out  # whole, however long


def test_no_words_print_help_that_names_the_shortest_way_in(nlptl: Runner) -> None:
    outcome = nlptl("")
    assert outcome.code == 2
    assert "nlptl quickstart" in outcome.err
    assert nlptl("--version").out == f"nlptl {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("finetune --help", 0),
        ("models list", 0),
        ("models show ulmfit-mini", 0),
        ("models show ulmfit-mimi", 2),
        ("finetune --forse", 2),
        ("finetune bad.yaml", 2),
        ("finetune --model ulmfit-mimi --data d.csv -o new", 2),
        ("finetune --model ulmfit-mini --data e.csv -o new", 2),
        ("finetune --model ulmfit-mini --data d.csv --lm-text e.txt -o new", 2),
        ("finetune --model ulmfit-mini --data d.csv -o .", 2),
        ("pretrain --family gpt --text e.txt -o new", 2),
        ("extract-features --model empty --data d.csv -o f.npy", 2),
        ("evaluate --model ulmfit-mini --data d.csv", 2),
        ("predict --model ulmfit-mini d.csv", 2),
        ("predict --model m d.csv -o d.csv", 2),
    ],
)
def test_help_and_mistakes_load_nothing_heavy(words: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("epoch: 3\n")
    (tmp_path / "d.csv").write_text("text,label\nfine,a\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "m").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "m" / file).touch()
    program = (
        "import sys\n"
        f"sys.argv = ['nlptl', *{words.split()!r}]\n"
        "from nlptl.cli import main\n"
        "code = main()\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'sklearn', 'pandas', 'scipy', 'numpy'}\n"
        "sys.exit(f'loaded: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else code)\n"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert "loaded" not in done.stderr
    assert done.returncode == code


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    program = (
        "import sys, types\n"
        "sys.argv = ['nlptl', 'predict', '--model', 'm', 'd']\n"
        "import nlptl\n"
        "from nlptl.cli import main\n"
        "nlptl.register_families = lambda: None\n"
        "import nlptl.commands.paths as paths\n"
        "paths.check_paths = lambda config, **how: None\n"
        "module = types.ModuleType('predict')\n"
        "module.predict = lambda config, invocation: [print('x' * 99) for _ in range(99999)] and {}\n"
        "sys.modules['nlptl.commands.predict'] = module\n"
        "sys.exit(main())\n"
    )
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
