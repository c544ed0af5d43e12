"""Published files of word vectors: every format read alike, nothing held twice, and damage named where it is."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from nlptl.errors import ModelError
from nlptl.families.base import ImportSettings
from nlptl.families.wordvectors.configuration import SPECIAL_TOKENS
from nlptl.families.wordvectors.conversion import import_vectors
from nlptl.families.wordvectors.family import WordVectorsFamily
from nlptl.families.wordvectors.modeling import WordVectorsModel

ROWS = {"the": [0.5, -1.25, 3.0], "film": [1e-5, 2.0, -0.75], "Été": [0.0, 1.0, 1.0], ",": [7.0, 8.0, 9.0]}
VALUES = np.array(list(ROWS.values()), dtype=np.float32)


def text(rows: dict[str, list[float]], header: bool, end: str = "\n", encoding: str = "utf-8") -> bytes:
    lines = [f"{len(rows)} {len(next(iter(rows.values())))}"] if header else []
    lines += [" ".join([word, *map(repr, numbers)]) for word, numbers in rows.items()]
    return "".join(line + end for line in lines).encode(encoding)


def binary(rows: dict[str, list[float]], newline: bytes = b"\n", promised: int | None = None) -> bytes:
    width = len(next(iter(rows.values())))
    packed = [
        word.encode() + b" " + struct.pack(f"<{width}f", *numbers) + newline for word, numbers in rows.items()
    ]
    return f"{promised or len(rows)} {width}\n".encode() + b"".join(packed)


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., tuple[list[str], NDArray[np.float32], dict[str, Any]]]:
    """Imports bytes, or a file; gives the words and vectors of the loaded model, and the report."""

    def run(
        content: bytes | Path, texts: list[str] | None = None
    ) -> tuple[list[str], NDArray[np.float32], dict[str, Any]]:
        if isinstance(content, bytes):
            (tmp_path / "vectors.txt").write_bytes(content)
            content = tmp_path / "vectors.txt"
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        report = import_vectors(content, folder, texts)
        model = AutoModel.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert isinstance(model, WordVectorsModel)
        words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        weight = model.embedding.weight.detach().numpy()
        assert report["vocabulary"] == len(words) == len(weight)
        assert report["parameters"] == weight.size
        return words, weight, report

    return run


FORMATS = {
    "word2vec text": text(ROWS, header=True),
    "word2vec text as its authors' program ends lines": text(ROWS, header=True, end=" \n"),
    "glove": text(ROWS, header=False),
    "glove on Windows": text(ROWS, header=False, end="\r\n"),
    "tabs": text(ROWS, header=False).replace(b" ", b"\t"),
    "blank lines at its end": text(ROWS, header=True) + b"\n\n",
    "no newline at its end": text(ROWS, header=False)[:-1],
    "word2vec binary": binary(ROWS),
    "word2vec binary without newlines": binary(ROWS, newline=b""),
}


@pytest.mark.parametrize("packed", ["plain", "gzip", "zip"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name: str, packed: str, imported: Any, tmp_path: Path) -> None:
    content: bytes | Path = FORMATS[name]
    if packed == "gzip":
        content = gzip.compress(FORMATS[name])
    elif packed == "zip":
        content = zipped(tmp_path / "vectors.bin", **{"folder/vectors.vec": FORMATS[name]})
    words, weight, report = imported(content)
    assert words == [*SPECIAL_TOKENS, *ROWS]
    assert np.array_equal(weight[3:], VALUES)
    assert not weight[[0, 2]].any()
    np.testing.assert_allclose(weight[1], VALUES.mean(axis=0), rtol=1e-6)
    assert report["ignored_keys"] == []
    assert len(report["notes"]) == 1
    assert "4 words of 3 numbers; the unknown word is the mean of all" in report["notes"][0]


@pytest.mark.parametrize("header", [True, False])
def test_many_rows_of_many_blocks(header: bool, imported: Any) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(6000, 100)).astype(np.float32)
    rows = {f"word{number}": [float(value) for value in row] for number, row in enumerate(values)}
    words, weight, _ = imported(text(rows, header))
    assert words[3:] == list(rows)
    assert np.array_equal(weight[3:], values)
    assert np.array_equal(imported(binary(rows))[1][3:], values)


def test_rare_spellings_of_numbers(imported: Any) -> None:
    _, weight, _ = imported(b"a +1 -.5 2.\nb 1E-2 +3e+1 007\n")
    assert np.array_equal(weight[3:], np.array([[1, -0.5, 2], [0.01, 30, 7]], dtype=np.float32))


def test_words_with_spaces_as_glove_has_them(imported: Any) -> None:
    rows = {**ROWS, ". . .": [1.0, 2.0, 3.0], "at name@domain.com": [4.0, 5.0, 6.0], "\xa0": [7.0, 7.0, 7.0]}
    words, weight, _ = imported(text(rows, header=False))
    assert words[3:] == list(rows)
    assert weight[-2].tolist() == [4.0, 5.0, 6.0]


def test_of_a_repeated_word_the_first_row_counts(imported: Any) -> None:
    words, weight, report = imported(text(ROWS, header=False) + b"film 1 1 1\nthe 2 2 2\n<pad> 3 3 3\n")
    assert words[3:] == list(ROWS)
    assert np.array_equal(weight[3:], VALUES)
    assert "2 rows repeat a word and were left out" in report["notes"]
    assert "1 rows have the name of a special token and were left out" in report["notes"]


@pytest.mark.parametrize(
    ("last", "unknown", "words"),
    [
        (b"<unk> 4 5 6\n", [4, 5, 6], []),
        (b"UNK 4 5 6\n", [4, 5, 6], ["UNK"]),
        (b"UNK 1 1 1\n<unk> 4 5 6\n", [4, 5, 6], ["UNK"]),
        (b"<unk> 4 5 6\nUNK 1 1 1\n", [4, 5, 6], ["UNK"]),
    ],
)
def test_the_file_s_own_vector_of_the_unknown_word(
    last: bytes, unknown: list[int], words: list[str], imported: Any
) -> None:
    found, weight, report = imported(text(ROWS, header=False) + last + b"end 1 1 1\n")
    assert weight[1].tolist() == unknown
    assert found == [*SPECIAL_TOKENS, *ROWS, *words, "end"]
    assert weight[-1].tolist() == [1, 1, 1]
    assert "the unknown word is the file's own" in report["notes"][0]


def test_only_the_words_of_some_texts(imported: Any) -> None:
    rows = {**ROWS, "The": [1.0, 1.0, 1.0], "FILM": [2.0, 2.0, 2.0], "other": [3.0, 3.0, 3.0]}
    words, weight, report = imported(text(rows, header=True), texts=["The, été?", "THE!"])
    assert words[3:] == ["the", "Été", ",", "The"]
    assert weight[3].tolist() == ROWS["the"]
    assert "3 rows are of words that the texts do not have and were left out" in report["notes"]
    np.testing.assert_allclose(weight[1], weight[3:].mean(axis=0), rtol=1e-6)
    with pytest.raises(ModelError, match="none of the words of the texts is in it"):
        imported(text(rows, header=True), texts=["nothing here"])


def test_words_that_are_not_utf_8_are_kept_and_counted(imported: Any) -> None:
    words, _, report = imported(text(ROWS, header=False, encoding="latin-1"))
    assert words[3:] == ["the", "film", "\ufffdt\ufffd", ","]
    assert "1 words are not UTF-8; their damaged letters were replaced" in report["notes"]


GOOD = text(ROWS, header=True)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "a number too few": (GOOD.replace(b" 2.0", b""), "2 numbers where 3 are due, line 3 of"),
    "a number too many": (GOOD.replace(b" 2.0", b" 2.0 2.0"), "4 numbers where 3 are due, line 3 of"),
    "a word alone": (GOOD.replace(b", 7.0 8.0 9.0", b","), "0 numbers where 3 are due, line 5 of"),
    "no number": (GOOD.replace(b"2.0", b"2.0x"), r"'2.0x' is no number, line 3 of"),
    "a comma for a point": (GOOD.replace(b"2.0", b"2,0"), "'2,0' is no number, line 3 of"),
    "nan": (GOOD.replace(b"2.0", b"nan"), "(no number|not finite), line 3 of"),
    "inf": (binary({**ROWS, "film": [1.0, float("inf"), 0.0]}), "not finite, row 2 of"),
    "too large": (GOOD.replace(b"2.0", b"2e99"), "(no number|not finite), line 3 of"),
    "more rows than promised": (GOOD + b"more 1 2 3\n", "promises 4 rows, and it has 5"),
    "fewer rows than promised": (GOOD[: GOOD.index(b", 7")], "promises 4 rows, and it has 3"),
    "cut within a line": (GOOD[:-8], "numbers where 3 are due, line 5 of"),
    "binary cut short": (binary(ROWS)[:-3], "it ends in row 4 of the 4 that its header promises"),
    "binary with rows too few": (binary(ROWS, promised=5), "it ends in row 5 of the 5"),
    "binary with rows too many": (binary(ROWS, promised=3), "more in it than the 3 rows"),
    "binary without words": (b"1 2\n" + bytes(20_000), "no word within 10,000 bytes, row 1 of"),
    "a header of nothing": (b"0 3\n", "a header of 0 rows and 3 columns, line 1 of"),
    "a header and no more": (b"4 3\n", "(it ends in row 1|promises 4 rows)"),
    "empty": (b"", "the file is empty"),
    "prose": (b"It was a dark and stormy night.\nIt rained.\n", "no file of word vectors"),
    "numbers alone": (b"0.5\n0.25\n", "no file of word vectors"),
    "gzip cut short": (gzip.compress(GOOD * 50)[:-20], "it cannot be read"),
    "gzip damaged": (gzip.compress(GOOD)[:15] + b"xxxxxxxx" + gzip.compress(GOOD)[23:], "it cannot be read"),
    "zip damaged": (b"PK\x03\x04" + bytes(50), "it cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named_with_its_place(name: str, imported: Any, tmp_path: Path) -> None:
    content, message = DAMAGED[name]
    with pytest.raises(ModelError, match=message) as error:
        imported(content)
    assert "vectors.txt" in str(error.value)


def test_an_archive_of_several_files_is_refused_with_their_names(imported: Any, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "glove.zip", **{"glove.50d.txt": b"a 1\n", "glove.100d.txt": b"a 1\n"})
    with pytest.raises(ModelError, match=r"2 files \(glove\.50d\.txt, glove\.100d\.txt\).*unpack it"):
        imported(archive)


def test_what_cannot_be_opened_is_named(imported: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read .*absent\.txt"):
        imported(tmp_path / "absent.txt")


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_the_table_is_never_held_in_memory(kind: str, tmp_path: Path) -> None:
    count, width = 15_000, 700
    numbers = b" 0.5" * width if kind == "text" else b" " + struct.pack(f"<{width}f", *[0.5] * width)
    with open(tmp_path / "vectors", "wb") as file:
        file.write(b"%d %d\n" % (count, width))
        for number in range(count):
            file.write(b"word%d%s\n" % (number, numbers))
    table = 4 * count * width
    tracemalloc.start()
    report = import_vectors(tmp_path / "vectors", tmp_path, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report["parameters"] * 4 > table
    assert peak < table / 2  # the words, their ids twice, and a block of rows


def test_the_family_imports_by_either_name(tmp_path: Path) -> None:
    family = WordVectorsFamily()
    assert family.imports == ("word2vec", "glove")
    (tmp_path / "vectors").write_bytes(text(ROWS, header=False))
    report = family.convert({"weights": tmp_path / "vectors"}, tmp_path, ImportSettings(texts=["the film"]))
    assert report["vocabulary"] == 5
    classifier = family.build_classifier([tmp_path], {}, {"id2label": {0: "a", 1: "b"}})
    vectors = AutoTokenizer.from_pretrained(tmp_path)("the FILM", return_tensors="pt")
    (pooled,) = classifier.eval().represent(vectors["input_ids"])
    torch.testing.assert_close(pooled[0, :3], torch.tensor(ROWS["film"]))
