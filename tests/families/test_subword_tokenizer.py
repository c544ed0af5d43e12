"""What a family gets of the shared byte-level BPE: its class, rows, roles and marks, and names no text spells."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Regex, normalizers

import nlptl.families.subword_memory as subword_memory
from nlptl.errors import ConfigError
from nlptl.families.subword_tokenizer import (
    LINE_BREAK_TAG,
    SubwordTokenizer,
    check_subword_vocabulary,
    train_byte_level_bpe,
    without_surrogates,
)

MARKS = ("<none>", "<open>", "<shut>", "<gap_0>")


class OfSomeFamily(SubwordTokenizer):
    """A family's class."""


def train(marks: tuple[str, ...] = MARKS, **values: object) -> OfSomeFamily:
    # A corpus that spells the names, in brackets too, where no blank is in front, teaches merges that lead to one.
    corpus = ["a fine Film", " ".join(marks), "".join(marks), *(f"({mark})" for mark in marks)] * 20
    return train_byte_level_bpe(
        OfSomeFamily,
        corpus,
        400,
        marks,
        single=f"{marks[1]} $A {marks[2]}",
        pair=f"{marks[1]} $A {marks[2]} $B:1 {marks[2]}:1",
        roles={"pad_token": marks[0], "bos_token": marks[1], "eos_token": marks[2]},
        **values,  # type: ignore[arg-type]
    )


def test_rows_roles_and_marks_are_the_family_s(tmp_path: Path) -> None:
    tokenizer = train()
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, OfSomeFamily.from_pretrained(tmp_path)):
        assert type(each) is OfSomeFamily
        assert each.convert_tokens_to_ids(list(MARKS)) == [0, 1, 2, 3]
        assert (each.pad_token_id, each.bos_token_id, each.eos_token_id) == (0, 1, 2)
        bare = each("film", add_special_tokens=False)["input_ids"]
        assert each("film", "")["input_ids"] == [1, *bare, 2, 2]
        pair = each("film", "film", return_special_tokens_mask=True)
        assert pair["input_ids"] == [1, *bare, 2, *bare, 2]
        assert pair["special_tokens_mask"] == [1, *[0] * len(bare), 1, *[0] * len(bare), 1]


@pytest.mark.parametrize("name", MARKS)
def test_no_text_spells_a_name_of_letters_and_signs(name: str) -> None:
    tokenizer = train()
    for text in (name, name * 3, f"a{name}b", f"({name})", name.upper()):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert min(ids) >= len(MARKS)
        assert tokenizer.decode(ids) == text.lower()


def test_a_name_that_is_one_word_is_kept_apart() -> None:
    marks = ("qqnone", "qqopen", "qqshut")
    kept = train(marks, kept_apart=Regex("qq(?=none|open|shut)"))
    for name in marks:
        for text in (name, name * 2, f"({name})"):
            assert min(kept(text, add_special_tokens=False)["input_ids"]) >= len(marks)


def test_case_is_kept_where_it_is_asked_for() -> None:
    folded, cased = train(), train(lowercase=False)
    text = "a fine Film"
    assert folded.decode(folded(text, add_special_tokens=False)["input_ids"]) == text.lower()
    assert cased.decode(cased(text, add_special_tokens=False)["input_ids"]) == text


def test_the_smallest_vocabulary_holds_the_marks_and_all_bytes() -> None:
    check_subword_vocabulary(260, len(MARKS))
    with pytest.raises(
        ConfigError, match="of 259 is too small, in vocab_size; ask for 260 or more: 4 special"
    ):
        check_subword_vocabulary(259, len(MARKS))


def test_surrogates_become_the_character_they_are_half_of_or_a_replacement() -> None:
    assert without_surrogates("é \ud83d\ude00 \ud800") == "é 😀 \ufffd"


def test_a_corpus_s_ids_are_those_of_a_call() -> None:
    tokenizer = train()
    texts = ["a fine film", "", f"spelled {MARKS[1]} out", "half \ud83d of it", "many words " * 50]
    expected = tokenizer(texts)["input_ids"]
    ids = tokenizer.corpus_ids()
    tokenizer(texts, truncation=True, max_length=3, padding=True)  # which the backend remembers
    assert list(map(list, ids(texts))) == expected


# What separates and what changes under lower case or composition, beside letters and signs of several scripts.
AWKWARD = [
    *"abcDEFst'\"-.,!?()0129_<>/\\",
    *("'s", "'T", "<br />", "<BR>", "<br\n>", "n't", "\n\n", "  ", " ", " ", " \n ", "\t", "\r\n", *MARKS),
    *"\x00\x0b\x0c\x1c\x1f\x85\xa0\xad\u1680\u180e\u2003\u200b\u2028\u202f\u3000\ufeff",
    *"éÉe\u0301\u0301İıßẞΣσςΌ\u212a\u212b\u2126ǅ²¼ªⅣ٣中文あ한\u1112\u1161\u11ab\U0001f600\u200d’“”–…",
]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_what_a_corpus_s_ids_remember_never_changes_them(lowercase: bool, seed: int) -> None:
    tokenizer = train(lowercase=lowercase)
    draw = random.Random(seed)
    texts = ["".join(draw.choices(AWKWARD, k=draw.randint(1, 12))) for _ in range(1500)]
    texts += [" ".join(draw.choices(texts, k=5)) for _ in range(100)]
    expected = tokenizer(texts)["input_ids"]
    ids = tokenizer.corpus_ids()
    for start in range(0, len(texts), 400):
        found = ids(texts[start : start + 400])
        for text, ours, theirs in zip(texts[start:], found, expected[start:], strict=False):
            assert list(ours) == theirs, repr(text)


def test_every_character_has_the_ids_of_a_call() -> None:
    tokenizer = train()
    texts = [f"a{chr(code)}b {chr(code)}" for code in range(0x3100) if not 0xD800 <= code < 0xE000]
    for text, ours, theirs in zip(
        texts, tokenizer.corpus_ids()(texts), tokenizer(texts)["input_ids"], strict=True
    ):
        assert list(ours) == theirs, repr(text)


def test_a_corpus_of_ever_new_words_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subword_memory, "CHARACTERS_REMEMBERED", 40)
    tokenizer = train()
    memory = subword_memory.SubwordMemory(tokenizer.backend_tokenizer, LINE_BREAK_TAG, lowercase=True)
    for number in range(20):
        texts = [f"new{number} word{number}", "a fine film"]
        assert list(map(list, memory(texts))) == tokenizer(texts)["input_ids"]
        assert len(memory._chunk_ids._numbers) < 20


def test_a_tokenizer_of_another_make_goes_its_own_way() -> None:
    tokenizer = train()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("film", "fine")])
    texts = ["A film,  film"]
    assert list(map(list, tokenizer.corpus_ids()(texts))) == tokenizer(texts)["input_ids"]
    assert tokenizer(texts)["input_ids"] != train()(texts)["input_ids"]
