"""The functions of Python do what the commands do, with data that need not be in a file, and leave no trace."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict

import nlptl
from nlptl.data.lm_text import find_lm_text
from nlptl.data.memory import holding

Command = Callable[..., CompletedProcess[str]]
Reviews = list[tuple[str, str]]
EXACT = {"device": "cpu", "precision": "fp32"}
SHORT: dict[str, Any] = {**EXACT, "epochs": 1, "batch_size": 12, "lm_tuning": False}
TEXTS = ["the film is great", "", "a long scene is dull"]


@pytest.fixture(scope="module")
def frame(reviews: Reviews) -> pandas.DataFrame:
    return pandas.DataFrame(reviews[:40], columns=["text", "label"])


def without_time(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if "second" not in key and key != "peak_memory_mb"}


def test_evaluate_returns_what_the_command_prints(
    command: Command, classifier_folder: Path, labelled_file: Path
) -> None:
    outcome = command("evaluate", "--model", classifier_folder, "--data", labelled_file, "--json")
    assert json.loads(outcome.stdout) == nlptl.evaluate(model=classifier_folder, data=labelled_file, **EXACT)


def test_predict_returns_the_rows_of_the_command(
    command: Command, classifier_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    outcome = command("predict", labelled_file, "--model", classifier_folder, "--probabilities")
    rows = nlptl.predict(labelled_file, model=classifier_folder, probabilities=True, **EXACT)
    assert rows == [json.loads(line) for line in outcome.stdout.splitlines()]
    file = tmp_path / "rows.jsonl"
    report = nlptl.predict(labelled_file, model=classifier_folder, output=file, probabilities=True, **EXACT)
    assert (report["rows"], report["output"]) == (40, str(file))
    assert file.read_text(encoding="utf-8") == outcome.stdout


def test_a_list_of_texts_is_data_and_may_abstain(
    command: Command, classifier_folder: Path, frame: pandas.DataFrame, labelled_file: Path
) -> None:
    outcome = command("predict", labelled_file, "--model", classifier_folder)
    rows = nlptl.predict(frame["text"].tolist(), model=classifier_folder, **EXACT)
    assert rows == [json.loads(line) for line in outcome.stdout.splitlines()]
    unsure = nlptl.predict(TEXTS, model=classifier_folder, min_probability=1.0, **EXACT)
    assert [row["label"] for row in unsure] == [None, None, None]


def test_rows_in_memory_train_the_model_that_a_file_of_them_does(
    language_model_folder: Path, labelled_file: Path, frame: pandas.DataFrame, tmp_path: Path
) -> None:
    shared = {"model": language_model_folder, **SHORT}
    of_file = nlptl.finetune(data=labelled_file, output=tmp_path / "file", **shared)
    for number, data in enumerate([frame, Dataset.from_pandas(frame), frame.to_dict("records")]):
        report = nlptl.finetune(data=data, output=tmp_path / str(number), **shared)
        assert report["validation"] == of_file["validation"]
    card = (tmp_path / "0" / "README.md").read_text(encoding="utf-8")
    assert "nlptl.finetune(" in card
    assert "data='<data in memory>'" in card


def test_the_splits_and_class_names_of_a_data_set_are_used(
    language_model_folder: Path, frame: pandas.DataFrame, tmp_path: Path
) -> None:
    rows = Dataset.from_dict(frame.to_dict("list")).cast_column("label", ClassLabel(names=["good", "bad"]))
    data = DatasetDict({"train": rows.select(range(24)), "dev": rows.select(range(24, 32)), "test": rows})
    report = nlptl.finetune(model=language_model_folder, data=data, output=tmp_path / "run", **SHORT)
    assert (report["labels"], report["train_examples"]) == (["good", "bad"], 24)
    assert (report["validation"]["examples"], report["test"]["examples"]) == (8, 40)


def test_a_run_goes_on_with_the_same_rows_and_with_no_others(
    language_model_folder: Path, frame: pandas.DataFrame, tmp_path: Path
) -> None:
    place = {"output": tmp_path / "run", "resume": True}
    run = {"model": language_model_folder, **SHORT}
    first = nlptl.finetune(data=frame, output=tmp_path / "run", **run)
    again = nlptl.finetune(data=frame, **run, **place)
    assert without_time(again) == without_time(first)
    with pytest.raises(nlptl.NlptlError, match="data has changed since"):
        nlptl.finetune(data=frame[::-1], **run, **place)
    with pytest.raises(nlptl.NlptlError, match="was in the memory of the Python program"):
        nlptl.finetune(**place)


def test_a_language_model_is_tuned_on_text_in_memory(
    language_model_folder: Path, frame: pandas.DataFrame, tmp_path: Path
) -> None:
    report = nlptl.pretrain(
        model=language_model_folder, text=frame[["text"]], output=tmp_path / "lm", epochs=1, bptt=16, **EXACT
    )
    assert report["steps"] > 0


def test_text_in_memory_is_told_apart_by_its_content() -> None:
    """Tokens of a text are kept by its fingerprint: two texts of one name must not be taken for each other."""
    marks = []
    for text in ("one text", "another text", "one text"):
        with holding({"text": [text]}) as names:
            found = find_lm_text([names["text"]])
            assert list(found) == [text]
            marks.append(found.fingerprint())
    assert marks[0] == marks[2] != marks[1]


def test_features_are_written(language_model_folder: Path, tmp_path: Path) -> None:
    report = nlptl.extract_features(
        model=language_model_folder, data=TEXTS, output=tmp_path / "x.npy", pooling="max", layers=0, **EXACT
    )
    assert np.load(tmp_path / "x.npy").shape == (3, report["width"])


def test_a_config_file_is_a_run_and_arguments_win(
    language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        f"model: {language_model_folder}\ndata: {labelled_file}\nepochs: 3\nlm_tuning: false\nbatch_size: 12\n",
        encoding="utf-8",
    )
    report = nlptl.finetune(config=file, epochs=np.int64(1), output=tmp_path / "run", **EXACT)
    assert report["epochs"] == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"epoch": 1}, r"unknown key 'epoch' \(did you mean 'epochs'\?\)"),
        ({"epochs": "two"}, "epochs"),
        ({}, r"data is missing, nlptl.finetune\(\)"),
        ({"data": 3}, "a int where texts are due, <data in memory>"),
        ({"data": ["one", "two"]}, "label"),
        ({"data": [{"text": "x", "label": 1}, {"text": 2, "label": "a"}]}, "its values make no table"),
        ({"data": "sample", "resume": True, "force": True}, "choose one of them"),
        ({"data": "sample", "device": "cuda:1"}, "set CUDA_VISIBLE_DEVICES before Python starts"),
    ],
)
def test_mistakes_are_expected_errors(
    keys: dict[str, Any], said: str, language_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(nlptl.NlptlError, match=said):
        nlptl.finetune(model=language_model_folder, output=tmp_path / "run", **keys)
    assert not (tmp_path / "run").exists()


def test_one_of_several_processes_is_refused(
    classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(nlptl.NlptlError, match="torchrun -m nlptl predict"):
        nlptl.predict(TEXTS, model=classifier_folder)


def test_the_program_around_a_run_goes_on_as_if_it_had_not_been(
    language_model_folder: Path, frame: pandas.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.random()), float(torch.rand(()))]

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    expected, environment = draws(), dict(os.environ)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    nlptl.finetune(model=language_model_folder, data=frame, output=tmp_path / "run", **SHORT)
    assert draws() == expected
    assert {key: value for key, value in os.environ.items() if key in environment} == environment
    assert capsys.readouterr() == ("", "")


def test_verbose_says_on_standard_error_what_the_command_says(
    classifier_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nlptl.predict(TEXTS, model=classifier_folder, verbose=True, **EXACT)
    out, err = capsys.readouterr()
    assert out == ""
    assert "1 of 3 texts are empty" in err


def test_an_interrupted_run_is_a_keyboard_interrupt(
    classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search over parameters goes on after an `Exception`, and must not after Ctrl-C."""
    from nlptl.commands import evaluate
    from nlptl.errors import Interrupted

    def stopped(*_: Any) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(evaluate, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt, match="resume=True"):
        nlptl.evaluate(model=classifier_folder, data="sample")


def test_importing_the_package_reads_neither_the_functions_nor_scikit_learn() -> None:
    code = (
        "import sys, transformers.generation.utils; before = {*sys.modules}; "  # which loads it in some releases
        "import nlptl; assert 'finetune' in dir(nlptl); heavy = {*sys.modules} - before; "
        "print([m for m in heavy if m in ('sklearn', 'nlptl.api', 'nlptl.estimators', 'nlptl.commands')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
