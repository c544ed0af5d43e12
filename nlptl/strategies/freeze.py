"""Freeze: the language model as a fixed feature extractor under a fresh classifier."""

from __future__ import annotations

import contextlib
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from nlptl.strategies.examples import Examples
from nlptl.training.inference import in_order
from nlptl.training.models import LayeredClassifier
from nlptl.training.precision import Precision
from nlptl.training.progress import Reporter

INVERSE_REGULARISATION = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
MLP_EPOCHS = 60
MLP_BATCH = 64
MLP_RATES = (3e-4, 1e-3, 3e-3)

Features = list[NDArray[np.float32]]


def document_features(
    classifier: LayeredClassifier, examples: Examples, precision: Precision, cached: Path, reporter: Reporter
) -> Features:
    """Each document's vectors by the classifier's frozen body, computed once.

    Args:
        cached: a `.npz` file that is read where it exists and written otherwise; its name has to tell model and texts.

    Returns:
        One array (texts, width) for each head of the classifier.
    """
    # An absent or damaged file is made anew.
    with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile), np.load(cached) as stored:
        return [stored[name] for name in stored.files]
    reporter.start("features", len(examples))

    def represent(batch: dict[str, Tensor]) -> list[Tensor]:
        return classifier.represent(batch["input_ids"], batch["attention_mask"])

    def say(rows: int) -> None:
        reporter.advance(rows, f"{rows:,} texts")

    try:
        features = in_order(represent, classifier, examples.encodings, precision, on_rows=say)
    finally:
        reporter.finish()
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_name(f".{cached.stem}-{os.getpid()}.npz")
    np.savez(partial, *features)
    os.replace(partial, cached)
    return features


def fit_logistic(
    classifier: LayeredClassifier,
    train: tuple[Features, NDArray[np.int64]],
    validation: tuple[Features, NDArray[np.int64]],
    *,
    balanced: bool,
    seed: int,
) -> dict[str, float]:
    """Logistic regression on each head's features, put into the linear head exactly.

    The strength of the regularisation is the one with the least log loss on the validation features. Features are
    standardised for the solver; mean and scale are folded into the weights afterwards.

    Returns:
        The strength chosen, by head.
    """
    chosen: dict[str, float] = {}
    for number, (head, x, x_validation) in enumerate(
        zip(classifier.heads(), train[0], validation[0], strict=True)
    ):
        assert isinstance(head, nn.Linear)
        scaler = StandardScaler().fit(x)
        scaled, scaled_validation = scaler.transform(x), scaler.transform(x_validation)
        best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
        for strength in INVERSE_REGULARISATION:
            weight, bias = _logistic(scaled, train[1], strength, head.out_features, balanced, seed)
            loss = _log_loss(scaled_validation @ weight.T + bias, validation[1])
            if best is None or loss < best[0]:
                best = (loss, weight, bias)
                chosen[f"inverse_regularisation_{number}"] = strength
        assert best is not None
        _, weight, bias = best
        folded = weight / scaler.scale_
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(folded))
            head.bias.copy_(torch.from_numpy(bias - folded @ scaler.mean_))
    return chosen


def fit_mlp(
    classifier: LayeredClassifier,
    train: tuple[Features, NDArray[np.int64]],
    validation: tuple[Features, NDArray[np.int64]],
    *,
    class_weights: Tensor | None,
    seed: int,
) -> dict[str, float]:
    """Train each head on its features by AdamW; rate and epoch are those with the least validation log loss.

    Args:
        class_weights: as `balanced_weights` gives them, or None.

    Returns:
        The rate chosen, by head.
    """
    chosen: dict[str, float] = {}
    for number, (head, x, x_validation) in enumerate(
        zip(classifier.heads(), train[0], validation[0], strict=True)
    ):
        start = {name: tensor.clone() for name, tensor in head.state_dict().items()}
        best: tuple[float, dict[str, Tensor]] | None = None
        for rate in MLP_RATES:
            head.load_state_dict(start)
            torch.manual_seed(seed)
            for loss, weights in _mlp_epochs(
                head, x, train[1], x_validation, validation[1], rate, class_weights
            ):
                if best is None or loss < best[0]:
                    best = (loss, weights)
                    chosen[f"learning_rate_{number}"] = rate
        assert best is not None
        head.load_state_dict(best[1])
        head.eval()
    return chosen


def _logistic(
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    strength: float,
    classes: int,
    balanced: bool,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (classes, width) and bias (classes,) of the solver's best fit."""
    solver = LogisticRegression(
        C=strength, max_iter=1000, class_weight="balanced" if balanced else None, random_state=seed
    )
    if labels.ndim == 2:
        several = OneVsRestClassifier(solver).fit(x, labels)
        parts = [_one(estimator, x.shape[1]) for estimator in several.estimators_]
        return np.vstack([w for w, _ in parts]), np.concatenate([b for _, b in parts])
    solver.fit(x, labels)
    weight, bias = solver.coef_, solver.intercept_
    if len(weight) == 1:  # two classes: one score, which softmax needs as two
        weight, bias = np.vstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    full_weight, full_bias = np.zeros((classes, x.shape[1])), np.full(classes, -1e4)
    full_weight[solver.classes_], full_bias[solver.classes_] = weight, bias
    return full_weight, full_bias


def _one(estimator: object, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One label's weights; a label that all or no training texts have is a constant."""
    if isinstance(estimator, LogisticRegression):
        return estimator.coef_, estimator.intercept_
    always = float(estimator.predict(np.zeros((1, width)))[0])  # type: ignore[attr-defined]
    return np.zeros((1, width)), np.array([1e4 if always else -1e4])


def _log_loss(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    logits = torch.from_numpy(np.asarray(scores, dtype=np.float64))
    if labels.ndim == 2:
        return float(F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).double()))
    return float(F.cross_entropy(logits, torch.from_numpy(labels)))


def _mlp_epochs(
    head: nn.Module,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    x_validation: NDArray[np.float32],
    validation_labels: NDArray[np.int64],
    rate: float,
    class_weights: Tensor | None,
) -> list[tuple[float, dict[str, Tensor]]]:
    """Validation log loss and weights after each epoch that was better than those before it."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-2)
    device = next(head.parameters()).device
    inputs, targets = torch.from_numpy(x).to(device), torch.from_numpy(labels).to(device)
    weights = None if class_weights is None else class_weights.to(device)
    kept: list[tuple[float, dict[str, Tensor]]] = []
    for _ in range(MLP_EPOCHS):
        head.train()
        order = torch.randperm(len(inputs)).to(device)
        batches = [part for part in order.split(MLP_BATCH) if len(part) > 1 or len(order) == 1]
        for rows in batches:
            scores = head(inputs[rows])
            if targets.dim() == 2:
                loss = F.binary_cross_entropy_with_logits(scores, targets[rows].float(), pos_weight=weights)
            else:
                loss = F.cross_entropy(scores, targets[rows], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        head.eval()
        with torch.inference_mode():
            scores = head(torch.from_numpy(x_validation).to(device)).cpu().numpy()
        measured = _log_loss(scores, validation_labels)
        if not kept or measured < kept[-1][0]:
            kept.append((measured, {name: tensor.clone() for name, tensor in head.state_dict().items()}))
    return kept
