"""The text of a language model: from files, folders, globs, data sets and texts at hand, in a fixed order."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path

import fsspec
import pytest

from nlptl.data import lm_text
from nlptl.data.columns import Columns
from nlptl.data.lm_text import LmText, find_lm_text
from nlptl.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.txt").write_text("one line\n\n  two lines  \n", encoding="utf-8")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.txt.gz").write_bytes(gzip.compress("packed é\n".encode()))
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "a row\nof two lines"}) + "\n", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_a_line_of_a_text_file_is_a_text_and_so_is_a_row_of_a_table(folder: Path) -> None:
    text = find_lm_text([str(folder)])
    expected = ["one line", "two lines", "a row\nof two lines", "packed é"]
    assert list(text) == expected
    assert list(text) == expected, "it can be read as often as need be"


def test_a_glob_takes_the_files_that_match(folder: Path) -> None:
    assert list(find_lm_text([str(folder / "*.txt")])) == ["one line", "two lines"]
    assert list(find_lm_text([str(folder / "**" / "*.gz")])) == ["packed é"]
    with pytest.raises(DataError, match="no file matches"):
        find_lm_text([str(folder / "*.md")])


def test_texts_at_hand_come_last(folder: Path) -> None:
    text = find_lm_text([str(folder / "b.txt")], at_hand=["of the task"])
    assert list(text) == ["one line", "two lines", "of the task"]


def test_a_data_set_gives_its_text_column_and_not_its_test_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"title,body\nt,{split} body\n", encoding="utf-8")
    assert list(find_lm_text([str(tmp_path)], Columns(text="body"))) == ["train body"]


@pytest.mark.parametrize("name", ["absent.txt", "folder"])
def test_what_holds_no_text_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=name):
        list(find_lm_text([str(tmp_path / name)]))


def test_a_file_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(DataError, match=r"line 2.*latin\.txt"):
        list(find_lm_text([str(tmp_path / "latin.txt")]))


def test_a_sample_is_spread_evenly_over_the_text() -> None:
    text = LmText((), at_hand=[f"{number:04d}" for number in range(1000)])
    numbers = [int(sampled) for sampled in text.sample(400)]
    assert 99 <= len(numbers) <= 101
    assert all(9 <= after - before <= 11 for before, after in itertools.pairwise(numbers))
    assert list(text.sample(10_000)) == list(text)


@pytest.mark.parametrize("lengths", [[10**6], [400_000, 10**6, 30], [5] * 1000 + [200_000] + [7] * 3000])
def test_a_sample_of_long_texts_holds_as_much_as_was_asked_for(lengths: list[int]) -> None:
    text = LmText((), at_hand=["x" * length for length in lengths])
    sampled = sum(map(len, text.sample(10_000)))
    assert sampled == pytest.approx(10_000, rel=0.02)


def test_a_source_without_the_column_of_the_task_is_read_as_if_none_were_named(tmp_path: Path) -> None:
    (tmp_path / "task.csv").write_text("body,text\nof the task,no\n", encoding="utf-8")
    (tmp_path / "other.jsonl").write_text(
        json.dumps({"text": "unlabelled", "id": 1}) + "\n", encoding="utf-8"
    )
    files, columns = [str(tmp_path / name) for name in ("task.csv", "other.jsonl")], Columns(text="body")
    assert list(find_lm_text(files, columns, columns_if_present=True)) == ["of the task", "unlabelled"]
    with pytest.raises(DataError, match="no column named 'body'"):
        list(find_lm_text(files, columns))


def test_the_fingerprint_changes_with_the_text_and_only_with_it(folder: Path) -> None:
    def fingerprint(*at_hand: str) -> str:
        return find_lm_text([str(folder / "b.txt")], at_hand=at_hand).fingerprint()

    before = fingerprint()
    assert len({before, fingerprint("a"), fingerprint("b"), fingerprint("a", "b"), fingerprint("ab")}) == 5
    os.utime(folder / "b.txt", ns=(1, 1))
    assert fingerprint() == before
    (folder / "moved").mkdir()
    (folder / "b.txt").rename(folder / "moved" / "b.txt")
    assert find_lm_text([str(folder / "moved" / "b.txt")]).fingerprint() == before
    (folder / "b.txt").write_text("one line\n\n  two limes  \n", encoding="utf-8")
    assert fingerprint() != before, "as many letters, and one of them another"


@pytest.mark.parametrize("place", [0, 500_000, 999_998])
def test_the_fingerprint_of_a_large_file_sees_its_beginning_middle_and_end(
    place: int, tmp_path: Path
) -> None:
    file = tmp_path / "large.txt"
    content = bytearray(b"x" * 999_999 + b"\n")
    marks = []
    for letter in b"xy":
        content[place] = letter
        file.write_bytes(content)
        marks.append(LmText((str(file),)).fingerprint())
    assert marks[0] != marks[1]


def test_the_fingerprint_of_the_packaged_set_is_of_its_content(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = LmText(("sample",)).fingerprint()
    assert LmText(("sample",)).fingerprint() == packaged
    monkeypatch.setattr("nlptl.data.lm_text.samples_folder", lambda: folder)
    assert LmText(("sample",)).fingerprint() != packaged


def test_shards_at_an_address_are_fetched_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))
    there = fsspec.filesystem("memory")
    there.pipe({"/shards/b.txt": b"second\n", "/shards/a.jsonl": b'{"text": "first"}\n'})
    text = find_lm_text(["memory://shards/*"])
    assert list(text) == ["first", "second"]
    assert all(Path(source).is_relative_to(tmp_path) for source in text.sources)
    there.pipe("/shards/b.txt", b"another\n")
    assert list(find_lm_text(["memory://shards/*"])) == ["first", "another"]


def test_shards_of_one_name_in_several_folders_are_all_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))
    fsspec.filesystem("memory").pipe({"/parts/1/x.txt": b"one\n", "/parts/2/x.txt": b"two\n"})
    assert list(find_lm_text(["memory://parts/*/x.txt"])) == ["one", "two"]


@pytest.mark.parametrize(
    ("address", "offline", "told"),
    [
        ("memory://nowhere/a.txt", False, "nothing is there"),
        ("memory://nowhere/*.txt", False, "no file matches"),
        ("nope://a.txt", False, "nope"),
        ("s3://bucket/a.txt", True, "--offline"),
    ],
)
def test_an_address_that_gives_nothing_is_named(address: str, offline: bool, told: str) -> None:
    with pytest.raises(DataError, match=told) as error:
        find_lm_text([address], offline=offline)
    assert address in str(error.value)


def test_a_corpus_on_one_line_comes_in_parts_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_text, "LONGEST_TEXT", 100)
    words = " ".join(f"word{number}" for number in range(200))
    for name, text in (("words", words), ("one-word", "x" * 1234)):
        (tmp_path / f"{name}.txt").write_text(f"{text}\nshort\n", encoding="utf-8")
        *parts, last = find_lm_text([str(tmp_path / f"{name}.txt")])
        assert last == "short"
        assert "".join(parts) == text
        assert max(map(len, parts)) <= 100
    parts = list(find_lm_text([str(tmp_path / "words.txt")]))
    assert " ".join(part.strip() for part in parts[:-1]) == words, "no word is cut"


@pytest.mark.parametrize("name", ["b.txt", "c.jsonl"])
def test_a_file_that_is_written_to_between_two_readings_is_an_error(name: str, folder: Path) -> None:
    """Else the tokens of one text would be kept under the fingerprint of another."""
    text = find_lm_text([str(folder / name)])
    before = text.fingerprint()
    with open(folder / name, "ab") as file:
        file.write(b'{"text": "one more"}\n')
    for read in (lambda: list(text), text.fingerprint):
        with pytest.raises(
            DataError, match=f"the file has changed while it was read, in .*{name}; run again"
        ):
            read()
    assert find_lm_text([str(folder / name)]).fingerprint() != before


def test_a_file_that_is_written_to_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("a line of text\n" * 10_000, encoding="utf-8")
    reading = iter(find_lm_text([str(file)]))
    next(reading)
    os.truncate(file, 15 * 5000)  # at the end of a line, which tells nothing
    with pytest.raises(DataError, match="the file has changed while it was read"):
        list(reading)
