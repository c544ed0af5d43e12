"""A classifier of texts for scikit-learn: a language model fine-tuned by `fit`."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from nlptl import api
from nlptl.commands.prediction import Classifier, load_classifier
from nlptl.config import PredictConfig, validated
from nlptl.errors import UsageError
from nlptl.estimators.texts import checked_texts
from nlptl.training.checkpoints import written_whole
from nlptl.training.progress import Reporter


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """`nlptl finetune` as an estimator: one label a text. It is pickled whole, with the weights it has learned.

    Args:
        model: the language model to start from: a run, a model folder, a name or a Hub id.
        strategy: "fine-tune" trains all of it, "freeze" a head on its frozen features.
        head: of "freeze": "logistic", "mlp" or "bilstm-attention".
        epochs, learning_rate, batch_size, lm_tuning: None for what the family's recipe says.
        max_length: tokens of a text that are read; None for all.
        lm_text: unlabelled text of the task, on which the language model is tuned first: paths, or a data frame or
            `datasets.Dataset` with a column of texts.
        validation_fraction: of the rows, by which the best epoch is chosen.
        class_weight: None, or "balanced", by which rare classes count as much as frequent ones.
        ngrams: score n-grams of up to so many tokens beside the model, by a regression; 0 for none.
        calibrate: fit the temperature of the probabilities to the validation rows.
        settings: further keys of the command's config, such as {"discriminative_decay": 1.5}.
        device: "auto", "cpu", "cuda" or "mps".
        random_state: a seed, a `RandomState`, or None for another run each time.
        verbose: say on standard error how far the training is.

    Attributes:
        classes_: the labels, in the order of `predict_proba`'s columns.
        report_: what `nlptl finetune --json` prints, but for the places on disk: the validation figures among it.
        classifier_: the trained model with its tokenizer.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "ulmfit-mini",
        *,
        strategy: str = "fine-tune",
        head: str = "logistic",
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        lm_text: Any = None,
        lm_tuning: bool | None = None,
        validation_fraction: float = 0.1,
        class_weight: str | None = None,
        ngrams: int = 0,
        calibrate: bool = False,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.strategy = strategy
        self.head = head
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_length = max_length
        self.lm_text = lm_text
        self.lm_tuning = lm_tuning
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.ngrams = ngrams
        self.calibrate = calibrate
        self.settings = settings
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts and their labels, strings or numbers; texts without a letter are left out with a warning.

        Raises:
            ValueError: X is no list of texts, y no list of as many labels, or of one class.
            NlptlError: of the model, a parameter, or too few rows.
        """
        texts = checked_texts(X)
        classes, numbers = _classes(texts, y)
        names = _label_names(classes)
        if blank := sum(not text.strip() for text in texts):
            warnings.warn(f"{blank:,} empty texts are left out of the training", UserWarning, stacklevel=2)
        rows = Dataset.from_dict({"text": texts, "label": [names[number] for number in numbers]})
        own = {
            key: value
            for key, value in self.get_params(deep=False).items()
            if key not in ("settings", "random_state", "class_weight")
        }
        with tempfile.TemporaryDirectory(prefix="nlptl-", ignore_cleanup_errors=True) as place:
            report = api.finetune(
                data=rows,
                output=Path(place) / "run",
                class_weight=self.class_weight or "none",
                seed=_seed(self.random_state),
                **own,
                **(self.settings or {}),
            )
            self.classifier_ = self._load(report["model"])
        self.classes_ = classes
        self._columns = [self.classifier_.label_names.index(name) for name in names]
        self.report_ = {key: value for key, value in report.items() if key not in ("output", "model")}
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (texts, classes), the columns in the order of `classes_`."""
        check_is_fitted(self, "classifier_")
        encoded = self.classifier_.encode({"text": text} for text in checked_texts(X))
        found = self.classifier_.probabilities(encoded, Reporter(quiet=not self.verbose))
        return found[:, self._columns].astype(np.float64)

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each text, of the kind that `fit` was given."""
        best = self.predict_proba(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model folder, which `nlptl predict`, `evaluate` and `transformers` load; to come back to the
        estimator itself, pickle it.

        Raises:
            UsageError: there is something of that name already.
        """
        check_is_fitted(self, "classifier_")
        path = Path(folder)
        if path.exists():
            raise UsageError("there is something of this name already", str(path), "name another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            _write(self.classifier_, partial)

    def _load(self, folder: str | os.PathLike[str]) -> Classifier:
        with api.settled(self.verbose):
            return load_classifier(os.fspath(folder), validated(PredictConfig, {"device": self.device}))

    def __getstate__(self) -> dict[str, Any]:
        """The files of the model instead of the model, which belongs to a device."""
        state = dict(super().__getstate__())
        if "classifier_" in state:
            with tempfile.TemporaryDirectory(prefix="nlptl-") as place:
                _write(state.pop("classifier_"), Path(place))
                state["_files"] = {path.name: path.read_bytes() for path in Path(place).iterdir()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is not None:
            with tempfile.TemporaryDirectory(prefix="nlptl-", ignore_cleanup_errors=True) as place:
                for name, content in files.items():
                    (Path(place) / name).write_bytes(content)
                self.classifier_ = self._load(place)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _write(classifier: Classifier, folder: Path) -> None:
    with api.settled(verbose=False):
        classifier.model.save_pretrained(folder)
        classifier.tokenizer.save_pretrained(folder)


def _classes(texts: list[str], y: Any) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The labels that there are, in order, and of each text the number of its own.

    Raises:
        ValueError: they are missing, no list, of several kinds, too few or too many, or all alike.
    """
    if y is None:
        raise ValueError("TextClassifier requires y to be passed, but the target y is None")
    labels = column_or_1d(y, warn=True)
    check_consistent_length(texts, labels)
    try:
        check_classification_targets(labels)
        classes, numbers = np.unique(labels, return_inverse=True)
    except TypeError:
        raise ValueError("y holds labels of several kinds, or a missing one among strings") from None
    if classes.dtype.kind == "f" and not np.isfinite(classes).all():
        raise ValueError("y holds a NaN or an infinity")
    if len(classes) < 2:
        raise ValueError(f"a classifier needs two classes, and y holds one class: {classes[0]!r}")
    return classes, numbers


def _label_names(classes: NDArray[Any]) -> list[str]:
    """The labels as a model folder holds them."""
    names = [str(label) for label in classes.tolist()]
    if not all(name.strip() for name in names):
        raise ValueError("y holds an empty label")
    if len(set(names)) < len(names):
        raise ValueError("two labels of y are written alike")
    return names


def _seed(random_state: Any) -> int:
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))
