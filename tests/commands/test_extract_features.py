"""`nlptl extract-features`: the same vectors in every format, those of the model, and with what made them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer

import nlptl
from nlptl.commands.features import rows, vectors
from nlptl.families.ulmfit.modeling import UlmfitModel
from nlptl.version import __version__

Command = Callable[..., CompletedProcess[str]]
ROWS = [
    {"text": "her acting was wonderful. the music shines brightly.", "label": "good"},
    {"text": "dull", "label": "bad"},
    {"text": "", "label": None},
    {"text": "the film was awful. a long scene is dull. this story falls flat.", "label": "bad"},
]
EMPTY = 2
KEYS = {
    "output",
    "rows",
    "width",
    "layers",
    "level",
    "seconds",
    "rows_per_second",
    "tokens_per_second",
    "bytes",
}
WIDTHS = [8, 12, 8]  # of the embedding and the two layers of the small model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return file


@pytest.fixture
def extract(
    command: Command, language_model_folder: Path, data: Path, tmp_path: Path
) -> Callable[..., tuple[dict[str, Any], Path]]:
    """Extracts to `tmp_path / name`; gives the report and the file."""

    def run(
        name: str, *words: Any, model: Path = language_model_folder, **options: Any
    ) -> tuple[dict[str, Any], Path]:
        source = words if "--data" in words else ("--data", data, *words)
        line = ("extract-features", "--model", model, "-o", tmp_path / name, "--json", *source)
        outcome = command(*line, **options)
        assert outcome.returncode == 0, outcome.stderr
        return json.loads(outcome.stdout), tmp_path / name

    return run


@pytest.fixture(scope="module")
def states(language_model_folder: Path) -> Callable[[str], list[NDArray[np.float32]]]:
    """Each layer's states of one text's tokens, without the begin marker, straight from the model: (tokens, width)."""
    nlptl.register_families()
    model = AutoModel.from_pretrained(language_model_folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(language_model_folder / "model")

    def compute(text: str) -> list[NDArray[np.float32]]:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        assert ids[0, 0] == tokenizer.bos_token_id
        with torch.inference_mode():
            hidden = model(ids, output_hidden_states=True).hidden_states
        return [layer[0, 1:].numpy() for layer in hidden]

    return compute


def pooled(tokens: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    if len(tokens) == 0:
        return np.zeros(tokens.shape[1] * (3 if pooling == "concat" else 1), dtype=np.float32)
    parts = {"last": tokens[-1], "max": tokens.max(axis=0), "mean": tokens.mean(axis=0)}
    return np.concatenate(list(parts.values())) if pooling == "concat" else parts[pooling]


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "concat"])
def test_a_texts_vector_pools_its_tokens_without_the_begin_marker(
    pooling: str, extract: Callable[..., Any], states: Callable[[str], Any]
) -> None:
    report, file = extract("f.npy", "--pooling", pooling)
    assert set(report) == KEYS
    assert (report["rows"], report["level"], report["layers"]) == (4, "text", [2])
    assert report["width"] == (24 if pooling == "concat" else 8)
    assert report["bytes"] == file.stat().st_size
    vectors = np.load(file)
    assert vectors.dtype == np.float32
    expected = np.stack([pooled(states(row["text"])[-1], pooling) for row in ROWS])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_all_formats_hold_the_same_vectors_rows_and_labels(
    extract: Callable[..., Any], language_model_folder: Path
) -> None:
    files = {suffix: extract(f"f.{suffix}")[1] for suffix in ("npy", "parquet", "safetensors", "hdf5")}
    vectors = np.load(files["npy"])
    labels, numbers = [row["label"] for row in ROWS], [0, 1, 2, 3]

    beside = json.loads(files["npy"].with_name("f.npy.json").read_text(encoding="utf-8"))
    assert (beside.pop("rows"), beside.pop("labels")) == (numbers, labels)
    weights = (language_model_folder / "model" / "model.safetensors").read_bytes()
    assert beside["model_sha256"] == hashlib.sha256(weights).hexdigest()
    assert (beside["layers"], beside["pooling"], beside["level"]) == ("last", "mean", "text")

    table = pq.read_table(files["parquet"])
    assert table.column_names == ["row", "label", "features"]
    assert (table["row"].to_pylist(), table["label"].to_pylist()) == (numbers, labels)
    np.testing.assert_array_equal(np.array(table["features"].to_pylist(), dtype=np.float32), vectors)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert facts == beside

    with safe_open(files["safetensors"], "np") as stored:
        np.testing.assert_array_equal(stored.get_tensor("features"), vectors)
        assert stored.get_tensor("row").tolist() == numbers
        facts = stored.metadata()
        assert json.loads(facts.pop("labels")) == labels
        assert facts == beside

    with h5py.File(files["hdf5"]) as stored:
        assert sorted(stored) == ["0", "1", "2", "3"]
        for number in numbers:
            np.testing.assert_array_equal(stored[str(number)][()], vectors[number])
            assert stored[str(number)].attrs["row"] == number
            assert stored[str(number)].attrs.get("label") == labels[number]
        assert dict(stored.attrs) == beside


@pytest.mark.parametrize("suffix", ["parquet", "safetensors", "hdf5"])
def test_token_level_gives_a_vector_a_token(
    suffix: str, extract: Callable[..., Any], states: Callable[[str], Any]
) -> None:
    report, file = extract(f"f.{suffix}", "--level", "token")
    assert (report["level"], report["width"]) == ("token", 8)
    for number, row in enumerate(ROWS):
        expected = states(row["text"])[-1]
        if suffix == "parquet":
            found = np.array(pq.read_table(file)["features"][number].as_py(), dtype=np.float32).reshape(-1, 8)
        elif suffix == "safetensors":
            with safe_open(file, "np") as stored:
                found = stored.get_tensor(str(number))
        else:
            with h5py.File(file) as stored:
                found = stored[str(number)][()]
        assert found.shape == (len(expected), 8)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_several_layers_lie_side_by_side_and_in_hdf5_one_above_the_other(
    extract: Callable[..., Any], states: Callable[[str], Any]
) -> None:
    report, file = extract("f.hdf5", "--level", "token", "--layers", "0,2")
    assert (report["layers"], report["width"]) == ([0, 2], 16)
    with h5py.File(file) as stored:
        for number, row in enumerate(ROWS):
            expected = np.stack([states(row["text"])[layer] for layer in (0, 2)])  # (layers, tokens, width)
            assert stored[str(number)].shape == expected.shape
            np.testing.assert_allclose(stored[str(number)][()], expected, atol=1e-6)

    report, file = extract("f.npy", "--layers", "all")
    assert (report["layers"], report["width"]) == ([0, 1, 2], sum(WIDTHS))
    expected = [np.concatenate([pooled(layer, "mean") for layer in states(row["text"])]) for row in ROWS]
    np.testing.assert_allclose(np.load(file), np.stack(expected), atol=1e-6)


def test_mix_is_the_mean_of_layers_of_one_width(
    extract: Callable[..., Any], tiny_language_model: Callable[..., Path]
) -> None:
    model = tiny_language_model(architecture={"embedding_size": 8, "hidden_size": 8})
    _, mixed = extract("mix.npy", "--layers", "mix", model=model)
    _, apart = extract("all.npy", "--layers", "all", model=model)
    np.testing.assert_allclose(np.load(mixed), np.load(apart).reshape(4, 3, 8).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--layers", "mix"), "layers of different widths (8, 12, 8)"),
        (("--layers", "0,7"), "no layer 7"),
        (("--layers", "top"), "layers"),
        (("--level", "token", "--layers", "all"), "different widths (8, 12, 8)"),
        (("--layers", "2,2"), "a layer is named twice"),
    ],
)
def test_layers_that_cannot_be_had_are_refused(
    words: tuple[str, ...],
    cause: str,
    command: Command,
    language_model_folder: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / "f.hdf5")
    outcome = command(*line, *words)
    assert outcome.returncode == 2
    assert cause in outcome.stderr
    assert not (tmp_path / "f.hdf5").exists()


@pytest.mark.parametrize(
    ("name", "words", "cause"),
    [
        ("f.txt", (), "'.txt'"),
        ("nowhere/f.npy", (), "its folder does not exist"),
        ("f.npy", ("--level", "token"), "cannot hold token vectors"),
    ],
)
def test_files_that_cannot_be_written_are_refused(
    name: str,
    words: tuple[str, ...],
    cause: str,
    command: Command,
    language_model_folder: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / name)
    outcome = command(*line, *words)
    assert outcome.returncode == 2
    assert cause in outcome.stderr


def test_vectors_do_not_depend_on_the_texts_beside_them(extract: Callable[..., Any], tmp_path: Path) -> None:
    together = np.load(extract("all.npy", "--pooling", "concat")[1])
    for number, row in enumerate(ROWS):
        file = tmp_path / "one.jsonl"
        file.write_text(json.dumps({"text": row["text"]}) + "\n", encoding="utf-8")
        if number == EMPTY:
            continue  # alone it is no data
        _, alone = extract(f"{number}.npy", "--pooling", "concat", "--data", file)
        np.testing.assert_allclose(np.load(alone)[0], together[number], atol=1e-6)


def test_pretokenized_gives_one_vector_a_word_where_words_are_tokens(
    extract: Callable[..., Any], tiny_language_model: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("spacy")
    model = tiny_language_model(tokenizer="word")
    data = tmp_path / "words.jsonl"
    texts = ["the film isn't dull, is it?", " was  WONDERFUL\t!"]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    words = ("--data", data, "--level", "token", "--pretokenized")
    _, file = extract("f.hdf5", *words, model=model)
    with h5py.File(file) as stored:
        assert [len(stored["0"]), len(stored["1"])] == [6, 3]


def test_pretokenized_words_of_a_subword_model_are_split_on_white_space_first(
    extract: Callable[..., Any], language_model_folder: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(language_model_folder / "model")
    _, file = extract("f.hdf5", "--level", "token", "--pretokenized")
    with h5py.File(file) as stored:
        for number, row in enumerate(ROWS):
            ids = tokenizer([row["text"].split()], is_split_into_words=True)["input_ids"][0]
            assert len(stored[str(number)]) == len(ids) - 1  # without the begin marker


def test_pretokenized_pairs_are_split_on_both_sides(extract: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [{"text": "the film", "text_pair": second} for second in ("was awful .", "is great")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("--data", data, "--text-column", "text", "--text-pair-column", "text_pair")
    plain, split = (
        np.load(extract(n, *words, *more)[1]) for n, more in (("a.npy", ()), ("b.npy", ("--pretokenized",)))
    )
    np.testing.assert_allclose(split[1], plain[1], atol=1e-6)  # the tokens of that row are its words anyway
    assert not np.allclose(split[0], split[1])


def test_standard_input_is_a_text_a_line(extract: Callable[..., Any]) -> None:
    lines = "\n".join(row["text"] for row in ROWS).encode()
    report, file = extract("in.npy", "--data", "-", stdin=lines)
    assert report["rows"] == 4
    np.testing.assert_array_equal(np.load(file), np.load(extract("file.npy")[1]))
    assert json.loads(file.with_name("in.npy.json").read_text(encoding="utf-8"))["labels"] is None


def test_a_file_that_is_there_is_kept_unless_force_is_said(
    extract: Callable[..., Any], command: Command, language_model_folder: Path, data: Path
) -> None:
    _, file = extract("f.npy")
    vectors = file.read_bytes()
    file.write_bytes(b"precious")
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", file)
    refused = command(*line)
    assert refused.returncode == 2
    assert file.read_bytes() == b"precious"
    assert command(*line, "--force").returncode == 0
    assert file.read_bytes() == vectors


def test_a_dry_run_forecasts_the_size_and_writes_nothing(
    command: Command, language_model_folder: Path, data: Path, tmp_path: Path
) -> None:
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / "f.npy")
    plan = json.loads(command(*line, "--dry-run", "--json").stdout)
    assert (plan["rows"], plan["width"], plan["bytes"]) == (4, 8, 4 * 4 * 8)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_classifier_gives_the_features_of_its_own_body(
    extract: Callable[..., Any], classifier_folder: Path
) -> None:
    body = AutoModel.from_pretrained(classifier_folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_folder / "model")
    _, file = extract("f.npy", "--pooling", "last", model=classifier_folder)
    with torch.inference_mode():
        states = body(tokenizer(ROWS[0]["text"], return_tensors="pt")["input_ids"]).last_hidden_state
    np.testing.assert_allclose(np.load(file)[0], states[0, -1].numpy(), atol=1e-6)


def words_of(error: str) -> str:
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (
            ("--level", "token", "--pooling", "max"),
            b"",
            ".*not pooled, --level token with --pooling max; leave .*",
        ),
        (("--stateful",), b"", ".*a batch has no size, --stateful; give --batch-size.*"),
        (("--data", "-"), b"", "there are no data rows, in standard input; it needs at least one"),
        (
            ("--data", "-", "--text-column", "t"),
            b"a\n",
            "standard input .* without columns, --data -; name no column",
        ),
        (("--data", "empty.csv"), b"", ".*empty.csv.*"),
        (("--data", "header.csv"), b"", "there are no data rows, in header.csv; it needs at least one"),
        (("--data", "-"), b"good\n\xff\n", "not UTF-8 text, standard input, line 2, byte 1; .*"),
        (("-o", "absent.npy"), b"", "the output file is there already, absent.npy.json; .*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_does_not_go_is_told_in_one_line_and_leaves_nothing(
    words: tuple[str, ...],
    stdin: bytes,
    message: str,
    command: Command,
    language_model_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "absent.npy.json").write_text("another's")
    before = sorted(tmp_path.iterdir())
    output = () if "-o" in words else ("-o", "f.hdf5")
    source = () if "--data" in words else ("--data", data)
    line = ("extract-features", "--model", language_model_folder, *source, *output, *words)
    outcome = command(*line, "-q", stdin=stdin)
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert re.fullmatch(message, words_of(outcome.stderr))
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "absent.npy.json").read_text() == "another's"


def test_the_size_is_said_before_the_work_and_in_a_dry_run(
    command: Command, language_model_folder: Path, data: Path, tmp_path: Path
) -> None:
    line = ("extract-features", "--model", language_model_folder, "--data", data)
    file = tmp_path / "f.parquet"
    first, *rest = command(*line, "-o", file, "--level", "token").stderr.splitlines()
    tokens = sum(map(len, pq.read_table(file)["features"].to_pylist()))
    size = 4 * tokens * 8 + 16 * 4
    assert first == f"4 rows, {tokens} tokens, 8 wide: about {size} bytes in {file}"
    assert rest == ["kept without a token, without vectors: 1 row (row 2)"]
    plan = json.loads(command(*line, "--level", "token", "--dry-run", "--json").stdout)  # of .parquet, too
    assert plan == {
        "command": "extract-features",
        "rows": 4,
        "tokens": tokens,
        "layers": [2],
        "width": 8,
        "bytes": size,
    }

    told = command(
        *line, "-o", tmp_path / "f.npy", "--layers", "all", "--pooling", "concat"
    ).stderr.splitlines()
    assert told[0] == f"4 rows, {tokens} tokens, 84 wide: about 1.3 kB in {tmp_path / 'f.npy'}"
    assert told[1] == "kept without a token, as zeros: 1 row (row 2)"


def test_tokens_of_many_rows_are_forecast_from_a_sample(
    command: Command, language_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SAMPLE_ROWS", 40)
    data = tmp_path / "many.jsonl"  # short texts first
    texts = ["dull " * (1 if number < 300 else 9) + "story" for number in range(400)]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / "f.hdf5")
    plan = json.loads(command(*line, "--level", "token", "--dry-run", "--json").stdout)
    outcome = command(*line, "--level", "token")
    with h5py.File(tmp_path / "f.hdf5") as stored:
        tokens = sum(len(stored[str(number)]) for number in range(400))
    assert plan["tokens"] == pytest.approx(tokens, rel=0.1)
    assert outcome.stderr.startswith(f"400 rows, about {plan['tokens']:,} tokens, ")


def test_a_disk_without_room_is_found_before_the_model_runs(
    command: Command,
    language_model_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 100))
    monkeypatch.setattr(vectors.Extractor, "vectors", lambda *a: pytest.fail("it ran"))
    for name, size in (("f.npy", 128), ("f.safetensors", 2 * (128 + 4 * 8))):
        line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / name)
        outcome = command(*line, "-q")
        assert outcome.returncode == 2
        said = f"the disk has 100 bytes free and {size} bytes are needed, {tmp_path / name}; make room"
        assert words_of(outcome.stderr).startswith(said)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_file_says_everything_that_made_it(
    extract: Callable[..., Any], language_model_folder: Path, data: Path, tmp_path: Path
) -> None:
    words = ("--layers", "0,2", "--pretokenized", "--max-length", 5, "--stateful", "--batch-size", 3)
    _, file = extract("f.hdf5", *words, "--pooling", "max")
    with h5py.File(file) as stored:
        facts = dict(stored.attrs)
    del facts["model_sha256"]
    assert facts == {
        "model": str(language_model_folder),
        "family": "ulmfit",
        "level": "text",
        "layers": "0,2",
        "pooling": "max",
        "precision": "fp32",
        "pretokenized": "true",
        "max_length": "5",
        "stateful": "true",
        "batch_size": "3",
        "nlptl_version": __version__,
    }
    _, file = extract("g.parquet", "--level", "token")
    facts = {key.decode(): value.decode() for key, value in pq.read_schema(file).metadata.items()}
    assert "batch_size" not in facts
    assert (facts["stateful"], facts["pooling"], facts["max_length"]) == ("false", "none", "none")


def test_a_state_is_carried_row_by_row_from_batch_to_batch(
    extract: Callable[..., Any], language_model_folder: Path, tmp_path: Path
) -> None:
    texts = ["dull", "her acting was wonderful.", "dull", "the film was awful.", "dull"]
    lines = "\n".join(texts).encode()
    words = ("--data", "-", "--level", "token", "--stateful", "--batch-size", 2)
    _, file = extract("f.safetensors", *words, stdin=lines)
    model = AutoModel.from_pretrained(language_model_folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(language_model_folder / "model")
    state: dict[int, Any] = {0: None, 1: None}
    with safe_open(file, "np") as stored, torch.inference_mode():
        for number, text in enumerate(texts):
            output = model(tokenizer(text, return_tensors="pt")["input_ids"], state=state[number % 2])
            state[number % 2] = output.state
            expected = output.last_hidden_state[0, 1:].numpy()
            np.testing.assert_allclose(stored.get_tensor(str(number)), expected, atol=1e-6)
    _, plain = extract("g.safetensors", "--data", "-", "--level", "token", "--batch-size", 2, stdin=lines)
    with safe_open(plain, "np") as stored:  # without it the same sentence always has the same vectors
        first, third, last = (stored.get_tensor(number) for number in "024")
    np.testing.assert_allclose(first, third, atol=1e-6)
    np.testing.assert_allclose(first, last, atol=1e-6)


def test_a_model_without_a_state_has_none_to_carry(
    command: Command,
    language_model_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forward(
        self: Any, input_ids: Any, attention_mask: Any = None, output_hidden_states: Any = None
    ) -> None:
        pytest.fail("it ran")

    monkeypatch.setattr(UlmfitModel, "forward", forward)
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / "f.npy")
    outcome = command(*line, "--stateful", "--batch-size", 2)
    assert outcome.returncode == 2
    assert "a model of the family ulmfit has no state to carry, --stateful" in words_of(outcome.stderr)


@pytest.mark.parametrize(("layers", "shape"), [("all", (3, 2, 8)), ("last", (2, 8)), ("mix", (2, 8))])
def test_what_reads_files_of_allennlp_reads_ours(
    layers: str, shape: tuple[int, ...], extract: Callable[..., Any], tiny_language_model: Callable[..., Path]
) -> None:
    pytest.importorskip("spacy")
    model = tiny_language_model(tokenizer="word", architecture={"embedding_size": 8, "hidden_size": 8})
    words = ("--data", "-", "--level", "token", "--pretokenized", "--layers", layers)
    report, file = extract("f.hdf5", *words, model=model, stdin=b"the film\n  dull / flat \nthe film\n")
    assert report["width"] == (24 if layers == "all" else 8)
    with h5py.File(file) as stored:
        assert len(stored) - 1 == 3
        place = json.loads(stored["sentence_to_index"][0])
        assert place == {"the film": "2", "dull / flat": "1"}
        assert stored[place["the film"]].shape == shape
        assert stored["0"].dtype == np.float32
        np.testing.assert_allclose(stored["0"][()], stored["2"][()], atol=1e-6)


def test_empty_lines_of_standard_input_stay_rows(extract: Callable[..., Any]) -> None:
    report, file = extract("f.npy", "--data", "-", stdin=b"\ndull\n \n\n")
    assert report["rows"] == 4
    assert np.abs(np.load(file)).sum(axis=1).astype(bool).tolist() == [False, True, False, False]
    report, file = extract("f.hdf5", "--data", "-", "--level", "token", stdin=b"\ndull\n")
    with h5py.File(file) as stored:
        assert stored["0"].shape == (0, 8)
        assert json.loads(stored["sentence_to_index"][0]) == {"": "0", "dull": "1"}


def test_notes_on_standard_input_come_before_and_after(
    command: Command, language_model_folder: Path, tmp_path: Path
) -> None:
    line = ("extract-features", "--model", language_model_folder, "--data", "-", "-o", tmp_path / "f.npy")
    said = command(*line, "--max-length", 3, stdin=b"\nher acting was wonderful.\n\n").stderr.splitlines()
    assert said[0] == f"rows as they come, 8 wide: 32 bytes a text in {tmp_path / 'f.npy'}"
    assert re.fullmatch(r"1 of 3 texts were cut by --max-length, which lost \d+ tokens .*", said[1])
    assert said[2:] == ["kept without a token, as zeros: 2 rows (rows 0, 2)"]


def test_vectors_do_not_depend_on_the_windows_they_are_computed_in(
    extract: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.load(extract("a.npy")[1])
    monkeypatch.setattr(vectors, "WINDOW_ROWS", 1)
    np.testing.assert_allclose(np.load(extract("b.npy")[1]), whole, atol=1e-6)


def test_labels_travel_as_they_are(extract: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "several.jsonl"
    rows = [
        {"text": "dull", "label": None},
        {"text": "great", "label": ["x", "y"]},
        {"text": "flat", "label": []},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table = pq.read_table(extract("a.parquet", "--data", data)[1])
    assert table["label"].to_pylist() == [None, ["x", "y"], []]
    (tmp_path / "none.jsonl").write_text(json.dumps({"text": "dull"}) + "\n", encoding="utf-8")
    assert pq.read_table(extract("b.parquet", "--data", tmp_path / "none.jsonl")[1]).column_names == [
        "row",
        "features",
    ]


def test_the_split_and_the_columns_that_are_read_are_named(
    command: Command, language_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    for name in ("train", "test"):
        (tmp_path / "d" / f"{name}.jsonl").write_text(json.dumps({"review": name}) + "\n", encoding="utf-8")
    line = ("extract-features", "--model", language_model_folder, "--data", tmp_path / "d")
    said = command(*line, "-o", tmp_path / "f.parquet").stderr.splitlines()
    assert said[0] == f"of {tmp_path / 'd'} the test split is read"
    assert said[1].startswith("column 'review' of ")
    assert "is taken as the text" in said[1]


@pytest.mark.parametrize("name", ["f.npy", "f.parquet", "f.safetensors", "f.hdf5"])
def test_an_interrupted_run_leaves_no_file(
    name: str,
    command: Command,
    language_model_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, calls = vectors.Extractor.vectors, []

    def interrupted(self: Any, encodings: Any) -> Any:
        calls.append(len(encodings))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, encodings)

    monkeypatch.setattr(vectors, "WINDOW_ROWS", 2)
    monkeypatch.setattr(vectors.Extractor, "vectors", interrupted)
    line = ("extract-features", "--model", language_model_folder, "--data", data, "-o", tmp_path / name)
    assert command(*line, "-q").returncode == 130
    assert calls == [2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


READERS = re.compile(r"^  (\.\w+) \(.*\)\n    (\S.*)\n    (\S.*)$", re.MULTILINE)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_lines_of_the_help_read_each_format(
    columns: int,
    extract: Callable[..., Any],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    help_text = command("extract-features", "--help").stdout
    assert max(map(len, help_text.splitlines())) <= 80
    readers = {suffix: lines for suffix, *lines in READERS.findall(help_text)}
    assert set(readers) == {".npy", ".parquet", ".safetensors", ".hdf5"}
    monkeypatch.chdir(tmp_path)
    expected = np.load(extract("f.npy")[1])
    for suffix, lines in readers.items():
        if suffix != ".npy":
            extract(f"f{suffix}")
        read: dict[str, Any] = {}
        exec(textwrap.dedent("\n".join(lines)), read)
        np.testing.assert_array_equal(read["x"], expected[0] if suffix == ".hdf5" else expected)
        if "facts" in read:
            assert read["facts"]["layers"] == "last"
        if "label" in read:
            assert read["label"] == ROWS[0]["label"]


ORIGINAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "elmo"


@pytest.mark.skipif(not (ORIGINAL / "lm_weights.hdf5").is_file(), reason="needs ../shared/parity/elmo")
def test_stateful_features_are_those_of_the_original_program(
    extract: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    # The authors ran ten steps of three sentences, one of each list, and kept the top layer.
    lists = json.loads((ORIGINAL / "lm_embeddings_sentences.json").read_text(encoding="utf-8"))
    files = ("--weights", ORIGINAL / "lm_weights.hdf5", "--options", ORIGINAL / "options.json")
    imported = command("models", "import", "--from", "allennlp", *files, "-o", tmp_path / "elmo")
    assert imported.returncode == 0, imported.stderr
    lines = "\n".join(sentence for step in zip(*lists, strict=True) for sentence in step).encode()
    words = ("--data", "-", "--level", "token", "--pretokenized", "--layers", "all")
    stateful = ("--stateful", "--batch-size", 3)
    _, file = extract("f.hdf5", *words, *stateful, model=tmp_path / "elmo", stdin=lines)
    with h5py.File(file) as ours:
        for part, sentences in enumerate(lists):
            with h5py.File(ORIGINAL / f"lm_embeddings_{part}.hdf5") as theirs:
                for step in range(len(sentences)):
                    top = np.concatenate(list(theirs[str(step)][()]), axis=1)  # forward, then backward
                    np.testing.assert_allclose(ours[str(3 * step + part)][-1], top, atol=5e-6)
