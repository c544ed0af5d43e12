"""`nlptl models import` of ELMo's release and of files of word vectors: what it reports, replaces and leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import h5py
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import nlptl
from tests.releases import elmo_release, word2vec_binary

Command = Callable[..., CompletedProcess[str]]
KEYS = {"output", "family", "parameters", "vocabulary", "ignored_keys"}
VECTORS = {"good": [1.0, 2.0, 0.5], "bad": [-1.0, 0.0, 3.0], "zebra": [9.0, 9.0, 9.0]}
GLOVE = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in VECTORS.items())


@pytest.fixture(params=["allennlp", "word2vec", "glove"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> list[Any]:
    """An import of each system, without its output."""
    source: str = request.param
    if source == "allennlp":
        elmo_release(tmp_path)
        files: list[Any] = ["--weights", tmp_path / "w.hdf5", "--options", tmp_path / "o.json"]
    else:
        content = word2vec_binary(VECTORS) if source == "word2vec" else GLOVE.encode()
        (tmp_path / "vectors").write_bytes(content)
        files = ["--weights", tmp_path / "vectors"]
    return ["models", "import", "--from", source, *files]


def test_the_report_is_what_was_promised_and_the_model_loads(
    line: list[Any], command: Command, tmp_path: Path
) -> None:
    outcome = command(*line, "-o", tmp_path / "out", "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert set(report) == KEYS
    assert report["output"] == str(tmp_path / "out")
    assert report["ignored_keys"] == []
    nlptl.register_families()
    model = AutoModel.from_pretrained(tmp_path / "out" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    assert report["family"] == ("elmo" if "allennlp" in line else "wordvectors")
    assert report["parameters"] == model.num_parameters()
    assert report["vocabulary"] == len(tokenizer)
    if "allennlp" in line:
        assert "without a softmax" in outcome.stderr
        with h5py.File(tmp_path / "w.hdf5") as file:
            bias = torch.from_numpy(file["CNN_proj/b_proj"][()])
        assert torch.equal(model.char_cnn.projection.bias.detach(), bias)
    else:
        assert "3 words of 3 numbers" in outcome.stderr
        found = model.embedding.weight.detach()[tokenizer.convert_tokens_to_ids(list(VECTORS))]
        assert torch.equal(found, torch.tensor(list(VECTORS.values())))


def test_a_full_folder_is_kept_unless_it_is_forced_and_what_is_not_ours_even_then(
    line: list[Any], command: Command, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    (output / "model").mkdir(parents=True)
    (output / "model" / "old.txt").write_text("old", encoding="utf-8")
    (output / "mine.txt").write_text("mine", encoding="utf-8")
    refused = command(*line, "-o", output)
    assert refused.returncode == 2
    assert "not empty" in refused.stderr
    assert (output / "model" / "old.txt").is_file()
    forced = command(*line, "-o", output, "--force")
    assert forced.returncode == 0, forced.stderr
    assert sorted(path.name for path in output.iterdir()) == ["mine.txt", "model"]
    assert not (output / "model" / "old.txt").exists()
    assert (output / "model" / "model.safetensors").is_file()


def test_a_dry_run_makes_nothing(line: list[Any], command: Command, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    outcome = command(*line, "-o", tmp_path / "out", "--dry-run", "--json")
    assert outcome.returncode == 0, outcome.stderr
    plan = json.loads(outcome.stdout)
    assert plan["family"] == ("elmo" if "allennlp" in line else "wordvectors")
    assert sorted(tmp_path.iterdir()) == before


def test_only_the_words_of_several_texts(command: Command, tmp_path: Path) -> None:
    for name, text in {"vectors": GLOVE, "a.txt": "Good\n", "b.txt": "bad, bad\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    line = ("models", "import", "--from", "glove", "--weights", tmp_path / "vectors", "-o", tmp_path / "out")
    outcome = command(*line, "--words-of", tmp_path / "a.txt", tmp_path / "b.txt", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["vocabulary"] == 5  # two words and the three special ones
    assert "1 rows are of words that the texts do not have" in outcome.stderr


@pytest.mark.parametrize("strategy", ["fine-tune", "freeze"])
def test_what_was_imported_becomes_a_classifier(
    line: list[Any], strategy: str, command: Command, labelled_file: Path, tmp_path: Path
) -> None:
    """No language model is tuned: there is none in what was imported, which is said where one would be."""
    assert command(*line, "-o", tmp_path / "out").returncode == 0
    words = ("finetune", "--model", tmp_path / "out", "--data", labelled_file, "-o", tmp_path / "run")
    outcome = command(*words, "--strategy", strategy, "--epochs", 1, "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["validation"]["examples"] > 0
    assert not (tmp_path / "run" / "lm").exists()
    said = "not tuned on the task's text as a language model" in outcome.stderr
    assert said == (strategy == "fine-tune" and "allennlp" in line)
