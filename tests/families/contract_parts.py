"""What the tests of the family contract work with: a family's tokenizer, language model and classifier, tiny."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlptl.families.base import Family
from nlptl.training.batching import padded

LABELS = ["bad", "fair", "good"]


class FamilyParts:
    """The base of the contract's classes.

    Attributes:
        family: the family on trial.
        size, architecture: its smallest named size, made smaller still.
        texts: eight or more, of which the tokenizer is learned.
        tokenizer_kind, vocab_size: of that tokenizer.
        backward: whether the family has backward language models.
        bidirectional: whether its encoder reads both ways, the forward half of every vector first.
    """

    family: ClassVar[Family]
    size: ClassVar[str]
    architecture: ClassVar[Mapping[str, Any]]
    texts: ClassVar[Sequence[str]]
    tokenizer_kind: ClassVar[str] = "subword"
    vocab_size: ClassVar[int] = 400
    backward: ClassVar[bool] = False
    bidirectional: ClassVar[bool] = False

    # -- what the tests work with; they leave it as they find it

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls) -> PreTrainedTokenizerBase:
        return cls.family.train_tokenizer(cls.tokenizer_kind, cls.texts, cls.vocab_size)

    @pytest.fixture(scope="class")
    @classmethod
    def language_model(cls, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        return cls.new_language_model(tokenizer)

    @pytest.fixture(scope="class")
    @classmethod
    def language_model_folder(
        cls,
        language_model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Path:
        return saved(tmp_path_factory.mktemp("language-model"), language_model, tokenizer)

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, language_model_folder: Path) -> PreTrainedModel:
        return cls.family.encoder_class.from_pretrained(language_model_folder).eval()

    @pytest.fixture
    def classifier(self, language_model_folder: Path) -> PreTrainedModel:
        return self.new_classifier(language_model_folder)

    @classmethod
    def new_language_model(
        cls, tokenizer: PreTrainedTokenizerBase, backward: bool = False
    ) -> PreTrainedModel:
        torch.manual_seed(0)
        config = cls.family.build_config(cls.size, tokenizer, backward, cls.architecture)
        model = cls.family.language_model_class(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # so that no difference is too small to see
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        return model

    def new_classifier(
        self, folder: Path, problem_type: str = "single_label_classification"
    ) -> PreTrainedModel:
        torch.manual_seed(0)
        names = dict(enumerate(LABELS))
        labels = {
            "id2label": names,
            "label2id": {n: i for i, n in names.items()},
            "problem_type": problem_type,
        }
        return self.family.build_classifier([folder], {}, labels).eval()

    def batch(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Model inputs, (texts, longest), of these texts or of the first eight of the family's."""
        rows = [tokenizer(text) for text in (self.texts[:8] if texts is None else texts)]
        return padded(rows, tokenizer.pad_token_id or 0)

    def stream(self, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        """The ids of all texts, one after the other."""
        return np.concatenate(
            [np.asarray(tokenizer(text)["input_ids"], dtype=np.int64) for text in self.texts]
        )


def saved(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
    """The folder, with the model and its tokenizer in it."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
