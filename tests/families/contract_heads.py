"""The family contract's tests of heads: each kind on a frozen body, saved, in any company, and on long documents."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlptl.data.encoding import encode_rows
from nlptl.nn.token_head import TokenHead
from nlptl.strategies import freeze as strategy
from nlptl.strategies.examples import Examples
from nlptl.strategies.freeze import document_features, freeze
from nlptl.strategies.token_features import token_features
from nlptl.training.inference import class_probabilities
from nlptl.training.models import LayeredClassifier
from nlptl.training.progress import Reporter
from tests.families.contract_learning import LONG_DOCUMENT, saved_bytes
from tests.families.contract_parts import LABELS, FamilyParts

HEADS = ("logistic", "mlp", "bilstm-attention")
SILENT = Reporter(quiet=True)


class HeadsContract(FamilyParts):
    """Every family offers every head on its frozen body."""

    @pytest.fixture(params=HEADS)
    def headed(self, request: pytest.FixtureRequest, language_model_folder: Path) -> LayeredClassifier:
        return self.with_head(request.param, language_model_folder)

    def with_head(self, head: str, folder: Path) -> LayeredClassifier:
        torch.manual_seed(0)
        names = dict(enumerate(LABELS))
        labels = {
            "id2label": names,
            "label2id": {n: i for i, n in names.items()},
            "problem_type": "single_label_classification",
        }
        model = self.family.build_classifier([folder], self.family.head_architecture(head), labels).eval()
        with torch.no_grad():
            for parameter in model.layer_groups()[-1]:  # so that no difference is too small to see
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        return model

    # -- the model

    def test_a_saved_head_is_the_same_head(
        self, headed: LayeredClassifier, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
    ) -> None:
        headed.save_pretrained(tmp_path)
        again = type(headed).from_pretrained(tmp_path).eval()
        before, after = headed.state_dict(), again.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        batch = self.batch(tokenizer)
        with torch.inference_mode():
            near(again(**batch).logits, headed(**batch).logits)

    def test_a_head_that_the_checkpoint_lacks_is_fresh(
        self, headed: LayeredClassifier, language_model_folder: Path
    ) -> None:
        """Built without weights, then filled: what no file gave has to be initialised all the same."""
        torch.manual_seed(0)
        again = type(headed).from_pretrained(language_model_folder, config=headed.config)
        for head in again.heads():
            assert all(bool(torch.isfinite(tensor).all()) for tensor in head.state_dict().values())
            if isinstance(head, TokenHead):
                assert not head.mix.weights.any()
                assert head.mix.gamma.tolist() == [1.0]
                assert 0.01 < float(head.linear.weight.detach().std()) < 1

    def test_a_head_classifies_what_the_body_represents(
        self, headed: LayeredClassifier, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        batch = self.batch(tokenizer)
        assert headed.reads_tokens == all(isinstance(head, TokenHead) for head in headed.heads())
        with torch.inference_mode():
            vectors = headed.represent(**batch)
            assert len(vectors) == len(headed.heads())
            assert {x.dim() for x in vectors} == ({4} if headed.reads_tokens else {2})
            near(headed.classify(vectors, batch["attention_mask"]), headed(**batch).logits)

    def test_a_head_lies_on_top_and_learns_alone_from_vectors(
        self, headed: LayeredClassifier, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        groups = headed.layer_groups()
        grouped = [id(p) for group in groups for p in group]
        assert len(grouped) == len(set(grouped))
        assert set(grouped) == {id(p) for p in headed.parameters()}
        batch = self.batch(tokenizer)
        vectors = [vector.detach() for vector in headed.represent(**batch)]
        headed.classify(vectors, batch["attention_mask"]).square().sum().backward()
        learning = {id(p) for p in headed.parameters() if p.grad is not None}
        assert learning == {id(p) for p in groups[-1]}
        assert learning == {id(p) for head in headed.heads() for p in head.parameters()}

    def test_a_head_scores_a_text_alike_in_any_company(
        self, headed: LayeredClassifier, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        texts = [self.texts[0], "", " ".join(self.texts[:3]), self.texts[1]]
        together = self.batch(tokenizer, texts)
        with torch.inference_mode():
            vectors, logits = headed.represent(**together), headed(**together).logits
            assert torch.isfinite(logits).all()
            for row, text in enumerate(texts):
                alone = self.batch(tokenizer, [text])
                near(headed(**alone).logits[0], logits[row])
                count = int(headed.tokens_read(together["attention_mask"].sum(dim=1))[row])
                for one, many in zip(headed.represent(**alone), vectors, strict=True):
                    if headed.reads_tokens:
                        near(one[0, :count], many[row, :count])
                        assert not many[row, count:].any()
                    else:
                        near(one[0], many[row])

    def test_a_token_head_learns_a_long_document_in_bounded_memory(
        self, language_model_folder: Path, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        classifier = self.with_head("bilstm-attention", language_model_folder).train()
        kept = []
        for length in (LONG_DOCUMENT, 2 * LONG_DOCUMENT):
            ids = self.stream(tokenizer)
            ids = np.tile(ids, (length // len(ids) + 1, *[1] * (ids.ndim - 1)))[:length]
            with saved_bytes() as counted:
                loss = classifier(input_ids=torch.from_numpy(ids)[None], labels=torch.tensor([2])).loss
            loss.backward()
            assert torch.isfinite(loss)
            kept.append(sum(counted.values()))
        assert kept[1] <= 1.25 * kept[0]

    # -- the frozen strategy

    def test_a_head_is_trained_on_a_frozen_body_and_saved_with_it(
        self,
        headed: LayeredClassifier,
        tokenizer: PreTrainedTokenizerBase,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The saved model says of the texts what its head says of the features, those of tokens in half precision."""
        train, validation = (self.examples(tokenizer, part) for part in (self.texts[:8], self.texts[3:9]))
        for plan in ("MLP", "TOKEN_HEAD"):
            monkeypatch.setattr(strategy, plan, dataclasses.replace(getattr(strategy, plan), epochs=4))
        heads = [id(p) for p in headed.layer_groups()[-1]]
        before = [(p, p.detach().clone()) for p in headed.parameters()]
        cached = (tmp_path / "train", tmp_path / "validation")
        chosen = freeze(
            headed,
            train,
            validation,
            cached=cached,
            precision="fp32",
            class_weights=None,
            seed=0,
            reporter=SILENT,
        )
        assert len(chosen) == len(headed.heads())
        assert all(torch.equal(p, old) for p, old in before if id(p) not in heads)
        assert any(not torch.equal(p, old) for p, old in before if id(p) in heads)
        headed.save_pretrained(tmp_path / "model")
        again = type(headed).from_pretrained(tmp_path / "model")
        found = class_probabilities(again, validation.encodings, "fp32")
        expected = self.of_features(headed, validation, cached[1]).softmax(dim=1)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-3)

    @staticmethod
    def of_features(headed: LayeredClassifier, examples: Examples, cached: Path) -> Tensor:
        """Logits of what lies in the cache."""
        mask = None
        if headed.reads_tokens:
            (heads,) = token_features(headed, [examples], "fp32", [cached], SILENT)
            batches = [head.batch(range(len(examples))) for head in heads]
            vectors, mask = [x for x, _ in batches], batches[0][1].long()
        else:
            file = cached.with_name(f"{cached.name}.npz")
            (features,) = document_features(headed, [examples], "fp32", [file], SILENT)
            vectors = [torch.from_numpy(x) for x in features]
        with torch.inference_mode():
            return headed.classify(vectors, mask)

    @staticmethod
    def examples(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Examples:
        encoded = encode_rows([{"text": text} for text in texts], tokenizer, None)
        return Examples(list(encoded.encodings), np.arange(len(texts)) % len(LABELS))


def near(one: Tensor, other: Tensor) -> None:
    """Equal but for the order of sums."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
