"""The estimators do in scikit-learn what estimators do: clone, pickle, search, pipeline, and say what is wrong."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import nlptl
from nlptl import NlptlError, TextClassifier, TextFeatures

# Of scikit-learn's checks those that need no X. The others fit a table of numbers, which is no text: the tests below
# are the same checks with texts.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)
QUICK: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 12,
    "lm_tuning": False,
    "learning_rate": 0.02,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def texts(reviews: list[tuple[str, str]]) -> list[str]:
    return [text for text, _ in reviews[:40]]


@pytest.fixture(scope="module")
def labels(reviews: list[tuple[str, str]]) -> list[str]:
    return [label for _, label in reviews[:40]]


@pytest.fixture(scope="module")
def fitted(language_model_folder: Path, texts: list[str], labels: list[str]) -> TextClassifier:
    return TextClassifier(language_model_folder, **QUICK).fit(texts, labels)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("estimator", [TextClassifier(), TextFeatures()], ids=lambda e: type(e).__name__)
def test_the_checks_of_scikit_learn_that_need_no_table(estimator: Any, name: str) -> None:
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@estimator_checks.parametrize_with_checks([TextClassifier(), TextFeatures()])
def test_all_that_scikit_learn_finds_fit_for_texts(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


class TestTextClassifier:
    def test_it_learns_and_keeps_the_kind_of_the_labels(self, texts: list[str], labels: list[str]) -> None:
        """From the model that is taken where none is named."""
        numbers = np.array([{"good": 7, "bad": -3}[label] for label in labels])
        classifier = TextClassifier(strategy="freeze", device="cpu")
        before = classifier.get_params()
        assert classifier.fit(np.array(texts, dtype=object), numbers) is classifier
        assert classifier.get_params() == before
        assert classifier.classes_.tolist() == [-3, 7]
        found = classifier.predict(texts)
        assert found.dtype == numbers.dtype
        assert classifier.score(texts, numbers) > 0.8
        probabilities = classifier.predict_proba(texts)
        assert probabilities.shape == (40, 2)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
        assert (classifier.classes_[probabilities.argmax(axis=1)] == found).all()
        assert classifier.report_["validation"]["examples"] > 0
        assert "output" not in classifier.report_

    def test_labels_are_those_of_the_command(
        self, fitted: TextClassifier, texts: list[str], tmp_path: Path
    ) -> None:
        fitted.save(tmp_path / "model")
        rows = nlptl.predict(texts, model=tmp_path / "model", device="cpu")
        assert [row["label"] for row in rows] == fitted.predict(texts).tolist()
        with pytest.raises(NlptlError, match="something of this name"):
            fitted.save(tmp_path / "model")

    def test_fitting_again_is_fitting_anew(
        self, fitted: TextClassifier, texts: list[str], labels: list[str]
    ) -> None:
        again = clone(fitted).fit(pandas.Series(texts), pandas.Series(labels))
        np.testing.assert_array_equal(again.predict_proba(texts), fitted.predict_proba(texts))
        np.testing.assert_allclose(
            fitted.predict_proba(texts[10:20][::-1])[::-1], fitted.predict_proba(texts)[10:20], atol=1e-6
        )

    def test_it_is_pickled_whole(
        self, fitted: TextClassifier, texts: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = io.BytesIO()
        joblib.dump(fitted, file)
        file.seek(0)
        loaded = joblib.load(file)
        np.testing.assert_array_equal(loaded.predict_proba(texts), fitted.predict_proba(texts))
        assert loaded.report_ == fitted.report_
        joblib.dump(clone(fitted), io.BytesIO())
        assert capsys.readouterr() == ("", "")

    def test_a_search_over_its_parameters(
        self, language_model_folder: Path, texts: list[str], labels: list[str]
    ) -> None:
        classifier = TextClassifier(language_model_folder, **QUICK)
        search = GridSearchCV(classifier, {"epochs": np.array([1, 2])}, cv=2, error_score="raise")
        search.fit(texts, labels)
        assert search.best_params_["epochs"] in (1, 2)
        assert set(search.predict(texts)) <= {"good", "bad"}

    def test_further_keys_are_those_of_the_config(
        self, language_model_folder: Path, texts: list[str], labels: list[str]
    ) -> None:
        settings = {"discriminative_decay": 1.5, "schedule": "linear"}
        freeze = TextClassifier(language_model_folder, strategy="freeze", device="cpu", calibrate=True)
        freeze.set_params(settings=settings, class_weight="balanced").fit(texts, labels)
        assert (freeze.report_["strategy"], "calibration" in freeze.report_) == ("freeze", True)
        wrong = TextClassifier(language_model_folder, settings={"discriminative_decays": 1.5})
        with pytest.raises(NlptlError, match=r"did you mean 'discriminative_decay'\?"):
            wrong.fit(texts, labels)

    def test_unfitted_it_says_so(self) -> None:
        with pytest.raises(NotFittedError):
            TextClassifier().predict(["text"])

    @pytest.mark.parametrize(
        ("X", "y", "said"),
        [
            ("one text", ["a"], "X is one text"),
            ([["a"], ["b"]], [0, 1], "X[0] is of type list"),
            (np.array([["a"], ["b"]]), [0, 1], "give one column"),
            ([], [], "0 samples"),
            (["a", None], [0, 1], "X[1] is of type NoneType"),
            (["a", "b"], [1, 1], "y holds one class: "),
            (["a", "b"], [0], "inconsistent numbers of samples"),
            (["a", "b"], None, "requires y to be passed"),
            (["a", "b"], [0.5, 0.7], "continuous"),
            (["a", "b"], ["x", " "], "an empty label"),
            (["a", "b"], [[0, 1], [1, 0]], "1d array"),
        ],
    )
    def test_what_is_no_text_or_label_is_a_value_error(self, X: Any, y: Any, said: str) -> None:
        with pytest.raises(ValueError, match=re.escape(said)):
            TextClassifier().fit(X, y)

    def test_too_few_rows_are_said_to_be(self, language_model_folder: Path) -> None:
        with pytest.raises(NlptlError, match="no class has a second row to validate on"):
            TextClassifier(language_model_folder, **QUICK).fit(["good film", "bad film"], ["a", "b"])

    def test_an_empty_text_is_answered_and_not_learned_from(
        self, language_model_folder: Path, texts: list[str], labels: list[str]
    ) -> None:
        classifier = TextClassifier(language_model_folder, **{**QUICK, "epochs": 1})
        with pytest.warns(UserWarning, match="1 empty texts are left out"):
            classifier.fit([*texts, " "], [*labels, "good"])
        assert len(classifier.predict(["", texts[0]])) == 2


class TestTextFeatures:
    def test_vectors_are_those_of_the_command(
        self, language_model_folder: Path, texts: list[str], tmp_path: Path
    ) -> None:
        shared: dict[str, Any] = {"pooling": "concat", "layers": "all", "device": "cpu"}
        nlptl.extract_features(
            model=language_model_folder, data=texts, output=tmp_path / "x.npy", precision="fp32", **shared
        )
        features = TextFeatures(language_model_folder, **shared)
        found = features.fit_transform(texts)
        assert (found.dtype, found.shape) == (np.float32, (40, len(features.get_feature_names_out())))
        np.testing.assert_array_equal(found, np.load(tmp_path / "x.npy"))
        assert features.get_feature_names_out()[0] == "textfeatures0"

    def test_before_another_estimator_in_a_search(
        self, language_model_folder: Path, texts: list[str], labels: list[str]
    ) -> None:
        pipeline = make_pipeline(TextFeatures(language_model_folder, device="cpu"), LogisticRegression(C=100))
        search = GridSearchCV(pipeline, {"textfeatures__pooling": ["mean", "max"]}, cv=2, error_score="raise")
        search.fit(texts, labels)
        file = io.BytesIO()
        joblib.dump(search, file)
        assert len(file.getvalue()) < 100_000  # without the language model
        file.seek(0)
        assert (joblib.load(file).predict(texts) == search.predict(texts)).all()

    def test_a_parameter_that_changes_counts(self, language_model_folder: Path) -> None:
        features = TextFeatures(language_model_folder, device="cpu").fit(["a film"])
        width = features.transform(["a film", ""]).shape[1]
        features.set_params(pooling="concat")
        assert features.transform(["a film"]).shape == (1, 3 * width)

    @pytest.mark.parametrize(
        ("parameters", "said"),
        [
            ({"pooling": "median"}, "pooling"),
            ({"layers": "9"}, "no layer 9"),
            ({"model": "no-such-model"}, "no such model folder"),
        ],
    )
    def test_mistakes_are_expected_errors(
        self, language_model_folder: Path, parameters: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(NlptlError, match=said):
            TextFeatures(**{"model": language_model_folder, "device": "cpu", **parameters}).fit(["text"])

    def test_what_is_no_list_of_texts_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="one text"):
            TextFeatures().transform("text")
