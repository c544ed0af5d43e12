"""Features of texts by a frozen language model, for any estimator of scikit-learn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from nlptl.api import settled
from nlptl.commands.features.tokens import TextReader
from nlptl.commands.features.vectors import Extractor, Features, chosen_layers, layer_widths
from nlptl.config import ExtractConfig, validated
from nlptl.errors import ModelError
from nlptl.estimators.texts import checked_texts
from nlptl.pretrained.models import find_model
from nlptl.training.precision import inference_precision, resolve_device


class TextFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Texts -> the vectors that `nlptl extract-features` writes; nothing is learned from the texts.

    It is pickled with the name of its model, not with the model, which is loaded when it is first needed.

    Args:
        model: a language model or classifier: a run, a model folder, a name or a Hub id.
        layers: "last", "mix" (their mean), "all" (side by side), or numbers such as "0,2"; 0 is the embedding.
        pooling: how the vectors of a text's tokens become one: "mean", "max", "last" or "concat" (all three).
        max_length: tokens of a text that are read; None for all.
        batch_size: texts run together at most; None for what suits.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto" (exact), "fp32", "bf16" or "fp16".
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "ulmfit-mini",
        *,
        layers: str | int = "last",
        pooling: str = "mean",
        max_length: int | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.model = model
        self.layers = layers
        self.pooling = pooling
        self.max_length = max_length
        self.batch_size = batch_size
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: Any = None) -> Self:
        """Look at the texts and load the model, so that what is wrong with either is found here."""
        checked_texts(X)
        self._encoder()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Vectors of texts, (texts, width), in their order; of a text without any token zeros.

        Raises:
            ValueError: X is no list of texts.
            NlptlError: there is no such model, layer, pooling or device.
        """
        rows = [{"row": number, "text": text} for number, text in enumerate(checked_texts(X))]
        encoder = self._encoder()
        reader, extractor = TextReader(encoder.tokenizer, encoder.config), encoder.extractor
        found = [
            vector
            for window in extractor.windows(reader.read(rows))
            for vector in extractor.vectors([encoding for _, encoding in window])
        ]
        return np.stack(found)

    @property
    def _n_features_out(self) -> int:
        """How many columns `transform` gives, which the names of its features are made of."""
        return self._encoder().extractor.features.width

    def _encoder(self) -> _Encoder:
        """The model of these parameters, loaded anew only when one of them has changed."""
        config = validated(ExtractConfig, {**self.get_params(), "model": os.fspath(self.model)})
        loaded: _Encoder | None = self.__dict__.get("_loaded")
        if loaded is None or loaded.config != config:
            with settled(verbose=False):
                self._loaded = loaded = _load(config)
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_loaded", None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


@dataclass(frozen=True)
class _Encoder:
    """A language model without its softmax, ready to run."""

    config: ExtractConfig
    tokenizer: Any
    extractor: Extractor


def _load(config: ExtractConfig) -> _Encoder:
    assert config.model is not None
    device = resolve_device(config.device)
    source = find_model(config.model)
    if not source.has_tokenizer:
        raise ModelError("a model without a tokenizer", config.model, "import it again with its vocabulary")
    tokenizer = source.load_tokenizer()
    model = source.family.encoder_class.from_pretrained(source.path).eval()
    model.to(device)
    layers = chosen_layers(config.layers, layer_widths(model, tokenizer))
    features = Features(layers, "text", config.pooling, mixed=config.layers == "mix", stacked=False)
    precision = inference_precision(config.precision, device)
    return _Encoder(
        config, tokenizer, Extractor(model, features, precision, config.batch_size, stateful=False)
    )
