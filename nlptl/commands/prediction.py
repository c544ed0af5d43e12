"""A trained classifier at work: the one path by which `evaluate`, `predict` and `finetune` get probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from nlptl.config import RunConfig, TrainingConfig
from nlptl.data.encoding import EncodedRows, encode_rows
from nlptl.errors import DataError, ModelError
from nlptl.pretrained.models import find_model
from nlptl.pretrained.places import check_may_classify, no_classifier
from nlptl.training.inference import ROWS_A_BATCH, class_logits, class_probabilities
from nlptl.training.precision import Precision, inference_precision, resolve_device, settle
from nlptl.training.progress import Reporter

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_IN_MEMORY = 2048
NO_LIMIT = 10**9  # tokenizers write a larger number where texts of any length are read


@dataclass(frozen=True)
class Classifier:
    """A classifier with its tokenizer, on a device.

    Attributes:
        label_names: in the order of the model's outputs.
        multi_label: whether a text may have several labels.
        max_length: tokens of a text that are read; None for all.
        batch_size: texts run together at most.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    precision: Precision
    label_names: list[str]
    multi_label: bool
    max_length: int | None = None
    batch_size: int = ROWS_A_BATCH

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> EncodedRows:
        """Rows with `text` and perhaps `text_pair` -> ids."""
        return encode_rows(rows, self.tokenizer, self.max_length)

    def probabilities(self, encoded: EncodedRows, reporter: Reporter) -> NDArray[np.float32]:
        """(rows, classes), in the order of the rows."""
        reporter.start("predicting", len(encoded.encodings))
        try:
            return class_probabilities(
                self.model,
                encoded.encodings,
                self.precision,
                self.batch_size,
                on_rows=lambda rows: reporter.advance(rows, f"{rows:,} texts"),
            )
        finally:
            reporter.finish()

    def logits(self, encoded: EncodedRows) -> NDArray[np.float32]:
        """What the probabilities are made of, (rows, classes)."""
        return class_logits(self.model, encoded.encodings, self.precision, self.batch_size)

    def stream(
        self,
        rows: Iterable[Mapping[str, Any] | None],
        on_encoded: Callable[[EncodedRows], None] = lambda encoded: None,
    ) -> Iterator[tuple[Mapping[str, Any], NDArray[np.float32]]]:
        """Each row with its probabilities, in order, holding a bounded number of rows.

        Args:
            rows: None among them stands for a pause, before which all rows so far are to be answered.
            on_encoded: told of each bufferful of rows what a length limit cut.
        """
        buffer: list[Mapping[str, Any]] = []
        for row in rows:
            if row is not None:
                buffer.append(row)
            if row is None or len(buffer) == ROWS_IN_MEMORY:
                yield from self._run(buffer, on_encoded)
                buffer = []
        yield from self._run(buffer, on_encoded)

    def _run(
        self, rows: list[Mapping[str, Any]], on_encoded: Callable[[EncodedRows], None]
    ) -> Iterator[tuple[Mapping[str, Any], NDArray[np.float32]]]:
        if rows:
            encoded = self.encode(rows)
            on_encoded(encoded)
            yield from zip(
                rows,
                class_probabilities(self.model, encoded.encodings, self.precision, self.batch_size),
                strict=True,
            )

    def decide(self, probabilities: NDArray[np.float32]) -> Any:
        """One text's probabilities -> its label, or its labels where it may have several."""
        if self.multi_label:
            return [name for name, p in zip(self.label_names, probabilities, strict=True) if p >= 0.5]
        return self.label_names[int(probabilities.argmax())]


def load_classifier(name: str, config: RunConfig) -> Classifier:
    """Load MODEL as a classifier.

    Raises:
        ModelError: it is not one, or has no tokenizer.
    """
    check_may_classify(name)
    found = find_model(name, offline=config.offline)
    if not found.is_classifier:
        raise no_classifier(name)
    if not found.has_tokenizer:
        raise ModelError(
            "a classifier without a tokenizer", name, "put its tokenizer's files beside its weights"
        )
    tokenizer = found.load_tokenizer()
    device = resolve_device(config.device)
    # Batch size and precision of a training command are those of its training; what it reports is measured exactly.
    training = isinstance(config, TrainingConfig)
    saved_limit = tokenizer.model_max_length
    model = AutoModelForSequenceClassification.from_pretrained(found.path).to(device).eval()
    precision = inference_precision("auto" if training else config.precision, device)
    settle(model, precision)
    return Classifier(
        model=model,
        tokenizer=tokenizer,
        precision=precision,
        label_names=[model.config.id2label[number] for number in range(model.config.num_labels)],
        multi_label=model.config.problem_type == "multi_label_classification",
        max_length=config.max_length or (saved_limit if saved_limit < NO_LIMIT else None),
        batch_size=(None if training else config.batch_size) or ROWS_A_BATCH,
    )


def measured(
    classifier: Classifier, rows: Dataset, encoded: EncodedRows, reporter: Reporter
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """METRICS of labelled rows (with `label_id`), and their probabilities.

    Raises:
        DataError: there is no row.
    """
    if not len(rows):
        raise DataError("no labelled row to measure on", "the evaluation data", "give data with labels")
    probabilities = classifier.probabilities(encoded, reporter)
    labels = np.asarray(rows["label_id"])
    from nlptl.evaluation.metrics import classification_metrics  # predicting has no need of scikit-learn

    metrics = classification_metrics(
        labels.astype(np.int64),
        probabilities.astype(np.float64),
        classifier.label_names,
        multi_label=classifier.multi_label,
    )
    return metrics, probabilities
