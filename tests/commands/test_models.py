"""`nlptl models import`: a fastai checkpoint of any layout computes in our model folder what it computed in fastai."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import nlptl
from nlptl.families.restricted_pickle import read_tensors

Command = Callable[..., CompletedProcess[str]]
PARITY = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "ulmfit"
pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="the shared parity fixtures are not here")


@pytest.fixture(autouse=True)
def registered() -> None:
    nlptl.register_families()


@pytest.fixture
def imported(command: Command, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Imports `weights` into `tmp_path / "lm"` and gives the report, what was said added to it."""

    def run(weights: str, *words: Any) -> dict[str, Any]:
        line = ("models", "import", "--from", "fastai", "--weights", PARITY / weights, "-o", tmp_path / "lm")
        outcome = command(*line, "--json", *words)
        assert outcome.returncode == 0, outcome.stderr
        return {**json.loads(outcome.stdout), "said": outcome.stderr}

    return run


@pytest.mark.parametrize(
    ("weights", "vocab", "has_bias"),
    [
        ("lm_fwd.pth", "itos.pkl", True),
        ("lm_fwd_fastai1_layout.pth", "itos.json", True),
        ("lm_fwd_fastai07_layout.pth", "itos_fastai07.pkl", False),
    ],
)
def test_an_imported_language_model_has_the_logits_of_the_original(
    weights: str, vocab: str, has_bias: bool, imported: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    report = imported(weights, "--vocab", PARITY / vocab)
    assert set(report) == {"output", "family", "parameters", "vocabulary", "ignored_keys", "said"}
    assert (report["output"], report["family"], report["vocabulary"]) == (str(tmp_path / "lm"), "ulmfit", 60)
    # fastai 1 kept a dropped-out copy of each recurrent matrix beside the true one.
    copies = [key for key in report["ignored_keys"] if key.endswith("module.weight_hh_l0")]
    assert len(copies) == (3 if "fastai1" in weights else 0)

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "lm" / "model").eval()
    assert report["parameters"] == model.num_parameters()
    expected = load_file(PARITY / "lm_fwd_expected.safetensors")
    logits = expected["full.logits"]
    if not has_bias:
        logits = logits - read_tensors(PARITY / "lm_fwd.pth")["1.decoder.bias"]
    with torch.inference_mode():
        found = model(expected["full.input_ids"]).logits
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)


def test_an_imported_language_model_reads_text_with_its_own_words(
    imported: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    pytest.importorskip("spacy")
    imported("lm_fwd.pth", "--vocab", PARITY / "itos.pkl")
    words = json.loads((PARITY / "itos.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "lm" / "model")
    word = next(word for word in words if word.isalpha() and not word.startswith("xx"))
    ids = tokenizer(word)["input_ids"]
    assert ids == [words.index("xxbos"), words.index(word)]


def test_an_imported_classifier_has_the_logits_of_the_original(
    imported: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    report = imported("clf_a.pth", "--vocab", PARITY / "itos.pkl")
    assert "a classifier" in report["said"]
    # The chunk length and the pooled window are arguments of fastai's learner, which no checkpoint holds.
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "lm" / "model", chunk_length=8, max_pooled_tokens=40
    ).eval()
    assert model.config.num_labels == 3
    expected = load_file(PARITY / "clf_a_expected.safetensors")
    for document in range(6):
        with torch.inference_mode():
            logits = model(expected[f"doc{document}.input_ids"].reshape(1, -1)).logits
        target = expected[f"doc{document}.logits"].reshape(1, -1)
        torch.testing.assert_close(logits, target, atol=1e-5, rtol=1e-5)


def test_backward_weights_become_a_second_folder_that_reads_backward(
    imported: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    report = imported(
        "lm_fwd.pth", "--vocab", PARITY / "itos.pkl", "--backward-weights", PARITY / "lm_fwd.pth"
    )
    assert report["backward_output"] == str(tmp_path / "lm-backward")
    forward, backward = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name / "model").eval()
        for name in ("lm", "lm-backward")
    )
    assert (forward.config.direction, backward.config.direction) == ("forward", "backward")
    ids = torch.tensor([[2, 11, 12, 13, 14]])
    with torch.inference_mode():
        turned = backward(ids.flip(1)).logits.flip(1)
        torch.testing.assert_close(turned, forward(ids).logits)


def test_an_import_without_a_vocabulary_says_so_and_cannot_be_trained(
    imported: Callable[..., dict[str, Any]], command: Command, labelled_file: Path, tmp_path: Path
) -> None:
    assert "no --vocab" in imported("lm_fwd.pth")["said"]
    assert not (tmp_path / "lm" / "model" / "vocab.json").exists()
    words = ("finetune", "--model", tmp_path / "lm", "--data", labelled_file, "-o", tmp_path / "run")
    outcome = command(*words)
    assert outcome.returncode == 2
    assert "without a tokenizer" in outcome.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("weights", "cause"),
    [
        ("absent.pth", "no such file"),
        ("lm_fwd_encoder.pth", "an encoder without its softmax"),
        ("itos.json", "itos.json"),
    ],
)
def test_what_is_no_language_model_leaves_nothing_behind(
    weights: str, cause: str, command: Command, tmp_path: Path
) -> None:
    output = tmp_path / "lm"
    line = ("models", "import", "--from", "fastai", "--weights", PARITY / weights, "-o", output)
    outcome = command(*line, "--json")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert cause in outcome.stderr
    assert not output.exists() or list(output.iterdir()) == []


def test_a_vocabulary_of_another_model_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "itos.json").write_text(json.dumps(["xxunk", "xxpad", "xxbos"]), encoding="utf-8")
    line = ("models", "import", "--from", "fastai", "--weights", PARITY / "lm_fwd.pth", "-o", tmp_path / "lm")
    outcome = command(*line, "--vocab", tmp_path / "itos.json")
    assert outcome.returncode == 2
    assert "60" in outcome.stderr
    assert not (tmp_path / "lm" / "model").exists()


def test_a_dry_run_and_a_folder_in_use_change_nothing(command: Command, tmp_path: Path) -> None:
    output = tmp_path / "lm"
    line = ("models", "import", "--from", "fastai", "--weights", PARITY / "lm_fwd.pth", "-o", output)
    assert command(*line, "--dry-run").returncode == 0
    assert not output.exists()
    output.mkdir()
    (output / "mine.txt").write_text("mine", encoding="utf-8")
    refused = command(*line)
    assert refused.returncode == 2
    assert "not empty" in refused.stderr
    assert "--resume" not in refused.stderr
    assert [path.name for path in output.iterdir()] == ["mine.txt"]
