"""The models that ship: each small enough, whole, and a language model of English."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from nlptl.pretrained import models
from nlptl.pretrained.models import find_model

EMBEDDED = Path(models.__file__).parent / "embedded"
NAMES = sorted(folder.name for folder in EMBEDDED.iterdir() if folder.is_dir())
LANGUAGE_MODELS = ["elmo-mini", "gpt-mini", "ulmfit-mini", "ulmfit-mini-backward"]
SENTENCE = "i thought this was one of the best films i have ever seen, and the acting was very good."


def test_the_models_named_in_the_readme_ship() -> None:
    assert [*LANGUAGE_MODELS, "wordvectors-mini"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_in_half_precision(name: str) -> None:
    assert sum(file.stat().st_size for file in (EMBEDDED / name).iterdir()) < 12e6
    with safe_open(EMBEDDED / name / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(key).dtype for key in weights.keys()} == {torch.float16}  # noqa: SIM118
    card = (EMBEDDED / name / "README.md").read_text(encoding="utf-8")
    assert ("bits a character" in card) == (name in LANGUAGE_MODELS)
    assert "license:" in card


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_sentence_is_far_likelier_than_its_words_in_disorder(name: str) -> None:
    found = find_model(name, offline=True)
    tokenizer = found.load_tokenizer()
    model = found.family.load_language_model(found.path, {}).eval()
    assert next(model.parameters()).dtype == torch.float32

    words_of = found.family.corpus_encoder(tokenizer).encode  # what is predicted; ELMo reads characters

    def loss(text: str) -> float:
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            return float(model(**batch, labels=torch.tensor(words_of([text]))).loss)

    words = SENTENCE.split()
    disorder = " ".join(words[::2][::-1] + words[1::2])
    assert loss(SENTENCE) < min(loss(disorder) - 0.5, math.log(len(tokenizer)) - 3)


def test_words_that_mean_much_the_same_lie_nearer_than_others() -> None:
    found = find_model("wordvectors-mini", offline=True)
    tokenizer = found.load_tokenizer()
    table = found.family.load_language_model(found.path, {}).eval().embedding.weight.detach()
    assert table.dtype == torch.float32
    unit = torch.nn.functional.normalize(table, dim=1)
    for word, near, far in (
        ("refund", "reimbursed", "firmware"),
        ("parcel", "courier", "password"),
        ("film", "movie", "invoice"),
    ):
        of, alike, other = (unit[tokenizer.convert_tokens_to_ids(each)] for each in (word, near, far))
        assert tokenizer.unk_token_id not in tokenizer.convert_tokens_to_ids([word, near, far])
        assert of @ alike > of @ other + 0.2
