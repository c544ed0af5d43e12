"""Tasks and rows as the commands get them: nothing dropped in silence, everything fits, the seed decides."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nlptl.data.datasets import (
    Columns,
    encode_labels,
    iterate_rows,
    iterate_texts,
    load_rows,
    load_task,
    read_splits,
)
from nlptl.errors import DataError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def write(path: Path, rows: Iterable[tuple[Any, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    return str(path)


def balanced(count: int) -> list[tuple[str, str]]:
    return [(f"text {index}", "neg" if index % 2 else "pos") for index in range(count)]


def said(notes: list[str], *words: str) -> bool:
    return any(all(word in note for word in words) for note in notes)


def test_empty_texts_and_missing_labels_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [("x", "a"), ("", "a"), ("  \t\u00a0", "b"), ("y", None), ("z", "b"), (None, None)]
    dataset, notes = load_rows(write(tmp_path / "a.jsonl", rows), labels="required")
    assert dataset["row"][:] == [0, 4]
    assert said(notes, "left out", "empty text", "3 rows", "(rows 1, 2, 5)")
    assert said(notes, "left out", "missing label", "1 row", "(row 3)")


def test_every_row_is_kept_where_labels_are_optional(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [("x", None), (None, "a"), ("  ", None)])
    dataset, notes = load_rows(source, labels="optional")
    assert dataset[:] == {"row": [0, 1, 2], "text": ["x", "", ""], "label": [None, "a", None]}
    assert said(notes, "kept", "empty text", "2 rows")
    assert [row["text"] for row in iterate_rows(source)] == ["x", "", "  "]


def test_no_usable_row_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row is left.*empty text: 2 rows"):
        load_rows(write(tmp_path / "a.jsonl", [("", "a"), (" ", "b")]), labels="required")


def test_repeats_conflicts_and_leaks_are_counted_and_kept(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [("x", "a"), ("x", "b"), ("x", "a"), ("y", "a"), ("z", "b")])
    write(tmp_path / "dev.jsonl", [("y", "a"), ("v", "b")])
    write(tmp_path / "test.jsonl", [("z", "b"), ("x", "a"), ("w", "b")])
    task = load_task(str(tmp_path))
    assert task.test is not None
    assert (task.train.num_rows, task.validation.num_rows, task.test.num_rows) == (5, 2, 3)
    assert said(task.notes, "2 rows have the text of an earlier row")
    assert said(task.notes, "1 text has different labels")
    assert said(task.notes, "1 row of the validation data", "in train too")
    assert said(task.notes, "2 rows of the test data", "in train too")


def test_a_text_of_other_case_or_white_space_leaks_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [("The film was great.", "a"), ("Straße  zu", "b"), ("other", "b")])
    leaked = [("the film\twas GREAT. ", "a"), ("STRASSE zu", "b")]
    write(tmp_path / "test.jsonl", [*leaked, ("the film was great", "b"), ("thefilm was great.", "b")])
    write(tmp_path / "dev.jsonl", [("Other", "b"), ("another", "a")])
    notes = load_task(str(tmp_path)).notes
    assert said(notes, "2 rows of the test data", "in train too", "case and white space aside")
    assert said(notes, "1 row of the validation data", "in train too")


def test_the_second_text_counts_in_repeats(tmp_path: Path) -> None:
    rows = [
        {"text": "x", "pair": pair, "label": label}
        for pair, label in (("1", "a"), ("2", "b"), ("1", "a"), ("3", "b"))
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = load_task(str(tmp_path / "a.jsonl"), columns=Columns(text_pair="pair"))
    assert task.has_pairs
    assert said(task.notes, "1 row has the text of an earlier row")
    assert not said(task.notes, "different labels")


def test_a_stratified_tenth_becomes_validation_by_the_seed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", balanced(200))
    task = load_task(source)
    assert Counter(task.validation["label"]) == {"pos": 10, "neg": 10}
    assert sorted(task.train["row"][:] + task.validation["row"][:]) == list(range(200))
    assert task.train["row"][:] == sorted(task.train["row"][:])
    assert load_task(source).validation["row"][:] == task.validation["row"][:]
    assert load_task(source, seed=1).validation["row"][:] != task.validation["row"][:]


def test_the_limit_is_all_the_labels_there_are(tmp_path: Path) -> None:
    rows = [(f"t{index}", "rare" if index < 3 else "common") for index in range(100)]
    task = load_task(write(tmp_path / "a.jsonl", rows), limit=20)
    both = Counter(task.train["label"]) + Counter(task.validation["label"])
    assert both == {"rare": 3, "common": 17}
    assert set(task.validation["label"]) == {"rare", "common"}
    assert said(task.notes, "20 of the 100 rows")


def test_a_limit_beyond_the_data_uses_all_and_says_so(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "a.jsonl", balanced(10)), limit=50)
    assert task.train.num_rows + task.validation.num_rows == 10
    assert said(task.notes, "all 10 rows", "limit of 50")


def test_a_limit_below_the_classes_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [(f"t{index}", str(index % 5)) for index in range(20)])
    with pytest.raises(DataError, match=r"4 rows cannot hold 5 classes.*at least 5"):
        load_task(source, limit=4)


def test_own_validation_and_test_win_over_those_beside_train(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        write(tmp_path / "data" / f"{name}.jsonl", balanced(8))
    own = write(tmp_path / "own.jsonl", [("mine", "pos")])
    task = load_task(str(tmp_path / "data"), validation=own, test=own)
    assert task.test is not None
    assert task.validation["text"][:] == task.test["text"][:] == ["mine"]
    assert task.train.num_rows == 8
    assert said(task.notes, "dev.jsonl is not used")
    assert said(task.notes, "test.jsonl is not used")


def test_a_test_set_without_labels_does_not_stop_training(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", balanced(8))
    (tmp_path / "test.jsonl").write_text('{"text": "x"}')
    task = load_task(str(tmp_path))
    assert task.test is None
    assert said(task.notes, "test.jsonl has no column 'label'")
    with pytest.raises(DataError, match="label"):
        load_task(str(tmp_path), test=str(tmp_path / "test.jsonl"))


def test_a_label_that_train_lacks_is_named_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", balanced(8))
    write(tmp_path / "test.jsonl", [("x", "pos"), ("y", "nge"), ("z", "nge"), ("w", "new")])
    with pytest.raises(
        DataError, match=r"'nge' \(2 rows\), 'new' \(1 row\), in the test data; train has 'neg', 'pos'"
    ):
        load_task(str(tmp_path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("x", "a"), ("y", "a")], "two classes and there is 'a'"),
        ([("x", "a"), ("y", "b")], "no class has a second row"),
        ([("x", "a")], "two classes"),
        ([("x", ["a", "b"])], "one row cannot be"),
    ],
)
def test_too_little_to_train_on_is_an_error(
    tmp_path: Path, rows: list[tuple[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_task(write(tmp_path / "a.jsonl", rows))


def test_a_class_of_one_row_stays_in_train_and_is_said(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "a.jsonl", [*balanced(20), ("once", "odd")]))
    assert "odd" in task.train["label"][:]
    assert "odd" not in task.validation["label"][:]
    assert said(task.notes, "one row", "'odd'")


def test_numbers_sort_as_numbers_and_words_as_words(tmp_path: Path) -> None:
    numbers = write(tmp_path / "a.jsonl", [(f"t{index}", index % 12) for index in range(48)])
    assert load_task(numbers).label_names == [str(number) for number in range(12)]
    words = write(tmp_path / "b.jsonl", [(f"t{index}", ["b", "a", "10"][index % 3]) for index in range(12)])
    assert load_task(words).label_names == ["10", "a", "b"]


def test_multi_label_rows_make_a_task_and_vectors(tmp_path: Path) -> None:
    rows = [(f"t{index}", [["a"], ["a", "b"], [], ["c"]][index % 4]) for index in range(40)]
    source = write(tmp_path / "a.jsonl", rows)
    task = load_task(source, limit=20)
    assert task.multi_label
    assert task.label_names == ["a", "b", "c"]
    assert (task.train.num_rows, task.validation.num_rows) == (18, 2)
    encoded, _ = encode_labels(load_rows(source, labels="required")[0], task.label_names)
    assert encoded["label_id"][:4] == [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_label_ids_are_places_in_the_model_s_names(tmp_path: Path) -> None:
    dataset, _ = load_rows(write(tmp_path / "a.jsonl", [("x", "b"), ("y", "a")]), labels="required")
    encoded, notes = encode_labels(dataset.select([1, 0]), ["b", "a"])
    assert encoded[:] == {"row": [1, 0], "text": ["y", "x"], "label": ["a", "b"], "label_id": [1, 0]}
    assert notes == []


def test_labels_that_a_model_does_not_know_stop_or_are_skipped_aloud(tmp_path: Path) -> None:
    rows = [("x", "a"), ("y", "new"), ("z", "b"), ("w", "new")]
    dataset, _ = load_rows(write(tmp_path / "a.jsonl", rows), labels="required")
    with pytest.raises(
        DataError, match=r"'new' \(2 rows\), in a.jsonl; it knows 'a', 'b'.*--unknown-labels skip"
    ):
        encode_labels(dataset, ["a", "b"], where="in a.jsonl")
    encoded, notes = encode_labels(dataset, ["a", "b"], unknown="skip", where="in a.jsonl")
    assert encoded["row"][:] == [0, 2]
    assert said(notes, "2 rows in a.jsonl", "'new'")
    with pytest.raises(DataError, match="no row has labels"):
        encode_labels(dataset, ["q"], unknown="skip")


def test_the_fingerprint_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", balanced(5000))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    changed = write(tmp_path / "c.jsonl", [*balanced(4999), ("text 4999", "pos")])
    first, same, other = (read_splits(s).fingerprint for s in (source, str(tmp_path / "b.jsonl.gz"), changed))
    assert first == same != other


def test_texts_for_a_language_model_leave_the_test_out_and_need_no_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('id,text\n1,one\n2,""\n3,two\n')
    (tmp_path / "dev.csv").write_text("text,label\nthree,a\n")
    (tmp_path / "test.csv").write_text("text,label\nsecret,a\n")
    assert list(iterate_texts(str(tmp_path), Columns(label="label"))) == ["one", "two", "three"]


def test_published_sets_have_the_rows_that_are_published() -> None:
    if not (SHARED / "trec" / "train.parquet").is_file():
        pytest.skip("the shared data sets are not there")
    task = load_task(str(SHARED / "trec"))
    assert task.test is not None
    assert (task.train.num_rows + task.validation.num_rows, task.test.num_rows) == (5452, 500)
    assert task.label_names == ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
    assert said(task.notes, "71 rows have the text of an earlier row")  # 5,452 questions, 5,381 distinct
