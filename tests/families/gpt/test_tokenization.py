"""Both tokenisations of the released vocabulary, the vocabulary learned here, and the marks of a classifier."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import nlptl
from nlptl.errors import ModelError
from nlptl.families.gpt import paper_tokenization, tokenization
from nlptl.families.gpt.paper_tokenization import (
    DELIMITER,
    EXTRACT,
    START,
    GptPaperTokenizer,
    read_merges,
    read_vocabulary,
)
from nlptl.families.gpt.standardisation import standardised
from nlptl.families.gpt.tokenization import (
    GptTokenizer,
    classifier_tokenizer,
    fast_tokenizer,
    tokenization_note,
    train_gpt_tokenizer,
)

pytest.importorskip("ftfy", reason="the paper's tokenisation needs ftfy")
pytest.importorskip("spacy", reason="the paper's tokenisation needs spaCy")

ENDINGS = "a d e g m n o s . t do n't film lm \n"
PIECES = ["<unk>", *"abdefgilmnostw.'", "n'", "fi", *(f"{ending}</w>" for ending in ENDINGS.split(" "))]
VOCABULARY = {piece: row for row, piece in enumerate(PIECES)}
MERGES = [("d", "o</w>"), ("n", "'"), ("n'", "t</w>"), ("f", "i"), ("l", "m</w>"), ("fi", "lm</w>")]
KINDS = ("paper", "fast", "learned")


def make(kind: str) -> PreTrainedTokenizerBase:
    if kind == "learned":
        return train_gpt_tokenizer(["a film is a film . don't do it _start_ _classify_"] * 10, 300)
    return GptPaperTokenizer(VOCABULARY, MERGES) if kind == "paper" else fast_tokenizer(VOCABULARY, MERGES)


@pytest.fixture(params=KINDS)
def language_model_s(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    nlptl.register_families()
    return make(request.param)


# -- the released vocabulary


@pytest.fixture(scope="module")
def released(recorded: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    return read_vocabulary(recorded / "encoder_bpe_40000.json"), read_merges(recorded / "vocab_40000.bpe")


def test_tokens_are_the_original_s_and_those_of_transformers(
    recorded: Path, released: tuple[dict[str, int], list[tuple[str, str]]], tmp_path: Path
) -> None:
    cases = json.loads((recorded / "tokens.json").read_text(encoding="utf-8"))["cases"]
    paper, fast = GptPaperTokenizer(*released), fast_tokenizer(*released)
    paper.save_pretrained(tmp_path)
    again = GptPaperTokenizer.from_pretrained(tmp_path)
    texts = [case["text"] for case in cases]
    assert len(cases) == 15
    assert [standardised(text) for text in texts] == [case["standardized"] for case in cases]
    assert [paper.words(text) for text in texts] == [case["spacy_tokens"] for case in cases]
    assert [paper.tokenize(text) for text in texts] == [case["original_pieces"] for case in cases]
    for tokenizer in (paper, again):
        assert tokenizer(texts)["input_ids"] == [case["original_ids"] for case in cases]
    assert fast(texts)["input_ids"] == [case["transformers_ids"] for case in cases]
    unlike = sum(not case["equal"] for case in cases)
    note = tokenization_note(fast, texts)
    assert note is not None
    assert note.startswith(f"{unlike} of 15 texts")


def test_marks_come_after_the_released_vocabulary(
    released: tuple[dict[str, int], list[tuple[str, str]]],
) -> None:
    for tokenizer in (GptPaperTokenizer(*released), fast_tokenizer(*released)):
        marked = classifier_tokenizer(tokenizer, extract=True)
        ids = marked.convert_tokens_to_ids([START, DELIMITER, EXTRACT])
        assert ids == [40478, 40479, 40480]
        assert len(marked) == 40481


# -- marks


def test_fine_tuning_s_marks(language_model_s: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    before = len(language_model_s)
    marked = classifier_tokenizer(language_model_s, extract=True)
    bare = [language_model_s(text, add_special_tokens=False)["input_ids"] for text in ("a film", "don't")]
    start, delimiter, extract = marked.convert_tokens_to_ids([START, DELIMITER, EXTRACT])
    one = [start, *bare[0], extract]
    both = [start, *bare[0], delimiter, *bare[1], extract]
    marked.save_pretrained(tmp_path)
    for tokenizer in (
        marked,
        AutoTokenizer.from_pretrained(tmp_path),
        classifier_tokenizer(marked, extract=True),
    ):
        assert tokenizer("a film")["input_ids"] == one
        assert tokenizer("a film", "don't")["input_ids"] == both
        assert tokenizer(["a film", "a film"], ["don't", ""])["input_ids"] == [
            both,
            [*one[:-1], delimiter, extract],
        ]
        assert tokenizer("a film", "")["input_ids"] == [*one[:-1], delimiter, extract]
        assert (tokenizer.bos_token, tokenizer.sep_token, tokenizer.cls_token) == (START, DELIMITER, EXTRACT)
        marks = tokenizer("a film", "don't", return_special_tokens_mask=True)["special_tokens_mask"]
        assert [row for row, mark in zip(both, marks, strict=True) if mark] == [start, delimiter, extract]
        cut = tokenizer("a film a film a film", truncation=True, max_length=4)["input_ids"]
        assert (len(cut), cut[0], cut[-1]) == (4, start, extract)
    assert len(language_model_s) == before  # the language model's own is left as it is


def test_a_frozen_body_reads_texts_as_it_was_trained_to(language_model_s: PreTrainedTokenizerBase) -> None:
    frozen = classifier_tokenizer(language_model_s, extract=False)
    assert frozen("a film")["input_ids"] == language_model_s("a film")["input_ids"]
    delimiter = frozen.convert_tokens_to_ids(DELIMITER)
    second = language_model_s("don't", add_special_tokens=False)["input_ids"]
    pair = frozen("a film", "don't")["input_ids"]
    assert pair == [*language_model_s("a film")["input_ids"], delimiter, *second]
    assert len(frozen) > delimiter


@pytest.mark.parametrize("name", [START, DELIMITER, EXTRACT, "<unk>", "<pad>"])
def test_no_text_spells_a_mark(language_model_s: PreTrainedTokenizerBase, name: str) -> None:
    marked = classifier_tokenizer(language_model_s, extract=True)
    special = set(marked.convert_tokens_to_ids([START, DELIMITER, EXTRACT]))
    for text in (name, f"a {name} film", f"{name}{name}"):
        assert not special & set(marked(text, add_special_tokens=False)["input_ids"])


def test_a_new_vocabulary_learns_the_start_alone() -> None:
    tokenizer = make("learned")
    assert tokenizer.convert_tokens_to_ids(["<pad>", START]) == [0, 1]
    assert tokenizer("a film")["input_ids"][0] == 1
    assert tokenizer("a film", "a film")["input_ids"].count(1) == 2
    assert EXTRACT not in tokenizer.get_vocab()
    assert tokenizer.decode(tokenizer("A  film<br />don't")["input_ids"][1:]) == "a film \n don't"


# -- the paper's tokenisation


def paper(**values: Any) -> GptPaperTokenizer:
    return GptPaperTokenizer(VOCABULARY, MERGES, **values)


def test_a_line_break_is_a_token_and_other_white_space_is_not() -> None:
    tokenizer = paper()
    row = VOCABULARY["\n</w>"]
    assert tokenizer("a\n\n\nfilm")["input_ids"].count(row) == 1
    assert tokenizer("\na\t\u00a0film \n")["input_ids"] == tokenizer("a film")["input_ids"]
    assert tokenizer([["a\nfilm"]], is_split_into_words=True)["input_ids"][0].count(row) == 1


def test_what_the_vocabulary_lacks_is_unknown() -> None:
    assert paper()("a 日本 film")["input_ids"] == [VOCABULARY["a</w>"], 0, 0, VOCABULARY["film</w>"]]


@pytest.mark.parametrize("text", ["", " ", "\ud800", "a" * 5000, "!" * 3000, "\x00"])
def test_any_text_has_the_same_ids_alone_and_in_a_batch(text: str) -> None:
    tokenizer = paper()
    assert tokenizer([text, "a film"])["input_ids"][0] == tokenizer(text)["input_ids"]


def test_a_vocabulary_learned_here_has_no_other_tokenisation() -> None:
    assert tokenization_note(make("learned"), ["don't"]) is None
    assert tokenization_note(paper(), ["don't"]) is None
    assert tokenization_note(make("fast"), ["a film"]) is None


def test_without_the_extra_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (paper_tokenization, tokenization):
        monkeypatch.setattr(module, "missing_package", lambda: "ftfy")
    with pytest.raises(ModelError, match=r"ftfy.*is not installed; pip install 'nlptl\[gpt-tokens\]'"):
        paper()
    note = tokenization_note(make("fast"), ["don't"])
    assert note is not None
    assert "without ftfy it cannot be told" in note


@pytest.mark.parametrize(
    ("name", "content", "read", "cause"),
    [
        ("vocab.json", "{", read_vocabulary, "the vocabulary cannot be read"),
        ("vocab.json", '["a"]', read_vocabulary, "an id of its own from 0 on"),
        ("vocab.json", '{"a": 0, "b": 0}', read_vocabulary, "an id of its own from 0 on"),
        ("vocab.json", '{"a": 0, "b": true}', read_vocabulary, "an id of its own from 0 on"),
        ("merges.txt", "#version: 0.2\na b\na\n", read_merges, "line 3 is no pair of pieces"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, name: str, content: str, read: Callable[[Path], object], cause: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=f"{cause}.*{name}"):
        read(tmp_path / name)


def test_files_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ModelError, match="the vocabulary and the merges do not fit"):
        GptPaperTokenizer(VOCABULARY, [("x", "y")])
    with pytest.raises(ModelError, match="the vocabulary lacks <unk>"):
        GptPaperTokenizer({"a</w>": 0, "a": 1}, [])


def test_a_gpt_tokenizer_is_its_file(tmp_path: Path) -> None:
    nlptl.register_families()
    make("learned").save_pretrained(tmp_path)
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is GptTokenizer
