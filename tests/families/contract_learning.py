"""The family contract's tests of training: what moves, what does not, what it costs, and what the recipes say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from nlptl.config import (
    FinetuneConfig,
    LmTuningConfig,
    PretrainConfig,
    Section,
    validated,
    with_recipe,
)
from nlptl.data.corpora import TokenCorpus
from nlptl.families.base import Family
from nlptl.nn.ngrams import NgramScores, ngram_keys
from nlptl.nn.sequences import valid_lengths
from nlptl.training.language_modeling import HeldOut, language_model_figures
from nlptl.training.param_groups import param_groups
from nlptl.training.unfreezing import freeze_below
from nlptl.training.windows import stream_windows
from tests.families.contract_parts import FamilyParts

LONG_DOCUMENT = 3000
# Keys of a config that may stay None: they name things, or ask for what a run otherwise goes without.
NAMES = {
    "output",
    "family",
    "model",
    "text_column",
    "text_pair_column",
    "label_column",
    "data",
    "backward_model",
}
OPTIONAL = NAMES | {"max_length", "max_steps", "validation", "test", "limit", "lm_weight"}


class LearningContract(FamilyParts):
    """How a family's models learn."""

    # -- layer groups

    def test_layer_groups_hold_each_parameter_once_with_the_head_on_top(
        self, language_model: PreTrainedModel, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        for model in (language_model, classifier):
            grouped = [id(p) for group in model.layer_groups() for p in group]
            assert len(grouped) == len(set(grouped))
            assert set(grouped) == {id(p) for p in model.parameters()}
            assert all(model.layer_groups())
        vectors = [vector.detach() for vector in classifier.represent(**self.batch(tokenizer))]
        classifier.classify(vectors).square().sum().backward()
        head = {id(p) for p in classifier.parameters() if p.grad is not None}
        assert head == {id(p) for p in classifier.layer_groups()[-1]}
        softmax = language_model.get_output_embeddings()
        if softmax is not None:
            assert {id(p) for p in softmax.parameters()} <= {id(p) for p in language_model.layer_groups()[-1]}

    def test_classifying_a_representation_is_the_whole_model(
        self, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        batch = self.batch(tokenizer)
        with torch.inference_mode():
            assert torch.equal(classifier.classify(classifier.represent(**batch)), classifier(**batch).logits)

    def test_a_temperature_divides_what_is_predicted_and_not_what_is_learned(
        self, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
    ) -> None:
        batch = self.batch(tokenizer)
        plain = classifier(**batch).logits.detach()
        classifier.config.calibration_temperature = 2.5
        try:
            classifier.save_pretrained(tmp_path)
            loaded = type(classifier).from_pretrained(tmp_path).eval()
            torch.testing.assert_close(loaded(**batch).logits, plain / 2.5)
            torch.testing.assert_close(loaded.classify(loaded.represent(**batch)), plain / 2.5)
            labelled, losses = self.labelled(tokenizer), []
            for temperature in (1.0, 2.5):
                classifier.train().config.calibration_temperature = temperature
                torch.manual_seed(0)
                losses.append(classifier(**labelled).loss)
            assert torch.equal(*losses)
        finally:
            classifier.eval().config.calibration_temperature = 1.0

    def test_ngrams_are_added_to_what_is_predicted_and_not_to_what_is_learned(
        self, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
    ) -> None:
        batch, labelled, config = self.batch(tokenizer), self.labelled(tokenizer), classifier.config
        ngrams = NgramScores(0, config.num_labels)
        ngrams.keys = ngram_keys(batch["input_ids"], valid_lengths(batch["attention_mask"]), 2)[0].unique()
        ngrams.rarity = torch.ones(len(ngrams.keys))
        ngrams.weight = torch.randn(len(ngrams.keys), config.num_labels)
        ngrams.shares = torch.tensor([0.5, 2.0])
        scores = ngrams(**batch, longest=2, several=False)
        losses = []
        try:
            for beside in (None, ngrams):
                classifier.ngrams = beside
                torch.manual_seed(0)
                losses.append(classifier.train()(**labelled).loss)
            assert torch.equal(*losses)
            classifier.eval().ngrams = None
            plain = classifier(**batch).logits
            classifier.ngrams, config.ngrams, config.longest_ngram = ngrams, len(ngrams.keys), 2
            expected = classifier(**batch).logits
            torch.testing.assert_close(expected, 0.5 * plain + 2 * scores)
            classifier.save_pretrained(tmp_path)
            loaded = type(classifier).from_pretrained(tmp_path).eval()
            torch.testing.assert_close(loaded(**batch).logits, expected)
            last = {key: value[-1:] for key, value in batch.items()}
            torch.testing.assert_close(loaded(**last).logits, expected[-1:], atol=1e-5, rtol=1e-4)
            loaded.config.calibration_temperature = 2.5
            torch.testing.assert_close(loaded(**batch).logits, expected / 2.5)
            grouped = {id(p) for group in loaded.layer_groups() for p in group}
            assert grouped == {id(p) for p in loaded.parameters()}
        finally:
            classifier.eval().ngrams, config.ngrams, config.longest_ngram = None, 0, 3

    def test_only_unfrozen_groups_learn(
        self, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """At each depth of gradual unfreezing, with one optimizer over all groups that has moved them all before."""
        groups = classifier.layer_groups()
        optimizer = torch.optim.AdamW(param_groups(groups, 1e-2, 2.6, weight_decay=0.1))
        inputs = self.labelled(tokenizer)
        for trained in (len(groups), *range(1, len(groups) + 1)):
            freeze_below(groups, trained)
            before = [[p.detach().clone() for p in group] for group in groups]
            optimizer.zero_grad()
            classifier.train()(**inputs).loss.backward()
            optimizer.step()
            for level, (group, old) in enumerate(zip(groups, before, strict=True)):
                learns = level >= len(groups) - trained
                for parameter, value in zip(group, old, strict=True):
                    assert (parameter.grad is not None) == learns
                    assert torch.equal(parameter, value) != learns

    # -- losses

    def test_a_few_steps_of_training_lower_the_losses(
        self, language_model: PreTrainedModel, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        torch.manual_seed(0)
        trials = [(classifier, self.labelled(tokenizer))]
        if self.family.predicts_tokens:
            fresh = self.new_language_model(tokenizer)
            trials.insert(0, (fresh, self.training_batch(fresh.config, tokenizer)))
        for model, inputs in trials:
            freeze_below(model.layer_groups(), len(model.layer_groups()))
            optimizer = torch.optim.AdamW(param_groups(model.layer_groups(), 1e-2, 1.0, weight_decay=0.0))
            losses = []
            for _ in range(60):
                with torch.no_grad():
                    losses.append(float(model.eval()(**inputs).loss))
                optimizer.zero_grad()
                model.train()(**inputs).loss.backward()
                optimizer.step()
            assert losses[-1] < 0.9 * losses[0]

    def test_the_classifier_s_loss(
        self,
        classifier: PreTrainedModel,
        language_model_folder: Path,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        """Cross entropy, each class with its weight; of several labels a text, binary cross entropy of each."""
        inputs = self.labelled(tokenizer)
        labels, weights = inputs["labels"], torch.tensor([0.5, 1.0, 4.0])
        several = self.new_classifier(language_model_folder, "multi_label_classification")
        marks = F.one_hot(labels, 3) | F.one_hot((labels + 1) % 3, 3)
        with torch.inference_mode():
            plain, weighted = classifier(**inputs), classifier(**inputs, class_weights=weights)
            multiple = several(**{**inputs, "labels": marks})
        torch.testing.assert_close(plain.loss, F.cross_entropy(plain.logits, labels))
        torch.testing.assert_close(weighted.loss, F.cross_entropy(plain.logits, labels, weight=weights))
        assert not torch.isclose(plain.loss, weighted.loss)
        expected = F.binary_cross_entropy_with_logits(multiple.logits, marks.float())
        torch.testing.assert_close(multiple.loss, expected)

    def test_perplexity_is_that_of_the_full_softmax(
        self, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """Against the probabilities of whole streams, read at once where the family carries state between windows."""
        if not self.family.predicts_tokens:
            pytest.skip("this family predicts no token")
        if type(self.family).window_collate is not Family.window_collate:
            pytest.skip("this family does not predict the next token")
        ids = self.stream(tokenizer)[:203]
        windows = stream_windows(ids, rows=4, length=11, backward=False)
        assert windows.rows > 1
        recurrent = "state" in inspect.signature(language_model.forward).parameters
        length = windows.stream_length if recurrent else windows.length
        chances: list[Tensor] = []
        with torch.inference_mode():
            for row in range(windows.rows):
                for start in range(0, windows.stream_length, length):
                    stop = min(start + length, windows.stream_length)
                    text = torch.from_numpy(ids[row * windows.stream_length :][start : stop + 1])
                    logits = language_model(text[None, :-1]).logits[0].double()
                    chances.append(logits.log_softmax(dim=1)[torch.arange(stop - start), text[1:]])
        expected = -torch.cat(chances).mean()
        found = language_model_figures(
            language_model,
            HeldOut(windows, characters=900, tokens=len(ids)),
            self.family.window_collate(language_model.config, tokenizer, training=False),
            torch.device("cpu"),
        )
        assert found["tokens"] == windows.targets
        assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
        assert found["perplexity"] == pytest.approx(float(expected.exp()), rel=1e-5)
        bits = float(expected) / np.log(2) * len(ids) / 900
        assert found["bits_per_character"] == pytest.approx(bits, rel=1e-5)

    # -- long documents

    def test_a_document_longer_than_any_window_is_learned_in_bounded_memory(
        self, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        kept = []
        for length in (LONG_DOCUMENT, 2 * LONG_DOCUMENT):
            ids = self.stream(tokenizer)
            ids = np.concatenate([ids] * (length // len(ids) + 1))[:length]
            inputs = {
                "input_ids": torch.from_numpy(ids)[None].repeat(2, *[1] * ids.ndim),
                "labels": torch.tensor([0, 2]),
            }
            inputs["attention_mask"] = torch.ones(2, length, dtype=torch.long)
            inputs["attention_mask"][1, length - 7 :] = 0
            with saved_bytes() as counted:
                loss = classifier.train()(**inputs).loss
            loss.backward()
            assert torch.isfinite(loss)
            kept.append(sum(counted.values()))
        assert kept[1] <= 1.25 * kept[0]

    # -- recipes

    def test_the_recipes_leave_nothing_open(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Every key of a recipe is a key of the config it is for, fits it, and none that a run needs stays None."""
        recipes = self.family.recipes
        keeps = {"size", "tokenizer", "vocab_size"}  # of a model that goes on
        plans: list[tuple[type[Section], Mapping[str, Any], set[str]]] = [
            (PretrainConfig, recipes["pretrain"], set()),
            (PretrainConfig, recipes["tune"], keeps),
            (LmTuningConfig, recipes["tune"], set()),
            (FinetuneConfig, recipes["finetune"], set()),
            (FinetuneConfig, {**recipes["finetune"], **recipes["freeze"]}, set()),
        ]
        for schema, recipe, open_keys in plans:
            config = with_recipe(schema(), recipe)
            assert validated(schema, dict(recipe)) is not None
            left = {key for key in schema.model_fields if getattr(config, key) is None}
            assert left <= OPTIONAL | open_keys
            optimizer = config.model_dump()["optimizer"]
            assert None not in optimizer.values()
            self.family.build_config(self.size, tokenizer, False, recipe.get("architecture", {}))

    # -- inputs

    def training_batch(
        self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """The first windows of the family's texts, as its language model is trained on them."""
        encoder = self.family.corpus_encoder(tokenizer)
        ids = np.concatenate([np.asarray(row) for row in encoder.encode(list(self.texts))])
        corpus = TokenCorpus(ids, texts=len(self.texts), characters=0, spellings=encoder.spellings or ())
        windows = self.family.windows(corpus, 4, 24, tokenizer, config)
        collate = self.family.window_collate(config, tokenizer, training=True)
        return collate([windows[row] for row in range(windows.rows)])

    def labelled(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
        batch = self.batch(tokenizer)
        return {**batch, "labels": torch.arange(len(batch["input_ids"])) % 3}


class saved_bytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the memory that a forward pass keeps for its backward pass: bytes by storage."""

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            self.storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        super().__init__(keep, lambda tensor: tensor)

    def __enter__(self) -> dict[int, int]:  # type: ignore[override]
        super().__enter__()
        return self.storages
