"""`nlptl extract-features`: the same vectors in every format, those of the model, and with what made them."""

from __future__ import annotations

import hashlib
import json
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
