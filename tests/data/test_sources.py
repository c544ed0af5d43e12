"""Where labelled text lies: folders, class folders, the sample, the Hub, and names that lead nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from nlptl.data import sources
from nlptl.data.datasets import iterate_texts, load_rows, load_task, read_splits
from nlptl.errors import DataError

CSV = "text,label\ngood,pos\nbad,neg\n"


def test_files_are_splits_by_their_names(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "Test.csv"):
        (tmp_path / name).write_text(CSV)
    (tmp_path / "extra.csv").write_text(CSV)
    (tmp_path / "README.md").write_text("about")
    read = read_splits(str(tmp_path))
    assert list(read.splits) == ["train", "validation", "test"]
    assert any("extra.csv" in note for note in read.notes)
    assert not any("README" in note for note in read.notes)


def test_two_files_for_one_split_are_an_error(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "valid.csv"):
        (tmp_path / name).write_text(CSV)
    with pytest.raises(DataError, match=r"more than one is named for validation: dev.csv, valid.csv"):
        read_splits(str(tmp_path))


def test_numbered_parts_are_one_split_and_must_all_be_there(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00002.csv").write_text(CSV)
    with pytest.raises(DataError, match="parts of train are missing"):
        read_splits(str(tmp_path))
    (tmp_path / "train-00001-of-00002.csv").write_text("text,label\nfine,pos\n")
    assert read_splits(str(tmp_path)).splits["train"][:] == {
        "row": [0, 1, 2],
        "text": ["good", "bad", "fine"],
        "label": ["pos", "neg", "pos"],
    }


def write_classes(folder: Path) -> None:
    for label in ("neg", "pos"):
        (folder / label).mkdir(parents=True)
        for index in range(3):
            (folder / label / f"{index}.txt").write_text(f"{label} {index}\n", encoding="utf-8")


def test_class_folders_are_labels(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "pos" / "1.txt").write_text("")
    (tmp_path / "neutral").mkdir()
    read = read_splits(str(tmp_path))
    assert read.splits["train"]["label"][:] == ["neg"] * 3 + ["pos"] * 2
    assert read.splits["train"]["text"][:] == ["neg 0", "neg 1", "neg 2", "pos 0", "pos 2"]
    assert "a folder without .txt files: neutral" in read.notes[0]
    assert "empty text: 1 row" in read.notes[1]
    assert "(row 4)" in read.notes[1]


def test_class_folders_lie_within_splits_and_unlabelled_ones_are_no_class(tmp_path: Path) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test")
    (tmp_path / "train" / "unsup").mkdir()
    (tmp_path / "train" / "unsup" / "0.txt").write_text("unknown")
    task = load_task(str(tmp_path))
    assert task.label_names == ["neg", "pos"]
    assert task.train.num_rows + task.validation.num_rows == 6
    assert task.test is not None
    assert any("unlabelled" in note for note in task.notes)
    assert "unknown" in list(iterate_texts(str(tmp_path)))


def test_a_text_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "pos" / "2.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"not UTF-8 at line 1, byte 4.*2\.txt"):
        read_splits(str(tmp_path))


def test_a_name_that_leads_nowhere_gets_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"no such file or folder.*did you mean .*reviews.csv"):
        read_splits(str(tmp_path / "review.csv"))
    with pytest.raises(DataError, match=r"no folder .*nowhere either"):
        read_splits(str(tmp_path / "nowhere" / "review.csv"))


def test_a_folder_without_data_and_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file is named for a split"):
        read_splits(str(tmp_path))
    (tmp_path / "all.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"name one of all.csv itself"):
        read_splits(str(tmp_path))
    (tmp_path / "train.csv").mkdir()
    with pytest.raises(DataError, match=r"a folder stands where a file is due, at .*train\.csv"):
        read_splits(str(tmp_path))


def test_the_sample_is_read_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "x", "label": "a"}\n{"text": "y", "label": "b"}\n')
    monkeypatch.setattr(sources, "samples_folder", lambda: tmp_path)
    assert list(read_splits("sample").splits) == ["train", "test"]


def test_the_sample_that_ships_makes_a_task() -> None:
    if not (sources.samples_folder() / "train.jsonl").is_file():
        pytest.skip("the package's sample files are not there")
    task = load_task("sample")
    assert len(task.label_names) >= 2
    assert task.test is not None


def test_the_hub_is_asked_for_name_and_config_and_never_for_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> datasets.DatasetDict:
        asked.append((args, options, datasets.config.HF_HUB_OFFLINE))
        features = datasets.Features(
            {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])}
        )
        rows = {"sentence": ["x", "y", "z"], "label": [1, 0, 1]}
        parts = {
            name: datasets.Dataset.from_dict(rows, features=features) for name in ("train", "unsupervised")
        }
        hidden = datasets.Dataset.from_dict({"sentence": ["u"], "label": [-1]}, features=features)
        return datasets.DatasetDict({**parts, "test": hidden})

    monkeypatch.setattr(datasets, "load_dataset", load)
    before = datasets.config.HF_HUB_OFFLINE
    task = load_task("some-group/some-set:tiny", offline=True)
    assert asked == [(("some-group/some-set", "tiny"), {}, True)]
    assert before == datasets.config.HF_HUB_OFFLINE
    assert task.label_names == ["pos", "neg"]
    assert task.test is None
    assert any("unsupervised" in note for note in task.notes)
    assert any("no labels" in note for note in task.notes)


def test_a_hub_set_that_cannot_be_had_offline_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="in the local cache; run once without --offline"):
        read_splits("no-such-group/no-such-set-anywhere", offline=True)


@pytest.mark.parametrize("word", ["csv", "json", "pandas", "text"])
def test_a_loader_s_name_does_not_read_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("it was asked for"))
    with pytest.raises(DataError, match="no such file or folder"):
        read_splits(word)


def test_the_split_to_evaluate_on_is_test_then_validation_or_the_one_asked_for(tmp_path: Path) -> None:
    for name, text in (("train", "a"), ("valid", "b"), ("test", "c")):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{text},x\n")
    rows, notes = load_rows(str(tmp_path), labels="required")
    assert rows["text"][:] == ["c"]
    assert "test" in notes[0]
    assert load_rows(str(tmp_path), labels="required", split="train")[0]["text"][:] == ["a"]
    (tmp_path / "test.csv").unlink()
    assert load_rows(str(tmp_path), labels="required")[0]["text"][:] == ["b"]
    with pytest.raises(DataError, match=r"no test split.*train, validation"):
        load_rows(str(tmp_path), labels="required", split="test")


def test_a_text_of_a_class_that_is_listed_and_not_there_is_an_error(tmp_path: Path) -> None:
    """A link to nothing, or a file that was removed since."""
    for name in ("pos", "neg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("a film")
    (tmp_path / "pos" / "b.txt").symlink_to("gone.txt")
    with pytest.raises(DataError, match=r"a link that leads nowhere, at .*b\.txt; mend the link"):
        read_splits(str(tmp_path))
